/* SPDX-License-Identifier: MIT */
/*
 * blockjobs/commit*.c and filter.c on chains of real qcow2 images: what arrives
 * where, who may do what meanwhile, and how each way of ending leaves the chain.
 */
#include "base/cleanup.h"
#include "block/bitmap.h"
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

/* --- Below the active image -------------------------------------------------------- */

CHAIN_TEST(intermediate_images_leave_the_chain)
{
	set_up(c);
	struct job *j = chain_commit_ok(c, "device=o3,top-node=o2,base-node=base");
	ck_assert_uint_eq(j->progress_done, 0);
	ck_assert(!chain_find(c, "base")->read_only);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running waiting pending COMPLETED concluded null ");
	ck_assert_str_eq(chain_below(c, "o3"), "base");
	ck_assert_str_eq(chain_find(c, "o3")->backing_name, "base");
	ck_assert_str_eq(chain_find(c, "o3")->backing_format, "qcow2");
	ck_assert_str_eq(chain_find(c, "o3")->filename, "o3");
	ck_assert(chain_find(c, "base")->read_only);
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

CHAIN_TEST(images_that_nobody_else_holds_are_closed)
{
	chain_make_all(c, names, COUNT);
	struct node *n = chain_open(c, "o3");
	unsigned before = 0, after = 0;
	struct node *i;
	list_for_each (i, &c->graph->nodes, link)
		before++;
	chain_commit_ok(c, "device=o3,top=o2");
	chain_wait_for(c, "null");
	list_for_each (i, &c->graph->nodes, link)
		after++;
	ck_assert_uint_eq(before, 8);
	ck_assert_uint_eq(after, 4);
	chain_expect(c, n);
	node_unref(n);
}

CHAIN_TEST(closing_them_holds_up_nobody)
{
	chain_make_all(c, names, COUNT);
	struct node *n = chain_open(c, "o3");
	chain_make_far(node_backing(n));
	chain_commit_ok(c, "device=o3,top=o2");
	chain_expect_to_close_apart(c);
	chain_wait_for(c, "null");
	chain_expect(c, n);
	node_unref(n);
}

CHAIN_TEST(closing_the_active_image_holds_up_nobody)
{
	chain_make_all(c, names, COUNT);
	struct node *n = chain_open(c, "o3"), *base = node_backing(n);
	struct chain_user u;
	chain_user_init(&u, c, n);
	chain_make_far(n);
	struct job *j = chain_commit_ok(c, "device=o3,base=o2");
	node_unref(n);
	chain_wait_for(c, "READY");
	job_verb_complete(j, NULL);
	chain_expect_to_close_apart(c);
	chain_wait_for(c, "null");
	ck_assert_ptr_eq(u.edge->child, base);
	chain_expect(c, base);
	chain_user_finish(&u);
}

CHAIN_TEST(the_image_above_may_be_read_only)
{
	set_up(c);
	chain_commit_ok(c, "device=o3,top-node=o1,base-node=base,backing-file=elsewhere");
	chain_wait_for(c, "null");
	ck_assert(chain_find(c, "o2")->read_only && chain_find(c, "base")->read_only);
	ck_assert_str_eq(chain_below(c, "o2"), "base");
	ck_assert_str_eq(chain_find(c, "o2")->backing_name, "elsewhere");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
}

static void co_fn intermediate_with_writers(struct chain *c)
{
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	chain_commit_ok(c, "device=o3,top-node=o2");
	chain_wait_for(c, "null");
	co_sleep_ns(5000000);
	chain_user_finish(&u);
	ck_assert_uint_gt(u.writes, 10);
	chain_expect_log(c, "created running waiting pending COMPLETED concluded null ");
	ck_assert_str_eq(chain_below(c, "o3"), "base");
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

START_TEST(test_intermediate_with_writers)
{
	for (uint64_t seed = 0; seed < 25; seed++)
		chain_run(seed, intermediate_with_writers);
}
END_TEST

/* --- The active image ------------------------------------------------------------------ */

CHAIN_TEST(users_move_to_base)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	struct job *j = chain_commit_ok(c, "device=o3");
	chain_wait_for(c, "READY");
	ck_assert_str_eq(u.edge->child->driver->name, "mirror_top");
	ck_assert(u.edge->child->implicit);
	ck_assert_uint_eq(j->progress_done, j->progress_total);
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running ready READY waiting pending COMPLETED concluded null ");
	ck_assert_ptr_eq(u.edge->child, chain_find(c, "base"));
	ck_assert(!chain_find(c, "base")->read_only);
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "base"));
	/* The old chain shows the same as long as nobody writes. */
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "base");
}

