/* SPDX-License-Identifier: MIT */
/*
 * A node is an opened driver with a name, a size, limits and a loop; an edge
 * joins a parent (a node or a consumer) to a child node.
 *
 * Nodes are counted: every edge holds a reference on its child, the monitor
 * holds one for what blockdev-add made. The last unref closes the node, which
 * may wait.
 */
#ifndef BLOCK_NODE_H
#define BLOCK_NODE_H

#include <uthash.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "block/permission.h"
#include "block/stats.h"
#include "schema/types.h"

struct consumer;
struct driver;
struct edge;
struct graph;
struct graph_apart;
struct layer_map;

#define NODE_NAME_MAX 31

/* What a driver can take. Zero means no limit (for maxima) or 1 (for alignments). */
struct node_limits {
	uint32_t request_alignment; /* of offset and bytes; a power of two */
	uint32_t memory_alignment;  /* of the buffers; a power of two */
	uint64_t max_transfer;      /* bytes in one read or write */
	uint64_t optimal_transfer;
	uint64_t max_zero;
	uint64_t zero_alignment;
	uint64_t max_discard;
	uint64_t discard_alignment;
	unsigned max_iovecs;
};

struct node {
	char name[NODE_NAME_MAX + 1];
	UT_hash_handle by_name;
	struct list link; /* in graph.nodes */
	struct graph *graph;
	struct loop *loop; /* home: requests run here */
	const struct driver *driver;
	void *state; /* driver->state_size bytes */
	unsigned references;
	bool is_open; /* driver->open has succeeded, and driver->close has not begun */

	const struct graph_apart *opener; /* alone knows of the node; NULL when it is there for all */
	struct list opening_link;  /* in graph_apart.opening */
	struct list closing_link;  /* in graph.closing: unregistered, and not freed yet */

	uint64_t size; /* bytes; kept up to date by the driver */
	struct node_limits limits;

	struct list parents;  /* struct edge.child_link, in order of attachment */
	struct list children; /* struct edge.parent_link, in order of attachment */
	struct edge *file;    /* the primary or filtered child, by whatever name; NULL without one */
	struct edge *backing; /* the COW child */
	unsigned permissions; /* what all parents together do here, */
	unsigned shared;      /* and let others do, as last set */
	struct node *inherits_from; /* the parent whose inline definition or file name made it */
	unsigned nesting;           /* definitions around this one while it was opened */

	/* As opened; the union of options that every node has. */
	bool read_only;      /* in effect now */
	bool active;         /* may use its storage; see active.h */
	bool auto_read_only; /* may become writable when somebody needs it */
	bool force_share;
	bool discard_unmap;
	bool cache_direct, cache_no_flush;
	/* Set by drivers: what was written may be in this process until a flush, no-flush or not. */
	bool holds_writes;
	enum blockdev_detect_zeroes_options detect_zeroes;
	bool monitor_owned;  /* holds a reference for blockdev-del */
	bool implicit;       /* made by a job without a name: hidden from queries, as filters are */
	bool corrupt;        /* metadata found damaged: no further writes */
	unsigned open_flags; /* enum node_open_flags */
	bool probed;         /* raw by guess: no write may make it look like another format */
	struct blockdev_options *options; /* as given, for reopen; NULL for internal nodes */

	char *filename;         /* exact name, or json:{...}; never NULL once open */
	char *backing_name;     /* from the image's header; NULL without one */
	char *backing_format;   /* likewise */
	char *auto_backing_name;/* what opening backing_name gave, to tell an override */

	struct list requests;       /* struct request.link, in flight */
	uint64_t begun;             /* requests that have come */
	uint64_t answers;           /* requests that have ended, well or not */
	uint64_t seen_answers, silent_since_ns; /* of daemon/farewell.c */
	unsigned serialising;       /* how many of them serialise */
	struct co_queue conflicts;  /* waiting for an overlapping request */
	uint64_t write_generation;  /* writes completed */
	uint64_t flushed_generation;/* of them, durable */
	uint64_t left_generation;   /* of them, completed before the last writer left */
	struct co_mutex flush_lock;
	struct co_mutex resize_lock; /* taken inside requests, never around them */
	unsigned unanswered_grows;   /* how often storage did not answer when it was to grow */
	unsigned work;              /* see node_work_begin() */

	struct node_stats stats;
	uint64_t write_threshold; /* 0 for none */

	struct list bitmaps; /* struct bitmap.link, the youngest first; see bitmap.h */
	struct list bitmap_views; /* struct bitmap_view.link, likewise */

	/* Sentences on why certain operations are refused; see blocker.h. */
	struct list blockers;

	struct list unsettled_link; /* in graph.unsettled */
	struct layer_map *layers; /* of the chain from here on; NULL for none. See layers.h */
	unsigned layer_uses;      /* maps of chains with this node */

	/* Scratch of one walk over the graph; see walk.h. */
	uint64_t walk_epoch;
	unsigned walk_depth;
	bool walk_affected;
};

struct edge {
	struct list parent_link; /* in the parent's list of children or edges */
	struct list child_link;  /* in child->parents */
	struct node *child;
	struct node *parent;       /* NULL when a consumer is the parent */
	struct consumer *consumer; /* NULL when a node is the parent */
	char *name;                /* "file", "backing", "root", ... */
	unsigned role;             /* enum edge_role */
	unsigned permissions, shared;
	bool stays;      /* graph_tx_replace_node() leaves it where it is */
	/* It was to lead to what is below the filter that @child is; see node_entrance(). */
	bool shows_below;
	unsigned frozen; /* jobs that rely on where it leads: nobody else may redirect it */
};

