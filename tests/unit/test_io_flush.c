/* SPDX-License-Identifier: MIT */
/* block/io_flush.c: what a flush promises, and when it need not do anything. */
#include "tests/unit/block_fixture.h"

FIXTURE_TEST(clean_nodes_are_not_flushed)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 1);
	node_note_change(n);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 2);
	n->cache_no_flush = true;
	ck_assert_int_eq(user_fill(&u, 0, 512, 2), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 2);
	/* What the end of the process would lose is not left where it is. */
	n->holds_writes = true;
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 3), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 3);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(failed_flush_is_not_forgotten)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	struct user u;
	user_init_ok(&u, filter);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	d->flush_error = -EIO;
	ck_assert_int_eq(user_flush(&u), -EIO);
	ck_assert_int_eq(user_flush(&u), -EIO);
	ck_assert_uint_eq(d->flushes, 2);
	ck_assert_uint_eq(filter->stats.failed[STATS_FLUSH], 2);
	d->flush_error = 0;
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert(all_bytes(d->durable, 512, 1));
	user_finish(&u);
	node_unref(filter);
	node_unref(n);
}

/* A failed write may have left half of its data behind: it makes the node dirty. */
FIXTURE_TEST(failed_write_is_flushed)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	d->write_error = -EIO;
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), -EIO);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, 1);
	user_finish(&u);
	node_unref(n);
}

struct flusher {
	struct user *user;
	struct disk *disk;
	unsigned *left;
	int byte; /* that is durable when the flush returns */
	int result;
};

static void co_fn flush_once(void *arg)
{
	struct flusher *x = arg;
	x->result = user_flush(x->user);
	if (x->result >= 0)
		ck_assert(all_bytes(x->disk->durable, 512, x->byte));
	--*x->left;
}

/* Ten flushes come in while one runs: one more run serves them all. */
FIXTURE_TEST(flushes_are_shared)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->delay_ns = 10000;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	unsigned left = 1;
	struct flusher first = {&u, d, &left, 1, 0};
	co_start(f->loop, flush_once, &first);
	co_sleep_ns(100);
	ck_assert_uint_eq(d->flushes, 1);

	d->delay_ns = 0;
	ck_assert_int_eq(user_fill(&u, 0, 512, 2), 0);
	d->delay_ns = 10000;
	struct flusher more[10];
	for (unsigned i = 0; i < 10; i++) {
		more[i] = (struct flusher){&u, d, &left, 2, 0};
		left++;
		co_start(f->loop, flush_once, &more[i]);
	}
	while (left > 0)
		co_sleep_ns(1000);
	ck_assert_uint_eq(d->flushes, 2);

	/* When the shared one fails, nobody is told that it succeeded. */
	ck_assert_int_eq(user_fill(&u, 0, 512, 3), 0);
	d->flush_error = -EIO;
	for (unsigned i = 0; i < 10; i++) {
		more[i].byte = 3;
		left++;
		co_start(f->loop, flush_once, &more[i]);
	}
	while (left > 0)
		co_sleep_ns(1000);
	for (unsigned i = 0; i < 10; i++)
		ck_assert_int_eq(more[i].result, -EIO);
	user_finish(&u);
	node_unref(n);
}

/* The format's cache goes to the file first, and then to the disk. */
FIXTURE_TEST(formats_flush_down_to_the_disk)
{
	struct disk *d = disk_new(f, "d", 0);
	disk_format_cow(d, 4096, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=d");
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	ck_assert_int_eq(d->data[COW_CLUSTER], 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_int_eq(d->durable[COW_CLUSTER], 1);
	unsigned flushes = d->flushes;
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, flushes);
	d->flush_error = -EIO;
	ck_assert_int_eq(user_fill(&u, 512, 512, 1), 0);
	ck_assert_int_eq(user_flush(&u), -EIO);
	/* The cache is clean by now, the disk is not. */
	ck_assert_int_eq(user_flush(&u), -EIO);
	user_finish(&u);
	node_unref(n);
}

/* What was written before an overlay came on top is flushed through the overlay. */
FIXTURE_TEST(layers_left_behind_are_flushed)
{
	struct disk *d = disk_new(f, "base", 4096), *top = disk_new(f, "top", 0);
	disk_format_cow(top, 4096, NULL, NULL);
	struct node *base = open_ok(f, "driver=raw,node-name=base,file.driver=file,"
				       "file.filename=base");
	struct node *overlay = open_ok(f, "driver=qcow2,node-name=o,file.driver=file,"
					  "file.filename=top");
	struct user u;
	user_init_ok(&u, base);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_attach_node(&tx, overlay, "backing", base, EDGE_COW, NULL, NULL),
			 0);
	ck_assert_int_eq(graph_tx_replace_node(&tx, base, overlay, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	ck_assert_ptr_eq(u.edge->child, overlay);

	d->flush_error = -EIO;
	ck_assert_int_eq(user_flush(&u), -EIO);
	d->flush_error = 0;
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert(all_bytes(d->durable, 512, 1));
	/* Once is enough, and what a job writes there later is the job's to flush. */
	unsigned flushes = d->flushes;
	struct user job;
	user_init_ok(&job, base);
	ck_assert_int_eq(user_fill(&job, 0, 512, 2), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(d->flushes, flushes);
	user_finish(&job);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert(all_bytes(d->durable, 512, 2));
	user_finish(&u);
	node_unref(overlay);
	node_unref(base);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(clean_nodes_are_not_flushed),
	FIXTURE_ROW(failed_flush_is_not_forgotten),
	FIXTURE_ROW(failed_write_is_flushed),
	FIXTURE_ROW(flushes_are_shared),
	FIXTURE_ROW(formats_flush_down_to_the_disk),
	FIXTURE_ROW(layers_left_behind_are_flushed),
};

UNIT_MAIN("io_flush", tests)
