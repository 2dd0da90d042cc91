/* SPDX-License-Identifier: MIT */
/*
 * blockjobs/job.c, job_verb.c and job_table.c: every verb in every state, pause
 * points, the order of events, error policies, and the end of the daemon.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "blockjobs/job.h"
#include "tests/unit/block_fixture.h"

/* --- A job whose work is what the test says ------------------------------------ */

struct work {
	struct job job;
	bool gets_ready;
	uint64_t steps, step_ns; /* before the end, or before it gets ready */
	int error;               /* of run() */
	int prepare_error;
	uint64_t finish_ns;      /* how long finish() takes */
	int finished;            /* 1: finish(succeeded), -1: finish(not) */
	int *ret_finished;       /* gets it, too: the job may be gone */
};

static struct work *work_of(struct job *j)
{
	return container_of(j, struct work, job);
}

static int co_fn work_run(struct job *j, struct error **errp)
{
	struct work *w = work_of(j);
	for (uint64_t i = 0; i < w->steps; i++) {
		job_sleep_ns(j, w->step_ns);
		int r = job_throttle(j, 10);
		if (r < 0)
			return r;
		job_progress_add(j, 10);
	}
	if (w->error)
		return w->error == -EIO ? w->error : error_set(errp, w->error, "The work is undone");
	if (!w->gets_ready)
		return 0;
	job_set_ready(j);
	for (;;) {
		int r = job_pause_point(j);
		if (r < 0 || j->completing || j->leaving)
			return r;
		job_wait(j);
	}
}

static int co_fn work_prepare(struct job *j, struct error **errp)
{
	struct work *w = work_of(j);
	co_reschedule();
	return w->prepare_error ? error_set(errp, w->prepare_error, "No way") : 0;
}

static void co_fn work_finish(struct job *j, bool succeeded)
{
	struct work *w = work_of(j);
	ck_assert_int_eq(w->finished, 0);
	w->finished = succeeded ? 1 : -1;
	if (w->finish_ns > 0)
		co_sleep_ns(w->finish_ns);
	if (w->ret_finished)
		*w->ret_finished = w->finished;
}

static const struct job_driver work_driver = {
	.type = JOB_TYPE_COMMIT,
	.is_block = true,
	.knows_ready = true,
	.size = sizeof(struct work),
	.run = work_run,
	.prepare = work_prepare,
	.finish = work_finish,
};

static const struct job_driver other_driver = {
	.type = JOB_TYPE_COMMIT,
	.size = sizeof(struct work),
	.run = work_run,
	.finish = work_finish,
};

/* --- What is announced, as text ------------------------------------------------- */

static char log_text[4096];

static void note(const char *what)
{
	strncat(log_text, what, sizeof(log_text) - strlen(log_text) - 1);
	strncat(log_text, " ", sizeof(log_text) - strlen(log_text) - 1);
}

static void on_status(const struct job *j)
{
	note(job_status_name(j->status));
}

static void on_ready(const struct job *j)
{
	note("READY");
}

static void on_pending(const struct job *j)
{
	note("PENDING");
}

static void on_completed(const struct job *j)
{
	note(j->error ? j->error->message : "COMPLETED");
}

static void on_cancelled(const struct job *j)
{
	note("CANCELLED");
}

static void on_failed(const struct job *j, enum io_operation_type operation,
		      enum block_error_action action)
{
	note(io_operation_type_name(operation));
	note(block_error_action_name(action));
}

static const struct job_observer observer = {
	.status_changed = on_status,
	.ready = on_ready,
	.pending = on_pending,
	.completed = on_completed,
	.cancelled = on_cancelled,
	.failed = on_failed,
};

static void expect_log(const char *expected)
{
	ck_assert_str_eq(log_text, expected);
	log_text[0] = '\0';
}

static struct job_table table;

static struct work *make(struct fixture *f, const char *id, bool auto_finalize, bool auto_dismiss)
{
	const struct job_options options = {
		.id = id, .auto_finalize = auto_finalize, .auto_dismiss = auto_dismiss};
	struct job *j;
	ck_assert_int_eq(job_create(&table, &work_driver, &options, &j, NULL), 0);
	return work_of(j);
}

/* Let everything happen that can without time. */
static void co_fn settle(void)
{
	for (int i = 0; i < 20; i++)
		co_reschedule();
}

