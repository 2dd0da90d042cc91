/* SPDX-License-Identifier: MIT */
/*
 * drivers/quorum: votes, thresholds, rewriting, what is told of it, and that children
 * see overlapping requests in one order. Children are disks of the block fixture.
 */
#include "drivers/quorum/quorum.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "block/graph.h"
#include "tests/unit/block_fixture.h"

#define SIZE ((uint64_t)1 << 20)

static char told[4096]; /* what was observed, a word each */

static void on_child_bad(const struct node *child, enum quorum_op_type op, int error,
			 uint64_t offset, uint64_t bytes)
{
	size_t used = strlen(told);
	snprintf(told + used, sizeof(told) - used, "%s:%s:%d:%u+%u ", child->name,
		 quorum_op_type_name(op), error, (unsigned)offset, (unsigned)bytes);
}

static void on_vote_failed(const struct node *n, uint64_t offset, uint64_t bytes)
{
	size_t used = strlen(told);
	snprintf(told + used, sizeof(told) - used, "%s:FAILED:%u+%u ", n->name, (unsigned)offset,
		 (unsigned)bytes);
}

static const struct graph_observer observer = {
	.child_bad = on_child_bad,
	.vote_failed = on_vote_failed,
};

static void expect_told(const char *expected)
{
	ck_assert_str_eq(told, expected);
	told[0] = '\0';
}

static const struct driver *const drivers[] = {&disk_driver, &quorum_driver, NULL};

/* A quorum of three disks with a user. */
struct stage {
	struct disk *disks[3];
	struct node *node;
	struct user user;
};

static int co_fn stage_try(struct stage *s, struct fixture *f, unsigned children,
			   const char *options, struct error **errp)
{
	char *text _cleanup_free_ = xasprintf("driver=quorum,node-name=q,%s", options);
	f->graph->observer = &observer;
	f->graph->drivers = drivers;
	told[0] = '\0';
	for (unsigned i = 0; i < 3; i++) {
		char name[8];
		snprintf(name, sizeof(name), "d%u", i);
		s->disks[i] = disk_new(f, name, SIZE);
		memset(s->disks[i]->data, 'a', SIZE);
	}
	for (unsigned i = 0; i < children; i++) {
		char *longer = xasprintf("%s,children.%u.driver=file,children.%u.filename=d%u,"
					 "children.%u.node-name=c%u", text, i, i, i, i, i);
		free(text);
		text = longer;
	}
	return open_text(f, text, &s->node, errp);
}

static void co_fn stage_init(struct stage *s, struct fixture *f, const char *options)
{
	struct error *error = NULL;
	int r = stage_try(s, f, 3, options, &error);
	ck_assert_msg(r == 0, "%s", error ? error->message : "no sentence");
	user_init_ok(&s->user, s->node);
}

static void co_fn stage_finish(struct stage *s)
{
	user_finish(&s->user);
	node_unref(s->node);
}

FIXTURE_TEST(all_children_have_what_is_written)
{
	struct stage s;
	stage_init(&s, f, "vote-threshold=2");
	ck_assert_uint_eq(s.node->size, SIZE);
	ck_assert_int_eq(user_fill(&s.user, 512, 3 << 18, 'x'), 0);
	consumer_enter(&s.user.consumer);
	ck_assert_int_eq(edge_zero(s.user.edge, 4096, 4096, 0), 0);
	consumer_leave(&s.user.consumer);
	ck_assert_int_eq(user_flush(&s.user), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert(all_bytes(s.disks[i]->data + 512, 3584, 'x'));
		ck_assert(all_bytes(s.disks[i]->data + 4096, 4096, 0));
		ck_assert(all_bytes(s.disks[i]->durable + 512, 3584, 'x'));
	}
	ck_assert(user_sees(&s.user, 8192, 65536, 'x'));
	expect_told("");
	stage_finish(&s);
}

FIXTURE_TEST(the_majority_decides)
{
	struct stage s;
	stage_init(&s, f, "vote-threshold=2");
	s.disks[0]->data[1024] = 'b';
	ck_assert(user_sees(&s.user, 1024, 1024, 'a'));
	expect_told("c0:read:0:1024+1024 ");
	ck_assert_int_eq(s.disks[0]->data[1024], 'b');
	/* All differ: none has two votes. */
	s.disks[1]->data[1024] = 'c';
	char p[512];
	ck_assert_int_eq(user_read(&s.user, 1024, 512, p), -EIO);
	expect_told("q:FAILED:1024+512 ");
	stage_finish(&s);
}

