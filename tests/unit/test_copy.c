/* SPDX-License-Identifier: MIT */
/*
 * block/copy.c: everything arrives, zeroes are not read, nothing overlaps, and
 * failures, drains and ends are heeded. Random latencies, by seeds.
 */
#include "block/copy.h"

#include "block/dirty_bitmap.h"
#include "tests/unit/block_fixture.h"

#define SIZE ((uint64_t)2 << 20)
#define G COPY_PIECE_MIN

/* One copy under test with the counts of its hooks. */
struct task {
	struct consumer consumer;
	struct edge *source, *target;
	struct copy *copy;
	struct disk *from, *to;
	struct node *source_node, *target_node;
	unsigned admitted, failures, retries; /* retries that are still granted */
	unsigned reads_failed;
	uint64_t advanced, largest;
	int end_after; /* pieces until admit ends it; 0 for never */
};

static char *describe(const struct consumer *c)
{
	return xstrdup("copy");
}

static const struct consumer_ops consumer_ops = {.describe = describe};

static int co_fn admit(void *arg, uint64_t bytes)
{
	struct task *t = arg;
	if (bytes == 0)
		return 0;
	t->admitted++;
	t->largest = MAX(t->largest, bytes);
	return t->end_after > 0 && t->admitted > (unsigned)t->end_after ? -ECANCELED : 0;
}

static enum copy_verdict failed(void *arg, bool is_read, int error)
{
	struct task *t = arg;
	t->failures++;
	t->reads_failed += is_read;
	if (t->retries == 0)
		return COPY_GIVE_UP;
	if (--t->retries == 0)
		t->from->read_error = t->to->write_error = 0;
	return COPY_TRY_AGAIN;
}

static void advanced(void *arg, uint64_t bytes)
{
	struct task *t = arg;
	t->advanced += bytes;
}

static const struct copy_hooks hooks = {.admit = admit, .failed = failed, .advanced = advanced};

static void co_fn task_init_nodes(struct task *t, struct fixture *f, struct node *source,
				  struct node *target, unsigned workers)
{
	consumer_init(&t->consumer, f->graph, &consumer_ops);
	t->source_node = source;
	t->target_node = target;
	ck_assert_int_eq(edge_attach_consumer(&t->consumer, "source", source, PERM_CONSISTENT_READ,
					      PERM_ALL, &t->source, NULL),
			 0);
	ck_assert_int_eq(edge_attach_consumer(&t->consumer, "target", target, PERM_WRITE, PERM_ALL,
					      &t->target, NULL),
			 0);
	const struct copy_settings s = {
		.consumer = &t->consumer,
		.source = t->source,
		.target = t->target,
		.hooks = &hooks,
		.arg = t,
		.workers = workers,
	};
	t->copy = copy_create(&s);
}

/* From one disk to another. Half of the source's 64 KiB areas are zero. */
static void co_fn task_init(struct task *t, struct fixture *f, unsigned workers)
{
	*t = (struct task){0};
	t->from = disk_new(f, "from", SIZE);
	t->to = disk_new(f, "to", SIZE);
	t->from->holes = true;
	t->from->varies = t->to->varies = true;
	t->from->delay_ns = t->to->delay_ns = 1000000;
	for (uint64_t i = 0; i < SIZE; i++)
		t->from->data[i] = i / G % 2 ? (unsigned char)(i * 7 + i / 4096 + 1) | 1 : 0;
	memset(t->to->data, 0xee, SIZE);
	struct node *source = disk_open(f, t->from, &disk_driver);
	struct node *target = disk_open(f, t->to, &disk_driver);
	task_init_nodes(t, f, source, target, workers);
}

static void co_fn task_finish(struct task *t)
{
	copy_destroy(t->copy);
	edge_detach(t->source);
	edge_detach(t->target);
	consumer_finish(&t->consumer);
	node_unref(t->source_node);
	node_unref(t->target_node);
}

static void expect_equal(const struct task *t)
{
	ck_assert(memcmp(t->from->data, t->to->data, SIZE) == 0);
}

