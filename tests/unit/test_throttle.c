/* SPDX-License-Identifier: MIT */
/*
 * block/throttle.c, throttle_group.c and drivers/throttle.c: what the limits let
 * through in virtual time, turns, changes, and that no drain waits for a rate.
 */
#include "base/cleanup.h"
#include "block/consumer.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/open.h"
#include "block/throttle_group.h"
#include "drivers/table.h"
#include "schema/schema.h"
#include "tests/unit/unit.h"

#define SECOND UINT64_C(1000000000)

/* --- Arithmetic -------------------------------------------------------------------- */

static int configure(const char *text, struct throttle_config *ret, struct error **errp)
{
	void *limits;
	throttle_config_init(ret);
	int r = schema_decode_keyval(&throttle_limits_type, text, NULL, &limits, errp);
	if (r < 0)
		return r;
	r = throttle_config_apply(ret, limits, errp);
	throttle_limits_free(limits);
	return r < 0 ? r : throttle_config_check(ret, errp);
}

static struct throttle_config config_ok(const char *text)
{
	struct throttle_config c;
	struct error *error = NULL;
	int r = configure(text, &c, &error);
	ck_assert_msg(r == 0, "%s: %s", text, error ? error->message : "no sentence");
	return c;
}

/* How many requests of @bytes may begin from @begin_ns until @end_ns. */
static unsigned count_requests(struct throttle *t, enum throttle_direction d, uint64_t bytes,
			       uint64_t begin_ns, uint64_t end_ns)
{
	unsigned count = 0;
	for (uint64_t now = begin_ns;;) {
		uint64_t delay = throttle_delay_ns(t, d, now);
		now += delay;
		if (now >= end_ns)
			return count;
		throttle_take(t, d, bytes);
		count++;
	}
}

START_TEST(limits_that_contradict_each_other_are_refused)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{"iops-total=1,iops-read=1", "bps/iops/max total values and read/write values cannot "
					     "be used at the same time"},
		{"iops-size=1", "iops size requires an iops value to be set"},
		{"bps-read=-1", "bps/iops/max values must be within [0, 1000000000000000]"},
		{"bps-read=1000000000000001",
		 "bps/iops/max values must be within [0, 1000000000000000]"},
		{"bps-read-max=1", "bps_max/iops_max require corresponding bps/iops values"},
		{"bps-read=2,bps-read-max=1", "bps_max/iops_max cannot be lower than bps/iops"},
		{"bps-read=2,bps-read-max=3,bps-read-max-length=0",
		 "the burst length cannot be 0"},
		{"bps-read=2,bps-read-max-length=2", "burst length set without burst rate"},
		{"bps-read=2,bps-read-max=1000000000000000,bps-read-max-length=2",
		 "burst length too high for this burst rate"},
		{"iops-write=2,iops-write-max-length=4294967296",
		 "iops-write-max-length value must be in the range [0, 4294967295]"},
	};
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct throttle_config c;
		struct error *error = NULL;
		ck_assert_int_lt(configure(cases[i].text, &c, &error), 0);
		ck_assert_str_eq(error->message, cases[i].sentence);
		error_free(error);
	}
}
END_TEST

START_TEST(a_rate_is_kept_in_the_long_run)
{
	struct throttle t;
	struct throttle_config c = config_ok("iops-total=100");
	throttle_set(&t, &c, 0);
	/* A tenth of a second's worth at once, and the one that goes over the rim. */
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 4096, 0, 1), 11);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_WRITE, 4096, 1, 10 * SECOND), 999);

	c = config_ok("bps-write=1000000");
	throttle_set(&t, &c, 0);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_WRITE, 10000, 0, 10 * SECOND), 1010);
	ck_assert_uint_eq(throttle_delay_ns(&t, THROTTLE_READ, 10 * SECOND), 0);
}
END_TEST

START_TEST(bursts_are_let_through)
{
	struct throttle t;
	struct throttle_config c = config_ok("iops-read=10,iops-read-max=100");
	throttle_set(&t, &c, 0);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 1, 0, 1), 101);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 1, 1, 10 * SECOND + 1000), 100);

	/* For 5 seconds 100 a second, and no faster: then 10 a second. */
	c = config_ok("iops-read=10,iops-read-max=100,iops-read-max-length=5");
	throttle_set(&t, &c, 0);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 1, 0, 1), 11);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 1, 1, 5 * SECOND), 499);
	unsigned later = count_requests(&t, THROTTLE_READ, 1, 5 * SECOND, 15 * SECOND);
	ck_assert_uint_ge(later, 140);
	ck_assert_uint_le(later, 145);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 1, 15 * SECOND, 25 * SECOND), 100);
}
END_TEST