CHAIN_TEST(named_filter_is_visible)
{
	set_up(c);
	struct job *j = chain_commit_ok(c, "device=o3,filter-node-name=flt");
	chain_wait_for(c, "READY");
	ck_assert(!chain_find(c, "flt")->implicit);
	ck_assert_ptr_eq(chain_find(c, "flt")->file->child, chain_find(c, "o3"));
	job_verb_cancel(j, true, NULL);
	chain_wait_for(c, "null");
	ck_assert_ptr_null(node_find(c->graph, "flt"));
	chain_close_all(c);
}

static void co_fn active_with_writers(struct chain *c)
{
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	struct job *j = chain_commit_ok(c, "device=o3,base-node=o1");
	chain_wait_for(c, "READY");
	unsigned before = u.writes;
	co_sleep_ns(300000000);
	ck_assert_uint_gt(u.writes, before);
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	before = u.writes;
	co_sleep_ns(5000000);
	ck_assert_uint_gt(u.writes, before);
	ck_assert_ptr_eq(u.edge->child, chain_find(c, "o1"));
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "o1"));
	chain_close_all(c);
	chain_expect_image(c, "o1");
}

START_TEST(test_active_with_writers)
{
	for (uint64_t seed = 0; seed < 25; seed++)
		chain_run(seed, active_with_writers);
}
END_TEST

/* Writers who never rest: their writes are passed on, and the job converges all the same. */
static void co_fn active_with_ruthless_writers(struct chain *c)
{
	c->delay_ns = 100000;
	set_up(c);
	struct chain_user u[4];
	for (int i = 0; i < 4; i++) {
		chain_user_init(&u[i], c, chain_find(c, "o3"));
		/* One writer keeps the model; the others write what is there. */
		u[i].pause_ns = 0;
	}
	chain_user_start(&u[0]);
	struct job *j = chain_commit_ok(c, "device=o3");
	chain_wait_for(c, "READY");
	job_verb_complete(j, NULL);
	chain_wait_for(c, "COMPLETED");
	for (int i = 0; i < 4; i++)
		chain_user_finish(&u[i]);
	chain_expect(c, chain_find(c, "base"));
	chain_wait_for(c, "null");
	chain_close_all(c);
}

START_TEST(test_active_with_ruthless_writers)
{
	for (uint64_t seed = 0; seed < 15; seed++)
		chain_run(seed, active_with_ruthless_writers);
}
END_TEST

CHAIN_TEST(nobody_finds_the_filter_afterwards)
{
	set_up(c);
	struct job *j = chain_commit_ok(c, "device=o3,top-node=o2,base-node=o1,filter-node-name=f,"
					   "auto-finalize=off");
	chain_wait_for(c, "PENDING");
	chain_expect_to_leave_at_once(c, j, "f");
	chain_close_all(c);
}

static void co_fn pending_does_not_hold_up_users(struct chain *c)
{
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	struct job *j = chain_commit_ok(c, "device=o3,auto-finalize=off,auto-dismiss=off");
	chain_wait_for(c, "READY");
	job_verb_complete(j, NULL);
	chain_wait_for(c, "PENDING");
	unsigned before = u.writes;
	co_sleep_ns(100000000);
	ck_assert_uint_gt(u.writes, before + 10);
	ck_assert_int_eq(job_verb_finalize(j, NULL), 0);
	chain_wait_for(c, "concluded");
	ck_assert_ptr_eq(u.edge->child, chain_find(c, "base"));
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "base"));
	ck_assert_int_eq(job_verb_dismiss(j, NULL), 0);
	chain_close_all(c);
}

