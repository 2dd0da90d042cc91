/* SPDX-License-Identifier: MIT */
/*
 * The graph: all nodes of one daemon, and how it changes.
 *
 * It changes on the control thread only, by one changer at a time (the change
 * lock), inside a graph transaction, while the consumers above the touched
 * nodes are drained. Therefore the data path walks it without a lock.
 */
#ifndef BLOCK_GRAPH_H
#define BLOCK_GRAPH_H

#include "base/coroutine.h"
#include "base/error.h"
#include "base/loop.h"
#include "block/permission.h"
#include "schema/types.h"

struct consumer;
struct driver;
struct edge;
struct node;
struct permission_update;

/* An image's tables turned out to be damaged. */
struct image_damage {
	const char *message; /* what is wrong */
	bool is_fatal;       /* nothing more is written to the image */
	bool has_range;      /* @offset and @bytes say where, in the image's file */
	uint64_t offset, bytes;
};

/*
 * What others want to know of nodes, called at the moment it happens. Members may be
 * NULL, and must not wait.
 */
struct graph_observer {
	/* A write reaches @excess bytes beyond n->write_threshold, which is none from now on. */
	void (*threshold_exceeded)(const struct node *n, uint64_t excess, uint64_t threshold);
	/* Told once for each node, and once more when it is fatal after it was not. */
	void (*image_damaged)(const struct node *n, const struct image_damage *damage);
	/* One of several nodes with the same data: it has failed, or with @error 0 was outvoted. */
	void (*child_bad)(const struct node *child, enum quorum_op_type op, int error,
			  uint64_t offset, uint64_t bytes);
	/* Too few of the nodes with the same data agree. */
	void (*vote_failed)(const struct node *n, uint64_t offset, uint64_t bytes);
	/* Something could not be stored when a node was closed, and is lost: @error says what. */
	void (*store_failed)(const struct error *error);
};

/*
 * Who holds the change lock to open and close nodes for a client; see
 * graph_change_begin_apart(). In the holder's memory.
 */
struct graph_apart {
	struct coroutine *owner;
	struct graph_apart *party; /* itself, or whom it helps: what is opened is that one's */
	bool has_helpers;          /* coroutines that it waits for open nodes in its name */
	uint64_t patience_ns;      /* that of the graph, while the lock is let go of */
	struct list opening; /* struct node.opening_link: nobody else finds them yet */
};

/* What graph_change_suspend() has let go of. */
struct graph_suspension {
	bool was_held;
	uint64_t patience_ns;
	struct graph_apart *apart;
};

struct graph {
	struct loop *loop;
	const struct graph_observer *observer; /* whose members may be NULL; not itself */
	const struct driver *const *drivers; /* ends with NULL */
	struct list nodes;                   /* struct node.link, in the order of opening */
	struct node *by_name;                /* uthash on node.name */
	struct list consumers;               /* struct consumer.link */
	struct list drains;                  /* struct drain.link, in force */
	struct list throttle_groups;         /* struct throttle_group.link */
	struct list secrets;                 /* struct secret.link */
	struct list tls_creds;               /* struct tls_creds.link */
	struct list authz;                   /* struct authz.link */
	struct list iothreads;               /* struct iothread.link */
	struct co_queue worked;              /* for work of nodes, or their closing, to end */
	struct co_mutex change_lock;
	uint64_t turns;                      /* how often it has been taken */
	uint64_t patience_ns; /* how long its holder waits for remote storage; 0: for ever */
	struct graph_apart *apart;           /* of the lock's holder; NULL when it never lets go */
	struct list closing;                 /* struct node.closing_link: found by nobody any more */
	struct list making;                  /* struct making.link: remote images; see create.c */
	uint64_t next_auto_name;
	uint64_t walk_epoch; /* see walk.h */
	struct list unsettled;               /* struct node.unsettled_link; see node_unsettle() */
	/* What is known of deep backing chains; see layers.h. */
	struct list layer_maps, layer_pages;
	size_t layer_page_count;
};

/* Longest backing chain, in nodes, that is opened or created. */
#define GRAPH_CHAIN_MAX 1024
/*
 * Most edges, other than to backing files, on any way down the graph: requests
 * take some stack for each.
 */
#define GRAPH_NESTING_MAX 16

/* @drivers ends with NULL and outlives the graph. */
struct graph *graph_new(struct loop *loop, const struct driver *const *drivers);
/* Every node must be gone. */
void graph_free(struct graph *g);
/* Memory is short: drop what can be learned again. Returns how many bytes that were. */
size_t graph_drop_caches(struct graph *g);
/* The driver called @name, or NULL. It may have to be loaded before use; see driver.h. */
const struct driver *graph_find_driver(const struct graph *g, const char *name);
/* The driver called @name, loaded; NULL and *errp when there is none to be had. */
const struct driver *co_fn graph_load_driver(const struct graph *g, const char *name,
					     struct error **errp);

