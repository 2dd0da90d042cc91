/* SPDX-License-Identifier: MIT */
/*
 * block/cbw.c and the drivers copy-before-write and snapshot-access: the point in
 * time stays what it was while users write, also when requests fail or hang.
 */
#include "block/cbw.h"

#include <stdio.h>

#include "block/bitmap.h"
#include "block/driver.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"a"};

/* A source with data, an empty target, the filter over both, and a reader of the point in time. */
struct stage {
	struct chain *chain;
	struct node *source, *target, *filter, *access;
	struct chain_user user, reader;
	uint8_t *then; /* what the source showed when users came */
};

static void co_fn stage_open(struct stage *s, struct chain *c, const char *options)
{
	char text[300];
	struct error *error = NULL;
	*s = (struct stage){.chain = c};
	chain_make_all(c, names, 1);
	chain_make(c, "t", CHAIN_SIZE, NULL);
	s->source = chain_open(c, "a");
	s->target = chain_open(c, "t");
	s->target->discard_unmap = true;
	if (strstr(options, "bitmap")) {
		struct bitmap *b;
		ck_assert_int_eq(bitmap_create(s->source, "b", 65536, &b, NULL), 0);
		dirty_bitmap_set(b->bits, 65536, 2 * 65536);
	}
	snprintf(text, sizeof(text), "driver=copy-before-write,node-name=c,file=a,target=t,%s",
		 options);
	int r = chain_open_text(c, text, &s->filter, &error);
	ck_assert_msg(r >= 0, "%s", error ? error->message : "no error");
	r = chain_open_text(c, "driver=snapshot-access,node-name=s,discard=unmap,file=c",
			    &s->access, NULL);
	ck_assert_int_eq(r, 0);
	chain_user_init(&s->user, c, s->filter);
	chain_user_init(&s->reader, c, s->access);
	s->then = xmemdup(c->model, CHAIN_SIZE);
	c->events = 0;
}

static void co_fn stage_close(struct stage *s)
{
	chain_user_finish(&s->user);
	chain_user_finish(&s->reader);
	node_unref(s->access);
	node_unref(s->filter);
	chain_expect(s->chain, s->source);
	node_unref(s->target);
	node_unref(s->source);
	free(s->then);
}

static int co_fn read_then(struct stage *s, uint64_t offset, uint64_t bytes, uint8_t *data)
{
	consumer_enter(&s->reader.consumer);
	int r = edge_read(s->reader.edge, offset, bytes, data, 0);
	consumer_leave(&s->reader.consumer);
	return r;
}

static void co_fn expect_then(struct stage *s, uint64_t offset, uint64_t bytes)
{
	uint8_t *data = xalloc(1, bytes);
	ck_assert_int_eq(read_then(s, offset, bytes, data), 0);
	for (uint64_t i = 0; i < bytes && memcmp(data, s->then + offset, bytes) != 0; i++)
		ck_assert_msg(data[i] == s->then[offset + i], "byte %u is %02x, not %02x",
			      (unsigned)(offset + i), data[i], s->then[offset + i]);
	free(data);
}

static int co_fn user_write(struct stage *s, uint64_t offset, uint64_t bytes, int byte)
{
	uint8_t *data = xalloc(1, bytes);
	memset(data, byte, bytes);
	consumer_enter(&s->user.consumer);
	int r = edge_write(s->user.edge, offset, bytes, data, 0);
	consumer_leave(&s->user.consumer);
	if (r >= 0)
		memset(s->chain->model + offset, byte, bytes);
	free(data);
	return r;
}

static int co_fn discard_then(struct stage *s, uint64_t offset, uint64_t bytes)
{
	consumer_enter(&s->reader.consumer);
	int r = edge_discard(s->reader.edge, offset, bytes);
	consumer_leave(&s->reader.consumer);
	return r;
}

