/* SPDX-License-Identifier: MIT */
/*
 * block/snapshot.c and snapshot_set.c on real qcow2 images: many at one moment,
 * all or none, and what users wrote is below and durable.
 */
#include "block/snapshot.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "tests/unit/chain_fixture.h"

#define MANY 20

/* Requests of a test: pointers stay valid until the set has gone. */
struct requests {
	struct snapshot_set *set;
	struct blockdev_snapshot_sync sync[MANY];
	struct blockdev_snapshot adopt[MANY];
	char texts[MANY][3][32];
	unsigned count;
};

static void begin(struct requests *r, struct chain *c)
{
	*r = (struct requests){0};
	r->set = snapshot_set_create(c->graph);
}

/* A request for an overlay called @overlay in a file of that name. */
static struct blockdev_snapshot_sync *add_sync(struct requests *r, const char *node,
					       const char *overlay)
{
	unsigned i = r->count++;
	struct blockdev_snapshot_sync *s = &r->sync[i];
	snprintf(r->texts[i][0], 32, "%s", node);
	snprintf(r->texts[i][1], 32, "%s", overlay);
	s->node_name = r->texts[i][0];
	s->snapshot_node_name = s->snapshot_file = r->texts[i][1];
	s->mode = NEW_IMAGE_MODE_ABSOLUTE_PATHS;
	snapshot_set_add_sync(r->set, s);
	return s;
}

static void add_adopt(struct requests *r, const char *node, const char *overlay)
{
	unsigned i = r->count++;
	snprintf(r->texts[i][0], 32, "%s", node);
	snprintf(r->texts[i][1], 32, "%s", overlay);
	r->adopt[i].node = r->texts[i][0];
	r->adopt[i].overlay = r->texts[i][1];
	snapshot_set_add(r->set, &r->adopt[i]);
}

/* Do what was asked for; 0 or an error. The set is gone afterwards. */
static int co_fn finish(struct requests *r, struct chain *c, struct error **errp)
{
	graph_change_begin(c->graph);
	int result = snapshot_set_prepare(r->set, errp);
	if (result >= 0)
		result = snapshot_set_commit(r->set, errp);
	snapshot_set_destroy(r->set);
	graph_change_end(c->graph);
	return result;
}

static void co_fn finish_ok(struct requests *r, struct chain *c)
{
	struct error *error _cleanup_error_ = NULL;
	ck_assert_msg(finish(r, c, &error) >= 0, "%s", error ? error->message : "no error");
}

static void co_fn finish_refused(struct requests *r, struct chain *c, const char *message)
{
	struct error *error = NULL;
	ck_assert_int_lt(finish(r, c, &error), 0);
	chain_expect_error(&error, message);
}

static struct node *co_fn open_owned(struct chain *c, const char *name)
{
	struct node *n = chain_open(c, name);
	n->monitor_owned = true;
	return n;
}

static unsigned count_nodes(struct chain *c)
{
	unsigned count = 0;
	struct node *n;
	list_for_each (n, &c->graph->nodes, link)
		count++;
	return count;
}

/* The overlay has the size that the image had when it was made: it would cut off the rest. */
CHAIN_TEST(an_image_that_has_grown_meanwhile_is_left_alone)
{
	static const struct consumer_ops ops = {0};
	struct consumer resizer;
	struct edge *e;
	struct requests r;
	struct error *error = NULL;
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct node *a = open_owned(c, "a");
	consumer_init(&resizer, c->graph, &ops);
	ck_assert_int_eq(edge_attach_consumer(&resizer, "root", a, PERM_RESIZE, PERM_ALL, &e, NULL),
			 0);
	begin(&r, c);
	add_sync(&r, "a", "b");
	graph_change_begin(c->graph);
	ck_assert_int_eq(snapshot_set_prepare(r.set, NULL), 0);
	consumer_enter(&resizer);
	ck_assert_int_eq(edge_truncate(e, 2 * CHAIN_SIZE, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(&resizer);
	ck_assert_int_lt(snapshot_set_commit(r.set, &error), 0);
	chain_expect_error(&error, "The size of node 'a' has changed meanwhile");
	snapshot_set_destroy(r.set);
	ck_assert_ptr_eq(e->child, a);
	edge_detach(e);
	graph_change_end(c->graph);
	consumer_finish(&resizer);
	chain_close_all(c);
}

CHAIN_TEST(users_write_to_the_overlay)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct node *a = open_owned(c, "a");
	struct chain_user u;
	chain_user_init(&u, c, a);
	u.pause_ns = 100000;
	chain_user_start(&u);
	co_sleep_ns(10000000);

	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "b");
	finish_ok(&r, c);
	struct node *b = node_find(c->graph, "b");
	ck_assert_ptr_eq(u.edge->child, b);
	ck_assert_ptr_eq(b->backing->child, a);
	ck_assert(a->read_only && !b->read_only);
	ck_assert_uint_eq(b->size, CHAIN_SIZE);
	ck_assert_str_eq(b->filename, "b");
	ck_assert_str_eq(b->backing_name, "a");
	ck_assert_str_eq(b->backing_format, "qcow2");
	/* The export's user holds it; the monitor does not. */
	ck_assert(!b->monitor_owned);

	co_sleep_ns(10000000);
	u.stop = true;
	co_sleep_ns(10000000);
	chain_expect(c, b);
	chain_user_finish(&u);
	ck_assert_ptr_null(node_find(c->graph, "b"));
	chain_close_all(c);
	chain_expect_image(c, "b");
}