START_TEST(test_pending_does_not_hold_up_users)
{
	for (uint64_t seed = 0; seed < 5; seed++)
		chain_run(seed, pending_does_not_hold_up_users);
}
END_TEST

/* --- Other ends ---------------------------------------------------------------------------- */

/* After the end the users are where they were, and nothing is left of the job. */
static void co_fn expect_untouched(struct chain *c, struct chain_user *u)
{
	ck_assert_ptr_eq(u->edge->child, chain_find(c, "o3"));
	chain_user_finish(u);
	ck_assert_str_eq(chain_below(c, "o3"), "o2");
	ck_assert_str_eq(chain_below(c, "o2"), "o1");
	ck_assert(chain_find(c, "base")->read_only);
	struct node *n;
	list_for_each (n, &c->graph->nodes, link) {
		ck_assert(!n->driver->is_filter);
		ck_assert_int_eq(blocker_check(n, BLOCK_OP_CHANGE, NULL), 0);
		struct edge *e;
		list_for_each (e, &n->parents, child_link) {
			ck_assert_ptr_null(e->consumer);
			ck_assert_uint_eq(e->frozen, 0);
		}
	}
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
	chain_expect_image(c, "o3");
}

CHAIN_TEST(cancel_before_ready_leaves_the_chain)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	struct job *j = chain_commit_ok(c, "device=o3,speed=65536");
	co_sleep_ns(2000000000);
	ck_assert_uint_gt(j->progress_done, 0);
	ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running aborting CANCELLED concluded null ");
	expect_untouched(c, &u);
}

CHAIN_TEST(cancel_of_intermediate_leaves_the_chain)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	struct job *j = chain_commit_ok(c, "device=o3,top-node=o2,speed=65536");
	co_sleep_ns(2000000000);
	ck_assert_int_eq(job_verb_pause(j, NULL), 0);
	co_sleep_ns(1000000);
	ck_assert_int_eq(j->status, JOB_STATUS_PAUSED);
	ck_assert_int_eq(job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running paused running aborting CANCELLED concluded null ");
	expect_untouched(c, &u);
}

CHAIN_TEST(both_cancels_of_a_ready_job_leave_the_chain)
{
	for (int force = 0; force < 2; force++) {
		if (force == 0)
			chain_make_all(c, names, COUNT);
		chain_open_all(c, names, COUNT);
		struct chain_user u;
		chain_user_init(&u, c, chain_find(c, "o3"));
		u.pause_ns = 100000;
		chain_user_start(&u);
		struct job *j = chain_commit_ok(c, "device=o3");
		chain_wait_for(c, "READY");
		ck_assert_int_eq(job_verb_cancel(j, force, NULL), 0);
		chain_wait_for(c, "null");
		chain_expect_log(c, force ? "created running ready READY aborting CANCELLED "
					    "concluded null "
					  : "created running ready READY waiting pending COMPLETED "
					    "concluded null ");
		expect_untouched(c, &u);
	}
}

CHAIN_TEST(the_daemon_may_end_at_any_time)
{
	static const char *const commands[] = {
		"device=o3,speed=65536",
		"device=o3,top-node=o2,speed=65536",
		"device=o3",
		"device=o3,top-node=o2,auto-finalize=off",
	};
	chain_make_all(c, names, COUNT);
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		chain_open_all(c, names, COUNT);
		struct chain_user u;
		chain_user_init(&u, c, chain_find(c, "o3"));
		chain_commit_ok(c, commands[i]);
		co_sleep_ns(1500000000);
		job_cancel_all_and_wait(&c->jobs);
		c->jobs.closing = false;
		expect_untouched(c, &u);
	}
}

/* --- Sizes ------------------------------------------------------------------------------------ */

static void co_fn write_pattern(struct chain *c, struct node *n, uint64_t offset, uint64_t bytes,
				int byte)
{
	struct chain_user u;
	chain_user_init(&u, c, n);
	uint8_t *data _cleanup_free_ = xalloc(1, bytes);
	memset(data, byte, bytes);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_write(u.edge, offset, bytes, data, 0), 0);
	consumer_leave(&u.consumer);
	memset(c->model + offset, byte, bytes);
	chain_user_finish(&u);
}

