/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2: what is written when, who waits for whom, and what failures
 * leave behind.
 */
#include "tests/unit/qcow2_fixture.h"

#define CLUSTER (64 * KiB)

IMAGE_TEST(small_write_to_a_fresh_cluster_writes_nothing_else)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 512, 1); /* makes the L2 table */
	i->disk.bytes_written = 0;
	image_write(i, CLUSTER + 4096, 4096, 2);
	ck_assert_uint_eq(i->disk.bytes_written, 4096);
	image_expect(i, CLUSTER, 4096, 0);
	image_expect(i, CLUSTER + 4096, 4096, 2);
	image_expect(i, CLUSTER + 8192, CLUSTER - 8192, 0);
}

IMAGE_TEST(old_data_goes_with_the_new_in_one_write)
{
	image_set_backing(i, 8 * MiB, 7);
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 512, 1);
	i->disk.writes = 0;
	i->disk.bytes_written = 0;
	image_write(i, CLUSTER + 4096, 2 * CLUSTER, 2);
	ck_assert_uint_eq(i->disk.writes, 1);
	ck_assert_uint_eq(i->disk.bytes_written, 3 * CLUSTER);
	image_expect(i, CLUSTER, 4096, 7);
	image_expect(i, CLUSTER + 4096, 2 * CLUSTER, 2);
	image_expect(i, 3 * CLUSTER + 4096, CLUSTER - 4096, 7);
}

IMAGE_TEST(overwriting_touches_no_table)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 4 * CLUSTER, 1);
	image_flush(i);
	i->disk.writes = i->disk.flushes = 0;
	image_write(i, 100, 3 * CLUSTER, 2);
	ck_assert_uint_eq(i->disk.writes, 1);
	image_flush(i);
	ck_assert_uint_eq(i->disk.writes, 1);
	ck_assert_uint_eq(i->disk.flushes, 1);
}

IMAGE_TEST(long_reads_are_one_read)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "l2-cache-entry-size=512");
	image_write(i, 0, 6 * MiB, 1);
	i->disk.reads = 0;
	image_expect(i, 4096, 5 * MiB, 1);
	ck_assert_uint_eq(i->disk.reads, 1);
}

IMAGE_TEST(writes_to_different_clusters_go_in_parallel)
{
	struct background b[8];

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 512, 1);
	i->disk.delay_ns = 1000000;
	i->disk.most_in_flight = 0;
	for (unsigned n = 0; n < 8; n++) {
		b[n] = (struct background){.image = i, .kind = BACKGROUND_WRITE,
					     .offset = (n + 1) * CLUSTER, .bytes = 4096,
					     .byte = n};
		background_start(&b[n]);
	}
	settle();
	ck_assert_uint_eq(i->disk.most_in_flight, 8);
	for (unsigned n = 0; n < 8; n++)
		ck_assert(b[n].is_done && b[n].result == 0);
}

IMAGE_TEST(writes_to_the_same_new_cluster_keep_each_other)
{
	struct background b[16];

	image_set_backing(i, 8 * MiB, 7);
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	i->disk.delay_ns = i->backing_disk.delay_ns = 1000000;
	for (unsigned n = 0; n < 16; n++) {
		b[n] = (struct background){.image = i, .kind = BACKGROUND_WRITE,
					     .offset = n * 4096, .bytes = 2048, .byte = n};
		background_start(&b[n]);
	}
	for (unsigned n = 0; n < 16; n++) {
		background_wait(&b[n]);
		ck_assert_int_eq(b[n].result, 0);
	}
	for (unsigned n = 0; n < 16; n++) {
		image_expect(i, n * 4096, 2048, n);
		image_expect(i, n * 4096 + 2048, 2048, 7);
	}
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(freed_clusters_wait_for_a_flush)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, CLUSTER, 1);
	uint64_t host = image_map(i, 0).host;

	image_flush(i);
	image_discard(i, 0, CLUSTER);
	image_write(i, CLUSTER, CLUSTER, 2);
	ck_assert_uint_ne(image_map(i, CLUSTER).host, host);
	ck_assert_uint_eq(i->disk.discards, 0);
	image_flush(i);
	ck_assert_uint_eq(i->disk.discards, 1);
	ck_assert_uint_eq(i->disk.bytes_discarded, CLUSTER);
	image_write(i, 2 * CLUSTER, CLUSTER, 3);
	ck_assert_uint_eq(image_map(i, 2 * CLUSTER).host, host);
	image_expect(i, 0, CLUSTER, 0);
	image_expect(i, CLUSTER, CLUSTER, 2);
}

