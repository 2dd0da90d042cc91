/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2: refcounts of all widths, refcount structures that grow, finding
 * damage and mending it.
 */
#include "tests/unit/qcow2_fixture.h"

#define CLUSTER (64 * KiB)

IMAGE_TEST(refcounts_of_all_widths_are_stored_beside_each_other)
{
	uint8_t data[128];

	for (unsigned order = 0; order <= REFCOUNT_ORDER_MAX; order++) {
		uint64_t max = UINT64_MAX >> (64 - (1u << order));
		uint64_t count = sizeof(data) * 8 >> order;

		memset(data, 0, sizeof(data));
		for (uint64_t n = 0; n < count; n++)
			qcow2_refcount_store(data, order, n, n % 3 == 0 ? max : n & max);
		for (uint64_t n = 0; n < count; n++)
			ck_assert_uint_eq(qcow2_refcount_load(data, order, n),
					  n % 3 == 0 ? max : n & max);
	}
	/* The first of narrow entries is in the lowest bits, wide ones are big-endian. */
	memset(data, 0, sizeof(data));
	qcow2_refcount_store(data, 0, 1, 1);
	ck_assert_uint_eq(data[0], 2);
	qcow2_refcount_store(data, 2, 1, 5);
	ck_assert_uint_eq(data[0], 0x52);
	qcow2_refcount_store(data, 4, 0, 0x1234);
	ck_assert_uint_eq(data[0], 0x12);
}

IMAGE_TEST(refcount_structures_grow_with_the_file)
{
	static const char *const options[] = {
		"size=32M,cluster-size=512", "size=32M,cluster-size=512,refcount-bits=64",
		"size=32M,cluster-size=1024,refcount-bits=1",
	};

	for (size_t n = 0; n < ARRAY_SIZE(options); n++) {
		image_create_ok(i, options[n]);
		image_open_ok(i, "refcount-cache-size=0,discard=unmap");
		image_write(i, 0, 20 * MiB, 1);
		image_flush(i);
		image_write(i, 25 * MiB, MiB, 2);
		image_expect(i, 0, 20 * MiB, 1);
		image_expect_check(i, 0, 0);
		image_reopen(i, "discard=unmap");
		image_expect(i, 25 * MiB, MiB, 2);
		image_discard(i, 0, 32 * MiB);
		image_flush(i);
		image_write(i, 5 * MiB, MiB, 3);
		image_expect_check(i, 0, 0);
		image_close(i);
	}
}

static uint64_t findings;

static void count_finding(void *arg, const char *finding)
{
	ck_assert_ptr_nonnull(strstr(finding, arg));
	findings++;
}

/* Check with a report; every sentence holds @text. */
static struct image_check co_fn check(struct image *i, unsigned fix, const char *text)
{
	struct image_check c = {.report = count_finding, .report_arg = (void *)text};

	findings = 0;
	ck_assert_int_eq(qcow2_check(i->node, fix, &c, NULL), 0);
	return c;
}

/* Three clusters of data; refcount block at 0x20000, L1 at 0x30000, L2 at 0x40000. */
static void co_fn make(struct image *i)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 3 * CLUSTER, 1);
	image_close(i);
}

static void set_refcount(struct image *i, uint64_t cluster, uint16_t n)
{
	store_be16(i->disk.data + 0x20000 + 2 * cluster, n);
}

/* The file has so many clusters, the last of them without references. */
static void lengthen(struct image *i, uint64_t clusters)
{
	i->disk.size = MAX(i->disk.size, clusters * CLUSTER);
	i->disk_node->size = i->disk.size;
}