/* --- Lives --------------------------------------------------------------------------- */

FIXTURE_TEST(simple_life)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make(f, "j", true, true);
	ck_assert_ptr_eq(job_find(&table, "j", true), &w->job);
	int finished = 0;
	w->ret_finished = &finished;
	job_start(&w->job);
	expect_log("created running ");
	settle();
	expect_log("waiting pending COMPLETED concluded null ");
	ck_assert_int_eq(finished, 1);
	ck_assert_ptr_null(job_find(&table, "j", true));
	job_table_finish(&table);
}

FIXTURE_TEST(manual_life)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make(f, "j", false, false);
	w->gets_ready = true;
	job_start(&w->job);
	settle();
	expect_log("created running ready READY ");
	ck_assert_int_eq(job_verb_complete(&w->job, NULL), 0);
	settle();
	expect_log("waiting pending PENDING ");
	ck_assert_int_eq(w->finished, 0);
	ck_assert_int_eq(job_verb_finalize(&w->job, NULL), 0);
	settle();
	expect_log("COMPLETED concluded ");
	ck_assert_int_eq(w->finished, 1);
	ck_assert_int_eq(job_verb_dismiss(&w->job, NULL), 0);
	expect_log("null ");
	job_table_finish(&table);
}

FIXTURE_TEST(failures_have_their_sentence)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make(f, "a", true, false);
	w->error = -EIO;
	job_start(&w->job);
	settle();
	expect_log("created running aborting Input/output error concluded ");
	ck_assert_int_eq(w->job.result, -EIO);
	ck_assert_int_eq(w->finished, -1);
	job_verb_dismiss(&w->job, NULL);

	w = make(f, "b", true, false);
	w->error = -EBUSY;
	job_start(&w->job);
	settle();
	expect_log("null created running aborting The work is undone concluded ");
	job_verb_dismiss(&w->job, NULL);

	w = make(f, "c", true, false);
	w->prepare_error = -EPERM;
	job_start(&w->job);
	settle();
	expect_log("null created running waiting pending aborting No way concluded ");
	ck_assert_int_eq(w->finished, -1);
	job_verb_dismiss(&w->job, NULL);
	job_table_finish(&table);
}

FIXTURE_TEST(ids_are_checked)
{
	job_table_init(&table, f->graph, &observer);
	static const char *const bad[] = {NULL, "", "1a", "a b", "#a", "-", "a/b", "\xc3\xa4"};
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error *error = NULL;
		struct job *j = NULL;
		const struct job_options options = {.id = bad[i]};
		ck_assert_int_eq(job_create(&table, &work_driver, &options, &j, &error), -EINVAL);
		char *expected _cleanup_free_ =
			xasprintf("Invalid job ID '%s'", bad[i] ? bad[i] : "");
		error_expect(&error, expected);
	}
	struct work *w = make(f, "a.b-c_9", true, true);
	struct error *error = NULL;
	struct job *j = NULL;
	const struct job_options options = {.id = "a.b-c_9"};
	ck_assert_int_eq(job_create(&table, &work_driver, &options, &j, &error), -EEXIST);
	error_expect(&error, "Job ID 'a.b-c_9' already in use");
	job_discard(&w->job);
	expect_log("");
	job_table_finish(&table);
}

FIXTURE_TEST(only_block_jobs_are_found_as_such)
{
	job_table_init(&table, f->graph, &observer);
	const struct job_options options = {.id = "o"};
	struct job *j;
	ck_assert_int_eq(job_create(&table, &other_driver, &options, &j, NULL), 0);
	ck_assert_ptr_eq(job_find(&table, "o", false), j);
	ck_assert_ptr_null(job_find(&table, "o", true));
	job_discard(j);
	job_table_finish(&table);
}

/* --- Every verb in every state -------------------------------------------------------- */

/* 'x' where a verb is refused for the state, else the state that it leads to when all settles. */
struct verb_row {
	const char *name;
	enum job_verb verb;
	const char *outcome; /* for the states below, in their order */
};

enum { AT_RUNNING, AT_PAUSED, AT_READY, AT_STANDBY, AT_PENDING, AT_CONCLUDED, STATES };