IMAGE_TEST(freed_clusters_wait_for_their_readers)
{
	struct background reader = {.image = i, .kind = BACKGROUND_READ, .offset = 0,
				  .bytes = CLUSTER, .byte = 1};
	struct background flush = {.image = i, .kind = BACKGROUND_FLUSH, .offset = 0,
				  .bytes = 0, .byte = 0};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, CLUSTER, 1);
	image_flush(i);
	i->disk.hold_reads = true;
	background_start(&reader);
	settle();
	image_discard(i, 0, CLUSTER);
	background_start(&flush);
	settle();
	ck_assert(!reader.is_done && !flush.is_done);
	ck_assert_uint_eq(i->disk.discards, 0);
	disk_release(&i->disk);
	background_wait(&reader);
	background_wait(&flush);
	ck_assert_int_eq(reader.result, 0);
	ck_assert_uint_eq(i->disk.discards, 1);
}

/* What a read has looked up is not given to others while it looks up more. */
IMAGE_TEST(looking_up_waits_for_nothing_but_the_first_slice)
{
	uint64_t border = 64 * CLUSTER; /* between two slices of 512 bytes */
	struct background reader = {.image = i, .kind = BACKGROUND_READ, .offset = border - CLUSTER,
				    .bytes = 2 * CLUSTER, .byte = 1};
	struct background flush = {.image = i, .kind = BACKGROUND_FLUSH};
	struct background writer = {.image = i, .kind = BACKGROUND_WRITE, .offset = 0,
				    .bytes = CLUSTER, .byte = 9};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap,l2-cache-entry-size=512");
	image_write(i, border - CLUSTER, 2 * CLUSTER, 1);
	image_reopen(i, "discard=unmap,l2-cache-entry-size=512");
	image_write(i, CLUSTER, CLUSTER, 2); /* the first slice and the refcounts are in memory */
	image_flush(i);
	i->disk.hold_reads = true;
	background_start(&reader);
	settle();
	image_discard(i, border - CLUSTER, CLUSTER);
	background_start(&flush);
	settle();
	background_start(&writer);
	settle();
	disk_release(&i->disk);
	background_wait(&reader);
	background_wait(&flush);
	background_wait(&writer);
	ck_assert_int_eq(reader.result, 0);
	image_expect(i, 0, CLUSTER, 9);
}

IMAGE_TEST(discard_waits_for_a_write_to_the_cluster)
{
	struct background writer = {.image = i, .kind = BACKGROUND_WRITE, .offset = 512,
				  .bytes = 512, .byte = 2};
	struct background discard = {.image = i, .kind = BACKGROUND_DISCARD, .offset = 0,
				  .bytes = CLUSTER, .byte = 0};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	image_write(i, 0, CLUSTER, 1);
	i->disk.hold_writes = true;
	background_start(&writer);
	settle();
	background_start(&discard);
	settle();
	ck_assert(!writer.is_done && !discard.is_done);
	disk_release(&i->disk);
	background_wait(&discard);
	ck_assert(writer.is_done);
	image_expect(i, 0, CLUSTER, 0);
}

