/* SPDX-License-Identifier: MIT */
/* block/io_read.c, align.c and io_stats.c: reads of any shape, through chains of any length. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"
#include "block/io_internal.h"

static void fill_pattern(struct disk *d)
{
	for (uint64_t i = 0; i < d->size; i++)
		d->data[i] = (unsigned char)(i * 7 + i / 251);
}

FIXTURE_TEST(any_range_reads_right)
{
	struct disk *d = disk_new(f, "d", 3 * 4096 + 1000);
	d->limits = (struct node_limits){
		.request_alignment = 512, .memory_alignment = 16, .max_transfer = 2048};
	fill_pattern(d);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
	unsigned char *buffer _cleanup_free_ = xalloc(1, 20000);
	static const uint64_t offsets[] = {0, 1, 511, 512, 513, 4096, 4100, 13000};
	static const uint64_t lengths[] = {1, 2, 511, 512, 513, 1024, 2048, 4096, 5000, 9000};
	for (unsigned i = 0; i < ARRAY_SIZE(offsets); i++) {
		for (unsigned j = 0; j < ARRAY_SIZE(lengths); j++) {
			uint64_t offset = offsets[i], bytes = lengths[j];
			if (offset + bytes > d->size)
				bytes = d->size - offset;
			/* Memory that fits, and memory that does not. */
			for (unsigned k = 0; k < 4; k += 3) {
				memset(buffer, 0xee, 20000);
				ck_assert_int_eq(user_read(&u, offset, bytes, buffer + 16 + k), 0);
				ck_assert(memcmp(buffer + 16 + k, d->data + offset, bytes) == 0);
				ck_assert(all_bytes(buffer, 16 + k, 0xee));
				ck_assert(all_bytes(buffer + 16 + k + bytes, 100, 0xee));
			}
		}
	}
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(scattered_memory_is_filled)
{
	struct disk *d = disk_new(f, "d", 8192);
	fill_pattern(d);
	d->limits = (struct node_limits){.request_alignment = 512, .max_iovecs = 4};
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	unsigned char *buffer _cleanup_free_ = xalloc(1, 8192);
	struct iovec iov[8];
	for (unsigned i = 0; i < 8; i++)
		iov[i] = (struct iovec){buffer + 1024 * i, 1024};
	struct vec v = {.iov = iov, .count = 8};
	consumer_enter(&u.consumer);
	/* More pieces than the driver takes, then as many, then a range off the blocks. */
	ck_assert_int_eq(edge_readv(u.edge, 0, 8192, v, 0), 0);
	ck_assert(memcmp(buffer, d->data, 8192) == 0);
	ck_assert_int_eq(edge_readv(u.edge, 1024, 4096, v, 0), 0);
	ck_assert(memcmp(buffer, d->data + 1024, 4096) == 0);
	ck_assert_int_eq(edge_readv(u.edge, 100, 5000, vec_advance(v, 700), 0), 0);
	ck_assert(memcmp(buffer + 700, d->data + 100, 5000) == 0);
	consumer_leave(&u.consumer);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(consumers_stay_inside)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	char byte;
	ck_assert_int_eq(user_read(&u, 4096, 0, &byte), 0);
	ck_assert_int_eq(user_read(&u, 4096, 1, &byte), -EIO);
	ck_assert_int_eq(user_read(&u, 4095, 2, &byte), -EIO);
	ck_assert_int_eq(user_read(&u, UINT64_MAX, 2, &byte), -EIO);
	ck_assert_int_eq(user_read(&u, 1, UINT64_MAX, &byte), -EIO);
	ck_assert_uint_eq(n->stats.invalid[STATS_READ], 4);
	ck_assert_uint_eq(d->reads, 0);
	user_finish(&u);
	node_unref(n);
}

