/* SPDX-License-Identifier: MIT */
/*
 * A qcow2 image, or one of another format, on a disk in memory, on a simulated loop;
 * for the tests of drivers/qcow2 and drivers/vmdk.
 */
#ifndef TESTS_UNIT_QCOW2_FIXTURE_H
#define TESTS_UNIT_QCOW2_FIXTURE_H

#include "base/buffer.h"
#include "base/loop.h"
#include "block/consumer.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/open.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"
#include "drivers/qcow2/task.h"
#include "schema/schema.h"
#include "tests/unit/unit.h"

#define DISK_BYTES_MAX (64 * MiB)

/* The disk below the image. */
struct disk {
	uint8_t *data; /* DISK_BYTES_MAX */
	uint64_t size;
	uint64_t delay_ns;       /* of each request, at most; its length is drawn */
	/* Requests that touch [fail_from, fail_to) fail with these, unless 0. */
	int read_error, write_error, flush_error;
	uint64_t fail_from, fail_to;
	/* The request with this number fails, 0 for none; see reads, writes and flushes. */
	unsigned fails_once, write_fails_once, flush_fails_once;
	/* While true, such requests wait on @held until it is cleared and the queue woken. */
	bool hold_reads, hold_writes, hold_discards;
	struct co_queue held;
	/*
	 * What would be left if the power failed between the flushes @cut_at and the next:
	 * of each write between them, a random part. NULL unless disk_cut_begin().
	 */
	uint8_t *after_cut;
	uint64_t cut_size, cut_random;
	unsigned cut_at;
	unsigned reads, writes, flushes, discards, in_flight, most_in_flight;
	uint64_t bytes_written, bytes_discarded;
};

struct image {
	struct loop *loop;
	struct graph *graph;
	struct disk disk, backing_disk;
	struct node *disk_node, *backing_node;
	const char *format; /* NULL: qcow2 */
	const char *file;   /* options of the storage to open the image with; NULL: the disk as it is */
	struct node *node;  /* the image, NULL when closed */
	struct qcow2 *q;    /* of a qcow2 image */
	struct edge *edge;
	struct consumer consumer;
};

/* Run @fn on a fresh disk and graph, with @seed deciding the schedule. */
void image_run(uint64_t seed, void co_fn (*fn)(struct image *i));

/* A test that is the body of a coroutine on a fresh disk, and its row in the table. */
#define IMAGE_TEST(fn)                                                                             \
	static void co_fn fn(struct image *i);                                                     \
	START_TEST(test_##fn)                                                                      \
	{                                                                                          \
		image_run(1, fn);                                                                  \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn fn(struct image *i)
#define IMAGE_ROW(fn) {#fn, &test_##fn, 0}

/* Make an image; @options is what follows the file, such as "size=1M,version=v2". */
void co_fn image_create_ok(struct image *i, const char *options);
/* The error's sentence, free with free(), or NULL on success. */
char *co_fn image_create_error(struct image *i, const char *options);
/* Open it; @options is further key=value text, or "". */
void co_fn image_open_ok(struct image *i, const char *options);
char *co_fn image_open_error(struct image *i, const char *options);
void co_fn image_close(struct image *i);
/* Close, and open again. */
void co_fn image_reopen(struct image *i, const char *options);
/* Put @size bytes of @byte below images that are opened from now on. */
void co_fn image_set_backing(struct image *i, uint64_t size, int byte);

/* Requests that must succeed. */
void co_fn image_write(struct image *i, uint64_t offset, uint64_t bytes, int byte);
void co_fn image_write_compressed(struct image *i, uint64_t offset, uint64_t bytes, int byte);
void co_fn image_zero(struct image *i, uint64_t offset, uint64_t bytes, unsigned flags);
void co_fn image_discard(struct image *i, uint64_t offset, uint64_t bytes);
void co_fn image_flush(struct image *i);
/* The range must read as @byte. */
void co_fn image_expect(struct image *i, uint64_t offset, uint64_t bytes, int byte);
/* The image has so many leaks and corruptions. */
void co_fn image_expect_check(struct image *i, uint64_t leaks, uint64_t corruptions);
/* What the tables say about @offset. */
struct run co_fn image_map(struct image *i, uint64_t offset);

/* A request in the background. */
struct background {
	struct image *image;
	enum { BACKGROUND_READ, BACKGROUND_WRITE, BACKGROUND_DISCARD, BACKGROUND_FLUSH } kind;
	uint64_t offset, bytes;
	int byte; /* written, or expected */
	bool is_done;
	int result;
};

void background_start(struct background *b);
/* Let everything run until @b is done. */
void co_fn background_wait(struct background *b);
/* Let everything run that can within a simulated second. */
void co_fn settle(void);
void disk_release(struct disk *d);
/* Let the power fail after @flushes flushes from now on. */
void disk_cut_begin(struct disk *d, unsigned flushes, uint64_t seed);
/* Now the disk holds what was left. */
void disk_cut_end(struct disk *d);

#endif