CHAIN_TEST(an_overlay_without_users_stays)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	open_owned(c, "a");
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "b");
	finish_ok(&r, c);
	ck_assert(node_find(c->graph, "b")->monitor_owned);
	chain_close_all(c);
}

/* Snapshots of a snapshot in one set: the second waits for the first overlay. */
CHAIN_TEST(later_ones_see_the_overlays_of_earlier_ones)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct node *a = open_owned(c, "a");
	struct chain_user u;
	chain_user_init(&u, c, a);
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "b");
	add_sync(&r, "b", "d");
	add_sync(&r, "d", "e");
	finish_ok(&r, c);
	struct node *e = node_find(c->graph, "e");
	ck_assert_ptr_eq(u.edge->child, e);
	ck_assert_str_eq(e->filename, "e");
	ck_assert_str_eq(e->backing_name, "d");
	ck_assert_str_eq(e->backing->child->name, "d");
	ck_assert_str_eq(e->backing->child->backing_name, "b");
	ck_assert_ptr_eq(e->backing->child->backing->child->backing->child, a);
	ck_assert(e->backing->child->read_only && a->read_only && !e->read_only);
	chain_user_finish(&u);
	chain_close_all(c);
	chain_expect_image(c, "e");
}

CHAIN_TEST(many_take_little_longer_than_one)
{
	struct chain_user users[MANY];
	for (int i = 0; i < MANY; i++) {
		char name[32];
		snprintf(name, sizeof(name), "disk%d", i);
		chain_make(c, name, CHAIN_SIZE, NULL);
		chain_user_init(&users[i], c, open_owned(c, name));
	}
	struct requests r;
	begin(&r, c);
	for (int i = 0; i < MANY; i++) {
		char overlay[32], name[32];
		snprintf(name, sizeof(name), "disk%d", i);
		snprintf(overlay, sizeof(overlay), "over%d", i);
		add_sync(&r, name, overlay);
	}
	/* Making a file takes 1 ms here. */
	uint64_t begin_ns = loop_now_ns(c->loop);
	finish_ok(&r, c);
	ck_assert_uint_lt(loop_now_ns(c->loop) - begin_ns, 4000000);
	for (int i = 0; i < MANY; i++) {
		char overlay[32];
		snprintf(overlay, sizeof(overlay), "over%d", i);
		ck_assert_str_eq(users[i].edge->child->name, overlay);
		chain_user_finish(&users[i]);
	}
	chain_close_all(c);
}

/* Users go on while overlays are made; they stand still for the change alone. */
CHAIN_TEST(users_are_not_held_up_by_making_overlays)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct chain_user u;
	chain_user_init(&u, c, open_owned(c, "a"));
	u.pause_ns = 1000;
	chain_user_start(&u);
	co_sleep_ns(1000000);
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "b");
	add_sync(&r, "b", "d");
	unsigned before = u.writes;
	finish_ok(&r, c);
	/* Two files took 2 ms, in which it has written all the time. */
	ck_assert_uint_gt(u.writes, before + 500);
	chain_user_finish(&u);
	chain_close_all(c);
}

CHAIN_TEST(what_was_written_is_durable)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct node *a = open_owned(c, "a");
	struct chain_user u;
	chain_user_init(&u, c, a);
	u.pause_ns = 1000;
	chain_user_start(&u);
	co_sleep_ns(3000000);
	u.stop = true;
	co_sleep_ns(1000000);
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "b");
	finish_ok(&r, c);
	chain_crash(c);
	chain_user_finish(&u);
	chain_close_all(c);
	chain_expect_after_crash(c, "a");
	chain_expect_image(c, "b");
}

