/* SPDX-License-Identifier: MIT */
/*
 * Graph transactions. Control thread.
 *
 * Invariants:
 * 1. A step changes the links at once and registers how to change them back.
 *    Undone in reverse order, each finds the lists as it left them, so that
 *    even the order of parents and children comes back.
 * 2. References are taken by the step and dropped by clean, when the graph is
 *    whole again: closing a node may wait, and nothing waits in between.
 * 3. Permissions are computed in prepare for the graph as it then stands.
 */
#include "block/graph.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/consumer.h"
#include "block/drain.h"
#include "block/driver.h"
#include "block/edge.h"
#include "block/node_internal.h"
#include "block/permission_update.h"
#include "block/walk.h"

struct action {
	struct list link;
	const struct graph_tx_action_ops *ops;
	void *arg;
};

void graph_tx_begin(struct graph_tx *tx, struct graph *g)
{
	*tx = (struct graph_tx){.graph = g};
	list_init(&tx->actions);
}

void graph_tx_add(struct graph_tx *tx, const struct graph_tx_action_ops *ops, void *arg)
{
	struct action *a = NEW(struct action);
	a->ops = ops;
	a->arg = arg;
	list_add_tail(&tx->actions, &a->link);
}

void graph_tx_touch(struct graph_tx *tx, struct node *n)
{
	for (unsigned i = 0; i < tx->touched_count; i++) {
		if (tx->touched[i] == n)
			return;
	}
	if (tx->touched_count == tx->touched_capacity) {
		tx->touched_capacity = tx->touched_capacity == 0 ? 8 : 2 * tx->touched_capacity;
		tx->touched = xrealloc(tx->touched, tx->touched_capacity, sizeof(tx->touched[0]));
	}
	tx->touched[tx->touched_count++] = n;
}

/*
 * An edge's place in the graph before a step: which child, and behind which
 * neighbours. Serves all steps; an edge without a place was or will be no part
 * of the graph.
 */
struct move {
	struct edge *edge;
	struct node *old_child;          /* NULL: the edge is new */
	struct list *after_in_parent;    /* the link before its own, as it was */
	struct list *after_in_child;
	bool showed_below;
	bool detached;
};

static struct move *move_new(struct edge *e)
{
	struct move *m = NEW(struct move);
	m->edge = e;
	m->old_child = e->child;
	m->after_in_parent = e->parent_link.prev;
	m->after_in_child = e->child_link.prev;
	m->showed_below = e->shows_below;
	return m;
}

static void move_abort(void *arg)
{
	struct move *m = arg;
	struct edge *e = m->edge;
	list_del_init(&e->parent_link);
	list_del_init(&e->child_link);
	struct node *new_child = e->child;
	if (m->old_child) {
		e->child = m->old_child;
		e->shows_below = m->showed_below;
		list_add_head(m->after_in_parent, &e->parent_link);
		list_add_head(m->after_in_child, &e->child_link);
	}
	if (e->parent)
		node_update_shortcuts(e->parent);
	/* What clean has to drop now is the new child. */
	m->old_child = new_child == m->old_child ? NULL : new_child;
	m->detached = !list_is_linked(&e->parent_link);
}

static void co_fn move_clean(void *arg)
{
	struct move *m = arg;
	if (m->detached)
		edge_free(m->edge);
	node_unref(m->old_child);
	free(m);
}

static const struct graph_tx_action_ops move_ops = {
	.abort = move_abort,
	.clean = move_clean,
};

static void touch_ends(struct graph_tx *tx, struct edge *e)
{
	if (e->parent)
		graph_tx_touch(tx, e->parent);
	graph_tx_touch(tx, e->child);
}

static void attach(struct graph_tx *tx, struct edge *e, struct edge **ret_edge)
{
	edge_link(e);
	struct move *m = NEW(struct move);
	m->edge = e;
	graph_tx_add(tx, &move_ops, m);
	touch_ends(tx, e);
	if (ret_edge)
		*ret_edge = e;
}

/*
 * Most edges on a way from the first of @order on, counting either those to
 * backing files or all others. @order comes from the walk in that direction.
 */
static unsigned longest_way(const struct node_array *order, bool upward, bool backing)
{
	unsigned longest = 0;
	for (size_t i = 0; i < order->count; i++)
		order->items[i]->walk_depth = 0;
	for (size_t i = 0; i < order->count; i++) {
		struct node *n = order->items[i];
		longest = MAX(longest, n->walk_depth);
		struct list *l, *head = upward ? &n->parents : &n->children;
		for (l = head->next; l != head; l = l->next) {
			struct edge *e = upward ? container_of(l, struct edge, child_link)
						: container_of(l, struct edge, parent_link);
			struct node *next = upward ? e->parent : e->child;
			bool counts = !!(e->role & EDGE_COW) == backing;
			if (next)
				next->walk_depth = MAX(next->walk_depth, n->walk_depth + counts);
		}
	}
	return longest;
}

