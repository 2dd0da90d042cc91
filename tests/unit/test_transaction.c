/* SPDX-License-Identifier: MIT */
/* blockjobs/job_tx.c: jobs that complete together or not at all. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "blockjobs/job.h"
#include "tests/unit/block_fixture.h"

#define JOBS_MAX 8

/* A job that works for a while and may fail at either step. */
struct member {
	struct job job;
	uint64_t work_ns;
	int error, prepare_error;
	unsigned index;
};

static struct job_table table;
static int finished[JOBS_MAX];   /* 1 succeeded, -1 not */
static bool cancelled[JOBS_MAX]; /* announced as such */
static unsigned preparing, prepared;
static char announced[1024]; /* states from pending on, and ends */

static struct member *member_of(const struct job *j)
{
	return container_of((struct job *)j, struct member, job);
}

static int co_fn member_run(struct job *j, struct error **errp)
{
	struct member *m = member_of(j);
	uint64_t end_ns = loop_now_ns(loop_current()) + m->work_ns;
	while (loop_now_ns(loop_current()) < end_ns) {
		int r = job_pause_point(j);
		if (r < 0)
			return r;
		job_sleep_ns(j, end_ns - loop_now_ns(loop_current()));
	}
	return m->error;
}

static int co_fn member_prepare(struct job *j, struct error **errp)
{
	struct member *m = member_of(j);
	ck_assert_uint_eq(preparing++, 0);
	co_sleep_ns(1000);
	preparing--;
	prepared++;
	return m->prepare_error;
}

static void co_fn member_finish(struct job *j, bool succeeded)
{
	finished[member_of(j)->index] = succeeded ? 1 : -1;
}

static const struct job_driver driver = {
	.type = JOB_TYPE_COMMIT,
	.is_block = true,
	.size = sizeof(struct member),
	.run = member_run,
	.prepare = member_prepare,
	.finish = member_finish,
};

static void note(const struct job *j, const char *what)
{
	size_t used = strlen(announced);
	snprintf(announced + used, sizeof(announced) - used, "%s:%s ", j->id, what);
}

static void on_status(const struct job *j)
{
	if (j->status >= JOB_STATUS_PENDING)
		note(j, job_status_name(j->status));
}

static void on_completed(const struct job *j)
{
	note(j, j->result < 0 ? "FAILED" : "COMPLETED");
}

static void on_cancelled(const struct job *j)
{
	cancelled[member_of(j)->index] = true;
	note(j, "CANCELLED");
}

static const struct job_observer observer = {
	.status_changed = on_status,
	.completed = on_completed,
	.cancelled = on_cancelled,
};

/* @count jobs in one transaction, which take 1, 2, ... ms. Not started. */
static void make(struct fixture *f, unsigned count, bool auto_finalize, struct member **ret)
{
	job_table_init(&table, f->graph, &observer);
	memset(finished, 0, sizeof(finished));
	memset(cancelled, 0, sizeof(cancelled));
	announced[0] = '\0';
	preparing = prepared = 0;
	struct job_tx *tx = job_tx_new();
	for (unsigned i = 0; i < count; i++) {
		char *id _cleanup_free_ = xasprintf("j%u", i);
		const struct job_options options = {
			.id = id, .auto_finalize = auto_finalize, .auto_dismiss = true, .tx = tx};
		struct job *j;
		ck_assert_int_eq(job_create(&table, &driver, &options, &j, NULL), 0);
		ret[i] = member_of(j);
		ret[i]->index = i;
		ret[i]->work_ns = (i + 1) * UINT64_C(1000000);
	}
	job_tx_unref(tx);
}

static void start_all(struct member **m, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		job_start(&m[i]->job);
}