/* The file of a format may end early: the rest reads as zeroes. */
FIXTURE_TEST(formats_read_zeroes_beyond_the_end)
{
	struct disk *d = disk_new(f, "d", 0);
	disk_format_cow(d, 4096, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=d");
	memset(d->data, 0x33, d->size);
	unsigned char buffer[512];
	ck_assert_int_eq(edge_read(n->file, d->size - 100, 512, buffer, 0), 0);
	ck_assert(all_bytes(buffer, 100, 0x33));
	ck_assert(all_bytes(buffer + 100, 412, 0));
	ck_assert_int_eq(edge_read(n->file, d->size + 12345, 512, buffer, 0), 0);
	ck_assert(all_bytes(buffer, 512, 0));
	node_unref(n);
}

FIXTURE_TEST(errors_are_reported)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->limits.request_alignment = 512;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	d->read_error = -ENOMEDIUM;
	char buffer[600];
	ck_assert_int_eq(user_read(&u, 0, 512, buffer), -ENOMEDIUM);
	ck_assert_int_eq(user_read(&u, 1, 512, buffer), -ENOMEDIUM);
	ck_assert_int_eq(user_write(&u, 1, 512, buffer, 0), -ENOMEDIUM);
	ck_assert_uint_eq(d->writes, 0);
	ck_assert_uint_eq(n->stats.failed[STATS_READ], 2);
	ck_assert_uint_eq(n->stats.failed[STATS_WRITE], 1);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(layers_show_through)
{
	disk_format_cow(disk_new(f, "top", 0), 8 * COW_CLUSTER, "middle", "qcow2");
	disk_format_cow(disk_new(f, "middle", 0), 6 * COW_CLUSTER, "base", "raw");
	struct disk *base = disk_new(f, "base", 8 * COW_CLUSTER);
	memset(base->data, 0xb0, base->size);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct node *middle = node_backing(n);
	struct user u, m;
	user_init_ok(&u, n);
	middle->read_only = middle->file->child->read_only = false;
	user_init_ok(&m, middle);
	ck_assert_int_eq(user_fill(&u, 1 * COW_CLUSTER, COW_CLUSTER, 0x11), 0);
	ck_assert_int_eq(user_fill(&m, 1 * COW_CLUSTER, 2 * COW_CLUSTER, 0x22), 0);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_zero(u.edge, 3 * COW_CLUSTER, COW_CLUSTER, 0), 0);
	consumer_leave(&u.consumer);
	user_finish(&m);

	unsigned char *all _cleanup_free_ = xalloc(8, COW_CLUSTER);
	ck_assert_int_eq(user_read(&u, 0, 8 * COW_CLUSTER, all), 0);
	/* Middle ends after six clusters and hides what base has beyond. */
	static const int expected[8] = {0xb0, 0x11, 0x22, 0, 0xb0, 0xb0, 0, 0};
	for (unsigned i = 0; i < 8; i++)
		ck_assert(all_bytes(all + i * COW_CLUSTER, COW_CLUSTER, expected[i]));
	/* One byte on each side of every border. */
	for (unsigned i = 1; i < 8; i++) {
		ck_assert_int_eq(user_read(&u, i * COW_CLUSTER - 1, 2, all), 0);
		ck_assert_int_eq(all[0], expected[i - 1]);
		ck_assert_int_eq(all[1], expected[i]);
	}
	user_finish(&u);
	node_unref(n);
}

/* Filters without a read of their own stand in the chain's way nowhere. */
FIXTURE_TEST(filters_in_a_chain_are_passed)
{
	disk_format_cow(disk_new(f, "top", 0), 2 * COW_CLUSTER, "base", "raw");
	struct disk *base = disk_new(f, "base", 2 * COW_CLUSTER);
	memset(base->data, 0x77, base->size);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct node *backing = node_backing(n), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, true, backing, &filter,
					    NULL),
			 0);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_replace_node(&tx, backing, filter, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	node_unref(filter);
	ck_assert_ptr_eq(node_backing(n), filter);
	ck_assert(node_chain_contains(n, backing));
	ck_assert_ptr_eq(node_skip_filters(filter), backing);
	struct user u;
	user_init_ok(&u, n);
	ck_assert(user_sees(&u, 0, 2 * COW_CLUSTER, 0x77));
	user_finish(&u);
	node_unref(n);
}

