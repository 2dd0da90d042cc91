/* SPDX-License-Identifier: MIT */
/*
 * The backup job on real images while a user writes: the target shows the moment of
 * the start, whatever fails; bitmaps keep what their modes say.
 */
#include "blockjobs/backup.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "block/bitmap.h"
#include "block/driver.h"
#include "schema/schema.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"base", "top"};

struct stage {
	struct chain *chain;
	struct node *top, *target;
	struct chain_user user;
	uint8_t *then; /* what the source showed at the start */
	void co_fn (*grow)(struct stage *s); /* ends between opening and entering; or NULL */
	struct edge *resizer;
};

/* A chain of two images with data, and an empty target "t". */
static void co_fn stage_open(struct stage *s, struct chain *c)
{
	*s = (struct stage){.chain = c};
	chain_make_all(c, names, 2);
	chain_make(c, "t", CHAIN_SIZE, NULL);
	chain_open_all(c, names, 2);
	s->top = node_find(c->graph, "top");
	s->target = chain_open(c, "t");
	s->target->monitor_owned = true;
	chain_user_init(&s->user, c, s->top);
	c->events = 0;
}

/* As the command blockdev-backup of "top" to "t", with further arguments. */
static int co_fn begin(struct stage *s, const char *text, struct error **errp)
{
	struct chain *c = s->chain;
	char *all _cleanup_free_ = xasprintf("job-id=j,device=top,target=t,%s", text);
	void *args;
	int r = schema_decode_keyval(&blockdev_backup_type, all, NULL, &args, errp);
	ck_assert_int_eq(r, 0);
	graph_change_begin(c->graph);
	struct backup *b;
	r = backup_open(&c->jobs, args, NULL, &b, errp);
	if (r >= 0) {
		struct node *source = backup_source(b);
		struct drain d;
		struct graph_tx tx;
		if (s->grow)
			s->grow(s);
		drain_begin(c->graph, &source, 1, &d);
		graph_tx_begin(&tx, c->graph);
		r = backup_enter(b, &tx, errp);
		bool entered = r >= 0;
		if (r >= 0)
			r = graph_tx_prepare(&tx, errp);
		if (r >= 0) {
			graph_tx_commit(&tx);
			free(s->then);
			s->then = xmemdup(c->model, CHAIN_SIZE);
			backup_start(b);
		} else {
			if (entered)
				backup_leave(b, false);
			graph_tx_abort(&tx);
		}
		drain_end(&d);
		if (r < 0)
			backup_close(b);
	}
	graph_change_end(c->graph);
	schema_free(&blockdev_backup_type, args);
	return r;
}

static void co_fn begin_ok(struct stage *s, const char *text)
{
	struct error *error _cleanup_error_ = NULL;
	int r = begin(s, text, &error);
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
}

static void co_fn stage_close(struct stage *s)
{
	struct chain *c = s->chain;
	struct node *n = s->user.edge->child;
	ck_assert(list_is_empty(&c->jobs.jobs));
	ck_assert_str_eq(n->name, "top");
	chain_user_finish(&s->user);
	chain_expect(c, n);
	chain_close_all(c);
	free(s->then);
}

/* The image "t" shows the moment of the start, and is sound. */
static void co_fn expect_target(struct stage *s)
{
	struct chain *c = s->chain;
	uint8_t *now = xmemdup(c->model, CHAIN_SIZE);
	memcpy(c->model, s->then, CHAIN_SIZE);
	chain_expect(c, node_find(c->graph, "t"));
	memcpy(c->model, now, CHAIN_SIZE);
	free(now);
}

static void co_fn write_byte(struct stage *s, uint64_t offset, uint64_t bytes, int byte)
{
	uint8_t *data _cleanup_free_ = xalloc(1, bytes);
	memset(data, byte, bytes);
	consumer_enter(&s->user.consumer);
	ck_assert_int_eq(edge_write(s->user.edge, offset, bytes, data, 0), 0);
	consumer_leave(&s->user.consumer);
	memset(s->chain->model + offset, byte, bytes);
}