FIXTURE_TEST(children_that_are_outvoted_are_written_to)
{
	struct stage s;
	stage_init(&s, f, "vote-threshold=2,rewrite-corrupted=on");
	s.disks[2]->data[1024] = 'b';
	ck_assert(user_sees(&s.user, 512, 1024, 'a'));
	expect_told("c2:read:0:512+1024 ");
	ck_assert(all_bytes(s.disks[2]->data, SIZE, 'a'));
	ck_assert_uint_eq(s.disks[2]->writes, 1);
	ck_assert_uint_eq(s.disks[0]->writes, 0);
	ck_assert(user_sees(&s.user, 512, 1024, 'a'));
	expect_told("");
	stage_finish(&s);
}

FIXTURE_TEST(as_many_may_fail_as_the_threshold_leaves)
{
	struct stage s;
	char p[512] = {0};
	stage_init(&s, f, "vote-threshold=2");
	s.disks[1]->read_error = s.disks[1]->write_error = s.disks[1]->flush_error = -ENOSPC;
	ck_assert(user_sees(&s.user, 0, 512, 'a'));
	expect_told("c1:read:-28:0+512 ");
	ck_assert_int_eq(user_write(&s.user, 0, 512, p, 0), 0);
	expect_told("c1:write:-28:0+512 ");
	ck_assert_int_eq(user_flush(&s.user), 0);
	expect_told("c1:flush:-28:0+0 ");
	/* One more is one too many. */
	s.disks[2]->read_error = s.disks[2]->write_error = s.disks[2]->flush_error = -ENOSPC;
	ck_assert_int_eq(user_read(&s.user, 0, 512, p), -ENOSPC);
	expect_told("c1:read:-28:0+512 c2:read:-28:0+512 q:FAILED:0+512 ");
	ck_assert_int_eq(user_write(&s.user, 0, 512, p, 0), -ENOSPC);
	expect_told("c1:write:-28:0+512 c2:write:-28:0+512 q:FAILED:0+512 ");
	ck_assert_int_eq(user_flush(&s.user), -ENOSPC);
	expect_told("c1:flush:-28:0+0 c2:flush:-28:0+0 ");
	for (int i = 0; i < 3; i++)
		s.disks[i]->flush_error = 0;
	stage_finish(&s);
}

FIXTURE_TEST(fifo_asks_one_after_the_other)
{
	struct stage s;
	char p[512] = {0};
	stage_init(&s, f, "vote-threshold=2,read-pattern=fifo");
	memset(s.disks[1]->data, 'b', 512);
	ck_assert(user_sees(&s.user, 0, 512, 'a'));
	ck_assert_uint_eq(s.disks[1]->reads, 0);
	s.disks[0]->read_error = -EIO;
	ck_assert(user_sees(&s.user, 0, 512, 'b'));
	expect_told("c0:read:-5:0+512 ");
	s.disks[1]->read_error = s.disks[2]->read_error = -EPERM;
	ck_assert_int_eq(user_read(&s.user, 0, 512, p), -EPERM);
	expect_told("c0:read:-5:0+512 c1:read:-1:0+512 c2:read:-1:0+512 ");
	stage_finish(&s);
}

FIXTURE_TEST(verified_children_must_never_differ)
{
	struct stage s;
	struct error *error = NULL;
	char p[512];
	ck_assert_int_eq(stage_try(&s, f, 2, "vote-threshold=2,blkverify=on", &error), 0);
	user_init_ok(&s.user, s.node);
	ck_assert(user_sees(&s.user, 0, 512, 'a'));
	s.disks[1]->data[100] = 'b';
	ck_assert_int_eq(user_read(&s.user, 0, 512, p), -EIO);
	expect_told("q:FAILED:0+512 ");
	stage_finish(&s);
}

FIXTURE_TEST(only_what_all_call_zero_is_zero)
{
	struct stage s;
	struct extent x;
	stage_init(&s, f, "vote-threshold=2");
	for (int i = 0; i < 3; i++) {
		s.disks[i]->holes = true;
		memset(s.disks[i]->data + 4096, 0, 8192);
	}
	s.disks[1]->data[8192] = 'x';
	ck_assert_int_eq(node_status(s.node, 0, SIZE, &x), 0);
	ck_assert(!(x.flags & EXTENT_ZERO) && x.bytes == 4096);
	ck_assert_int_eq(node_status(s.node, 4096, SIZE, &x), 0);
	ck_assert((x.flags & EXTENT_ZERO) && x.bytes == 4096);
	ck_assert_int_eq(node_status(s.node, 8192, 4096, &x), 0);
	ck_assert(!(x.flags & EXTENT_ZERO));
	stage_finish(&s);
}

/* Somebody who writes letters to the same place, and reads there, at random times. */
struct busy {
	struct stage *stage;
	char letter;
	unsigned *running;
};

static void co_fn keep_busy(void *arg)
{
	struct busy *b = arg;
	char p[4096];
	for (int i = 0; i < 50; i++) {
		ck_assert_int_eq(user_fill(&b->stage->user, 0, sizeof(p), b->letter), 0);
		ck_assert_int_eq(user_read(&b->stage->user, 0, sizeof(p), p), 0);
		ck_assert(all_bytes(p, sizeof(p), p[0]));
	}
	--*b->running;
}

