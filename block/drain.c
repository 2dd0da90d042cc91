/* SPDX-License-Identifier: MIT */
/*
 * Drains: holding the consumers above some nodes. Loop's thread.
 *
 * All consumers are held first and waited for afterwards, so that none starts
 * something new while another is waited for. Since operations never wait for a
 * drain once they have begun, the wait ends.
 */
#include "block/drain.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "block/consumer.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/node.h"
#include "block/walk.h"

static bool is_held_by(const struct drain *d, const struct consumer *c)
{
	for (unsigned i = 0; i < d->count; i++) {
		if (d->consumers[i] == c)
			return true;
	}
	return false;
}

static void hold(struct drain *d, struct consumer *c)
{
	if (d->count == d->capacity) {
		d->capacity = d->capacity == 0 ? 8 : 2 * d->capacity;
		d->consumers = xrealloc(d->consumers, d->capacity, sizeof(d->consumers[0]));
	}
	d->consumers[d->count++] = c;
	if (c->quiesced++ == 0 && c->ops->quiesce)
		c->ops->quiesce(c);
}

/* True when @c uses what the latest walk has met. */
static bool uses_what_was_met(const struct consumer *c)
{
	struct edge *e;
	list_for_each (e, &c->edges, parent_link) {
		if (walk_has_met(e->child))
			return true;
	}
	return false;
}

/* Who comes in above @n during the drain goes on before the others there. */
static void hold_newcomer(struct drain *d, struct node *n, struct consumer *c)
{
	struct node_array above _cleanup_node_array_;
	walk_above(n->graph, &n, 1, &above);
	unsigned i = 0;
	while (i < d->count && !uses_what_was_met(d->consumers[i]))
		i++;
	hold(d, c);
	memmove(d->consumers + i + 1, d->consumers + i,
		(d->count - 1 - i) * sizeof(d->consumers[0]));
	d->consumers[i] = c;
}

static void release(struct consumer *c)
{
	assert(c->quiesced > 0);
	if (--c->quiesced > 0)
		return;
	co_queue_wake_all(&c->waiting);
	if (c->ops->resume)
		c->ops->resume(c);
}

/* Hold the consumers of all nodes in @above, or the idle ones among them, each once. */
static void hold_consumers_of(struct drain *d, struct graph *g, const struct node_array *above,
			      bool only_idle)
{
	for (size_t i = 0; i < above->count; i++) {
		struct edge *e;
		list_for_each (e, &above->items[i]->parents, child_link) {
			if (!e->consumer || e->consumer->walk_epoch == g->walk_epoch)
				continue;
			e->consumer->walk_epoch = g->walk_epoch;
			if (!only_idle || e->consumer->operations == 0)
				hold(d, e->consumer);
		}
	}
}

/* Have operations of held consumers, and work of the nodes in @above, go on wherever they wait. */
static void hurry(struct drain *d, struct graph *g, const struct node_array *above)
{
	if (list_is_empty(&g->throttle_groups))
		return;
	struct node_array tops _cleanup_node_array_ = {0}, below _cleanup_node_array_;
	for (unsigned i = 0; i < d->count; i++) {
		struct edge *e;
		list_for_each (e, &d->consumers[i]->edges, parent_link)
			node_array_add(&tops, e->child);
	}
	for (size_t i = 0; i < above->count; i++)
		node_array_add(&tops, above->items[i]);
	walk_below(g, tops.items, tops.count, &below);
	d->hurried = xalloc(MAX(below.count, 1), sizeof(d->hurried[0]));
	for (size_t i = 0; i < below.count; i++) {
		struct node *n = below.items[i];
		if (!n->is_open || !n->driver->hurry_begin)
			continue;
		n->driver->hurry_begin(n);
		d->hurried[d->hurried_count++] = n;
	}
}

/* The first held consumer that is inside an operation, or NULL. */
static struct consumer *busy_consumer(const struct drain *d)
{
	for (unsigned i = 0; i < d->count; i++) {
		if (d->consumers[i]->operations > 0)
			return d->consumers[i];
	}
	return NULL;
}

void node_work_begin(struct node *n)
{
	n->work++;
}

void node_work_end(struct node *n)
{
	assert(n->work > 0);
	if (--n->work == 0)
		co_queue_wake_all(&n->graph->worked);
}

/* True when a node that leads to those of the drain, or one of them, works on its own. */
static bool is_work_left(struct graph *g, const struct drain *d)
{
	struct node_array above _cleanup_node_array_;
	walk_users(g, d->nodes, d->node_count, &above);
	for (size_t i = 0; i < above.count; i++) {
		if (above.items[i]->work > 0)
			return true;
	}
	return false;
}

static void tell_drained(const struct drain *d)
{
	for (unsigned i = 0; i < d->count; i++) {
		struct consumer *c = d->consumers[i];
		if (c->ops->drained)
			c->ops->drained(c);
	}
}

/* True when what @d waits for may be remote storage. */
static bool is_held_up_far_away(struct graph *g, const struct drain *d)
{
	struct node_array above _cleanup_node_array_ = {0};
	for (unsigned i = 0; i < d->count; i++) {
		struct edge *e;
		list_for_each (e, &d->consumers[i]->edges, parent_link) {
			if (d->consumers[i]->operations > 0 && node_is_remote(e->child))
				return true;
		}
	}
	walk_users(g, d->nodes, d->node_count, &above);
	for (size_t i = 0; i < above.count; i++) {
		if (above.items[i]->work > 0 && node_is_remote(above.items[i]))
			return true;
	}
	return false;
}