CHAIN_TEST(all_or_none)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	chain_make(c, "b", CHAIN_SIZE, NULL);
	struct chain_user ua, ub;
	chain_user_init(&ua, c, open_owned(c, "a"));
	chain_user_init(&ub, c, open_owned(c, "b"));
	unsigned nodes = count_nodes(c);
	struct requests r;

	begin(&r, c);
	add_sync(&r, "a", "x");
	add_sync(&r, "nope", "y");
	finish_refused(&r, c, "Cannot find device='' nor node-name='nope'");

	begin(&r, c);
	add_sync(&r, "a", "x");
	add_sync(&r, "b", "y")->snapshot_file = (char *)"no/where";
	add_sync(&r, "nope", "z");
	/* The error of the first that fails, in order. */
	finish_refused(&r, c, "Could not create 'no/where': No such file or directory");

	begin(&r, c);
	add_sync(&r, "a", "x");
	add_sync(&r, "b", "y")->format = (char *)"nope";
	finish_refused(&r, c, "Unknown file format 'nope'");

	begin(&r, c);
	add_sync(&r, "a", "x");
	add_sync(&r, "x", "y");
	add_sync(&r, "a", "z");
	finish_refused(&r, c, "Node 'a' is busy: node is used as backing hd of 'x'");

	begin(&r, c);
	add_sync(&r, "a", "x");
	add_sync(&r, "b", "x");
	finish_refused(&r, c, "New overlay node-name already in use");

	begin(&r, c);
	add_sync(&r, "a", "b");
	finish_refused(&r, c, "New overlay node-name already in use");

	begin(&r, c);
	add_sync(&r, "a", "x")->snapshot_node_name = NULL;
	finish_refused(&r, c, "New overlay node-name missing");

	ck_assert_uint_eq(count_nodes(c), nodes);
	ck_assert_str_eq(ua.edge->child->name, "a");
	ck_assert_str_eq(ub.edge->child->name, "b");
	ck_assert(!ua.edge->child->read_only);
	chain_user_finish(&ua);
	chain_user_finish(&ub);
	chain_close_all(c);
}

CHAIN_TEST(a_failing_flush_undoes_all)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	chain_make(c, "b", CHAIN_SIZE, NULL);
	struct chain_user ua, ub;
	chain_user_init(&ua, c, open_owned(c, "a"));
	chain_user_init(&ub, c, open_owned(c, "b"));
	ub.pause_ns = 1000;
	chain_user_start(&ub);
	co_sleep_ns(1000000);
	ub.stop = true;
	co_sleep_ns(1000000);
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "x");
	add_sync(&r, "b", "y");
	c->fail_disk = "b";
	c->fail_at = 1;
	c->fails_on = true;
	c->fail_error = -EIO;
	finish_refused(&r, c, "Could not flush node 'b': Input/output error");
	c->fail_at = 0;
	ck_assert_str_eq(ua.edge->child->name, "a");
	ck_assert_str_eq(ub.edge->child->name, "b");
	ck_assert(list_is_empty(&c->graph->drains));
	chain_user_finish(&ua);
	chain_user_finish(&ub);
	chain_close_all(c);
}

CHAIN_TEST(open_nodes_are_adopted)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	chain_make(c, "b", CHAIN_SIZE, NULL);
	chain_make(c, "d", CHAIN_SIZE, "b");
	chain_make(c, "e", CHAIN_SIZE, NULL);
	struct node *a = open_owned(c, "a");
	open_owned(c, "b");
	open_owned(c, "e");
	struct node *d = chain_open(c, "d");
	struct chain_user u, other;
	chain_user_init(&u, c, a);
	chain_user_init(&other, c, node_find(c->graph, "e"));
	struct requests r;

	static const struct {
		const char *node, *overlay, *message;
	} rows[] = {
		{"nope", "b", "Cannot find device='nope' nor node-name='nope'"},
		{"a", "nope", "Cannot find device='nope' nor node-name='nope'"},
		{"a", "d", "The overlay already has a backing image"},
		{"a", "a", "The overlay is already in use"},
		{"a", "e", "The overlay is already in use"},
		{"b", "b", "Making 'b' a backing child of 'b' would create a cycle"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(&r, c);
		add_adopt(&r, rows[i].node, rows[i].overlay);
		finish_refused(&r, c, rows[i].message);
	}
	begin(&r, c);
	add_adopt(&r, "a", "b");
	add_adopt(&r, "e", "b");
	finish_refused(&r, c, "The overlay is already in use");
	ck_assert_str_eq(u.edge->child->name, "a");

	begin(&r, c);
	add_adopt(&r, "a", "b");
	finish_ok(&r, c);
	ck_assert_str_eq(u.edge->child->name, "b");
	ck_assert_ptr_eq(u.edge->child->backing->child, a);
	begin(&r, c);
	add_adopt(&r, "a", "e");
	finish_refused(&r, c, "Node 'a' is busy: node is used as backing hd of 'b'");
	chain_user_finish(&u);
	chain_user_finish(&other);
	node_unref(d);
	chain_close_all(c);
}