static void co_fn run_busy(struct fixture *f)
{
	struct stage s;
	stage_init(&s, f, "vote-threshold=3,rewrite-corrupted=on");
	for (int i = 0; i < 3; i++) {
		s.disks[i]->delay_ns = 1000000;
		s.disks[i]->varies = true;
	}
	unsigned running = 4;
	struct busy busy[4];
	for (unsigned i = 0; i < 4; i++) {
		busy[i] = (struct busy){&s, (char)('A' + i), &running};
		co_start(f->loop, keep_busy, &busy[i]);
	}
	while (running > 0)
		co_sleep_ns(1000000);
	expect_told("");
	ck_assert(memcmp(s.disks[0]->data, s.disks[1]->data, SIZE) == 0);
	ck_assert(memcmp(s.disks[0]->data, s.disks[2]->data, SIZE) == 0);
	stage_finish(&s);
}

START_TEST(overlapping_requests_have_one_order)
{
	for (uint64_t seed = 1; seed <= 5; seed++)
		fixture_run_seed(seed, run_busy);
}
END_TEST

FIXTURE_TEST(options_that_do_not_fit_are_refused)
{
	static const struct {
		unsigned children;
		const char *options, *sentence;
	} cases[] = {
		{3, "vote-threshold=0", "Parameter 'vote-threshold' expects a value >= 1"},
		{3, "vote-threshold=4", "threshold may not exceed children count"},
		{3, "vote-threshold=2,blkverify=on",
		 "blkverify=on can only be set if there are exactly two files and vote-threshold is 2"},
		{2, "vote-threshold=2,blkverify=on,rewrite-corrupted=on",
		 "rewrite-corrupted=on cannot be used with blkverify=on"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct stage s;
		struct error *error = NULL;
		ck_assert_int_lt(stage_try(&s, f, cases[i].children, cases[i].options, &error), 0);
		error_expect(&error, cases[i].sentence);
	}
	struct disk *d = disk_new(f, "short", SIZE / 2);
	struct stage s;
	struct error *error = NULL;
	ck_assert_int_lt(stage_try(&s, f, 2, "vote-threshold=1,children.2.driver=file,"
				   "children.2.filename=short,children.2.node-name=s", &error), 0);
	error_expect(&error, "Child 's' has 524288 bytes, and 'c0' 1048576");
	ck_assert_uint_eq(d->opens, d->closes);
}

FIXTURE_TEST(children_come_and_go)
{
	struct stage s;
	struct error *error = NULL;
	stage_init(&s, f, "vote-threshold=2");
	struct disk *d = disk_new(f, "new", SIZE);
	struct node *n = open_ok(f, "driver=file,filename=new,node-name=new");
	struct drain drain;
	drain_begin(f->graph, &s.node, 1, &drain);
	ck_assert_int_eq(s.node->driver->add_child(s.node, n, &error), 0);
	struct quorum *q = s.node->state;
	ck_assert_uint_eq(q->count, 4);
	ck_assert_str_eq(q->children[3]->name, "children.3");
	ck_assert_int_eq(s.node->driver->remove_child(s.node, q->children[0], &error), 0);
	drain_end(&drain);
	ck_assert_int_eq(user_fill(&s.user, 0, 512, 'n'), 0);
	ck_assert(all_bytes(d->data, 512, 'n'));
	ck_assert(all_bytes(s.disks[0]->data, 512, 'a'));
	ck_assert_msg(strstr(s.node->filename, "\"new\"") && !strstr(s.node->filename, "d0"), "%s",
		      s.node->filename);
	drain_begin(f->graph, &s.node, 1, &drain);
	ck_assert_int_eq(s.node->driver->remove_child(s.node, q->children[2], &error), 0);
	ck_assert_int_lt(s.node->driver->remove_child(s.node, q->children[0], &error), 0);
	error_expect(&error, "The number of children cannot be lower than the vote threshold 2");
	drain_end(&drain);
	expect_told("");
	node_unref(n);
	stage_finish(&s);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(all_children_have_what_is_written),
	FIXTURE_ROW(the_majority_decides),
	FIXTURE_ROW(children_that_are_outvoted_are_written_to),
	FIXTURE_ROW(as_many_may_fail_as_the_threshold_leaves),
	FIXTURE_ROW(fifo_asks_one_after_the_other),
	FIXTURE_ROW(verified_children_must_never_differ),
	FIXTURE_ROW(only_what_all_call_zero_is_zero),
	UNIT_TEST(overlapping_requests_have_one_order),
	FIXTURE_ROW(options_that_do_not_fit_are_refused),
	FIXTURE_ROW(children_come_and_go),
};
UNIT_MAIN("quorum", tests)
