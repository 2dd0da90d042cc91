/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2: options of nodes and of new images, and changing them.
 */
#include "tests/unit/qcow2_fixture.h"

static void co_fn refuses(struct image *i, const char *options, const char *expected)
{
	_cleanup_free_ char *error = image_open_error(i, options);

	ck_assert_msg(error, "%s was accepted", options);
	ck_assert_str_eq(error, expected);
}

IMAGE_TEST(contradictory_options_are_refused)
{
	image_create_ok(i, "size=64M");
	refuses(i, "cache-size=1048576,l2-cache-size=2097152",
		"l2-cache-size may not exceed cache-size");
	refuses(i, "cache-size=1048576,refcount-cache-size=2097152",
		"refcount-cache-size may not exceed cache-size");
	refuses(i, "cache-size=1048576,l2-cache-size=524288,refcount-cache-size=524288",
		"cache-size, l2-cache-size and refcount-cache-size may not be set at the same time");
	refuses(i, "l2-cache-entry-size=100",
		"L2 cache entry size must be a power of two between 512 and the cluster size "
		"(65536)");
	refuses(i, "l2-cache-entry-size=131072",
		"L2 cache entry size must be a power of two between 512 and the cluster size "
		"(65536)");
	refuses(i, "cache-clean-interval=-1", "Cache clean interval too big");
	refuses(i, "cache-clean-interval=4294967296", "Cache clean interval too big");
	refuses(i, "refcount-cache-size=9223372036854775807", "Refcount cache size too big");
	refuses(i, "cache-size=9223372036854775807", "Refcount cache size too big");
	refuses(i, "l2-cache-size=-1",
		"Parameter 'l2-cache-size' expects a non-negative number below 2^63");
	image_open_ok(i, "l2-cache-size=9223372036854775807");
}

IMAGE_TEST(version_2_has_no_lazy_refcounts_and_keeps_no_clusters)
{
	image_create_ok(i, "size=64M,version=v2");
	refuses(i, "lazy-refcounts=on",
		"Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level");
	refuses(i, "discard-no-unref=on",
		"discard-no-unref is only supported since qcow2 version 3");
	image_open_ok(i, "lazy-refcounts=off");
}

static void co_fn expect_caches(struct image *i, const char *options, uint64_t l2, uint64_t refcount)
{
	image_reopen(i, options);
	ck_assert_uint_eq(i->q->settings.l2_cache_bytes, l2);
	ck_assert_uint_eq(i->q->settings.refcount_cache_bytes, refcount);
}

IMAGE_TEST(cache_sizes_follow_the_image_and_the_options)
{
	/* All L2 tables of 1 TiB in clusters of 64 KiB take 128 MiB. */
	image_create_ok(i, "size=1099511627776");
	expect_caches(i, "", 32 * MiB, 256 * KiB);
	expect_caches(i, "l2-cache-size=1073741824", 128 * MiB, 256 * KiB);
	expect_caches(i, "l2-cache-size=0", 8192, 256 * KiB);
	expect_caches(i, "cache-size=1048576", 768 * KiB, 256 * KiB);
	expect_caches(i, "cache-size=1073741824", 128 * MiB, 1024 * MiB - 128 * MiB);
	expect_caches(i, "cache-size=1048576,l2-cache-size=524288", 512 * KiB, 512 * KiB);
	expect_caches(i, "cache-size=1048576,refcount-cache-size=524288", 512 * KiB, 512 * KiB);
	expect_caches(i, "refcount-cache-size=0", 32 * MiB, 256 * KiB);
	ck_assert_uint_eq(i->q->settings.l2_slice_bytes, 4096);
	image_close(i);
	image_create_ok(i, "size=64M,cluster-size=2048");
	expect_caches(i, "", 256 * KiB, 8192);
	ck_assert_uint_eq(i->q->settings.l2_slice_bytes, 2048);
}

