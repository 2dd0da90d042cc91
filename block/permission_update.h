/* SPDX-License-Identifier: MIT */
/*
 * Recomputing the permissions of a part of the graph: checked first, then set
 * or undone as a whole. Only block/ includes it. Loop's thread; never waits.
 */
#ifndef BLOCK_PERMISSION_UPDATE_H
#define BLOCK_PERMISSION_UPDATE_H

#include "block/graph.h"
#include "block/node.h"

struct permission_update;

/*
 * Compute what @nodes and all that is below them need now, store it in the edges
 * and have the drivers check it. Links and options stand already as they shall
 * be. Returns 0, or a negative errno with everything as before: -EPERM for a
 * conflict between parents, or what a driver says.
 */
int permission_update_prepare(struct graph *g, struct node *const *nodes, size_t count,
			      struct permission_update **ret, struct error **errp);
/* Put in force, or undo, and free @u. NULL is allowed. */
void permission_update_commit(struct permission_update *u);
void permission_update_abort(struct permission_update *u);

#endif
