/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2: header, extensions, and what opening makes of damaged ones.
 *
 * Each bad image is a good one with some bytes changed.
 */
#include "tests/unit/qcow2_fixture.h"

IMAGE_TEST(header_survives_encoding_and_decoding)
{
	for (unsigned version = 2; version <= 3; version++) {
		uint8_t unknown[8] = {1, 2, 3, 4, 5, 6, 7, 8}, data[HEADER_BYTES_V3 + 8];
		struct qcow2_header h = {
			.version = version,
			.backing_offset = 1000,
			.backing_bytes = 7,
			.cluster_bits = 12,
			.size = 5 * MiB,
			.l1_entries = 3,
			.l1_offset = 4096,
			.reftable_offset = 8192,
			.reftable_clusters = 1,
			.snapshot_count = 2,
			.snapshots_offset = 12288,
			.refcount_order = 4,
			.length = HEADER_BYTES_V2,
		};
		struct qcow2_header back;

		if (version == 3) {
			h.incompatible = INCOMPATIBLE_COMPRESSION;
			h.compatible = UINT64_C(1) << 40;
			h.autoclear = 2;
			h.refcount_order = 6;
			h.compression_type = COMPRESSION_ZSTD;
			h.length = sizeof(data);
			h.unknown_fields = unknown;
			h.unknown_bytes = 8;
		}
		qcow2_header_encode(&h, data);
		ck_assert_int_eq(qcow2_header_decode(data, h.length, &back, NULL), 0);
		if (version == 3) {
			ck_assert_mem_eq(back.unknown_fields, unknown, 8);
			free(back.unknown_fields);
			back.unknown_fields = unknown;
		}
		/* Encoded once more: the structs themselves have gaps that hold anything. */
		uint8_t again[sizeof(data)] = {0};
		qcow2_header_encode(&back, again);
		ck_assert_mem_eq(again, data, h.length);
		ck_assert_uint_eq(back.length, h.length);
	}
}

static void poke32(struct image *i, uint64_t at, uint32_t n)
{
	store_be32(i->disk.data + at, n);
}

static void poke64(struct image *i, uint64_t at, uint64_t n)
{
	store_be64(i->disk.data + at, n);
}

/* The image as made, to undo damage. */
static uint8_t saved[512 * KiB];
static uint64_t saved_size;

static void restore(struct image *i)
{
	memcpy(i->disk.data, saved, sizeof(saved));
	i->disk.size = saved_size;
	node_set_size(i->disk_node, saved_size);
}

static void co_fn expect_error(struct image *i, const char *expected)
{
	_cleanup_free_ char *error = image_open_error(i, "");

	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error, expected);
	ck_assert_ptr_null(i->node);
	restore(i);
}

static void cut(struct image *i, uint64_t size)
{
	memset(i->disk.data + size, 0, saved_size - MIN(size, saved_size));
	i->disk.size = size;
	node_set_size(i->disk_node, size);
}

static void co_fn make(struct image *i)
{
	image_create_ok(i, "size=64M");
	image_open_ok(i, "");
	image_write(i, 0, 128 * KiB, 5);
	image_close(i);
	saved_size = i->disk.size;
	memcpy(saved, i->disk.data, sizeof(saved));
}

IMAGE_TEST(fields_outside_their_range_are_refused)
{
	make(i);
	poke32(i, 0, 0);
	expect_error(i, "Image is not in qcow2 format");
	poke32(i, HEADER_VERSION, 1);
	expect_error(i, "Unsupported qcow2 version 1");
	poke32(i, HEADER_VERSION, 4);
	expect_error(i, "Unsupported qcow2 version 4");
	poke32(i, HEADER_CLUSTER_BITS, 8);
	expect_error(i, "Unsupported cluster size: 2^8");
	poke32(i, HEADER_CLUSTER_BITS, 22);
	expect_error(i, "Unsupported cluster size: 2^22");
	poke32(i, HEADER_LENGTH, 103);
	expect_error(i, "qcow2 header too short");
	poke32(i, HEADER_LENGTH, 65537);
	expect_error(i, "qcow2 header exceeds cluster size");
	poke64(i, HEADER_BACKING_OFFSET, 65537);
	expect_error(i, "Invalid backing file offset");
	poke64(i, HEADER_BACKING_OFFSET, 1024);
	poke32(i, HEADER_BACKING_BYTES, 1024);
	expect_error(i, "Backing file name too long");
	poke64(i, HEADER_BACKING_OFFSET, 65530);
	poke32(i, HEADER_BACKING_BYTES, 7);
	expect_error(i, "Backing file name too long");
	poke32(i, HEADER_REFCOUNT_ORDER, 7);
	expect_error(i, "Reference count entry width too large; may not exceed 64 bits");
	poke64(i, HEADER_SIZE, UINT64_C(1) << 63);
	expect_error(i, "Image is too big");
	poke64(i, HEADER_SIZE, UINT64_C(1) << 36);
	expect_error(i, "L1 table is too small");
	poke32(i, HEADER_CRYPT_METHOD, 1);
	expect_error(i, "Encrypted images (AES) are not supported");
	poke32(i, HEADER_CRYPT_METHOD, 2);
	expect_error(i, "Encrypted images (LUKS) are not supported");
	poke32(i, HEADER_CRYPT_METHOD, 3);
	expect_error(i, "Unsupported encryption method 3");
	image_open_ok(i, "");
}

