/* SPDX-License-Identifier: MIT */
/*
 * Reads, or writes, of one turn of the loop that follow each other on the medium go to it
 * as one request.
 *
 * It is for drivers of storage where every request has a high price, however short it is: that
 * behind a network. Requests of a client that is quicker than its storage arrive together, and
 * then a run of them costs little more than one. Some runs stay under way beside it, so that
 * some travel while others are answered.
 *
 * Everything happens on the node's loop.
 */
#ifndef BLOCK_MERGE_H
#define BLOCK_MERGE_H

#include "base/loop.h"
#include "base/vec.h"

/* A read or a write of contiguous bytes. */
struct transfer {
	bool is_write;
	uint64_t offset, bytes;
	struct vec v;
};

struct merge_queue {
	/*
	 * Do a transfer. Returns a negative errno, or the bytes that there were to read, which
	 * may be fewer at the end of the medium; what a write returns is passed on.
	 */
	int64_t co_fn (*run)(void *arg, const struct transfer *t);
	void *arg;
	/* Of what was merged: its bytes, its pieces of memory, and what its range does not cross. */
	uint64_t max_bytes;
	unsigned max_iovecs;
	uint64_t boundary; /* 0 for none */
	/* No run takes more than this part (a half: 2) of the transfers that are under way. */
	unsigned read_part, write_part;

	struct loop *loop;
	struct list waiting; /* for the end of the turn, oldest first */
	struct loop_deferred settle;
	unsigned outstanding; /* waiting or running */
};

/* The members above @loop have been set. There is nothing to free once nothing is outstanding. */
void merge_queue_init(struct merge_queue *q, struct loop *loop);

/*
 * Do @t, perhaps together with others. Returns what run() would have returned for it alone, but that
 * a write may fail because of the ones beside it, and that a range which had no answer in time
 * (-ETIMEDOUT) is not asked for again.
 */
int64_t co_fn merge_transfer(struct merge_queue *q, const struct transfer *t);

#endif
