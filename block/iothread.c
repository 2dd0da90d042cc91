/* SPDX-License-Identifier: MIT */
/*
 * I/O threads: their values, and whose home they are. Loop's thread; nothing waits.
 *
 * What edges join runs in one place. That place is kept with the consumers, since a
 * node without any has nothing to run. Joining two components moves nobody: it costs
 * nothing here to have the parts of one at home in different places.
 */
#include "block/iothread.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/consumer.h"
#include "block/edge.h"
#include "block/objects.h"
#include "block/walk.h"

#define POLL_WEIGHT_MAX 63

/* --- The objects ---------------------------------------------------------------------- */

static int check_range(const char *name, int64_t value, int64_t max, struct error **errp)
{
	if (value >= 0 && value <= max)
		return 0;
	return error_set(errp, -EINVAL, "%s value must be in range [0, %lld]", name,
			 (long long)max);
}

int iothread_properties_check(const struct iothread_properties *p, struct error **errp)
{
	const struct {
		const char *name;
		int64_t value, max;
	} values[] = {
		{"aio-max-batch", p->aio_max_batch, INT64_MAX},
		{"thread-pool-min", p->thread_pool_min, INT64_MAX},
		{"thread-pool-max", p->thread_pool_max, INT64_MAX},
		{"poll-max-ns", p->poll_max_ns, INT64_MAX},
		{"poll-grow", p->poll_grow, INT64_MAX},
		{"poll-shrink", p->poll_shrink, INT64_MAX},
		{"poll-weight", p->poll_weight, POLL_WEIGHT_MAX},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(values); i++) {
		int r = check_range(values[i].name, values[i].value, values[i].max, errp);
		if (r < 0)
			return r;
	}
	if (p->thread_pool_max == 0 || p->thread_pool_max > INT_MAX ||
	    p->thread_pool_min > p->thread_pool_max)
		return error_set(errp, -EINVAL, "bad thread-pool-min/thread-pool-max values");
	return 0;
}

int iothread_make(struct graph *g, const char *id, const struct iothread_properties *p,
		  struct iothread **ret, struct error **errp)
{
	int r = iothread_properties_check(p, errp);
	if (r < 0)
		return r;
	struct iothread *t = NEW(struct iothread);
	t->id = xstrdup(id);
	t->poll_max_ns = (uint64_t)p->poll_max_ns;
	list_add_tail(&g->iothreads, &t->link);
	*ret = t;
	return 0;
}

int iothread_destroy(struct iothread *t)
{
	if (t->users > 0)
		return -EBUSY;
	list_del_init(&t->link);
	free(t->id);
	free(t);
	return 0;
}

struct iothread *iothread_find(struct graph *g, const char *id, struct error **errp)
{
	struct iothread *t;
	list_for_each (t, &g->iothreads, link) {
		if (strcmp(t->id, id) == 0)
			return t;
	}
	error_set(errp, -ENOENT, "iothread \"%s\" not found", id);
	return NULL;
}

struct iothread *iothread_ref(struct iothread *t)
{
	if (t)
		t->users++;
	return t;
}

void iothread_unref(struct iothread *t)
{
	if (t)
		t->users--;
}

/* --- At home -------------------------------------------------------------------------- */

static void set_home(struct consumer *c, struct iothread *t)
{
	iothread_ref(t);
	iothread_unref(c->home);
	c->home = t;
}

/* Call @fn for the consumers of @nodes, some of them more than once, until it returns false. */
static bool for_each_consumer(const struct node_array *nodes,
			      bool (*fn)(struct consumer *c, struct iothread *t),
			      struct iothread *t)
{
	for (size_t i = 0; i < nodes->count; i++) {
		struct edge *e;
		list_for_each (e, &nodes->items[i]->parents, child_link) {
			if (e->consumer && !fn(e->consumer, t))
				return false;
		}
	}
	return true;
}

static bool may_move(struct consumer *c, struct iothread *t)
{
	return !c->is_home_fixed || c->home == t;
}

static bool move_one(struct consumer *c, struct iothread *t)
{
	set_home(c, t);
	return true;
}

static bool move(const struct node_array *nodes, struct iothread *t)
{
	return for_each_consumer(nodes, may_move, t) && for_each_consumer(nodes, move_one, t);
}

/* Where the users of @nodes are at home. */
static struct iothread *home_of(const struct node_array *nodes)
{
	for (size_t i = 0; i < nodes->count; i++) {
		struct edge *e;
		list_for_each (e, &nodes->items[i]->parents, child_link) {
			if (e->consumer && e->consumer->home)
				return e->consumer->home;
		}
	}
	return NULL;
}

int iothread_enter(struct consumer *c, struct node *n, struct iothread *t, bool fixed,
		   struct error **errp)
{
	if (!list_is_empty(&c->graph->iothreads)) {
		struct node_array nodes _cleanup_node_array_ = {0};
		walk_component(c->graph, n, &nodes);
		set_home(c, home_of(&nodes));
		if (t && !move(&nodes, t) && fixed)
			return error_set(errp, -EBUSY,
					 "Cannot change iothread of active block backend");
	}
	c->is_home_fixed = fixed;
	return 0;
}

void iothread_leave(struct consumer *c, struct node *n)
{
	c->is_home_fixed = false;
	/* Without any of them all are where they belong. */
	if (list_is_empty(&c->graph->iothreads))
		return;
	struct node_array nodes _cleanup_node_array_ = {0};
	walk_component(c->graph, n, &nodes);
	move(&nodes, NULL);
	set_home(c, NULL);
}
