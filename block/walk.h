/* SPDX-License-Identifier: MIT */
/*
 * Walks over the graph, without recursion. Only block/ includes it.
 *
 * A walk marks what it has met with the graph's epoch, which each walk
 * increments: no mark needs to be cleared. No walk waits, so none sees another's
 * marks. Loop's thread only.
 */
#ifndef BLOCK_WALK_H
#define BLOCK_WALK_H

#include "block/graph.h"
#include "block/node.h"

/* A malloc'ed array of nodes, without references. */
struct node_array {
	struct node **items;
	size_t count, capacity;
};

void node_array_add(struct node_array *a, struct node *n);
static inline void node_array_finish(struct node_array *a)
{
	free(a->items);
}
#define _cleanup_node_array_ __attribute__((cleanup(node_array_finish)))

/*
 * All nodes that @roots lead to, the roots included, each once and after all of
 * its parents that are in the list. Sets their walk_epoch.
 */
void walk_below(struct graph *g, struct node *const *roots, size_t count, struct node_array *ret);

/* All nodes that lead to @roots, the roots included, each once and after its children in the list. */
void walk_above(struct graph *g, struct node *const *roots, size_t count, struct node_array *ret);

/*
 * As walk_above(), with the nodes whose users a drain of @roots concerns for another reason: they
 * may join the operations of a consumer that is met.
 */
void walk_users(struct graph *g, struct node *const *roots, size_t count, struct node_array *ret);

/* All nodes that edges in either direction join with @n, itself included, each once. */
void walk_component(struct graph *g, struct node *n, struct node_array *ret);

/* True when the latest walk has met @n. */
static inline bool walk_has_met(const struct node *n)
{
	return n->walk_epoch == n->graph->walk_epoch;
}

#endif
