/* SPDX-License-Identifier: MIT */
/*
 * blockjobs/mirror.c and blockjobs/sync.c: a copy is whole, at the moment that was asked
 * for, whoever writes meanwhile; the users go where they should. Random latencies, by seeds.
 */
#include "blockjobs/mirror.h"

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "block/node_internal.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"base", "o1", "o2"};
#define COUNT 3

static void co_fn open_target(struct chain *c, const char *name)
{
	chain_open(c, name)->monitor_owned = true;
}

static void co_fn set_up(struct chain *c)
{
	chain_make_all(c, names, COUNT);
	chain_open_all(c, names, COUNT);
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	open_target(c, "dst");
}

/* Nothing is left of a job. */
static void co_fn expect_clean(struct chain *c)
{
	ck_assert(list_is_empty(&c->jobs.jobs));
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
	chain_close_all(c);
}

CHAIN_TEST(users_move_to_the_target)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=full");
	ck_assert(u.edge->child->implicit);
	chain_wait_for(c, "READY");
	ck_assert_uint_eq(j->progress_done, CHAIN_SIZE);
	ck_assert(!mirror_is_actively_synced(j));
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect_log(c, "created running ready READY waiting pending COMPLETED concluded null ");
	ck_assert_ptr_eq(u.edge->child, chain_find(c, "dst"));
	ck_assert_ptr_null(chain_find(c, "dst")->backing);
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "dst"));
	chain_expect(c, chain_find(c, "o2"));
	expect_clean(c);
	chain_expect_image(c, "dst");
}

CHAIN_TEST(nobody_finds_the_filter_afterwards)
{
	set_up(c);
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=full,filter-node-name=f,"
					   "auto-finalize=off");
	chain_wait_for(c, "READY");
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "PENDING");
	chain_expect_to_leave_at_once(c, j, "f");
	expect_clean(c);
}

/* Who had found it before, and let go of the lock, cannot build on it. */
CHAIN_TEST(nothing_comes_above_a_filter_that_has_left)
{
	set_up(c);
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=full,filter-node-name=f");
	chain_wait_for(c, "READY");
	struct node *f = node_ref(node_find(c->graph, "f"));
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	struct error *error = NULL;
	graph_change_begin(c->graph);
	ck_assert_int_eq(edge_attach_node(node_find(c->graph, "base"), "backing", f, EDGE_COW, NULL,
					  &error), -EBUSY);
	chain_expect_error(&error, "There is nothing below node 'f' any more");
	node_unref(f);
	graph_change_end(c->graph);
	expect_clean(c);
}

static void co_fn read_image(struct chain_user *u, uint8_t *ret)
{
	consumer_enter(&u->consumer);
	ck_assert_int_eq(edge_read(u->edge, 0, CHAIN_SIZE, ret, 0), 0);
	consumer_leave(&u->consumer);
}

struct held_write {
	struct chain_user *user;
	bool is_done;
};

static void co_fn write_held(void *arg)
{
	struct held_write *w = arg;
	static const uint8_t block[CHAIN_CLUSTER] = {9};
	consumer_enter(&w->user->consumer);
	ck_assert_int_eq(edge_write(w->user->edge, 0, CHAIN_CLUSTER, block, 0), 0);
	consumer_leave(&w->user->consumer);
	w->is_done = true;
}

/* Who changes the target, as by reopening it, must not meet the writes of the source's users. */
static void co_fn drained_target(struct chain *c, const char *arguments)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	struct job *j = chain_mirror_ok(c, arguments);
	chain_wait_for(c, "READY");
	struct node *dst = chain_find(c, "dst");
	struct drain drain;
	graph_change_begin(c->graph);
	drain_begin(c->graph, &dst, 1, &drain);
	struct held_write w = {.user = &u};
	co_start(c->graph->loop, write_held, &w);
	co_sleep_ns(1000000000);
	ck_assert(!w.is_done);
	drain_end(&drain);
	graph_change_end(c->graph);
	while (!w.is_done)
		co_sleep_ns(1000000);
	memset(c->model, 0, CHAIN_CLUSTER);
	c->model[0] = 9;
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_user_finish(&u);
	chain_expect(c, dst);
	expect_clean(c);
}

CHAIN_TEST(a_drained_target_is_left_alone)
{
	drained_target(c, "device=o2,target=dst,sync=full,copy-mode=write-blocking");
}

