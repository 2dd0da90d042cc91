/* SPDX-License-Identifier: MIT */
/*
 * Guessing formats from the first bytes, and keeping guests from misusing the
 * guess. Only block/ includes it.
 */
#ifndef BLOCK_PROBE_H
#define BLOCK_PROBE_H

#include "base/vec.h"
#include "block/graph.h"
#include "block/node.h"

/* How much of an image is looked at. */
#define PROBE_BYTES 2048

/*
 * The driver whose format what @n shows begins with; NULL when none claims it. Returns 0
 * with *ret set, or what reading gives. Runs in a coroutine of the node's loop.
 */
int co_fn probe_node(struct node *n, const struct driver **ret, struct error **errp);

/*
 * Whether the write, inside a serialising request on @n, leaves the node looking
 * like what it was guessed to be. Returns 0, or -EPERM when its first bytes would
 * become the header of a format.
 */
int co_fn probe_check_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v);

#endif