FIXTURE_TEST(the_fast_wait_for_the_slow)
{
	struct member *m[3];
	make(f, 3, true, m);
	start_all(m, 3);
	co_sleep_ns(2500000);
	ck_assert_int_eq(m[0]->job.status, JOB_STATUS_WAITING);
	ck_assert_int_eq(m[1]->job.status, JOB_STATUS_WAITING);
	ck_assert_int_eq(m[2]->job.status, JOB_STATUS_RUNNING);
	ck_assert_uint_eq(prepared, 0);
	co_sleep_ns(2000000);
	ck_assert_uint_eq(prepared, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(finished[i], 1);
	job_table_finish(&table);
}

FIXTURE_TEST(one_failure_cancels_all)
{
	struct member *m[3];
	make(f, 3, true, m);
	m[1]->error = -EIO;
	start_all(m, 3);
	co_sleep_ns(2500000);
	ck_assert_uint_eq(prepared, 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(finished[i], -1);
		ck_assert_int_eq(cancelled[i], i != 1);
	}
	job_table_finish(&table);
}

FIXTURE_TEST(a_cancelled_job_takes_the_others_along)
{
	struct member *m[3];
	make(f, 3, true, m);
	start_all(m, 3);
	co_sleep_ns(1500000);
	/* One waits, two work. */
	ck_assert_int_eq(job_verb_cancel(&m[2]->job, true, NULL), 0);
	co_sleep_ns(100000);
	for (int i = 0; i < 3; i++)
		ck_assert(finished[i] == -1 && cancelled[i]);
	job_table_finish(&table);
}

FIXTURE_TEST(one_finalize_is_for_all)
{
	struct member *m[2];
	make(f, 2, false, m);
	start_all(m, 2);
	co_sleep_ns(5000000);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(m[i]->job.status, JOB_STATUS_PENDING);
	ck_assert_int_eq(job_verb_finalize(&m[1]->job, NULL), 0);
	co_sleep_ns(100000);
	ck_assert_uint_eq(prepared, 2);
	ck_assert(finished[0] == 1 && finished[1] == 1);
	job_table_finish(&table);
}

FIXTURE_TEST(the_last_one_is_announced_first)
{
	struct member *m[3];
	make(f, 3, true, m);
	start_all(m, 3);
	co_sleep_ns(5000000);
	ck_assert_str_eq(announced, "j2:pending j1:pending j0:pending "
				    "j2:COMPLETED j2:concluded j2:null "
				    "j1:COMPLETED j1:concluded j1:null "
				    "j0:COMPLETED j0:concluded j0:null ");
	job_table_finish(&table);
}

FIXTURE_TEST(those_that_follow_a_failure_abort_in_turn)
{
	struct member *m[3];
	make(f, 3, true, m);
	m[1]->error = -EIO;
	start_all(m, 3);
	co_sleep_ns(2500000);
	ck_assert_str_eq(announced, "j1:aborting "
				    "j2:aborting j2:CANCELLED j2:concluded j2:null "
				    "j1:FAILED j1:concluded j1:null "
				    "j0:aborting j0:CANCELLED j0:concluded j0:null ");
	job_table_finish(&table);
}

/* One that fails while another waits to say so is cancelled, and the other is not. */
FIXTURE_TEST(the_first_error_is_the_one_that_counts)
{
	struct member *m[2];
	make(f, 2, true, m);
	m[0]->error = m[1]->error = -EIO;
	m[1]->work_ns = m[0]->work_ns;
	start_all(m, 2);
	co_sleep_ns(2500000);
	ck_assert_str_eq(announced, "j0:aborting j1:aborting "
				    "j1:CANCELLED j1:concluded j1:null "
				    "j0:FAILED j0:concluded j0:null ");
	job_table_finish(&table);
}

FIXTURE_TEST(cancel_while_pending_undoes_all)
{
	struct member *m[2];
	make(f, 2, false, m);
	start_all(m, 2);
	co_sleep_ns(5000000);
	ck_assert_int_eq(job_verb_cancel(&m[0]->job, true, NULL), 0);
	co_sleep_ns(100000);
	ck_assert_uint_eq(prepared, 0);
	ck_assert(finished[0] == -1 && finished[1] == -1);
	job_table_finish(&table);
}

FIXTURE_TEST(failing_to_prepare_fails_all)
{
	struct member *m[3];
	make(f, 3, true, m);
	/* Whoever comes first keeps the others from trying. */
	for (int i = 0; i < 3; i++)
		m[i]->prepare_error = -EPERM;
	start_all(m, 3);
	co_sleep_ns(5000000);
	ck_assert_uint_eq(prepared, 1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(finished[i], -1);
	job_table_finish(&table);
}

/* Also those that had prepared before it. */
FIXTURE_TEST(the_last_to_prepare_fails_all)
{
	for (unsigned k = 0; k < 3; k++) {
		struct member *m[3];
		make(f, 3, true, m);
		m[k]->prepare_error = -EPERM;
		start_all(m, 3);
		co_sleep_ns(5000000);
		for (int i = 0; i < 3; i++)
			ck_assert_int_eq(finished[i], -1);
		job_table_finish(&table);
	}
}

FIXTURE_TEST(the_end_of_the_daemon_ends_waiting_jobs)
{
	struct member *m[2];
	make(f, 2, true, m);
	m[1]->work_ns = UINT64_C(1000000000000);
	start_all(m, 2);
	co_sleep_ns(2000000);
	ck_assert_int_eq(m[0]->job.status, JOB_STATUS_WAITING);
	job_cancel_all_and_wait(&table);
	ck_assert(finished[0] == -1 && finished[1] == -1);
	job_table_finish(&table);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(the_fast_wait_for_the_slow),
	FIXTURE_ROW(one_failure_cancels_all),
	FIXTURE_ROW(a_cancelled_job_takes_the_others_along),
	FIXTURE_ROW(the_last_one_is_announced_first),
	FIXTURE_ROW(those_that_follow_a_failure_abort_in_turn),
	FIXTURE_ROW(the_first_error_is_the_one_that_counts),
	FIXTURE_ROW(one_finalize_is_for_all),
	FIXTURE_ROW(cancel_while_pending_undoes_all),
	FIXTURE_ROW(failing_to_prepare_fails_all),
	FIXTURE_ROW(the_last_to_prepare_fails_all),
	FIXTURE_ROW(the_end_of_the_daemon_ends_waiting_jobs),
};

UNIT_MAIN("transaction", tests)
