/* SPDX-License-Identifier: MIT */
/*
 * Inactive nodes: open, but leaving their storage to another process, which may change
 * it. They hold no lock against that, write nothing, and are not written to. This is how
 * an image is handed over: the one side lets go of it, then the other takes it.
 *
 * Below an active node all nodes are active, and a consumer has to bear an inactive one
 * (struct consumer.bears_inactive). Control thread.
 */
#ifndef BLOCK_ACTIVE_H
#define BLOCK_ACTIVE_H

#include "block/graph.h"

/*
 * Let @n be active, with all that is below it, or inactive, with what is below it that
 * nobody active uses. @n NULL: all nodes. What inactive nodes had in memory is in the
 * storage when the call returns; active ones have loaded it anew. All or none. The caller
 * holds the change lock; users are drained meanwhile. Errors: -EPERM when somebody active
 * uses a node, -ENOTSUP when a driver cannot, -EBUSY for a bitmap in use, -EAGAIN when
 * another process still holds the image, and failed requests.
 */
int co_fn nodes_set_active(struct graph *g, struct node *n, bool active, struct error **errp);

#endif
