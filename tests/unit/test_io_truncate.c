/* SPDX-License-Identifier: MIT */
/* block/io_truncate.c: new sizes, beside requests and above backing files. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

static int co_fn user_truncate(struct user *u, uint64_t size, struct error **errp)
{
	consumer_enter(&u->consumer);
	int r = edge_truncate(u->edge, size, PREALLOCATION_OFF, errp);
	consumer_leave(&u->consumer);
	return r;
}

FIXTURE_TEST(size_changes_both_ways)
{
	struct disk *d = disk_new(f, "d", 4096);
	memset(d->data, 5, 4096);
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", filter, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_truncate(&u, 8192, NULL), 0);
	ck_assert_uint_eq(n->size, 8192);
	ck_assert_uint_eq(filter->size, 8192);
	ck_assert(user_sees(&u, 4096, 4096, 0));
	ck_assert_int_eq(user_truncate(&u, 1000, NULL), 0);
	ck_assert_uint_eq(d->size, 1000);
	ck_assert_int_eq(user_fill(&u, 1000, 1, 1), -EIO);
	ck_assert_uint_eq(u.resizes, 2);
	/* The next flush has something to do. */
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 1);
	user_finish(&u);
	node_unref(filter);
	node_unref(n);
}

FIXTURE_TEST(refusals_say_why)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	struct error *error = NULL;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_truncate(&u, 8192, &error), -EPERM);
	error_expect_part(&error, "may not resize");
	ck_assert_int_eq(edge_set_permissions(u.edge, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_truncate(&u, (uint64_t)1 << 63, &error), -EFBIG);
	error_expect_part(&error, "Required too big image size");
	ck_assert_int_eq(user_truncate(&u, DISK_BYTES_MAX + 1, &error), -EFBIG);
	error_expect(&error, "The disk is full");
	ck_assert_uint_eq(n->size, 4096);
	user_finish(&u);
	node_unref(n);

	disk_format_cow(disk_new(f, "c", 0), 4096, NULL, NULL);
	n = open_ok(f, "driver=null-co,size=4096");
	ck_assert_int_eq(user_init(&u, "u", n, PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_truncate(&u, 8192, &error), -ENOTSUP);
	error_expect(&error, "Image format driver does not support resize");
	user_finish(&u);
	node_unref(n);
}

/* The overlay is shorter than its backing file and grows: nothing old may appear. */
FIXTURE_TEST(longer_backing_stays_hidden)
{
	disk_format_cow(disk_new(f, "top", 0), 1000, "base", "raw");
	struct disk *base = disk_new(f, "base", 3000);
	memset(base->data, 0xbb, 3000);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
				   PERM_ALL, NULL),
			 0);
	ck_assert(user_sees(&u, 0, 1000, 0xbb));
	ck_assert_int_eq(user_truncate(&u, 5000, NULL), 0);
	ck_assert(user_sees(&u, 0, 1000, 0xbb));
	ck_assert(user_sees(&u, 1000, 4000, 0));
	user_finish(&u);
	node_unref(n);
}

struct slow_write {
	struct user *user;
	bool done;
};

static void co_fn write_at_the_end(void *arg)
{
	struct slow_write *w = arg;
	ck_assert_int_eq(user_fill(w->user, 3584, 512, 9), 0);
	w->done = true;
}

FIXTURE_TEST(writes_in_flight_come_first)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->delay_ns = 100000;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	struct slow_write w = {.user = &u};
	co_start(f->loop, write_at_the_end, &w);
	co_sleep_ns(10);
	ck_assert_int_eq(user_truncate(&u, 2048, NULL), 0);
	ck_assert(w.done);
	ck_assert_uint_eq(d->size, 2048);
	user_finish(&u);
	node_unref(n);
}

struct slow_truncate {
	struct user *user;
	uint64_t size;
	bool done;
};

