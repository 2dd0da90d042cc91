/* SPDX-License-Identifier: MIT */
/*
 * Inactive nodes. Control thread, in a coroutine, with the change lock held.
 *
 * 1. Before a node is inactive, all that it and its bitmaps have to store is durable in
 *    its storage: drivers get ready as for becoming read-only, parents first.
 * 2. Only then are locks given up, by permissions: an inactive node needs nothing but
 *    to read, and shares everything.
 * 3. Before a driver may load its tables anew, the locks are there again, and what is
 *    below it has been loaded.
 */
#include "block/active.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "block/bitmap.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/layers.h"
#include "block/node_internal.h"
#include "block/walk.h"

/* Set n->active of all, and the permissions that follow. */
static int co_fn mark(struct graph *g, const struct node_array *nodes, bool active,
		      struct error **errp)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, g);
	for (size_t i = 0; i < nodes->count; i++) {
		nodes->items[i]->active = active;
		graph_tx_touch(&tx, nodes->items[i]);
	}
	int r = graph_tx_prepare(&tx, errp);
	if (r >= 0) {
		graph_tx_commit(&tx);
		return 0;
	}
	for (size_t i = 0; i < nodes->count; i++)
		nodes->items[i]->active = !active;
	graph_tx_abort(&tx);
	return r;
}

/* --- Letting go -------------------------------------------------------------------- */

/* Whether choose() has put @n, of this walk or not, into its list. */
static bool is_chosen(const struct node *n)
{
	return walk_has_met(n) && n->walk_affected;
}

/* 0, or -EPERM when somebody who stays active uses @n. */
static int check_users(const struct node *n, struct error **errp)
{
	struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		if (e->parent && e->parent->active && !is_chosen(e->parent))
			return error_set(errp, -EPERM, "Node has active parent node");
		if (e->consumer && !e->consumer->bears_inactive) {
			char *user _cleanup_free_ = e->consumer->ops->describe(e->consumer);
			return error_set(errp, -EPERM,
					 "Failed to inactivate node: Operation not permitted: "
					 "'%s' is used by %s", n->name, user);
		}
	}
	return 0;
}

static int check_node(struct node *n, struct error **errp)
{
	if (!n->driver->can_be_inactive)
		return error_set(errp, -ENOTSUP, "Driver '%s' of node '%s' does not support "
				 "inactive nodes", n->driver->name, n->name);
	struct bitmap *b = NULL;
	while ((b = bitmap_next(n, b))) {
		if (b->persistent && b->busy)
			return bitmap_check(b, BITMAP_BUSY, errp);
	}
	return 0;
}

/*
 * Those of @order, parents first, that become inactive: the first of them, or with @all
 * each, must; what is below only does if nobody else needs it.
 */
static int choose(const struct node_array *order, bool all, struct node_array *ret,
		  struct error **errp)
{
	for (size_t i = 0; i < order->count; i++)
		order->items[i]->walk_affected = false;
	for (size_t i = 0; i < order->count; i++) {
		struct node *n = order->items[i];
		bool must = all || i == 0;
		if (!n->active)
			continue;
		int r = check_users(n, must ? errp : NULL);
		if (r < 0 && !must)
			continue;
		if (r >= 0)
			r = check_node(n, errp);
		if (r < 0)
			return r;
		n->walk_affected = true;
		node_array_add(ret, n);
	}
	return 0;
}

static bool has_tables(const struct node *n)
{
	return n->driver->activate && n->driver->is_format;
}

static int co_fn store(struct node *n, struct reopen *ro, struct error **errp)
{
	*ro = (struct reopen){.node = n, .options = n->options, .read_only = true};
	int r = node_flush(n);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to inactivate node '%s'", n->name);
	return has_tables(n) ? n->driver->reopen_prepare(ro, errp) : 0;
}

static void stored(struct reopen *ro, bool succeeded)
{
	const struct driver *d = ro->node->driver;
	if (!has_tables(ro->node))
		return;
	if (succeeded)
		d->reopen_commit(ro);
	else
		d->reopen_abort(ro);
}

static int co_fn inactivate_drained(struct graph *g, const struct node_array *nodes,
				    struct error **errp)
{
	struct reopen *ro _cleanup_free_ = xalloc(MAX(nodes->count, 1), sizeof(*ro));
	size_t done = 0;
	int r = 0;
	while (r >= 0 && done < nodes->count) {
		r = store(nodes->items[done], &ro[done], errp);
		done += r >= 0;
	}
	/* What parents have stored is to be durable below them, too. */
	for (size_t i = 0; r >= 0 && i < nodes->count; i++) {
		r = node_flush(nodes->items[i]);
		if (r < 0)
			error_set_errno(errp, r, "Failed to inactivate node '%s'",
					nodes->items[i]->name);
	}
	if (r >= 0)
		r = mark(g, nodes, false, errp);
	for (size_t i = 0; i < done; i++)
		stored(&ro[i], r >= 0);
	/* They are in the image, and may be others when the node is active again. */
	for (size_t i = 0; r >= 0 && i < nodes->count; i++)
		bitmaps_destroy_persistent(nodes->items[i]);
	return r;
}

static int co_fn inactivate(struct graph *g, const struct node_array *order, bool all,
			    struct error **errp)
{
	struct node_array nodes _cleanup_node_array_ = {0};
	int r = choose(order, all, &nodes, errp);
	if (r < 0 || nodes.count == 0)
		return r;
	struct drain drain;
	r = drain_begin_patiently(g, nodes.items, (unsigned)nodes.count, &drain, errp);
	if (r < 0)
		return r;
	r = inactivate_drained(g, &nodes, errp);
	drain_end(&drain);
	return r;
}

/* --- Taking over ------------------------------------------------------------------- */

static int co_fn load(struct graph *g, const struct node_array *nodes, struct error **errp)
{
	for (size_t i = nodes->count; i-- > 0;) {
		struct node *n = nodes->items[i];
		int r = n->driver->activate ? n->driver->activate(n, errp) : 0;
		if (r < 0) {
			error_prefix(errp, "Failed to activate node '%s': ", n->name);
			return r;
		}
		layers_forget(n);
	}
	nodes_refresh(g, nodes->items, nodes->count);
	return 0;
}

static int co_fn activate(struct graph *g, const struct node_array *order, struct error **errp)
{
	struct node_array nodes _cleanup_node_array_ = {0};
	for (size_t i = 0; i < order->count; i++) {
		if (!order->items[i]->active)
			node_array_add(&nodes, order->items[i]);
	}
	if (nodes.count == 0)
		return 0;
	struct drain drain;
	int r = drain_begin_patiently(g, nodes.items, (unsigned)nodes.count, &drain, errp);
	if (r < 0)
		return r;
	r = mark(g, &nodes, true, errp);
	if (r >= 0) {
		r = load(g, &nodes, errp);
		/* Nobody has written: those that are loaded only have to let go again. */
		if (r < 0)
			(void)inactivate_drained(g, &nodes, NULL);
	}
	drain_end(&drain);
	return r;
}

int co_fn nodes_set_active(struct graph *g, struct node *n, bool active, struct error **errp)
{
	struct node_array roots _cleanup_node_array_ = {0}, order _cleanup_node_array_ = {0};
	struct node *each;
	if (n)
		node_array_add(&roots, n);
	else
		list_for_each (each, &g->nodes, link) {
			if (!each->opener)
				node_array_add(&roots, each);
		}
	walk_below(g, roots.items, roots.count, &order);
	return active ? activate(g, &order, errp) : inactivate(g, &order, !n, errp);
}
