/* SPDX-License-Identifier: MIT */
/*
 * A commit, stream or mirror during which any one request fails, all fail from some moment
 * on, or the power does: whatever comes of the job, the users' image shows what it did.
 */
#include <stdio.h>

#include "block/driver.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"base", "o1", "o2"};
#define COUNT 3

/* What is tried, and where the users are after success. */
static const struct kind {
	const char *arguments, *heir;
	bool is_mirror, is_stream;
} kinds[] = {
	{"device=o2,top-node=o1", "o2", false, false},
	{"device=o2", "base", false, false},
	{"device=o2,target=dst,sync=full", "dst", true, false},
	{"device=o2", "o2", false, true},
};
#define FOR_EACH_KIND(kind)                                                                        \
	for (const struct kind *kind = kinds; kind < kinds + ARRAY_SIZE(kinds); kind++)

/* One trial, for the entry that the fixture runs. */
static struct {
	const struct kind *kind;
	const char *policy;
	uint64_t fail_at;
	int error;
	bool fails_on;
	uint64_t crash_at;

	/* What came of it. */
	bool succeeded;
	uint64_t events;
} trial;

static int co_fn start(struct chain *c, const char *policy, struct error **errp)
{
	char text[200];
	const char *arguments = trial.kind->arguments;
	if (trial.kind->is_mirror) {
		snprintf(text, sizeof(text), "%s,on-source-error=%s,on-target-error=%s", arguments,
			 policy, policy);
		return chain_mirror(c, text, errp);
	}
	snprintf(text, sizeof(text), "%s,on-error=%s", arguments, policy);
	return trial.kind->is_stream ? chain_stream(c, text, errp) : chain_commit(c, text, errp);
}

static void co_fn start_ok(struct chain *c, const char *policy)
{
	struct error *error = NULL;
	int r = start(c, policy, &error);
	ck_assert_msg(r >= 0, "%s", error ? error->message : "no error");
}

/* The target of mirrors lies beside the chain. */
static void co_fn open_all(struct chain *c)
{
	chain_open_all(c, names, COUNT);
	if (trial.kind->is_mirror)
		chain_open(c, "dst")->monitor_owned = true;
}

/* Do what a client would until the job is gone: complete it, and mend and resume when it stops. */
static void co_fn attend(struct chain *c)
{
	for (int i = 0; i < 100000; i++) {
		struct job *j = job_find(&c->jobs, "j", true);
		if (!j)
			return;
		bool is_halted = j->status == JOB_STATUS_PAUSED || j->status == JOB_STATUS_STANDBY;
		if (is_halted && j->user_paused) {
			c->fail_at = 0;
			ck_assert_int_ne(j->io_status, BLOCK_DEVICE_IO_STATUS_OK);
			ck_assert_int_eq(job_verb_resume(j, NULL), 0);
		} else if (j->status == JOB_STATUS_READY && !j->completing) {
			ck_assert_int_eq(job_verb_complete(j, NULL), 0);
		}
		/* Requests that are tried again and again succeed in the end. */
		if (i == 5000)
			c->fail_at = 0;
		co_sleep_ns(100000);
	}
	ck_abort_msg("the job never ends: %s", c->log);
}

static void co_fn expect_images(struct chain *c, const char *shown)
{
	chain_expect_image(c, shown);
	const char *written = trial.kind->is_mirror ? "dst" : "base";
	struct node *n = chain_open(c, written);
	struct image_check check = {0};
	ck_assert_int_eq(n->driver->check(n, 0, &check, NULL), 0);
	ck_assert_uint_eq(check.corruptions, 0);
	node_unref(n);
}

static void co_fn run_trial(struct chain *c)
{
	chain_make_all(c, names, COUNT);
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	open_all(c);
	struct chain_user u;
	chain_user_init(&u, c, node_find(c->graph, "o2"));
	c->events = 0;
	c->fail_at = trial.fail_at;
	c->fail_error = trial.error;
	c->fails_on = trial.fails_on;
	c->crash_at = trial.crash_at;

	struct error *error = NULL;
	if (start(c, trial.policy, &error) >= 0)
		attend(c);
	error_free(error);
	trial.events = c->events;
	trial.succeeded = chain_log_has(c, "COMPLETED");
	c->fail_at = 0;

	/* The users are where they should be and see what they saw. */
	struct node *n = u.edge->child;
	ck_assert_str_eq(n->name, trial.succeeded ? trial.kind->heir : "o2");
	chain_user_finish(&u);
	chain_expect(c, n);
	ck_assert(list_is_empty(&c->jobs.jobs));
	/* What clients were told has happened survives a power failure from now on. */
	if (trial.crash_at > c->events)
		chain_crash(c);
	chain_close_all(c);
	if (trial.crash_at == 0)
		expect_images(c, trial.succeeded ? trial.kind->heir : "o2");
	else
		chain_expect_after_crash(c, trial.crash_at > trial.events ? trial.kind->heir : "o2");
}

static unsigned successes, failures;

