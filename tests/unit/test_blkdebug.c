/* SPDX-License-Identifier: MIT */
/*
 * drivers/blkdebug: which rules are in force, what they do to requests of a node,
 * and that each event of qcow2 comes where it should: what it makes fail leaves an
 * image that can be used.
 */
#include "base/util.h"
#include "drivers/blkdebug/rules.h"
#include "tests/unit/qcow2_fixture.h"

/* --- Rules ------------------------------------------------------------------------ */

static void parse_ok(struct rules *r, const char *text)
{
	struct error *error = NULL;
	rules_init(r);
	int result = rules_parse(r, text, "rules", &error);
	ck_assert_msg(result == 0, "%s", error ? error->message : "no sentence");
}

static int match(struct rules *r, enum blkdebug_io_type type, uint64_t offset, uint64_t bytes)
{
	struct fault fault = {0};
	return rules_match(r, type, offset, bytes, &fault) ? fault.error : 1;
}

START_TEST(rules_lie_idle_until_their_event)
{
	struct rules r;
	parse_ok(&r, "[inject-error]\nevent = \"write_aio\"\nerrno = \"28\"\n");
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_WRITE, 0, 512), 1);
	rules_happen(&r, BLKDEBUG_EVENT_READ_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_WRITE, 0, 512), 1);
	rules_happen(&r, BLKDEBUG_EVENT_WRITE_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_WRITE, 0, 512), -ENOSPC);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_FLUSH, 0, 0), -ENOSPC);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_BLOCK_STATUS, 0, 512), 1);
	rules_finish(&r);
}
END_TEST

START_TEST(a_rule_with_once_is_gone_afterwards)
{
	struct rules r;
	parse_ok(&r, "# a remark\n[inject-error \"first\"]\n  event = read_aio \n once = on\n\n");
	rules_happen(&r, BLKDEBUG_EVENT_READ_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 512), -EIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 512), 1);
	rules_happen(&r, BLKDEBUG_EVENT_READ_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 512), 1);
	rules_finish(&r);
}
END_TEST

START_TEST(an_event_with_rules_ends_those_of_another)
{
	struct rules r;
	parse_ok(&r, "[inject-error]\nevent=read_aio\nerrno=1\n[inject-error]\nevent=write_aio\nerrno=2\n");
	rules_happen(&r, BLKDEBUG_EVENT_READ_AIO);
	rules_happen(&r, BLKDEBUG_EVENT_L2_LOAD);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 512), -1);
	rules_happen(&r, BLKDEBUG_EVENT_WRITE_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 512), -2);
	rules_finish(&r);
}
END_TEST

START_TEST(of_several_rules_that_fit_the_first_decides)
{
	struct rules r;
	parse_ok(&r, "[inject-error]\nevent=read_aio\nerrno=2\nsector=3\niotype=read\n"
		     "[inject-error]\nevent=read_aio\nerrno=1\n");
	rules_happen(&r, BLKDEBUG_EVENT_READ_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 3 * 512), -1);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 0, 3 * 512 + 1), -2);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 3 * 512, 1), -2);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_READ, 3 * 512 + 1, 512), -1);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_WRITE, 3 * 512, 512), -1);
	rules_finish(&r);
}
END_TEST

START_TEST(states_change_after_all_rules_of_an_event)
{
	struct rules r;
	parse_ok(&r, "[set-state]\nevent=write_aio\nstate=1\nnew_state=2\n"
		     "[set-state]\nevent=write_aio\nstate=2\nnew_state=7\n"
		     "[inject-error]\nevent=write_aio\nstate=7\n");
	for (int i = 0; i < 2; i++) {
		rules_happen(&r, BLKDEBUG_EVENT_WRITE_AIO);
		ck_assert_int_eq(r.state, i == 0 ? 2 : 7);
		ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_WRITE, 0, 1), 1);
	}
	rules_happen(&r, BLKDEBUG_EVENT_WRITE_AIO);
	ck_assert_int_eq(match(&r, BLKDEBUG_IO_TYPE_WRITE, 0, 1), -EIO);
	rules_finish(&r);
}
END_TEST