/*
 * Find a node by node-name; NULL when there is none, or it is still being opened: what is
 * to be below it cannot stand upon it, and what somebody else opens comes to light as a whole
 * (graph_change_begin_apart()). No reference is taken.
 */
struct node *node_find(struct graph *g, const char *name);
/* As node_find(), with the class-GenericError sentence of the rival in *errp. */
struct node *node_find_error(struct graph *g, const char *name, struct error **errp);
/* The same where only a node can be meant, and no device: its sentence says so. */
struct node *node_find_named(struct graph *g, const char *name, struct error **errp);

/* Whether lists show @n: not while it is being opened. */
static inline bool node_is_listed(const struct node *n)
{
	return n->is_open && !n->opener;
}

struct node *node_ref(struct node *n);
/* Drop a reference; the last one flushes, closes and frees. NULL is allowed. */
void co_fn node_unref(struct node *n);
/*
 * The same for a caller who holds the change lock, with nothing drained and no graph transaction
 * under way: what is remote is closed without the lock, and afterwards the world has moved.
 */
void co_fn node_unref_apart(struct node *n);
/* For drivers' close(): tell the graph's observer what could not be stored. Frees @error. */
void node_close_failed(struct node *n, struct error *error);

/*
 * Make a node of @driver without user options, such as a job's filter or a
 * test's disk. @name may be NULL for an automatic "#blockNNN". driver->open is
 * called with options NULL and @arg. The caller gets the reference.
 */
int co_fn node_open_internal(struct graph *g, const struct driver *driver, const char *name,
			     bool read_only, void *arg, struct node **ret, struct error **errp);

/* Open what @options describe, with the backing chain of the image unless overridden. */
int co_fn node_open(struct graph *g, const struct blockdev_options *options, struct node **ret,
		    struct error **errp);

/*
 * For driver->open: open or look up @ref and attach it below @n. A child opened
 * here takes over from @n what its own options leave open: force-share, the cache
 * options, read-only and auto-read-only; below a format discards are passed on.
 * Detaching is the core's. *ret may be NULL.
 */
int co_fn node_open_child(struct node *n, const struct blockdev_ref *ref, const char *name,
			  unsigned role, struct edge **ret, struct error **errp);

/*
 * For driver->open, when the storage turns out not to be writable: make @n
 * read-only if its options permit that. Returns 0, or -EACCES with @reason.
 */
int node_apply_auto_read_only(struct node *n, const char *reason, struct error **errp);

/*
 * The driver of @n begins something below it that no operation of a consumer
 * waits for. Until it ends, which it must without waiting for one, a drain of @n
 * or of what is below waits for it.
 */
void node_work_begin(struct node *n);
void node_work_end(struct node *n);

/*
 * The driver has changed the image outside of a request, as with a snapshot or
 * a new header: the next flush has something to do.
 */
void node_note_change(struct node *n);

/* Have driver->settle called at the end of the change of the graph that is under way. Must not wait. */
void node_unsettle(struct node *n);

/* Re-read parents' and own limits after a change below. */
void node_refresh_limits(struct node *n);
/* The driver found or made @n @size bytes long: store it and tell every consumer above. */
void node_set_size(struct node *n, uint64_t size);

/* Whether @n's data lies on other machines, all or a part of it. */
bool node_is_remote(struct node *n);
/*
 * For whoever reads or writes the image of @n, which is the caller's alone, as it is being opened:
 * where its storage is remote and the opener bears it (graph_change_begin_apart()), others may change
 * the graph from the first to the second, which gets the result of the first; but not what is below
 * @n. Nothing is opened or attached in between. In the coroutine that opens.
 */
struct graph_apart *node_opening_leave(struct node *n);
void co_fn node_opening_return(struct node *n, struct graph_apart *apart);
/* The node that filters lead to: skips driver->is_filter nodes. */
struct node *node_skip_filters(struct node *n);
/* Whether what a longer @n has more reads as zeroes: no device that somebody extends promises that. */
bool node_grows_zeroed(const struct node *n);
/*
 * The node whose driver keeps internal snapshots of @n: itself, or the one below that it shows
 * and that is its only child. NULL when there is none.
 */
struct node *node_with_snapshots(struct node *n);
/*
 * The first snapshot of @keeper, which node_with_snapshots() has found, with @id and @name, either
 * of which may be NULL. *ret is the caller's, or NULL when there is none. Errors are the driver's.
 */
int co_fn node_find_snapshot(struct node *keeper, const char *id, const char *name,
			     struct snapshot_info **ret, struct error **errp);
/* The COW child below @n, through filters; NULL at the base. */
struct node *node_backing(struct node *n);
/* The next node of a chain: a filter's child, or else the backing file. NULL at the base. */
struct node *node_chain_next(const struct node *n);
/* The link to that. */
struct edge *node_chain_edge(const struct node *n);
/*
 * Where a user of @n that names it has to come in: the topmost of the filters above it that
 * see all that is written (struct driver.is_entrance), or @n itself. No reference is taken.
 * The edge is told of it with shows_below.
 */
struct node *node_entrance(struct node *n);
/* The node that the user of @e has named, where a filter stands between; else the child. */
struct node *edge_shown_child(const struct edge *e);
/* True when @below is @top or lies in its backing chain (filters included). */
bool node_chain_contains(struct node *top, struct node *below);

#endif