static void co_fn everything_arrives_once(struct fixture *f)
{
	struct task t;
	task_init(&t, f, 0);
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	expect_equal(&t);
	ck_assert_uint_eq(t.advanced, SIZE);
	ck_assert_uint_eq(copy_bytes_in_flight(t.copy), 0);
	/* Half of it is zero and was not read: no piece spans an area that has data. */
	ck_assert_uint_eq(t.from->reads, SIZE / G / 2);
	ck_assert_uint_ge(t.to->unmaps, 1);
	ck_assert_uint_gt(t.to->most_in_flight, 2);
	ck_assert_uint_le(t.to->most_in_flight, 8);
	task_finish(&t);
}

START_TEST(test_everything_arrives_once)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		fixture_run_seed(seed, everything_arrives_once);
}
END_TEST

/* --- Copying by the storage itself ---------------------------------------------------- */

static unsigned offloaded;
static int offload_error; /* after half of the range */

static int co_fn copy_between(struct node *n, uint64_t offset, uint64_t bytes, struct node *from,
			      uint64_t from_offset)
{
	const struct disk *source = *(struct disk **)from->state;
	struct disk *d = *(struct disk **)n->state;
	uint64_t part = offload_error < 0 ? bytes / 2 : bytes;
	co_sleep_ns(1000);
	memcpy(d->data + offset, source->data + from_offset, part);
	offloaded++;
	return offload_error;
}

static void co_fn offload(struct fixture *f, bool wanted, bool knows, int error)
{
	struct driver driver = disk_driver;
	struct task t = {.from = disk_new(f, "from", SIZE), .to = disk_new(f, "to", SIZE)};
	if (knows)
		driver.copy = copy_between;
	offloaded = 0;
	offload_error = error;
	t.from->holes = true;
	for (uint64_t i = 0; i < SIZE; i++)
		t.from->data[i] = i / G % 2 ? (unsigned char)(i * 7 + i / 4096 + 1) | 1 : 0;
	memset(t.to->data, 0xee, SIZE);
	task_init_nodes(&t, f, disk_open(f, t.from, &driver), disk_open(f, t.to, &driver), 0);
	copy_configure(t.copy, &(const struct copy_settings){
		.consumer = &t.consumer, .hooks = &hooks, .arg = &t, .offloads = wanted});
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	expect_equal(&t);
	ck_assert_uint_eq(offloaded, wanted && knows ? SIZE / G / 2 : 0);
	/* What it cannot do is read and written. */
	ck_assert_uint_eq(t.from->reads, offloaded && error == 0 ? 0 : SIZE / G / 2);
	ck_assert_uint_eq(t.failures, 0);
	/* A flush covers it. */
	ck_assert_uint_ne(t.target_node->write_generation, t.target_node->flushed_generation);
	task_finish(&t);
}

FIXTURE_TEST(storage_copies_if_it_can)
{
	offload(f, true, true, 0);
	offload(f, false, true, 0);
	offload(f, true, false, 0);
	offload(f, true, true, -EIO);
	offload(f, true, true, -ENOTSUP);
}

FIXTURE_TEST(workers_are_bounded)
{
	struct task t;
	task_init(&t, f, 3);
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	expect_equal(&t);
	ck_assert_uint_eq(MAX(t.from->most_in_flight, t.to->most_in_flight), 3);
	task_finish(&t);
}

FIXTURE_TEST(pieces_grow_with_speed_up_to_the_limit)
{
	struct task t;
	task_init(&t, f, 1);
	memset(t.from->data, 1, SIZE);
	t.from->delay_ns = t.to->delay_ns = 0;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	ck_assert_uint_eq(t.largest, COPY_PIECE_MAX);

	copy_limit_piece(t.copy, COPY_PIECE_MIN * 3 + 5);
	t.largest = 0;
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	ck_assert_uint_eq(t.largest, COPY_PIECE_MIN * 3);
	copy_limit_piece(t.copy, 1);
	t.largest = 0;
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	ck_assert_uint_eq(t.largest, COPY_PIECE_MIN);

	/* Slow disks make them small. */
	copy_limit_piece(t.copy, COPY_PIECE_MAX);
	t.from->varies = t.to->varies = false;
	t.from->delay_ns = t.to->delay_ns = UINT64_C(1000000000);
	for (int i = 0; i < 3; i++) {
		t.admitted = 0;
		ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	}
	ck_assert_uint_eq(t.admitted, SIZE / COPY_PIECE_MIN);
	expect_equal(&t);
	task_finish(&t);
}