int graph_tx_check_child(struct node *parent, const char *name, struct node *child,
			 unsigned role, struct error **errp)
{
	struct node_array below _cleanup_node_array_;
	walk_below(parent->graph, &child, 1, &below);
	if (walk_has_met(parent))
		return error_set(errp, -EINVAL, "Making '%s' a %s child of '%s' would create a cycle",
				 child->name, name, parent->name);
	struct node_array above _cleanup_node_array_;
	walk_above(parent->graph, &parent, 1, &above);

	bool backing = role & EDGE_COW;
	unsigned depth = longest_way(&below, false, backing) + 1 + longest_way(&above, true, backing);
	if (backing && depth >= GRAPH_CHAIN_MAX)
		return error_set(errp, -EINVAL,
				 "The backing chain of '%s' would have more than %d images",
				 parent->name, GRAPH_CHAIN_MAX);
	if (!backing && depth > GRAPH_NESTING_MAX)
		return error_set(errp, -EINVAL,
				 "Making '%s' a %s child of '%s' would stack more than %d nodes",
				 child->name, name, parent->name, GRAPH_NESTING_MAX);
	return 0;
}

/*
 * Refuse the filter of a job that has left: who found it before, and has waited since, may hold it
 * still, but there is nothing to read.
 */
static int check_has_content(const struct node *child, struct error **errp)
{
	if (child->driver->is_filter && !child->file)
		return error_set(errp, -EBUSY, "There is nothing below node '%s' any more",
				 child->name);
	return 0;
}

int graph_tx_attach_node(struct graph_tx *tx, struct node *parent, const char *name,
			 struct node *child, unsigned role, struct edge **ret_edge,
			 struct error **errp)
{
	int r = check_has_content(child, errp);
	if (r >= 0)
		r = graph_tx_check_child(parent, name, child, role, errp);
	if (r < 0)
		return r;
	attach(tx, edge_new(parent, NULL, name, child, role), ret_edge);
	return 0;
}

int graph_tx_attach_consumer(struct graph_tx *tx, struct consumer *consumer, const char *name,
			     struct node *child, unsigned permissions, unsigned shared,
			     struct edge **ret_edge, struct error **errp)
{
	int r = check_has_content(child, errp);
	if (r < 0)
		return r;
	struct edge *e = edge_new(NULL, consumer, name, child, 0);
	e->permissions = permissions;
	e->shared = shared;
	attach(tx, e, ret_edge);
	drain_consumer_attached(consumer, child);
	return 0;
}

void graph_tx_detach(struct graph_tx *tx, struct edge *edge)
{
	struct move *m = move_new(edge);
	m->detached = true;
	touch_ends(tx, edge);
	edge_unlink(edge);
	graph_tx_add(tx, &move_ops, m);
}

/* The step itself; the caller has ruled out cycles. */
static void retarget(struct graph_tx *tx, struct edge *edge, struct node *child)
{
	touch_ends(tx, edge);
	graph_tx_touch(tx, child);
	graph_tx_add(tx, &move_ops, move_new(edge));
	list_del_init(&edge->child_link);
	edge->shows_below = false;
	edge->child = node_ref(child);
	list_add_tail(&child->parents, &edge->child_link);
	if (edge->consumer)
		drain_consumer_attached(edge->consumer, child);
}

int graph_tx_retarget(struct graph_tx *tx, struct edge *edge, struct node *child,
		      struct error **errp)
{
	if (edge->child == child)
		return 0;
	if (edge->parent) {
		int r = graph_tx_check_child(edge->parent, edge->name, child, edge->role, errp);
		if (r < 0)
			return r;
	}
	retarget(tx, edge, child);
	return 0;
}

int graph_tx_replace_node(struct graph_tx *tx, struct node *from, struct node *to,
			  struct error **errp)
{
	if (from == to)
		return 0;
	/* Chosen first: the steps change the list, and each of them walks. */
	struct node_array below _cleanup_node_array_;
	walk_below(tx->graph, &to, 1, &below);
	struct edge **edges _cleanup_free_ = NULL;
	size_t count = 0;
	struct edge *e;
	list_for_each (e, &from->parents, child_link) {
		if (e->stays || (e->parent && walk_has_met(e->parent)))
			continue;
		if (e->frozen > 0)
			return edge_refuse_frozen(e, errp);
		edges = xrealloc(edges, count + 1, sizeof(edges[0]));
		edges[count++] = e;
	}