/* Random requests of a user and of readers at the same time. */
static void co_fn readers_see_that_moment(struct chain *c)
{
	struct stage s;
	stage_open(&s, c, "");
	c->delay_ns = 100000;
	chain_user_start(&s.user);
	for (int i = 0; i < 300; i++) {
		uint64_t offset = loop_random(c->loop) % (CHAIN_SIZE / 512 - 64) * 512;
		expect_then(&s, offset, (1 + loop_random(c->loop) % 64) * 512);
	}
	expect_then(&s, 0, CHAIN_SIZE);
	ck_assert_uint_gt(s.user.writes, 50);
	stage_close(&s);
}

START_TEST(test_readers_see_that_moment)
{
	for (uint64_t seed = 1; seed < 9; seed++)
		chain_run(seed, readers_see_that_moment);
}
END_TEST

/* What the status calls zero reads as zeroes, while a user writes. */
CHAIN_TEST(status_tells_of_that_moment)
{
	struct stage s;
	stage_open(&s, c, "");
	c->delay_ns = 100000;
	chain_user_start(&s.user);
	unsigned zeroes = 0;
	for (int i = 0; i < 400; i++) {
		struct extent x;
		uint64_t offset = loop_random(c->loop) % (CHAIN_SIZE / 512) * 512;
		consumer_enter(&s.reader.consumer);
		ck_assert_int_eq(node_status(s.access, offset, CHAIN_SIZE - offset, &x), 0);
		consumer_leave(&s.reader.consumer);
		ck_assert_uint_ge(x.bytes, 1);
		for (uint64_t k = 0; (x.flags & EXTENT_ZERO) && k < x.bytes; k++)
			ck_assert_uint_eq(s.then[offset + k], 0);
		zeroes += !!(x.flags & EXTENT_ZERO);
	}
	ck_assert_uint_gt(zeroes, 10);
	stage_close(&s);
}

/* A small write copies a cluster of the target, a second one there nothing. */
CHAIN_TEST(only_what_is_written_is_copied)
{
	struct stage s;
	stage_open(&s, c, "");
	struct dirty_bitmap *left = cbw_left(s.filter->driver->cbw(s.filter));
	ck_assert_int_eq(user_write(&s, 3 * CHAIN_CLUSTER + 512, 512, 1), 0);
	ck_assert_uint_eq(dirty_bitmap_count(left), CHAIN_SIZE - CHAIN_CLUSTER);
	ck_assert(!dirty_bitmap_get(left, 3 * CHAIN_CLUSTER));
	ck_assert_int_eq(user_write(&s, 3 * CHAIN_CLUSTER, CHAIN_CLUSTER, 2), 0);
	ck_assert_uint_eq(dirty_bitmap_count(left), CHAIN_SIZE - CHAIN_CLUSTER);
	expect_then(&s, 0, CHAIN_SIZE);
	stage_close(&s);
}

/* One request after the other fails: a write that fails has changed nothing. */
static struct {
	const char *options;
	uint64_t fail_at, events;
	unsigned failed, lost;
} trial;

static void co_fn fail_one(struct chain *c)
{
	struct stage s;
	stage_open(&s, c, trial.options);
	c->fail_error = -EIO;
	c->fail_at = trial.fail_at;
	bool is_damaged[64] = {false};
	for (unsigned i = 0; i < 16; i++) {
		uint64_t offset = loop_random(c->loop) % 64 * CHAIN_CLUSTER;
		if (user_write(&s, offset, 1024, 'x') < 0) {
			/* Of what fails in the source itself, anything may be left. */
			is_damaged[offset / CHAIN_CLUSTER] = true;
			trial.failed++;
		}
	}
	trial.events = c->events;
	c->fail_at = 0;
	uint8_t data[512];
	if (cbw_error(s.filter->driver->cbw(s.filter)) < 0) {
		ck_assert_int_eq(read_then(&s, 0, sizeof(data), data), -EACCES);
		trial.lost++;
	} else {
		expect_then(&s, 0, CHAIN_SIZE);
	}
	for (unsigned i = 0; i < 64; i++) {
		if (is_damaged[i])
			ck_assert_int_eq(user_write(&s, i * CHAIN_CLUSTER, CHAIN_CLUSTER, 'y'), 0);
	}
	stage_close(&s);
}