/*
 * Hold the right to change the graph. Monitor commands and the ends of jobs
 * take it around looking up, preparing and committing. Not recursive.
 */
void co_fn graph_change_begin(struct graph *g);
void graph_change_end(struct graph *g);
/*
 * The same for a change that would rather begin again than hold up others by storage that hangs;
 * see change.h. When its patience is at an end, drain_begin_patiently() and
 * node_flush_patiently() return -ERESTART: the caller undoes all, lets go of the lock, sounds the
 * storage, and begins again. It waits longer with each of @tries, a number from 0.
 */
void co_fn graph_change_begin_patiently(struct graph *g, unsigned tries);
/* From here on the change will come, however long it takes. */
void graph_change_is_certain(struct graph *g);
/* Whether somebody holds it. */
bool graph_is_changing(const struct graph *g);
/*
 * Let others change the graph while the caller, who may hold the change lock, does
 * something that takes long. *ret is for graph_change_resume(); after it the world
 * has moved.
 */
void graph_change_suspend(struct graph *g, struct graph_suspension *ret);
void co_fn graph_change_resume(struct graph *g, const struct graph_suspension *s);
/*
 * Hold the change lock to open or to close nodes, without holding up others by storage
 * that hangs: the lock is let go of while remote storage is being reached for a node, while
 * an image there is read for one, and while a node with remote storage that has left the graph
 * is flushed and closed. Storage that a node being closed has is opened only afterwards. So the
 * holder relies on nothing but its own nodes and what it has references on.
 *
 * Nodes that are opened stay out of sight, as does everything below them that is new:
 * nobody else finds them by name, though their names are taken, and no list has them. They
 * all come to light in graph_change_end_apart(). What they have attached themselves to is in
 * use meanwhile. *ret stays where it is until then.
 */
void co_fn graph_change_begin_apart(struct graph *g, struct graph_apart *ret);
void graph_change_end_apart(struct graph *g, struct graph_apart *a);
/*
 * The same for a part of the time for which the caller holds the lock: while nothing is drained
 * and no graph transaction is under way. After the first what was looked up before must be
 * looked at again; from the second on, which does not wait, nobody else changes anything.
 */
void graph_apart_begin(struct graph *g, struct graph_apart *ret);
void graph_apart_end(struct graph *g, struct graph_apart *a);
/*
 * For a coroutine that opens nodes for @party, who has let go of the lock and waits for it: the
 * lock is taken as by graph_change_begin_apart(), but what is opened stays the party's.
 */
void co_fn graph_apart_help_begin(struct graph *g, struct graph_apart *party,
				  struct graph_apart *ret);
void graph_apart_help_end(struct graph *g, struct graph_apart *a);
/*
 * For those who make and open images: let go of the lock if the caller is such a holder, and
 * take it again. The result of the first, NULL for no, is for the second.
 */
struct graph_apart *graph_apart_leave(struct graph *g);
void co_fn graph_apart_return(struct graph *g, struct graph_apart *a);

/*
 * Drain: consumers whose edges lead to any of @nodes, however far down, and those who may
 * join them (consumer.h), start no new operation, and those under way have ended when the call returns, as has
 * all work of the nodes' own from there down to @nodes. Nobody waits for a rate
 * limit meanwhile. May be nested. The caller must not be inside an operation of
 * such a consumer.
 *
 * A consumer that gets an edge to one of @nodes, or to what leads there, while
 * the drain is in force is held as well: it starts no operation before the end.
 * Operations that it has begun before are not waited for. Who is held stays
 * held until drain_end(), wherever the graph's changes move its edges.
 */
struct drain {
	struct list link; /* in graph.drains */
	struct graph *graph;
	struct consumer **consumers;
	unsigned count, capacity;
	struct node **nodes; /* those still alive, in any order */
	unsigned node_count;
	struct node **hurried; /* told to hold up nothing; those still alive */
	unsigned hurried_count;
	struct loop_timer patience;
	bool is_late;
};

/* @ret is the caller's memory and must stay where it is until drain_end(). */
void co_fn drain_begin(struct graph *g, struct node *const *nodes, unsigned count,
		       struct drain *ret);
void drain_end(struct drain *d);
/*
 * The same for the holder of the change lock, who may be out of patience with remote storage:
 * -ERESTART, and nobody is held.
 */
int co_fn drain_begin_patiently(struct graph *g, struct node *const *nodes, unsigned count,
				struct drain *ret, struct error **errp);