/* The mode may change at any moment. */
CHAIN_TEST(a_drained_target_is_left_alone_in_any_mode)
{
	drained_target(c, "device=o2,target=dst,sync=full");
}

/* What cannot be zeroed fast may have been zeroed in part: that is in the target, too. */
static void co_fn refused_zeroes(struct chain *c, const char *arguments)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	consumer_enter(&u.consumer);
	memset(c->model, 7, CHAIN_SIZE);
	ck_assert_int_eq(edge_write(u.edge, 0, CHAIN_SIZE, c->model, 0), 0);
	consumer_leave(&u.consumer);
	struct job *j = chain_mirror_ok(c, arguments);
	chain_wait_for(c, "READY");
	consumer_enter(&u.consumer);
	int r = edge_zero(u.edge, 0, 2 * CHAIN_CLUSTER + 512, REQUEST_NO_FALLBACK);
	consumer_leave(&u.consumer);
	ck_assert_int_eq(r, -ENOTSUP);
	read_image(&u, c->model);
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

CHAIN_TEST(what_is_zeroed_in_part_is_copied)
{
	refused_zeroes(c, "device=o2,target=dst,sync=full");
}

CHAIN_TEST(what_is_zeroed_in_part_is_copied_when_passed_on)
{
	refused_zeroes(c, "device=o2,target=dst,sync=full,copy-mode=write-blocking");
}

/* Any end of any mirror under writers. */
static void co_fn any_mirror_with_writers(struct chain *c)
{
	static const char *const arguments[] = {
		"device=o2,target=dst,sync=full",
		"device=o2,target=dst,sync=full,copy-mode=write-blocking",
		"device=o2,target=dst,sync=full,granularity=512",
		"device=o2,target=dst,sync=full,granularity=1048576,buf-size=65536",
	};
	c->delay_ns = 200000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	u.pause_ns = loop_random(c->loop) % 2 * 100000;
	chain_user_start(&u);
	struct job *j = chain_mirror_ok(c, arguments[loop_random(c->loop) % ARRAY_SIZE(arguments)]);
	chain_wait_for(c, "READY");
	bool completes = loop_random(c->loop) % 3 > 0;
	ck_assert_int_eq(completes ? job_verb_complete(j, NULL) : job_verb_cancel(j, true, NULL), 0);
	chain_wait_for(c, "null");
	ck_assert_ptr_eq(u.edge->child, chain_find(c, completes ? "dst" : "o2"));
	chain_user_finish(&u);
	ck_assert_uint_gt(u.writes, 0);
	chain_expect(c, chain_find(c, completes ? "dst" : "o2"));
	expect_clean(c);
	chain_expect_image(c, completes ? "dst" : "o2");
}

START_TEST(test_any_mirror_with_writers)
{
	for (uint64_t seed = 0; seed < 40; seed++)
		chain_run(seed, any_mirror_with_writers);
}
END_TEST

/* --- A point in time ----------------------------------------------------------------- */

#define DEEDS_MAX 20000

/* One who writes single sectors, and remembers in which order. */
struct diarist {
	struct chain_user user;
	uint8_t before[CHAIN_SIZE]; /* what the image showed first */
	struct {
		unsigned sector;
		uint8_t byte;
	} deeds[DEEDS_MAX];
	unsigned count;
	bool stop, ended;
};

static void co_fn diarist_main(void *arg)
{
	struct diarist *d = arg;
	struct chain *c = d->user.chain;
	while (!d->stop && d->count < DEEDS_MAX) {
		unsigned sector = (unsigned)(loop_random(c->loop) % (CHAIN_SIZE / 512));
		uint8_t data[512], byte = (uint8_t)loop_random(c->loop);
		memset(data, byte, sizeof(data));
		consumer_enter(&d->user.consumer);
		ck_assert_int_eq(edge_write(d->user.edge, sector * 512u, 512, data, 0), 0);
		consumer_leave(&d->user.consumer);
		memset(c->model + sector * 512u, byte, 512);
		d->deeds[d->count].sector = sector;
		d->deeds[d->count++].byte = byte;
		co_sleep_ns(1 + loop_random(c->loop) % 20000);
	}
	d->ended = true;
}

