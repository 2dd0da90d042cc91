/* SPDX-License-Identifier: MIT */
/* blockjobs/filter.c: what passes a filter is marked or written twice, and permissions change. */
#include "blockjobs/filter.h"

#include "block/copy.h"
#include "block/dirty_bitmap.h"
#include "tests/unit/block_fixture.h"

#define SIZE ((uint64_t)1 << 20)
#define G 65536

/* A user above a filter above one disk, and a copy to a second. */
struct stage {
	struct disk *first, *second;
	struct node *node, *filter, *target;
	struct user user;
	struct consumer consumer;
	struct edge *source_edge, *target_edge;
	struct write_tracker tracker;
	struct copy *copy;
	unsigned dirtied;
};

static char *describe(const struct consumer *c)
{
	return xstrdup("job");
}

static const struct consumer_ops consumer_ops = {.describe = describe};

static int co_fn admit(void *arg, uint64_t bytes)
{
	return 0;
}

static enum copy_verdict failed(void *arg, bool is_read, int error)
{
	return COPY_GIVE_UP;
}

static void advanced(void *arg, uint64_t bytes)
{
}

static const struct copy_hooks hooks = {.admit = admit, .failed = failed, .advanced = advanced};

static void dirtied(void *arg)
{
	((struct stage *)arg)->dirtied++;
}

