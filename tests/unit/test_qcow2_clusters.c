/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2: zero, discarded, compressed and kept clusters, the end of the
 * image and of its backing file, and changing the size.
 */
#include "tests/unit/qcow2_fixture.h"

#define CLUSTER (64 * KiB)

static enum cluster_type co_fn type_of(struct image *i, uint64_t offset)
{
	return image_map(i, offset).type;
}

IMAGE_TEST(zeroing_keeps_or_gives_back_clusters)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, 4 * CLUSTER, 1);
	image_zero(i, 0, CLUSTER, 0);
	image_zero(i, CLUSTER, CLUSTER, REQUEST_MAY_UNMAP);
	image_zero(i, 5 * CLUSTER, CLUSTER, 0);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_ZERO_KEPT);
	ck_assert_int_eq(type_of(i, CLUSTER), CLUSTER_ZERO);
	ck_assert_int_eq(type_of(i, 5 * CLUSTER), CLUSTER_ZERO);
	image_expect(i, 0, 2 * CLUSTER, 0);
	image_expect(i, 2 * CLUSTER, 2 * CLUSTER, 1);

	/* A kept cluster is written to in its place, without its old data. */
	uint64_t host = image_map(i, 0).host;

	image_write(i, 512, 512, 2);
	ck_assert_uint_eq(image_map(i, 0).host, host);
	image_expect(i, 0, 512, 0);
	image_expect(i, 512, 512, 2);
	image_expect(i, 1024, CLUSTER - 1024, 0);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(parts_of_clusters_are_zeroed_as_data)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 3 * CLUSTER, 1);
	image_zero(i, CLUSTER / 2, 2 * CLUSTER, 0);
	image_expect(i, 0, CLUSTER / 2, 1);
	image_expect(i, CLUSTER / 2, 2 * CLUSTER, 0);
	image_expect(i, 5 * CLUSTER / 2, CLUSTER / 2, 1);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_NORMAL);
	ck_assert_int_eq(type_of(i, CLUSTER), CLUSTER_ZERO_KEPT);
	/* What cannot be done fast is not done at all when asked so. */
	ck_assert_int_eq(edge_zero(i->edge, 512, 512, REQUEST_NO_FALLBACK), -ENOTSUP);
	ck_assert_int_eq(edge_zero(i->edge, MiB, 512, REQUEST_NO_FALLBACK), 0);
	image_expect(i, 512, 512, 1);
}

IMAGE_TEST(version_2_unmaps_where_nothing_is_behind)
{
	image_set_backing(i, MiB, 7);
	image_create_ok(i, "size=8M,version=v2");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, CLUSTER, 1);
	image_write(i, 2 * MiB, CLUSTER, 1);
	image_zero(i, 0, CLUSTER, 0);
	image_zero(i, 2 * MiB, CLUSTER, 0);
	image_expect(i, 0, CLUSTER, 0);
	image_expect(i, 2 * MiB, CLUSTER, 0);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_NORMAL);
	ck_assert_int_eq(type_of(i, 2 * MiB), CLUSTER_UNALLOCATED);
	/* A discard must not bring the backing file's data back. */
	image_discard(i, 0, CLUSTER);
	image_expect(i, 0, CLUSTER, 0);
	ck_assert_int_eq(edge_zero(i->edge, 0, CLUSTER, REQUEST_NO_FALLBACK), -ENOTSUP);
}

IMAGE_TEST(discarding_hides_the_backing_file)
{
	image_set_backing(i, 8 * MiB, 7);
	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, 2 * CLUSTER, 1);
	image_discard(i, 0, CLUSTER);
	image_discard(i, 2 * CLUSTER, CLUSTER);
	image_discard(i, 3 * CLUSTER + 512, CLUSTER); /* no whole cluster */
	ck_assert_int_eq(type_of(i, 0), CLUSTER_ZERO);
	ck_assert_int_eq(type_of(i, 2 * CLUSTER), CLUSTER_ZERO);
	image_expect(i, 0, CLUSTER, 0);
	image_expect(i, CLUSTER, CLUSTER, 1);
	image_expect(i, 2 * CLUSTER, CLUSTER, 0);
	image_expect(i, 3 * CLUSTER, 2 * CLUSTER, 7);
}