static void co_fn backup_under_load(struct chain *c)
{
	struct stage s;
	stage_open(&s, c);
	c->delay_ns = 100000;
	s.user.pause_ns = 200000;
	chain_user_start(&s.user);
	co_sleep_ns(2000000);
	begin_ok(&s, "sync=full");
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running paused running waiting pending COMPLETED concluded null ");
	ck_assert_uint_gt(s.user.writes, 5);
	s.user.stop = true;
	while (!s.user.ended)
		co_sleep_ns(100000);
	expect_target(&s);
	ck_assert(memcmp(s.then, c->model, CHAIN_SIZE) != 0);
	stage_close(&s);
	chain_expect_image(c, "top");
}

START_TEST(test_the_target_shows_the_start)
{
	for (uint64_t seed = 1; seed < 9; seed++)
		chain_run(seed, backup_under_load);
}
END_TEST

CHAIN_TEST(none_saves_what_is_overwritten)
{
	struct stage s;
	stage_open(&s, c);
	begin_ok(&s, "sync=none");
	struct job *j = job_find(&c->jobs, "j", true);
	ck_assert_uint_eq(j->progress_total, CHAIN_SIZE);
	write_byte(&s, 65536 + 512, 4096, 'x');
	co_sleep_ns(1000000000);
	ck_assert_int_eq(j->status, JOB_STATUS_RUNNING);
	ck_assert_uint_eq(j->progress_done, 2 * CHAIN_CLUSTER);
	ck_assert_uint_eq(j->progress_total, CHAIN_SIZE);
	ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running paused running aborting CANCELLED concluded null ");
	uint8_t data[2 * CHAIN_CLUSTER];
	struct chain_user reader;
	chain_user_init(&reader, c, s.target);
	consumer_enter(&reader.consumer);
	ck_assert_int_eq(edge_read(reader.edge, 65536, sizeof(data), data, 0), 0);
	consumer_leave(&reader.consumer);
	chain_user_finish(&reader);
	ck_assert(memcmp(data, s.then + 65536, sizeof(data)) == 0);
	stage_close(&s);
}