IMAGE_TEST(tables_outside_their_limits_are_refused)
{
	make(i);
	poke32(i, HEADER_L1_ENTRIES, 0);
	expect_error(i, "L1 table is too small");
	poke32(i, HEADER_L1_ENTRIES, L1_BYTES_MAX / 8 + 1);
	expect_error(i, "Active L1 table too large");
	poke64(i, HEADER_L1_OFFSET, 0x30200);
	expect_error(i, "Active L1 table offset invalid");
	poke64(i, HEADER_L1_OFFSET, 0);
	expect_error(i, "Active L1 table offset invalid");
	poke64(i, HEADER_L1_OFFSET, 0xffffffffffff0000);
	expect_error(i, "Active L1 table offset invalid");
	poke64(i, HEADER_L1_OFFSET, 0x1000000);
	expect_error(i, "Could not read L1 table: It lies beyond the end of the file");
	poke64(i, HEADER_REFTABLE_OFFSET, 0x10200);
	expect_error(i, "Reference count table offset invalid");
	poke64(i, HEADER_REFTABLE_OFFSET, 0x7fffffffffff0000);
	expect_error(i, "Reference count table offset invalid");
	poke64(i, HEADER_REFTABLE_OFFSET, 0x1000000);
	expect_error(i, "Could not read the refcount table: It lies beyond the end of the file");
	poke32(i, HEADER_REFTABLE_CLUSTERS, 0);
	expect_error(i, "Image does not contain a reference count table");
	poke32(i, HEADER_REFTABLE_CLUSTERS, 129);
	expect_error(i, "Reference count table too large");
	poke32(i, HEADER_SNAPSHOT_COUNT, SNAPSHOTS_MAX + 1);
	expect_error(i, "Snapshot table too large");
	poke32(i, HEADER_SNAPSHOT_COUNT, 1);
	poke64(i, HEADER_SNAPSHOTS_OFFSET, 0x10200);
	expect_error(i, "Snapshot table offset invalid");
	poke32(i, HEADER_SNAPSHOT_COUNT, 1);
	poke64(i, HEADER_SNAPSHOTS_OFFSET, 0x1000000);
	expect_error(i, "Could not read snapshots: It lies beyond the end of the file");
	image_open_ok(i, "");
}

/* A snapshot table in the free cluster behind the image, with one entry. */
static void put_snapshot(struct image *i, uint64_t l1_offset, uint32_t l1_entries, uint32_t extra)
{
	uint64_t at = 0x70000;

	i->disk.size = at + 65536;
	node_set_size(i->disk_node, i->disk.size);
	poke32(i, HEADER_SNAPSHOT_COUNT, 1);
	poke64(i, HEADER_SNAPSHOTS_OFFSET, at);
	poke64(i, at + SNAPSHOT_L1_OFFSET, l1_offset);
	poke32(i, at + SNAPSHOT_L1_ENTRIES, l1_entries);
	poke32(i, at + SNAPSHOT_EXTRA_BYTES, extra);
}

IMAGE_TEST(damaged_snapshot_tables_are_refused)
{
	make(i);
	put_snapshot(i, 0x30000, 1, SNAPSHOT_EXTRA_MAX + 1);
	expect_error(i, "Could not read snapshots: File too large");
	put_snapshot(i, 0x30200, 1, 16);
	expect_error(i, "L1 table offset of snapshot 0 is invalid");
	put_snapshot(i, 0x30000, L1_BYTES_MAX / 8 + 1, 16);
	expect_error(i, "L1 table of snapshot 0 is too large");
	put_snapshot(i, 0x30000, 1, 16);
	image_open_ok(i, "");
	ck_assert_uint_eq(i->q->snapshots[0].l1_offset, 0x30000);
}

