/* SPDX-License-Identifier: MIT */
/* Grains and grain tables of vmdk images on a disk that fails, loses power, or is slow. */
#include "drivers/vmdk/state.h"
#include "tests/unit/qcow2_fixture.h"

#define GRAIN (64 * KiB)
/* Of an image of 8 MiB: header 1, descriptor 20, directory and table twice 1 and 4 sectors. */
#define REDUNDANT_TABLE (22 * 512)
#define TABLE (27 * 512)
#define CID (512 + 36)

static void co_fn make(struct image *i, const char *options)
{
	i->format = "vmdk";
	image_create_ok(i, options);
	image_open_ok(i, "");
}

static uint32_t entry(const struct image *i, unsigned grain)
{
	return load_le32(i->disk.data + TABLE + grain * 4);
}

IMAGE_TEST(what_is_written_is_there_after_opening_again)
{
	make(i, "size=8M");
	image_write(i, 1000 * 512, 70000 / 512 * 512, 1);
	image_write(i, 0, 512, 2);
	image_expect(i, 512, 1000 * 512 - 512, 0);
	image_reopen(i, "");
	image_expect(i, 0, 512, 2);
	image_expect(i, 512, 1000 * 512 - 512, 0);
	image_expect(i, 1000 * 512, 70000 / 512 * 512, 1);
	image_close(i);
	ck_assert_int_eq(memcmp(i->disk.data + TABLE, i->disk.data + REDUNDANT_TABLE, 2048), 0);
	/* The file has whole grains only. */
	ck_assert_uint_eq(i->disk.size % GRAIN, 0);
}

IMAGE_TEST(tables_follow_the_data_durably)
{
	make(i, "size=8M");
	image_write(i, 0, GRAIN, 1);
	ck_assert_uint_eq(entry(i, 0), 0);
	unsigned before = i->disk.flushes;

	image_flush(i);
	ck_assert_uint_eq(entry(i, 0), 128);
	/* One for the data, one for the tables. */
	ck_assert_uint_eq(i->disk.flushes, before + 2);
	/* In place, no table is concerned. */
	before = i->disk.writes;
	image_write(i, 512, 512, 2);
	image_flush(i);
	ck_assert_uint_eq(i->disk.writes, before + 1);
}

IMAGE_TEST(tables_wait_while_data_cannot_be_flushed)
{
	make(i, "size=8M");
	image_write(i, 0, GRAIN, 1);
	i->disk.flush_error = -EIO;
	ck_assert_int_eq(edge_flush(i->edge), -EIO);
	ck_assert_uint_eq(entry(i, 0), 0);
	i->disk.flush_error = 0;
	ck_assert_int_eq(edge_flush(i->edge), 0);
	ck_assert_uint_eq(entry(i, 0), 128);
}

IMAGE_TEST(failed_tables_are_written_again)
{
	make(i, "size=8M");
	image_write(i, 0, GRAIN, 1);
	i->disk.write_error = -EIO;
	i->disk.fail_from = TABLE;
	i->disk.fail_to = TABLE + 1;
	ck_assert_int_eq(edge_flush(i->edge), -EIO);
	i->disk.write_error = 0;
	ck_assert_int_eq(edge_flush(i->edge), 0);
	ck_assert_uint_eq(entry(i, 0), 128);
	image_expect(i, 0, GRAIN, 1);
}

IMAGE_TEST(failed_data_comes_into_no_table)
{
	uint8_t p[512] = {1};

	make(i, "size=8M");
	image_write(i, 4 * MiB, 512, 1); /* the content ID is changed */
	i->disk.write_error = -EIO;
	i->disk.fail_from = 64 * KiB;
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EIO);
	i->disk.write_error = 0;
	image_expect(i, 0, GRAIN, 0);
	image_reopen(i, "");
	image_expect(i, 0, GRAIN, 0);
	ck_assert_uint_eq(entry(i, 0), 0);
}

IMAGE_TEST(content_id_is_changed_durably_before_the_data)
{
	uint8_t p[512] = {1}, old[8];

	make(i, "size=8M");
	memcpy(old, i->disk.data + CID, 8);
	image_expect(i, 0, 512, 0);
	ck_assert_int_eq(memcmp(old, i->disk.data + CID, 8), 0);
	/* No ID, no data. */
	i->disk.flush_error = -EIO;
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EIO);
	ck_assert_uint_eq(i->disk.size, 64 * KiB);
	i->disk.flush_error = 0;
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), 0);
	ck_assert_int_ne(memcmp(old, i->disk.data + CID, 8), 0);
	memcpy(old, i->disk.data + CID, 8);
	image_write(i, MiB, 512, 1);
	ck_assert_int_eq(memcmp(old, i->disk.data + CID, 8), 0);
	image_reopen(i, "");
	image_write(i, MiB, 512, 1);
	ck_assert_int_ne(memcmp(old, i->disk.data + CID, 8), 0);
}