/* 500 layers on a 64 KiB stack; the last of them has the data. */
FIXTURE_TEST(deep_chains_need_no_stack)
{
	enum { DEPTH = 500 };
	struct disk *base = disk_new(f, "0", COW_CLUSTER);
	memset(base->data, 0x42, COW_CLUSTER);
	struct node *n = open_ok(f, "driver=raw,read-only=on,node-name=n0,file.driver=file,"
				    "file.filename=0");
	struct disk *image = disk_new(f, "image", 0);
	for (unsigned i = 1; i <= DEPTH; i++) {
		disk_format_cow(image, COW_CLUSTER, NULL, NULL);
		char *text _cleanup_free_ = xasprintf(
			"driver=qcow2,read-only=on,node-name=n%u,file.driver=file,"
			"file.filename=image", i);
		struct node *above = open_ok(f, text);
		struct graph_tx tx;
		graph_tx_begin(&tx, f->graph);
		ck_assert_int_eq(graph_tx_attach_node(&tx, above, "backing", n, EDGE_COW, NULL,
						      NULL),
				 0);
		ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
		graph_tx_commit(&tx);
		node_unref(n);
		n = above;
	}
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
	ck_assert(user_sees(&u, 0, COW_CLUSTER, 0x42));
	ck_assert(user_sees(&u, 3, 100, 0x42));
	struct extent x;
	ck_assert_int_eq(node_status(n, 0, COW_CLUSTER, &x), 0);
	ck_assert_uint_eq(x.flags & (EXTENT_DATA | EXTENT_ZERO), EXTENT_DATA);
	ck_assert_int_eq(user_flush(&u), 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(requests_are_counted_at_the_top)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	struct user u;
	user_init_ok(&u, filter);
	d->delay_ns = 1000;
	char buffer[512] = {0};
	ck_assert_int_eq(user_read(&u, 0, 512, buffer), 0);
	ck_assert_int_eq(user_write(&u, 1024, 512, buffer, 0), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	const struct node_stats *s = &filter->stats;
	ck_assert_uint_eq(s->operations[STATS_READ], 1);
	ck_assert_uint_eq(s->bytes[STATS_READ], 512);
	ck_assert_uint_eq(s->total_ns[STATS_READ], 1000);
	ck_assert_uint_eq(s->operations[STATS_WRITE], 1);
	ck_assert_uint_eq(s->operations[STATS_FLUSH], 1);
	ck_assert_uint_gt(s->last_access_ns, 0);
	ck_assert_uint_eq(s->highest_written, 1536);
	ck_assert_uint_eq(n->stats.operations[STATS_READ], 0);
	ck_assert_uint_eq(n->stats.highest_written, 1536);
	user_finish(&u);
	node_unref(filter);
	node_unref(n);
}

FIXTURE_TEST(zeroes_are_zero)
{
	struct vec v = io_zeroes();
	ck_assert(vec_is_zero(v, IO_CHUNK_MAX));
	ck_assert(vec_is_aligned(v, IO_CHUNK_MAX, 4096));
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(any_range_reads_right),
	FIXTURE_ROW(scattered_memory_is_filled),
	FIXTURE_ROW(consumers_stay_inside),
	FIXTURE_ROW(formats_read_zeroes_beyond_the_end),
	FIXTURE_ROW(errors_are_reported),
	FIXTURE_ROW(layers_show_through),
	FIXTURE_ROW(filters_in_a_chain_are_passed),
	FIXTURE_ROW(deep_chains_need_no_stack),
	FIXTURE_ROW(requests_are_counted_at_the_top),
	FIXTURE_ROW(zeroes_are_zero),
};

UNIT_MAIN("io_read", tests)