static void co_fn expect_overlap(struct image *i, const char *options, unsigned checks)
{
	image_reopen(i, options);
	ck_assert_uint_eq(i->q->settings.overlap_checks, checks);
}

IMAGE_TEST(overlap_checks_are_chosen_by_word_and_one_by_one)
{
	image_create_ok(i, "size=64M");
	expect_overlap(i, "", METADATA_CACHED);
	expect_overlap(i, "overlap-check=none", 0);
	expect_overlap(i, "overlap-check=constant", METADATA_CONSTANT);
	expect_overlap(i, "overlap-check=all", METADATA_ALL);
	expect_overlap(i, "overlap-check.template=none,overlap-check.active-l2=on",
		       METADATA_ACTIVE_L2);
	expect_overlap(i, "overlap-check.main-header=off", METADATA_CACHED & ~METADATA_HEADER);
}

IMAGE_TEST(impossible_images_are_not_made)
{
	static const char *const cases[][2] = {
		{"size=1000", "Image size must be a multiple of 512 bytes"},
		{"size=1M,cluster-size=1000",
		 "Cluster size must be a power of two between 512 and 2048k"},
		{"size=1M,cluster-size=256",
		 "Cluster size must be a power of two between 512 and 2048k"},
		{"size=1M,cluster-size=4194304",
		 "Cluster size must be a power of two between 512 and 2048k"},
		{"size=1M,refcount-bits=3",
		 "Refcount width must be a power of two and may not exceed 64 bits"},
		{"size=1M,refcount-bits=128",
		 "Refcount width must be a power of two and may not exceed 64 bits"},
		{"size=1M,version=v2,refcount-bits=8",
		 "Different refcount widths than 16 bits require compatibility level 1.1 or above "
		 "(use version=v3 or greater)"},
		{"size=1M,version=v2,lazy-refcounts=on",
		 "Lazy refcounts only supported with compatibility level 1.1 and above (use "
		 "version=v3 or greater)"},
		{"size=1M,version=v2,compression-type=zstd",
		 "Non-zlib compression type is only supported with compatibility level 1.1 and "
		 "above (use version=v3 or greater)"},
		{"size=1M,version=v2,extended-l2=on",
		 "Extended L2 entries are only supported with compatibility level 1.1 and above "
		 "(use version=v3 or greater)"},
		/* Of several faults the one that others tell. */
		{"size=1M,version=v2,extended-l2=on,cluster-size=1000,lazy-refcounts=on",
		 "Extended L2 entries are only supported with compatibility level 1.1 and above "
		 "(use version=v3 or greater)"},
		{"size=1M,version=v2,backing-fmt=raw,refcount-bits=128,lazy-refcounts=on",
		 "Backing format cannot be used without backing file"},
		{"size=1M,version=v2,refcount-bits=128,lazy-refcounts=on,compression-type=zstd",
		 "Lazy refcounts only supported with compatibility level 1.1 and above (use "
		 "version=v3 or greater)"},
		{"size=1M,version=v2,refcount-bits=128,compression-type=zstd",
		 "Refcount width must be a power of two and may not exceed 64 bits"},
		{"size=1M,cluster-size=8192,extended-l2=on",
		 "Extended L2 entries are only supported with cluster sizes of at least 16384 "
		 "bytes"},
		{"size=1M,backing-fmt=raw", "Backing format cannot be used without backing file"},
		{"size=1M,backing-file=a,preallocation=metadata",
		 "Backing file and preallocation can only be used at the same time if extended_l2 "
		 "is on"},
		{"size=1152921504606846976",
		 "The image size is too large (try using a larger cluster size)"},
	};

	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		_cleanup_free_ char *error = image_create_error(i, cases[n][0]);

		ck_assert_msg(error, "%s was accepted", cases[n][0]);
		ck_assert_str_eq(error, cases[n][1]);
	}
}