CHAIN_TEST(a_short_base_grows)
{
	for (int active = 0; active < 2; active++) {
		const char *base = active ? "sa" : "si", *top = active ? "ta" : "ti";
		memset(c->model, 0, CHAIN_SIZE);
		chain_make(c, base, CHAIN_SIZE / 4, NULL);
		struct node *n = chain_open(c, base);
		write_pattern(c, n, CHAIN_SIZE / 4 - 8192, 8192, 1);
		node_unref(n);
		chain_make(c, top, CHAIN_SIZE, base);
		const char *over = active ? top : "over";
		if (!active)
			chain_make(c, over, CHAIN_SIZE, top);
		n = chain_open(c, top);
		write_pattern(c, n, CHAIN_SIZE / 2, 4096, 2);
		node_unref(n);
		n = chain_open(c, over);
		struct job *j = chain_commit_ok(c, active ? "device=ta" : "device=over,top=ti");
		if (active) {
			chain_wait_for(c, "READY");
			job_verb_complete(j, NULL);
		}
		chain_wait_for(c, "null");
		c->log[0] = '\0';
		chain_expect(c, n);
		node_unref(n);
		struct node *b = chain_open(c, base);
		ck_assert_uint_eq(b->size, CHAIN_SIZE);
		chain_expect(c, b);
		node_unref(b);
	}
}

CHAIN_TEST(what_a_short_top_hides_stays_hidden)
{
	chain_make(c, "base", CHAIN_SIZE, NULL);
	struct node *n = chain_open(c, "base");
	write_pattern(c, n, 0, CHAIN_SIZE, 7);
	node_unref(n);
	chain_make(c, "top", CHAIN_SIZE / 2, "base");
	chain_make(c, "over", CHAIN_SIZE, "top");
	memset(c->model + CHAIN_SIZE / 2, 0, CHAIN_SIZE / 2);
	n = chain_open(c, "over");
	chain_expect(c, n);
	chain_commit_ok(c, "device=over,top=top");
	chain_wait_for(c, "null");
	chain_expect(c, n);
	node_unref(n);
	chain_expect_image(c, "over");
}

struct late_resize {
	struct consumer consumer;
	struct edge *edge;
	int result;
	bool done;
};

static void co_fn resize_over(void *arg)
{
	struct late_resize *l = arg;
	consumer_enter(&l->consumer);
	l->result = edge_truncate(l->edge, CHAIN_SIZE, PREALLOCATION_OFF, NULL);
	consumer_leave(&l->consumer);
	l->done = true;
}

/* A block_resize that was under way ends between the last look at the sizes and the change. */
CHAIN_TEST(what_an_overlay_gains_at_the_end_reads_as_zeroes)
{
	static const struct consumer_ops ops = {0};
	struct late_resize l = {0};
	chain_make(c, "base", CHAIN_SIZE, NULL);
	struct node *n = chain_open(c, "base");
	write_pattern(c, n, 0, CHAIN_SIZE, 7);
	node_unref(n);
	chain_make(c, "top", CHAIN_SIZE / 2, "base");
	chain_make(c, "over", CHAIN_SIZE / 2, "top");
	memset(c->model + CHAIN_SIZE / 2, 0, CHAIN_SIZE / 2);
	n = chain_open(c, "over");
	consumer_init(&l.consumer, c->graph, &ops);
	ck_assert_int_eq(edge_attach_consumer(&l.consumer, "root", n, PERM_RESIZE, PERM_ALL, &l.edge,
					      NULL),
			 0);
	struct job *j = chain_commit_ok(c, "device=over,top=top,auto-finalize=false");
	chain_wait_for(c, "pending");
	c->slow_disk = "over";
	co_start(c->loop, resize_over, &l);
	co_sleep_ns(1000);
	ck_assert_int_eq(job_verb_finalize(j, NULL), 0);
	co_sleep_ns(25000000);
	ck_assert(!l.done);
	c->slow_disk = NULL;
	chain_wait_for(c, "null");
	ck_assert(l.done);
	ck_assert_int_eq(l.result, 0);
	edge_detach(l.edge);
	consumer_finish(&l.consumer);
	chain_expect(c, n);
	node_unref(n);
	chain_expect_image(c, "over");
}

