/* SPDX-License-Identifier: MIT */
/* block/drain.c and consumer.c: a drain holds the consumers above, and only those. */
#include "tests/unit/block_fixture.h"

/* A user that writes over and over in a coroutine of its own. */
struct writer {
	struct user user;
	bool stop, stopped;
	unsigned written;
	bool inside;
};

static void co_fn write_on(void *arg)
{
	struct writer *w = arg;
	unsigned char block[512] = {1};
	while (!w->stop) {
		consumer_enter(&w->user.consumer);
		ck_assert_uint_eq(w->user.consumer.quiesced, 0);
		w->inside = true;
		ck_assert_int_eq(edge_write(w->user.edge, 0, sizeof(block), block, 0), 0);
		/* A second request of one operation is never held. */
		ck_assert_int_eq(edge_write(w->user.edge, 512, sizeof(block), block, 0), 0);
		w->inside = false;
		w->written++;
		consumer_leave(&w->user.consumer);
		co_reschedule();
	}
	w->stopped = true;
}

static void co_fn writer_start(struct writer *w, struct node *n)
{
	*w = (struct writer){0};
	user_init_ok(&w->user, n);
	co_start(n->loop, write_on, w);
}

static void co_fn writer_stop(struct writer *w)
{
	w->stop = true;
	while (!w->stopped)
		co_sleep_ns(1000);
	user_finish(&w->user);
}

FIXTURE_TEST(drain_waits_and_holds)
{
	struct disk *d1 = disk_new(f, "d1", 4096), *d2 = disk_new(f, "d2", 4096);
	d1->delay_ns = d2->delay_ns = 5000;
	struct node *a = disk_open(f, d1, &disk_driver), *b = disk_open(f, d2, &disk_driver);
	struct node *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, a, &filter, NULL),
			 0);
	struct writer above, direct, elsewhere;
	writer_start(&above, filter);
	writer_start(&direct, a);
	writer_start(&elsewhere, b);
	co_sleep_ns(20000);
	ck_assert_uint_gt(above.written, 0);

	struct drain drain;
	drain_begin(f->graph, &a, 1, &drain);
	ck_assert_uint_eq(drain.count, 2);
	ck_assert(!above.inside && !direct.inside);
	ck_assert_uint_eq(above.user.drains, 1);
	ck_assert_uint_eq(d1->in_flight, 0);
	unsigned before = above.written, others_before = elsewhere.written;
	co_sleep_ns(100000);
	ck_assert_uint_eq(above.written, before);
	ck_assert_uint_gt(elsewhere.written, others_before);
	drain_end(&drain);
	co_sleep_ns(100000);
	ck_assert_uint_gt(above.written, before);
	ck_assert_uint_eq(above.user.quiesces, 1);
	ck_assert_uint_eq(above.user.resumes, 1);
	ck_assert_uint_eq(elsewhere.user.quiesces, 0);
	ck_assert_uint_eq(elsewhere.user.drains, 0);

	writer_stop(&above);
	writer_stop(&direct);
	writer_stop(&elsewhere);
	node_unref(filter);
	node_unref(a);
	node_unref(b);
}

FIXTURE_TEST(drains_nest)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->delay_ns = 3000;
	struct node *n = disk_open(f, d, &disk_driver);
	struct writer w;
	writer_start(&w, n);
	struct drain outer, inner;
	drain_begin(f->graph, &n, 1, &outer);
	drain_begin(f->graph, &n, 1, &inner);
	ck_assert_uint_eq(w.user.quiesces, 1);
	drain_end(&outer);
	unsigned before = w.written;
	co_sleep_ns(50000);
	ck_assert_uint_eq(w.written, before);
	drain_end(&inner);
	co_sleep_ns(50000);
	ck_assert_uint_gt(w.written, before);
	writer_stop(&w);
	node_unref(n);
}