IMAGE_TEST(short_content_ids_grow)
{
	i->format = "vmdk";
	image_create_ok(i, "size=8M");
	/* "CID=%08x" becomes "CID=7", and what is behind it moves. */
	char *cid = (char *)i->disk.data + CID;
	size_t rest = strlen(cid + 8);

	cid[0] = '7';
	memmove(cid + 1, cid + 8, rest + 1);
	image_open_ok(i, "");
	image_write(i, 0, 512, 1);
	ck_assert_int_eq(strncmp(cid + 8, "\nparentCID=ffffffff\n", 20), 0);
	image_reopen(i, "");
	image_expect(i, 0, 512, 1);
}

IMAGE_TEST(writes_to_one_new_grain_keep_each_other)
{
	struct background writes[16];

	make(i, "size=8M");
	i->disk.delay_ns = 1000000;
	for (unsigned n = 0; n < ARRAY_SIZE(writes); n++) {
		writes[n] = (struct background){.image = i, .kind = BACKGROUND_WRITE,
						.offset = n * 12288, .bytes = 12288, .byte = n + 1};
		background_start(&writes[n]);
	}
	for (unsigned n = 0; n < ARRAY_SIZE(writes); n++) {
		background_wait(&writes[n]);
		ck_assert_int_eq(writes[n].result, 0);
	}
	for (unsigned n = 0; n < ARRAY_SIZE(writes); n++)
		image_expect(i, n * 12288, 12288, n + 1);
	/* No grain was made twice. */
	ck_assert_uint_eq(i->disk.size, 64 * KiB + 3 * GRAIN);
	image_reopen(i, "");
	for (unsigned n = 0; n < ARRAY_SIZE(writes); n++)
		image_expect(i, n * 12288, 12288, n + 1);
}

/* More tables than are kept in memory. */
IMAGE_TEST(tables_give_way_to_each_other)
{
	uint64_t span = 32 * MiB, size = (VMDK_CACHE_TABLES + 3) * span;
	char *options = xasprintf("size=%" PRIu64, size);

	make(i, options);
	free(options);
	for (uint64_t n = 0; n < 3; n++) {
		image_write(i, n * span, 512, n + 1);
		image_write(i, (VMDK_CACHE_TABLES + n) * span, 512, n + 10);
	}
	for (uint64_t n = 0; n < 3; n++) {
		image_expect(i, n * span, 512, n + 1);
		image_expect(i, (VMDK_CACHE_TABLES + n) * span, 512, n + 10);
	}
	image_reopen(i, "read-only=on");
	for (uint64_t n = 0; n < 3; n++) {
		image_expect(i, n * span, 512, n + 1);
		image_expect(i, (VMDK_CACHE_TABLES + n) * span, 512, n + 10);
	}
}

IMAGE_TEST(zeroed_grains_take_no_room)
{
	make(i, "size=8M,zeroed-grain=on");
	image_write(i, 0, 3 * GRAIN, 1);
	uint64_t size = i->disk.size;

	image_zero(i, GRAIN, GRAIN, 0);
	image_zero(i, 4 * GRAIN, 2 * GRAIN, 0);
	image_expect(i, GRAIN, GRAIN, 0);
	image_flush(i);
	ck_assert_uint_eq(entry(i, 1), 1);
	ck_assert_uint_eq(entry(i, 5), 1);
	ck_assert_uint_eq(i->disk.size, size);
	/* Written again, they have zeroes around the data, in a new place. */
	image_write(i, GRAIN + 512, 512, 2);
	image_expect(i, GRAIN, 512, 0);
	image_expect(i, GRAIN + 512, 512, 2);
	image_expect(i, GRAIN + 1024, GRAIN - 1024, 0);
	image_expect(i, 0, GRAIN, 1);
	image_expect(i, 2 * GRAIN, GRAIN, 1);
	ck_assert_uint_eq(i->disk.size, size + GRAIN);
}

IMAGE_TEST(compressed_grains_are_written_once)
{
	uint8_t p[512] = {0};

	make(i, "size=200k,subformat=streamOptimized");
	image_write_compressed(i, 0, GRAIN, 1);
	image_write(i, 2 * GRAIN, GRAIN, 2);
	image_write(i, 3 * GRAIN, 200 * KiB - 3 * GRAIN, 3); /* the last one is short */
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EINVAL);
	ck_assert_int_eq(edge_write(i->edge, GRAIN, 512, p, 0), -EINVAL);
	uint8_t *grain = buffer_get(i->loop, GRAIN);

	memset(grain, 9, GRAIN);
	ck_assert_int_eq(edge_write(i->edge, 0, GRAIN, grain, 0), -EIO);
	buffer_put(i->loop, grain, GRAIN);
	image_reopen(i, "");
	image_expect(i, 0, GRAIN, 1);
	image_expect(i, GRAIN, GRAIN, 0);
	image_expect(i, 2 * GRAIN, GRAIN, 2);
	image_expect(i, 3 * GRAIN, 200 * KiB - 3 * GRAIN, 3);
	ck_assert_uint_eq(i->disk.size, 64 * KiB + 3 * 512);
}