static void co_fn truncate_slowly(void *arg)
{
	struct slow_truncate *t = arg;
	ck_assert_int_eq(user_truncate(t->user, t->size, NULL), 0);
	t->done = true;
}

/* What one has cut off, and another brings back, may be written to from then on. */
static void co_fn truncate_twice(struct fixture *f)
{
	struct disk *d = disk_new(f, "top", 0);
	disk_format_cow(d, 3000, "base", "raw");
	struct disk *base = disk_new(f, "base", 3000);
	memset(base->data, 0xbb, 3000);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
				   PERM_ALL, NULL),
			 0);
	d->delay_ns = 100000;
	d->varies = true;
	struct slow_truncate shrink = {.user = &u, .size = 1000}, grow = {.user = &u, .size = 2000};
	co_start(f->loop, truncate_slowly, &shrink);
	co_sleep_ns(1);
	co_start(f->loop, truncate_slowly, &grow);
	while (!shrink.done || n->size < 2000)
		co_sleep_ns(10);
	ck_assert_int_eq(user_fill(&u, 1536, 200, 9), 0);
	while (!grow.done)
		co_sleep_ns(1000);
	ck_assert(user_sees(&u, 0, 1000, 0xbb));
	ck_assert(user_sees(&u, 1000, 536, 0));
	ck_assert(user_sees(&u, 1536, 200, 9));
	ck_assert(user_sees(&u, 1736, 264, 0));
	user_finish(&u);
	node_unref(n);
}

START_TEST(test_two_truncates_at_a_time)
{
	for (uint64_t seed = 1; seed <= 50; seed++)
		fixture_run_seed(seed, truncate_twice);
}
END_TEST

struct late_request {
	struct user *user;
	enum { LATE_WRITE, LATE_ZERO, LATE_DISCARD } kind;
	int result;
	bool done;
};

static void co_fn request_at_the_end(void *arg)
{
	struct late_request *l = arg;
	consumer_enter(&l->user->consumer);
	char data[512];
	memset(data, 8, sizeof(data));
	l->result = l->kind == LATE_WRITE  ? edge_write(l->user->edge, 3584, 512, data, 0)
		    : l->kind == LATE_ZERO ? edge_zero(l->user->edge, 3584, 512, 0)
					   : edge_discard(l->user->edge, 3584, 512);
	consumer_leave(&l->user->consumer);
	l->done = true;
}

/* Who has waited for the node to become shorter finds that there is no such place any more. */
FIXTURE_TEST(what_is_cut_off_does_not_come_back)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->delay_ns = 100000;
	struct node *n = disk_open(f, d, &disk_driver);
	n->discard_unmap = true;
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	struct slow_write w = {.user = &u};
	struct slow_truncate t = {.user = &u, .size = 2048};
	struct late_request late[3];
	co_start(f->loop, write_at_the_end, &w);
	co_sleep_ns(10);
	co_start(f->loop, truncate_slowly, &t);
	co_sleep_ns(10);
	for (unsigned i = 0; i < 3; i++) {
		late[i] = (struct late_request){.user = &u, .kind = i};
		co_start(f->loop, request_at_the_end, &late[i]);
	}
	co_sleep_ns(10000000);
	for (unsigned i = 0; i < 3; i++) {
		ck_assert(late[i].done);
		ck_assert_int_eq(late[i].result, -EIO);
	}
	ck_assert(t.done);
	ck_assert_uint_eq(n->size, 2048);
	ck_assert_uint_eq(d->size, 2048);
	user_finish(&u);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(size_changes_both_ways),
	FIXTURE_ROW(refusals_say_why),
	FIXTURE_ROW(longer_backing_stays_hidden),
	FIXTURE_ROW(writes_in_flight_come_first),
	FIXTURE_ROW(what_is_cut_off_does_not_come_back),
	{"two_truncates_at_a_time", &test_two_truncates_at_a_time, 0},
};

UNIT_MAIN("io_truncate", tests)