/* A new consumer on a drained node is held from the start, and released with the others. */
FIXTURE_TEST(newcomers_are_held)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->delay_ns = 1000;
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	struct drain drain;
	drain_begin(f->graph, &n, 1, &drain);
	struct writer w;
	writer_start(&w, filter);
	co_sleep_ns(50000);
	ck_assert_uint_eq(w.written, 0);
	drain_end(&drain);
	co_sleep_ns(50000);
	ck_assert_uint_gt(w.written, 0);
	writer_stop(&w);
	node_unref(filter);
	node_unref(n);
}

/* Who may join operations is held with the other; also who comes to where they come from. */
FIXTURE_TEST(who_may_join_is_held)
{
	struct disk *d1 = disk_new(f, "d1", 4096), *d2 = disk_new(f, "d2", 4096);
	d1->delay_ns = d2->delay_ns = 5000;
	struct node *a = disk_open(f, d1, &disk_driver), *b = disk_open(f, d2, &disk_driver);
	struct user u;
	user_init_ok(&u, b);
	struct writer early, late;
	writer_start(&early, a);
	u.consumer.joined_from = a;
	struct drain drain;
	drain_begin(f->graph, &b, 1, &drain);
	ck_assert_uint_eq(drain.count, 2);
	ck_assert(!early.inside);
	unsigned before = early.written;
	writer_start(&late, a);
	co_sleep_ns(50000);
	ck_assert_uint_eq(early.written, before);
	ck_assert_uint_eq(late.written, 0);
	/* One that is spared may go on at once. */
	drain_spare(&drain, &early.user.consumer);
	co_sleep_ns(50000);
	ck_assert_uint_gt(early.written, before);
	ck_assert_uint_eq(late.written, 0);
	drain_end(&drain);
	co_sleep_ns(50000);
	ck_assert_uint_gt(late.written, 0);
	writer_stop(&early);
	writer_stop(&late);
	u.consumer.joined_from = NULL;
	user_finish(&u);
	node_unref(a);
	node_unref(b);
}

FIXTURE_TEST(consumers_and_nodes_may_go)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	struct drain drain;
	drain_begin(f->graph, &n, 1, &drain);
	ck_assert_uint_eq(drain.count, 1);
	user_finish(&u);
	ck_assert_uint_eq(drain.count, 0);
	node_unref(n);
	ck_assert_uint_eq(drain.node_count, 0);
	drain_end(&drain);
}

static void co_fn enter_late(void *arg)
{
	struct user *u = arg;
	consumer_enter(&u->consumer);
	consumer_leave(&u->consumer);
	u->resizes = 77;
}

/* The held consumer is inside an operation whose I/O takes long; the drain waits for it. */
FIXTURE_TEST(operation_in_io_is_waited_for)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->delay_ns = 1000000;
	struct node *n = disk_open(f, d, &disk_driver);
	struct writer w;
	writer_start(&w, n);
	co_sleep_ns(500);
	ck_assert(w.inside);
	uint64_t begin_ns = loop_now_ns(f->loop);
	struct drain drain;
	drain_begin(f->graph, &n, 1, &drain);
	ck_assert_uint_ge(loop_now_ns(f->loop) - begin_ns, 1999000);
	struct user *u = &w.user;
	co_start(f->loop, enter_late, u);
	co_sleep_ns(1000);
	ck_assert_uint_eq(u->resizes, 0);
	drain_end(&drain);
	co_sleep_ns(1000);
	ck_assert_uint_eq(u->resizes, 77);
	writer_stop(&w);
	node_unref(n);
}

FIXTURE_TEST(io_outside_of_an_operation_aborts)
{
	struct node *n = disk_open(f, disk_new(f, "d", 4096), &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	edge_flush(u.edge);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(drain_waits_and_holds),
	FIXTURE_ROW(drains_nest),
	FIXTURE_ROW(newcomers_are_held),
	FIXTURE_ROW(who_may_join_is_held),
	FIXTURE_ROW(consumers_and_nodes_may_go),
	FIXTURE_ROW(operation_in_io_is_waited_for),
	FIXTURE_ROW_ABORTS(io_outside_of_an_operation_aborts),
};

UNIT_MAIN("drain", tests)