START_TEST(large_requests_count_as_several)
{
	struct throttle t;
	struct throttle_config c = config_ok("iops-total=100,iops-size=4096");
	throttle_set(&t, &c, 0);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 40960, 0, 10 * SECOND), 101);
	throttle_set(&t, &c, 0);
	ck_assert_uint_eq(count_requests(&t, THROTTLE_READ, 512, 0, 10 * SECOND), 1010);
}
END_TEST

START_TEST(no_delay_is_longer_than_can_be_told)
{
	struct throttle t;
	struct throttle_config c = config_ok("bps-total=1");
	throttle_set(&t, &c, 0);
	for (int i = 0; i < 1000; i++)
		throttle_take(&t, THROTTLE_READ, UINT64_C(1) << 40);
	ck_assert_uint_eq(throttle_delay_ns(&t, THROTTLE_WRITE, 0), UINT64_C(1000000000000000001));
}
END_TEST

START_TEST(all_that_is_told_is_what_was_set)
{
	struct throttle_config c = config_ok(
		"bps-read=5,bps-read-max=6,bps-read-max-length=7,iops-write=8,iops-size=9");
	struct throttle_limits *l = throttle_config_describe(&c);
	ck_assert_int_eq(l->bps_read, 5);
	ck_assert_int_eq(l->bps_read_max, 6);
	ck_assert_int_eq(l->bps_read_max_length, 7);
	ck_assert_int_eq(l->iops_write, 8);
	ck_assert_int_eq(l->iops_write_max_length, 1);
	ck_assert_int_eq(l->iops_size, 9);
	ck_assert_int_eq(l->bps_total, 0);
	throttle_limits_free(l);
}
END_TEST

/* --- Nodes ------------------------------------------------------------------------- */

struct stage {
	struct loop *loop;
	struct graph *graph;
	void co_fn (*fn)(struct stage *s);
};

/* Somebody who keeps a number of requests under way on a node of its own. */
struct user {
	struct stage *stage;
	struct node *node;
	struct consumer consumer;
	struct edge *edge;
	bool stops;
	unsigned running, done;
};

static char *describe(const struct consumer *c)
{
	return xstrdup("a test");
}

static const struct consumer_ops consumer_ops = {.describe = describe};

static void co_fn run_entry(void *arg)
{
	struct stage *s = arg;
	s->fn(s);
}

static void stage_run(void co_fn (*fn)(struct stage *s))
{
	struct stage s = {.loop = loop_new_sim(1), .fn = fn};
	s.graph = graph_new(s.loop, driver_table);
	loop_run_coroutine(s.loop, run_entry, &s);
	ck_assert(list_is_empty(&s.graph->throttle_groups));
	graph_free(s.graph);
	loop_free(s.loop);
}

