/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2/amend.c, measure.c and emptying in resize.c: what an image shows
 * stays, whatever cannot be written.
 */
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/snapshot.h"

#include "tests/unit/qcow2_fixture.h"

#define CLUSTER (64 * KiB)

/* Change the options in @text; returns what the driver does. */
static int co_fn amend(struct image *i, const char *text)
{
	char *whole _cleanup_free_ = xasprintf("driver=qcow2,file=some,size=0,%s", text);
	void *options;

	ck_assert_int_eq(schema_decode_keyval(&blockdev_create_options_type, whole, NULL, &options,
					      NULL), 0);
	int r = qcow2_amend(i->node, options, NULL);

	schema_free(&blockdev_create_options_type, options);
	return r;
}

/* Data, zero clusters with and without a place of their own, compressed data, a snapshot. */
static void co_fn make(struct image *i, const char *options, bool with_snapshot)
{
	image_create_ok(i, options);
	image_open_ok(i, "");
	image_write(i, 0, MiB, 1);
	image_zero(i, 128 * KiB, 128 * KiB, 0);
	image_zero(i, 512 * KiB, 128 * KiB, REQUEST_MAY_UNMAP);
	image_write_compressed(i, 2 * MiB, CLUSTER, 4);
	if (with_snapshot) {
		ck_assert_int_eq(qcow2_snapshot_create(i->node, "one", NULL), 0);
		image_write(i, 0, CLUSTER, 1);
	}
	image_flush(i);
}

static void co_fn expect_same(struct image *i)
{
	image_expect(i, 0, 128 * KiB, 1);
	image_expect(i, 128 * KiB, 128 * KiB, 0);
	image_expect(i, 256 * KiB, 256 * KiB, 1);
	image_expect(i, 512 * KiB, 128 * KiB, 0);
	image_expect(i, 640 * KiB, 384 * KiB, 1);
	image_expect(i, MiB, MiB, 0);
	image_expect(i, 2 * MiB, CLUSTER, 4);
}

IMAGE_TEST(versions_change_both_ways)
{
	make(i, "size=8M", false);
	ck_assert_int_eq(amend(i, "version=v2"), 0);
	ck_assert_uint_eq(i->q->header.version, 2);
	image_reopen(i, "");
	ck_assert_uint_eq(i->q->header.version, 2);
	expect_same(i);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(amend(i, "version=v3,lazy-refcounts=on"), 0);
	image_reopen(i, "");
	ck_assert_uint_eq(i->q->header.version, 3);
	ck_assert(i->q->settings.lazy_refcounts);
	expect_same(i);
	image_expect_check(i, 0, 0);
	image_close(i);
}