struct closing {
	struct node *node;
	bool is_over;
};

static void co_fn close_apart(void *arg)
{
	struct closing *x = arg;
	struct graph *g = x->node->graph;
	struct graph_apart apart;
	graph_change_begin_apart(g, &apart);
	node_unref(x->node);
	graph_change_end_apart(g, &apart);
	x->is_over = true;
}

/* Its driver has closed when the commit comes to the headers, and stored bitmaps before. */
CHAIN_TEST(an_overlay_that_is_being_closed_is_left_alone)
{
	static const char *const chain[] = {"base", "top", "over"};
	static struct driver far_disk;
	struct bitmap *b;
	chain_make_all(c, chain, 3);
	chain_make(c, "side", CHAIN_SIZE, "top");
	chain_open_all(c, chain, 3);
	struct closing x = {.node = chain_open_above(c, "side", "top")};
	far_disk = *x.node->file->child->driver;
	far_disk.is_remote = true;
	x.node->file->child->driver = &far_disk;
	ck_assert_int_eq(bitmap_create(x.node, "b", 65536, &b, NULL), 0);
	b->persistent = true;
	struct job *j = chain_commit_ok(c, "device=over,top=top,auto-finalize=false");
	chain_wait_for(c, "pending");

	/* Both wait for the lock, the one who closes first. */
	graph_change_begin(c->graph);
	co_start(c->loop, close_apart, &x);
	co_sleep_ns(1000);
	ck_assert_int_eq(job_verb_finalize(j, NULL), 0);
	co_sleep_ns(25000000);
	c->slow_disk = "side";
	graph_change_end(c->graph);
	co_sleep_ns(25000000);
	ck_assert(!x.is_over && j->status == JOB_STATUS_PENDING);
	c->slow_disk = NULL;
	chain_wait_for(c, "null");
	while (!x.is_over)
		co_sleep_ns(1000000);
	chain_expect(c, chain_find(c, "over"));
	chain_close_all(c);

	struct node *side = chain_open(c, "side");
	ck_assert_ptr_nonnull(bitmap_find(side, "b"));
	ck_assert_str_eq(side->backing_name, "top");
	node_unref(side);
}

/* --- Who may do what meanwhile --------------------------------------------------------------- */

CHAIN_TEST(wrong_choices_are_refused)
{
	static const struct {
		const char *text, *message;
	} rows[] = {
		{"device=nope", "Device 'nope' not found"},
		{"device=o2", "Need a root block node"},
		{"device=o3,top=x,top-node=o3", "'top-node' and 'top' are mutually exclusive"},
		{"device=o3,base=x,base-node=o3", "'base-node' and 'base' are mutually exclusive"},
		{"device=o3,top=x", "Top image file x not found"},
		{"device=o3,base=x", "Can't find 'x' in the backing chain"},
		{"device=o3,top-node=nope", "Cannot find device='' nor node-name='nope'"},
		{"device=o3,base-node=nope", "Cannot find device='' nor node-name='nope'"},
		{"device=o3,base-node=other", "'other' is not in this backing file chain"},
		{"device=o3,top-node=other", "'other' is not in this backing file chain"},
		{"device=o3,top-node=o1,base-node=o2", "'o2' is not in this backing file chain"},
		{"device=o3,top-node=o2,base-node=o2", "cannot commit an image into itself"},
		{"device=o3,top-node=base", "cannot commit an image into itself"},
		{"device=other", "cannot commit an image into itself"},
		{"device=o3,backing-file=z", "'backing-file' specified, but 'top' is the active layer"},
		{"device=o3,speed=-1", "Parameter 'speed' expects a non-negative value"},
		{"device=o3,filter-node-name=o2", "Duplicate nodes with node-name='o2'"},
		{"device=o3,filter-node-name=1x", "Invalid node-name: '1x'"},
		{"device=o3,job-id=1x", "Invalid job ID '1x'"},
		{"device=o3,job-id=", "Invalid job ID ''"},
	};
	set_up(c);
	chain_make(c, "other", CHAIN_SIZE, NULL);
	struct node *other = chain_open(c, "other");
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		struct error *error = NULL;
		ck_assert_int_lt(chain_commit(c, rows[i].text, &error), 0);
		if (i == 0)
			ck_assert_int_eq(error->class, ERROR_DEVICE_NOT_FOUND);
		chain_expect_error(&error, rows[i].message);
	}
	/* Of the bad speed: the job was there by then. */
	chain_expect_log(c, "created null ");
	ck_assert(list_is_empty(&c->jobs.jobs));
	node_unref(other);
	chain_close_all(c);
}