/* Fails the test unless @shown is the state after some deed, the one called @least or later. */
static void expect_past_state(const struct diarist *d, const uint8_t *shown, unsigned least)
{
	uint8_t *state _cleanup_free_ = xmemdup(d->before, CHAIN_SIZE);
	for (unsigned i = 0; i <= d->count; i++) {
		if (i >= least && memcmp(state, shown, CHAIN_SIZE) == 0)
			return;
		if (i < d->count)
			memset(state + d->deeds[i].sector * 512u, d->deeds[i].byte, 512);
	}
	ck_abort_msg("the copy shows no state after write %u of %u", least, d->count);
}

static void co_fn read_all(struct chain *c, struct node *n, uint8_t *ret)
{
	struct chain_user u;
	chain_user_init(&u, c, n);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_read(u.edge, 0, CHAIN_SIZE, ret, 0), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
}

static void co_fn cancel_when_ready_leaves_a_moment(struct chain *c)
{
	c->delay_ns = 100000;
	set_up(c);
	struct diarist *d = NEW(struct diarist);
	memcpy(d->before, c->model, CHAIN_SIZE);
	chain_user_init(&d->user, c, chain_find(c, "o2"));
	co_start(c->loop, diarist_main, d);
	struct job *j = chain_mirror_ok(c, loop_random(c->loop) % 2
						   ? "device=o2,target=dst,sync=full"
						   : "device=o2,target=dst,sync=full,"
						     "copy-mode=write-blocking");
	chain_wait_for(c, "READY");
	co_sleep_ns(loop_random(c->loop) % 3000000);
	unsigned least = d->count;
	ck_assert_int_eq(job_verb_cancel(j, false, NULL), 0);
	chain_wait_for(c, "null");
	ck_assert(chain_log_has(c, "COMPLETED"));
	/* The users go on where they are. */
	unsigned count = d->count;
	co_sleep_ns(3000000);
	ck_assert_uint_gt(d->count, count);
	ck_assert_ptr_eq(d->user.edge->child, chain_find(c, "o2"));
	d->stop = true;
	while (!d->ended)
		co_sleep_ns(100000);
	uint8_t *shown _cleanup_free_ = xalloc(1, CHAIN_SIZE);
	read_all(c, chain_find(c, "dst"), shown);
	expect_past_state(d, shown, least);
	chain_user_finish(&d->user);
	chain_expect(c, chain_find(c, "o2"));
	expect_clean(c);
	free(d);
}

START_TEST(test_cancel_when_ready_leaves_a_moment)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		chain_run(seed, cancel_when_ready_leaves_a_moment);
}
END_TEST

/* --- Parts ------------------------------------------------------------------------------ */

CHAIN_TEST(top_leaves_the_backing_file_alone)
{
	chain_make_all(c, names, COUNT);
	chain_open_all(c, names, COUNT);
	chain_make(c, "dst", CHAIN_SIZE, "o1");
	open_target(c, "dst");
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=top,granularity=4096");
	chain_wait_for(c, "READY");
	ck_assert_uint_lt(j->progress_done, CHAIN_SIZE);
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

CHAIN_TEST(none_copies_what_is_written_from_then_on)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=none,granularity=4096");
	chain_wait_for(c, "READY");
	ck_assert_uint_eq(j->progress_total, 0);
	uint8_t data[4096], *shown _cleanup_free_ = xalloc(1, CHAIN_SIZE);
	memset(data, 'x', sizeof(data));
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_write(u.edge, 65536, 4096, data, 0), 0);
	consumer_leave(&u.consumer);
	memcpy(c->model + 65536, data, 4096);
	ck_assert_int_eq(job_verb_cancel(j, false, NULL), 0);
	chain_wait_for(c, "null");
	read_all(c, chain_find(c, "dst"), shown);
	for (unsigned i = 0; i < CHAIN_SIZE; i++)
		ck_assert_uint_eq(shown[i], i >= 65536 && i < 65536 + 4096 ? 'x' : 0);
	chain_user_finish(&u);
	expect_clean(c);
}

/* A target that is full of other data gets zeroes, too; one that is known to be zero does not. */
CHAIN_TEST(zeroes_are_written_where_they_do_not_show)
{
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "dst"));
	uint8_t *data _cleanup_free_ = xalloc(1, CHAIN_SIZE);
	memset(data, 0xee, CHAIN_SIZE);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_write(u.edge, 0, CHAIN_SIZE, data, 0), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=full");
	chain_wait_for(c, "READY");
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

