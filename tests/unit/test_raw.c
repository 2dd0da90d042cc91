/* SPDX-License-Identifier: MIT */
/*
 * The driver raw: windows, their errors, and what goes through them.
 */
#include "tests/unit/driver_fixture.h"

static void co_fn bad_windows(void *arg)
{
	make_file("a", 1 << 20, 'a');
#define RAW "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"a\"},"
	open_fails(RAW "\"offset\":2097152}", "Offset (2097152) cannot be greater than size of the "
					      "containing file (1048576)");
	open_fails(RAW "\"offset\":524288,\"size\":1048576}",
		   "The sum of offset (524288) and size (1048576) has to be smaller or equal to "
		   "the actual size of the containing file (1048576)");
	open_fails(RAW "\"offset\":1048576,\"size\":512}",
		   "The sum of offset (1048576) and size (512) has to be smaller or equal to the "
		   "actual size of the containing file (1048576)");
	open_fails(RAW "\"offset\":1024,\"size\":9223372036854775296}",
		   "The sum of offset (1024) and size (9223372036854775296) has to be smaller or "
		   "equal to the actual size of the containing file (1048576)");
	open_fails(RAW "\"size\":100}", "Specified size is not multiple of 512");
	open_fails(RAW "\"offset\":-1}", "Parameter 'offset' must not be negative");
	open_fails(RAW "\"size\":-512}", "Parameter 'size' must not be negative");
#undef RAW
	open_fails("raw,file.driver=file,file.filename=no",
		   "Could not open 'no': No such file or directory");
}

START_TEST(windows_outside_of_the_file_are_refused)
{
	run(bad_windows);
}
END_TEST

static void co_fn window(void *arg)
{
	make_file("a", 65536, 'a');
	struct node *n = open_ok("raw,offset=1000,size=2048,file.driver=file,file.filename=a");
	ck_assert_uint_eq(n->size, 2048);
	struct user u;
	user_begin_ok(&u, n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL);
	char p[2048];
	memset(p, 'b', sizeof(p));
	ck_assert_int_eq(edge_write(u.edge, 0, sizeof(p), p, 0), 0);
	ck_assert_int_eq(edge_zero(u.edge, 100, 10, 0), 0);
	ck_assert_int_eq(edge_read(u.edge, 99, 12, p, 0), 0);
	ck_assert_int_eq(p[0], 'b');
	ck_assert_int_eq(p[1], 0);
	ck_assert_int_eq(p[11], 'b');
	ck_assert_int_eq(edge_write(u.edge, 2047, 2, p, 0), -EIO);
	struct extent x;
	ck_assert_int_eq(node_status(n, 512, 4096, &x), 0);
	ck_assert(x.flags & EXTENT_DATA);
	ck_assert_uint_eq(x.bytes, 1536);
	ck_assert_uint_eq(x.offset, 1512);
	ck_assert_ptr_eq(x.node, n->file->child);
	user_end(&u);
	node_put(n);
	ck_assert_int_eq(byte_of("a", 999), 'a');
	ck_assert_int_eq(byte_of("a", 1000), 'b');
	ck_assert_int_eq(byte_of("a", 3047), 'b');
	ck_assert_int_eq(byte_of("a", 3048), 'a');
}

START_TEST(a_window_shows_its_part_and_touches_no_other)
{
	run(window);
}
END_TEST

static void co_fn sizes(void *arg)
{
	make_file("a", 65536, 'a');
	struct node *f = open_ok("file,filename=a,node-name=f");
	struct node *tail = open_ok("raw,offset=512,file=f");
	ck_assert_uint_eq(tail->size, 65024);
	struct user u;
	struct error *error = NULL;
	user_begin_ok(&u, tail, PERM_ALL, PERM_ALL);
	ck_assert_int_eq(edge_truncate(u.edge, 131072, PREALLOCATION_OFF, &error), 0);
	ck_assert_uint_eq(file_size("a"), 131072 + 512);
	ck_assert_uint_eq(tail->size, 131072);
	ck_assert_int_eq(edge_truncate(u.edge, INT64_MAX - 100, PREALLOCATION_OFF, &error), -EFBIG);
	error_free(error);
	user_end(&u);
	node_put(tail);

	/* A change below shows above. */
	struct node *whole = open_ok("raw,file=f");
	user_begin_ok(&u, f, PERM_ALL, PERM_ALL);
	ck_assert_int_eq(edge_truncate(u.edge, 8192, PREALLOCATION_OFF, NULL), 0);
	ck_assert_uint_eq(whole->size, 8192);
	user_end(&u);
	node_put(whole);
	node_put(f);
}