START_TEST(a_file_with_mistakes_is_refused)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{"event=none\n", "no section has begun"},
		{"[other]\n", "rules:1: unknown section"},
		{"[inject-error\n", "a bracket is open"},
		{"[inject-error name]\n", "must stand in quotes"},
		{"\n[set-state]\nnonsense\n", "rules:3: neither"},
		{"[inject-error]\nevent=none,once=on\n", "a comma or quote"},
		{"[inject-error]\nerrno=5\n", "Parameter 'event' is missing"},
		{"[inject-error]\nevent=never\n", "does not accept value 'never'"},
		{"[inject-error]\nevent=none\ncolour=red\n", "Parameter 'colour' is unexpected"},
		{"[inject-error]\nevent=none\nerrno=-1\n", "Parameter 'errno' must be from 0"},
		{"[inject-error]\nevent=none\nsector=-2\n", "Parameter 'sector' is out of range"},
		{"[inject-error]\nevent=none\ndelay-ns=-2\n", "'delay-ns' must not be negative"},
		{"[set-state]\nevent=none\nnew_state=x\n", "Parameter 'new_state' expects"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct rules r;
		struct error *error = NULL;
		rules_init(&r);
		ck_assert_int_lt(rules_parse(&r, cases[i].text, "rules", &error), 0);
		ck_assert_msg(strstr(error->message, cases[i].sentence), "%s", error->message);
		error_free(error);
		rules_finish(&r);
	}
}
END_TEST

/* --- Nodes ------------------------------------------------------------------------ */

struct stage {
	struct node *node;
	struct consumer consumer;
	struct edge *edge;
};

static char *describe(const struct consumer *c)
{
	return xstrdup("a test");
}

static const struct consumer_ops consumer_ops = {.describe = describe};

/* Open a node that injects faults on the fixture's disk of 1 MiB. */
static void co_fn stage_init(struct stage *s, struct image *i, const char *options)
{
	_cleanup_free_ char *text = xasprintf("driver=blkdebug,image=disk,discard=unmap%s", options);
	struct error *error = NULL;
	void *o;
	i->disk.size = MiB;
	node_set_size(i->disk_node, MiB);
	ck_assert_int_eq(schema_decode_keyval(&blockdev_options_type, text, NULL, &o, &error), 0);
	int r = node_open(i->graph, o, &s->node, &error);
	ck_assert_msg(r == 0, "%s", error ? error->message : "no sentence");
	blockdev_options_free(o);
	consumer_init(&s->consumer, i->graph, &consumer_ops);
	ck_assert_int_eq(edge_attach_consumer(&s->consumer, "root", s->node,
					      PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL,
					      &s->edge, NULL), 0);
	consumer_enter(&s->consumer);
}

static void co_fn stage_finish(struct stage *s)
{
	consumer_leave(&s->consumer);
	edge_detach(s->edge);
	consumer_finish(&s->consumer);
	node_unref(s->node);
}

IMAGE_TEST(without_rules_everything_passes)
{
	struct stage s;
	char p[512] = "text", q[512];
	stage_init(&s, i, "");
	ck_assert_uint_eq(s.node->size, MiB);
	ck_assert_int_eq(edge_write(s.edge, 1024, 512, p, 0), 0);
	ck_assert_int_eq(edge_read(s.edge, 1024, 512, q, 0), 0);
	ck_assert_str_eq(q, "text");
	ck_assert_int_eq(edge_zero(s.edge, 0, 4096, 0), 0);
	ck_assert_int_eq(edge_discard(s.edge, 4096, 4096), 0);
	ck_assert_uint_eq(i->disk.discards, 1);
	ck_assert_int_eq(edge_flush(s.edge), 0);
	struct extent x;
	unsigned depth;
	ck_assert_int_eq(node_status(s.node, 0, MiB, &x), 0);
	ck_assert_ptr_eq(x.node, i->disk_node);
	ck_assert_int_eq(node_status_above(s.node, NULL, 0, MiB, &x, &depth), 0);
	ck_assert_uint_eq(depth, 1);
	stage_finish(&s);
}

IMAGE_TEST(each_kind_of_request_can_fail)
{
	struct stage s;
	struct extent x;
	char p[512] = {0};
	stage_init(&s, i, ",inject-error.0.event=none,inject-error.0.iotype=read"
			  ",inject-error.1.event=none,inject-error.1.iotype=write"
			  ",inject-error.1.errno=28,inject-error.1.sector=5"
			  ",inject-error.2.event=none,inject-error.2.iotype=write-zeroes"
			  ",inject-error.3.event=none,inject-error.3.iotype=discard"
			  ",inject-error.3.errno=1,inject-error.3.immediately=on"
			  ",inject-error.4.event=none,inject-error.4.iotype=flush"
			  ",inject-error.4.once=on"
			  ",inject-error.5.event=none,inject-error.5.iotype=block-status");
	ck_assert_int_eq(edge_read(s.edge, 0, 512, p, 0), -EIO);
	ck_assert_int_eq(edge_write(s.edge, 512, 512, p, 0), 0);
	ck_assert_int_eq(edge_write(s.edge, 5 * 512, 512, p, 0), -ENOSPC);
	ck_assert_int_eq(edge_zero(s.edge, 0, 512, 0), -EIO);
	ck_assert_int_eq(edge_discard(s.edge, 0, 512), -EPERM);
	ck_assert_int_eq(edge_flush(s.edge), -EIO);
	ck_assert_int_eq(edge_flush(s.edge), 0);
	ck_assert_int_eq(node_status(s.node, 0, MiB, &x), -EIO);
	ck_assert_uint_eq(i->disk.writes, 1);
	stage_finish(&s);
}

