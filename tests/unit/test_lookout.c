/* SPDX-License-Identifier: MIT */
/* base/lookout.c: when a loop looks for its next event, and when it gives that up. */
#include "base/lookout.h"

#include "tests/unit/unit.h"

#define SHORT_NS (LOOKOUT_NS / 8)
#define LONG_NS (LOOKOUT_NS * 8)

static struct lookout lookout;
static uint64_t now_ns;

static void start(void)
{
	lookout = (struct lookout){0};
	now_ns = 1;
}

/* A wait for an event that comes after @length_ns. True when the loop looked for it. */
static bool wait_for(uint64_t length_ns)
{
	bool looked = lookout_waits(&lookout, now_ns);
	now_ns += length_ns;
	if (length_ns > LOOKOUT_NS)
		ck_assert(!lookout_waits(&lookout, now_ns));
	lookout_ends_wait(&lookout, now_ns, UINT64_MAX);
	now_ns += SHORT_NS; /* the work that the event brought */
	return looked;
}

START_TEST(after_a_short_wait_it_looks)
{
	start();
	ck_assert(!wait_for(SHORT_NS));
	for (unsigned i = 0; i < 100; i++)
		ck_assert(wait_for(SHORT_NS));
}
END_TEST

START_TEST(after_long_waits_it_sleeps)
{
	start();
	for (unsigned i = 0; i < 100; i++)
		ck_assert(!wait_for(LONG_NS));
}
END_TEST

START_TEST(it_looks_for_a_limited_time)
{
	start();
	wait_for(SHORT_NS);
	ck_assert(lookout_waits(&lookout, now_ns));
	ck_assert(lookout_waits(&lookout, now_ns + LOOKOUT_NS));
	ck_assert(!lookout_waits(&lookout, now_ns + LOOKOUT_NS + 1));
	/* And does not begin again before the wait has ended. */
	ck_assert(!lookout_waits(&lookout, now_ns + LOOKOUT_NS + 2));
}
END_TEST

/* Sleep through short waits until it looks again. */
static unsigned sleeps_before_it_looks(void)
{
	for (unsigned sleeps = 0;; sleeps++) {
		ck_assert_uint_lt(sleeps, 100000);
		if (wait_for(SHORT_NS))
			return sleeps;
	}
}

START_TEST(looking_in_vain_costs_more_each_time)
{
	start();
	unsigned before = sleeps_before_it_looks();
	for (unsigned i = 0; i < 5; i++) {
		ck_assert(wait_for(LONG_NS)); /* in vain */
		unsigned sleeps = sleeps_before_it_looks();
		ck_assert_uint_gt(sleeps, before);
		before = sleeps;
	}
	/* But it never gives up for good. */
	for (unsigned i = 0; i < 100; i++) {
		wait_for(LONG_NS);
		sleeps_before_it_looks();
	}
}
END_TEST

START_TEST(success_makes_up_for_failure)
{
	start();
	sleeps_before_it_looks();
	wait_for(LONG_NS);
	unsigned after_one = sleeps_before_it_looks();
	for (unsigned i = 0; i < 1000; i++)
		ck_assert(wait_for(SHORT_NS));
	wait_for(LONG_NS);
	ck_assert_uint_eq(sleeps_before_it_looks(), after_one);
}
END_TEST

START_TEST(an_event_without_a_wait_is_nothing)
{
	start();
	lookout_ends_wait(&lookout, now_ns, UINT64_MAX);
	ck_assert(!lookout_waits(&lookout, now_ns));
}
END_TEST

START_TEST(threads_that_hand_over_have_the_processor)
{
	start();
	sleeps_before_it_looks();
	ck_assert(wait_for(SHORT_NS));
	lookout_calls_off(&lookout);
	ck_assert(!wait_for(SHORT_NS));
	unsigned sleeps = sleeps_before_it_looks();
	ck_assert_uint_gt(sleeps, 1);
	/* It is no failure: nothing is doubled. */
	lookout_calls_off(&lookout);
	ck_assert(!wait_for(SHORT_NS));
	ck_assert_uint_eq(sleeps_before_it_looks(), sleeps);
}
END_TEST

START_TEST(who_comes_says_how_long_it_looks)
{
	start();
	wait_for(SHORT_NS);
	ck_assert(lookout_waits(&lookout, now_ns));
	now_ns += SHORT_NS / 2;
	lookout_ends_wait(&lookout, now_ns, SHORT_NS / 2);
	ck_assert(lookout_waits(&lookout, now_ns));
	ck_assert(lookout_waits(&lookout, now_ns + SHORT_NS / 2));
	ck_assert(!lookout_waits(&lookout, now_ns + SHORT_NS / 2 + 1));

	/* A wait beyond that is long. */
	start();
	wait_for(SHORT_NS);
	ck_assert(lookout_waits(&lookout, now_ns));
	lookout_ends_wait(&lookout, now_ns + SHORT_NS, SHORT_NS - 1);
	ck_assert(!lookout_waits(&lookout, now_ns + SHORT_NS));
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(after_a_short_wait_it_looks),
	UNIT_TEST(after_long_waits_it_sleeps),
	UNIT_TEST(it_looks_for_a_limited_time),
	UNIT_TEST(looking_in_vain_costs_more_each_time),
	UNIT_TEST(success_makes_up_for_failure),
	UNIT_TEST(an_event_without_a_wait_is_nothing),
	UNIT_TEST(threads_that_hand_over_have_the_processor),
	UNIT_TEST(who_comes_says_how_long_it_looks),
};
UNIT_MAIN("lookout", tests)