/* Nothing was ever written to the source; the target has old data amid what is not there. */
CHAIN_TEST(old_data_of_the_target_end_below_a_long_hole)
{
	chain_make(c, "src", CHAIN_SIZE, NULL);
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	open_target(c, "src");
	open_target(c, "dst");
	uint8_t data[512], shown[512];
	const uint64_t offset = CHAIN_SIZE / 2;
	memset(data, 0xee, sizeof(data));
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "dst"));
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_write(u.edge, offset, sizeof(data), data, 0), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
	struct job *j = chain_mirror_ok(c, "device=src,target=dst,sync=full");
	chain_wait_for(c, "READY");
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_user_init(&u, c, chain_find(c, "dst"));
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_read(u.edge, offset, sizeof(shown), shown, 0), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
	memset(data, 0, sizeof(data));
	ck_assert_mem_eq(shown, data, sizeof(data));
	expect_clean(c);
}

CHAIN_TEST(an_empty_target_stays_sparse)
{
	chain_make(c, "src", CHAIN_SIZE, NULL);
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	open_target(c, "src");
	open_target(c, "dst");
	uint64_t before = chain_find(c, "dst")->stats.highest_written;
	struct job *j = chain_mirror_ok(c, "device=src,target=dst,sync=full");
	chain_wait_for(c, "READY");
	ck_assert_uint_eq(j->progress_done, CHAIN_SIZE);
	ck_assert_uint_eq(chain_find(c, "dst")->stats.highest_written, before);
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	expect_clean(c);
}

/* --- Both places at once --------------------------------------------------------------------- */

/* Write a sector and tell whether both places have it when the write is answered. */
static bool co_fn write_is_synced(struct chain *c, struct chain_user *u, struct job *j)
{
	uint8_t data[512];
	memset(data, 7, sizeof(data));
	uint64_t offset = loop_random(c->loop) % (CHAIN_SIZE / 512) * 512;
	consumer_enter(&u->consumer);
	ck_assert_int_eq(edge_write(u->edge, offset, 512, data, 0), 0);
	consumer_leave(&u->consumer);
	memcpy(c->model + offset, data, 512);
	return mirror_is_actively_synced(j);
}

static int change_mode(struct job *j, enum job_type type, enum mirror_copy_mode mode,
		       struct error **errp)
{
	struct block_job_change_options options = {.id = j->id, .type = type};
	options.u.mirror.copy_mode = mode;
	return job_verb_change(j, &options, errp);
}