static const enum job_status state_status[STATES] = {
	JOB_STATUS_RUNNING, JOB_STATUS_PAUSED,  JOB_STATUS_READY,
	JOB_STATUS_STANDBY, JOB_STATUS_PENDING, JOB_STATUS_CONCLUDED,
};

/*
 * R running, P paused, Y ready, S standby, D pending, C concluded with success,
 * A concluded after being cancelled, N gone; x refused for the state, p "already
 * paused", n "not paused".
 */
static const struct verb_row verb_rows[] = {
	{"cancel", JOB_VERB_CANCEL, "AAAAAx"},      {"pause", JOB_VERB_PAUSE, "PpSpxx"},
	{"resume", JOB_VERB_RESUME, "nRnYnn"},      {"set-speed", JOB_VERB_SET_SPEED, "RPYSxx"},
	{"complete", JOB_VERB_COMPLETE, "xxDSxx"},  {"finalize", JOB_VERB_FINALIZE, "xxxxCx"},
	{"dismiss", JOB_VERB_DISMISS, "xxxxxN"},
};

static struct work *co_fn make_in_state(struct fixture *f, int state)
{
	struct work *w = make(f, "j", false, false);
	w->gets_ready = state == AT_READY || state == AT_STANDBY;
	if (state == AT_RUNNING || state == AT_PAUSED) {
		w->steps = UINT64_MAX;
		w->step_ns = 1000;
	}
	job_start(&w->job);
	settle();
	if (state == AT_PAUSED || state == AT_STANDBY)
		ck_assert_int_eq(job_verb_pause(&w->job, NULL), 0);
	co_sleep_ns(10000);
	if (state == AT_CONCLUDED)
		ck_assert_int_eq(job_verb_finalize(&w->job, NULL), 0);
	settle();
	ck_assert_int_eq(w->job.status, state_status[state]);
	return w;
}

static int do_verb(struct job *j, enum job_verb verb, struct error **errp)
{
	switch (verb) {
	case JOB_VERB_CANCEL:
		return job_verb_cancel(j, true, errp);
	case JOB_VERB_PAUSE:
		return job_verb_pause(j, errp);
	case JOB_VERB_RESUME:
		return job_verb_resume(j, errp);
	case JOB_VERB_SET_SPEED:
		return job_verb_set_speed(j, 1 << 30, errp);
	case JOB_VERB_COMPLETE:
		return job_verb_complete(j, errp);
	case JOB_VERB_FINALIZE:
		return job_verb_finalize(j, errp);
	default:
		return job_verb_dismiss(j, errp);
	}
}

static char state_letter(const struct job *j)
{
	switch (j->status) {
	case JOB_STATUS_RUNNING:
		return 'R';
	case JOB_STATUS_PAUSED:
		return 'P';
	case JOB_STATUS_READY:
		return 'Y';
	case JOB_STATUS_STANDBY:
		return 'S';
	case JOB_STATUS_PENDING:
		return 'D';
	case JOB_STATUS_CONCLUDED:
		return j->cancelled ? 'A' : 'C';
	default:
		return '?';
	}
}

static void co_fn try_verb(struct fixture *f, const struct verb_row *row, int state)
{
	struct work *w = make_in_state(f, state);
	struct error *error = NULL;
	char expected = row->outcome[state];
	int r = do_verb(&w->job, row->verb, &error);
	if (expected == 'x') {
		char *text _cleanup_free_ = xasprintf(
			"Job 'j' in state '%s' cannot accept command verb '%s'",
			job_status_name(state_status[state]), row->name);
		ck_assert_int_lt(r, 0);
		error_expect(&error, text);
		ck_assert(!job_may_verb(state_status[state], row->verb));
	} else if (expected == 'p') {
		error_expect(&error, "Job is already paused");
	} else if (expected == 'n') {
		error_expect(&error, "Can't resume a job that was not paused");
	} else {
		ck_assert_int_eq(r, 0);
		if (expected == 'N')
			return;
		co_sleep_ns(10000);
		settle();
		ck_assert_int_eq(state_letter(&w->job), expected);
	}
	if (w->job.status == JOB_STATUS_CONCLUDED) {
		ck_assert_int_eq(job_verb_dismiss(&w->job, NULL), 0);
		return;
	}
	ck_assert_int_eq(job_verb_cancel(&w->job, true, NULL), 0);
	co_sleep_ns(10000);
	settle();
	ck_assert_int_eq(job_verb_dismiss(&w->job, NULL), 0);
}