static void co_fn fixed_size(void *arg)
{
	make_file("a", 65536, 'a');
	struct node *n = open_ok("raw,offset=512,size=1024,file.driver=file,file.filename=a");
	struct user u;
	struct error *error = NULL;
	ck_assert_uint_eq(n->size, 1024);
	user_begin_ok(&u, n, PERM_ALL, PERM_ALL);
	ck_assert_int_eq(edge_truncate(u.edge, 4096, PREALLOCATION_OFF, &error), -ENOTSUP);
	ck_assert_str_eq(error->message, "Cannot resize fixed-size raw disks");
	error_free(error);
	user_end(&u);
	node_put(n);
}

START_TEST(a_window_of_fixed_size_stays_so)
{
	run(fixed_size);
}
END_TEST

START_TEST(a_window_to_the_end_follows_the_size)
{
	run(sizes);
}
END_TEST

static void co_fn holes(void *arg)
{
	make_file("a", 1 << 20, 0);
	struct node *n = open_ok("raw,offset=4096,file.driver=file,file.filename=a");
	struct user u;
	user_begin_ok(&u, n, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL);
	static const char data[4096] = {1};
	ck_assert_int_eq(edge_write(u.edge, 65536, sizeof(data), data, 0), 0);
	struct extent x;
	ck_assert_int_eq(node_status(n, 0, 1 << 20, &x), 0);
	ck_assert(x.flags & EXTENT_ZERO);
	/* A client shall see a hole, not zeroes that take room. */
	ck_assert(!(x.flags & EXTENT_DATA));
	ck_assert_uint_eq(x.bytes, 65536);
	ck_assert_int_eq(node_status(n, 65536, 1 << 20, &x), 0);
	ck_assert(!(x.flags & EXTENT_ZERO));
	user_end(&u);
	node_put(n);
}

START_TEST(holes_below_read_as_zeroes)
{
	run(holes);
}
END_TEST

/* Below, blocks are larger than the part of one with which the window ends. */
static void co_fn end_inside_a_block(void *arg)
{
	make_file("a", 65536, 'a');
	struct node *n = open_ok("raw,offset=4096,size=4608,discard=unmap,file.driver=blkdebug,"
				 "file.align=4096,file.image.driver=file,file.image.filename=a");
	struct user u;
	char p[512];
	memset(p, 'b', sizeof(p));
	user_begin_ok(&u, n, PERM_ALL, PERM_ALL);
	ck_assert_int_eq(edge_write(u.edge, 4096, sizeof(p), p, 0), 0);
	ck_assert_int_eq(byte_of("a", 8192), 'b');
	ck_assert_int_eq(byte_of("a", 8704), 'a');
	ck_assert_int_eq(edge_zero(u.edge, 0, 4608, 0), 0);
	ck_assert_int_eq(byte_of("a", 8703), 0);
	ck_assert_int_eq(byte_of("a", 8704), 'a');
	ck_assert_int_eq(edge_discard(u.edge, 0, 4608), 0);
	ck_assert_int_eq(byte_of("a", 8704), 'a');
	user_end(&u);
	node_put(n);
	for (unsigned at = 8704; at < 16384; at++)
		ck_assert_int_eq(byte_of("a", at), 'a');
	ck_assert_int_eq(byte_of("a", 4095), 'a');
}

START_TEST(a_window_that_ends_inside_a_block_spares_the_rest)
{
	run(end_inside_a_block);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(windows_outside_of_the_file_are_refused),
	UNIT_TEST(a_window_shows_its_part_and_touches_no_other),
	UNIT_TEST(a_window_to_the_end_follows_the_size),
	UNIT_TEST(a_window_of_fixed_size_stays_so),
	UNIT_TEST(holes_below_read_as_zeroes),
	UNIT_TEST(a_window_that_ends_inside_a_block_spares_the_rest),
};

UNIT_MAIN("raw", tests)