IMAGE_TEST(tables_go_out_in_order)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	i->disk.flushes = 0;
	image_write(i, 0, CLUSTER, 1);
	/* Neither the L1 entry nor the refcount is on disk before a flush. */
	ck_assert_uint_eq(load_be64(i->disk.data + 0x30000), 0);
	ck_assert_uint_eq(load_be16(i->disk.data + 0x20000 + 2 * 4), 0);
	/* A failing flush after the refcounts keeps the mapping off the disk. */
	i->disk.flush_error = -EIO;
	ck_assert_int_eq(edge_flush(i->edge), -EIO);
	ck_assert_uint_eq(load_be16(i->disk.data + 0x20000 + 2 * 4), 1);
	ck_assert_uint_eq(load_be64(i->disk.data + 0x30000), 0);
	i->disk.flush_error = 0;
	image_flush(i);
	ck_assert_uint_eq(load_be64(i->disk.data + 0x30000), ENTRY_COPIED | 0x40000);
	ck_assert_uint_eq(load_be64(i->disk.data + 0x40000), ENTRY_COPIED | 0x50000);
	image_reopen(i, "");
	image_expect(i, 0, CLUSTER, 1);
	image_expect_check(i, 0, 0);
}

/* The next compressed cluster would continue in what is being thrown away. */
IMAGE_TEST(compressed_data_does_not_go_to_what_is_discarded)
{
	struct background flush = {.image = i, .kind = BACKGROUND_FLUSH};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	image_write_compressed(i, 0, CLUSTER, 1);
	image_write(i, 2 * CLUSTER, CLUSTER, 3); /* the file goes on behind it */
	image_flush(i);
	image_discard(i, 0, CLUSTER);
	i->disk.hold_discards = true;
	background_start(&flush);
	settle();
	ck_assert_uint_eq(i->disk.discards, 1);
	image_write_compressed(i, CLUSTER, CLUSTER, 2);
	disk_release(&i->disk);
	background_wait(&flush);
	ck_assert_int_eq(flush.result, 0);
	image_reopen(i, "");
	image_expect(i, 0, CLUSTER, 0);
	image_expect(i, CLUSTER, CLUSTER, 2);
	image_expect_check(i, 0, 0);
}

/*
 * What was read from a place that has a new owner by now is not taken for the new content. More
 * are being decompressed than may be at a time, so that the one for the place waits.
 */
IMAGE_TEST(what_is_decompressed_late_is_not_kept)
{
	struct background flush = {.image = i, .kind = BACKGROUND_FLUSH}, readers[9];
	unsigned count = ARRAY_SIZE(readers);

	image_create_ok(i, "size=8M");
	image_open_ok(i, "discard=unmap");
	for (unsigned n = 0; n < count; n++)
		image_write_compressed(i, n * CLUSTER, CLUSTER, n + 1);
	image_flush(i);
	uint64_t descriptor = image_map(i, 0).descriptor;

	i->disk.hold_reads = true;
	for (unsigned n = count; n-- > 0;) {
		readers[n] = (struct background){.image = i, .kind = BACKGROUND_READ,
						 .offset = n * CLUSTER, .bytes = CLUSTER,
						 .byte = n + 1};
		background_start(&readers[n]);
		settle();
	}
	image_discard(i, 0, count * CLUSTER);
	background_start(&flush);
	settle();
	disk_release(&i->disk);
	for (unsigned n = 0; n < count; n++) {
		background_wait(&readers[n]);
		ck_assert_int_eq(readers[n].result, 0);
	}
	background_wait(&flush);
	image_write_compressed(i, 16 * CLUSTER, CLUSTER, 0x77);
	ck_assert_uint_eq(image_map(i, 16 * CLUSTER).descriptor, descriptor);
	image_expect(i, 16 * CLUSTER, CLUSTER, 0x77);
}

/* Being compressed, the last cluster goes to the end of the image, which moves meanwhile. */
static void co_fn compress_last(void *arg)
{
	struct background *b = arg;

	image_write_compressed(b->image, b->offset, b->bytes, b->byte);
	b->is_done = true;
}