FIXTURE_TEST(every_verb_in_every_state)
{
	job_table_init(&table, f->graph, &observer);
	for (unsigned i = 0; i < ARRAY_SIZE(verb_rows); i++) {
		for (int state = 0; state < STATES; state++) {
			try_verb(f, &verb_rows[i], state);
			log_text[0] = '\0';
		}
	}
	job_table_finish(&table);
}

FIXTURE_TEST(cancel_wakes_a_paused_job)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make_in_state(f, AT_STANDBY);
	log_text[0] = '\0';
	ck_assert_int_eq(job_verb_cancel(&w->job, true, NULL), 0);
	settle();
	expect_log("ready aborting CANCELLED concluded ");
	ck_assert_str_eq(w->job.error->message, "Operation canceled");
	ck_assert(!w->job.user_paused);
	job_verb_dismiss(&w->job, NULL);
	log_text[0] = '\0';
	job_table_finish(&table);
}

/* Its user's pause goes on when the drain has ended. */
FIXTURE_TEST(a_drain_is_a_pause)
{
	job_table_init(&table, f->graph, &observer);
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct work *w = make(f, "j", true, true);
	struct edge *e;
	w->steps = 10;
	w->step_ns = 1000;
	ck_assert_int_eq(edge_attach_consumer(&w->job.consumer, "main node", n, 0, PERM_ALL, &e,
					      NULL),
			 0);
	struct drain drain;
	drain_begin(f->graph, &n, 1, &drain);
	job_start(&w->job);
	co_sleep_ns(50000);
	expect_log("created running paused ");
	drain_end(&drain);
	expect_log("running ");
	settle();
	drain_begin(f->graph, &n, 1, &drain);
	expect_log("paused ");
	ck_assert_int_eq(job_verb_pause(&w->job, NULL), 0);
	drain_end(&drain);
	co_sleep_ns(50000);
	expect_log("");
	ck_assert_int_eq(job_verb_resume(&w->job, NULL), 0);
	expect_log("running ");
	job_table_stand_still(&table);
	job_table_go_on(&table);
	expect_log("paused running ");
	ck_assert_int_eq(job_verb_cancel(&w->job, true, NULL), 0);
	drain_begin(f->graph, &n, 1, &drain);
	edge_detach(e);
	drain_end(&drain);
	co_sleep_ns(50000);
	expect_log("aborting CANCELLED concluded null ");
	node_unref(n);
	job_table_finish(&table);
}

FIXTURE_TEST(patience_with_an_end_is_limited)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make(f, "j", true, false);
	w->gets_ready = true;
	w->finish_ns = 5000;
	job_start(&w->job);
	settle();
	uint64_t begin_ns = loop_now_ns(f->graph->loop);
	ck_assert_int_eq(job_verb_cancel(&w->job, true, NULL), 0);
	job_wait_concluded(&w->job, 1000);
	ck_assert_uint_eq(loop_now_ns(f->graph->loop) - begin_ns, 1000);
	ck_assert_int_eq(w->job.status, JOB_STATUS_ABORTING);
	job_wait_concluded(&w->job, 0);
	ck_assert_uint_eq(loop_now_ns(f->graph->loop) - begin_ns, 5000);
	ck_assert_int_eq(w->job.status, JOB_STATUS_CONCLUDED);
	job_wait_concluded(&w->job, 0);
	job_verb_dismiss(&w->job, NULL);
	log_text[0] = '\0';
	job_table_finish(&table);
}

