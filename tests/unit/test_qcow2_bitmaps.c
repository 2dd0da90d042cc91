/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2: bitmaps in the image: stored and loaded, marked, cut off by a power
 * failure, damaged, removed, resized.
 */
#include "block/bitmap.h"
#include "drivers/qcow2/bitmap.h"
#include "tests/unit/qcow2_fixture.h"

static struct bitmap *add(struct image *i, const char *name, uint32_t granularity)
{
	struct bitmap *b;

	ck_assert_int_eq(qcow2_can_store_bitmap(i->node, name, granularity, NULL), 0);
	ck_assert_int_eq(bitmap_create(i->node, name, granularity, &b, NULL), 0);
	b->persistent = true;
	return b;
}

static struct bitmap *get(struct image *i, const char *name)
{
	struct bitmap *b = bitmap_find(i->node, name);

	ck_assert_ptr_nonnull(b);
	return b;
}

IMAGE_TEST(bits_come_back)
{
	static const struct {
		const char *creation;
		uint32_t granularity;
	} cases[] = {
		{"size=8M", 65536},	       {"size=8M", 512},
		{"size=1536", 65536},	       {"size=1536", 512},
		{"size=32M,cluster-size=512", 512}, {"size=5000192,cluster-size=2048", 1024},
		{"size=8M,cluster-size=2M", 4096}, {"size=8M,refcount-bits=1", 512},
	};

	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		image_create_ok(i, cases[n].creation);
		image_open_ok(i, "");
		struct bitmap *b = add(i, "b", cases[n].granularity);
		uint64_t size = i->node->size;

		add(i, "empty", 65536)->enabled = false;
		dirty_bitmap_set(add(i, "full", 512)->bits, 0, UINT64_MAX);
		for (uint64_t at = 0; at < size; at += 3 * size / 16 + 512)
			dirty_bitmap_set(b->bits, at, size / 40);
		dirty_bitmap_set(b->bits, size - 1, 1);
		struct dirty_bitmap *old = dirty_bitmap_clone(b->bits);

		image_reopen(i, n % 2 ? "" : "read-only=on");
		b = get(i, "b");
		ck_assert(b->persistent && b->enabled && !b->inconsistent);
		ck_assert_int_eq(b->read_only, n % 2 == 0);
		ck_assert_uint_eq(dirty_bitmap_granularity(b->bits), cases[n].granularity);
		ck_assert_uint_eq(dirty_bitmap_count(b->bits), dirty_bitmap_count(old));
		for (uint64_t at = 0; at < size; at += 512)
			ck_assert_int_eq(dirty_bitmap_get(b->bits, at), dirty_bitmap_get(old, at));
		ck_assert(!get(i, "empty")->enabled);
		ck_assert_uint_eq(bitmap_count(get(i, "empty")->bits), 0);
		ck_assert_uint_eq(dirty_bitmap_count(get(i, "full")->bits), size);
		image_expect_check(i, 0, 0);
		dirty_bitmap_destroy(old);
		image_close(i);
	}
}

IMAGE_TEST(stored_again_and_again_nothing_leaks)
{
	image_create_ok(i, "size=8M,cluster-size=4k");
	image_open_ok(i, "");
	add(i, "b", 512);
	for (int n = 0; n < 5; n++) {
		image_write(i, n * MiB, 100000, 1);
		image_reopen(i, "");
		ck_assert_uint_eq(dirty_bitmap_count(get(i, "b")->bits),
				  (n + 1) * align_up(100000, 512));
		image_expect_check(i, 0, 0);
	}
	uint64_t size = i->disk.size;

	for (int n = 0; n < 20; n++)
		image_reopen(i, "");
	ck_assert_uint_le(i->disk.size, size + 64 * KiB);
	image_close(i);
}

/* What is on disk now, opened as another program would after a crash. */
static void co_fn crash(struct image *i, const char *options)
{
	_cleanup_free_ uint8_t *copy = xmemdup(i->disk.data, i->disk.size);
	uint64_t size = i->disk.size;

	image_close(i);
	memcpy(i->disk.data, copy, size);
	i->disk.size = size;
	image_open_ok(i, options);
}