/* Let each request of a job fail in turn. */
static void sweep(const struct kind *kind, const char *policy, int error, bool fails_on, uint64_t step)
{
	successes = failures = 0;
	trial.kind = kind;
	trial.policy = policy;
	trial.error = error;
	trial.fails_on = fails_on;
	trial.crash_at = 0;
	trial.fail_at = 1;
	/* Until the job no longer comes so far as to fail. */
	do {
		chain_run(trial.fail_at, run_trial);
		if (trial.succeeded)
			successes++;
		else
			failures++;
		trial.fail_at += step;
	} while (trial.events >= trial.fail_at - step);
	ck_assert_uint_gt(successes + failures, 10);
}

START_TEST(one_failure_is_reported)
{
	FOR_EACH_KIND (kind) {
		sweep(kind, "report", -EIO, false, 1);
		/* A few requests, such as those of closing files, do not matter to the job. */
		ck_assert_uint_gt(failures, successes);
	}
}
END_TEST

START_TEST(one_failure_is_overcome_by_a_retry)
{
	FOR_EACH_KIND (kind) {
		sweep(kind, "ignore", -EIO, false, 4);
		/* A stream goes on without what failed, and tells in the end. */
		ck_assert(kind->is_stream ? failures > successes : successes > failures);
	}
}
END_TEST

START_TEST(one_failure_stops_and_is_resumed)
{
	FOR_EACH_KIND (kind) {
		sweep(kind, "stop", -ENOSPC, false, 4);
		ck_assert_uint_gt(successes, failures);
		sweep(kind, "enospc", -ENOSPC, false, 5);
		ck_assert_uint_gt(successes, failures);
	}
}
END_TEST

static unsigned count_words(const char *log, const char *word)
{
	unsigned count = 0;
	for (const char *p = log; (p = strstr(p, word)); p += strlen(word))
		count++;
	return count;
}

/* Several pieces in flight find the disk full; a client resumes when it hears of the first. */
static void co_fn stop_while_many_fail(struct chain *c)
{
	chain_make_all(c, names, COUNT);
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	open_all(c);
	c->delay_ns = 1000000;
	c->events = 0;
	c->fail_at = 1;
	c->fails_on = true;
	c->fail_error = -ENOSPC;
	c->fail_disk = trial.kind->is_mirror ? "dst" : "base";
	start_ok(c, "stop");
	struct job *j = job_find(&c->jobs, "j", true);
	while (!j->user_paused)
		co_sleep_ns(1000);
	c->fail_at = 0;
	ck_assert_int_eq(job_verb_resume(j, NULL), 0);
	while (j->status == JOB_STATUS_PAUSED)
		co_sleep_ns(1000);
	attend(c);
	ck_assert(chain_log_has(c, "COMPLETED"));
	ck_assert_uint_eq(count_words(c->log, "stop "), 1);
	chain_close_all(c);
	expect_images(c, trial.kind->heir);
}

START_TEST(one_resume_is_enough)
{
	FOR_EACH_KIND (kind) {
		trial.kind = kind;
		for (uint64_t seed = 0; seed < 20; seed++)
			chain_run(seed, stop_while_many_fail);
	}
}
END_TEST

START_TEST(failing_for_good_does_no_harm)
{
	FOR_EACH_KIND (kind) {
		sweep(kind, "report", -EIO, true, 4);
		ck_assert_uint_gt(failures, successes);
		sweep(kind, "stop", -EIO, true, 5);
	}
}
END_TEST

static void crash_sweep(const struct kind *kind)
{
	trial.kind = kind;
	trial.policy = "report";
	trial.fail_at = 0;
	trial.events = UINT64_MAX - 1;
	/* The last one is after all requests: what was announced is durable. */
	for (trial.crash_at = 1; trial.crash_at <= trial.events + 1; trial.crash_at++) {
		chain_run(trial.crash_at, run_trial);
		ck_assert(trial.succeeded);
	}
	ck_assert_uint_gt(trial.crash_at, 20);
}

START_TEST(a_power_failure_leaves_the_chain_right)
{
	FOR_EACH_KIND (kind)
		crash_sweep(kind);
}
END_TEST

/* --- With a writer ------------------------------------------------------------------ */

#define SECTORS (CHAIN_SIZE / 512)
#define SINCE_MAX 64

/* Every sector is filled with one byte; these are the bytes that it may hold. */
struct history {
	uint8_t flushed[SECTORS];
	struct {
		unsigned sector;
		uint8_t byte;
	} since[SINCE_MAX]; /* written after the flush began that made the others durable */
	unsigned since_count;
};

static struct scribe {
	struct chain *chain;
	struct chain_user user;
	struct history now, at_crash;
	char user_of[32]; /* where the user was at the crash */
	bool stop, ended;
	unsigned flushes;
} *scribe;

static void keep_history(struct chain *c)
{
	scribe->at_crash = scribe->now;
	/* A filter shows the image that is in use until the pivot. */
	struct node *n = node_skip_filters(scribe->user.edge->child);
	snprintf(scribe->user_of, sizeof(scribe->user_of), "%s", n->name);
}

