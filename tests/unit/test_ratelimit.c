/* SPDX-License-Identifier: MIT */
/* blockjobs/ratelimit.c: the average holds whatever the sizes, and nothing overflows. */
#include "blockjobs/ratelimit.h"

#include "tests/unit/unit.h"

#define S UINT64_C(1000000000)

START_TEST(no_limit_never_delays)
{
	struct ratelimit l = {0};
	ratelimit_set(&l, 0, 5 * S);
	ratelimit_take(&l, UINT64_MAX, 5 * S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, 5 * S), 0);
}
END_TEST

START_TEST(work_is_paid_for_afterwards)
{
	struct ratelimit l = {0};
	ratelimit_set(&l, 1000, 5 * S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, 5 * S), 0);
	ratelimit_take(&l, 2000, 5 * S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, 5 * S), 2 * S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, 6 * S), S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, 7 * S), 0);
}
END_TEST

START_TEST(rest_earns_little_credit)
{
	struct ratelimit l = {0};
	ratelimit_set(&l, 1000, 0);
	/* A long rest is worth a tenth of a second. */
	ratelimit_take(&l, 1000, 100 * S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, 100 * S), S - S / 10);
}
END_TEST

START_TEST(average_holds_for_mixed_sizes)
{
	const uint64_t rate = 12345678;
	struct ratelimit l = {0};
	uint64_t now = S, total = 0, state = 1;
	ratelimit_set(&l, rate, now);
	for (int i = 0; i < 10000; i++) {
		now += ratelimit_delay_ns(&l, now);
		state = state * 6364136223846793005u + 1442695040888963407u;
		uint64_t bytes = 1 + (state >> 33) % 300000;
		ratelimit_take(&l, bytes, now);
		total += bytes;
	}
	now += ratelimit_delay_ns(&l, now);
	double measured = (double)total / ((double)(now - S) / 1e9);
	ck_assert_double_ge(measured, 0.99 * (double)rate);
	ck_assert_double_le(measured, 1.01 * (double)rate);
}
END_TEST

START_TEST(new_limit_forgives_debt)
{
	struct ratelimit l = {0};
	ratelimit_set(&l, 1, 0);
	ratelimit_take(&l, 1 << 20, 0);
	ck_assert_uint_gt(ratelimit_delay_ns(&l, 0), 1000 * S);
	ratelimit_set(&l, 1000, S);
	ck_assert_uint_eq(ratelimit_delay_ns(&l, S), 0);
}
END_TEST

START_TEST(extreme_values_do_not_overflow)
{
	struct ratelimit l = {0};
	ratelimit_set(&l, 1, S);
	for (int i = 0; i < 10; i++)
		ratelimit_take(&l, UINT64_MAX, S);
	ck_assert_uint_gt(ratelimit_delay_ns(&l, S), 0);
	ck_assert_uint_le(ratelimit_delay_ns(&l, S), UINT64_C(31536000) * S);
	ratelimit_set(&l, UINT64_MAX, S);
	ratelimit_take(&l, UINT64_MAX, S);
	ck_assert_uint_le(ratelimit_delay_ns(&l, S), S);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(no_limit_never_delays),
	UNIT_TEST(work_is_paid_for_afterwards),
	UNIT_TEST(rest_earns_little_credit),
	UNIT_TEST(average_holds_for_mixed_sizes),
	UNIT_TEST(new_limit_forgives_debt),
	UNIT_TEST(extreme_values_do_not_overflow),
};

UNIT_MAIN("ratelimit", tests)