static void on_late(struct loop_timer *t)
{
	struct drain *d = container_of(t, struct drain, patience);
	d->is_late = true;
	for (unsigned i = 0; i < d->count; i++)
		co_queue_wake_all(&d->consumers[i]->draining);
	co_queue_wake_all(&d->graph->worked);
}

static void hold_all(struct graph *g, struct node *const *nodes, unsigned count, struct drain *ret)
{
	*ret = (struct drain){
		.graph = g,
		.nodes = xmemdup(nodes, count * sizeof(nodes[0])),
		.node_count = count,
	};
	list_add_tail(&g->drains, &ret->link);
	loop_timer_init(g->loop, &ret->patience, on_late);

	struct node_array above _cleanup_node_array_;
	walk_users(g, nodes, count, &above);
	hold_consumers_of(ret, g, &above, false);
	hurry(ret, g, &above);
}

/* False when patience is at an end. */
static bool co_fn wait_for_all(struct graph *g, struct drain *d)
{
	/* A consumer may go away, or come in, while another is waited for: look afresh each time. */
	for (;;) {
		struct consumer *busy = busy_consumer(d);
		if (!busy && !is_work_left(g, d))
			return true;
		if (d->is_late && is_held_up_far_away(g, d))
			return false;
		co_queue_wait(busy ? &busy->draining : &g->worked);
	}
}

void co_fn drain_begin(struct graph *g, struct node *const *nodes, unsigned count,
		       struct drain *ret)
{
	hold_all(g, nodes, count, ret);
	wait_for_all(g, ret);
	tell_drained(ret);
}

int co_fn drain_begin_patiently(struct graph *g, struct node *const *nodes, unsigned count,
				struct drain *ret, struct error **errp)
{
	hold_all(g, nodes, count, ret);
	if (g->patience_ns > 0)
		loop_timer_set(&ret->patience, loop_now_ns(g->loop) + g->patience_ns);
	if (wait_for_all(g, ret)) {
		loop_timer_cancel(&ret->patience);
		tell_drained(ret);
		return 0;
	}
	drain_end(ret);
	graph_change_is_certain(g);
	return error_set(errp, -ERESTART, "The storage of node '%s' does not answer",
			 nodes[0]->name);
}

void drain_end(struct drain *d)
{
	list_del_init(&d->link);
	for (unsigned i = 0; i < d->hurried_count; i++)
		d->hurried[i]->driver->hurry_end(d->hurried[i]);
	for (unsigned i = 0; i < d->count; i++)
		release(d->consumers[i]);
	free(d->consumers);
	free(d->nodes);
	free(d->hurried);
	*d = (struct drain){0};
}

void drain_spare(struct drain *d, struct consumer *c)
{
	for (unsigned i = 0; i < d->count; i++) {
		if (d->consumers[i] != c)
			continue;
		d->count--;
		memmove(d->consumers + i, d->consumers + i + 1,
			(d->count - i) * sizeof(d->consumers[0]));
		release(c);
		return;
	}
}

void drain_idle(struct graph *g, struct node *n)
{
	struct drain d = {0};
	struct node_array above _cleanup_node_array_;
	walk_above(g, &n, 1, &above);
	hold_consumers_of(&d, g, &above, true);
	for (unsigned i = 0; i < d.count; i++)
		release(d.consumers[i]);
	free(d.consumers);
}

/* The node that @child leads to whose users @d holds, or NULL. */
static struct node *find_drained(const struct drain *d, struct node *child)
{
	struct node_array below _cleanup_node_array_;
	walk_below(child->graph, &child, 1, &below);
	for (unsigned i = 0; i < d->node_count; i++) {
		if (walk_has_met(d->nodes[i]))
			return d->nodes[i];
	}
	for (unsigned i = 0; i < d->count; i++) {
		struct node *n = d->consumers[i]->joined_from;
		if (n && walk_has_met(n))
			return n;
	}
	return NULL;
}

void drain_consumer_attached(struct consumer *c, struct node *child)
{
	struct drain *d;
	list_for_each (d, &child->graph->drains, link) {
		struct node *n = is_held_by(d, c) ? NULL : find_drained(d, child);
		if (n)
			hold_newcomer(d, n, c);
	}
}

void drain_forget_consumer(struct consumer *c)
{
	struct drain *d;
	list_for_each (d, &c->graph->drains, link) {
		for (unsigned i = 0; i < d->count; i++) {
			if (d->consumers[i] == c) {
				d->consumers[i] = d->consumers[--d->count];
				c->quiesced--;
				break;
			}
		}
	}
	/* Whoever waits for its operations looks at the others now. */
	co_queue_wake_all(&c->draining);
}

/* Take @n out of an array; it may be there more than once. */
static void forget(struct node **nodes, unsigned *count, const struct node *n)
{
	for (unsigned i = *count; i-- > 0;) {
		if (nodes[i] == n)
			nodes[i] = nodes[--*count];
	}
}

void drain_forget_node(struct node *n)
{
	struct drain *d;
	list_for_each (d, &n->graph->drains, link) {
		forget(d->nodes, &d->node_count, n);
		forget(d->hurried, &d->hurried_count, n);
	}
}