IMAGE_TEST(discarding_nothing_leaves_nothing)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	i->disk.writes = 0;
	image_discard(i, 0, 8 * MiB);
	image_flush(i);
	ck_assert_uint_eq(i->disk.writes, 0);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_UNALLOCATED);
}

IMAGE_TEST(discards_may_keep_the_place)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap,discard-no-unref=on");
	image_write(i, 0, 2 * CLUSTER, 1);
	uint64_t host = image_map(i, 0).host;

	image_discard(i, 0, 2 * CLUSTER);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_ZERO_KEPT);
	ck_assert_uint_eq(i->disk.bytes_discarded, 2 * CLUSTER);
	image_expect(i, 0, 2 * CLUSTER, 0);
	image_write(i, CLUSTER, 512, 3);
	ck_assert_uint_eq(image_map(i, CLUSTER).host, host + CLUSTER);
	image_expect(i, CLUSTER + 512, CLUSTER - 512, 0);
	image_expect_check(i, 0, 0);
}

static void co_fn compressed(struct image *i, const char *options)
{
	image_create_ok(i, options);
	image_open_ok(i, "discard=unmap");
	for (unsigned n = 0; n < 16; n++)
		image_write_compressed(i, n * CLUSTER, CLUSTER, n + 1);
	image_flush(i);
	/* Sixteen clusters of one byte each do not take a second cluster. */
	ck_assert_uint_lt(i->disk.size, 7 * CLUSTER);
	for (unsigned n = 0; n < 16; n++) {
		ck_assert_int_eq(type_of(i, n * CLUSTER), CLUSTER_COMPRESSED);
		image_expect(i, n * CLUSTER + 100, CLUSTER - 200, n + 1);
	}
	image_expect(i, 0, 512, 1);
	image_expect_check(i, 0, 0);

	image_write(i, 512, 512, 99);
	image_write_compressed(i, CLUSTER, CLUSTER, 98);
	image_discard(i, 2 * CLUSTER, CLUSTER);
	image_flush(i);
	image_expect(i, 0, 512, 1);
	image_expect(i, 512, 512, 99);
	image_expect(i, 1024, CLUSTER - 1024, 1);
	image_expect(i, CLUSTER, CLUSTER, 98);
	image_expect(i, 2 * CLUSTER, CLUSTER, 0);
	image_expect(i, 3 * CLUSTER, CLUSTER, 4);
	/* What is no whole cluster is stored as it is. */
	image_write_compressed(i, 3 * CLUSTER + 512, 512, 97);
	ck_assert_int_eq(type_of(i, 3 * CLUSTER), CLUSTER_NORMAL);
	image_expect_check(i, 0, 0);
	image_reopen(i, "");
	image_expect(i, 3 * CLUSTER + 512, 512, 97);
	image_expect(i, 4 * CLUSTER, CLUSTER, 5);
	image_close(i);
}

IMAGE_TEST(compressed_clusters_share_their_place)
{
	compressed(i, "size=2M");
	compressed(i, "size=2M,compression-type=zstd");
	compressed(i, "size=2M,version=v2");
}

IMAGE_TEST(what_does_not_shrink_is_stored_as_it_is)
{
	uint8_t *p = buffer_get(i->loop, CLUSTER), *back = buffer_get(i->loop, CLUSTER);

	for (size_t n = 0; n < CLUSTER; n += 8) {
		uint64_t noise = loop_random(i->loop);

		memcpy(p + n, &noise, 8);
	}
	image_create_ok(i, "size=2M");
	image_open_ok(i, "");
	ck_assert_int_eq(edge_write(i->edge, 0, CLUSTER, p, REQUEST_COMPRESSED), 0);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_NORMAL);
	ck_assert_int_eq(edge_read(i->edge, 0, CLUSTER, back, 0), 0);
	ck_assert(memcmp(p, back, CLUSTER) == 0);
	buffer_put(i->loop, p, CLUSTER);
	buffer_put(i->loop, back, CLUSTER);
}