IMAGE_TEST(open_for_writing_means_in_use)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	add(i, "b", 65536);
	image_reopen(i, "read-only=on");
	crash(i, "read-only=on");
	ck_assert(!get(i, "b")->inconsistent);
	image_reopen(i, "");
	crash(i, "");
	struct bitmap *b = get(i, "b");

	ck_assert(b->inconsistent && !b->enabled && b->persistent);
	/* It is kept, and tells what it is, until it is removed. */
	image_write(i, 0, 65536, 1);
	image_reopen(i, "");
	ck_assert(get(i, "b")->inconsistent);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(qcow2_remove_bitmap(i->node, "b", NULL), 0);
	bitmap_destroy(get(i, "b"));
	image_reopen(i, "");
	ck_assert_ptr_null(bitmap_next(i->node, NULL));
	ck_assert(!(i->q->header.autoclear & AUTOCLEAR_BITMAPS));
	image_expect_check(i, 0, 0);
	image_close(i);
}

/* A power cut at any place: a bitmap that is not inconsistent covers what was written. */
static void co_fn cut(struct image *i, unsigned flushes, uint64_t seed)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	add(i, "b", 65536);
	image_write(i, 0, 65536, 1);
	image_close(i);

	disk_cut_begin(&i->disk, flushes, seed);
	image_open_ok(i, "");
	image_write(i, MiB, 65536, 2);
	image_flush(i);
	add(i, "c", 512);
	image_write(i, 2 * MiB, 65536, 3);
	ck_assert_int_eq(seed % 2 ? 0 : qcow2_remove_bitmap(i->node, "b", NULL), 0);
	if (seed % 2 == 0)
		bitmap_destroy(get(i, "b"));
	image_close(i);
	disk_cut_end(&i->disk);

	image_open_ok(i, "read-only=on");
	uint8_t first, second, third;

	consumer_enter(&i->consumer);
	ck_assert_int_eq(edge_read(i->edge, 0, 1, &first, 0), 0);
	ck_assert_int_eq(edge_read(i->edge, MiB, 1, &second, 0), 0);
	ck_assert_int_eq(edge_read(i->edge, 2 * MiB, 1, &third, 0), 0);
	consumer_leave(&i->consumer);
	struct bitmap *b = bitmap_find(i->node, "b"), *c = bitmap_find(i->node, "c");

	ck_assert_uint_eq(first, 1);
	if (b && !b->inconsistent) {
		ck_assert(dirty_bitmap_get(b->bits, 0));
		ck_assert(second == 0 || dirty_bitmap_get(b->bits, MiB));
		ck_assert(third == 0 || dirty_bitmap_get(b->bits, 2 * MiB));
	}
	/* Clean and stored: it has seen everything since it was made. */
	ck_assert(!c || (!c->inconsistent && dirty_bitmap_get(c->bits, 2 * MiB)));
	ck_assert(b || seed % 2 == 0);
	struct image_check result = {0};

	ck_assert_int_eq(qcow2_check(i->node, 0, &result, NULL), 0);
	ck_assert_uint_eq(result.corruptions, 0);
	image_close(i);
}

IMAGE_TEST(power_may_fail_at_any_time)
{
	for (unsigned flushes = 0; flushes < 20; flushes++) {
		for (uint64_t seed = 0; seed < 8; seed++)
			cut(i, flushes, seed);
	}
}

IMAGE_TEST(what_cannot_be_stored_stays_in_use)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	add(i, "b", 65536);
	image_reopen(i, "");
	image_write(i, 0, 65536, 1);
	image_flush(i);
	struct error *error = NULL;

	i->disk.write_error = -ENOSPC;
	ck_assert_int_eq(qcow2_bitmaps_store(i->q, &error), -ENOSPC);
	ck_assert_str_eq(error->message,
			 "Failed to write bitmap 'b' to file: No space left on device");
	error_free(error);
	i->disk.write_error = 0;
	crash(i, "");
	ck_assert(get(i, "b")->inconsistent);
	image_expect(i, 0, 65536, 1);
	image_expect_check(i, 0, 0);
	image_close(i);
}