CHAIN_TEST(busy_nodes_are_refused)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	struct node *a = open_owned(c, "a");
	struct blocker b;
	blocker_add(&b, a, BLOCK_OP_EXTERNAL_SNAPSHOT, "it is asleep");
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "x");
	finish_refused(&r, c, "Node 'a' is busy: it is asleep");
	blocker_remove(&b);
	chain_close_all(c);
}

CHAIN_TEST(existing_files_are_used_as_they_are)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	chain_make(c, "x", CHAIN_SIZE / 2, "a");
	struct chain_user u;
	chain_user_init(&u, c, open_owned(c, "a"));
	struct requests r;
	begin(&r, c);
	add_sync(&r, "a", "missing")->mode = NEW_IMAGE_MODE_EXISTING;
	finish_refused(&r, c, "Could not open 'missing': No such file or directory");
	begin(&r, c);
	add_sync(&r, "a", "x")->mode = NEW_IMAGE_MODE_EXISTING;
	finish_ok(&r, c);
	ck_assert_str_eq(u.edge->child->name, "x");
	ck_assert_uint_eq(u.edge->child->size, CHAIN_SIZE / 2);
	ck_assert_str_eq(u.edge->child->filename, "x");
	chain_user_finish(&u);
	chain_close_all(c);
}

/* A json: name may say how the node is called, and so may the command, which decides. */
CHAIN_TEST(the_command_names_the_overlay)
{
	chain_make(c, "a", CHAIN_SIZE, NULL);
	chain_make(c, "b", CHAIN_SIZE, NULL);
	open_owned(c, "a");
	struct requests r;
	begin(&r, c);
	struct blockdev_snapshot_sync *s = add_sync(&r, "a", "b");
	s->mode = NEW_IMAGE_MODE_EXISTING;
	s->snapshot_file = (char *)"json:{'driver': 'qcow2', 'node-name': 'x', "
				   "'file': {'driver': 'file', 'filename': 'b'}}";
	finish_ok(&r, c);
	ck_assert_ptr_nonnull(node_find(c->graph, "b"));
	ck_assert_ptr_null(node_find(c->graph, "x"));
	chain_close_all(c);
}

CHAIN_TEST(an_empty_set_is_fine)
{
	struct requests r;
	begin(&r, c);
	finish_ok(&r, c);
}

/* Under writers, again and again, at random moments. */
static void co_fn snapshots_under_load(struct chain *c)
{
	c->delay_ns = 100000;
	chain_make(c, "n0", CHAIN_SIZE, NULL);
	struct chain_user u;
	chain_user_init(&u, c, open_owned(c, "n0"));
	u.pause_ns = 100000;
	chain_user_start(&u);
	for (int i = 1; i <= 5; i++) {
		char name[32], overlay[32];
		snprintf(name, sizeof(name), "n%d", i - 1);
		snprintf(overlay, sizeof(overlay), "n%d", i);
		co_sleep_ns(loop_random(c->loop) % 5000000);
		struct requests r;
		begin(&r, c);
		add_sync(&r, name, overlay);
		finish_ok(&r, c);
	}
	co_sleep_ns(2000000);
	u.stop = true;
	while (!u.ended)
		co_sleep_ns(100000);
	chain_expect(c, u.edge->child);
	chain_user_finish(&u);
	chain_close_all(c);
	chain_expect_image(c, "n5");
}

START_TEST(test_snapshots_under_load)
{
	for (uint64_t seed = 0; seed < 15; seed++)
		chain_run(seed, snapshots_under_load);
}
END_TEST

static const struct unit_test tests[] = {
	CHAIN_ROW(an_image_that_has_grown_meanwhile_is_left_alone),
	CHAIN_ROW(users_write_to_the_overlay),
	CHAIN_ROW(an_overlay_without_users_stays),
	CHAIN_ROW(later_ones_see_the_overlays_of_earlier_ones),
	CHAIN_ROW(many_take_little_longer_than_one),
	CHAIN_ROW(users_are_not_held_up_by_making_overlays),
	CHAIN_ROW(what_was_written_is_durable),
	CHAIN_ROW(all_or_none),
	CHAIN_ROW(a_failing_flush_undoes_all),
	CHAIN_ROW(open_nodes_are_adopted),
	CHAIN_ROW(busy_nodes_are_refused),
	CHAIN_ROW(existing_files_are_used_as_they_are),
	CHAIN_ROW(the_command_names_the_overlay),
	CHAIN_ROW(an_empty_set_is_fine),
	CHAIN_ROW(snapshots_under_load),
};

UNIT_MAIN("snapshot", tests)