IMAGE_TEST(possible_images_are_made_as_asked)
{
	static const char *const cases[] = {
		"size=0", "size=512", "size=1M,version=v2", "size=1M,cluster-size=512",
		"size=1M,cluster-size=2M", "size=1M,refcount-bits=1", "size=1M,refcount-bits=64",
		"size=1M,cluster-size=512,refcount-bits=64", "size=1M,lazy-refcounts=on",
		"size=1M,compression-type=zstd", "size=1M,backing-file=a,backing-fmt=raw",
		"size=4G,cluster-size=512", "size=1M,extended-l2=on,cluster-size=16384",
		"size=1M,extended-l2=on,backing-file=a,preallocation=metadata",
	};

	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		image_create_ok(i, cases[n]);
		image_open_ok(i, "");
		image_expect_check(i, 0, 0);
		if (i->node->size > 0) {
			uint64_t last = i->node->size - 512;

			image_expect(i, last, 512, 0);
			image_write(i, last, 512, 9);
			image_flush(i);
			image_expect(i, last, 512, 9);
		}
		image_expect_check(i, 0, 0);
		struct image_info_specific *info = qcow2_specific_info(i->node);

		ck_assert_int_eq(info->type, IMAGE_INFO_SPECIFIC_KIND_QCOW2);
		ck_assert_str_eq(info->u.qcow2.data->compat, n == 2 ? "0.10" : "1.1");
		image_info_specific_free(info);
		image_close(i);
	}
}

IMAGE_TEST(preallocated_clusters_need_no_tables)
{
	static const char *const modes[] = {"metadata", "falloc", "full"};

	for (size_t n = 0; n < ARRAY_SIZE(modes); n++) {
		_cleanup_free_ char *options = xasprintf("size=4M,preallocation=%s", modes[n]);

		image_create_ok(i, options);
		image_open_ok(i, "");
		image_expect_check(i, 0, 0);
		image_expect(i, 0, 4 * MiB, 0);
		ck_assert_uint_ge(i->disk.size, 4 * MiB);
		i->disk.writes = 0;
		image_write(i, 100 * KiB, 4096, 1);
		image_flush(i);
		ck_assert_uint_eq(i->disk.writes, 1);
		image_expect_check(i, 0, 0);
		image_close(i);
	}
}

IMAGE_TEST(preallocated_subclusters_show_the_backing_file)
{
	image_set_backing(i, MiB, 7);
	image_create_ok(i, "size=1M,extended-l2=on,backing-file=a,preallocation=metadata");
	image_open_ok(i, "");
	image_expect(i, 0, MiB, 7);
	i->disk.size = i->disk_node->size;
	uint64_t size = i->disk.size;

	image_write(i, 4096, 512, 1);
	image_flush(i);
	ck_assert_uint_eq(i->disk.size, size);
	image_expect(i, 4096, 512, 1);
	image_expect(i, 4608, MiB - 4608, 7);
	image_expect_check(i, 0, 0);
}

/* Reopen in place with @options. */
static int co_fn change(struct image *i, const char *options, char **ret_error)
{
	_cleanup_free_ char *text = xasprintf("driver=qcow2,node-name=image,file=disk,%s", options);
	struct error *error = NULL;
	void *o;

	ck_assert_int_eq(schema_decode_keyval(&blockdev_options_type, text, NULL, &o, &error), 0);
	struct blockdev_options *b = o;

	b->u.qcow2.backing = NEW(struct blockdev_ref_or_null);
	b->u.qcow2.backing->kind = BLOCKDEV_REF_OR_NULL_NULL;
	const struct blockdev_options *all[] = {b};

	consumer_leave(&i->consumer);
	int r = nodes_reopen(i->graph, all, 1, &error);

	consumer_enter(&i->consumer);
	*ret_error = error ? xstrdup(error->message) : NULL;
	error_free(error);
	blockdev_options_free(o);
	return r;
}