/* Of the top image only: over a copy of its base, the target shows all. */
CHAIN_TEST(top_leaves_out_what_is_below)
{
	struct stage s;
	stage_open(&s, c);
	c->delay_ns = 100000;
	s.user.pause_ns = 500000;
	chain_user_start(&s.user);
	begin_ok(&s, "sync=top");
	struct job *j = job_find(&c->jobs, "j", true);
	while (j->progress_done == 0)
		co_sleep_ns(10000);
	ck_assert_uint_lt(j->progress_total, CHAIN_SIZE);
	chain_wait_for(c, "null");
	s.user.stop = true;
	while (!s.user.ended)
		co_sleep_ns(100000);
	struct graph_tx tx;
	graph_tx_begin(&tx, c->graph);
	ck_assert_int_eq(graph_tx_attach_node(&tx, s.target, "backing", s.top->backing->child,
					      EDGE_COW, NULL, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	expect_target(&s);
	stage_close(&s);
}

/* --- Failures ------------------------------------------------------------------------- */

static struct {
	const char *options;
	uint64_t fail_at, events;
	int error;
	bool fails_on, succeeded;
	unsigned successes, failures;
} trial;

static void co_fn attend(struct chain *c)
{
	for (int i = 0; i < 100000; i++) {
		struct job *j = job_find(&c->jobs, "j", true);
		if (!j)
			return;
		if (j->status == JOB_STATUS_PAUSED) {
			c->fail_at = 0;
			ck_assert_int_eq(job_verb_resume(j, NULL), 0);
		}
		/* Requests that are tried again and again succeed in the end. */
		if (i == 5000)
			c->fail_at = 0;
		co_sleep_ns(100000);
	}
	ck_abort_msg("the job never ends: %s", c->log);
}

static void co_fn run_trial(struct chain *c)
{
	struct stage s;
	struct error *error = NULL;
	stage_open(&s, c);
	c->fail_at = trial.fail_at;
	c->fail_error = trial.error;
	c->fails_on = trial.fails_on;
	if (begin(&s, trial.options, &error) >= 0)
		attend(c);
	error_free(error);
	trial.events = c->events;
	c->fail_at = 0;
	trial.succeeded = chain_log_has(c, "COMPLETED");
	if (trial.succeeded)
		expect_target(&s);
	stage_close(&s);
}

static void sweep(const char *options, int error, bool fails_on, uint64_t step)
{
	trial.options = options;
	trial.error = error;
	trial.fails_on = fails_on;
	trial.successes = trial.failures = 0;
	trial.fail_at = 1;
	do {
		chain_run(trial.fail_at, run_trial);
		if (trial.succeeded)
			trial.successes++;
		else
			trial.failures++;
		trial.fail_at += step;
	} while (trial.events >= trial.fail_at - step);
	ck_assert_uint_gt(trial.successes + trial.failures, 10);
}

START_TEST(test_one_failure_is_dealt_with)
{
	sweep("sync=full", -EIO, false, 2);
	ck_assert_uint_gt(trial.failures, trial.successes);
	sweep("sync=full,on-source-error=ignore,on-target-error=ignore", -EIO, false, 3);
	ck_assert_uint_gt(trial.successes, trial.failures);
	sweep("sync=full,on-source-error=stop,on-target-error=stop", -EIO, false, 3);
	ck_assert_uint_gt(trial.successes, trial.failures);
	sweep("sync=full,on-source-error=enospc,on-target-error=enospc", -ENOSPC, false, 5);
	ck_assert_uint_gt(trial.successes, trial.failures);
}
END_TEST

START_TEST(test_failing_for_good_does_no_harm)
{
	sweep("sync=full", -EIO, true, 3);
	sweep("sync=full,on-target-error=stop", -EIO, true, 7);
}
END_TEST

/* What was announced is durable. */
static void co_fn crash_after_the_end(struct chain *c)
{
	struct stage s;
	stage_open(&s, c);
	begin_ok(&s, "sync=full");
	chain_wait_for(c, "COMPLETED");
	chain_crash(c);
	chain_wait_for(c, "null");
	stage_close(&s);
	chain_expect_after_crash(c, "t");
}

START_TEST(test_a_power_failure_after_the_end_loses_nothing)
{
	for (uint64_t seed = 1; seed < 6; seed++)
		chain_run(seed, crash_after_the_end);
}
END_TEST

/* The target hangs up on a user's write: the write goes on, the backup is lost. */
CHAIN_TEST(break_snapshot_fails_the_job)
{
	struct stage s;
	stage_open(&s, c);
	begin_ok(&s, "sync=none,on-cbw-error=break-snapshot");
	c->fail_disk = "t";
	c->fail_at = 1;
	c->fails_on = true;
	c->fail_error = -ENOSPC;
	write_byte(&s, 0, 65536, 'x');
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running paused running aborting FAILED concluded null ");
	c->fail_at = 0;
	stage_close(&s);
}

/* --- Bitmaps --------------------------------------------------------------------------- */

#define GRANULE 65536

/* Two parts are dirty, a third is written during the job; which are dirty afterwards? */
static void co_fn run_bitmap(struct chain *c, const char *options, bool cancels,
			     const char *expected)
{
	struct stage s;
	struct bitmap *b;
	stage_open(&s, c);
	ck_assert_int_eq(bitmap_create(s.top, "b", GRANULE, &b, NULL), 0);
	write_byte(&s, 0, 512, 'a');
	write_byte(&s, 2 * GRANULE, 512, 'b');
	c->delay_ns = cancels ? 10000000 : 0;
	begin_ok(&s, options);
	ck_assert(b->busy);
	struct job *j = job_find(&c->jobs, "j", true);
	write_byte(&s, 4 * GRANULE, 512, 'c');
	if (cancels)
		ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	ck_assert(chain_log_has(c, cancels ? "CANCELLED" : "COMPLETED"));
	ck_assert(!b->busy);
	char found[7] = "";
	for (unsigned i = 0; i < 6; i++)
		found[i] = dirty_bitmap_get(b->bits, i * GRANULE) ? '1' : '0';
	ck_assert_str_eq(found, expected);
	write_byte(&s, 5 * GRANULE, 512, 'd');
	ck_assert(dirty_bitmap_get(b->bits, 5 * GRANULE));
	c->delay_ns = 0;
	stage_close(&s);
}

CHAIN_TEST(bitmaps_after_success)
{
	run_bitmap(c, "sync=incremental,bitmap=b", false, "000010");
}

CHAIN_TEST(bitmaps_never_synced)
{
	run_bitmap(c, "sync=bitmap,bitmap=b,bitmap-mode=never", false, "101010");
}

CHAIN_TEST(bitmaps_always_synced)
{
	run_bitmap(c, "sync=bitmap,bitmap=b,bitmap-mode=always", false, "000010");
}

CHAIN_TEST(bitmaps_of_full_backups)
{
	run_bitmap(c, "sync=full,bitmap=b,bitmap-mode=on-success", false, "000010");
}

CHAIN_TEST(bitmaps_after_a_cancel)
{
	run_bitmap(c, "sync=incremental,bitmap=b,speed=1", true, "101010");
}

/* The first piece was copied before the limit had an effect. */
CHAIN_TEST(bitmaps_always_after_a_cancel)
{
	run_bitmap(c, "sync=full,bitmap=b,bitmap-mode=always,speed=1", true, "011111");
}

/* What was copied, but may get lost, is not in the backup. */
CHAIN_TEST(bitmaps_always_after_a_failed_flush)
{
	struct stage s;
	struct bitmap *b;
	stage_open(&s, c);
	ck_assert_int_eq(bitmap_create(s.top, "b", GRANULE, &b, NULL), 0);
	write_byte(&s, 2 * GRANULE, 512, 'b');
	c->unflushable = "t";
	begin_ok(&s, "sync=bitmap,bitmap=b,bitmap-mode=always");
	chain_wait_for(c, "null");
	ck_assert(chain_log_has(c, "FAILED"));
	ck_assert(!b->busy && dirty_bitmap_get(b->bits, 2 * GRANULE));
	ck_assert_uint_eq(dirty_bitmap_count(b->bits), GRANULE);
	c->unflushable = NULL;
	stage_close(&s);
}

static void co_fn grow_top(struct stage *s)
{
	consumer_enter(s->resizer->consumer);
	ck_assert_int_eq(edge_truncate(s->resizer, 2 * CHAIN_SIZE, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(s->resizer->consumer);
}

/* A resize that was under way has ended since: the backup would lack what is new. */
CHAIN_TEST(a_source_that_has_grown_meanwhile_is_refused)
{
	static const struct consumer_ops ops = {0};
	struct consumer resizer;
	struct stage s;
	struct error *error = NULL;
	stage_open(&s, c);
	chain_user_finish(&s.user);
	s.grow = grow_top;
	consumer_init(&resizer, c->graph, &ops);
	ck_assert_int_eq(edge_attach_consumer(&resizer, "root", s.top, PERM_RESIZE, PERM_ALL,
					      &s.resizer, NULL), 0);
	ck_assert_int_lt(begin(&s, "sync=full", &error), 0);
	chain_expect_error(&error, "Source and target image have different sizes");
	ck_assert_ptr_eq(s.resizer->child, s.top);
	edge_detach(s.resizer);
	consumer_finish(&resizer);
	chain_close_all(c);
}

struct late_write {
	struct stage *stage;
	uint64_t offset;
	bool done;
};

static void co_fn write_late(void *arg)
{
	struct late_write *w = arg;
	write_byte(w->stage, w->offset, 512, 'c');
	w->done = true;
}

/* Nor is what a user has had copied after the flush at the end, which takes its time here. */
CHAIN_TEST(bitmaps_always_forget_nothing_that_is_not_durable)
{
	struct stage s;
	struct bitmap *b;
	stage_open(&s, c);
	ck_assert_int_eq(bitmap_create(s.top, "b", CHAIN_CLUSTER, &b, NULL), 0);
	write_byte(&s, 0, GRANULE, 'a');
	write_byte(&s, 2 * GRANULE, GRANULE, 'b');
	begin_ok(&s, "sync=bitmap,bitmap=b,bitmap-mode=always,speed=1,x-perf.min-cluster-size=65536");
	co_sleep_ns(100000000);
	c->slow_disk = "t";
	ck_assert_int_eq(job_verb_cancel(job_find(&c->jobs, "j", true), true, NULL), 0);
	co_sleep_ns(100000000);
	struct late_write w = {.stage = &s, .offset = 2 * GRANULE};
	co_start(c->loop, write_late, &w);
	co_sleep_ns(100000000);
	ck_assert(!w.done && !chain_log_has(c, "null"));
	c->slow_disk = NULL;
	chain_wait_for(c, "null");
	ck_assert(w.done);
	ck_assert(dirty_bitmap_get(b->bits, 3 * GRANULE - 1) ||
		  s.target->flushed_generation == s.target->write_generation);
	stage_close(&s);
}

/* What a user has to have copied is stuck, and fails when the job has been cancelled: who cares? */
CHAIN_TEST(users_do_not_fail_with_what_nobody_wants)
{
	struct stage s;
	stage_open(&s, c);
	begin_ok(&s, "sync=none");
	c->slow_disk = c->fail_disk = "t";
	c->fail_at = 1;
	c->fails_on = true;
	c->fail_error = -EIO;
	struct late_write w = {.stage = &s};
	co_start(c->loop, write_late, &w); /* fails the test with the write */
	co_sleep_ns(100000000);
	ck_assert_int_eq(job_verb_cancel(job_find(&c->jobs, "j", true), true, NULL), 0);
	co_sleep_ns(100000000);
	ck_assert(!w.done && !chain_log_has(c, "null"));
	c->slow_disk = NULL;
	chain_wait_for(c, "null");
	ck_assert(w.done);
	c->fail_at = 0;
	stage_close(&s);
}

CHAIN_TEST(only_dirty_parts_are_copied)
{
	struct stage s;
	struct bitmap *b;
	stage_open(&s, c);
	ck_assert_int_eq(bitmap_create(s.top, "b", GRANULE, &b, NULL), 0);
	write_byte(&s, 3 * GRANULE, 512, 'a');
	begin_ok(&s, "sync=incremental,bitmap=b");
	ck_assert_uint_eq(job_find(&c->jobs, "j", true)->progress_total, GRANULE);
	write_byte(&s, 3 * GRANULE, 512, 'b');
	write_byte(&s, 5 * GRANULE, 512, 'b');
	chain_wait_for(c, "null");
	/* The rest of the target is as empty as before. */
	memset(s.then, 0, 3 * GRANULE);
	memset(s.then + 4 * GRANULE, 0, CHAIN_SIZE - 4 * GRANULE);
	expect_target(&s);
	stage_close(&s);
}

static const struct unit_test tests[] = {
	{"the_target_shows_the_start", &test_the_target_shows_the_start, 0},
	CHAIN_ROW(none_saves_what_is_overwritten),
	CHAIN_ROW(top_leaves_out_what_is_below),
	{"one_failure_is_dealt_with", &test_one_failure_is_dealt_with, 0},
	{"failing_for_good_does_no_harm", &test_failing_for_good_does_no_harm, 0},
	{"a_power_failure_after_the_end_loses_nothing", &test_a_power_failure_after_the_end_loses_nothing, 0},
	CHAIN_ROW(break_snapshot_fails_the_job),
	CHAIN_ROW(bitmaps_after_success),
	CHAIN_ROW(bitmaps_never_synced),
	CHAIN_ROW(bitmaps_always_synced),
	CHAIN_ROW(bitmaps_of_full_backups),
	CHAIN_ROW(bitmaps_after_a_cancel),
	CHAIN_ROW(bitmaps_always_after_a_cancel),
	CHAIN_ROW(bitmaps_always_after_a_failed_flush),
	CHAIN_ROW(bitmaps_always_forget_nothing_that_is_not_durable),
	CHAIN_ROW(a_source_that_has_grown_meanwhile_is_refused),
	CHAIN_ROW(users_do_not_fail_with_what_nobody_wants),
	CHAIN_ROW(only_dirty_parts_are_copied),
};

UNIT_MAIN("backup", tests)