IMAGE_TEST(requests_take_time)
{
	struct stage s;
	char p[512] = {0};
	stage_init(&s, i, ",inject-error.0.event=none,inject-error.0.iotype=write"
			  ",inject-error.0.errno=0,inject-error.0.delay-ns=3000000000"
			  ",inject-error.1.event=none,inject-error.1.iotype=read"
			  ",inject-error.1.delay-ns=1000000000");
	uint64_t begin = loop_now_ns(i->loop);
	ck_assert_int_eq(edge_write(s.edge, 0, 512, p, 0), 0);
	ck_assert_uint_eq(loop_now_ns(i->loop) - begin, UINT64_C(3000000000));
	ck_assert_int_eq(edge_read(s.edge, 0, 512, p, 0), -EIO);
	ck_assert_uint_eq(loop_now_ns(i->loop) - begin, UINT64_C(4000000000));
	stage_finish(&s);
}

IMAGE_TEST(limits_are_those_of_the_options)
{
	struct stage s;
	stage_init(&s, i, ",align=4096,max-transfer=65536,opt-write-zero=8192,max-write-zero=16384"
			  ",opt-discard=4096,max-discard=32768");
	const struct node_limits *l = &s.node->limits;
	ck_assert_uint_eq(l->request_alignment, 4096);
	ck_assert_uint_eq(l->max_transfer, 65536);
	ck_assert_uint_eq(l->zero_alignment, 8192);
	ck_assert_uint_eq(l->max_zero, 16384);
	ck_assert_uint_eq(l->discard_alignment, 4096);
	ck_assert_uint_eq(l->max_discard, 32768);
	_cleanup_free_ char *p = xalloc(1, 131072);
	ck_assert_int_eq(edge_write(s.edge, 0, 131072, p, 0), 0);
	ck_assert_uint_eq(i->disk.writes, 2);
	ck_assert_int_eq(edge_discard(s.edge, 0, 65536), 0);
	ck_assert_uint_eq(i->disk.discards, 2);
	stage_finish(&s);
}

IMAGE_TEST(the_blocks_around_a_small_write_can_fail)
{
	static const char *const events[] = {"pwritev_rmw_head", "pwritev_rmw_after_head",
					     "pwritev_rmw_tail", "pwritev_rmw_after_tail", "pwritev"};
	char p[4096] = {0};
	for (unsigned e = 0; e < ARRAY_SIZE(events); e++) {
		struct stage s;
		_cleanup_free_ char *options = xasprintf(
			",align=4096,inject-error.0.event=%s,inject-error.0.errno=28", events[e]);
		stage_init(&s, i, options);
		ck_assert_int_eq(edge_write(s.edge, 1000, 4096, p, 0), -ENOSPC);
		stage_finish(&s);
	}
}