static void sweep(const char *options)
{
	trial.options = options;
	trial.fail_at = 0;
	trial.failed = trial.lost = 0;
	do {
		trial.fail_at++;
		chain_run(trial.fail_at, fail_one);
	} while (trial.events >= trial.fail_at);
	ck_assert_uint_gt(trial.fail_at, 20);
}

START_TEST(test_a_failure_breaks_the_write)
{
	sweep("on-cbw-error=break-guest-write");
	ck_assert_uint_gt(trial.failed, 20);
	ck_assert_uint_eq(trial.lost, 0);
}
END_TEST

START_TEST(test_a_failure_breaks_the_snapshot)
{
	sweep("on-cbw-error=break-snapshot");
	ck_assert_uint_gt(trial.lost, 10);
	/* Those of the source itself remain. */
	ck_assert_uint_gt(trial.failed, 0);
}
END_TEST

static void co_fn drain_main(void *arg)
{
	struct stage *s = arg;
	struct drain d;
	drain_begin(s->chain->graph, &s->target, 1, &d);
	s->chain->fail_at = 12345; /* it has come so far */
	drain_end(&d);
}

/* The target hangs: the write is answered in time, and a drain waits for the rest. */
static void co_fn hang(struct chain *c, bool breaks_snapshot)
{
	struct stage s;
	stage_open(&s, c,
		   breaks_snapshot ? "cbw-timeout=2,on-cbw-error=break-snapshot" : "cbw-timeout=2");
	struct cbw *w = s.filter->driver->cbw(s.filter);
	uint64_t begin_ns = loop_now_ns(c->loop);
	c->slow_disk = "t";
	int r = user_write(&s, 0, 512, 'x');
	ck_assert_int_eq(r, breaks_snapshot ? 0 : -ETIMEDOUT);
	ck_assert_uint_ge(loop_now_ns(c->loop) - begin_ns, UINT64_C(2000000000));
	ck_assert_uint_lt(loop_now_ns(c->loop) - begin_ns, UINT64_C(2100000000));
	ck_assert_uint_gt(copy_bytes_in_flight(cbw_copy(w)), 0);
	ck_assert_uint_eq(s.filter->work, 1);

	co_start(c->loop, drain_main, &s);
	co_sleep_ns(UINT64_C(1000000000));
	ck_assert_uint_eq(c->fail_at, 0);
	c->slow_disk = NULL;
	while (c->fail_at == 0)
		co_sleep_ns(1000000);
	c->fail_at = 0;
	ck_assert_uint_eq(s.filter->work, 0);
	ck_assert_uint_eq(copy_bytes_in_flight(cbw_copy(w)), 0);
	if (!breaks_snapshot) {
		ck_assert_int_eq(user_write(&s, 0, 512, 'x'), 0);
		expect_then(&s, 0, CHAIN_SIZE);
	}
	stage_close(&s);
}

CHAIN_TEST(a_timeout_breaks_the_write)
{
	hang(c, false);
}

CHAIN_TEST(a_timeout_breaks_the_snapshot)
{
	hang(c, true);
}

CHAIN_TEST(closing_waits_for_what_goes_on)
{
	struct stage s;
	stage_open(&s, c, "cbw-timeout=1");
	c->delay_ns = UINT64_C(5000000000);
	while (user_write(&s, loop_random(c->loop) % 64 * CHAIN_CLUSTER, 512, 'x') != -ETIMEDOUT) {
	}
	ck_assert_uint_gt(s.filter->work, 0);
	c->delay_ns = 0;
	stage_close(&s);
}

