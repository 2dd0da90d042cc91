/* SPDX-License-Identifier: MIT */
/*
 * blockjobs/create.c: the life of a job that makes an image, also when it is cancelled
 * or any request to the disk fails.
 */
#include "blockjobs/create.h"

#include "base/cleanup.h"
#include "schema/schema.h"
#include "tests/unit/chain_fixture.h"

static int co_fn start(struct chain *c, const char *text, struct error **errp)
{
	void *args;
	ck_assert_int_eq(schema_decode_keyval(&blockdev_create_args_type, text, NULL, &args, NULL),
			 0);
	int r = create_start(&c->jobs, args, errp);
	schema_free(&blockdev_create_args_type, args);
	return r;
}

#define FILE_TEXT "job-id=j,options.driver=file,options.filename=a,options.size=65536"
#define IMAGE_TEXT                                                                                 \
	"job-id=j,options.driver=qcow2,options.size=1M,options.cluster-size=4096,"                 \
	"options.preallocation=metadata,options.file.driver=file,options.file.filename=a"

/* The job has concluded: forget it. Its error, or NULL; free with free(). */
static char *co_fn dismiss(struct chain *c)
{
	struct job *j = job_find(&c->jobs, "j", false);
	ck_assert_int_eq(j->status, JOB_STATUS_CONCLUDED);
	ck_assert_uint_eq(j->progress_done, 1);
	ck_assert_uint_eq(j->progress_total, 1);
	char *error = j->error ? xstrdup(j->error->message) : NULL;
	ck_assert_int_eq(job_verb_dismiss(j, NULL), 0);
	c->log[0] = '\0';
	return error;
}

static void co_fn make(struct chain *c, const char *text)
{
	ck_assert_int_eq(start(c, text, NULL), 0);
	chain_wait_for(c, "concluded");
	char *error _cleanup_free_ = dismiss(c);
	ck_assert_msg(!error, "%s", error);
}

CHAIN_TEST(it_goes_through_all_states_and_stays)
{
	ck_assert_int_eq(start(c, FILE_TEXT, NULL), 0);
	chain_expect_log(c, "created running ");
	chain_wait_for(c, "concluded");
	chain_expect_log(c, "waiting pending COMPLETED concluded ");
	char *error _cleanup_free_ = dismiss(c);
	ck_assert_ptr_null(error);
	make(c, IMAGE_TEXT);
	node_unref(chain_open(c, "a"));
}

CHAIN_TEST(what_cannot_be_made_is_told_at_the_end)
{
	struct error *error = NULL;
	ck_assert_int_eq(start(c, "job-id=j,options.driver=file,options.filename=no/a,"
			       "options.size=0", NULL), 0);
	chain_wait_for(c, "concluded");
	chain_expect_log(c, "created running aborting FAILED concluded ");
	char *sentence _cleanup_free_ = dismiss(c);
	ck_assert_str_eq(sentence, "Could not create 'no/a': No such file or directory");
	ck_assert_int_lt(start(c, "job-id=1,options.driver=file,options.filename=a,options.size=0",
			       &error), 0);
	chain_expect_error(&error, "Invalid job ID '1'");
}

CHAIN_TEST(a_cancelled_job_fails_when_the_image_is_made)
{
	ck_assert_int_eq(start(c, FILE_TEXT, NULL), 0);
	ck_assert_int_eq(job_verb_cancel(job_find(&c->jobs, "j", false), true, NULL), 0);
	chain_wait_for(c, "concluded");
	chain_expect_log(c, "created running aborting CANCELLED concluded ");
	char *error _cleanup_free_ = dismiss(c);
	ck_assert_str_eq(error, "Operation canceled");
}

CHAIN_TEST(any_request_may_fail)
{
	make(c, FILE_TEXT);
	c->fail_error = -EIO;
	unsigned failures = 0;
	for (uint64_t n = 1;; n++) {
		c->events = 0;
		c->fail_at = n;
		ck_assert_int_eq(start(c, IMAGE_TEXT, NULL), 0);
		chain_wait_for(c, "concluded");
		char *error _cleanup_free_ = dismiss(c);
		failures += error != NULL;
		ck_assert(list_is_empty(&c->graph->nodes));
		if (c->events < n)
			break;
	}
	ck_assert_uint_gt(failures, 5);
	c->fail_at = 0;
	make(c, IMAGE_TEXT);
	node_unref(chain_open(c, "a"));
}

CHAIN_TEST(the_graph_may_change_while_space_is_set_aside)
{
	make(c, FILE_TEXT);
	c->delay_ns = 1000000;
	ck_assert_int_eq(start(c, IMAGE_TEXT, NULL), 0);
	unsigned held = 0;
	for (int i = 0; i < 100000 && !chain_log_has(c, "concluded"); i++) {
		graph_change_begin(c->graph);
		/* While the job holds the lock nobody gets here before it ends. */
		held += !chain_log_has(c, "concluded");
		graph_change_end(c->graph);
		co_sleep_ns(1000000);
	}
	ck_assert_uint_gt(held, 3);
	char *error _cleanup_free_ = dismiss(c);
	ck_assert_ptr_null(error);
}

static const struct unit_test tests[] = {
	CHAIN_ROW(it_goes_through_all_states_and_stays),
	CHAIN_ROW(what_cannot_be_made_is_told_at_the_end),
	CHAIN_ROW(a_cancelled_job_fails_when_the_image_is_made),
	CHAIN_ROW(any_request_may_fail),
	CHAIN_ROW(the_graph_may_change_while_space_is_set_aside),
};
UNIT_MAIN("create", tests)