FIXTURE_TEST(only_layers_above_base_are_copied)
{
	static const char *const names[] = {"base", "o1", "o2"};
	const uint64_t size = 262144;
	for (int i = 0; i < 3; i++) {
		disk_format_cow(disk_new(f, names[i], 0), size, i > 0 ? names[i - 1] : NULL, "qcow2");
		struct node *n;
		char *text = xasprintf("driver=qcow2,node-name=%s,file.driver=file,file.filename=%s",
				       names[i], names[i]);
		ck_assert_int_eq(open_text(f, text, &n, NULL), 0);
		free(text);
		struct user u;
		user_init_ok(&u, n);
		/* Layer i has the clusters from i * 100 on. */
		ck_assert_int_eq(user_fill(&u, (uint64_t)i * 100 * COW_CLUSTER, 50 * COW_CLUSTER,
					   'a' + i),
				 0);
		consumer_enter(&u.consumer);
		if (i == 2)
			ck_assert_int_eq(edge_zero(u.edge, 300 * COW_CLUSTER, 10 * COW_CLUSTER, 0), 0);
		consumer_leave(&u.consumer);
		ck_assert_int_eq(user_flush(&u), 0);
		user_finish(&u);
		node_unref(n);
	}
	struct node *top = open_ok(f, "driver=qcow2,file.driver=file,file.filename=o2");
	struct task t = {0};
	t.from = disk_new(f, "unused", 0);
	t.to = disk_new(f, "to", size);
	memset(t.to->data, 0xee, size);
	task_init_nodes(&t, f, node_ref(top), disk_open(f, t.to, &disk_driver), 0);
	struct node *base = top->backing->child->backing->child;
	ck_assert_int_eq(copy_allocated(t.copy, base, size), 0);
	ck_assert_uint_eq(t.advanced, size);
	for (uint64_t i = 0; i < size / COW_CLUSTER; i++) {
		int expected = i >= 100 && i < 150	 ? 'b'
			       : i >= 200 && i < 250	 ? 'c'
			       : i >= 300 && i < 310	 ? 0
							 : 0xee;
		ck_assert(all_bytes(t.to->data + i * COW_CLUSTER, COW_CLUSTER, expected));
	}
	task_finish(&t);
	node_unref(top);
}

FIXTURE_TEST(failed_pieces_come_again)
{
	struct task t;
	task_init(&t, f, 0);
	t.to->write_error = -ENOSPC;
	t.retries = 20;
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	ck_assert_uint_ge(t.failures, 20);
	ck_assert_uint_eq(t.reads_failed, 0);
	ck_assert_uint_eq(t.advanced, SIZE);
	expect_equal(&t);
	task_finish(&t);
}

FIXTURE_TEST(giving_up_ends_it)
{
	struct task t;
	task_init(&t, f, 0);
	t.from->read_error = -EIO;
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), -EIO);
	ck_assert_uint_ge(t.failures, 1);
	ck_assert_uint_le(t.failures, 8);
	ck_assert_uint_eq(t.reads_failed, t.failures);
	ck_assert_uint_lt(t.advanced, SIZE);
	/* It can be tried anew. */
	t.from->read_error = 0;
	t.advanced = 0;
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), 0);
	ck_assert_uint_eq(t.advanced, SIZE);
	expect_equal(&t);
	task_finish(&t);
}

FIXTURE_TEST(admit_may_end_it)
{
	struct task t;
	task_init(&t, f, 0);
	t.end_after = 5;
	ck_assert_int_eq(copy_allocated(t.copy, NULL, SIZE), -ECANCELED);
	ck_assert_uint_eq(t.from->in_flight + t.to->in_flight, 0);
	task_finish(&t);
}

/* --- With a writer ------------------------------------------------------------------- */

struct writer {
	struct user user;
	struct task *task;
	struct dirty_bitmap *bitmap;
	unsigned writes;
	bool through; /* to both places, holding the range */
	bool stop, ended;
};

