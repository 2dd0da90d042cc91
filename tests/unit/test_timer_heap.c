/* SPDX-License-Identifier: MIT */
/* base/timer_heap.c against a plain array: random sets, moves and removals. */
#include "base/timer_heap.h"

#include "tests/unit/unit.h"

#define TIMERS 200

static uint64_t random_state;

static uint64_t draw(uint64_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (random_state >> 33) % below;
}

static struct loop_timer *slow_first(struct loop_timer *timers)
{
	struct loop_timer *first = NULL;
	for (unsigned i = 0; i < TIMERS; i++)
		if (timers[i].heap_index && (!first || timers[i].deadline_ns < first->deadline_ns))
			first = &timers[i];
	return first;
}

START_TEST(agrees_with_a_search_through_all)
{
	struct timer_heap heap = {0};
	static struct loop_timer timers[TIMERS];

	for (unsigned step = 0; step < 20000; step++) {
		struct loop_timer *t = &timers[draw(TIMERS)];
		if (draw(3) == 0) {
			timer_heap_remove(&heap, t);
			ck_assert_uint_eq(t->heap_index, 0);
		} else {
			t->deadline_ns = draw(1000);
			timer_heap_set(&heap, t);
			ck_assert_uint_ne(t->heap_index, 0);
		}
		struct loop_timer *first = timer_heap_first(&heap), *slow = slow_first(timers);
		ck_assert(!first == !slow);
		if (first)
			ck_assert_uint_eq(first->deadline_ns, slow->deadline_ns);
	}
	for (unsigned i = 0; i < TIMERS; i++)
		timer_heap_remove(&heap, &timers[i]);
	timer_heap_finish(&heap);
}
END_TEST

START_TEST(comes_out_in_order)
{
	struct timer_heap heap = {0};
	static struct loop_timer timers[TIMERS];
	for (unsigned i = 0; i < TIMERS; i++) {
		timers[i].deadline_ns = draw(UINT64_MAX);
		timer_heap_set(&heap, &timers[i]);
	}
	uint64_t last = 0;
	for (unsigned i = 0; i < TIMERS; i++) {
		struct loop_timer *t = timer_heap_first(&heap);
		ck_assert_uint_ge(t->deadline_ns, last);
		last = t->deadline_ns;
		timer_heap_remove(&heap, t);
	}
	ck_assert_ptr_null(timer_heap_first(&heap));
	timer_heap_finish(&heap);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(agrees_with_a_search_through_all),
	UNIT_TEST(comes_out_in_order),
};

UNIT_MAIN("timer_heap", tests)
