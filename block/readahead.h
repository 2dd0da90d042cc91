/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead: who reads a medium in order gets a part of his reads from memory.
 *
 * It is for drivers of storage where every request has a high price, however short it is: that
 * behind a network. A read that goes on where others have ended is made longer, up to the end of
 * its chunk, at most twice as long as what was read in order so far. The reads that follow
 * wait for it, or find it done. Who has read some chunks' worth in order has the next ones read
 * while he is at this one; that may go on when his requests have ended, and is work of its own.
 *
 * What was read ahead is given to reads that begin before a change of the medium that we know
 * of (readahead_drop()), and within READAHEAD_LIFE_NS, which bounds for how long the changes
 * of others may go unseen. So it is only for storage that may be cached.
 *
 * Everything happens on the node's loop.
 */
#ifndef BLOCK_READAHEAD_H
#define BLOCK_READAHEAD_H

#include "base/loop.h"
#include "base/vec.h"

/* So many bytes have to be read in order first. */
#define READAHEAD_BEGIN (128 * KiB)
/* Nanoseconds from the time when its reading began. */
#define READAHEAD_LIFE_NS 200000000

/* So many chunks are read while the one before is given out. */
#define READAHEAD_DISTANCE 2

/* Readers in order that are told apart. */
#define READAHEAD_STREAMS 4
/* What is kept or read at a time; the memory it may take is this times a chunk. */
#define READAHEAD_CHUNKS 8

struct readahead_stream {
	uint64_t next;     /* where it goes on */
	uint64_t in_order; /* bytes read before that */
	uint64_t used;     /* when last; counted in reads */
};

struct readahead_chunk {
	struct readahead *ahead;
	uint64_t start, end;
	void *data;        /* NULL: unused */
	uint64_t begun_ns;
	uint64_t taken;    /* bytes */
	unsigned users;    /* who read it, wait for it, or copy from it */
	bool is_current;   /* may be found */
	bool is_loading;
	int64_t result;    /* bytes that are there, or a negative errno */
	struct co_queue loaded;
};

struct readahead {
	/* Do a read. Returns a negative errno, or the bytes there were, as in block/merge.h. */
	int64_t co_fn (*read)(void *arg, uint64_t offset, uint64_t bytes, struct vec v);
	void *arg;
	/*
	 * A read that nobody waits for begins, within a request, and has ended. NULL when there
	 * shall be none.
	 */
	void (*work_begin)(void *arg);
	void (*work_end)(void *arg);
	/* What ends at a multiple of this power of two is a chunk. Longer reads take no part. */
	uint64_t chunk_bytes;

	struct loop *loop;
	uint64_t reads; /* so far */
	struct readahead_stream streams[READAHEAD_STREAMS];
	struct readahead_chunk chunks[READAHEAD_CHUNKS];
	struct co_group working;
	struct loop_timer expiry;
};

/* The members above @loop have been set. */
void readahead_init(struct readahead *a, struct loop *loop);
/* Free what is kept, and wait for what nobody waits for. No request may be under way. */
void co_fn readahead_finish(struct readahead *a);

/*
 * Read @bytes (more than 0) at @offset into @v; @size is where the medium ends. Returns what read()
 * would have returned.
 */
int64_t co_fn readahead_read(struct readahead *a, uint64_t offset, uint64_t bytes, struct vec v,
			     uint64_t size);

/*
 * To be called before and after each change of the medium: reads that begin from now on
 * get nothing that was read before.
 */
void readahead_drop(struct readahead *a);

#endif
