/* SPDX-License-Identifier: MIT */
/* drivers/preallocate: what the longer file must not show, and must not lose. */
#include "drivers/filters.h"
#include "tests/unit/block_fixture.h"

static const struct driver *const drivers[] = {&disk_driver, &raw_driver, &preallocate_driver,
					       NULL};

struct stage {
	struct disk *disk;
	struct node *raw;
	struct user user;
	struct edge *edge; /* from the format to the filter: it may write beyond the end */
	struct node *filter;
};

static void co_fn stage_init(struct stage *s, struct fixture *f)
{
	f->graph->drivers = drivers;
	s->disk = disk_new(f, "d", 4096);
	s->raw = open_ok(f, "driver=raw,file.driver=preallocate,file.prealloc-size=65536,"
			 "file.prealloc-align=4096,file.file.driver=file,file.file.filename=d");
	ck_assert_int_eq(user_init(&s->user, "u", s->raw, PERM_ALL, PERM_ALL, NULL), 0);
	s->edge = s->raw->file;
	s->filter = s->edge->child;
	ck_assert(s->edge->permissions & PERM_RESIZE);
}

static void co_fn stage_finish(struct stage *s)
{
	user_finish(&s->user);
	node_unref(s->raw);
}

FIXTURE_TEST(what_a_failed_write_left_does_not_show)
{
	struct stage s;
	char data[512];
	stage_init(&s, f);
	memset(data, 7, sizeof(data));
	s.disk->write_error = -EIO;
	ck_assert_int_eq(edge_write(s.edge, 8192, 512, data, 0), -EIO);
	s.disk->write_error = 0;
	ck_assert_uint_gt(s.disk->size, 65536);
	memset(s.disk->data + 8192, 7, 256); /* a part had arrived */
	ck_assert_uint_eq(s.filter->size, 4096);
	ck_assert_int_eq(edge_truncate(s.edge, 16384, PREALLOCATION_OFF, NULL), 0);
	ck_assert_uint_eq(s.filter->size, 16384);
	ck_assert_int_eq(edge_read(s.edge, 8192, 512, data, 0), 0);
	ck_assert(all_bytes(data, sizeof(data), 0));
	stage_finish(&s);
}

struct far_write {
	struct edge *edge;
	int result;
	bool done;
};

static void co_fn write_far_away(void *arg)
{
	struct far_write *w = arg;
	char data[512];
	memset(data, 9, sizeof(data));
	w->result = edge_write(w->edge, 262144, sizeof(data), data, 0);
	w->done = true;
}

/*
 * For zeroes no room is made first: they make the file longer by themselves, and who makes
 * room for a write may come to wait for that. A write to the file stands for them here.
 */
FIXTURE_TEST(making_room_does_not_cut)
{
	struct stage s;
	char data[512];
	stage_init(&s, f);
	memset(data, 7, sizeof(data));
	s.disk->delay_ns = 1000;
	struct far_write w = {.edge = s.filter->file};
	co_start(f->loop, write_far_away, &w);
	co_sleep_ns(10);
	ck_assert_int_eq(edge_write(s.edge, 8192, 512, data, 0), 0);
	ck_assert(w.done);
	ck_assert_int_eq(w.result, 0);
	ck_assert_uint_eq(s.disk->size, 262144 + 512);
	ck_assert_int_eq(edge_read(s.filter->file, 262144, 512, data, 0), 0);
	ck_assert(all_bytes(data, sizeof(data), 9));
	stage_finish(&s);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(what_a_failed_write_left_does_not_show),
	FIXTURE_ROW(making_room_does_not_cut),
};

UNIT_MAIN("preallocate", tests)