static void co_fn write_once(struct writer *w)
{
	struct task *t = w->task;
	struct loop *loop = loop_current();
	uint64_t offset = loop_random(loop) % (SIZE / 512 - 16) * 512;
	uint64_t bytes = (1 + loop_random(loop) % 16) * 512;
	int byte = (int)(1 + loop_random(loop) % 255);

	consumer_enter(&w->user.consumer);
	struct copy_hold hold;
	unsigned char *buffer = xalloc(1, bytes);
	memset(buffer, byte, bytes);
	if (w->through)
		copy_hold(t->copy, &hold, offset, bytes);
	ck_assert_int_eq(edge_write(w->user.edge, offset, bytes, buffer, 0), 0);
	if (w->through) {
		consumer_join(&t->consumer);
		ck_assert_int_eq(edge_write(t->target, offset, bytes, buffer, 0), 0);
		consumer_leave(&t->consumer);
		copy_release(t->copy, &hold);
	} else {
		dirty_bitmap_set(w->bitmap, offset, bytes);
	}
	free(buffer);
	consumer_leave(&w->user.consumer);
	w->writes++;
}

static void co_fn writer_main(void *arg)
{
	struct writer *w = arg;
	while (!w->stop) {
		write_once(w);
		co_sleep_ns(loop_random(loop_current()) % 300000);
	}
	w->ended = true;
}

static void co_fn sweep_with_writers(struct fixture *f, bool through)
{
	struct task t;
	task_init(&t, f, 4);
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, G);
	struct writer writers[3];
	dirty_bitmap_set(b, 0, SIZE);
	for (int i = 0; i < 3; i++) {
		writers[i] = (struct writer){.task = &t, .bitmap = b, .through = through};
		user_init_ok(&writers[i].user, t.source_node);
		co_start(f->loop, writer_main, &writers[i]);
	}
	for (int sweep = 0; sweep < 4; sweep++)
		ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	/* Written through, nothing gets dirty again. */
	if (through)
		ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	for (int i = 0; i < 3; i++)
		writers[i].stop = true;
	for (int i = 0; i < 3; i++) {
		while (!writers[i].ended)
			co_sleep_ns(1000000);
		ck_assert_uint_gt(writers[i].writes, 0);
		user_finish(&writers[i].user);
	}
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	expect_equal(&t);
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

static void co_fn marked_writes_arrive(struct fixture *f)
{
	sweep_with_writers(f, false);
}

static void co_fn writes_through_arrive(struct fixture *f)
{
	sweep_with_writers(f, true);
}

START_TEST(test_marked_writes_arrive)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		fixture_run_seed(seed, marked_writes_arrive);
}
END_TEST

START_TEST(test_writes_through_arrive)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		fixture_run_seed(seed, writes_through_arrive);
}
END_TEST

FIXTURE_TEST(failed_sweeps_leave_it_dirty)
{
	struct task t;
	task_init(&t, f, 0);
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, G);
	dirty_bitmap_set(b, 0, SIZE);
	t.to->write_error = -EIO;
	t.to->zero_error = -EIO;
	ck_assert_int_eq(copy_dirty(t.copy, b), -EIO);
	ck_assert_uint_eq(dirty_bitmap_count(b), SIZE);
	t.to->write_error = t.to->zero_error = 0;
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	expect_equal(&t);
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

/* --- With users who overwrite what is still to be copied ------------------------------- */

struct overwriter {
	struct writer writer;
	unsigned waited; /* writes that came before the copy of their place had ended */
};

static void co_fn overwrite_once(struct overwriter *o)
{
	struct task *t = o->writer.task;
	struct loop *loop = loop_current();
	uint64_t offset = loop_random(loop) % (SIZE / 512 - 16) * 512;
	uint64_t bytes = (1 + loop_random(loop) % 16) * 512;
	consumer_enter(&o->writer.user.consumer);
	consumer_join(&t->consumer);
	uint64_t begin_ns = loop_now_ns(loop);
	ck_assert_int_eq(copy_urgently(t->copy, o->writer.bitmap, offset, bytes, 0), 0);
	o->waited += loop_now_ns(loop) > begin_ns;
	consumer_leave(&t->consumer);
	unsigned char *buffer = xalloc(1, bytes);
	memset(buffer, 0xdd, bytes);
	ck_assert_int_eq(edge_write(o->writer.user.edge, offset, bytes, buffer, 0), 0);
	free(buffer);
	consumer_leave(&o->writer.user.consumer);
	o->writer.writes++;
}

