/* SPDX-License-Identifier: MIT */
/*
 * A graph on a simulated loop, disks in memory with knobs for delay and failure,
 * a small format with a backing file, and users. For the tests of block/.
 */
#ifndef TESTS_UNIT_BLOCK_FIXTURE_H
#define TESTS_UNIT_BLOCK_FIXTURE_H

#include "base/loop.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/node.h"
#include "block/open.h"
#include "tests/unit/unit.h"

/* The longest disk, so that it may grow in place. */
#define DISK_BYTES_MAX ((size_t)4 << 20)

/* A disk in memory, found by its name as a "file" node, or passed to node_open_internal(). */
struct disk {
	struct list link;
	char name[64];
	unsigned char *data, *durable; /* DISK_BYTES_MAX each; durable: as of the last flush */
	uint64_t size;

	/* Knobs. */
	struct node_limits limits;
	uint64_t delay_ns;       /* of each request */
	bool held;               /* reads and writes wait until it is not */
	bool varies;             /* the delay is random, up to delay_ns */
	int read_error, write_error, flush_error, zero_error, discard_error, truncate_error,
		check_error;
	bool holes;              /* status tells zeroes from data, by 512 bytes */

	/* Counters. */
	unsigned reads, writes, fua_writes, zeroes, unmaps, discards, flushes, truncates;
	unsigned in_flight, most_in_flight;
	unsigned opens, closes;
	uint64_t longest_zero, last_zero_offset, last_zero_bytes;
	/* The permissions that the driver was told, and those that it was asked about. */
	unsigned set_permissions, set_shared, checks, sets, aborts;
	unsigned prepares, commits, reopen_aborts; /* reopening */
	int prepare_error;
};

/*
 * Grows on write and has everything but FUA; and the same without growing, zero,
 * discard, status and flush, but with FUA. The first is called "file".
 */
extern const struct driver disk_driver, plain_disk_driver;

/*
 * A format called "qcow2" with clusters of 512 bytes: a header, a byte for each
 * cluster (0 not allocated, 1 data, 2 zero), and the data in their order.
 */
extern const struct driver cow_driver;
/* A format without metadata, called "raw", that passes everything on by its own calls. */
extern const struct driver raw_driver;
/* How often the disk below had been prepared when a "raw" node was. */
extern unsigned raw_found_prepared;
/* A filter without any call, on the node that is passed as its argument. */
extern const struct driver filter_driver;

#define COW_CLUSTER 512

struct fixture {
	struct loop *loop;
	struct graph *graph;
	struct list disks;
};

/* Run @fn(@fixture) in a coroutine on a fresh graph; everything must be gone afterwards. */
void fixture_run(void co_fn (*fn)(struct fixture *f));
void fixture_run_seed(uint64_t seed, void co_fn (*fn)(struct fixture *f));
/* The same in real time, where sockets work. */
void fixture_run_real(void co_fn (*fn)(struct fixture *f));

/* A test that is the body of a coroutine on a fresh fixture, and its row in the table. */
#define FIXTURE_TEST(fn)                                                                           \
	static void co_fn fn(struct fixture *f);                                                   \
	START_TEST(test_##fn)                                                                      \
	{                                                                                          \
		fixture_run(fn);                                                                   \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn fn(struct fixture *f)
#define FIXTURE_ROW(fn) {#fn, &test_##fn, 0}
#define FIXTURE_ROW_ABORTS(fn) {#fn, &test_##fn, SIGABRT}

/* A new disk; freed by the fixture. */
struct disk *disk_new(struct fixture *f, const char *name, uint64_t size);
/* Make the disk hold an empty image of the "qcow2" above. @backing may be NULL. */
void disk_format_cow(struct disk *d, uint64_t size, const char *backing,
		     const char *backing_format);
/* Open the disk without options. */
struct node *co_fn disk_open(struct fixture *f, struct disk *d, const struct driver *driver);

/* Open what the key=value text describes. */
int co_fn open_text(struct fixture *f, const char *text, struct node **ret, struct error **errp);
/* The same; fails the test on an error. */
struct node *co_fn open_ok(struct fixture *f, const char *text);
/* Open the file called @filename. @format as for options_from_filename(). */
int co_fn open_filename(struct fixture *f, const char *filename, const char *format,
			bool read_only, struct node **ret, struct error **errp);
/* The options that the text describes. Free with blockdev_options_free(). */
struct blockdev_options *options_text(const char *text);

/* A consumer with one edge. */
struct user {
	struct consumer consumer;
	struct edge *edge;
	const char *name;
	unsigned resizes, quiesces, resumes, drains;
};

int co_fn user_init(struct user *u, const char *name, struct node *n, unsigned permissions,
		    unsigned shared, struct error **errp);
/* The same, reading and writing and sharing all; fails the test on an error. */
void co_fn user_init_ok(struct user *u, struct node *n);
void co_fn user_finish(struct user *u);

/* I/O inside an operation of its own. */
int co_fn user_read(struct user *u, uint64_t offset, uint64_t bytes, void *p);
int co_fn user_write(struct user *u, uint64_t offset, uint64_t bytes, const void *p,
		     unsigned flags);
int co_fn user_fill(struct user *u, uint64_t offset, uint64_t bytes, int byte);
int co_fn user_flush(struct user *u);
/* True when the node reads as @byte throughout. */
bool co_fn user_sees(struct user *u, uint64_t offset, uint64_t bytes, int byte);

/* Fail the test unless *error has the sentence, and clear it. */
void error_expect(struct error **error, const char *message);
/* The same for a part of the sentence. */
void error_expect_part(struct error **error, const char *part);

/* True when all bytes are @byte. */
bool all_bytes(const void *p, size_t bytes, int byte);

#endif