FIXTURE_TEST(soft_cancel_lets_a_ready_job_end_well)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make_in_state(f, AT_READY);
	struct error *error = NULL;
	log_text[0] = '\0';
	ck_assert_int_eq(job_verb_pause(&w->job, NULL), 0);
	settle();
	ck_assert_int_eq(job_verb_cancel(&w->job, false, &error), -EBUSY);
	error_expect(&error, "The block job for device 'j' is currently paused");
	ck_assert_int_eq(job_verb_resume(&w->job, NULL), 0);
	ck_assert_int_eq(job_verb_cancel(&w->job, false, NULL), 0);
	ck_assert_int_eq(job_verb_complete(&w->job, &error), -EPERM);
	error_free(TAKE(error));
	settle();
	expect_log("standby ready waiting pending PENDING ");
	ck_assert(w->job.leaving && !w->job.cancelled);
	job_verb_finalize(&w->job, NULL);
	settle();
	expect_log("COMPLETED concluded ");
	job_verb_dismiss(&w->job, NULL);
	log_text[0] = '\0';

	/* Before it is ready, a soft cancel is a cancel. */
	w = make_in_state(f, AT_RUNNING);
	log_text[0] = '\0';
	ck_assert_int_eq(job_verb_cancel(&w->job, false, NULL), 0);
	co_sleep_ns(10000);
	expect_log("aborting CANCELLED concluded ");
	job_verb_dismiss(&w->job, NULL);
	log_text[0] = '\0';
	job_table_finish(&table);
}

FIXTURE_TEST(complete_during_a_pause_counts_afterwards)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make_in_state(f, AT_STANDBY);
	log_text[0] = '\0';
	ck_assert_int_eq(job_verb_complete(&w->job, NULL), 0);
	ck_assert_int_eq(job_verb_complete(&w->job, NULL), 0);
	settle();
	ck_assert_int_eq(w->job.status, JOB_STATUS_STANDBY);
	ck_assert_int_eq(job_verb_resume(&w->job, NULL), 0);
	settle();
	expect_log("ready waiting pending PENDING ");
	job_verb_cancel(&w->job, true, NULL);
	settle();
	expect_log("aborting CANCELLED concluded ");
	job_verb_dismiss(&w->job, NULL);
	log_text[0] = '\0';
	job_table_finish(&table);
}

/* --- Rates, progress, errors ------------------------------------------------------------ */

FIXTURE_TEST(speed_is_kept_and_may_change)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make(f, "j", true, false);
	w->steps = 101;
	ck_assert_int_eq(job_verb_set_speed(&w->job, 5, NULL), -EPERM); /* not created yet */
	w->job.speed = 100;
	ratelimit_set(&w->job.ratelimit, 100, loop_now_ns(f->loop));
	job_start(&w->job);
	uint64_t begin_ns = loop_now_ns(f->loop);
	while (w->job.status != JOB_STATUS_CONCLUDED)
		co_sleep_ns(1000000);
	/* 1010 bytes, the last ten not waited for. */
	double seconds = (double)(loop_now_ns(f->loop) - begin_ns) / 1e9;
	ck_assert_double_ge(seconds, 9.8);
	ck_assert_double_le(seconds, 10.1);
	ck_assert_uint_eq(w->job.progress_done, 1010);
	ck_assert_uint_eq(w->job.progress_total, 1010);
	job_verb_dismiss(&w->job, NULL);

	/* One byte per year, set free by another speed. */
	w = make(f, "j", true, false);
	w->steps = 101;
	job_start(&w->job);
	ck_assert_int_eq(job_verb_set_speed(&w->job, 1, NULL), 0);
	co_sleep_ns(3000000000);
	ck_assert_int_eq(w->job.status, JOB_STATUS_RUNNING);
	ck_assert(w->job.idle);
	struct error *error = NULL;
	ck_assert_int_eq(job_verb_set_speed(&w->job, -1, &error), -EINVAL);
	error_expect(&error, "Parameter 'speed' expects a non-negative value");
	ck_assert_int_eq(job_verb_set_speed(&w->job, 0, NULL), 0);
	co_sleep_ns(1000000);
	ck_assert_int_eq(w->job.status, JOB_STATUS_CONCLUDED);
	job_verb_dismiss(&w->job, NULL);
	job_table_finish(&table);
}

FIXTURE_TEST(progress_only_grows)
{
	job_table_init(&table, f->graph, &observer);
	struct work *w = make(f, "j", true, true);
	struct job *j = &w->job;
	job_progress_set_left(j, 100);
	ck_assert_uint_eq(j->progress_total, 100);
	job_progress_add(j, 60);
	job_progress_set_left(j, 90);
	ck_assert_uint_eq(j->progress_done, 60);
	ck_assert_uint_eq(j->progress_total, 150);
	job_progress_add(j, 100);
	ck_assert_uint_eq(j->progress_done, 160);
	ck_assert_uint_eq(j->progress_total, 160);
	job_discard(j);
	job_table_finish(&table);
}