static void co_fn overwriter_main(void *arg)
{
	struct overwriter *o = arg;
	while (!o->writer.stop) {
		overwrite_once(o);
		co_sleep_ns(loop_random(loop_current()) % 300000);
	}
	o->writer.ended = true;
}

/* The target shows the source as it was, with bitmaps coarser and finer than pieces. */
static void co_fn point_in_time_arrives(struct fixture *f)
{
	struct task t;
	task_init(&t, f, 4);
	unsigned char *before = xmemdup(t.from->data, SIZE);
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, loop_random(f->loop) % 2 ? 4096 : 4 * G);
	struct overwriter writers[3];
	dirty_bitmap_set(b, 0, SIZE);
	for (int i = 0; i < 3; i++) {
		writers[i] = (struct overwriter){.writer = {.task = &t, .bitmap = b}};
		user_init_ok(&writers[i].writer.user, t.source_node);
		co_start(f->loop, overwriter_main, &writers[i]);
	}
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	copy_wait_range(t.copy, 0, SIZE);
	ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	ck_assert_uint_eq(t.advanced, SIZE);
	for (int i = 0; i < 3; i++)
		writers[i].writer.stop = true;
	for (int i = 0; i < 3; i++) {
		while (!writers[i].writer.ended)
			co_sleep_ns(1000000);
		ck_assert_uint_gt(writers[i].writer.writes, 0);
		ck_assert_uint_gt(writers[i].waited, 0);
		user_finish(&writers[i].writer.user);
	}
	ck_assert(memcmp(t.to->data, before, SIZE) == 0);
	ck_assert(memcmp(t.from->data, before, SIZE) != 0);
	free(before);
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

START_TEST(test_point_in_time_arrives)
{
	for (uint64_t seed = 0; seed < 30; seed++)
		fixture_run_seed(seed, point_in_time_arrives);
}
END_TEST

FIXTURE_TEST(a_failed_urgent_copy_leaves_its_place_dirty)
{
	struct task t;
	task_init(&t, f, 0);
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, G);
	dirty_bitmap_set(b, 0, SIZE);
	consumer_enter(&t.consumer);
	t.from->read_error = -EIO;
	ck_assert_int_eq(copy_urgently(t.copy, b, G + 512, 3 * G, 0), -EIO);
	ck_assert(dirty_bitmap_get(b, G));
	/* What an earlier piece has zeroed needs no second one. */
	t.from->read_error = 0;
	ck_assert_int_eq(copy_urgently(t.copy, b, G + 512, 3 * G, 0), 0);
	ck_assert_uint_eq(dirty_bitmap_count(b), SIZE - 4 * G);
	ck_assert(memcmp(t.to->data + G, t.from->data + G, 4 * G) == 0);
	ck_assert_uint_eq(t.to->data[0], 0xee);
	ck_assert_uint_eq(t.to->data[5 * G], 0xee);
	consumer_leave(&t.consumer);
	ck_assert_uint_eq(t.failures, 0); /* that is for whoever called to deal with */
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

/* With slow disks, a user waits for little more than the own copy after a while. */
FIXTURE_TEST(sweeps_leave_room_for_urgent_copies)
{
	struct task t;
	task_init(&t, f, 8);
	memset(t.from->data, 1, SIZE);
	t.from->delay_ns = t.to->delay_ns = 20000000;
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, 4096);
	dirty_bitmap_set(b, 0, SIZE);
	consumer_enter(&t.consumer);
	for (uint64_t i = 0; i < 16; i++)
		ck_assert_int_eq(copy_urgently(t.copy, b, i * 4096, 512, 0), 0);
	consumer_leave(&t.consumer);
	t.from->most_in_flight = t.to->most_in_flight = 0;
	t.end_after = 6;
	ck_assert_int_eq(copy_dirty(t.copy, b), -ECANCELED);
	ck_assert_uint_eq(MAX(t.from->most_in_flight, t.to->most_in_flight), 1);
	ck_assert_uint_eq(t.largest, COPY_PIECE_MIN);
	/* A second without urgent copies, and another. */
	t.end_after = 0;
	co_sleep_ns(UINT64_C(10000000000));
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	ck_assert_uint_gt(MAX(t.from->most_in_flight, t.to->most_in_flight), 1);
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