IMAGE_TEST(damaged_streams_give_errors)
{
	uint8_t p[512];

	make(i, "size=200k,subformat=streamOptimized");
	image_write(i, 0, GRAIN, 1);
	image_close(i);
	i->disk.data[64 * KiB + 40] ^= 1;
	image_open_ok(i, "");
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	image_close(i);
	i->disk.data[64 * KiB + 40] ^= 1;
	i->disk.data[64 * KiB] = 1; /* of another grain */
	image_open_ok(i, "");
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	image_close(i);
	i->disk.data[64 * KiB] = 0;
	image_open_ok(i, "");
	image_expect(i, 0, GRAIN, 1);
}

/* Move the directory of a stream behind its grains, as a program does that cannot go back. */
static void make_footer(struct image *i)
{
	uint8_t *data = i->disk.data, *end = data + i->disk.size;

	memcpy(end, data + TABLE, 2048);
	memset(end + 2048, 0, 512);
	store_le32(end + 2048, i->disk.size / 512);
	uint8_t *footer = end + 2560;

	memset(footer, 0, 3 * 512);
	store_le64(footer, 1);
	store_le32(footer + 12, VMDK_MARKER_FOOTER);
	memcpy(footer + 512, data, 512);
	store_le64(footer + 512 + VMDK_HEADER_DIRECTORY, (i->disk.size + 2048) / 512);
	store_le64(data + VMDK_HEADER_DIRECTORY, UINT64_MAX);
	memset(data + TABLE - 512, 0, 2560);
	i->disk.size += 2560 + 3 * 512;
	node_set_size(i->disk_node, i->disk.size);
}

IMAGE_TEST(footers_are_read_and_never_written)
{
	make(i, "size=200k,subformat=streamOptimized");
	image_write(i, 0, GRAIN, 1);
	image_close(i);
	make_footer(i);
	_cleanup_free_ char *error = image_open_error(i, "");

	ck_assert_str_eq(error, "Extent 'file' with a footer must be read only");
	image_open_ok(i, "read-only=on");
	image_expect(i, 0, GRAIN, 1);
	image_expect(i, GRAIN, GRAIN, 0);
	image_reopen(i, "auto-read-only=on");
	image_close(i);
	i->disk.data[i->disk.size - 512 + 12] = 1;
	_cleanup_free_ char *other = image_open_error(i, "read-only=on");

	ck_assert_str_eq(other, "Invalid footer");
}

IMAGE_TEST(extents_of_servers_are_read)
{
	uint8_t *data = i->disk.data;

	i->format = "vmdk";
	memcpy(data, "COWD", 4);
	store_le32(data + VMDK_COWD_VERSION, 1);
	store_le32(data + VMDK_COWD_FLAGS, 3);
	store_le32(data + VMDK_COWD_CAPACITY, 16384);
	store_le32(data + VMDK_COWD_GRAIN, 1);
	store_le32(data + VMDK_COWD_DIRECTORY, 4);
	store_le32(data + VMDK_COWD_DIRECTORY_ENTRIES, 4);
	store_le32(data + 4 * 512 + 4, 5); /* the second table */
	store_le32(data + 5 * 512 + 8, 40); /* its third grain */
	memset(data + 40 * 512, 7, 512);
	i->disk.size = 41 * 512;
	node_set_size(i->disk_node, i->disk.size);
	_cleanup_free_ char *error = image_open_error(i, "");

	ck_assert_str_eq(error, "Extent 'file' of type VMFSSPARSE must be read only");
	image_open_ok(i, "read-only=on");
	ck_assert_uint_eq(i->node->size, 8 * MiB);
	image_expect(i, 0, 2 * MiB + 1024, 0);
	image_expect(i, 2 * MiB + 1024, 512, 7);
	image_expect(i, 2 * MiB + 1536, 1 * MiB, 0);
}

IMAGE_TEST(wild_entries_are_not_written_to)
{
	uint8_t p[512] = {0};

	make(i, "size=8M");
	image_write(i, 0, GRAIN, 1);
	image_close(i);
	store_le32(i->disk.data + TABLE + 4, 27);    /* the table itself */
	store_le32(i->disk.data + TABLE + 8, 99999); /* behind the end */
	image_open_ok(i, "");
	ck_assert_int_eq(edge_write(i->edge, GRAIN, 512, p, 0), -EIO);
	ck_assert_int_eq(edge_write(i->edge, 2 * GRAIN, 512, p, 0), -EIO);
	ck_assert_int_eq(edge_read(i->edge, 2 * GRAIN, 512, p, 0), -EIO);
	/* What is new comes behind what may be lost. */
	image_write(i, 3 * GRAIN, 512, 3);
	image_flush(i);
	ck_assert_uint_ge(entry(i, 3), 99999 + 128);
	image_expect(i, 0, GRAIN, 1);
}