FIXTURE_TEST(error_policies)
{
	static const struct {
		enum blockdev_on_error policy;
		int error;
		enum block_error_action action;
		enum block_device_io_status io_status;
	} rows[] = {
		{BLOCKDEV_ON_ERROR_REPORT, -EIO, BLOCK_ERROR_ACTION_REPORT, BLOCK_DEVICE_IO_STATUS_OK},
		{BLOCKDEV_ON_ERROR_REPORT, -ENOSPC, BLOCK_ERROR_ACTION_REPORT,
		 BLOCK_DEVICE_IO_STATUS_OK},
		{BLOCKDEV_ON_ERROR_AUTO, -ENOSPC, BLOCK_ERROR_ACTION_REPORT,
		 BLOCK_DEVICE_IO_STATUS_OK},
		{BLOCKDEV_ON_ERROR_IGNORE, -EIO, BLOCK_ERROR_ACTION_IGNORE, BLOCK_DEVICE_IO_STATUS_OK},
		{BLOCKDEV_ON_ERROR_STOP, -EIO, BLOCK_ERROR_ACTION_STOP,
		 BLOCK_DEVICE_IO_STATUS_FAILED},
		{BLOCKDEV_ON_ERROR_STOP, -ENOSPC, BLOCK_ERROR_ACTION_STOP,
		 BLOCK_DEVICE_IO_STATUS_NOSPACE},
		{BLOCKDEV_ON_ERROR_ENOSPC, -EIO, BLOCK_ERROR_ACTION_REPORT,
		 BLOCK_DEVICE_IO_STATUS_OK},
		{BLOCKDEV_ON_ERROR_ENOSPC, -ENOSPC, BLOCK_ERROR_ACTION_STOP,
		 BLOCK_DEVICE_IO_STATUS_NOSPACE},
	};
	job_table_init(&table, f->graph, &observer);
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct work *w = make_in_state(f, AT_RUNNING);
		struct job *j = &w->job;
		log_text[0] = '\0';
		ck_assert_int_eq(job_request_failed(j, rows[i].policy, IO_OPERATION_TYPE_WRITE,
						    rows[i].error),
				 rows[i].action);
		ck_assert_int_eq(j->io_status, rows[i].io_status);
		bool stops = rows[i].action == BLOCK_ERROR_ACTION_STOP;
		/* A second failure before the pause changes nothing; one before the end is not told. */
		if (rows[i].action != BLOCK_ERROR_ACTION_IGNORE)
			job_request_failed(j, rows[i].policy, IO_OPERATION_TYPE_READ, rows[i].error);
		if (rows[i].action == BLOCK_ERROR_ACTION_REPORT)
			expect_log("write report ");
		co_sleep_ns(10000);
		ck_assert_int_eq(j->status, stops ? JOB_STATUS_PAUSED : JOB_STATUS_RUNNING);
		if (stops) {
			expect_log("write stop read stop paused ");
			ck_assert_int_eq(job_verb_resume(j, NULL), 0);
			ck_assert_int_eq(j->io_status, BLOCK_DEVICE_IO_STATUS_OK);
			co_sleep_ns(10000);
			ck_assert_int_eq(j->status, JOB_STATUS_RUNNING);
		}
		job_verb_cancel(j, true, NULL);
		co_sleep_ns(10000);
		job_verb_dismiss(j, NULL);
	}
	job_table_finish(&table);
}

FIXTURE_TEST(blockers_last_as_long_as_the_job)
{
	job_table_init(&table, f->graph, &observer);
	struct node *n = disk_open(f, disk_new(f, "d", 512), &disk_driver);
	struct work *w = make_in_state(f, AT_RUNNING);
	job_block(&w->job, n, BLOCK_OP_CHANGE);
	struct error *error = NULL;
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_RESIZE, &error), -EBUSY);
	error_expect_part(&error, "is busy: block device is in use by block job: commit");
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_CHANGE, NULL), 0);
	job_verb_cancel(&w->job, true, NULL);
	co_sleep_ns(10000);
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_RESIZE, NULL), 0);
	job_verb_dismiss(&w->job, NULL);
	node_unref(n);
	job_table_finish(&table);
}