CHAIN_TEST(the_mode_changes_one_way)
{
	struct error *error = NULL;
	c->delay_ns = 10000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=full");
	chain_wait_for(c, "READY");
	ck_assert(!write_is_synced(c, &u, j));
	ck_assert_int_eq(change_mode(j, JOB_TYPE_MIRROR, MIRROR_COPY_MODE_BACKGROUND, NULL), 0);
	ck_assert_int_lt(change_mode(j, JOB_TYPE_COMMIT, MIRROR_COPY_MODE_BACKGROUND, &error), 0);
	chain_expect_error(&error, "Job 'j' is of type 'mirror', not 'commit'");

	ck_assert_int_eq(change_mode(j, JOB_TYPE_MIRROR, MIRROR_COPY_MODE_WRITE_BLOCKING, NULL), 0);
	co_sleep_ns(1000000000);
	for (int i = 0; i < 20; i++)
		ck_assert(write_is_synced(c, &u, j));
	ck_assert_int_eq(change_mode(j, JOB_TYPE_MIRROR, MIRROR_COPY_MODE_WRITE_BLOCKING, NULL), 0);
	ck_assert_int_lt(change_mode(j, JOB_TYPE_MIRROR, MIRROR_COPY_MODE_BACKGROUND, &error), 0);
	chain_expect_error(&error, "The copy mode of job 'j' cannot go back to 'background'");
	ck_assert_int_eq(job_verb_cancel(j, false, NULL), 0);
	chain_wait_for(c, "null");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

static const struct job_observer *plain;

/* A client that hears of the job at once. */
static void change_when_created(const struct job *j)
{
	plain->status_changed(j);
	if (j->status == JOB_STATUS_CREATED)
		ck_assert_int_eq(change_mode((struct job *)j, JOB_TYPE_MIRROR,
					     MIRROR_COPY_MODE_WRITE_BLOCKING, NULL), 0);
}

CHAIN_TEST(the_mode_may_change_before_the_job_begins)
{
	c->delay_ns = 10000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	plain = c->jobs.observer;
	struct job_observer eager = *plain;
	eager.status_changed = change_when_created;
	c->jobs.observer = &eager;
	struct job *j = chain_mirror_ok(c, "device=o2,target=dst,sync=full");
	c->jobs.observer = plain;
	ck_assert_int_lt(change_mode(j, JOB_TYPE_MIRROR, MIRROR_COPY_MODE_BACKGROUND, NULL), 0);
	chain_wait_for(c, "READY");
	for (int i = 0; i < 20; i++)
		ck_assert(write_is_synced(c, &u, j));
	ck_assert_int_eq(job_verb_cancel(j, false, NULL), 0);
	chain_wait_for(c, "null");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

/* Writers who never rest, above a target that is slower than they are. */
static void co_fn ruthless_writers(struct chain *c)
{
	c->delay_ns = 100000;
	set_up(c);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o2"));
	chain_user_start(&u);
	struct job *j =
		chain_mirror_ok(c, "device=o2,target=dst,sync=full,copy-mode=write-blocking");
	chain_wait_for(c, "READY");
	ck_assert_int_eq(job_verb_complete(j, NULL), 0);
	chain_wait_for(c, "null");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

START_TEST(test_ruthless_writers)
{
	for (uint64_t seed = 0; seed < 10; seed++)
		chain_run(seed, ruthless_writers);
}
END_TEST

/*
 * Requests to the target hang until some moment, and then end in an order that depends on
 * when each began: nothing but the order in which they are begun keeps old data from
 * landing on top of new.
 */
struct late_write {
	struct chain_user *user;
	uint8_t byte;
	bool ended;
};

static void co_fn late_write_main(void *arg)
{
	struct late_write *w = arg;
	uint8_t data[CHAIN_CLUSTER];
	memset(data, w->byte, sizeof(data));
	consumer_enter(&w->user->consumer);
	ck_assert_int_eq(edge_write(w->user->edge, 0, sizeof(data), data, 0), 0);
	consumer_leave(&w->user->consumer);
	memcpy(w->user->chain->model, data, sizeof(data));
	w->ended = true;
}

static void co_fn fill(struct chain *c, const char *name, uint8_t byte)
{
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, name));
	memset(c->model, byte, CHAIN_SIZE);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_write(u.edge, 0, CHAIN_SIZE, c->model, 0), 0);
	consumer_leave(&u.consumer);
	chain_user_finish(&u);
}

#define MS UINT64_C(1000000)

/* @count writes of one range, each begun later: amid the first copy, or when that is done. */
static void co_fn hanging_target(struct chain *c, bool ready_before, unsigned count)
{
	chain_make(c, "src", CHAIN_SIZE, NULL);
	chain_make(c, "dst", CHAIN_SIZE, NULL);
	open_target(c, "src");
	open_target(c, "dst");
	fill(c, "dst", 'd');
	fill(c, "src", 's');
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "src"));
	if (!ready_before)
		c->slow_disk = "dst";
	chain_mirror_ok(c, "device=src,target=dst,sync=full,copy-mode=write-blocking");
	if (ready_before)
		chain_wait_for(c, "READY");
	else
		co_sleep_ns(20 * MS);
	c->slow_disk = "dst";

	struct late_write w[2] = {{&u, 'x', false}, {&u, 'y', false}};
	for (unsigned i = 0; i < count; i++) {
		co_start(c->loop, late_write_main, &w[i]);
		/* Requests that hang look every 10 ms whether they still do. */
		co_sleep_ns(1 + loop_random(c->loop) % (10 * MS));
	}
	co_sleep_ns(20 * MS + loop_random(c->loop) % (10 * MS));
	c->slow_disk = NULL;
	for (unsigned i = 0; i < count; i++) {
		while (!w[i].ended)
			co_sleep_ns(MS);
	}
	chain_wait_for(c, "READY");
	job_verb_cancel(job_find(&c->jobs, "j", false), false, NULL);
	chain_wait_for(c, "null");
	chain_user_finish(&u);
	read_all(c, chain_find(c, "src"), c->model);
	chain_expect(c, chain_find(c, "dst"));
	expect_clean(c);
}

static void co_fn copy_before_write(struct chain *c)
{
	hanging_target(c, false, 1);
}

static void co_fn write_before_write(struct chain *c)
{
	hanging_target(c, true, 2);
}