/* The header of this one does not name the backing file. */
IMAGE_TEST(zeroes_stay_above_a_backing_file)
{
	image_set_backing(i, 8 * MiB, 7);
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_zero(i, 0, MiB, 0);
	ck_assert_int_eq(amend(i, "version=v2"), 0);
	image_expect(i, 0, MiB, 0);
	image_expect(i, MiB, 7 * MiB, 7);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(refcounts_change_their_width)
{
	static const unsigned bits[] = {1, 64, 2, 32, 4, 8, 16};

	make(i, "size=8M", false);
	for (size_t n = 0; n < ARRAY_SIZE(bits); n++) {
		char *text _cleanup_free_ = xasprintf("refcount-bits=%u", bits[n]);

		/* Compressed clusters share theirs, but here there is only one. */
		ck_assert_int_eq(amend(i, text), 0);
		image_write(i, 4 * MiB, MiB, 7);
		image_reopen(i, "");
		ck_assert_uint_eq(1u << i->q->refcount_order, bits[n]);
		expect_same(i);
		image_expect_check(i, 0, 0);
	}
	image_close(i);
}

IMAGE_TEST(what_would_lose_something_is_refused)
{
	make(i, "size=8M", true);
	ck_assert_int_eq(amend(i, "version=v2"), -ENOTSUP);
	ck_assert_int_eq(amend(i, "refcount-bits=1"), -EINVAL);
	ck_assert_int_eq(amend(i, "refcount-bits=3"), -EINVAL);
	ck_assert_int_eq(amend(i, "refcount-bits=128"), -EINVAL);
	ck_assert_int_eq(amend(i, "version=v2,lazy-refcounts=on"), -EINVAL);
	ck_assert_int_eq(amend(i, "version=v2,refcount-bits=8"), -EINVAL);
	expect_same(i);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(amend(i, "refcount-bits=2"), 0);
	image_reopen(i, "");
	expect_same(i);
	image_expect_check(i, 0, 0);
	image_close(i);
}

/* With their new width, the refcount blocks lie in a row, and one of them counts all of them. */
IMAGE_TEST(refcount_blocks_that_cannot_be_given_up_stay)
{
	image_create_ok(i, "size=8M,cluster-size=4096");
	image_open_ok(i, "discard=unmap");
	for (uint64_t at = 0; at < 8 * MiB; at += 2 * MiB)
		image_write(i, at, 4096, 1); /* all L2 tables come first */
	image_write(i, 0, 8 * MiB, 1);
	ck_assert_int_eq(amend(i, "refcount-bits=64"), 0);
	image_discard(i, MiB, 6 * MiB);
	ck_assert_int_eq(qcow2_settle(i->q), 0);
	i->disk.flush_error = -EIO;
	ck_assert_int_eq(qcow2_refcount_shrink(i->q), -EIO);
	i->disk.flush_error = 0;
	ck_assert_int_eq(qcow2_settle(i->q), 0);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(qcow2_refcount_shrink(i->q), 0);
	image_expect_check(i, 0, 0);
	image_close(i);
}

/* The image opens afterwards, shows the same, and has leaks at worst. */
static void co_fn fail_at(struct image *i, const char *text, unsigned cluster)
{
	make(i, "size=8M", strstr(text, "version") == NULL);
	i->disk.fail_from = cluster * CLUSTER;
	i->disk.fail_to = (cluster + 1) * CLUSTER;
	i->disk.write_error = -EIO;
	(void)amend(i, text);
	i->disk.write_error = 0;
	image_reopen(i, "");
	expect_same(i);
	struct image_check check = {0};
	ck_assert_int_eq(qcow2_check(i->node, IMAGE_FIX_LEAKS, &check, NULL), 0);
	ck_assert_uint_eq(check.corruptions, 0);
	image_close(i);
}

IMAGE_TEST(failing_writes_lose_nothing)
{
	for (unsigned cluster = 0; cluster < 48; cluster++) {
		fail_at(i, "version=v2", cluster);
		fail_at(i, "refcount-bits=64", cluster);
		fail_at(i, "refcount-bits=2,lazy-refcounts=on", cluster);
	}
}

/*
 * A read fails, and then all is well again: the image is written to as before, or not until it is
 * opened again, but never taken for a damaged one. False when there is no such read.
 */
static bool co_fn fail_read(struct image *i, const char *text, unsigned number)
{
	make(i, "size=8M", strstr(text, "version") == NULL);
	i->disk.reads = 0;
	i->disk.fails_once = number;
	(void)amend(i, text);
	bool has_failed = i->disk.reads >= number;

	i->disk.fails_once = 0;
	if (i->node->corrupt)
		image_reopen(i, "");
	image_write(i, 4 * MiB, MiB, 7);
	image_flush(i);
	ck_assert(!(i->q->header.incompatible & INCOMPATIBLE_CORRUPT));
	image_reopen(i, "");
	expect_same(i);
	image_expect(i, 4 * MiB, MiB, 7);
	struct image_check check = {0};
	ck_assert_int_eq(qcow2_check(i->node, IMAGE_FIX_LEAKS, &check, NULL), 0);
	ck_assert_uint_eq(check.corruptions, 0);
	image_close(i);
	return has_failed;
}

IMAGE_TEST(failing_reads_leave_an_image_to_write_to)
{
	static const char *const changes[] = {"version=v2", "refcount-bits=64",
					      "refcount-bits=2,lazy-refcounts=on"};

	for (size_t n = 0; n < ARRAY_SIZE(changes); n++) {
		for (unsigned number = 1; fail_read(i, changes[n], number); number++)
			;
	}
}

/* A flush may fail behind a header that has arrived. Returns what the change has returned. */
static int co_fn fail_flush(struct image *i, const char *text, unsigned number)
{
	make(i, "size=8M", false);
	i->disk.flush_fails_once = i->disk.flushes + number;
	int r = amend(i, text);

	i->disk.flush_fails_once = 0;
	ck_assert_uint_eq(load_be32(i->disk.data + HEADER_VERSION), i->q->header.version);
	image_zero(i, 4 * MiB, MiB, 0);
	image_reopen(i, "");
	expect_same(i);
	image_expect_check(i, 0, 0);
	image_close(i);
	return r;
}

IMAGE_TEST(failing_flushes_leave_the_header_that_is_known)
{
	unsigned number = 1;

	while (fail_flush(i, "version=v2", number) < 0)
		number++;
	ck_assert_uint_gt(number, 2);
}

IMAGE_TEST(emptied_images_show_what_is_below)
{
	make(i, "size=8M", true);
	ck_assert_int_eq(qcow2_make_empty(i->node, NULL), 0);
	image_expect(i, 0, 8 * MiB, 0);
	image_reopen(i, "");
	image_expect(i, 0, 8 * MiB, 0);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(qcow2_snapshot_apply(i->node, "1", NULL), 0);
	expect_same(i);
	image_expect_check(i, 0, 0);
	image_close(i);
}

static void co_fn measure(struct image *i, const char *text, struct node *source,
			  struct image_measure *ret)
{
	char *whole _cleanup_free_ = xasprintf("driver=qcow2,file=some,%s", text);
	void *options;

	ck_assert_int_eq(schema_decode_keyval(&blockdev_create_options_type, whole, NULL, &options,
					      NULL), 0);
	ck_assert_int_eq(qcow2_measure(options, source, ret, NULL), 0);
	schema_free(&blockdev_create_options_type, options);
}

IMAGE_TEST(sizes_are_measured)
{
	struct image_measure m;

	make(i, "size=8M", false);
	measure(i, "size=1G", NULL, &m);
	ck_assert_uint_eq(m.required, 393216);
	ck_assert_uint_eq(m.fully_allocated, 1074135040);
	ck_assert(!m.has_bitmaps);
	measure(i, "size=1G,preallocation=full", NULL, &m);
	ck_assert_uint_eq(m.required, m.fully_allocated);
	measure(i, "size=8M", i->node, &m);
	ck_assert_uint_eq(m.fully_allocated - m.required, 8 * MiB - 13 * CLUSTER);
	measure(i, "size=0", NULL, &m);
	ck_assert_uint_eq(m.required, m.fully_allocated);
	image_close(i);
}

static const struct unit_test tests[] = {
	IMAGE_ROW(versions_change_both_ways),
	IMAGE_ROW(zeroes_stay_above_a_backing_file),
	IMAGE_ROW(refcounts_change_their_width),
	IMAGE_ROW(what_would_lose_something_is_refused),
	IMAGE_ROW(refcount_blocks_that_cannot_be_given_up_stay),
	IMAGE_ROW(failing_writes_lose_nothing),
	IMAGE_ROW(failing_reads_leave_an_image_to_write_to),
	IMAGE_ROW(failing_flushes_leave_the_header_that_is_known),
	IMAGE_ROW(emptied_images_show_what_is_below),
	IMAGE_ROW(sizes_are_measured),
};

UNIT_MAIN("qcow2_amend", tests)