/* A range of zeroes that show already, above a backing file that ends before it. */
static void co_fn store_zeroes(struct image *i, const char *options, uint64_t offset, uint64_t bytes)
{
	unsigned flags = strstr(options, "version=v2") ? REQUEST_UNCHANGED : 0;

	image_create_ok(i, options);
	image_open_ok(i, "");
	image_zero(i, offset, bytes, flags);
	image_expect(i, offset, bytes, 0);
	/* They belong to the image now, whatever it will be put upon. */
	ck_assert_int_ne(image_map(i, offset).type, CLUSTER_UNALLOCATED);
	ck_assert_int_ne(image_map(i, offset + bytes - 1).type, CLUSTER_UNALLOCATED);
	image_expect_check(i, 0, 0);
	image_close(i);
}

IMAGE_TEST(zeroes_that_show_already_are_stored)
{
	for (unsigned has_backing = 0; has_backing < 2; has_backing++) {
		if (has_backing)
			image_set_backing(i, MiB, 7);
		store_zeroes(i, "size=8M,version=v2", 2 * MiB, MiB);
		store_zeroes(i, "size=8M,version=v2", 2 * MiB + 512, 512);
		store_zeroes(i, "size=8M", 2 * MiB, MiB);
		store_zeroes(i, "size=8M", 2 * MiB + 512, 512);
		store_zeroes(i, "size=8M", 2 * MiB + CLUSTER - 512, CLUSTER + 1024);
		store_zeroes(i, "size=8M,extended-l2=on", 2 * MiB + 2048, 4096);
		store_zeroes(i, "size=8M,extended-l2=on", 2 * MiB + 512, 4096);
		store_zeroes(i, "size=7680K", 7 * MiB, 512 * KiB);
	}
}

/* They do not belong to the rest of the cluster, which somebody else has written. */
IMAGE_TEST(zeroes_leave_the_rest_of_a_cluster)
{
	static const char *const options[] = {"size=8M", "size=8M,extended-l2=on", "size=8M,version=v2"};

	for (unsigned n = 0; n < ARRAY_SIZE(options); n++) {
		image_create_ok(i, options[n]);
		image_open_ok(i, "");
		image_write(i, MiB + 4096, 4096, 1);
		image_zero(i, MiB + 512, 512, 0);
		image_zero(i, MiB + 6144, 512, 0);
		image_expect(i, MiB, 4096, 0);
		image_expect(i, MiB + 4096, 2048, 1);
		image_expect(i, MiB + 6144, 512, 0);
		image_expect(i, MiB + 6656, 1536, 1);
		image_zero(i, 2 * MiB + 512, 512, 0);
		image_write(i, 2 * MiB, 512, 2);
		image_expect(i, 2 * MiB, 512, 2);
		image_expect(i, 2 * MiB + 512, 512, 0);
		image_expect_check(i, 0, 0);
		image_close(i);
	}
}

IMAGE_TEST(damaged_compressed_data_is_an_error)
{
	uint8_t p[512];

	image_create_ok(i, "size=2M");
	image_open_ok(i, "");
	image_write_compressed(i, 0, CLUSTER, 1);
	image_write(i, CLUSTER, CLUSTER, 2);
	uint64_t offset, bytes;

	qcow2_compressed_range(i->q, image_map(i, 0).descriptor, &offset, &bytes);
	memset(i->disk.data + offset, 0xff, bytes);
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	image_expect(i, CLUSTER, CLUSTER, 2);
}