/* The image does not become read-only, at whatever that fails, and is written further. */
static bool co_fn fail_to_end(struct image *i, unsigned nth)
{
	static const char data[512] = {1};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	add(i, "b", 65536);
	image_reopen(i, "");
	image_write(i, 0, 65536, 1);
	struct reopen reopen = {.node = i->node, .options = i->node->options, .read_only = true};

	i->disk.writes = 0;
	i->disk.write_fails_once = nth;
	int r = qcow2_reopen_prepare(&reopen, NULL);
	bool failed = i->disk.writes >= nth;

	i->disk.write_fails_once = 0;
	if (r == 0)
		qcow2_reopen_abort(&reopen);
	consumer_enter(&i->consumer);
	r = edge_write(i->edge, MiB, sizeof(data), data, 0);
	if (r == 0)
		r = edge_flush(i->edge);
	consumer_leave(&i->consumer);
	crash(i, "read-only=on");
	struct bitmap *b = get(i, "b");

	ck_assert(r < 0 || b->inconsistent || dirty_bitmap_get(b->bits, MiB));
	image_close(i);
	return failed;
}

IMAGE_TEST(what_stays_writable_stays_in_use)
{
	for (unsigned nth = 1; fail_to_end(i, nth); nth++)
		;
}

/* The first write to bitmaps that were stored marks them, or fails; so does the next one. */
IMAGE_TEST(a_mark_that_has_failed_comes_again)
{
	static const char data[512] = {1};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	add(i, "b", 65536);
	image_reopen(i, "");
	struct reopen reopen = {.node = i->node, .options = i->node->options, .read_only = true};

	ck_assert_int_eq(qcow2_reopen_prepare(&reopen, NULL), 0);
	qcow2_reopen_abort(&reopen);
	i->disk.writes = 0;
	i->disk.write_fails_once = 1;
	consumer_enter(&i->consumer);
	ck_assert_int_lt(edge_write(i->edge, MiB, sizeof(data), data, 0), 0);
	ck_assert_int_eq(edge_write(i->edge, MiB, sizeof(data), data, 0), 0);
	ck_assert_int_eq(edge_flush(i->edge), 0);
	consumer_leave(&i->consumer);
	crash(i, "read-only=on");
	ck_assert(get(i, "b")->inconsistent);
	image_close(i);
}

IMAGE_TEST(failures_are_told_and_lose_nothing)
{
	struct error *error = NULL;

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	dirty_bitmap_set(add(i, "b", 65536)->bits, 0, MiB);
	image_close(i);
	i->disk.write_error = -EIO;
	_cleanup_free_ char *sentence = image_open_error(i, "");

	ck_assert_str_eq(sentence, "Could not mark the bitmaps as in use: Input/output error");
	i->disk.write_error = 0;
	image_open_ok(i, "");
	i->disk.flush_error = -EIO;
	ck_assert_int_eq(qcow2_remove_bitmap(i->node, "b", &error), -EIO);
	ck_assert_str_eq(error->message,
			 "Failed to remove bitmap 'b' from file: Input/output error");
	error_free(error);
	/* Which directory the header names is unknown: nothing more is written. Here it is the new. */
	ck_assert(i->node->corrupt);
	i->disk.flush_error = 0;
	image_reopen(i, "");
	ck_assert_ptr_null(bitmap_find(i->node, "b"));
	struct image_check result = {0};

	ck_assert_int_eq(qcow2_check(i->node, 0, &result, NULL), 0);
	ck_assert_uint_eq(result.corruptions, 0);
	image_close(i);
}

