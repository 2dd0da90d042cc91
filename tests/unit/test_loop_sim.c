/* SPDX-License-Identifier: MIT */
/* base/loop_sim.c: virtual time, and a schedule that follows from the seed alone. */
#include "base/loop.h"

#include "tests/unit/unit.h"

#define STEPS_MAX 4096

struct trace {
	unsigned length;
	struct {
		unsigned who;
		uint64_t now_ns;
	} steps[STEPS_MAX];
	unsigned left;
};

struct wanderer {
	struct trace *trace;
	unsigned who;
};

static void co_fn wander(void *arg)
{
	struct wanderer *w = arg;
	struct loop *loop = loop_current();
	for (unsigned i = 0; i < 30; i++) {
		struct trace *t = w->trace;
		t->steps[t->length].who = w->who;
		t->steps[t->length++].now_ns = loop_now_ns(loop);
		if (loop_random(loop) % 4 == 0)
			co_sleep_ns(loop_random(loop) % 100000);
		else
			co_reschedule();
	}
	w->trace->left--;
}

static void co_fn wander_together(void *arg)
{
	struct trace *t = arg;
	struct wanderer w[40];
	t->left = ARRAY_SIZE(w);
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct wanderer){.trace = t, .who = i};
		co_start(loop_current(), wander, &w[i]);
	}
	while (t->left > 0)
		co_sleep_ns(1000);
}

static struct trace *run_with_seed(uint64_t seed)
{
	struct trace *t = NEW(struct trace);
	struct loop *loop = loop_new_sim(seed);
	loop_run_coroutine(loop, wander_together, t);
	loop_free(loop);
	return t;
}

static bool same(const struct trace *a, const struct trace *b)
{
	return a->length == b->length &&
	       memcmp(a->steps, b->steps, a->length * sizeof(a->steps[0])) == 0;
}

START_TEST(the_same_seed_gives_the_same_run)
{
	struct trace *first = run_with_seed(1), *again = run_with_seed(1);
	struct trace *other = run_with_seed(2);
	ck_assert_uint_eq(first->length, 1200);
	ck_assert(same(first, again));
	ck_assert(!same(first, other));
	free(first);
	free(again);
	free(other);
}
END_TEST

static void co_fn sleep_long(void *arg)
{
	struct loop *loop = loop_current();
	uint64_t begin_us = loop_realtime_us(loop);
	co_sleep_ns(UINT64_C(3600) * 1000000000);
	ck_assert_uint_eq(loop_realtime_us(loop) - begin_us, UINT64_C(3600) * 1000000);
}

START_TEST(an_hour_passes_at_once)
{
	struct loop *loop = loop_new_sim(5);
	loop_run_coroutine(loop, sleep_long, NULL);
	ck_assert_ptr_null(loop_uv(loop));
	ck_assert(loop_is_simulated(loop));
	loop_free(loop);
}
END_TEST

static void co_fn spin(void *arg)
{
	uint64_t begin_ns = loop_now_ns(loop_current());
	for (unsigned i = 0; i < 5000; i++) {
		co_reschedule();
		ck_assert_uint_eq(loop_now_ns(loop_current()), begin_ns);
	}
}

START_TEST(time_stands_still_while_anything_is_ready)
{
	struct loop *loop = loop_new_sim(5);
	loop_run_coroutine(loop, spin, NULL);
	loop_free(loop);
}
END_TEST

static void co_fn note_and_yield(void *arg)
{
	struct coroutine **co = arg;
	*co = co_self();
	co_yield();
	*co = NULL;
}

START_TEST(run_returns_when_idle)
{
	struct loop *loop = loop_new_sim(5);
	loop_run(loop);
	struct coroutine *co = NULL;
	co_start(loop, note_and_yield, &co);
	loop_run(loop);
	ck_assert_ptr_nonnull(co);
	co_wake(co);
	loop_run(loop);
	ck_assert_ptr_null(co);
	loop_free(loop);
}
END_TEST

START_TEST(a_deadlock_aborts)
{
	struct coroutine *co;
	loop_run_coroutine(loop_new_sim(5), note_and_yield, &co);
}
END_TEST

struct waking_post {
	struct loop_post post;
	struct coroutine *co;
};

static void wake_by_post(struct loop_post *post)
{
	ck_assert_ptr_null(co_self());
	co_wake(container_of(post, struct waking_post, post)->co);
}

static void co_fn wait_for_post(void *arg)
{
	for (unsigned i = 0; i < 10; i++) {
		struct waking_post p = {.post.fn = wake_by_post, .co = co_self()};
		loop_post(loop_current(), &p.post);
		co_yield();
	}
}

START_TEST(a_post_is_work_to_do)
{
	struct loop *loop = loop_new_sim(5);
	loop_run_coroutine(loop, wait_for_post, NULL);
	loop_free(loop);
}
END_TEST

static unsigned order[3], next;

static void note_timer(struct loop_timer *t)
{
	order[next++] = t->deadline_ns;
}

START_TEST(timers_fire_in_order_of_their_deadlines)
{
	struct loop *loop = loop_new_sim(0);
	struct loop_timer timers[4];
	const uint64_t deadlines[] = {300, 100, 200, 150};
	for (unsigned i = 0; i < 4; i++) {
		loop_timer_init(loop, &timers[i], note_timer);
		loop_timer_set(&timers[i], deadlines[i]);
	}
	loop_timer_cancel(&timers[3]);
	loop_run(loop);
	ck_assert_uint_eq(next, 3);
	ck_assert_uint_eq(order[0], 100);
	ck_assert_uint_eq(order[1], 200);
	ck_assert_uint_eq(order[2], 300);
	ck_assert_uint_eq(loop_now_ns(loop), 300);
	loop_free(loop);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(the_same_seed_gives_the_same_run),
	UNIT_TEST(an_hour_passes_at_once),
	UNIT_TEST(time_stands_still_while_anything_is_ready),
	UNIT_TEST(run_returns_when_idle),
	UNIT_TEST_ABORTS(a_deadlock_aborts),
	UNIT_TEST(a_post_is_work_to_do),
	UNIT_TEST(timers_fire_in_order_of_their_deadlines),
};

UNIT_MAIN("loop_sim", tests)