static void co_fn insert(struct stage *s, struct fixture *f)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(filter_insert(&tx, s->filter, s->node, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
}

static void co_fn stage_init(struct stage *s, struct fixture *f)
{
	*s = (struct stage){0};
	s->first = disk_new(f, "first", SIZE);
	s->second = disk_new(f, "second", SIZE);
	s->node = disk_open(f, s->first, &disk_driver);
	s->target = disk_open(f, s->second, &disk_driver);
	user_init_ok(&s->user, s->node);
	s->tracker = (struct write_tracker){
		.bitmap = dirty_bitmap_create(SIZE, G), .dirtied = dirtied, .arg = s};
	ck_assert_int_eq(filter_open(&mirror_top_driver, NULL, s->node, &s->tracker, &s->filter,
				     NULL),
			 0);
	insert(s, f);

	consumer_init(&s->consumer, f->graph, &consumer_ops);
	ck_assert_int_eq(edge_attach_consumer(&s->consumer, "source", s->node, 0, PERM_ALL,
					      &s->source_edge, NULL),
			 0);
	ck_assert_int_eq(edge_attach_consumer(&s->consumer, "target", s->target, PERM_WRITE,
					      PERM_ALL, &s->target_edge, NULL),
			 0);
	const struct copy_settings settings = {
		.consumer = &s->consumer,
		.source = s->source_edge,
		.target = s->target_edge,
		.hooks = &hooks,
	};
	s->copy = copy_create(&settings);
}

static void co_fn stage_finish(struct stage *s)
{
	user_finish(&s->user);
	edge_detach(s->source_edge);
	edge_detach(s->target_edge);
	consumer_finish(&s->consumer);
	copy_destroy(s->copy);
	node_unref(s->filter);
	node_unref(s->node);
	node_unref(s->target);
	dirty_bitmap_destroy(s->tracker.bitmap);
}

static void write_twice_from_now_on(struct stage *s)
{
	s->tracker.copy = s->copy;
	s->tracker.second = s->target_edge;
}

FIXTURE_TEST(it_shows_what_is_below)
{
	struct stage s;
	stage_init(&s, f);
	ck_assert_ptr_eq(s.user.edge->child, s.filter);
	ck_assert(s.filter->implicit && node_is_job_filter(s.filter));
	ck_assert_uint_eq(s.filter->size, SIZE);
	ck_assert_str_eq(s.filter->filename, "first");
	memset(s.first->data, 'x', SIZE);
	ck_assert(user_sees(&s.user, 0, SIZE, 'x'));
	stage_finish(&s);
}

FIXTURE_TEST(writes_are_marked)
{
	struct stage s;
	stage_init(&s, f);
	ck_assert_int_eq(user_fill(&s.user, G + 512, 512, 'a'), 0);
	ck_assert(all_bytes(s.first->data + G + 512, 512, 'a'));
	ck_assert_uint_eq(dirty_bitmap_count(s.tracker.bitmap), G);
	ck_assert(dirty_bitmap_get(s.tracker.bitmap, G));
	ck_assert_uint_eq(s.tracker.marked, G);
	/* Once more the same: nothing that was clean gets dirty. */
	ck_assert_int_eq(user_fill(&s.user, G, 512, 'b'), 0);
	ck_assert_uint_eq(s.tracker.marked, G);
	ck_assert_uint_eq(s.dirtied, 2);

	consumer_enter(&s.user.consumer);
	ck_assert_int_eq(edge_zero(s.user.edge, 3 * G, 512, 0), 0);
	ck_assert_int_eq(edge_discard(s.user.edge, 5 * G, 512), 0);
	consumer_leave(&s.user.consumer);
	ck_assert(dirty_bitmap_get(s.tracker.bitmap, 3 * G));
	ck_assert(dirty_bitmap_get(s.tracker.bitmap, 5 * G));
	ck_assert_uint_eq(s.first->zeroes, 1);
	ck_assert_uint_eq(s.first->discards, 1);

	/* What failed may have landed in part. */
	s.first->write_error = -EIO;
	ck_assert_int_eq(user_fill(&s.user, 7 * G, 512, 'c'), -EIO);
	ck_assert(dirty_bitmap_get(s.tracker.bitmap, 7 * G));
	s.first->write_error = 0;
	ck_assert_uint_eq(s.second->writes, 0);
	stage_finish(&s);
}

FIXTURE_TEST(a_second_place_keeps_it_clean)
{
	struct stage s;
	stage_init(&s, f);
	write_twice_from_now_on(&s);
	ck_assert_int_eq(user_fill(&s.user, 512, 3 * G, 'a'), 0);
	consumer_enter(&s.user.consumer);
	ck_assert_int_eq(edge_zero(s.user.edge, G, G, REQUEST_MAY_UNMAP), 0);
	consumer_leave(&s.user.consumer);
	ck_assert_uint_eq(dirty_bitmap_count(s.tracker.bitmap), 0);
	ck_assert_uint_eq(s.dirtied, 0);
	ck_assert(memcmp(s.first->data, s.second->data, SIZE) == 0);
	ck_assert_uint_eq(s.second->unmaps, 1);

	/* What a discarded range shows is for a copy to find out. */
	consumer_enter(&s.user.consumer);
	ck_assert_int_eq(edge_discard(s.user.edge, 2 * G, G), 0);
	consumer_leave(&s.user.consumer);
	ck_assert_uint_eq(dirty_bitmap_count(s.tracker.bitmap), G);
	stage_finish(&s);
}

FIXTURE_TEST(a_failing_second_place_is_no_failure)
{
	struct stage s;
	stage_init(&s, f);
	write_twice_from_now_on(&s);
	s.second->write_error = s.second->zero_error = -ENOSPC;
	ck_assert_int_eq(user_fill(&s.user, G, 512, 'a'), 0);
	consumer_enter(&s.user.consumer);
	ck_assert_int_eq(edge_zero(s.user.edge, 3 * G, 512, 0), 0);
	consumer_leave(&s.user.consumer);
	ck_assert_uint_eq(dirty_bitmap_count(s.tracker.bitmap), 2 * G);
	ck_assert_uint_eq(s.dirtied, 2);
	s.second->write_error = s.second->zero_error = 0;
	ck_assert_int_eq(copy_dirty(s.copy, s.tracker.bitmap), 0);
	ck_assert(memcmp(s.first->data, s.second->data, SIZE) == 0);
	stage_finish(&s);
}

FIXTURE_TEST(what_is_dirty_is_not_written_twice)
{
	struct stage s;
	stage_init(&s, f);
	dirty_bitmap_set(s.tracker.bitmap, 0, 4 * G);
	write_twice_from_now_on(&s);
	ck_assert_int_eq(user_fill(&s.user, 3 * G + 1024, 1024, 'a'), 0);
	ck_assert_int_eq(user_fill(&s.user, G - 512, G + 1024, 'b'), 0);
	ck_assert_uint_eq(s.second->writes, 0);
	/* Half of it is clean. */
	ck_assert_int_eq(user_fill(&s.user, 4 * G - 512, 1024, 'c'), 0);
	ck_assert_uint_eq(s.second->writes, 1);
	ck_assert_uint_eq(dirty_bitmap_count(s.tracker.bitmap), 4 * G);
	ck_assert_int_eq(copy_dirty(s.copy, s.tracker.bitmap), 0);
	ck_assert(memcmp(s.first->data, s.second->data, SIZE) == 0);
	stage_finish(&s);
}

FIXTURE_TEST(others_may_not_write_below)
{
	struct stage s;
	stage_init(&s, f);
	struct user late;
	struct error *error = NULL;
	ck_assert_int_eq(user_init(&late, "late", s.node, PERM_WRITE, PERM_ALL, &error), -EPERM);
	error_expect_part(&error, "permissions 'write' are both required by user 'late'");
	/* The filter itself reads nothing consistently: what is below it may be half done. */
	ck_assert_uint_eq(s.filter->file->permissions & PERM_CONSISTENT_READ, 0);
	ck_assert_uint_ne(s.filter->file->permissions & PERM_WRITE, 0);
	stage_finish(&s);
}

FIXTURE_TEST(commit_top_asks_for_nothing)
{
	struct disk *d = disk_new(f, "d", SIZE);
	struct node *n = disk_open(f, d, &disk_driver), *filter;
	n->read_only = true;
	ck_assert_int_eq(filter_open(&commit_top_driver, "flt", n, NULL, &filter, NULL), 0);
	ck_assert(filter->read_only && !filter->implicit);
	struct stage s = {.node = n, .filter = filter};
	insert(&s, f);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", filter, PERM_CONSISTENT_READ, 0, NULL), 0);
	ck_assert_uint_eq(filter->file->permissions, 0);
	ck_assert_uint_eq(filter->file->shared, PERM_ALL);
	d->data[0] = 'x';
	unsigned char c;
	ck_assert_int_eq(user_read(&u, 0, 1, &c), 0);
	ck_assert_int_eq(c, 'x');
	user_finish(&u);
	node_unref(filter);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(it_shows_what_is_below),
	FIXTURE_ROW(writes_are_marked),
	FIXTURE_ROW(a_second_place_keeps_it_clean),
	FIXTURE_ROW(a_failing_second_place_is_no_failure),
	FIXTURE_ROW(what_is_dirty_is_not_written_twice),
	FIXTURE_ROW(others_may_not_write_below),
	FIXTURE_ROW(commit_top_asks_for_nothing),
};

UNIT_MAIN("filter", tests)