IMAGE_TEST(one_reference_per_cluster_means_no_sharing)
{
	image_create_ok(i, "size=2M,refcount-bits=1");
	image_open_ok(i, "");
	for (unsigned n = 0; n < 4; n++)
		image_write_compressed(i, n * CLUSTER, CLUSTER, n + 1);
	for (unsigned n = 0; n < 4; n++)
		image_expect(i, n * CLUSTER, CLUSTER, n + 1);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(short_backing_files_end_in_zeroes)
{
	image_set_backing(i, CLUSTER + 512, 7);
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_expect(i, 0, CLUSTER + 512, 7);
	image_expect(i, CLUSTER + 512, CLUSTER, 0);
	image_write(i, CLUSTER + 4096, 512, 1);
	image_write(i, 2 * CLUSTER + 512, 512, 2);
	image_expect(i, CLUSTER, 512, 7);
	image_expect(i, CLUSTER + 512, 4096 - 512, 0);
	image_expect(i, CLUSTER + 4096, 512, 1);
	image_expect(i, 2 * CLUSTER, 512, 0);
}

static int co_fn resize(struct image *i, uint64_t size, enum preallocation preallocation)
{
	return edge_truncate(i->edge, size, preallocation, NULL);
}

IMAGE_TEST(growing_shows_zeroes)
{
	image_set_backing(i, 8 * MiB, 7);
	image_create_ok(i, "size=1049088"); /* 1 MiB and a sector */
	image_open_ok(i, "discard=unmap");
	image_write(i, MiB, 512, 1);
	ck_assert_int_eq(resize(i, 4 * MiB, PREALLOCATION_OFF), 0);
	ck_assert_uint_eq(i->node->size, 4 * MiB);
	image_expect(i, 0, MiB, 7);
	image_expect(i, MiB, 512, 1);
	image_expect(i, MiB + 512, 3 * MiB - 512, 0);
	image_reopen(i, "");
	ck_assert_uint_eq(i->node->size, 4 * MiB);
	image_expect(i, MiB + 512, 3 * MiB - 512, 0);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(growing_moves_the_l1_table)
{
	image_create_ok(i, "size=1M,cluster-size=512");
	image_open_ok(i, "");
	image_write(i, 0, 100 * KiB, 1);
	uint64_t old = i->q->l1.offset;

	ck_assert_int_eq(resize(i, 512 * MiB, PREALLOCATION_OFF), 0);
	ck_assert_uint_ne(i->q->l1.offset, old);
	image_write(i, 512 * MiB - 4096, 4096, 2);
	image_expect(i, 0, 100 * KiB, 1);
	image_reopen(i, "");
	image_expect(i, 0, 100 * KiB, 1);
	image_expect(i, 512 * MiB - 4096, 4096, 2);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(resize(i, UINT64_C(1) << 40, PREALLOCATION_OFF), -EFBIG);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(shrinking_gives_everything_back)
{
	image_create_ok(i, "size=8M,cluster-size=4096");
	image_open_ok(i, "");
	image_write(i, 0, 8 * MiB, 1);
	ck_assert_int_eq(resize(i, MiB + 512, PREALLOCATION_OFF), 0);
	ck_assert_uint_lt(i->disk.size, MiB + 256 * KiB);
	image_expect(i, 0, MiB + 512, 1);
	image_expect_check(i, 0, 0);
	/* What was cut off does not come back. */
	ck_assert_int_eq(resize(i, 8 * MiB, PREALLOCATION_OFF), 0);
	image_expect(i, 0, MiB + 512, 1);
	image_expect(i, MiB + 512, 7 * MiB - 512, 0);
	image_write(i, 4 * MiB, MiB, 2);
	image_reopen(i, "");
	image_expect(i, 4 * MiB, MiB, 2);
	image_expect(i, 5 * MiB, MiB, 0);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(resize(i, 4 * MiB, PREALLOCATION_FULL), -EINVAL);
	ck_assert_int_eq(resize(i, 1000, PREALLOCATION_OFF), -EINVAL);
	ck_assert_int_eq(resize(i, 0, PREALLOCATION_OFF), 0);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(growing_may_set_clusters_aside)
{
	image_create_ok(i, "size=1M");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, MiB, 1);
	image_discard(i, 0, MiB / 2); /* holes that hold old data */
	image_flush(i);
	ck_assert_int_eq(resize(i, 3 * MiB, PREALLOCATION_METADATA), 0);
	ck_assert_int_eq(type_of(i, 2 * MiB), CLUSTER_NORMAL);
	image_expect(i, MiB, 2 * MiB, 0);
	image_expect_check(i, 0, 0);
	image_reopen(i, "");
	image_expect(i, MiB, 2 * MiB, 0);
}

IMAGE_TEST(subclusters_are_allocated_one_by_one)
{
	image_set_backing(i, 8 * MiB, 7);
	image_create_ok(i, "size=8M,extended-l2=on");
	image_open_ok(i, "discard=unmap");
	image_write(i, 3 * 2048, 512, 1);
	ck_assert_int_eq(type_of(i, 0), CLUSTER_UNALLOCATED);
	ck_assert_int_eq(type_of(i, 3 * 2048), CLUSTER_NORMAL);
	uint64_t host = image_map(i, 3 * 2048).host;

	image_write(i, 5 * 2048, 4096, 2);
	ck_assert_uint_eq(image_map(i, 5 * 2048).host, host + 2 * 2048);
	image_zero(i, 6 * 2048, 2048, 0);
	image_zero(i, 10 * 2048, 4096, 0);
	ck_assert_int_eq(type_of(i, 6 * 2048), CLUSTER_ZERO_KEPT);
	ck_assert_int_eq(type_of(i, 11 * 2048), CLUSTER_ZERO_KEPT);
	image_expect(i, 0, 3 * 2048, 7);
	image_expect(i, 3 * 2048, 512, 1);
	image_expect(i, 3 * 2048 + 512, 4096 - 512, 7);
	image_expect(i, 5 * 2048, 2048, 2);
	image_expect(i, 6 * 2048, 2048, 0);
	image_expect(i, 7 * 2048, 3 * 2048, 7);
	image_expect(i, 10 * 2048, 4096, 0);
	image_expect(i, 12 * 2048, CLUSTER, 7);
	image_write_compressed(i, CLUSTER, CLUSTER, 3);
	image_write(i, CLUSTER + 512, 512, 4);
	image_zero(i, 2 * CLUSTER - 2048, 2048, 0);
	image_expect(i, CLUSTER, 512, 3);
	image_expect(i, CLUSTER + 512, 512, 4);
	image_expect(i, CLUSTER + 1024, CLUSTER - 1024 - 2048, 3);
	image_expect(i, 2 * CLUSTER - 2048, 2048, 0);
	image_discard(i, 0, CLUSTER);
	image_expect(i, 0, CLUSTER, 0);
	image_expect_check(i, 0, 0);
	image_reopen(i, "");
	image_expect(i, CLUSTER + 512, 512, 4);
}

static const struct unit_test tests[] = {
	IMAGE_ROW(zeroing_keeps_or_gives_back_clusters),
	IMAGE_ROW(parts_of_clusters_are_zeroed_as_data),
	IMAGE_ROW(version_2_unmaps_where_nothing_is_behind),
	IMAGE_ROW(discarding_hides_the_backing_file),
	IMAGE_ROW(discarding_nothing_leaves_nothing),
	IMAGE_ROW(discards_may_keep_the_place),
	IMAGE_ROW(compressed_clusters_share_their_place),
	IMAGE_ROW(what_does_not_shrink_is_stored_as_it_is),
	IMAGE_ROW(zeroes_that_show_already_are_stored),
	IMAGE_ROW(zeroes_leave_the_rest_of_a_cluster),
	IMAGE_ROW(damaged_compressed_data_is_an_error),
	IMAGE_ROW(one_reference_per_cluster_means_no_sharing),
	IMAGE_ROW(short_backing_files_end_in_zeroes),
	IMAGE_ROW(growing_shows_zeroes),
	IMAGE_ROW(growing_moves_the_l1_table),
	IMAGE_ROW(shrinking_gives_everything_back),
	IMAGE_ROW(growing_may_set_clusters_aside),
	IMAGE_ROW(subclusters_are_allocated_one_by_one),
};

UNIT_MAIN("qcow2_clusters", tests)