static void co_fn scribe_write(struct scribe *s)
{
	unsigned sector = (unsigned)(loop_random(s->chain->loop) % SECTORS);
	uint8_t byte = (uint8_t)(1 + loop_random(s->chain->loop) % 255);
	uint8_t data[512];
	memset(data, byte, sizeof(data));
	s->now.since[s->now.since_count].sector = sector;
	s->now.since[s->now.since_count++].byte = byte;
	consumer_enter(&s->user.consumer);
	ck_assert_int_eq(edge_write(s->user.edge, sector * 512u, 512, data, 0), 0);
	consumer_leave(&s->user.consumer);
}

static void co_fn scribe_flush(struct scribe *s)
{
	consumer_enter(&s->user.consumer);
	ck_assert_int_eq(edge_flush(s->user.edge), 0);
	consumer_leave(&s->user.consumer);
	for (unsigned i = 0; i < s->now.since_count; i++)
		s->now.flushed[s->now.since[i].sector] = s->now.since[i].byte;
	s->now.since_count = 0;
	s->flushes++;
}

static void co_fn scribe_main(void *arg)
{
	struct scribe *s = arg;
	while (!s->stop) {
		scribe_write(s);
		if (s->now.since_count == SINCE_MAX || loop_random(s->chain->loop) % 8 == 0)
			scribe_flush(s);
		co_sleep_ns(1 + loop_random(s->chain->loop) % 50000);
	}
	s->ended = true;
}

static bool is_legal(const struct history *h, unsigned sector, uint8_t byte)
{
	if (h->flushed[sector] == byte)
		return true;
	for (unsigned i = 0; i < h->since_count; i++) {
		if (h->since[i].sector == sector && h->since[i].byte == byte)
			return true;
	}
	return false;
}

static void co_fn expect_legal(struct chain *c, const struct scribe *s)
{
	chain_reboot(c);
	struct node *n = chain_open(c, s->user_of);
	struct chain_user reader;
	chain_user_init(&reader, c, n);
	consumer_enter(&reader.consumer);
	for (unsigned i = 0; i < SECTORS; i++) {
		uint8_t data[512];
		int r = edge_read(reader.edge, i * 512u, 512, data, 0);
		bool is_whole = memcmp(data, data + 1, 511) == 0;
		if (r < 0 || !is_whole || !is_legal(&s->at_crash, i, data[0]))
			ck_abort_msg("sector %u of %s holds %02x", i, n->name, data[0]);
	}
	consumer_leave(&reader.consumer);
	chain_user_finish(&reader);
	node_unref(n);
}

static void co_fn crash_with_writer(struct chain *c)
{
	chain_make(c, "base", CHAIN_SIZE, NULL);
	chain_make(c, "o1", CHAIN_SIZE, "base");
	chain_make(c, "o2", CHAIN_SIZE, "o1");
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	struct scribe *s = NEW(struct scribe);
	scribe = s;
	s->chain = c;
	/* Something in each layer to begin with. */
	for (unsigned i = 0; i < COUNT; i++) {
		struct node *n = chain_open(c, names[i]);
		chain_user_init(&s->user, c, n);
		for (int k = 0; k < 40; k++)
			scribe_write(s);
		scribe_flush(s);
		chain_user_finish(&s->user);
		node_unref(n);
	}
	open_all(c);
	chain_user_init(&s->user, c, node_find(c->graph, "o2"));
	c->delay_ns = 20000;
	c->events = 0;
	c->crash_at = trial.crash_at;
	c->on_crash = keep_history;
	co_start(c->loop, scribe_main, s);
	start_ok(c, "report");
	attend(c);
	ck_assert(chain_log_has(c, "COMPLETED"));
	trial.events = c->events;
	s->stop = true;
	while (!s->ended)
		co_sleep_ns(100000);
	if (!c->crashed)
		chain_crash(c);
	ck_assert_uint_ge(s->flushes, COUNT);
	chain_user_finish(&s->user);
	chain_close_all(c);
	expect_legal(c, s);
	free(s);
}

START_TEST(a_power_failure_loses_nothing_that_was_flushed)
{
	FOR_EACH_KIND (kind) {
		trial.kind = kind;
		trial.fail_at = 0;
		trial.events = UINT64_MAX;
		for (trial.crash_at = 1; trial.crash_at <= trial.events;
		     trial.crash_at += 1 + trial.events / 100)
			chain_run(trial.crash_at, crash_with_writer);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(one_failure_is_reported),
	UNIT_TEST(one_failure_is_overcome_by_a_retry),
	UNIT_TEST(one_failure_stops_and_is_resumed),
	UNIT_TEST(one_resume_is_enough),
	UNIT_TEST(failing_for_good_does_no_harm),
	UNIT_TEST(a_power_failure_leaves_the_chain_right),
	UNIT_TEST(a_power_failure_loses_nothing_that_was_flushed),
};

UNIT_MAIN("job_faults", tests)