CHAIN_TEST(only_the_part_of_a_bitmap_is_kept)
{
	struct stage s;
	uint8_t data[512];
	stage_open(&s, c, "bitmap.node=a,bitmap.name=b");
	struct dirty_bitmap *left = cbw_left(s.filter->driver->cbw(s.filter));
	ck_assert_uint_eq(dirty_bitmap_count(left), 2 * 65536);
	ck_assert_int_eq(read_then(&s, 0, 512, data), -EACCES);
	ck_assert_int_eq(read_then(&s, 65536 - 512, 512, data), -EACCES);
	ck_assert_int_eq(read_then(&s, 3 * 65536, 512, data), -EACCES);
	uint64_t events = c->events;
	ck_assert_int_eq(user_write(&s, 0, 65536, 'x'), 0);
	ck_assert_uint_eq(dirty_bitmap_count(left), 2 * 65536);
	ck_assert_uint_gt(c->events, events);
	ck_assert_int_eq(user_write(&s, 65536 - 512, 1024, 'x'), 0);
	ck_assert_uint_lt(dirty_bitmap_count(left), 2 * 65536);
	expect_then(&s, 65536, 2 * 65536);
	struct extent x;
	ck_assert_int_eq(node_status(s.access, 65536, CHAIN_SIZE - 65536, &x), 0);
	ck_assert_uint_le(x.bytes, 2 * 65536);
	ck_assert_int_eq(node_status(s.access, 0, CHAIN_SIZE, &x), -EACCES);
	stage_close(&s);
}

/* What is dropped is neither readable nor copied any more; what is next to it stays. */
CHAIN_TEST(dropped_parts_are_given_up)
{
	struct stage s;
	uint8_t data[512];
	stage_open(&s, c, "");
	struct dirty_bitmap *left = cbw_left(s.filter->driver->cbw(s.filter));
	ck_assert_int_eq(user_write(&s, 0, 65536, 'x'), 0);
	ck_assert_int_eq(discard_then(&s, 512, 2 * 65536), 0);
	expect_then(&s, 0, CHAIN_CLUSTER);
	ck_assert_int_eq(read_then(&s, CHAIN_CLUSTER, 512, data), -EACCES);
	ck_assert_int_eq(read_then(&s, 2 * 65536 - 512, 512, data), -EACCES);
	expect_then(&s, 2 * 65536, CHAIN_SIZE - 2 * 65536);
	uint64_t before = dirty_bitmap_count(left);
	ck_assert_int_eq(user_write(&s, 65536, 65536, 'y'), 0);
	ck_assert_uint_eq(dirty_bitmap_count(left), before);
	/* The end of the node ends a cluster, too. */
	ck_assert_int_eq(discard_then(&s, CHAIN_SIZE - 4096, 4096), 0);
	ck_assert_int_eq(read_then(&s, CHAIN_SIZE - 512, 512, data), -EACCES);
	stage_close(&s);
}

/* Flushes of users are no business of the target. */
CHAIN_TEST(a_flush_leaves_the_target_alone)
{
	struct stage s;
	stage_open(&s, c, "");
	ck_assert_int_eq(user_write(&s, 0, 65536, 'x'), 0);
	uint64_t dirty = s.target->write_generation;
	ck_assert_uint_gt(dirty, s.target->flushed_generation);
	consumer_enter(&s.user.consumer);
	ck_assert_int_eq(edge_flush(s.user.edge), 0);
	consumer_leave(&s.user.consumer);
	ck_assert_uint_eq(s.source->flushed_generation, s.source->write_generation);
	ck_assert_uint_gt(dirty, s.target->flushed_generation);
	stage_close(&s);
}

static int co_fn user_resize(struct stage *s, uint64_t size)
{
	consumer_enter(&s->user.consumer);
	int r = edge_truncate(s->user.edge, size, PREALLOCATION_OFF, NULL);
	consumer_leave(&s->user.consumer);
	return r;
}