#define STAGE_TEST(fn)                                                                             \
	static void co_fn fn(struct stage *s);                                                     \
	START_TEST(test_##fn)                                                                      \
	{                                                                                          \
		stage_run(fn);                                                                     \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn fn(struct stage *s)
#define STAGE_ROW(fn) {#fn, &test_##fn, 0}

static struct throttle_group *group_new(struct stage *s, const char *name, const char *limits)
{
	struct throttle_config c = config_ok(limits);
	struct throttle_group *group;
	ck_assert_int_eq(throttle_group_create(s->graph, name, &c, &group, NULL), 0);
	return group;
}

static struct node *co_fn open_ok(struct stage *s, const char *text)
{
	void *o;
	struct node *n;
	struct error *error = NULL;
	ck_assert_int_eq(schema_decode_keyval(&blockdev_options_type, text, "driver", &o, NULL), 0);
	int r = node_open(s->graph, o, &n, &error);
	ck_assert_msg(r == 0, "%s: %s", text, error ? error->message : "no sentence");
	blockdev_options_free(o);
	return n;
}

static void co_fn user_init(struct user *u, struct stage *s, const char *group)
{
	char *text _cleanup_free_ = xasprintf("throttle,throttle-group=%s,file.driver=null-co,"
					      "file.read-zeroes=on,discard=unmap", group);
	*u = (struct user){.stage = s, .node = open_ok(s, text)};
	consumer_init(&u->consumer, s->graph, &consumer_ops);
	ck_assert_int_eq(edge_attach_consumer(&u->consumer, "root", u->node,
					      PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL, &u->edge,
					      NULL), 0);
}

static void co_fn writer(void *arg)
{
	struct user *u = arg;
	char p[512] = {0};
	while (!u->stops) {
		consumer_enter(&u->consumer);
		ck_assert_int_eq(edge_write(u->edge, 0, sizeof(p), p, 0), 0);
		u->done++;
		consumer_leave(&u->consumer);
		co_reschedule();
	}
	u->running--;
}

static void user_start(struct user *u, unsigned requests)
{
	u->running = requests;
	for (unsigned i = 0; i < requests; i++)
		co_start(u->stage->loop, writer, u);
}

static void co_fn user_finish(struct user *u)
{
	u->stops = true;
	while (u->running > 0)
		co_sleep_ns(SECOND);
	edge_detach(u->edge);
	consumer_finish(&u->consumer);
	node_unref(u->node);
}

STAGE_TEST(a_node_keeps_to_the_limits_of_its_group)
{
	struct throttle_group *group = group_new(s, "g", "iops-write=100");
	struct user u;
	user_init(&u, s, "g");
	user_start(&u, 4);
	co_sleep_ns(10 * SECOND);
	ck_assert_uint_ge(u.done, 1009);
	ck_assert_uint_le(u.done, 1011);
	/* Reads are not limited, and not held up by writes that wait. */
	char p[512];
	consumer_enter(&u.consumer);
	uint64_t begin_ns = loop_now_ns(s->loop);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(edge_read(u.edge, 0, 512, p, 0), 0);
	ck_assert_int_eq(edge_flush(u.edge), 0);
	ck_assert_uint_eq(loop_now_ns(s->loop), begin_ns);
	consumer_leave(&u.consumer);
	user_finish(&u);
	throttle_group_destroy(group);
}

STAGE_TEST(zeroing_and_discarding_count_as_writing)
{
	struct throttle_group *group = group_new(s, "g", "bps-write=1048576");
	struct user u;
	user_init(&u, s, "g");
	consumer_enter(&u.consumer);
	uint64_t begin_ns = loop_now_ns(s->loop);
	ck_assert_int_eq(edge_zero(u.edge, 0, 2 * MiB, 0), 0);
	ck_assert_int_eq(edge_discard(u.edge, 0, 2 * MiB), 0);
	ck_assert_int_eq(edge_zero(u.edge, 0, 512, 0), 0);
	/* A tenth of a second's worth has been lent. */
	ck_assert_uint_ge(loop_now_ns(s->loop) - begin_ns, 3800000000);
	ck_assert_uint_le(loop_now_ns(s->loop) - begin_ns, 3900000001);
	consumer_leave(&u.consumer);
	user_finish(&u);
	throttle_group_destroy(group);
}

STAGE_TEST(members_of_a_group_share_it_evenly)
{
	struct throttle_group *group = group_new(s, "g", "iops-total=300");
	struct user u[3];
	for (int i = 0; i < 3; i++)
		user_init(&u[i], s, "g");
	/* One asks for much more than the others. */
	user_start(&u[0], 32);
	user_start(&u[1], 1);
	user_start(&u[2], 2);
	co_sleep_ns(10 * SECOND);
	ck_assert_uint_ge(u[0].done + u[1].done + u[2].done, 3000);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_ge(u[i].done, 970);
		ck_assert_uint_le(u[i].done, 1070);
	}
	for (int i = 0; i < 3; i++)
		user_finish(&u[i]);
	throttle_group_destroy(group);
}

STAGE_TEST(limits_may_change_while_requests_wait)
{
	struct throttle_group *group = group_new(s, "g", "bps-write=1");
	struct user u;
	user_init(&u, s, "g");
	user_start(&u, 2);
	co_sleep_ns(100 * SECOND);
	ck_assert_uint_eq(u.done, 1);
	struct throttle_config c = config_ok("iops-write=50");
	throttle_group_set(group, &c);
	co_sleep_ns(10 * SECOND);
	ck_assert_uint_ge(u.done, 500);
	ck_assert_uint_le(u.done, 508);
	c = config_ok("");
	throttle_group_set(group, &c);
	u.stops = true;
	co_sleep_ns(1);
	ck_assert_uint_eq(u.running, 0);
	user_finish(&u);
	throttle_group_destroy(group);
}

STAGE_TEST(a_drain_does_not_wait_for_a_rate)
{
	struct throttle_group *group = group_new(s, "g", "bps-write=1");
	struct user u, other;
	user_init(&u, s, "g");
	user_init(&other, s, "g");
	user_start(&u, 3);
	user_start(&other, 1);
	co_sleep_ns(SECOND);
	unsigned done = u.done, others = other.done;
	uint64_t begin_ns = loop_now_ns(s->loop);
	struct drain drain, inner;
	/* What is drained may lie below the filter as well. */
	drain_begin(s->graph, &u.node->file->child, 1, &drain);
	drain_begin(s->graph, &u.node, 1, &inner);
	ck_assert_uint_eq(loop_now_ns(s->loop), begin_ns);
	ck_assert_uint_eq(u.consumer.operations, 0);
	ck_assert_uint_gt(u.done, done);
	/* Who is not drained goes on waiting. */
	ck_assert_uint_eq(other.done, others);
	drain_end(&inner);
	drain_end(&drain);
	/* And it is a limit again. */
	done = u.done;
	co_sleep_ns(SECOND);
	ck_assert_uint_eq(u.done, done);
	u.stops = other.stops = true;
	throttle_groups_open(s->graph);
	co_sleep_ns(1);
	ck_assert_uint_eq(u.running + other.running, 0);
	user_finish(&u);
	user_finish(&other);
	throttle_group_destroy(group);
}

STAGE_TEST(a_node_may_move_to_another_group)
{
	struct throttle_group *slow = group_new(s, "slow", "iops-write=1");
	struct throttle_group *fast = group_new(s, "fast", "iops-write=1000");
	struct user u;
	user_init(&u, s, "slow");
	user_start(&u, 2);
	co_sleep_ns(10 * SECOND);
	ck_assert_uint_le(u.done, 12);
	void *o;
	char *text _cleanup_free_ = xasprintf("driver=throttle,node-name=%s,throttle-group=fast,"
					      "discard=unmap,file=%s", "x",
					      u.node->file->child->name);
	ck_assert_int_eq(schema_decode_keyval(&blockdev_options_type, text, NULL, &o, NULL), 0);
	struct blockdev_options *options = o;
	free(options->node_name);
	options->node_name = xstrdup(u.node->name);
	struct error *error = NULL;
	int r = nodes_reopen(s->graph, (const struct blockdev_options *const[]){options}, 1, &error);
	ck_assert_msg(r == 0, "%s", error ? error->message : "no sentence");
	ck_assert_int_eq(throttle_group_destroy(fast), -EBUSY);
	ck_assert_int_eq(throttle_group_destroy(slow), 0);
	unsigned done = u.done;
	co_sleep_ns(10 * SECOND);
	ck_assert_uint_ge(u.done - done, 9990);
	free(options->u.throttle.throttle_group);
	options->u.throttle.throttle_group = xstrdup("none");
	ck_assert_int_lt(nodes_reopen(s->graph, (const struct blockdev_options *const[]){options}, 1,
				      &error), 0);
	ck_assert_str_eq(error->message, "Throttle group 'none' does not exist");
	error_free(error);
	blockdev_options_free(options);
	user_finish(&u);
	throttle_group_destroy(fast);
}

/*
 * In real time the last moment may pass between asking how long to wait and going to sleep: who
 * would be woken then is still running. At such a rate that happens some dozens of times.
 */
static void co_fn wait_often(void *arg)
{
	struct throttle_member *m = arg;
	for (unsigned i = 0; i < 500000; i++)
		throttle_member_wait(m, THROTTLE_READ, 4096);
}

START_TEST(time_passes_while_a_request_goes_to_wait)
{
	static const struct driver *const none[] = {NULL};
	struct throttle_config c = config_ok("iops-total=1000000");
	struct throttle_group *group;
	struct throttle_member m;
	struct loop *loop = loop_new_uv(NULL);
	struct graph *g = graph_new(loop, none);
	ck_assert_int_eq(throttle_group_create(g, "g", &c, &group, NULL), 0);
	throttle_member_init(&m, group);
	loop_run_coroutine(loop, wait_often, &m);
	throttle_member_finish(&m);
	ck_assert_int_eq(throttle_group_destroy(group), 0);
	graph_free(g);
	loop_free(loop);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(limits_that_contradict_each_other_are_refused),
	UNIT_TEST(a_rate_is_kept_in_the_long_run),
	UNIT_TEST(bursts_are_let_through),
	UNIT_TEST(large_requests_count_as_several),
	UNIT_TEST(no_delay_is_longer_than_can_be_told),
	UNIT_TEST(all_that_is_told_is_what_was_set),
	STAGE_ROW(a_node_keeps_to_the_limits_of_its_group),
	STAGE_ROW(zeroing_and_discarding_count_as_writing),
	STAGE_ROW(members_of_a_group_share_it_evenly),
	STAGE_ROW(limits_may_change_while_requests_wait),
	STAGE_ROW(a_drain_does_not_wait_for_a_rate),
	STAGE_ROW(a_node_may_move_to_another_group),
	UNIT_TEST(time_passes_while_a_request_goes_to_wait),
};
UNIT_MAIN("throttle", tests)