IMAGE_TEST(compressed_data_ends_where_it_ended_when_the_image_grows)
{
	struct background b = {.image = i, .offset = CLUSTER, .bytes = 4096, .byte = 1};
	struct task task;

	image_create_ok(i, "size=68K");
	image_open_ok(i, "");
	ck_assert_int_eq(qcow2_task_exclusive(i->q, &task, 1, 1), 0);
	co_start(i->loop, compress_last, &b);
	settle();
	consumer_enter(&i->consumer);
	ck_assert_int_eq(edge_truncate(i->edge, 4 * CLUSTER, PREALLOCATION_OFF, NULL), 0);
	consumer_leave(&i->consumer);
	qcow2_task_end(&task);
	image_write(i, CLUSTER + 4096, 4096, 2);
	background_wait(&b);
	image_expect(i, CLUSTER, 4096, 1);
	image_expect(i, CLUSTER + 4096, 4096, 2);
	image_expect(i, CLUSTER + 8192, CLUSTER - 8192, 0);
	image_expect_check(i, 0, 0);
}

struct settler {
	struct qcow2 *q;
	bool is_done;
	int result;
};

static void co_fn settler_main(void *arg)
{
	struct settler *s = arg;

	s->result = qcow2_settle(s->q);
	s->is_done = true;
}

IMAGE_TEST(settled_is_what_others_have_written_too)
{
	struct background flush = {.image = i, .kind = BACKGROUND_FLUSH};
	struct settler s = {0};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	s.q = i->q;
	i->disk.hold_writes = true;
	background_start(&flush);
	settle();
	co_start(i->loop, settler_main, &s);
	settle();
	ck_assert(!flush.is_done && !s.is_done);
	disk_release(&i->disk);
	background_wait(&flush);
	settle();
	ck_assert(s.is_done && s.result == 0);
}

/* What is dropped from a table meanwhile may be under way to the file. */
IMAGE_TEST(forgotten_slices_are_written_to_the_end)
{
	struct background flush = {.image = i, .kind = BACKGROUND_FLUSH};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	uint64_t block = i->q->reftable.entries[0], cached = i->q->refcount_cache.count;

	i->disk.hold_writes = true;
	background_start(&flush);
	settle();
	qcow2_cache_forget(&i->q->refcount_cache, block, CLUSTER);
	ck_assert_uint_eq(i->q->refcount_cache.count, cached);
	disk_release(&i->disk);
	background_wait(&flush);
	ck_assert_int_eq(flush.result, 0);
	ck_assert_uint_lt(i->q->refcount_cache.count, cached);
	image_reopen(i, "");
	image_expect(i, 0, CLUSTER, 1);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(failed_writes_give_their_clusters_back)
{
	char p[512] = {1};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, 512, 1);
	image_flush(i);
	i->disk.write_error = -EIO;
	ck_assert_int_eq(edge_write(i->edge, CLUSTER, 512, p, 0), -EIO);
	i->disk.write_error = -ENOSPC;
	ck_assert_int_eq(edge_write(i->edge, 2 * CLUSTER, 512, p, REQUEST_COMPRESSED), -ENOSPC);
	i->disk.write_error = 0;
	image_expect(i, CLUSTER, 2 * CLUSTER, 0);
	image_expect_check(i, 0, 0);
	/* The cluster was written to for all we know: it is not taken for zeroes. */
	memset(i->disk.data + 0x60000, 0xee, CLUSTER);
	image_write(i, CLUSTER, 512, 2);
	ck_assert_uint_eq(image_map(i, CLUSTER).host, 0x60000);
	image_expect(i, CLUSTER, 512, 2);
	image_expect(i, CLUSTER + 512, CLUSTER - 512, 0);
}

IMAGE_TEST(failed_table_writes_are_repeated)
{
	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	i->disk.write_error = -EIO;
	/* A refcount block, the L2 table, the L1 table. */
	static const uint64_t places[] = {0x20000, 0x40000, 0x30000};

	for (size_t n = 0; n < ARRAY_SIZE(places); n++) {
		i->disk.fail_from = places[n];
		i->disk.fail_to = places[n] + CLUSTER;
		ck_assert_int_eq(edge_flush(i->edge), -EIO);
	}
	i->disk.write_error = 0;
	image_flush(i);
	image_reopen(i, "");
	image_expect(i, 0, CLUSTER, 1);
	image_expect_check(i, 0, 0);
}