	for (size_t i = 0; i < count; i++) {
		int r = graph_tx_retarget(tx, edges[i], to, errp);
		if (r < 0)
			return r;
	}
	return 0;
}

struct permission_step {
	struct edge *edge;
	unsigned permissions, shared;
};

static void permission_step_abort(void *arg)
{
	struct permission_step *s = arg;
	s->edge->permissions = s->permissions;
	s->edge->shared = s->shared;
}

static void co_fn permission_step_clean(void *arg)
{
	free(arg);
}

static const struct graph_tx_action_ops permission_step_ops = {
	.abort = permission_step_abort,
	.clean = permission_step_clean,
};

void graph_tx_set_permissions(struct graph_tx *tx, struct edge *edge, unsigned permissions,
			      unsigned shared)
{
	assert(edge->consumer);
	struct permission_step *s = NEW(struct permission_step);
	*s = (struct permission_step){
		.edge = edge, .permissions = edge->permissions, .shared = edge->shared};
	graph_tx_add(tx, &permission_step_ops, s);
	edge->permissions = permissions;
	edge->shared = shared;
	graph_tx_touch(tx, edge->child);
}

int graph_tx_prepare(struct graph_tx *tx, struct error **errp)
{
	permission_update_abort(TAKE(tx->update));
	return permission_update_prepare(tx->graph, tx->touched, tx->touched_count, &tx->update,
					 errp);
}

static void co_fn clean(struct graph_tx *tx)
{
	struct action *a, *following;
	list_for_each_safe (a, following, &tx->actions, link) {
		list_del_init(&a->link);
		if (a->ops->clean)
			a->ops->clean(a->arg);
		free(a);
	}
	free(tx->touched);
	*tx = (struct graph_tx){0};
}

void co_fn graph_tx_commit(struct graph_tx *tx)
{
	assert(tx->update || tx->touched_count == 0); /* prepare has succeeded */
	struct action *a;
	list_for_each (a, &tx->actions, link) {
		if (a->ops->commit)
			a->ops->commit(a->arg);
	}
	permission_update_commit(TAKE(tx->update));
	struct graph *g = tx->graph;
	nodes_refresh(g, tx->touched, tx->touched_count);
	clean(tx);
	nodes_settle(g);
}

void co_fn graph_tx_abort(struct graph_tx *tx)
{
	permission_update_abort(TAKE(tx->update));
	for (struct list *l = tx->actions.prev; l != &tx->actions; l = l->prev) {
		struct action *a = container_of(l, struct action, link);
		if (a->ops->abort)
			a->ops->abort(a->arg);
	}
	clean(tx);
}

/* A transaction of one step that has been made, with result @r. */
static int co_fn finish_step(struct graph_tx *tx, int r, struct error **errp)
{
	if (r >= 0)
		r = graph_tx_prepare(tx, errp);
	if (r < 0) {
		graph_tx_abort(tx);
		return r;
	}
	graph_tx_commit(tx);
	return 0;
}

int co_fn edge_attach_consumer(struct consumer *consumer, const char *name, struct node *child,
			       unsigned permissions, unsigned shared, struct edge **ret_edge,
			       struct error **errp)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, child->graph);
	struct edge *e;
	int r = graph_tx_attach_consumer(&tx, consumer, name, child, permissions, shared, &e, errp);
	r = finish_step(&tx, r, errp);
	if (r >= 0 && ret_edge)
		*ret_edge = e;
	return r;
}

int co_fn edge_attach_node(struct node *parent, const char *name, struct node *child,
			   unsigned role, struct edge **ret_edge, struct error **errp)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, child->graph);
	struct edge *e;
	int r = graph_tx_attach_node(&tx, parent, name, child, role, &e, errp);
	r = finish_step(&tx, r, errp);
	if (r >= 0 && ret_edge)
		*ret_edge = e;
	return r;
}

void co_fn edge_detach(struct edge *edge)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, edge->child->graph);
	graph_tx_detach(&tx, edge);
	/* Asking for less cannot conflict; should a driver refuse, its old locks merely stay. */
	if (graph_tx_prepare(&tx, NULL) < 0)
		tx.touched_count = 0;
	graph_tx_commit(&tx);
}

int co_fn edge_set_permissions(struct edge *edge, unsigned permissions, unsigned shared,
			       struct error **errp)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, edge->child->graph);
	graph_tx_set_permissions(&tx, edge, permissions, shared);
	return finish_step(&tx, 0, errp);
}