IMAGE_TEST(permissions_are_taken_and_withheld)
{
	struct stage s;
	stage_init(&s, i, ",take-child-perms.0=resize,unshare-child-perms.0=write"
			  ",unshare-child-perms.1=resize");
	ck_assert_uint_eq(s.node->file->permissions,
			  PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
	ck_assert_uint_eq(s.node->file->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
	stage_finish(&s);
}

/* --- qcow2 ------------------------------------------------------------------------ */

/* Things that are done to an image until one of them fails. The first 64 KiB hold data. */
static int co_fn write_data(struct image *i)
{
	_cleanup_free_ uint8_t *p = xalloc(1, 65536);
	memset(p, 'b', 65536);
	int r = edge_write(i->edge, 0, 4096, p, 0);
	if (r >= 0)
		r = edge_write(i->edge, 512 * KiB + 100, 3000, p, 0);
	return r < 0 ? r : edge_flush(i->edge);
}

static int co_fn read_data(struct image *i)
{
	char p[512];
	return edge_read(i->edge, 0, sizeof(p), p, 0);
}

static int co_fn write_packed(struct image *i)
{
	_cleanup_free_ uint8_t *p = xalloc(1, 65536);
	int r = edge_write(i->edge, 128 * KiB, 65536, p, REQUEST_COMPRESSED);
	return r < 0 ? r : edge_read(i->edge, 128 * KiB, 512, p, 0);
}

static int co_fn grow(struct image *i)
{
	return edge_truncate(i->edge, 8 * GiB, PREALLOCATION_OFF, NULL);
}

static int co_fn free_data(struct image *i)
{
	int r = edge_discard(i->edge, 0, 65536);
	return r < 0 ? r : edge_flush(i->edge);
}

static const struct {
	const char *event, *iotype;
	int co_fn (*act)(struct image *i);
	bool may_succeed; /* the format gets over it */
} qcow2_events[] = {
	{"l1_grow_write_table", "write", grow, false},
	{"l1_grow_activate_table", "write", grow, false},
	{"l2_load", "read", read_data, false},
	{"l2_update", "write", write_data, false},
	{"l2_update_compressed", "read", write_packed, false},
	{"read_aio", "read", read_data, false},
	{"read_compressed", "read", write_packed, false},
	{"write_aio", "write", write_data, false},
	{"write_compressed", "write", write_packed, false},
	{"cow_read", "read", write_data, true},
	{"cow_write", "write", write_data, false},
	{"refblock_load", "read", write_data, false},
	{"refblock_update_part", "write", write_data, false},
	{"cluster_alloc", "write", write_data, false},
	{"cluster_alloc_bytes", "write", write_packed, false},
	{"flush_to_os", "write", write_data, false},
	{"flush_to_disk", "flush", write_data, false},
	{"cluster_free", "discard", free_data, true},
};

IMAGE_TEST(each_event_of_qcow2_comes_and_its_failure_is_got_over)
{
	for (unsigned e = 0; e < ARRAY_SIZE(qcow2_events); e++) {
		i->file = NULL;
		image_create_ok(i, "size=1M");
		image_open_ok(i, "");
		image_write(i, 0, 65536, 'a');
		image_close(i);
		_cleanup_free_ char *file = xasprintf(
			"file.driver=blkdebug,file.image=disk,file.inject-error.0.event=%s,"
			"file.inject-error.0.iotype=%s,file.inject-error.0.errno=28,"
			"file.inject-error.0.once=on",
			qcow2_events[e].event, qcow2_events[e].iotype);
		i->file = file;
		image_open_ok(i, "discard=unmap,pass-discard-other=on");
		int r = qcow2_events[e].act(i);
		if (!qcow2_events[e].may_succeed)
			ck_assert_msg(r == -ENOSPC, "%s: %d", qcow2_events[e].event, r);
		ck_assert_msg(!i->node->corrupt || strstr(qcow2_events[e].event, "activate"), "%s",
			      qcow2_events[e].event);
		i->file = NULL;
		image_reopen(i, "");
		if (qcow2_events[e].act != free_data)
			image_expect(i, 4096, 61440, 'a');
		struct image_check check = {0};
		ck_assert_int_eq(i->node->driver->check(i->node, 0, &check, NULL), 0);
		ck_assert_uint_eq(check.corruptions, 0);
		image_close(i);
	}
}

IMAGE_TEST(an_image_whose_refcount_table_cannot_be_read_is_not_opened)
{
	image_create_ok(i, "size=1M");
	i->file = "file.driver=blkdebug,file.image=disk,file.inject-error.0.event=reftable_load";
	_cleanup_free_ char *error = image_open_error(i, "");
	ck_assert_str_eq(error, "Could not read the refcount table: Input/output error");
}

static const struct unit_test tests[] = {
	UNIT_TEST(rules_lie_idle_until_their_event),
	UNIT_TEST(a_rule_with_once_is_gone_afterwards),
	UNIT_TEST(an_event_with_rules_ends_those_of_another),
	UNIT_TEST(of_several_rules_that_fit_the_first_decides),
	UNIT_TEST(states_change_after_all_rules_of_an_event),
	UNIT_TEST(a_file_with_mistakes_is_refused),
	IMAGE_ROW(without_rules_everything_passes),
	IMAGE_ROW(each_kind_of_request_can_fail),
	IMAGE_ROW(requests_take_time),
	IMAGE_ROW(limits_are_those_of_the_options),
	IMAGE_ROW(the_blocks_around_a_small_write_can_fail),
	IMAGE_ROW(permissions_are_taken_and_withheld),
	IMAGE_ROW(an_image_whose_refcount_table_cannot_be_read_is_not_opened),
	IMAGE_ROW(each_event_of_qcow2_comes_and_its_failure_is_got_over),
};
UNIT_MAIN("blkdebug", tests)