IMAGE_TEST(failed_table_reads_can_be_repeated)
{
	uint8_t p[512];

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	image_reopen(i, "");
	i->disk.read_error = -EIO;
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EIO);
	ck_assert_int_eq(edge_write(i->edge, CLUSTER, 512, p, 0), -EIO);
	i->disk.read_error = 0;
	image_expect(i, 0, CLUSTER, 1);
	image_write(i, CLUSTER, 512, 2);
	image_expect_check(i, 0, 0);
}

static bool is_marked_dirty(const struct image *i)
{
	return load_be64(i->disk.data + HEADER_INCOMPATIBLE) & INCOMPATIBLE_DIRTY;
}

IMAGE_TEST(lazy_refcounts_mark_the_image_and_are_rebuilt)
{
	image_create_ok(i, "size=8M,lazy-refcounts=on");
	image_open_ok(i, "");
	image_expect(i, 0, CLUSTER, 0);
	ck_assert(!is_marked_dirty(i));
	image_write(i, 0, CLUSTER, 1);
	ck_assert(is_marked_dirty(i));
	image_flush(i);
	ck_assert_uint_eq(load_be16(i->disk.data + 0x20000 + 2 * 4), 0);
	uint8_t *crashed = xmemdup(i->disk.data, MiB);

	image_close(i);
	ck_assert(!is_marked_dirty(i));
	ck_assert_uint_eq(load_be16(i->disk.data + 0x20000 + 2 * 4), 1);

	/* As if the power had failed after the flush. */
	memcpy(i->disk.data, crashed, MiB);
	free(crashed);
	image_open_ok(i, "read-only=on");
	image_expect(i, 0, CLUSTER, 1);
	image_close(i);
	ck_assert(is_marked_dirty(i));
	image_open_ok(i, "lazy-refcounts=off");
	ck_assert(!is_marked_dirty(i));
	image_expect_check(i, 0, 0);
	image_expect(i, 0, CLUSTER, 1);
	image_write(i, CLUSTER, CLUSTER, 2);
	ck_assert(!is_marked_dirty(i));
}

static void co_fn rewrite_header(void *arg)
{
	ck_assert_int_eq(qcow2_header_rewrite(arg, NULL), 0);
}

/* The dirty bit comes while the header is being written for another reason. */
IMAGE_TEST(changes_of_the_header_keep_each_other)
{
	struct background writer = {.image = i, .kind = BACKGROUND_WRITE, .offset = CLUSTER,
				  .bytes = CLUSTER, .byte = 1};

	image_create_ok(i, "size=8M,lazy-refcounts=on");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1); /* the writer below takes one cluster and no more */
	image_reopen(i, "");
	ck_assert(!is_marked_dirty(i));
	i->disk.hold_writes = true;
	co_start(i->loop, rewrite_header, i->q);
	settle();
	background_start(&writer);
	settle();
	disk_release(&i->disk);
	background_wait(&writer);
	ck_assert_int_eq(writer.result, 0);
	ck_assert(is_marked_dirty(i));
}

IMAGE_TEST(metadata_is_not_overwritten)
{
	char p[512] = {1};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	image_close(i);
	store_be64(i->disk.data + 0x40000, ENTRY_COPIED | 0x20000);
	image_open_ok(i, "");
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), -EIO);
	ck_assert_str_eq(i->q->corruption_message,
			 "Preventing invalid write on metadata (overlaps with refcount block)");
	ck_assert(i->node->corrupt);
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_INCOMPATIBLE), INCOMPATIBLE_CORRUPT);
	ck_assert_int_eq(edge_write(i->edge, MiB, 512, p, 0), -EIO);
	image_close(i);
	store_be64(i->disk.data + HEADER_INCOMPATIBLE, 0);
	image_open_ok(i, "overlap-check=none");
	ck_assert_int_eq(edge_write(i->edge, 0, 512, p, 0), 0);
}