IMAGE_TEST(leaks_are_found_and_given_back)
{
	make(i);
	set_refcount(i, 5, 2);
	set_refcount(i, 10, 1);
	lengthen(i, 11);
	set_refcount(i, 100, 1); /* what the file does not have is no waste */
	image_open_ok(i, "");
	struct image_check c = check(i, 0, "");

	ck_assert_uint_eq(c.leaks, 2);
	ck_assert_uint_eq(c.corruptions, 1); /* a refcount of 2 does not go with bit 63 */
	image_reopen(i, "");
	c = check(i, IMAGE_FIX_LEAKS, "cluster");
	ck_assert_uint_eq(findings, 4); /* each is found, and then given back */
	ck_assert_uint_eq(c.leaks_fixed, 2);
	ck_assert_uint_eq(c.leaks + c.corruptions, 0);
	image_expect_check(i, 0, 0);
	image_expect(i, 0, 3 * CLUSTER, 1);
}

IMAGE_TEST(low_refcounts_are_found_and_raised)
{
	make(i);
	set_refcount(i, 6, 0);
	set_refcount(i, 0, 0);
	image_open_ok(i, "");
	set_refcount(i, 5, 2);
	image_reopen(i, "");
	struct image_check c = check(i, IMAGE_FIX_LEAKS, "cluster");

	/* What is in use counts as free: nothing is given back, and bit 63 is not looked at. */
	ck_assert_uint_eq(c.corruptions, 2);
	ck_assert_uint_eq(c.leaks, 1);
	ck_assert_uint_eq(findings, 3);
	c = check(i, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS, "cluster");
	ck_assert_uint_eq(findings, 6);
	ck_assert_uint_eq(c.leaks_fixed, 1);
	ck_assert_uint_eq(c.corruptions, 0);
	ck_assert_uint_eq(c.corruptions_fixed, 2);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(wrong_copied_bits_are_found_and_mended)
{
	make(i);
	store_be64(i->disk.data + 0x40000, 0x50000);
	store_be64(i->disk.data + 0x30000, 0x40000);
	image_open_ok(i, "");
	struct image_check c = check(i, 0, "OFLAG_COPIED");

	ck_assert_uint_eq(c.corruptions, 2);
	c = check(i, IMAGE_FIX_ERRORS, "OFLAG_COPIED");
	ck_assert_uint_eq(c.corruptions_fixed, 2);
	image_expect_check(i, 0, 0);
	ck_assert_uint_eq(load_be64(i->disk.data + 0x40000), ENTRY_COPIED | 0x50000);
}

struct mending {
	struct image *image;
	struct image_check result;
	bool is_done;
};

static void co_fn mend(void *arg)
{
	struct mending *m = arg;

	ck_assert_int_eq(qcow2_check(m->image->node, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS,
				     &m->result, NULL), 0);
	m->is_done = true;
}

/* An image that becomes writable is mended beside those who have been reading it. */
IMAGE_TEST(rebuilding_leaves_readers_alone)
{
	struct background reader = {.image = i, .kind = BACKGROUND_READ, .offset = 0,
				    .bytes = 65536, .byte = 1};
	struct mending m = {.image = i};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 65536, 1);
	image_close(i);
	store_be64(i->disk.data + load_be64(i->disk.data + 48), 0); /* no refcount block */
	image_open_ok(i, "");
	i->disk.hold_reads = true;
	background_start(&reader);
	settle();
	ck_assert_uint_eq(i->q->l2_cache.count, 1);
	i->disk.hold_reads = false; /* for others: the reader is not woken */
	co_start(i->loop, mend, &m);
	settle();
	/* The structures are new; what is being read of the tables is still waited for. */
	ck_assert_uint_ne(i->q->reftable.entries[0], 0);
	ck_assert(!reader.is_done && !m.is_done);
	ck_assert_uint_eq(i->q->l2_cache.count, 1);
	disk_release(&i->disk);
	settle();
	ck_assert(reader.is_done && m.is_done);
	ck_assert_uint_gt(m.result.corruptions_fixed, 0);
	ck_assert_int_eq(reader.result, 0);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(broken_refcount_structures_are_rebuilt)
{
	static const uint64_t entries[] = {0, 0x20200, 0x100000000, 0x20001, 0x30000, 0x50000};

	for (size_t n = 0; n < ARRAY_SIZE(entries); n++) {
		make(i);
		store_be64(i->disk.data + 0x10000, entries[n]);
		image_open_ok(i, "overlap-check=none");
		struct image_check c = {0};

		ck_assert_int_eq(qcow2_check(i->node, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS, &c, NULL),
				 0);
		ck_assert_uint_eq(c.corruptions, 0);
		ck_assert_uint_gt(c.corruptions_fixed, 0);
		image_expect_check(i, 0, 0);
		image_write(i, MiB, MiB, 2);
		image_reopen(i, "");
		image_expect(i, 0, 3 * CLUSTER, 1);
		image_expect(i, MiB, MiB, 2);
		image_expect_check(i, 0, 0);
		image_close(i);
	}
}

IMAGE_TEST(references_out_of_the_file_cannot_be_mended)
{
	make(i);
	store_be64(i->disk.data + 0x40000, ENTRY_COPIED | 0x10000000);
	store_be64(i->disk.data + 0x40008, ENTRY_COPIED | 0x60200);
	image_open_ok(i, "");
	struct image_check c = {0};

	ck_assert_int_eq(qcow2_check(i->node, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS, &c, NULL), 0);
	ck_assert_uint_eq(c.corruptions, 2);
	ck_assert_uint_eq(c.leaks_fixed, 2);
}

IMAGE_TEST(readers_check_and_do_not_mend)
{
	make(i);
	set_refcount(i, 10, 1);
	lengthen(i, 11);
	image_open_ok(i, "read-only=on");
	ck_assert_uint_eq(check(i, 0, "Leaked").leaks, 1);
	struct image_check c = {0};

	ck_assert_int_eq(qcow2_check(i->node, IMAGE_FIX_LEAKS, &c, NULL), -EACCES);
}

IMAGE_TEST(statistics_count_what_is_there)
{
	make(i);
	image_open_ok(i, "");
	image_write_compressed(i, MiB, CLUSTER, 2);
	struct image_check c = check(i, 0, "");

	ck_assert_uint_eq(c.total_clusters, 128);
	ck_assert_uint_eq(c.allocated_clusters, 4);
	ck_assert_uint_eq(c.compressed_clusters, 1);
	ck_assert_uint_eq(c.fragmented_clusters, 1);
	ck_assert_uint_eq(c.image_end, 0x90000);
}

/* Its clusters are in use, though nobody can count them. */
IMAGE_TEST(what_an_unreadable_table_refers_to_is_kept)
{
	static const unsigned fixes[] = {IMAGE_FIX_LEAKS, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS};

	make(i);
	image_open_ok(i, "");
	for (size_t n = 0; n < ARRAY_SIZE(fixes); n++) {
		i->disk.read_error = -EIO;
		i->disk.fail_from = 0x40000;
		i->disk.fail_to = 0x50000;
		struct image_check c = check(i, fixes[n], "");

		ck_assert_uint_gt(c.errors, 0);
		ck_assert_uint_eq(c.leaks_fixed + c.corruptions_fixed, 0);
		i->disk.read_error = 0;
		c = check(i, 0, "");
		ck_assert_uint_eq(c.errors + c.corruptions + c.leaks, 0);
	}
}

static const struct unit_test tests[] = {
	IMAGE_ROW(what_an_unreadable_table_refers_to_is_kept),
	IMAGE_ROW(refcounts_of_all_widths_are_stored_beside_each_other),
	IMAGE_ROW(refcount_structures_grow_with_the_file),
	IMAGE_ROW(leaks_are_found_and_given_back),
	IMAGE_ROW(low_refcounts_are_found_and_raised),
	IMAGE_ROW(wrong_copied_bits_are_found_and_mended),
	IMAGE_ROW(rebuilding_leaves_readers_alone),
	IMAGE_ROW(broken_refcount_structures_are_rebuilt),
	IMAGE_ROW(references_out_of_the_file_cannot_be_mended),
	IMAGE_ROW(readers_check_and_do_not_mend),
	IMAGE_ROW(statistics_count_what_is_there),
};

UNIT_MAIN("qcow2_check", tests)
