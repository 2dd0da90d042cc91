/* SPDX-License-Identifier: MIT */
/*
 * Walks over the graph: depth first, with a stack of their own, since chains
 * are as long as the user makes them.
 */
#include "block/walk.h"

#include <assert.h>
#include <stdlib.h>

#include "block/consumer.h"

/* A node whose neighbours are being visited; next is the link of the one to come. */
struct frame {
	struct node *node;
	struct list *next;
};

struct walk {
	uint64_t epoch;
	bool upward;
	struct frame *stack;
	size_t depth, capacity;
	struct node_array *finished; /* each after everything that it leads to */
};

void node_array_add(struct node_array *a, struct node *n)
{
	if (a->count == a->capacity) {
		a->capacity = a->capacity == 0 ? 8 : 2 * a->capacity;
		a->items = xrealloc(a->items, a->capacity, sizeof(a->items[0]));
	}
	a->items[a->count++] = n;
}

static struct list *neighbours(const struct walk *w, struct node *n)
{
	return w->upward ? &n->parents : &n->children;
}

static void push(struct walk *w, struct node *n)
{
	if (n->walk_epoch == w->epoch)
		return;
	n->walk_epoch = w->epoch;
	if (w->depth == w->capacity) {
		w->capacity = w->capacity == 0 ? 16 : 2 * w->capacity;
		w->stack = xrealloc(w->stack, w->capacity, sizeof(w->stack[0]));
	}
	w->stack[w->depth++] = (struct frame){.node = n, .next = neighbours(w, n)->next};
}

static void visit(struct walk *w, struct node *root)
{
	push(w, root);
	while (w->depth > 0) {
		struct frame *f = &w->stack[w->depth - 1];
		if (f->next == neighbours(w, f->node)) {
			node_array_add(w->finished, f->node);
			w->depth--;
			continue;
		}
		struct edge *e = w->upward ? container_of(f->next, struct edge, child_link)
					   : container_of(f->next, struct edge, parent_link);
		f->next = f->next->next;
		struct node *neighbour = w->upward ? e->parent : e->child;
		if (neighbour)
			push(w, neighbour);
	}
}

/* Postorder puts the farthest first; turned round, each node stands before what it leads to. */
static void walk(struct graph *g, bool upward, struct node *const *roots, size_t count,
		 struct node_array *ret)
{
	*ret = (struct node_array){0};
	struct walk w = {.epoch = ++g->walk_epoch, .upward = upward, .finished = ret};
	for (size_t i = 0; i < count; i++)
		visit(&w, roots[i]);
	free(w.stack);

	for (size_t i = 0; i < ret->count / 2; i++) {
		struct node *n = ret->items[i];
		ret->items[i] = ret->items[ret->count - 1 - i];
		ret->items[ret->count - 1 - i] = n;
	}
}

void walk_below(struct graph *g, struct node *const *roots, size_t count, struct node_array *ret)
{
	walk(g, false, roots, count, ret);
}

void walk_above(struct graph *g, struct node *const *roots, size_t count, struct node_array *ret)
{
	walk(g, true, roots, count, ret);
}

/* Add to @roots what the users of @nodes name as joined_from, and the walk has not met. */
static void add_joined(const struct node_array *nodes, struct node_array *roots)
{
	for (size_t i = 0; i < nodes->count; i++) {
		struct edge *e;
		list_for_each (e, &nodes->items[i]->parents, child_link) {
			struct node *n = e->consumer ? e->consumer->joined_from : NULL;
			if (n && !walk_has_met(n))
				node_array_add(roots, n);
		}
	}
}

void walk_users(struct graph *g, struct node *const *roots, size_t count, struct node_array *ret)
{
	struct node_array all _cleanup_node_array_ = {0};
	for (size_t i = 0; i < count; i++)
		node_array_add(&all, roots[i]);
	for (;;) {
		size_t known = all.count;
		walk_above(g, all.items, all.count, ret);
		add_joined(ret, &all);
		if (all.count == known)
			return;
		node_array_finish(ret);
	}
}

void walk_component(struct graph *g, struct node *n, struct node_array *ret)
{
	*ret = (struct node_array){0};
	node_array_add(ret, n);
	/* Each round adds the other users of what was found. */
	for (;;) {
		struct node_array above _cleanup_node_array_ = {0};
		size_t known = ret->count;
		walk_above(g, ret->items, known, &above);
		node_array_finish(ret);
		walk_below(g, above.items, above.count, ret);
		if (ret->count == known)
			return;
	}
}