IMAGE_TEST(another_size_fits)
{
	struct error *error = NULL;

	image_create_ok(i, "size=1M,cluster-size=512");
	image_open_ok(i, "");
	add(i, "b", 512);
	image_write(i, MiB - 512, 512, 1);
	ck_assert_int_eq(edge_set_permissions(i->edge, PERM_ALL, PERM_ALL, NULL), 0);
	consumer_enter(&i->consumer);
	ck_assert_int_eq(edge_truncate(i->edge, 30 * MiB, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(&i->consumer);
	image_write(i, 29 * MiB, 512, 1);
	image_reopen(i, "");
	ck_assert_uint_eq(bitmap_count(get(i, "b")->bits), 1024);
	ck_assert(dirty_bitmap_get(get(i, "b")->bits, 29 * MiB));
	crash(i, "");
	ck_assert_int_eq(edge_set_permissions(i->edge, PERM_ALL, PERM_ALL, NULL), 0);
	consumer_enter(&i->consumer);
	ck_assert_int_eq(edge_truncate(i->edge, MiB, PREALLOCATION_OFF, &error), -EINVAL);
	consumer_leave(&i->consumer);
	ck_assert_str_eq(error->message, "Bitmap 'b' is inconsistent and cannot be used");
	error_free(error);
	image_expect_check(i, 0, 0);
	image_close(i);
}

IMAGE_TEST(what_could_not_be_stored_does_not_grow)
{
	struct error *error = NULL;

	image_create_ok(i, "size=1M");
	image_open_ok(i, "");
	add(i, "b", 65536);
	add(i, "fine", 512);
	image_write(i, 0, 65536, 1);
	ck_assert_int_eq(edge_set_permissions(i->edge, PERM_ALL, PERM_ALL, NULL), 0);
	consumer_enter(&i->consumer);
	ck_assert_int_eq(edge_truncate(i->edge, UINT64_C(64) << 40, PREALLOCATION_OFF, &error),
			 -EFBIG);
	consumer_leave(&i->consumer);
	ck_assert_str_eq(error->message, "Bitmap 'fine' would take too much space in an image of "
					 "70368744177664 bytes");
	error_free(error);
	image_reopen(i, "");
	ck_assert_uint_eq(i->node->size, MiB);
	ck_assert(!get(i, "b")->inconsistent && !get(i, "fine")->inconsistent);
	image_close(i);
}

/* Where the directory lies, and where its first entry's table. */
static uint8_t *directory(struct image *i)
{
	const struct qcow2_extension *e =
		qcow2_extension_find(&i->q->extensions, EXTENSION_BITMAPS);

	return i->disk.data + load_be64(e->data + BITMAPS_DIRECTORY_OFFSET);
}

static void co_fn create_with_bitmap(struct image *i)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	dirty_bitmap_set(add(i, "b", 512)->bits, 0, MiB);
	image_reopen(i, "read-only=on");
}

IMAGE_TEST(damaged_directories_are_refused)
{
	static const struct {
		unsigned at; /* in the entry */
		uint8_t byte;
		const char *sentence;
	} cases[] = {
		{BITMAP_NAME_BYTES + 1, 0, "Entry 0 of the bitmap directory is damaged"},
		{BITMAP_NAME_BYTES, 0x10, "Entry 0 of the bitmap directory is damaged"},
		{BITMAP_EXTRA_BYTES, 0x80, "Entry 0 of the bitmap directory is damaged"},
		{BITMAP_FIXED_BYTES, 0, "Entry 0 of the bitmap directory is damaged"},
	};

	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		create_with_bitmap(i);
		uint8_t *entry = directory(i);

		image_close(i);
		entry[cases[n].at] = cases[n].byte;
		_cleanup_free_ char *sentence = image_open_error(i, "read-only=on");

		ck_assert_str_eq(sentence, cases[n].sentence);
	}
}

IMAGE_TEST(impossible_tables_make_inconsistent_bitmaps)
{
	for (unsigned n = 0; n < 4; n++) {
		create_with_bitmap(i);
		uint8_t *entry = directory(i), *table = i->disk.data + load_be64(entry);

		image_close(i);
		if (n == 0)
			store_be32(entry + BITMAP_TABLE_ENTRIES, 5);
		else if (n == 1)
			store_be64(entry + BITMAP_TABLE_OFFSET, 512);
		else
			store_be64(table, n == 2 ? UINT64_C(1) << 50 : 3);
		image_open_ok(i, "read-only=on");
		ck_assert(get(i, "b")->inconsistent);
		ck_assert_uint_eq(bitmap_count(get(i, "b")->bits), 0);
		image_close(i);
	}
}