IMAGE_TEST(features_are_refused_by_name)
{
	make(i);
	poke64(i, HEADER_INCOMPATIBLE, UINT64_C(1) << 5 | UINT64_C(1) << 62);
	expect_error(i, "Unsupported qcow2 feature(s): Unknown incompatible feature: "
			"4000000000000020");
	/* The table of names is the first extension; its last entry becomes one for bit 62. */
	uint64_t entry = HEADER_BYTES_V3 + 8 + 6 * FEATURE_ENTRY_BYTES;

	poke64(i, HEADER_INCOMPATIBLE, UINT64_C(1) << 5 | UINT64_C(1) << 62);
	i->disk.data[entry] = 0;
	i->disk.data[entry + 1] = 62;
	memcpy(i->disk.data + entry + 2, "time\ntravel\0", 12);
	expect_error(i, "Unsupported qcow2 feature(s): time?travel, Unknown incompatible feature: "
			"20");
	poke64(i, HEADER_INCOMPATIBLE, INCOMPATIBLE_DATA_FILE);
	expect_error(i, "Images with an external data file ('data-file') are not supported");
	poke64(i, HEADER_INCOMPATIBLE, INCOMPATIBLE_COMPRESSION);
	expect_error(i, "qcow2: Compression type incompatible feature bit must not be set");
	i->disk.data[HEADER_COMPRESSION_TYPE] = 1;
	expect_error(i, "qcow2: Compression type incompatible feature bit must be set");
	poke64(i, HEADER_INCOMPATIBLE, INCOMPATIBLE_COMPRESSION);
	i->disk.data[HEADER_COMPRESSION_TYPE] = 5;
	expect_error(i, "qcow2: unknown compression type: 5");
	poke64(i, HEADER_COMPATIBLE, UINT64_MAX << 1);
	image_open_ok(i, "");
}

IMAGE_TEST(broken_extensions_are_refused)
{
	make(i);
	poke32(i, HEADER_BYTES_V3 + 4, 70000);
	expect_error(i, "Header extension too large");
	poke32(i, HEADER_BYTES_V3, EXTENSION_BACKING_FORMAT);
	poke32(i, HEADER_BYTES_V3 + 4, 16);
	expect_error(i, "Backing format name of 16 bytes is too large (>=16)");
	poke32(i, HEADER_BYTES_V3, 0x12345678);
	image_open_ok(i, "");
	ck_assert_ptr_nonnull(qcow2_extension_find(&i->q->extensions, 0x12345678));
}

IMAGE_TEST(truncated_files_give_errors)
{
	make(i);
	cut(i, 0);
	expect_error(i, "Image is not in qcow2 format");
	cut(i, 50);
	expect_error(i, "qcow2 header too short");
	cut(i, 100);
	expect_error(i, "qcow2 header too short");
	cut(i, 0x18000);
	expect_error(i, "Could not read L1 table: It lies beyond the end of the file");

	/* Without the second data cluster. */
	cut(i, 0x60000);
	image_open_ok(i, "");
	uint8_t p[512];

	image_expect(i, 0, 65536, 5);
	ck_assert_int_eq(edge_read(i->edge, 65536, 512, p, 0), -EIO);
	ck_assert_str_eq(i->q->corruption_message,
			 "Data cluster at 0x60000 lies beyond the end of the file");
	image_write(i, MiB, 512, 1);
	image_close(i);
	restore(i);

	/* Without the L2 table. */
	cut(i, 0x40000);
	image_open_ok(i, "");
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	ck_assert_str_eq(i->q->corruption_message,
			 "L2 table at 0x40000 lies beyond the end of the file");
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EIO);
	image_close(i);

	/* That was remembered. */
	_cleanup_free_ char *error = image_open_error(i, "");

	ck_assert_str_eq(error, "qcow2: Image is corrupt; cannot be opened read/write");
	image_open_ok(i, "read-only=on");
}

IMAGE_TEST(last_cluster_may_be_cut_short)
{
	make(i);
	cut(i, 0x60200);
	image_open_ok(i, "");
	image_expect(i, 65536, 512, 5);
	image_expect(i, 65536 + 512, 65536 - 512, 0);
	image_expect(i, 65536 + 1024, 512, 0);
}

IMAGE_TEST(autoclear_bits_go_with_writing_only)
{
	make(i);
	poke64(i, HEADER_AUTOCLEAR, 1 | UINT64_C(1) << 40);
	image_open_ok(i, "read-only=on");
	image_reopen(i, "read-only=on");
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_AUTOCLEAR), 1 | UINT64_C(1) << 40);
	image_reopen(i, "");
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_AUTOCLEAR), 0);
}