/* --- With a drain --------------------------------------------------------------------- */

static void co_fn copy_main(void *arg)
{
	struct task *t = arg;
	ck_assert_int_eq(copy_allocated(t->copy, NULL, SIZE), 0);
	t->end_after = -1;
}

FIXTURE_TEST(a_drain_halts_it)
{
	struct task t;
	task_init(&t, f, 0);
	co_start(f->loop, copy_main, &t);
	co_sleep_ns(1000000);
	struct drain d;
	drain_begin(f->graph, &t.target_node, 1, &d);
	ck_assert_uint_eq(t.from->in_flight + t.to->in_flight, 0);
	uint64_t before = t.advanced;
	ck_assert_uint_lt(before, SIZE);
	co_sleep_ns(UINT64_C(1000000000));
	ck_assert_uint_eq(t.advanced, before);
	drain_end(&d);
	while (t.end_after == 0)
		co_sleep_ns(1000000);
	expect_equal(&t);
	task_finish(&t);
}

/* A user inside an operation waits for a piece while a drain waits for both. */
struct holder {
	struct user user;
	struct task *task;
	bool done;
};

static void co_fn holder_main(void *arg)
{
	struct holder *h = arg;
	consumer_enter(&h->user.consumer);
	struct copy_hold hold;
	copy_hold(h->task->copy, &hold, 0, SIZE);
	ck_assert_uint_eq(copy_bytes_in_flight(h->task->copy), 0);
	co_sleep_ns(5000000);
	ck_assert_uint_eq(copy_bytes_in_flight(h->task->copy), 0);
	copy_release(h->task->copy, &hold);
	consumer_leave(&h->user.consumer);
	h->done = true;
}

FIXTURE_TEST(holds_and_drains_do_not_deadlock)
{
	struct task t;
	task_init(&t, f, 0);
	struct holder h = {.task = &t};
	user_init_ok(&h.user, t.source_node);
	co_start(f->loop, copy_main, &t);
	co_sleep_ns(500000);
	co_start(f->loop, holder_main, &h);
	co_reschedule();
	struct drain d;
	struct node *nodes[] = {t.source_node, t.target_node};
	drain_begin(f->graph, nodes, 2, &d);
	drain_end(&d);
	while (t.end_after == 0 || !h.done)
		co_sleep_ns(1000000);
	expect_equal(&t);
	user_finish(&h.user);
	task_finish(&t);
}

/* --- Long and short pieces ------------------------------------------------------------- */

FIXTURE_TEST(dirty_zeroes_are_one_piece)
{
	struct task t;
	task_init(&t, f, 0);
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, 4096);
	memset(t.from->data, 0, SIZE);
	/* But for the begin and a sector in the middle of a granule. */
	t.from->data[0] = t.from->data[SIZE - G + 512] = 1;
	dirty_bitmap_set(b, 0, SIZE);
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	expect_equal(&t);
	ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	ck_assert_uint_eq(t.advanced, SIZE);
	/* The first that is long reaches from the data at the begin to those at the end. */
	ck_assert_uint_ge(t.largest, SIZE - 4 * COPY_PIECE_MAX / 4 - G);
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