IMAGE_TEST(unknown_kinds_are_kept_and_not_shown)
{
	create_with_bitmap(i);
	uint8_t *entry = directory(i);

	image_close(i);
	entry[BITMAP_TYPE] = 77;
	image_open_ok(i, "");
	ck_assert_ptr_null(bitmap_next(i->node, NULL));
	struct error *error = NULL;

	ck_assert_int_eq(qcow2_can_store_bitmap(i->node, "b", 65536, &error), -EEXIST);
	ck_assert_str_eq(error->message, "Bitmap with the same name is already stored");
	error_free(error);
	add(i, "c", 65536);
	image_reopen(i, "read-only=on");
	ck_assert_ptr_nonnull(get(i, "c"));
	ck_assert_uint_eq(directory(i)[BITMAP_TYPE], 77);
	/* Whoever knows it is told that it missed something. */
	ck_assert_uint_eq(load_be32(directory(i) + BITMAP_FLAGS), BITMAP_IN_USE | BITMAP_AUTO);
	image_expect_check(i, 0, 0);
	image_close(i);
}

IMAGE_TEST(without_the_autoclear_bit_nothing_counts)
{
	create_with_bitmap(i);
	image_close(i);
	i->disk.data[HEADER_AUTOCLEAR + 7] = 0;
	image_open_ok(i, "");
	ck_assert_ptr_null(bitmap_next(i->node, NULL));
	image_write(i, 0, 65536, 1);
	add(i, "new", 65536);
	image_reopen(i, "");
	ck_assert_ptr_nonnull(get(i, "new"));
	ck_assert_ptr_null(bitmap_find(i->node, "b"));
	image_close(i);
}

IMAGE_TEST(limits_are_told)
{
	struct error *error = NULL;

	image_create_ok(i, "size=1M,version=v2");
	image_open_ok(i, "");
	ck_assert_int_eq(qcow2_can_store_bitmap(i->node, "b", 512, &error), -ENOTSUP);
	ck_assert_str_eq(error->message, "Cannot store dirty bitmaps in qcow2 v2 files");
	error_free(error);
	image_close(i);
	image_create_ok(i, "size=64T");
	image_open_ok(i, "");
	error = NULL;
	ck_assert_int_eq(qcow2_can_store_bitmap(i->node, "b", 512, &error), -EINVAL);
	ck_assert_str_eq(error->message,
			 "Too much space will be occupied by the bitmap. Use larger granularity");
	error_free(error);
	char name[BITMAP_NAME_MAX + 2];

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	error = NULL;
	ck_assert_int_eq(qcow2_can_store_bitmap(i->node, name, 65536, &error), -EINVAL);
	ck_assert_str_eq(error->message, "Name length exceeds maximum (1023 characters)");
	error_free(error);
	image_close(i);
}

static const struct unit_test tests[] = {
	IMAGE_ROW(bits_come_back),
	IMAGE_ROW(stored_again_and_again_nothing_leaks),
	IMAGE_ROW(open_for_writing_means_in_use),
	IMAGE_ROW(power_may_fail_at_any_time),
	IMAGE_ROW(what_cannot_be_stored_stays_in_use),
	IMAGE_ROW(what_stays_writable_stays_in_use),
	IMAGE_ROW(a_mark_that_has_failed_comes_again),
	IMAGE_ROW(failures_are_told_and_lose_nothing),
	IMAGE_ROW(another_size_fits),
	IMAGE_ROW(what_could_not_be_stored_does_not_grow),
	IMAGE_ROW(damaged_directories_are_refused),
	IMAGE_ROW(impossible_tables_make_inconsistent_bitmaps),
	IMAGE_ROW(unknown_kinds_are_kept_and_not_shown),
	IMAGE_ROW(without_the_autoclear_bit_nothing_counts),
	IMAGE_ROW(limits_are_told),
};

UNIT_MAIN("qcow2_bitmaps", tests)
