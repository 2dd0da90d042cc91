/* SPDX-License-Identifier: MIT */
/*
 * Making edges and linking them in. Only block/ includes it: everybody else
 * changes the graph through a transaction.
 */
#ifndef BLOCK_EDGE_H
#define BLOCK_EDGE_H

#include "block/node.h"

/* An edge to @child, on which it takes a reference; not linked yet. One parent is NULL. */
struct edge *edge_new(struct node *parent, struct consumer *consumer, const char *name,
		      struct node *child, unsigned role);
/* Free @e, which is unlinked and whose reference on the child is the caller's to drop. */
void edge_free(struct edge *e);

/* Put @e into its parent's and its child's lists, at the end. */
void edge_link(struct edge *e);
/* Take @e out of them. */
void edge_unlink(struct edge *e);

/* Set parent->file and parent->backing from the edges that are linked. */
void node_update_shortcuts(struct node *parent);

#endif
