/* SPDX-License-Identifier: MIT */
/* block/bitmap.c: what the data path marks, sizes that change, freezing, refusals. */
#include "block/bitmap.h"

#include "base/cleanup.h"
#include "tests/unit/block_fixture.h"

#define G 512

static struct bitmap *add(struct node *n, const char *name)
{
	struct bitmap *b;
	ck_assert_int_eq(bitmap_create(n, name, G, &b, NULL), 0);
	return b;
}

static bool is_dirty(const struct bitmap *b, uint64_t offset)
{
	return dirty_bitmap_get(b->bits, offset);
}

FIXTURE_TEST(every_change_is_marked)
{
	struct disk *d = disk_new(f, "d", 64 * G);
	d->limits.request_alignment = 512;
	struct node *n = open_ok(f, "driver=file,filename=d,discard=unmap");
	struct bitmap *b = add(n, "b"), *off = add(n, "off");
	off->enabled = false;
	struct user u;
	user_init_ok(&u, n);

	ck_assert_int_eq(user_fill(&u, 3 * G + 7, 1, 1), 0);
	ck_assert(!is_dirty(b, 2 * G) && is_dirty(b, 3 * G) && !is_dirty(b, 4 * G));
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_zero(u.edge, 5 * G, 2 * G, 0), 0);
	ck_assert_int_eq(edge_discard(u.edge, 10 * G + 1, 3 * G), 0);
	consumer_leave(&u.consumer);
	ck_assert(is_dirty(b, 5 * G) && is_dirty(b, 6 * G) && !is_dirty(b, 7 * G));
	ck_assert(is_dirty(b, 10 * G) && is_dirty(b, 13 * G) && !is_dirty(b, 14 * G));
	/* A write that fails may have changed something. */
	d->write_error = -EIO;
	ck_assert_int_eq(user_fill(&u, 20 * G, G, 1), -EIO);
	ck_assert(is_dirty(b, 20 * G));
	ck_assert(user_sees(&u, 30 * G, G, 0));
	ck_assert_uint_eq(bitmap_count(b->bits), 8 * G);
	ck_assert_uint_eq(bitmap_count(off->bits), 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(what_copy_on_read_stores_is_not_marked)
{
	disk_format_cow(disk_new(f, "top", 0), 8 * G, "base", "raw");
	disk_new(f, "base", 8 * G);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct bitmap *b = add(n, "b");
	struct user u;
	unsigned char buffer[G];
	user_init_ok(&u, n);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_read(u.edge, 0, G, buffer, REQUEST_COPY_ON_READ), 0);
	consumer_leave(&u.consumer);
	ck_assert_uint_eq(bitmap_count(b->bits), 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(a_bitmap_follows_the_size)
{
	struct disk *d = disk_new(f, "d", 10 * G);
	struct node *n = disk_open(f, d, &disk_driver);
	struct bitmap *b = add(n, "b");
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_fill(&u, 9 * G, G, 1), 0);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_truncate(u.edge, 20 * G + 1, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(&u.consumer);
	ck_assert_uint_eq(bitmap_count(b->bits), G);
	ck_assert_int_eq(user_fill(&u, 20 * G, 1, 1), 0);
	/* Granules count whole. */
	ck_assert_uint_eq(bitmap_count(b->bits), 2 * G);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_truncate(u.edge, 5 * G, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(&u.consumer);
	ck_assert_uint_eq(bitmap_count(b->bits), 0);
	ck_assert_uint_eq(dirty_bitmap_size(b->bits), 5 * G);
	/* What was there, and is zero now, has changed; what is new has not. */
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_truncate(u.edge, 15 * G, PREALLOCATION_OFF, NULL), 0);
	ck_assert_int_eq(edge_truncate(u.edge, 30 * G, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(&u.consumer);
	ck_assert(!dirty_bitmap_get(b->bits, 5 * G - 1));
	ck_assert(dirty_bitmap_get(b->bits, 5 * G) && dirty_bitmap_get(b->bits, 15 * G));
	ck_assert(!dirty_bitmap_get(b->bits, 22 * G));
	user_finish(&u);
	node_unref(n);
}

/* A format writes beyond the end of its file, which grows: the new part is marked. */
FIXTURE_TEST(growth_by_a_write_is_marked)
{
	disk_format_cow(disk_new(f, "c", 0), 8 * G, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=c");
	struct node *file = n->file->child;
	struct bitmap *b = add(file, "b");
	uint64_t old_size = file->size;
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_fill(&u, 0, G, 1), 0);
	ck_assert_uint_gt(file->size, old_size);
	ck_assert(is_dirty(b, file->size - 1));
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(names_are_checked_and_found)
{
	struct node *n = disk_open(f, disk_new(f, "d", 10 * G), &disk_driver);
	struct error *error = NULL;
	struct bitmap *b;
	char name[BITMAP_NAME_MAX + 2];
	ck_assert_int_eq(bitmap_create(n, "", G, &b, &error), -EINVAL);
	error_expect(&error, "Bitmap name cannot be empty");
	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(bitmap_create(n, name, G, &b, &error), -EINVAL);
	error_expect_part(&error, "Bitmap name too long: x");
	name[BITMAP_NAME_MAX] = '\0';
	add(n, name);
	ck_assert_int_eq(bitmap_create(n, name, G, &b, &error), -EEXIST);
	error_expect_part(&error, "Bitmap already exists: x");
	ck_assert_int_eq(bitmap_create(n, "b", 3 * G, &b, &error), -EINVAL);
	error_expect(&error, "Granularity must be power of 2 and at least 512");
	ck_assert_int_eq(bitmap_create(n, "b", 256, &b, NULL), -EINVAL);
	b = add(n, "b");
	struct bitmap *own = add(n, NULL);

	ck_assert_ptr_eq(bitmap_find(n, "b"), b);
	ck_assert_ptr_eq(bitmap_find_error(f->graph, n->name, "b", NULL), b);
	ck_assert_ptr_null(bitmap_find_error(f->graph, "x", "b", &error));
	error_expect(&error, "Node 'x' not found");
	ck_assert_ptr_null(bitmap_find_error(f->graph, n->name, "c", &error));
	error_expect(&error, "Dirty bitmap 'c' not found");
	ck_assert_ptr_eq(bitmap_next(n, NULL), own);
	ck_assert_ptr_eq(bitmap_next(n, own), b);
	bitmap_destroy(own);
	bitmap_destroy(b);
	bitmap_destroy(NULL);
	ck_assert_ptr_null(bitmap_find(n, "b"));
	node_unref(n);
}

FIXTURE_TEST(obstacles_are_told)
{
	struct node *n = disk_open(f, disk_new(f, "d", 10 * G), &disk_driver);
	struct bitmap *b = add(n, "b");
	struct error *error = NULL;
	ck_assert_int_eq(bitmap_check(b, BITMAP_UNWRITABLE, &error), 0);
	b->busy = b->read_only = b->inconsistent = true;
	ck_assert_int_eq(bitmap_check(b, BITMAP_UNWRITABLE, &error), -EBUSY);
	error_expect(&error, "Bitmap 'b' is currently in use by another operation and cannot be used");
	b->busy = false;
	ck_assert_int_eq(bitmap_check(b, BITMAP_UNWRITABLE, &error), -EACCES);
	error_expect(&error, "Bitmap 'b' is readonly and cannot be modified");
	ck_assert_int_eq(bitmap_check(b, BITMAP_UNREADABLE, &error), -EINVAL);
	error_expect(&error, "Bitmap 'b' is inconsistent and cannot be used");
	ck_assert_int_eq(bitmap_check(b, BITMAP_BUSY, &error), 0);
	/* Nothing is marked in what is incomplete anyway. */
	bitmaps_mark(n, 0, G);
	ck_assert_uint_eq(bitmap_count(b->bits), 0);
	node_unref(n);
}

FIXTURE_TEST(frozen_bits_stand_still)
{
	struct node *n = disk_open(f, disk_new(f, "d", 10 * G), &disk_driver);
	struct bitmap *b = add(n, "b");
	struct error *error = NULL;
	for (int round = 0; round < 2; round++) {
		dirty_bitmap_clear(b->bits, 0, UINT64_MAX);
		bitmaps_mark(n, 0, G);
		ck_assert_int_eq(bitmap_freeze(b, NULL), 0);
		ck_assert(bitmap_is_recording(b) && b->busy);
		ck_assert_int_eq(bitmap_freeze(b, &error), -EBUSY);
		error_expect_part(&error, "in use by another operation");
		bitmaps_mark(n, 2 * G, G);
		ck_assert_uint_eq(bitmap_count(b->bits), G);
		if (round == 0)
			bitmap_abdicate(b);
		else
			bitmap_reclaim(b);
		ck_assert(b->enabled && !b->busy && !b->successor);
		ck_assert_int_eq(is_dirty(b, 0), round == 1);
		ck_assert(is_dirty(b, 2 * G));
		bitmaps_mark(n, 4 * G, G);
		ck_assert(is_dirty(b, 4 * G));
		ck_assert_ptr_null(bitmap_next(n, b));
	}
	/* One that does not record stays so. */
	b->enabled = false;
	ck_assert_int_eq(bitmap_freeze(b, NULL), 0);
	bitmaps_mark(n, 6 * G, G);
	ck_assert(!bitmap_is_recording(b));
	bitmap_reclaim(b);
	ck_assert(!b->enabled && !is_dirty(b, 6 * G));
	/* A frozen one goes with its node. */
	ck_assert_int_eq(bitmap_freeze(b, NULL), 0);
	node_unref(n);
}

FIXTURE_TEST(only_equal_sizes_merge)
{
	struct node *n = disk_open(f, disk_new(f, "d", 10 * G), &disk_driver);
	struct node *m = disk_open(f, disk_new(f, "e", 11 * G), &disk_driver);
	struct bitmap *a = add(n, "a"), *b = add(n, "b"), *c = add(m, "c");
	struct error *error = NULL;
	ck_assert_int_eq(bitmap_check_merge(a, b, &error), 0);
	ck_assert_int_eq(bitmap_check_merge(a, c, &error), -EINVAL);
	error_expect(&error, "Bitmaps are of different sizes (destination size is 5120, source size "
			     "is 5632) and can't be merged");
	node_unref(n);
	node_unref(m);
}

FIXTURE_TEST(hash_is_of_the_words)
{
	struct node *n = disk_open(f, disk_new(f, "d", 10 * G), &disk_driver);
	char hash[65];
	bitmap_sha256(add(n, "b"), hash);
	ck_assert_str_eq(hash, "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc");
	node_unref(n);
}

FIXTURE_TEST(granularity_follows_the_clusters)
{
	struct node *n = disk_open(f, disk_new(f, "d", 10 * G), &disk_driver);
	ck_assert_uint_eq(bitmap_default_granularity(n), 65536);
	node_unref(n);
	disk_format_cow(disk_new(f, "c", 0), 8 * G, NULL, NULL);
	n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=c");
	ck_assert_uint_eq(bitmap_default_granularity(n), 4096);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(every_change_is_marked),
	FIXTURE_ROW(what_copy_on_read_stores_is_not_marked),
	FIXTURE_ROW(a_bitmap_follows_the_size),
	FIXTURE_ROW(growth_by_a_write_is_marked),
	FIXTURE_ROW(names_are_checked_and_found),
	FIXTURE_ROW(obstacles_are_told),
	FIXTURE_ROW(frozen_bits_stand_still),
	FIXTURE_ROW(only_equal_sizes_merge),
	FIXTURE_ROW(hash_is_of_the_words),
	FIXTURE_ROW(granularity_follows_the_clusters),
};

UNIT_MAIN("bitmap", tests)