IMAGE_TEST(impossible_entries_are_reported)
{
	uint8_t p[512];
	static const struct {
		uint64_t entry;
		const char *message;
	} cases[] = {
		{ENTRY_COPIED | 0x50200,
		 "Cluster allocation offset 0x50200 unaligned (guest offset: 0)"},
		{ENTRY_COPIED, "Cluster allocation offset 0 for guest offset 0"},
	};

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	image_close(i);
	for (size_t n = 0; n < ARRAY_SIZE(cases); n++) {
		store_be64(i->disk.data + 0x40000, cases[n].entry);
		image_open_ok(i, "read-only=on");
		ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
		ck_assert_str_eq(i->q->corruption_message, cases[n].message);
		image_expect(i, CLUSTER, CLUSTER, 0);
		image_close(i);
	}
	store_be64(i->disk.data + 0x30000, ENTRY_COPIED | 0x40200);
	image_open_ok(i, "");
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	ck_assert_str_eq(i->q->corruption_message, "L2 table offset 0x40200 unaligned (L1 index: 0)");
	ck_assert(i->node->corrupt);
}

IMAGE_TEST(damage_known_from_reading_stops_writing_later)
{
	uint8_t p[512];

	image_create_ok(i, "size=8M");
	image_open_ok(i, "");
	image_write(i, 0, CLUSTER, 1);
	image_close(i);
	store_be64(i->disk.data + 0x40000, ENTRY_COPIED | 0x50200);
	image_open_ok(i, "read-only=on");
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	ck_assert(!i->node->corrupt);
	consumer_leave(&i->consumer);
	graph_change_begin(i->graph);
	ck_assert_int_eq(node_set_read_only(i->node, false, NULL), 0);
	graph_change_end(i->graph);
	consumer_enter(&i->consumer);
	ck_assert_int_eq(edge_read(i->edge, 0, 512, p, 0), -EIO);
	ck_assert(i->node->corrupt);
	ck_assert_uint_eq(load_be64(i->disk.data + HEADER_INCOMPATIBLE), INCOMPATIBLE_CORRUPT);
}

static const struct unit_test tests[] = {
	IMAGE_ROW(small_write_to_a_fresh_cluster_writes_nothing_else),
	IMAGE_ROW(old_data_goes_with_the_new_in_one_write),
	IMAGE_ROW(overwriting_touches_no_table),
	IMAGE_ROW(long_reads_are_one_read),
	IMAGE_ROW(writes_to_different_clusters_go_in_parallel),
	IMAGE_ROW(writes_to_the_same_new_cluster_keep_each_other),
	IMAGE_ROW(freed_clusters_wait_for_a_flush),
	IMAGE_ROW(freed_clusters_wait_for_their_readers),
	IMAGE_ROW(looking_up_waits_for_nothing_but_the_first_slice),
	IMAGE_ROW(discard_waits_for_a_write_to_the_cluster),
	IMAGE_ROW(tables_go_out_in_order),
	IMAGE_ROW(compressed_data_does_not_go_to_what_is_discarded),
	IMAGE_ROW(what_is_decompressed_late_is_not_kept),
	IMAGE_ROW(compressed_data_ends_where_it_ended_when_the_image_grows),
	IMAGE_ROW(settled_is_what_others_have_written_too),
	IMAGE_ROW(forgotten_slices_are_written_to_the_end),
	IMAGE_ROW(failed_writes_give_their_clusters_back),
	IMAGE_ROW(failed_table_writes_are_repeated),
	IMAGE_ROW(failed_table_reads_can_be_repeated),
	IMAGE_ROW(lazy_refcounts_mark_the_image_and_are_rebuilt),
	IMAGE_ROW(changes_of_the_header_keep_each_other),
	IMAGE_ROW(metadata_is_not_overwritten),
	IMAGE_ROW(impossible_entries_are_reported),
	IMAGE_ROW(damage_known_from_reading_stops_writing_later),
};

UNIT_MAIN("qcow2_order", tests)
