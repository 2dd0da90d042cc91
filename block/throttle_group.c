/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups. Loop's thread.
 *
 * 1. A request that finds others of its direction waiting waits behind them.
 * 2. Whoever is let go has been counted: the next one is judged after that.
 * 3. Members take turns: the one whose request was let go becomes the last.
 */
#include "block/throttle_group.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "block/graph.h"

/* On its coroutine's stack. */
struct waiter {
	struct list link; /* in the member's queue */
	struct coroutine *coroutine;
	uint64_t bytes;
};

/* --- Letting go -------------------------------------------------------------------- */

static void let_go(struct throttle_member *m, enum throttle_direction d)
{
	struct waiter *w = list_first(&m->queues[d], struct waiter, link);
	list_del_init(&w->link);
	m->group->waiting[d]--;
	throttle_take(&m->group->throttle, d, w->bytes);
	co_wake(w->coroutine);
}

/* Let the first request go of the member whose turn it is. Somebody waits. */
static void let_next_go(struct throttle_group *group, enum throttle_direction d)
{
	struct throttle_member *m;
	list_for_each (m, &group->members, link) {
		if (list_is_empty(&m->queues[d]))
			continue;
		let_go(m, d);
		list_del_init(&m->link);
		list_add_tail(&group->members, &m->link);
		return;
	}
	assert(false);
}

/* Let all go that may, and come again when the next one may. */
static void dispatch(struct throttle_group *group, enum throttle_direction d)
{
	struct loop *loop = group->graph->loop;
	loop_timer_cancel(&group->timers[d].timer);
	while (group->waiting[d] > 0) {
		uint64_t now_ns = loop_now_ns(loop);
		uint64_t delay_ns = throttle_delay_ns(&group->throttle, d, now_ns);
		if (delay_ns > 0 && !group->is_open) {
			loop_timer_set(&group->timers[d].timer, now_ns + delay_ns);
			return;
		}
		let_next_go(group, d);
	}
}

static void timer_fired(struct loop_timer *t)
{
	struct throttle_timer *timer = container_of(t, struct throttle_timer, timer);
	dispatch(timer->group, (enum throttle_direction)(timer - timer->group->timers));
}

static void dispatch_all(struct throttle_group *group)
{
	for (unsigned d = 0; d < THROTTLE_DIRECTIONS; d++)
		dispatch(group, d);
}

/* --- Groups ------------------------------------------------------------------------ */

struct throttle_group *throttle_group_find(struct graph *g, const char *name)
{
	struct throttle_group *group;
	list_for_each (group, &g->throttle_groups, link) {
		if (strcmp(group->name, name) == 0)
			return group;
	}
	return NULL;
}

int throttle_group_create(struct graph *g, const char *name, const struct throttle_config *c,
			  struct throttle_group **ret, struct error **errp)
{
	if (throttle_group_find(g, name))
		return error_set(errp, -EEXIST, "A group with this name already exists");
	struct throttle_group *group = NEW(struct throttle_group);
	group->graph = g;
	group->name = xstrdup(name);
	list_init(&group->members);
	for (unsigned d = 0; d < THROTTLE_DIRECTIONS; d++) {
		group->timers[d].group = group;
		loop_timer_init(g->loop, &group->timers[d].timer, timer_fired);
	}
	throttle_set(&group->throttle, c, loop_now_ns(g->loop));
	list_add_tail(&g->throttle_groups, &group->link);
	*ret = group;
	return 0;
}

int throttle_group_destroy(struct throttle_group *group)
{
	if (!list_is_empty(&group->members))
		return -EBUSY;
	list_del_init(&group->link);
	free(group->name);
	free(group);
	return 0;
}

void throttle_group_set(struct throttle_group *group, const struct throttle_config *c)
{
	throttle_set(&group->throttle, c, loop_now_ns(group->graph->loop));
	dispatch_all(group);
}

void throttle_groups_open(struct graph *g)
{
	struct throttle_group *group;
	list_for_each (group, &g->throttle_groups, link) {
		group->is_open = true;
		dispatch_all(group);
	}
}

/* --- Members ----------------------------------------------------------------------- */

void throttle_member_init(struct throttle_member *m, struct throttle_group *group)
{
	*m = (struct throttle_member){.group = group};
	for (unsigned d = 0; d < THROTTLE_DIRECTIONS; d++)
		list_init(&m->queues[d]);
	list_add_tail(&group->members, &m->link);
}

static void assert_idle(const struct throttle_member *m)
{
	for (unsigned d = 0; d < THROTTLE_DIRECTIONS; d++)
		assert(list_is_empty(&m->queues[d]));
}

void throttle_member_finish(struct throttle_member *m)
{
	assert_idle(m);
	list_del_init(&m->link);
}

void throttle_member_move(struct throttle_member *m, struct throttle_group *group)
{
	assert_idle(m);
	list_del_init(&m->link);
	m->group = group;
	list_add_tail(&group->members, &m->link);
}

void throttle_member_open(struct throttle_member *m)
{
	m->opened++;
	for (unsigned d = 0; d < THROTTLE_DIRECTIONS; d++) {
		while (!list_is_empty(&m->queues[d]))
			let_go(m, d);
		/* The next one of the others waits longer than was thought. */
		dispatch(m->group, d);
	}
}

void throttle_member_close(struct throttle_member *m)
{
	assert(m->opened > 0);
	m->opened--;
}

void co_fn throttle_member_wait(struct throttle_member *m, enum throttle_direction d,
				uint64_t bytes)
{
	struct throttle_group *group = m->group;
	uint64_t now_ns = loop_now_ns(group->graph->loop);
	uint64_t delay_ns = throttle_delay_ns(&group->throttle, d, now_ns);
	if (m->opened > 0 || group->is_open || (group->waiting[d] == 0 && delay_ns == 0)) {
		throttle_take(&group->throttle, d, bytes);
		return;
	}
	struct waiter w = {.coroutine = co_self(), .bytes = bytes};
	list_add_tail(&m->queues[d], &w.link);
	/* Not by dispatch(): the moment may have come by now, and we are not to be woken yet. */
	if (group->waiting[d]++ == 0)
		loop_timer_set(&group->timers[d].timer, now_ns + delay_ns);
	co_yield();
}
