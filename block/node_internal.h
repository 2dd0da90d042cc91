/* SPDX-License-Identifier: MIT */
/*
 * Nodes as block/ itself sees them. Only block/ includes it.
 */
#ifndef BLOCK_NODE_INTERNAL_H
#define BLOCK_NODE_INTERNAL_H

#include "block/graph.h"
#include "block/node.h"

/* 0, or -EINVAL for an unfit and -EEXIST for a taken node name. */
int node_check_name(struct graph *g, const char *name, struct error **errp);

/*
 * Make and register a node that is not open yet, with one reference. @name NULL
 * chooses one. Returns 0, or -EINVAL for an unfit or -EEXIST for a taken name.
 */
int node_create(struct graph *g, const struct driver *driver, const char *name, struct node **ret,
		struct error **errp);

/* Call driver->open and complete the node. On failure @n stays the caller's to unref. */
int co_fn node_start(struct node *n, const struct blockdev_options *options, void *arg,
		     struct error **errp);

/* Attach @child below @parent, which is being opened, in a transaction of its own. */
int co_fn edge_attach_node(struct node *parent, const char *name, struct node *child,
			   unsigned role, struct edge **ret_edge, struct error **errp);

/* Bring limits, sizes and names of @nodes and of all above them up to date. Never waits. */
void nodes_refresh(struct graph *g, struct node *const *nodes, size_t count);

/* Call driver->settle of the nodes that wait for it: a change is over. */
void co_fn nodes_settle(struct graph *g);

/* Set n->filename from the driver's plain name and the options. */
void node_refresh_filename(struct node *n);


/* How many nodes the chain from @n on has; 0 for NULL. */
unsigned node_chain_length(const struct node *n);
/* The node in which @n finally lies: down by file children. */
const struct node *node_storage(const struct node *n);

struct extent;
/* One layer's own answer about a range that begins within its size; cut to that. */
int co_fn node_layer_status(struct node *n, uint64_t offset, uint64_t bytes, struct extent *x);

/* Flush without an edge, as when the node is closed. */
int co_fn node_flush(struct node *n);

#endif
