/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2/snapshot*.c: taking, applying, deleting and showing internal
 * snapshots, also while writes fail.
 */
#include "drivers/qcow2/snapshot.h"

#include "tests/unit/qcow2_fixture.h"

#define CLUSTER (64 * KiB)

static void co_fn take_ok(struct image *i, const char *name)
{
	struct error *error = NULL;
	int r = qcow2_snapshot_create(i->node, name, &error);

	ck_assert_msg(r == 0, "%s", error ? error->message : "no message");
}

static void co_fn apply_ok(struct image *i, const char *id)
{
	struct error *error = NULL;
	int r = qcow2_snapshot_apply(i->node, id, &error);

	ck_assert_msg(r == 0, "%s", error ? error->message : "no message");
}

static void co_fn delete_ok(struct image *i, const char *id)
{
	struct error *error = NULL;
	int r = qcow2_snapshot_delete(i->node, id, &error);

	ck_assert_msg(r == 0, "%s", error ? error->message : "no message");
}

IMAGE_TEST(snapshots_keep_what_was)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, MiB, 1);
	image_write_compressed(i, 2 * MiB, CLUSTER, 4);
	take_ok(i, "one");
	image_write(i, 512 * KiB, MiB, 2);
	image_write(i, 2 * MiB, CLUSTER, 5);
	take_ok(i, "two");
	image_zero(i, 0, 8 * MiB, REQUEST_MAY_UNMAP);
	image_expect_check(i, 0, 0);

	apply_ok(i, "1");
	image_expect(i, 0, MiB, 1);
	image_expect(i, MiB, MiB, 0);
	image_expect(i, 2 * MiB, CLUSTER, 4);
	image_expect_check(i, 0, 0);
	image_write(i, 0, 8 * MiB, 9);
	apply_ok(i, "2");
	image_expect(i, 0, 512 * KiB, 1);
	image_expect(i, 512 * KiB, MiB, 2);
	image_expect(i, 2 * MiB, CLUSTER, 5);
	image_expect_check(i, 0, 0);

	delete_ok(i, "1");
	image_expect_check(i, 0, 0);
	delete_ok(i, "2");
	image_reopen(i, "");
	ck_assert_uint_eq(i->q->header.snapshot_count, 0);
	image_expect(i, 512 * KiB, MiB, 2);
	image_write(i, 0, MiB, 3); /* in place again */
	image_expect(i, 0, MiB, 3);
	image_expect_check(i, 0, 0);
	image_close(i);
}

IMAGE_TEST(lists_survive_reopening)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	take_ok(i, "a name");
	image_write(i, 0, MiB, 1);
	take_ok(i, "a name");
	delete_ok(i, "1");
	take_ok(i, "");
	image_reopen(i, "");

	struct snapshot_info_list list = {0};
	ck_assert_int_eq(qcow2_snapshot_list(i->node, &list, NULL), 0);
	ck_assert_uint_eq(list.count, 2);
	ck_assert_str_eq(list.items[0]->id, "2");
	ck_assert_str_eq(list.items[0]->name, "a name");
	ck_assert_str_eq(list.items[1]->id, "3");
	ck_assert_str_eq(list.items[1]->name, "");
	ck_assert(!list.items[1]->has_icount);
	schema_finish(&snapshot_info_list_type, &list);
	image_close(i);
}

IMAGE_TEST(ids_are_unique_behind_the_last_number)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	take_ok(i, "one");
	free(i->q->snapshots[0].id);
	i->q->snapshots[0].id = xstrdup("18446744073709551615"); /* as some image may have it */
	take_ok(i, "two");
	take_ok(i, "three");
	ck_assert_str_eq(i->q->snapshots[1].id, "0");
	ck_assert_str_eq(i->q->snapshots[2].id, "1");
}

IMAGE_TEST(applying_brings_the_size_back)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 7 * MiB, MiB, 1);
	take_ok(i, "long");
	ck_assert_int_eq(edge_truncate(i->edge, MiB, PREALLOCATION_OFF, NULL), 0);
	apply_ok(i, "1");
	ck_assert_uint_eq(i->node->size, 8 * MiB);
	image_expect(i, 7 * MiB, MiB, 1);
	image_reopen(i, "");
	ck_assert_uint_eq(i->node->size, 8 * MiB);
	image_expect_check(i, 0, 0);
	image_close(i);
}

IMAGE_TEST(read_only_images_show_snapshots)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, MiB, 1);
	take_ok(i, "one");
	image_write(i, 0, MiB, 2);
	ck_assert_int_eq(qcow2_snapshot_show(i->node, "1", NULL), -EACCES);
	image_reopen(i, "read-only=on");
	image_expect(i, 0, MiB, 2);
	ck_assert_int_eq(qcow2_snapshot_show(i->node, "7", NULL), -ENOENT);
	ck_assert_int_eq(qcow2_snapshot_show(i->node, "1", NULL), 0);
	image_expect(i, 0, MiB, 1);
	ck_assert_int_eq(qcow2_snapshot_create(i->node, "x", NULL), -EACCES);
	ck_assert_int_eq(qcow2_snapshot_delete(i->node, "1", NULL), -EACCES);
	image_close(i);
}

