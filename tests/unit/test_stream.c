/* SPDX-License-Identifier: MIT */
/*
 * blockjobs/stream*.c and the copy-on-read filter on chains of real qcow2 images:
 * what arrives where, who may do what meanwhile, and how each way of ending leaves
 * the chain.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"base", "o1", "o2", "o3"};
#define COUNT 4

static void co_fn set_up(struct chain *c)
{
	chain_make_all(c, names, COUNT);
	chain_open_all(c, names, COUNT);
}

static bool co_fn is_allocated(struct node *n, uint64_t offset)
{
	struct extent x;
	ck_assert_int_eq(node_status_above(n, node_backing(n), offset, 1, &x, NULL), 0);
	return x.flags & EXTENT_ALLOCATED;
}

/* --- What arrives ------------------------------------------------------------------ */

CHAIN_TEST(whole_chain_leaves_the_image_alone)
{
	set_up(c);
	struct job *j = chain_stream_ok(c, "device=o3");
	ck_assert_uint_eq(j->progress_done, 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running waiting pending COMPLETED concluded null ");
	ck_assert_str_eq(chain_below(c, "o3"), "");
	ck_assert_ptr_null(chain_find(c, "o3")->backing_name);
	ck_assert_str_eq(chain_find(c, "o3")->filename, "o3");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

CHAIN_TEST(nobody_finds_the_filter_afterwards)
{
	set_up(c);
	struct job *j = chain_stream_ok(c, "device=o3,filter-node-name=f,auto-finalize=off");
	chain_wait_for(c, "PENDING");
	chain_expect_to_leave_at_once(c, j, "f");
	chain_close_all(c);
}

static void co_fn leave_base_below(struct chain *c, const char *way)
{
	set_up(c);
	struct job *j = chain_stream_ok(c, way);
	chain_wait_for(c, "concluded");
	ck_assert_uint_eq(j->progress_done, CHAIN_SIZE);
	ck_assert_uint_eq(j->progress_total, CHAIN_SIZE);
	job_verb_dismiss(j, NULL);
	ck_assert_str_eq(chain_below(c, "o3"), "base");
	ck_assert_str_eq(chain_find(c, "o3")->backing_name, "base");
	ck_assert_str_eq(chain_find(c, "o3")->backing_format, "qcow2");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

CHAIN_TEST(base_by_node_name)
{
	leave_base_below(c, "device=o3,base-node=base,auto-dismiss=off");
}

CHAIN_TEST(base_by_file_name)
{
	leave_base_below(c, "device=o3,base=base,auto-dismiss=off");
}

CHAIN_TEST(bottom_by_node_name)
{
	leave_base_below(c, "device=o3,bottom=o1,auto-dismiss=off");
}

/* What the layers that stay hold is not copied. */
CHAIN_TEST(base_is_not_copied)
{
	set_up(c);
	chain_stream_ok(c, "device=o3,base-node=base");
	chain_wait_for(c, "null");
	unsigned own = 0, others = 0;
	for (uint64_t i = 0; i < CHAIN_SIZE; i += CHAIN_CLUSTER) {
		own += is_allocated(chain_find(c, "o3"), i);
		others += is_allocated(chain_find(c, "o1"), i) ||
			  is_allocated(chain_find(c, "o2"), i);
	}
	ck_assert_uint_ge(own, others);
	ck_assert_uint_lt(own, CHAIN_SIZE / CHAIN_CLUSTER);
	chain_close_all(c);
}

CHAIN_TEST(intermediate_image_is_read_only_again)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	chain_stream_ok(c, "device=o2,base-node=base,backing-file=elsewhere");
	ck_assert(!chain_find(c, "o2")->read_only);
	chain_wait_for(c, "null");
	ck_assert(chain_find(c, "o2")->read_only);
	ck_assert_str_eq(chain_below(c, "o3"), "o2");
	ck_assert_str_eq(chain_below(c, "o2"), "base");
	ck_assert_str_eq(chain_find(c, "o2")->backing_name, "elsewhere");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
}

CHAIN_TEST(images_that_nobody_else_holds_are_closed)
{
	chain_make_all(c, names, COUNT);
	struct node *n = chain_open(c, "o3");
	chain_stream_ok(c, "device=o3");
	chain_wait_for(c, "null");
	unsigned left = 0;
	struct node *i;
	list_for_each (i, &c->graph->nodes, link)
		left++;
	ck_assert_uint_eq(left, 2);
	chain_expect(c, n);
	node_unref(n);
}

CHAIN_TEST(closing_them_holds_up_nobody)
{
	chain_make_all(c, names, COUNT);
	struct node *n = chain_open(c, "o3");
	chain_make_far(node_backing(n));
	chain_stream_ok(c, "device=o3");
	chain_expect_to_close_apart(c);
	chain_wait_for(c, "null");
	ck_assert_ptr_null(n->backing);
	chain_expect(c, n);
	node_unref(n);
}

/* --- The name of the backing file --------------------------------------------------- */

static struct naming_log {
	const struct driver *driver;
	bool is_disturbed;
	char names[64];
} naming;

static void co_fn change_briefly(void *arg)
{
	struct graph *g = arg;
	graph_change_begin(g);
	co_sleep_ns(1000000);
	graph_change_end(g);
}

/* Somebody takes the lock while the first name is being written, or has it by then. */
static int co_fn log_backing(struct node *n, const char *name, const char *format,
			     struct error **errp)
{
	size_t length = strlen(naming.names);
	snprintf(naming.names + length, sizeof(naming.names) - length, "%s%s ", name ? name : "-",
		 graph_is_changing(n->graph) ? "!" : "");
	if (naming.is_disturbed) {
		naming.is_disturbed = false;
		co_start(n->loop, change_briefly, n->graph);
		co_sleep_ns(1000);
	}
	return naming.driver->change_backing(n, name, format, errp);
}

static void co_fn expect_names(struct chain *c, bool is_disturbed, const char *expected)
{
	static struct driver logging;
	set_up(c);
	struct node *n = chain_find(c, "o3");
	naming = (struct naming_log){.driver = n->driver, .is_disturbed = is_disturbed};
	logging = *n->driver;
	logging.change_backing = log_backing;
	n->driver = &logging;
	chain_stream_ok(c, "device=o3,base-node=base");
	chain_wait_for(c, "null");
	n->driver = naming.driver;
	ck_assert_str_eq(naming.names, expected);
	ck_assert_str_eq(chain_below(c, "o3"), "base");
	ck_assert_str_eq(n->backing_name, "base");
	ck_assert_str_eq(n->auto_backing_name, "base");
	chain_expect(c, n);
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

CHAIN_TEST(base_is_named_without_the_lock)
{
	expect_names(c, false, "base ");
}

/* Another could change what is named: all is as it was, and is done with the lock. */
CHAIN_TEST(base_is_named_again_with_the_lock)
{
	expect_names(c, true, "base o2! base! ");
}

CHAIN_TEST(nothing_below_is_nothing_to_do)
{
	set_up(c);
	struct job *j = chain_stream_ok(c, "device=base,auto-dismiss=off");
	chain_wait_for(c, "concluded");
	ck_assert_uint_eq(j->progress_total, 0);
	job_verb_dismiss(j, NULL);
	/* Only the name is written. */
	c->log[0] = '\0';
	chain_stream_ok(c, "device=o1,base-node=base,backing-file=other");
	chain_wait_for(c, "null");
	ck_assert_str_eq(chain_find(c, "o1")->backing_name, "other");
	ck_assert_str_eq(chain_below(c, "o1"), "base");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
}

/* A short layer hides what is below its end, and must go on hiding it when it is gone. */
static void co_fn stream_lengths(struct chain *c, uint64_t base, uint64_t middle, uint64_t top,
				 const char *text)
{
	chain_make(c, "base", base, NULL);
	struct node *n = chain_open(c, "base");
	struct chain_user u;
	chain_user_init(&u, c, n);
	memset(c->model, 7, base);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_write(u.edge, 0, base, c->model, 0), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
	node_unref(n);
	chain_make(c, "o1", middle, "base");
	chain_make(c, "o2", top, "o1");
	memset(c->model + middle, 0, CHAIN_DISK_MAX - middle);

	chain_open_all(c, names, 3);
	chain_stream_ok(c, text);
	chain_wait_for(c, "null");
	ck_assert(chain_log_has(c, "COMPLETED"));
	chain_expect(c, chain_find(c, "o2"));
	chain_close_all(c);
	chain_expect_image(c, "o2");
}

CHAIN_TEST(what_a_short_layer_hides_stays_hidden)
{
	stream_lengths(c, CHAIN_SIZE, CHAIN_SIZE / 2, CHAIN_SIZE, "device=o2,base-node=base");
}

CHAIN_TEST(what_a_short_layer_hides_is_not_copied)
{
	stream_lengths(c, CHAIN_SIZE, CHAIN_SIZE / 2, CHAIN_SIZE, "device=o2");
}

CHAIN_TEST(layers_get_longer_upwards)
{
	stream_lengths(c, CHAIN_SIZE / 2, CHAIN_SIZE / 4 + 512, CHAIN_SIZE + 512,
		       "device=o2,base-node=base");
}

CHAIN_TEST(layers_get_longer_upwards_without_base)
{
	stream_lengths(c, CHAIN_SIZE / 2, CHAIN_SIZE / 4 + 512, CHAIN_SIZE + 512, "device=o2");
}

CHAIN_TEST(a_short_image_shows_a_part)
{
	stream_lengths(c, CHAIN_SIZE, CHAIN_SIZE, CHAIN_SIZE / 2, "device=o2");
}

/* --- With users --------------------------------------------------------------------- */

CHAIN_TEST(users_reads_are_stored_and_those_of_base_are_not)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	struct job *j = chain_stream_ok(c, "device=o3,base-node=base,speed=1");
	uint64_t last = CHAIN_SIZE - CHAIN_CLUSTER;
	while (j->progress_done == 0)
		co_sleep_ns(1000000);
	unsigned stored = 0, left = 0;
	for (uint64_t offset = last; offset > CHAIN_SIZE / 2; offset -= CHAIN_CLUSTER) {
		struct extent x;
		unsigned depth;
		uint8_t data[512];
		ck_assert_int_eq(node_status_above(chain_find(c, "o3"), NULL, offset, CHAIN_CLUSTER,
						   &x, &depth),
				 0);
		consumer_enter(&u.consumer);
		ck_assert_int_eq(edge_read(u.edge, offset, sizeof(data), data, 0), 0);
		consumer_leave(&u.consumer);
		bool is_between = depth == 2 || depth == 3;
		stored += is_between;
		left += !is_between && depth != 1;
		ck_assert(is_allocated(chain_find(c, "o3"), offset) == (depth == 1 || is_between));
	}
	ck_assert_uint_gt(stored, 0);
	ck_assert_uint_gt(left, 0);
	ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running aborting CANCELLED concluded null ");
	ck_assert_ptr_eq(u.edge->child, chain_find(c, "o3"));
	ck_assert_str_eq(chain_below(c, "o3"), "o2");
	ck_assert_str_eq(chain_find(c, "o3")->backing_name, "o2");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

static void co_fn stream_with_writers(struct chain *c)
{
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	bool is_whole = loop_random(c->loop) % 2;
	chain_stream_ok(c, is_whole ? "device=o3" : "device=o3,base-node=o1");
	ck_assert_str_eq(u.edge->child->driver->name, "copy-on-read");
	chain_wait_for(c, "null");
	co_sleep_ns(5000000);
	chain_user_finish(&u);
	ck_assert_uint_gt(u.writes, 10);
	chain_expect_log(c, "created running waiting pending COMPLETED concluded null ");
	ck_assert_str_eq(chain_below(c, "o3"), is_whole ? "" : "o1");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

START_TEST(test_stream_with_writers)
{
	for (uint64_t seed = 0; seed < 25; seed++)
		chain_run(seed, stream_with_writers);
}
END_TEST

/* --- Several at once ------------------------------------------------------------------ */

static void co_fn two_parts(struct chain *c)
{
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	bool commits = loop_random(c->loop) % 2, is_first = loop_random(c->loop) % 2;
	if (is_first)
		chain_stream_ok(c, "job-id=a,device=o3,base-node=o1");
	if (commits)
		chain_commit_ok(c, "job-id=b,device=o3,top-node=o1");
	else
		chain_stream_ok(c, "job-id=b,device=o1");
	if (!is_first)
		chain_stream_ok(c, "job-id=a,device=o3,base-node=o1");
	chain_wait_for(c, "a:null");
	chain_wait_for(c, "b:null");
	ck_assert(chain_log_has(c, "a:COMPLETED") && chain_log_has(c, "b:COMPLETED"));
	chain_user_finish(&u);
	ck_assert_str_eq(chain_below(c, "o3"), commits ? "base" : "o1");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

CHAIN_TEST(who_came_to_the_image_itself_is_waited_for)
{
	set_up(c);
	struct job *j = chain_stream_ok(c, "device=o3,auto-finalize=off");
	chain_wait_for(c, "PENDING");
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	consumer_enter(&u.consumer);
	ck_assert_int_eq(job_verb_finalize(j, NULL), 0);
	co_sleep_ns(1000000000);
	ck_assert_str_eq(chain_below(c, "o3"), "o2");
	consumer_leave(&u.consumer);
	chain_wait_for(c, "null");
	ck_assert_str_eq(chain_below(c, "o3"), "");
	chain_user_finish(&u);
	chain_close_all(c);
}

START_TEST(test_two_parts)
{
	for (uint64_t seed = 0; seed < 40; seed++)
		chain_run(seed, two_parts);
}
END_TEST

CHAIN_TEST(what_is_in_use_is_refused)
{
	set_up(c);
	struct error *error = NULL;
	struct job *j = chain_stream_ok(c, "device=o3,base-node=base,speed=1");
	ck_assert_int_eq(chain_stream(c, "job-id=k,device=o2", &error), -EBUSY);
	chain_expect_error(&error,
			   "Node 'o2' is busy: block device is in use by block job: stream");
	ck_assert_int_eq(chain_stream(c, "job-id=k,device=o3,base-node=o1", &error), -EBUSY);
	error_free(TAKE(error));
	ck_assert_int_lt(chain_commit(c, "job-id=k,device=o3,top-node=o1", &error), 0);
	error_free(TAKE(error));
	ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");

	c->log[0] = '\0';
	j = chain_commit_ok(c, "device=o3,top-node=o2,base-node=o1,speed=1");
	ck_assert_int_eq(chain_stream(c, "job-id=k,device=o3", &error), -EBUSY);
	error_free(TAKE(error));
	ck_assert_int_eq(chain_stream(c, "job-id=k,device=o1", &error), -EBUSY);
	error_free(TAKE(error));
	ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
}

/* --- Errors --------------------------------------------------------------------------- */

CHAIN_TEST(ignored_errors_are_told_at_the_end)
{
	set_up(c);
	c->fail_disk = "o2";
	c->fail_error = -EIO;
	c->fail_at = c->events + 1;
	c->fails_on = true;
	struct job *j = chain_stream_ok(c, "device=o3,on-error=ignore,auto-dismiss=off");
	chain_wait_for(c, "concluded");
	ck_assert(chain_log_has(c, "ignore") && chain_log_has(c, "FAILED"));
	ck_assert_int_eq(j->result, -EIO);
	ck_assert_uint_eq(j->progress_done, CHAIN_SIZE);
	c->fail_at = 0;
	job_verb_dismiss(j, NULL);
	ck_assert_str_eq(chain_below(c, "o3"), "o2");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

static const struct unit_test tests[] = {
	CHAIN_ROW(whole_chain_leaves_the_image_alone),
	CHAIN_ROW(nobody_finds_the_filter_afterwards),
	CHAIN_ROW(base_by_node_name),
	CHAIN_ROW(base_by_file_name),
	CHAIN_ROW(bottom_by_node_name),
	CHAIN_ROW(base_is_not_copied),
	CHAIN_ROW(intermediate_image_is_read_only_again),
	CHAIN_ROW(images_that_nobody_else_holds_are_closed),
	CHAIN_ROW(closing_them_holds_up_nobody),
	CHAIN_ROW(base_is_named_without_the_lock),
	CHAIN_ROW(base_is_named_again_with_the_lock),
	CHAIN_ROW(nothing_below_is_nothing_to_do),
	CHAIN_ROW(what_a_short_layer_hides_stays_hidden),
	CHAIN_ROW(what_a_short_layer_hides_is_not_copied),
	CHAIN_ROW(layers_get_longer_upwards),
	CHAIN_ROW(layers_get_longer_upwards_without_base),
	CHAIN_ROW(a_short_image_shows_a_part),
	CHAIN_ROW(users_reads_are_stored_and_those_of_base_are_not),
	{"stream_with_writers", &test_stream_with_writers, 0},
	CHAIN_ROW(who_came_to_the_image_itself_is_waited_for),
	{"two_parts", &test_two_parts, 0},
	CHAIN_ROW(what_is_in_use_is_refused),
	CHAIN_ROW(ignored_errors_are_told_at_the_end),
};

UNIT_MAIN("stream", tests)
