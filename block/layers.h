/* SPDX-License-Identifier: MIT */
/*
 * Where in a deep backing chain to begin: what is known of how many layers, from
 * the top down, have nothing in a range. Only block/ includes it.
 *
 * The data is small, bounded and may be dropped at any time. Node's loop.
 */
#ifndef BLOCK_LAYERS_H
#define BLOCK_LAYERS_H

#include "block/node.h"

/* Most pages of 4 KiB that all maps of a graph have. */
#define LAYERS_PAGES_MAX 8192
/* A chain needs so many layers, the top included, to be worth it. */
#define LAYERS_MIN 3

/*
 * The first layer of @top's chain that may have something in the range, from which
 * a read may begin. Cuts *bytes to the part for which that holds. May wait while it
 * learns. @top has a map.
 */
struct node *co_fn layers_find(struct node *top, uint64_t offset, uint64_t *bytes);
/* A read has walked down the chain of @top: make a map for it. */
void layers_create(struct node *top);

void layers_invalidate(struct node *n, uint64_t offset, uint64_t bytes);
/* A request that may have allocated the range in @n has ended, well or not. */
static inline void layers_note_write(struct node *n, uint64_t offset, uint64_t bytes)
{
	if (n->layers || n->layer_uses > 0)
		layers_invalidate(n, offset, bytes);
}

/* @n or what is below it has changed otherwise: forget what is known of chains with @n. */
void layers_forget(struct node *n);
/* Links of the graph may have changed: forget what is known of chains that are no more. */
void layers_check(struct graph *g);
/* @n is about to go. */
void layers_destroy(struct node *n);

#endif