static void co_fn expect_refused(struct chain *c, const char *text, const char *part)
{
	struct error *error _cleanup_error_ = NULL;
	ck_assert_int_lt(chain_commit(c, text, &error), 0);
	ck_assert_msg(strstr(error->message, part), "%s: %s", text, error->message);
}

CHAIN_TEST(parts_of_a_chain_that_overlap_are_refused)
{
	/* The active image is that of the first job, too, wherever they meet. */
	static const char *const no_root = "Need a root block node";
	set_up(c);
	struct job *j = chain_commit_ok(c, "device=o3,top-node=o2,base-node=o1,speed=1");
	expect_refused(c, "job-id=k,device=o3", no_root);
	expect_refused(c, "job-id=k,device=o3,top-node=o2,base-node=base", no_root);
	expect_refused(c, "job-id=k,device=o3,top-node=o1,base-node=base", no_root);
	expect_refused(c, "job-id=k,device=o3,base-node=o2", no_root);
	job_verb_cancel(j, true, NULL);
	chain_wait_for(c, "null");

	j = chain_commit_ok(c, "device=o3,speed=1");
	expect_refused(c, "job-id=k,device=o3", no_root);
	expect_refused(c, "job-id=k,device=o3,top-node=o1", no_root);
	struct error *error _cleanup_error_ = NULL;
	ck_assert_int_eq(blocker_check(chain_find(c, "o3"), BLOCK_OP_EXTERNAL_SNAPSHOT, &error),
			 -EBUSY);
	job_verb_cancel(j, true, NULL);
	job_cancel_all_and_wait(&c->jobs);
	chain_close_all(c);
}

static void co_fn disjoint_parts(struct chain *c)
{
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o3"));
	u.pause_ns = 200000;
	chain_user_start(&u);
	static const char *const low = "job-id=low,device=o3,top-node=o1,base-node=base";
	bool low_first = loop_random(c->loop) % 2;
	if (low_first)
		chain_commit_ok(c, low);
	struct job *high = chain_commit_ok(c, "job-id=high,device=o3,base-node=o2");
	if (!low_first)
		chain_commit_ok(c, low);
	if (loop_random(c->loop) % 2)
		chain_wait_for(c, "low:null");
	chain_wait_for(c, "high:READY");
	job_verb_complete(high, NULL);
	chain_wait_for(c, "high:null");
	chain_wait_for(c, "low:null");
	ck_assert(chain_log_has(c, "low:COMPLETED") && chain_log_has(c, "high:COMPLETED"));
	ck_assert_ptr_eq(u.edge->child, chain_find(c, "o2"));
	ck_assert_str_eq(chain_below(c, "o2"), "base");
	ck_assert_str_eq(chain_find(c, "o2")->backing_name, "base");
	ck_assert(!chain_find(c, "o2")->read_only);
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "o2"));
	chain_close_all(c);
	chain_expect_image(c, "o2");
}

START_TEST(test_disjoint_parts)
{
	for (uint64_t seed = 0; seed < 12; seed++)
		chain_run(seed, disjoint_parts);
}
END_TEST

static char *describe_latecomer(const struct consumer *c)
{
	return xstrdup("latecomer");
}

static const struct consumer_ops latecomer_ops = {.describe = describe_latecomer};

/* Somebody else wants to use the node, and must not. */
static void co_fn expect_no_entry(struct chain *c, const char *name, unsigned permissions,
				  const char *part)
{
	struct consumer late;
	struct error *error _cleanup_error_ = NULL;
	consumer_init(&late, c->graph, &latecomer_ops);
	ck_assert_int_eq(edge_attach_consumer(&late, "root", chain_find(c, name), permissions,
					      PERM_ALL, NULL, &error),
			 -EPERM);
	ck_assert_msg(strstr(error->message, part), "%s", error->message);
	consumer_finish(&late);
}