/* The moment keeps its size, whatever becomes of the source. */
CHAIN_TEST(what_is_cut_off_is_kept)
{
	struct stage s;
	stage_open(&s, c, "");
	ck_assert_int_eq(edge_set_permissions(s.user.edge, PERM_CONSISTENT_READ | PERM_WRITE |
							   PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_resize(&s, CHAIN_SIZE / 2 + 512), 0);
	expect_then(&s, 0, CHAIN_SIZE);
	ck_assert_int_eq(user_resize(&s, CHAIN_SIZE), 0);
	memset(c->model + CHAIN_SIZE / 2 + 512, 0, CHAIN_SIZE / 2 - 512);
	expect_then(&s, 0, CHAIN_SIZE);
	ck_assert_int_eq(user_write(&s, CHAIN_SIZE - 512, 512, 0x55), 0);
	expect_then(&s, 0, CHAIN_SIZE);
	stage_close(&s);
}

/* Nothing is cut off that could not be saved. */
CHAIN_TEST(what_cannot_be_saved_is_not_cut_off)
{
	struct stage s;
	stage_open(&s, c, "");
	ck_assert_int_eq(edge_set_permissions(s.user.edge, PERM_CONSISTENT_READ | PERM_WRITE |
							   PERM_RESIZE, PERM_ALL, NULL), 0);
	c->fail_error = -EIO;
	c->fail_at = 1;
	ck_assert_int_eq(user_resize(&s, CHAIN_SIZE / 2), -EIO);
	c->fail_at = 0;
	ck_assert_uint_eq(s.source->size, CHAIN_SIZE);
	expect_then(&s, 0, CHAIN_SIZE);
	stage_close(&s);
}

CHAIN_TEST(wrong_options_are_refused)
{
	static const struct {
		const char *options, *message;
	} rows[] = {
		{"min-cluster-size=3000", "min-cluster-size needs to be a power of 2"},
		{"min-cluster-size=4294967296", "min-cluster-size is too large: 4294967296"},
		{"bitmap.node=x,bitmap.name=b", "Node 'x' not found"},
		{"bitmap.node=a,bitmap.name=b", "Dirty bitmap 'b' not found"},
		{"bitmap.node=t,bitmap.name=b",
		 "Bitmaps are of different sizes (destination size is 1048576 and source size is "
		 "2097152) and can't be merged"},
	};
	chain_make(c, "a", CHAIN_SIZE, NULL);
	chain_make(c, "t", 2 * CHAIN_SIZE, NULL);
	struct node *source = chain_open(c, "a"), *target = chain_open(c, "t"), *n;
	struct bitmap *b;
	ck_assert_int_eq(bitmap_create(target, "b", 65536, &b, NULL), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[300];
		struct error *error = NULL;
		snprintf(text, sizeof(text),
			 "driver=copy-before-write,node-name=c,file=a,target=t,%s", rows[i].options);
		ck_assert_int_lt(chain_open_text(c, text, &n, &error), 0);
		chain_expect_error(&error, rows[i].message);
	}
	node_unref(target);
	node_unref(source);
}

static const struct unit_test tests[] = {
	CHAIN_ROW(readers_see_that_moment),
	CHAIN_ROW(status_tells_of_that_moment),
	CHAIN_ROW(only_what_is_written_is_copied),
	CHAIN_ROW(a_failure_breaks_the_write),
	CHAIN_ROW(a_failure_breaks_the_snapshot),
	CHAIN_ROW(a_timeout_breaks_the_write),
	CHAIN_ROW(a_timeout_breaks_the_snapshot),
	CHAIN_ROW(closing_waits_for_what_goes_on),
	CHAIN_ROW(only_the_part_of_a_bitmap_is_kept),
	CHAIN_ROW(dropped_parts_are_given_up),
	CHAIN_ROW(a_flush_leaves_the_target_alone),
	CHAIN_ROW(what_is_cut_off_is_kept),
	CHAIN_ROW(what_cannot_be_saved_is_not_cut_off),
	CHAIN_ROW(wrong_options_are_refused),
};

UNIT_MAIN("cbw", tests)