START_TEST(test_a_copy_under_way_does_not_end_on_top_of_a_write)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		chain_run(seed, copy_before_write);
}
END_TEST

START_TEST(test_overlapping_writes_end_alike_in_both_places)
{
	for (uint64_t seed = 0; seed < 20; seed++)
		chain_run(seed, write_before_write);
}
END_TEST

/* --- Ends ------------------------------------------------------------------------------------- */

CHAIN_TEST(another_size_makes_it_fail)
{
	chain_make_all(c, names, COUNT);
	chain_open_all(c, names, COUNT);
	chain_make(c, "small", CHAIN_SIZE / 2, NULL);
	open_target(c, "small");
	struct job *j = chain_mirror_ok(c, "device=o2,target=small,sync=full,auto-dismiss=off");
	chain_wait_for(c, "concluded");
	ck_assert_str_eq(j->error->message, "Source and target image have different sizes");
	ck_assert_int_eq(job_verb_dismiss(j, NULL), 0);
	chain_expect_log(c, "created running aborting FAILED concluded null ");
	expect_clean(c);
}

CHAIN_TEST(the_daemon_may_end_at_any_time)
{
	static const char *const commands[] = {
		"device=o2,target=dst,sync=full,speed=65536",
		"device=o2,target=dst,sync=full",
		"device=o2,target=dst,sync=full,copy-mode=write-blocking",
	};
	set_up(c);
	for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
		struct chain_user u;
		chain_user_init(&u, c, chain_find(c, "o2"));
		u.pause_ns = 100000;
		chain_user_start(&u);
		chain_mirror_ok(c, commands[i]);
		co_sleep_ns(1500000000);
		job_cancel_all_and_wait(&c->jobs);
		c->jobs.closing = false;
		ck_assert_ptr_eq(u.edge->child, chain_find(c, "o2"));
		chain_user_finish(&u);
		chain_expect(c, chain_find(c, "o2"));
	}
	expect_clean(c);
}

CHAIN_TEST(nobody_else_uses_the_target)
{
	set_up(c);
	chain_mirror_ok(c, "device=o2,target=dst,sync=full,filter-node-name=f");
	struct error *error _cleanup_error_ = NULL;
	ck_assert_int_eq(blocker_check(chain_find(c, "dst"), BLOCK_OP_EXTERNAL_SNAPSHOT, &error),
			 -EBUSY);
	ck_assert_int_eq(blocker_check(chain_find(c, "o2"), BLOCK_OP_RESIZE, NULL), -EBUSY);
	chain_expect(c, chain_find(c, "f"));
	job_cancel_all_and_wait(&c->jobs);
	expect_clean(c);
}

static const struct unit_test tests[] = {
	CHAIN_ROW(users_move_to_the_target),
	CHAIN_ROW(nobody_finds_the_filter_afterwards),
	CHAIN_ROW(nothing_comes_above_a_filter_that_has_left),
	CHAIN_ROW(a_drained_target_is_left_alone),
	CHAIN_ROW(a_drained_target_is_left_alone_in_any_mode),
	CHAIN_ROW(what_is_zeroed_in_part_is_copied),
	CHAIN_ROW(what_is_zeroed_in_part_is_copied_when_passed_on),
	CHAIN_ROW(any_mirror_with_writers),
	CHAIN_ROW(cancel_when_ready_leaves_a_moment),
	CHAIN_ROW(top_leaves_the_backing_file_alone),
	CHAIN_ROW(none_copies_what_is_written_from_then_on),
	CHAIN_ROW(zeroes_are_written_where_they_do_not_show),
	CHAIN_ROW(old_data_of_the_target_end_below_a_long_hole),
	CHAIN_ROW(an_empty_target_stays_sparse),
	CHAIN_ROW(the_mode_changes_one_way),
	CHAIN_ROW(the_mode_may_change_before_the_job_begins),
	CHAIN_ROW(ruthless_writers),
	CHAIN_ROW(a_copy_under_way_does_not_end_on_top_of_a_write),
	CHAIN_ROW(overlapping_writes_end_alike_in_both_places),
	CHAIN_ROW(another_size_makes_it_fail),
	CHAIN_ROW(the_daemon_may_end_at_any_time),
	CHAIN_ROW(nobody_else_uses_the_target),
};

UNIT_MAIN("mirror", tests)