FIXTURE_TEST(considerate_sweeps_keep_little_in_flight)
{
	struct task t;
	task_init(&t, f, 0);
	struct dirty_bitmap *b = dirty_bitmap_create(SIZE, G);
	memset(t.from->data, 1, SIZE);
	dirty_bitmap_set(b, 0, SIZE);
	copy_set_considerate(t.copy, true);
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	expect_equal(&t);
	ck_assert_uint_le(t.largest, COPY_PIECE_MAX / 8);
	ck_assert_uint_le(MAX(t.from->most_in_flight, t.to->most_in_flight), 8);
	/* Pieces grow again when the users have gone. */
	copy_set_considerate(t.copy, false);
	dirty_bitmap_set(b, 0, SIZE);
	ck_assert_int_eq(copy_dirty(t.copy, b), 0);
	ck_assert_uint_gt(t.largest, COPY_PIECE_MAX / 8);
	dirty_bitmap_destroy(b);
	task_finish(&t);
}

/* What the hook that moves pieces was asked for. */
struct moved {
	struct task task;
	uint64_t last, data, zero, crooked, cluster;
	bool goes_back;
};

static int co_fn transfer(void *arg, uint64_t offset, uint64_t bytes, bool is_zero,
			  bool *ret_is_read)
{
	struct moved *m = arg; /* its first member is the task of the other hooks */
	m->goes_back |= offset < m->last;
	m->last = offset;
	m->crooked += offset % m->cluster != 0 || (bytes % m->cluster != 0 && offset + bytes != SIZE);
	*(is_zero ? &m->zero : &m->data) += bytes;
	*ret_is_read = false;
	return 0;
}

static const struct copy_hooks transfer_hooks = {
	.admit = admit, .failed = failed, .advanced = advanced, .transfer = transfer};

static void co_fn move_all(struct fixture *f, struct moved *m, uint64_t cluster, bool copies_holes)
{
	*m = (struct moved){.cluster = cluster};
	task_init(&m->task, f, 4);
	const struct copy_settings s = {
		.consumer = &m->task.consumer,
		.hooks = &transfer_hooks,
		.arg = m,
		.cluster = cluster,
		.copies_holes = copies_holes,
	};
	copy_configure(m->task.copy, &s);
	ck_assert_int_eq(copy_allocated(m->task.copy, NULL, SIZE), 0);
	ck_assert_uint_eq(m->task.advanced, SIZE);
	ck_assert_uint_eq(m->crooked, 0);
}

FIXTURE_TEST(pieces_may_be_moved_by_a_hook)
{
	struct moved m;
	/* Half of the areas are zero; clusters of two areas are then all data. */
	move_all(f, &m, G, true);
	ck_assert_uint_eq(m.data, SIZE / 2);
	ck_assert_uint_eq(m.zero, SIZE / 2);
	ck_assert_mem_eq(m.task.to->data, "\xee\xee\xee\xee", 4);
	task_finish(&m.task);
}

FIXTURE_TEST(moved_pieces_are_whole_clusters)
{
	struct moved m;
	move_all(f, &m, 2 * G, true);
	ck_assert_uint_eq(m.data, SIZE);
	ck_assert_uint_eq(m.zero, 0);
	task_finish(&m.task);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(everything_arrives_once),
	FIXTURE_ROW(storage_copies_if_it_can),
	FIXTURE_ROW(workers_are_bounded),
	FIXTURE_ROW(pieces_grow_with_speed_up_to_the_limit),
	FIXTURE_ROW(only_layers_above_base_are_copied),
	FIXTURE_ROW(failed_pieces_come_again),
	FIXTURE_ROW(giving_up_ends_it),
	FIXTURE_ROW(admit_may_end_it),
	FIXTURE_ROW(marked_writes_arrive),
	FIXTURE_ROW(writes_through_arrive),
	FIXTURE_ROW(failed_sweeps_leave_it_dirty),
	FIXTURE_ROW(point_in_time_arrives),
	FIXTURE_ROW(a_failed_urgent_copy_leaves_its_place_dirty),
	FIXTURE_ROW(sweeps_leave_room_for_urgent_copies),
	FIXTURE_ROW(a_drain_halts_it),
	FIXTURE_ROW(holds_and_drains_do_not_deadlock),
	FIXTURE_ROW(dirty_zeroes_are_one_piece),
	FIXTURE_ROW(considerate_sweeps_keep_little_in_flight),
	FIXTURE_ROW(pieces_may_be_moved_by_a_hook),
	FIXTURE_ROW(moved_pieces_are_whole_clusters),
};

UNIT_MAIN("copy", tests)