CHAIN_TEST(nobody_reads_what_is_half_merged)
{
	set_up(c);
	chain_commit_ok(c, "device=o3,top-node=o2,speed=1");
	expect_no_entry(c, "o1", PERM_CONSISTENT_READ,
			"unshared by commit job 'j' (uses node 'o1' as 'intermediate node' child)");
	expect_no_entry(c, "o2", PERM_CONSISTENT_READ,
			"unshared by commit job 'j' (uses node 'o2' as 'intermediate node' child)");
	expect_no_entry(c, "base", PERM_WRITE, "unshared by commit job 'j'");
	/* Above, all is well. */
	chain_expect(c, chain_find(c, "o3"));
	job_cancel_all_and_wait(&c->jobs);
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
}

CHAIN_TEST(nobody_writes_past_the_filter)
{
	set_up(c);
	chain_commit_ok(c, "device=o3,filter-node-name=flt");
	chain_wait_for(c, "READY");
	expect_no_entry(c, "o3", PERM_WRITE,
			"unshared by node 'flt' (uses node 'o3' as 'backing' child)");
	expect_no_entry(c, "o2", PERM_CONSISTENT_READ, "unshared by commit job 'j'");
	chain_expect(c, chain_find(c, "flt"));
	job_cancel_all_and_wait(&c->jobs);
	chain_close_all(c);
}

CHAIN_TEST(a_base_that_cannot_be_written_is_refused)
{
	set_up(c);
	struct chain_user u;
	consumer_init(&u.consumer, c->graph, &(const struct consumer_ops){0});
	consumer_finish(&u.consumer);
	/* Its reader does not bear changes. */
	chain_user_init(&u, c, chain_find(c, "base"));
	edge_set_permissions(u.edge, PERM_CONSISTENT_READ, PERM_CONSISTENT_READ, NULL);
	expect_refused(c, "device=o3", "Permission conflict on node 'base'");
	ck_assert(chain_find(c, "base")->read_only);
	ck_assert(list_is_empty(&c->jobs.jobs));
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "o3"));
	chain_close_all(c);
}

static const struct unit_test tests[] = {
	CHAIN_ROW(intermediate_images_leave_the_chain),
	CHAIN_ROW(images_that_nobody_else_holds_are_closed),
	CHAIN_ROW(closing_them_holds_up_nobody),
	CHAIN_ROW(closing_the_active_image_holds_up_nobody),
	CHAIN_ROW(the_image_above_may_be_read_only),
	CHAIN_ROW(intermediate_with_writers),
	CHAIN_ROW(users_move_to_base),
	CHAIN_ROW(named_filter_is_visible),
	CHAIN_ROW(active_with_writers),
	CHAIN_ROW(active_with_ruthless_writers),
	CHAIN_ROW(nobody_finds_the_filter_afterwards),
	CHAIN_ROW(pending_does_not_hold_up_users),
	CHAIN_ROW(cancel_before_ready_leaves_the_chain),
	CHAIN_ROW(cancel_of_intermediate_leaves_the_chain),
	CHAIN_ROW(both_cancels_of_a_ready_job_leave_the_chain),
	CHAIN_ROW(the_daemon_may_end_at_any_time),
	CHAIN_ROW(a_short_base_grows),
	CHAIN_ROW(what_a_short_top_hides_stays_hidden),
	CHAIN_ROW(an_overlay_that_is_being_closed_is_left_alone),
	CHAIN_ROW(what_an_overlay_gains_at_the_end_reads_as_zeroes),
	CHAIN_ROW(wrong_choices_are_refused),
	CHAIN_ROW(parts_of_a_chain_that_overlap_are_refused),
	CHAIN_ROW(disjoint_parts),
	CHAIN_ROW(nobody_reads_what_is_half_merged),
	CHAIN_ROW(nobody_writes_past_the_filter),
	CHAIN_ROW(a_base_that_cannot_be_written_is_refused),
};

UNIT_MAIN("commit", tests)