FIXTURE_TEST(the_end_finds_jobs_in_every_state)
{
	for (int state = 0; state < STATES; state++) {
		job_table_init(&table, f->graph, &observer);
		struct work *w = make_in_state(f, state);
		int finished = w->finished;
		w->ret_finished = &finished;
		job_cancel_all_and_wait(&table);
		ck_assert_int_eq(finished, state == AT_CONCLUDED ? 1 : -1);
		ck_assert(string_starts_with(log_text + strlen(log_text) - 5, "null "));
		struct job *j = NULL;
		struct error *error = NULL;
		const struct job_options options = {.id = "late"};
		ck_assert_int_eq(job_create(&table, &work_driver, &options, &j, &error), -ESHUTDOWN);
		error_free(error);
		job_table_finish(&table);
		log_text[0] = '\0';
	}
}

/* How often the rest of the program ran while the job was busy. */
static unsigned ticks;

/* Work without any wait, until others have had their turn. */
static int co_fn spin_run(struct job *j, struct error **errp)
{
	while (ticks < 5) {
		int r = job_pause_point(j);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct job_driver spin_driver = {
	.type = JOB_TYPE_COMMIT,
	.size = sizeof(struct work),
	.run = spin_run,
	.finish = work_finish,
};

static void co_fn busy_jobs_give_way(struct fixture *f)
{
	job_table_init(&table, f->graph, &observer);
	const struct job_options options = {.id = "j", .auto_finalize = true, .auto_dismiss = true};
	struct job *j;
	ck_assert_int_eq(job_create(&table, &spin_driver, &options, &j, NULL), 0);
	job_start(j);
	while (job_find(&table, "j", false)) {
		co_sleep_ns(1000000);
		ticks++;
	}
	job_table_finish(&table);
}

START_TEST(test_busy_jobs_give_way)
{
	fixture_run_real(busy_jobs_give_way);
}
END_TEST

START_TEST(transitions_are_what_they_are)
{
	static const char *const allowed[] = {
		"undefined>created", "undefined>null",    "created>running",   "created>aborting",
		"created>null",      "running>paused",    "running>ready",     "running>waiting",
		"running>aborting",  "paused>running",    "ready>standby",     "ready>waiting",
		"ready>aborting",    "standby>ready",     "waiting>pending",   "waiting>aborting",
		"pending>concluded", "pending>aborting",  "aborting>concluded", "concluded>null",
	};
	unsigned count = 0;
	for (int from = 0; from < JOB_STATUS__COUNT; from++) {
		for (int to = 0; to < JOB_STATUS__COUNT; to++) {
			if (!job_may_move(from, to))
				continue;
			char *text _cleanup_free_ =
				xasprintf("%s>%s", job_status_name(from), job_status_name(to));
			bool found = false;
			for (unsigned i = 0; i < ARRAY_SIZE(allowed); i++)
				found |= strcmp(allowed[i], text) == 0;
			ck_assert_msg(found, "%s", text);
			count++;
		}
	}
	ck_assert_uint_eq(count, ARRAY_SIZE(allowed));
}
END_TEST

static const struct unit_test tests[] = {
	FIXTURE_ROW(simple_life),
	FIXTURE_ROW(manual_life),
	FIXTURE_ROW(failures_have_their_sentence),
	FIXTURE_ROW(ids_are_checked),
	FIXTURE_ROW(only_block_jobs_are_found_as_such),
	FIXTURE_ROW(every_verb_in_every_state),
	FIXTURE_ROW(cancel_wakes_a_paused_job),
	FIXTURE_ROW(soft_cancel_lets_a_ready_job_end_well),
	FIXTURE_ROW(complete_during_a_pause_counts_afterwards),
	FIXTURE_ROW(speed_is_kept_and_may_change),
	FIXTURE_ROW(progress_only_grows),
	FIXTURE_ROW(a_drain_is_a_pause),
	FIXTURE_ROW(patience_with_an_end_is_limited),
	FIXTURE_ROW(error_policies),
	FIXTURE_ROW(blockers_last_as_long_as_the_job),
	FIXTURE_ROW(the_end_finds_jobs_in_every_state),
	FIXTURE_ROW(busy_jobs_give_way),
	UNIT_TEST(transitions_are_what_they_are),
};

UNIT_MAIN("job", tests)
