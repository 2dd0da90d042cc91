/* SPDX-License-Identifier: MIT */
/*
 * The null drivers: sizes, zeroes, latency.
 */
#include "tests/unit/driver_fixture.h"

static void co_fn sizes(void *arg)
{
	struct node *n = open_ok("null-co");
	ck_assert_uint_eq(n->size, GiB);
	node_put(n);
	n = open_ok("null-aio,size=1000");
	ck_assert_uint_eq(n->size, 1024);
	node_put(n);
	open_fails("null-co,size=-1", "size is invalid");
	open_fails("null-co,size=9223372036854775807", "size is invalid");
}

START_TEST(sizes_are_whole_sectors_within_reason)
{
	run(sizes);
}
END_TEST

static void co_fn requests(void *arg)
{
	struct node *n = open_ok("null-co,read-zeroes=on,discard=unmap");
	struct user u;
	user_begin_ok(&u, n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL);
	char p[512] = "something";
	ck_assert_int_eq(edge_write(u.edge, 0, sizeof(p), p, REQUEST_FUA), 0);
	ck_assert_int_eq(edge_read(u.edge, 0, sizeof(p), p, 0), 0);
	ck_assert_int_eq(p[0], 0);
	ck_assert_int_eq(edge_zero(u.edge, 0, GiB, 0), 0);
	ck_assert_int_eq(edge_discard(u.edge, 0, GiB), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);
	struct extent x;
	ck_assert_int_eq(node_status(n, 0, GiB, &x), 0);
	ck_assert(x.flags & EXTENT_ZERO);
	ck_assert_uint_eq(x.bytes, GiB);
	user_end(&u);
	node_put(n);

	n = open_ok("null-co");
	user_begin_ok(&u, n, PERM_CONSISTENT_READ, PERM_ALL);
	strcpy(p, "untouched");
	ck_assert_int_eq(edge_read(u.edge, 0, sizeof(p), p, 0), 0);
	ck_assert_str_eq(p, "untouched");
	ck_assert_int_eq(node_status(n, 0, GiB, &x), 0);
	ck_assert(!(x.flags & EXTENT_ZERO));
	user_end(&u);
	node_put(n);
}

START_TEST(everything_succeeds)
{
	run(requests);
}
END_TEST

static void co_fn latency(void *arg)
{
	struct node *n = open_ok("null-co,latency-ns=20000000");
	struct user u;
	user_begin_ok(&u, n, PERM_CONSISTENT_READ, PERM_ALL);
	char p[512];
	uint64_t begin_ns = loop_now_ns(loop);
	ck_assert_int_eq(edge_read(u.edge, 0, sizeof(p), p, 0), 0);
	ck_assert_uint_ge(loop_now_ns(loop) - begin_ns, 20000000);
	user_end(&u);
	node_put(n);
}

START_TEST(requests_take_the_time_that_was_asked_for)
{
	run(latency);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(sizes_are_whole_sectors_within_reason),
	UNIT_TEST(everything_succeeds),
	UNIT_TEST(requests_take_the_time_that_was_asked_for),
};

UNIT_MAIN("null", tests)