/*
 * Release @c before the end, if it is held: it may start operations, for what the drain is
 * there for. Drains that begin later hold it again.
 */
void drain_spare(struct drain *d, struct consumer *c);

/*
 * Hold the consumers above @n that are inside no operation, and release them at once: what
 * hears of drains is told as of one, and nobody waits. Loop's thread, with the change lock.
 */
void drain_idle(struct graph *g, struct node *n);

/*
 * A graph transaction: changes take effect in the graph's links at once, so
 * that later steps see them, and are undone in reverse order by an abort.
 * Permissions are recomputed and checked by graph_tx_prepare(); a commit cannot
 * fail. The caller holds the change lock and has drained what it touches.
 */
struct graph_tx {
	struct graph *graph;
	struct list actions;
	struct node **touched; /* nodes whose permissions must be recomputed */
	unsigned touched_count, touched_capacity;
	struct permission_update *update; /* what graph_tx_prepare() has made */
};

struct graph_tx_action_ops {
	void (*commit)(void *arg); /* optional; must not fail or wait */
	void (*abort)(void *arg);  /* optional; undoes; must not wait */
	void co_fn (*clean)(void *arg); /* optional; after either: drops references and memory */
};

/* In the caller's memory; graph_tx_commit() or graph_tx_abort() ends it. */
void graph_tx_begin(struct graph_tx *tx, struct graph *g);
/*
 * Register an undo of something that the caller has just done. @arg is passed
 * to the ops. Commits run in the order of registration, aborts in reverse; all
 * clean calls come after them, in the same order.
 */
void graph_tx_add(struct graph_tx *tx, const struct graph_tx_action_ops *ops, void *arg);
/* Have graph_tx_prepare() look at @n and what is below: an option of @n has changed. */
void graph_tx_touch(struct graph_tx *tx, struct node *n);
/*
 * Add an edge from @parent, or from @consumer, to @child; @ret_edge may be NULL. The name is
 * copied. -EINVAL for a cycle, too long a chain or too deep a nesting. What others do not
 * share is found by graph_tx_prepare().
 */
int graph_tx_attach_node(struct graph_tx *tx, struct node *parent, const char *name,
			 struct node *child, unsigned role, struct edge **ret_edge,
			 struct error **errp);
int graph_tx_attach_consumer(struct graph_tx *tx, struct consumer *consumer, const char *name,
			     struct node *child, unsigned permissions, unsigned shared,
			     struct edge **ret_edge, struct error **errp);
/* Remove @edge; it is freed at commit. */
void graph_tx_detach(struct graph_tx *tx, struct edge *edge);
/*
 * Refuse what attaching @child below @parent would be refused for because of the graph's shape:
 * a cycle, too long a chain and too deep a nesting. -EINVAL.
 */
int graph_tx_check_child(struct node *parent, const char *name, struct node *child,
			 unsigned role, struct error **errp);
/* Let @edge lead to @child instead. Errors as for attaching. */
int graph_tx_retarget(struct graph_tx *tx, struct edge *edge, struct node *child,
		      struct error **errp);
/*
 * Let every edge that leads to @from lead to @to, except those that stay at
 * their node by wish (struct edge.stays), and those of @to and the nodes
 * below it. -EPERM when one of them is frozen.
 */
int graph_tx_replace_node(struct graph_tx *tx, struct node *from, struct node *to,
			  struct error **errp);
/* Tell that @e, a node's, may not be redirected; -EPERM. */
int edge_refuse_frozen(const struct edge *e, struct error **errp);
/* Change what a consumer's edge asks for. */
void graph_tx_set_permissions(struct graph_tx *tx, struct edge *edge, unsigned permissions,
			      unsigned shared);
/*
 * Recompute and check the permissions of everything touched and of what is below
 * it. May be repeated after further steps. -EPERM or -EINVAL when users do not bear
 * each other, or what a driver says: -EAGAIN when another process holds a lock.
 */
int graph_tx_prepare(struct graph_tx *tx, struct error **errp);
/* After a successful prepare. */
void co_fn graph_tx_commit(struct graph_tx *tx);
void co_fn graph_tx_abort(struct graph_tx *tx);

/*
 * One-step transactions for the simple cases. The caller holds the change lock where needed.
 * Errors are those of the step and of graph_tx_prepare(), with everything as before.
 */
int co_fn edge_attach_consumer(struct consumer *consumer, const char *name, struct node *child,
			       unsigned permissions, unsigned shared, struct edge **ret_edge,
			       struct error **errp);
void co_fn edge_detach(struct edge *edge);
int co_fn edge_set_permissions(struct edge *edge, unsigned permissions, unsigned shared,
			       struct error **errp);

#endif
