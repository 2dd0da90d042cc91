/* SPDX-License-Identifier: MIT */
/*
 * A commit during which any one request fails, all fail from some moment on, or
 * the power does: whatever comes of the job, the users' image shows what it did.
 */
#include <stdio.h>

#include "block/driver.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"base", "o1", "o2"};
#define COUNT 3

/* One trial, for the entry that the fixture runs. */
static struct {
	bool is_active;
	const char *policy;
	uint64_t fail_at;
	int error;
	bool fails_on;
	uint64_t crash_at;

	/* What came of it. */
	bool succeeded;
	uint64_t events;
} trial;

static const char *arguments(char *buffer, size_t size)
{
	snprintf(buffer, size, "device=o2%s,on-error=%s", trial.is_active ? "" : ",top-node=o1",
		 trial.policy);
	return buffer;
}

/* Do what a client would until the job is gone: complete it, and mend and resume when it stops. */
static void co_fn attend(struct chain *c)
{
	for (int i = 0; i < 100000; i++) {
		struct job *j = job_find(&c->jobs, "j", true);
		if (!j)
			return;
		if (j->status == JOB_STATUS_PAUSED || j->status == JOB_STATUS_STANDBY) {
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

static void co_fn expect_images(struct chain *c, bool is_pivoted)
{
	chain_expect_image(c, is_pivoted ? "base" : "o2");
	struct node *base = chain_open(c, "base");
	struct image_check check = {0};
	ck_assert_int_eq(base->driver->check(base, 0, &check, NULL), 0);
	ck_assert_uint_eq(check.corruptions, 0);
	node_unref(base);
}

static void co_fn run_trial(struct chain *c)
{
	chain_make_all(c, names, COUNT);
	chain_open_all(c, names, COUNT);
	struct chain_user u;
	chain_user_init(&u, c, node_find(c->graph, "o2"));
	c->events = 0;
	c->fail_at = trial.fail_at;
	c->fail_error = trial.error;
	c->fails_on = trial.fails_on;
	c->crash_at = trial.crash_at;

	char text[200];
	struct error *error = NULL;
	if (chain_commit(c, arguments(text, sizeof(text)), &error) >= 0)
		attend(c);
	error_free(error);
	trial.events = c->events;
	trial.succeeded = chain_log_has(c, "COMPLETED");
	c->fail_at = 0;

	/* The users are where they should be and see what they saw. */
	struct node *n = u.edge->child;
	ck_assert_str_eq(n->name, trial.is_active && trial.succeeded ? "base" : "o2");
	chain_user_finish(&u);
	chain_expect(c, n);
	ck_assert(list_is_empty(&c->jobs.jobs));
	/* What clients were told has happened survives a power failure from now on. */
	if (trial.crash_at > c->events)
		chain_crash(c);
	chain_close_all(c);
	if (trial.crash_at == 0)
		expect_images(c, trial.is_active && trial.succeeded);
	else
		chain_expect_after_crash(c, trial.is_active && trial.crash_at > trial.events
						    ? "base"
						    : "o2");
}

static unsigned successes, failures;

/* Let each request of a commit fail in turn. */
static void sweep(bool is_active, const char *policy, int error, bool fails_on, uint64_t step)
{
	successes = failures = 0;
	trial.is_active = is_active;
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
	for (int active = 0; active < 2; active++) {
		sweep(active, "report", -EIO, false, 1);
		/* A few requests, such as those of closing files, do not matter to the job. */
		ck_assert_uint_gt(failures, successes);
	}
}
END_TEST

START_TEST(one_failure_is_overcome_by_a_retry)
{
	for (int active = 0; active < 2; active++) {
		sweep(active, "ignore", -EIO, false, 2);
		ck_assert_uint_gt(successes, failures);
	}
}
END_TEST

START_TEST(one_failure_stops_and_is_resumed)
{
	for (int active = 0; active < 2; active++) {
		sweep(active, "stop", -ENOSPC, false, 2);
		ck_assert_uint_gt(successes, failures);
		sweep(active, "enospc", -ENOSPC, false, 5);
		ck_assert_uint_gt(successes, failures);
	}
}
END_TEST

START_TEST(failing_for_good_does_no_harm)
{
	for (int active = 0; active < 2; active++) {
		sweep(active, "report", -EIO, true, 2);
		ck_assert_uint_gt(failures, successes);
		sweep(active, "stop", -EIO, true, 5);
	}
}
END_TEST

static void crash_sweep(bool is_active)
{
	trial.is_active = is_active;
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
	crash_sweep(false);
}
END_TEST

START_TEST(a_power_failure_during_active_leaves_the_chain_right)
{
	crash_sweep(true);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(one_failure_is_reported),
	UNIT_TEST(one_failure_is_overcome_by_a_retry),
	UNIT_TEST(one_failure_stops_and_is_resumed),
	UNIT_TEST(failing_for_good_does_no_harm),
	UNIT_TEST(a_power_failure_leaves_the_chain_right),
	UNIT_TEST(a_power_failure_during_active_leaves_the_chain_right),
};

UNIT_MAIN("commit_faults", tests)