IMAGE_TEST(options_change_while_open)
{
	char *error = NULL;

	image_create_ok(i, "size=8M,cluster-size=4096");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, MiB, 1);
	ck_assert_int_eq(change(i, "l2-cache-entry-size=512,lazy-refcounts=on,discard=unmap", &error),
			 0);
	ck_assert_uint_eq(i->q->l2_cache.slice_bytes, 512);
	image_expect(i, 0, MiB, 1);
	image_write(i, MiB, MiB, 2);
	ck_assert_uint_ne(i->q->header.incompatible, 0);
	ck_assert_int_eq(change(i, "lazy-refcounts=off,overlap-check=all", &error), 0);
	ck_assert_uint_eq(i->q->header.incompatible, 0);
	image_expect(i, MiB, MiB, 2);
	image_expect_check(i, 0, 0);
	ck_assert_int_eq(change(i, "l2-cache-entry-size=8192", &error), -EINVAL);
	ck_assert_str_eq(error, "L2 cache entry size must be a power of two between 512 and the "
				"cluster size (4096)");
	free(error);
	image_write(i, 0, 512, 3);
	image_flush(i);
	image_expect(i, 0, 512, 3);
}

IMAGE_TEST(writability_changes_while_open)
{
	char *error = NULL;

	image_create_ok(i, "size=8M,lazy-refcounts=on");
	image_open_ok(i, "read-only=on");
	store_be64(i->disk.data + HEADER_AUTOCLEAR, 4);
	i->q->header.autoclear = 4;
	ck_assert_int_eq(change(i, "read-only=off", &error), 0);
	ck_assert_int_eq(edge_set_permissions(i->edge, PERM_CONSISTENT_READ | PERM_WRITE, PERM_ALL,
					      NULL), 0);
	/* Only a write needs the image to be fit for it. */
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_AUTOCLEAR), 4);
	image_write(i, 0, MiB, 1);
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_AUTOCLEAR), 0);
	ck_assert_int_eq(edge_set_permissions(i->edge, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
	ck_assert_int_eq(change(i, "read-only=on", &error), 0);
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_INCOMPATIBLE), 0);
	image_expect(i, 0, MiB, 1);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(unused_slices_go_after_two_intervals)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "cache-clean-interval=10");
	image_write(i, 0, MiB, 1);
	image_flush(i);
	ck_assert_uint_gt(i->q->l2_cache.count, 0);
	ck_assert_uint_gt(i->q->refcount_cache.count, 0);
	co_sleep_ns(UINT64_C(15) * 1000000000);
	image_expect(i, 0, 512, 1);
	co_sleep_ns(UINT64_C(12) * 1000000000);
	ck_assert_uint_gt(i->q->l2_cache.count, 0);
	ck_assert_uint_eq(i->q->refcount_cache.count, 0);
	co_sleep_ns(UINT64_C(30) * 1000000000);
	ck_assert_uint_eq(i->q->l2_cache.count, 0);
	image_expect(i, 0, MiB, 1);
	/* With nothing cached, no timer is left to wake anybody. */
	co_sleep_ns(UINT64_C(60) * 1000000000);
	ck_assert(!loop_timer_is_set(&i->q->clean_timer));
}

static const struct unit_test tests[] = {
	IMAGE_ROW(contradictory_options_are_refused),
	IMAGE_ROW(version_2_has_no_lazy_refcounts_and_keeps_no_clusters),
	IMAGE_ROW(cache_sizes_follow_the_image_and_the_options),
	IMAGE_ROW(overlap_checks_are_chosen_by_word_and_one_by_one),
	IMAGE_ROW(impossible_images_are_not_made),
	IMAGE_ROW(possible_images_are_made_as_asked),
	IMAGE_ROW(preallocated_clusters_need_no_tables),
	IMAGE_ROW(preallocated_subclusters_show_the_backing_file),
	IMAGE_ROW(options_change_while_open),
	IMAGE_ROW(writability_changes_while_open),
	IMAGE_ROW(unused_slices_go_after_two_intervals),
};

UNIT_MAIN("qcow2_options", tests)