static void co_fn expect_backing(struct image *i, const char *name, const char *format)
{
	image_reopen(i, "");
	ck_assert_pstr_eq(i->node->backing_name, name);
	ck_assert_pstr_eq(i->node->backing_format, format);
}

IMAGE_TEST(backing_names_are_rewritten)
{
	static const char *const sizes[] = {"cluster-size=512", "cluster-size=4096", "version=v2"};
	char longest[BACKING_NAME_MAX + 1];

	memset(longest, 'n', BACKING_NAME_MAX);
	longest[BACKING_NAME_MAX] = '\0';
	for (size_t s = 0; s < ARRAY_SIZE(sizes); s++) {
		_cleanup_free_ char *options = xasprintf("size=1M,%s", sizes[s]);
		bool has_room = s != 0;

		image_close(i);
		image_create_ok(i, options);
		image_open_ok(i, "");
		image_write(i, 0, 512, 3);
		ck_assert_int_eq(qcow2_change_backing(i->node, "a", "raw", NULL), 0);
		expect_backing(i, "a", "raw");
		ck_assert_int_eq(qcow2_change_backing(i->node, "an other/name", NULL, NULL), 0);
		expect_backing(i, "an other/name", NULL);
		ck_assert_int_eq(qcow2_change_backing(i->node, i->node->backing_name, "qcow2", NULL),
				 0);
		expect_backing(i, "an other/name", "qcow2");
		ck_assert_int_eq(qcow2_change_backing(i->node, longest, "raw", NULL),
				 has_room ? 0 : -ENOSPC);
		expect_backing(i, has_room ? longest : "an other/name", has_room ? "raw" : "qcow2");
		ck_assert_int_eq(qcow2_change_backing(i->node, NULL, "raw", NULL), 0);
		expect_backing(i, NULL, NULL);
		image_expect(i, 0, 512, 3);
		image_expect_check(i, 0, 0);
	}
	char too_long[BACKING_NAME_MAX + 2] = {0};

	memset(too_long, 'n', BACKING_NAME_MAX + 1);
	ck_assert_int_eq(qcow2_change_backing(i->node, too_long, NULL, NULL), -EINVAL);
	ck_assert_int_eq(qcow2_change_backing(i->node, "a", "a format that is long", NULL), -EINVAL);
}

IMAGE_TEST(unknown_extensions_survive_a_rewrite)
{
	make(i);
	poke32(i, HEADER_BYTES_V3, 0x12345678);
	image_open_ok(i, "");
	ck_assert_int_eq(qcow2_change_backing(i->node, "base", "raw", NULL), 0);
	expect_backing(i, "base", "raw");
	struct qcow2_extension *e = qcow2_extension_find(&i->q->extensions, 0x12345678);

	ck_assert_ptr_nonnull(e);
	ck_assert_mem_eq(e->data + 2, "dirty bit", 9);
	ck_assert_ptr_nonnull(qcow2_extension_find(&i->q->extensions, EXTENSION_FEATURE_NAMES));
}

IMAGE_TEST(probing_looks_at_magic_and_version)
{
	make(i);
	ck_assert_int_eq(qcow2_probe(i->disk.data, 512, NULL), 100);
	ck_assert_int_eq(qcow2_probe(i->disk.data, 71, NULL), 0);
	ck_assert_int_eq(qcow2_probe(i->disk.data, 0, NULL), 0);
	poke32(i, HEADER_VERSION, 1);
	ck_assert_int_eq(qcow2_probe(i->disk.data, 512, NULL), 0);
	poke32(i, HEADER_VERSION, 9);
	ck_assert_int_eq(qcow2_probe(i->disk.data, 512, NULL), 100);
	poke32(i, 0, 1);
	ck_assert_int_eq(qcow2_probe(i->disk.data, 512, NULL), 0);
}

static const struct unit_test tests[] = {
	IMAGE_ROW(header_survives_encoding_and_decoding),
	IMAGE_ROW(fields_outside_their_range_are_refused),
	IMAGE_ROW(tables_outside_their_limits_are_refused),
	IMAGE_ROW(damaged_snapshot_tables_are_refused),
	IMAGE_ROW(features_are_refused_by_name),
	IMAGE_ROW(broken_extensions_are_refused),
	IMAGE_ROW(truncated_files_give_errors),
	IMAGE_ROW(last_cluster_may_be_cut_short),
	IMAGE_ROW(autoclear_bits_go_with_writing_only),
	IMAGE_ROW(backing_names_are_rewritten),
	IMAGE_ROW(unknown_extensions_survive_a_rewrite),
	IMAGE_ROW(probing_looks_at_magic_and_version),
};

UNIT_MAIN("qcow2_header", tests)