IMAGE_TEST(overlapping_tables_are_not_written)
{
	i->format = "vmdk";
	image_create_ok(i, "size=64M");
	/* Both entries of the directory, at sector 30, lead to one table. */
	memcpy(i->disk.data + 30 * 512 + 4, i->disk.data + 30 * 512, 4);
	_cleanup_free_ char *error = image_open_error(i, "");

	ck_assert_str_eq(error, "The metadata of 'file' is damaged: it must be read only");
	image_open_ok(i, "read-only=on");
}

IMAGE_TEST(other_backing_files_are_refused)
{
	uint8_t p[512] = {0};

	i->format = "vmdk";
	image_create_ok(i, "size=8M");
	image_set_backing(i, 8 * MiB, 5);
	image_open_ok(i, "");
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EINVAL);
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EINVAL);
}

/* What was flushed is there after a power cut, and everything else is old or new. */
static void co_fn cut(struct image *i, unsigned flushes, uint64_t seed)
{
	make(i, "size=8M,zeroed-grain=on");
	for (unsigned n = 0; n < 16; n += 2)
		image_write(i, n * GRAIN, GRAIN, 1);
	image_close(i);
	disk_cut_begin(&i->disk, flushes, seed);
	image_open_ok(i, "");
	unsigned flushed = 0;

	for (unsigned n = 0; n < 16; n++) {
		if (n % 5 == 4)
			image_zero(i, n * GRAIN, GRAIN, 0);
		else
			image_write(i, n * GRAIN + 512, GRAIN - 512, n + 2);
		if (n % 3 == 2) {
			image_flush(i);
			if (i->disk.flushes <= i->disk.cut_at)
				flushed = n + 1;
		}
	}
	image_close(i);
	disk_cut_end(&i->disk);
	node_set_size(i->disk_node, i->disk.size);

	image_open_ok(i, "");
	uint8_t *p = buffer_get(i->loop, GRAIN);

	for (unsigned n = 0; n < 16; n++) {
		int new = n % 5 == 4 ? 0 : n + 2, old = n % 2 == 0 ? 1 : 0;

		ck_assert_int_eq(edge_read(i->edge, n * GRAIN, GRAIN, p, 0), 0);
		unsigned wrong = 0;

		for (unsigned at = 512; at < GRAIN; at++)
			wrong += p[at] != new && (n < flushed || p[at] != old);
		ck_assert_msg(wrong == 0, "%u bytes of grain %u are wrong", wrong, n);
	}
	buffer_put(i->loop, p, GRAIN);
	image_close(i);
	ck_assert_ptr_null(i->disk.after_cut);
}

static unsigned cut_flushes;
static uint64_t cut_seed;

static void co_fn cut_once(struct image *i)
{
	cut(i, cut_flushes, cut_seed);
}

START_TEST(test_power_cuts_lose_nothing_that_was_flushed)
{
	for (cut_flushes = 0; cut_flushes < 14; cut_flushes++)
		for (cut_seed = 0; cut_seed < 4; cut_seed++)
			image_run(cut_seed, cut_once);
}
END_TEST

static const struct unit_test tests[] = {
	IMAGE_ROW(what_is_written_is_there_after_opening_again),
	IMAGE_ROW(tables_follow_the_data_durably),
	IMAGE_ROW(tables_wait_while_data_cannot_be_flushed),
	IMAGE_ROW(failed_tables_are_written_again),
	IMAGE_ROW(failed_data_comes_into_no_table),
	IMAGE_ROW(content_id_is_changed_durably_before_the_data),
	IMAGE_ROW(short_content_ids_grow),
	IMAGE_ROW(writes_to_one_new_grain_keep_each_other),
	IMAGE_ROW(tables_give_way_to_each_other),
	IMAGE_ROW(zeroed_grains_take_no_room),
	IMAGE_ROW(compressed_grains_are_written_once),
	IMAGE_ROW(damaged_streams_give_errors),
	IMAGE_ROW(footers_are_read_and_never_written),
	IMAGE_ROW(extents_of_servers_are_read),
	IMAGE_ROW(wild_entries_are_not_written_to),
	IMAGE_ROW(overlapping_tables_are_not_written),
	IMAGE_ROW(other_backing_files_are_refused),
	IMAGE_ROW(power_cuts_lose_nothing_that_was_flushed),
};

UNIT_MAIN("vmdk", tests)
