/* SPDX-License-Identifier: MIT */
/*
 * Exports: nodes that clients in other processes use.
 *
 * The registry keeps what all protocols share: the ID, the consumer and its
 * edge, and how an export comes and goes. A protocol adds a struct
 * export_type. An export goes away once it is asked to and its last user, such
 * as a connection, has left. Everything runs on the graph's loop.
 */
#ifndef PROTOCOL_EXPORT_H
#define PROTOCOL_EXPORT_H

#include "block/consumer.h"
#include "block/graph.h"
#include "schema/types.h"

struct export;
struct export_registry;

/* What a protocol does for its exports. */
struct export_type {
	enum block_export_type type;
	bool bears_inactive; /* only reads while the node is inactive; see block/active.h */
	/*
	 * Let clients find @e, whose edge is attached; set e->state. @arg is that of
	 * export_registry_add_type(). On failure nothing of the type's may be left.
	 */
	int co_fn (*start)(struct export *e, const struct block_export_options *options,
			   void *arg, struct error **errp);
	/* No new client finds @e from now on, and those it has are disconnected. Must not wait. */
	void (*disconnect)(struct export *e);
	/* Free e->state. No user is left. The change lock is held. */
	void co_fn (*finish)(struct export *e);
};

struct export {
	struct list link; /* in the registry, oldest first */
	struct export_registry *registry;
	const struct export_type *type;
	void *state; /* the type's */
	char *id;
	struct consumer consumer;
	struct edge *edge;
	char *node_name; /* when it has no edge any more */
	bool writable;
	bool writethrough; /* each write is made durable */
	struct iothread *iothread; /* that it names, referenced; NULL without one */
	bool shutting_down;
	unsigned users;          /* connections and the like */
	struct co_queue unused;  /* waits for users to become 0 */
	bool *is_gone;           /* optional: somebody's, to be set as the export goes */
};

/* Who wants to know. All optional; must not wait. */
struct export_observer {
	void (*deleted)(void *arg, const char *id);
	/* A client's request failed with @error, a negative errno. Comes as often as requests do. */
	void (*failed)(void *arg, const struct export *e, bool is_read, int error);
};

struct export_registry *export_registry_create(struct graph *graph);
/* No export may be left. NULL is allowed. */
void export_registry_free(struct export_registry *r);
/* Serve exports of @type, which outlives @r. @arg is passed to its start(). */
void export_registry_add_type(struct export_registry *r, const struct export_type *type,
			      void *arg);
/* @observer outlives @r; there is one at a time. */
void export_registry_set_observer(struct export_registry *r,
				  const struct export_observer *observer, void *arg);

/*
 * Export a node. Takes the change lock. Errors: -EINVAL for a malformed ID,
 * -EEXIST for one in use, -ENOENT without such a node, -EACCES when clients
 * shall write and cannot, -ENOENT without such an iothread, -EBUSY when the node shall stay
 * in one and another export has fixed it elsewhere; and what the type's start() says.
 */
int co_fn export_add(struct export_registry *r, const struct block_export_options *options,
		     struct error **errp);

/*
 * Remove an export. In safe mode -EBUSY when it has users. Returns when the
 * export is gone or, when requests are still under way, when their clients are
 * disconnected; the observer tells of the end. Takes the change lock.
 */
int co_fn export_del(struct export_registry *r, struct export *e,
		     enum block_export_remove_mode mode, struct error **errp);

/* Remove all exports of one type, or all, by force, and wait until they are gone. */
void co_fn export_del_type(struct export_registry *r, enum block_export_type type);
void co_fn export_del_all(struct export_registry *r);

/* NULL and *errp without such an export. */
struct export *export_find(struct export_registry *r, const char *id, struct error **errp);

/* All exports, newest first. The caller frees the items. */
void export_query(struct export_registry *r, struct block_export_info_list *ret);

/*
 * For protocols: the nodes failed a client's request with @error, a negative errno; tell the
 * observer. What only refuses is no failure: -ENOTSUP and -EINVAL are not told.
 */
void export_report_failure(struct export *e, bool is_read, int error);

/* For protocols: how long to look for a client's next request; see loop_fd_look_for(). */
uint64_t export_look_ns(const struct export *e);

/* Somebody uses @e, which stays until export_leave(). @e must not be shutting down. */
void export_enter(struct export *e);
void export_leave(struct export *e);

#endif