IMAGE_TEST(what_cannot_be_counted_is_not_shared)
{
	image_create_ok(i, "size=8M,refcount-bits=1");
	image_open_ok(i, "");
	image_write(i, 0, MiB, 1);
	struct error *error = NULL;
	ck_assert_int_eq(qcow2_snapshot_create(i->node, "x", &error), -ERANGE);
	error_free(error);
	ck_assert_uint_eq(i->q->header.snapshot_count, 0);
	image_expect(i, 0, MiB, 1);
	image_expect_check(i, 0, 0);
	image_close(i);
}

static void co_fn expect_no_corruption(struct image *i)
{
	struct image_check check = {0};

	ck_assert_int_eq(qcow2_check(i->node, 0, &check, NULL), 0);
	ck_assert_uint_eq(check.errors, 0);
	ck_assert_uint_eq(check.corruptions, 0);
}

/* The second table cannot be counted; the first is given up, which fails at any read. */
static bool co_fn fail_while_giving_up(struct image *i, unsigned nth)
{
	image_create_ok(i, "size=16M,refcount-bits=2,cluster-size=4096");
	image_open_ok(i, "");
	for (unsigned n = 1; n < 4; n++)
		image_write(i, n * 2 * MiB, 16384, n);
	take_ok(i, "one");
	take_ok(i, "two");
	image_write(i, 0, 16384, 4);
	image_write(i, 6 * MiB, 16384, 5);
	image_flush(i);
	i->disk.reads = 0;
	i->disk.fails_once = nth;
	int r = qcow2_snapshot_create(i->node, "three", NULL);
	bool failed = i->disk.reads >= nth;

	ck_assert_int_lt(r, 0);
	i->disk.fails_once = 0;
	image_reopen(i, "");
	expect_no_corruption(i);
	image_expect(i, 0, 16384, 4);
	image_expect(i, 6 * MiB, 16384, 5);
	image_close(i);
	return failed;
}

IMAGE_TEST(giving_up_takes_no_more_back_than_was_given)
{
	for (unsigned nth = 1; fail_while_giving_up(i, nth); nth++)
		;
}

/* Leaks cost space, and a bit that does not say "my own" costs a copy. */
static void expect_harmless(void *arg, const char *finding)
{
	unsigned long long entry;
	const char *at = strstr(finding, "entry=");

	if (string_starts_with(finding, "Leaked cluster"))
		return;
	ck_assert_msg(strstr(finding, "OFLAG_COPIED") && at && strstr(finding, " refcount=1"), "%s",
		      finding);
	entry = strtoull(at + strlen("entry="), NULL, 16);
	ck_assert_msg(!(entry & ENTRY_COPIED), "%s", finding);
}

/* Whatever cannot be written: the image is as it was, or as it should become. */
static void co_fn fail_at(struct image *i, unsigned cluster, int co_fn (*change)(struct image *i),
			  int byte_before, int byte_after)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, MiB, 1);
	take_ok(i, "one");
	image_write(i, 0, MiB, 2);
	image_flush(i);

	i->disk.fail_from = cluster * CLUSTER;
	i->disk.fail_to = (cluster + 1) * CLUSTER;
	i->disk.write_error = -EIO;
	int r = change(i);
	bool unknown = r < 0 && i->node->corrupt; /* which header is there */
	i->disk.write_error = 0;
	image_reopen(i, "");
	uint8_t *data = buffer_get(i->loop, MiB);
	ck_assert_int_eq(edge_read(i->edge, 0, MiB, data, 0), 0);
	int expected = r == 0 || (unknown && data[0] == byte_after) ? byte_after : byte_before;
	buffer_put(i->loop, data, MiB);
	image_expect(i, 0, MiB, expected);
	struct image_check check = {.report = expect_harmless};
	ck_assert_int_eq(qcow2_check(i->node, 0, &check, NULL), 0);
	check = (struct image_check){0};
	ck_assert_int_eq(qcow2_check(i->node, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS, &check, NULL), 0);
	image_expect_check(i, 0, 0);
	image_expect(i, 0, MiB, expected);
	image_close(i);
}

static int co_fn take(struct image *i)
{
	return qcow2_snapshot_create(i->node, "two", NULL);
}

static int co_fn apply(struct image *i)
{
	return qcow2_snapshot_apply(i->node, "1", NULL);
}

static int co_fn delete(struct image *i)
{
	return qcow2_snapshot_delete(i->node, "1", NULL);
}

IMAGE_TEST(failing_writes_lose_nothing)
{
	for (unsigned cluster = 0; cluster < 64; cluster++) {
		fail_at(i, cluster, take, 2, 2);
		fail_at(i, cluster, apply, 2, 1);
		fail_at(i, cluster, delete, 2, 2);
	}
}

static const struct unit_test tests[] = {
	IMAGE_ROW(snapshots_keep_what_was),
	IMAGE_ROW(lists_survive_reopening),
	IMAGE_ROW(ids_are_unique_behind_the_last_number),
	IMAGE_ROW(applying_brings_the_size_back),
	IMAGE_ROW(read_only_images_show_snapshots),
	IMAGE_ROW(what_cannot_be_counted_is_not_shared),
	IMAGE_ROW(giving_up_takes_no_more_back_than_was_given),
	IMAGE_ROW(failing_writes_lose_nothing),
};

UNIT_MAIN("qcow2_snapshot", tests)
