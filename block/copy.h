/* SPDX-License-Identifier: MIT */
/*
 * Copying between nodes while both are in use: the engine below the jobs that
 * move data.
 *
 * The coroutine that calls copy_allocated() or copy_dirty() finds the pieces and
 * hands each to a worker coroutine, a bounded number at a time; pieces that
 * overlap wait for each other. What reads as zeroes is never read. The size of
 * the pieces follows the speed of the disks. Each piece of such a sweep is one
 * operation of the consumer, so that a drain waits for no more than the pieces in
 * flight.
 *
 * Others that write to both ends keep out of the way with copy_hold(); users that
 * are about to overwrite what is still to be copied call copy_urgently().
 *
 * Control thread.
 */
#ifndef BLOCK_COPY_H
#define BLOCK_COPY_H

#include "block/consumer.h"
#include "block/node.h"

struct copy;
struct dirty_bitmap;

/* What becomes of a piece whose request failed. */
enum copy_verdict {
	COPY_GIVE_UP,   /* end the copying with the error */
	COPY_TRY_AGAIN, /* later */
	COPY_LEAVE_OUT, /* go on as if it were copied; only for copy_up() */
};

struct copy_hooks {
	/*
	 * Called before each piece of @bytes, and with 0 before each look for one,
	 * outside of any operation: may wait for a rate limit, stand still (after
	 * copy_wait_idle()) and end the copying with a negative errno. Required.
	 */
	int co_fn (*admit)(void *arg, uint64_t bytes);
	/* A request failed: what to do about it. Must not wait. Required. */
	enum copy_verdict (*failed)(void *arg, bool is_read, int error);
	/* So many bytes more are dealt with. Must not wait. Required. */
	void (*advanced)(void *arg, uint64_t bytes);
	/*
	 * Move a piece in another way than by reading and writing it at the same place, or
	 * by zeroing there where @is_zero. Pieces of a sweep begin in the order of their
	 * offsets. Sets *ret_is_read to what it was doing. Optional.
	 */
	int co_fn (*transfer)(void *arg, uint64_t offset, uint64_t bytes, bool is_zero,
			      bool *ret_is_read);
};

struct copy_settings {
	/*
	 * Of sweeps: has both edges, or an edge to the node that has them. NULL, as
	 * the hooks, when there are none yet; see copy_configure().
	 */
	struct consumer *consumer;
	struct edge *source, *target; /* the target is at least as long as what is copied */
	const struct copy_hooks *hooks;
	void *arg;
	unsigned workers;     /* pieces of a sweep in flight at most; 0 for the default */
	uint64_t piece_max;   /* bytes of a piece at most, but for a granule; 0 for the default */
	uint64_t cluster;     /* everything is copied in whole clusters of so many bytes; 0 for 1 */
	bool copies_holes;    /* copy_allocated() without a base: what no layer has is zeroes, too */
	unsigned write_flags; /* enum request_flags, for data */
	bool allocates_zeroes; /* zeroes take their space in the target */
	bool offloads;        /* let the kernel copy where it can */
	bool discards_source; /* what has been copied is not needed in the source any more */
};

#define COPY_WORKERS_DEFAULT 8

/* Pieces that hold data are between these, in bytes, and multiples of the smaller. */
#define COPY_PIECE_MIN (UINT64_C(1) << 16)
#define COPY_PIECE_MAX (UINT64_C(1) << 20)

/* @s is copied. */
struct copy *copy_create(const struct copy_settings *s);
/* Nothing may be in flight. NULL is allowed. */
void copy_destroy(struct copy *c);
/* Let @s hold from now on, but for the edges, which stay. No sweep may be under way. */
void copy_configure(struct copy *c, const struct copy_settings *s);

/*
 * Copy what the first @bytes of the source have in their layers above @base
 * (NULL: in all layers). Nobody writes there meanwhile. Returns 0, what admit
 * returned, or the error after which failed() gave up; nothing is in flight then.
 */
int co_fn copy_allocated(struct copy *c, struct node *base, uint64_t bytes);

/*
 * Copy what the first @bytes of the source show of the layers below it down to, and
 * with, @bottom, which is in its chain, into the source itself: by copy-on-read
 * requests, so that users may write there meanwhile. The source's edge permits them;
 * it is also the target. What is below @bottom may change. advanced() tells how far
 * everything is done from the start on. Returns as above, or 0 when everything that
 * failed was left out.
 */
int co_fn copy_up(struct copy *c, struct node *bottom, uint64_t bytes);

/*
 * Copy the dirty areas of @b in one sweep over it, clearing the bits of each
 * before it is read: what is written and marked meanwhile is copied by this
 * sweep or the next. Bits of what failed are set again. Returns as above.
 */
int co_fn copy_dirty(struct copy *c, struct dirty_bitmap *b);

/*
 * Whatever of the pieces now in flight fails is tried again without asking failed():
 * what stopped the work once shall not stop it again after it was resumed.
 */
void copy_forgive_in_flight(struct copy *c);

/*
 * For a user who is about to change the range in the source: copy what @b has
 * dirty there, and wait until no piece is in flight there; for nothing else.
 * Sweeps leave such copies the room that they need: while they are slow, little
 * else is in flight.
 *
 * Inside an operation of the user; both edges are of one node. Returns 0; or the
 * error of a request, when its area is dirty again; or -ETIMEDOUT after
 * @timeout_ns (0: never), when what is in flight goes on as that node's own work.
 */
int co_fn copy_urgently(struct copy *c, struct dirty_bitmap *b, uint64_t offset, uint64_t bytes,
			uint64_t timeout_ns);

/* Limit pieces to @bytes from now on, as with slow rates; at least COPY_PIECE_MIN holds. */
void copy_limit_piece(struct copy *c, uint64_t bytes);
/* Pieces with data are of @bytes whatever the limit and the disks say; 0 for no such wish. */
void copy_fix_piece(struct copy *c, uint64_t bytes);
/* Keep little in flight from now on, in small pieces, or no longer: users are at work. */
void copy_set_considerate(struct copy *c, bool is_considerate);

/*
 * Hold a range: waits until no piece and no other hold overlaps it, and makes
 * those that come wait. For writes of users, inside an operation of theirs.
 */
struct copy_hold {
	struct list link;
	uint64_t offset, bytes;
};

void co_fn copy_hold(struct copy *c, struct copy_hold *h, uint64_t offset, uint64_t bytes);
void copy_release(struct copy *c, struct copy_hold *h);

/* Wait until no piece of a sweep is in flight. */
void co_fn copy_wait_idle(struct copy *c);
/* Wait until no piece at all is in flight in the range. */
void co_fn copy_wait_range(struct copy *c, uint64_t offset, uint64_t bytes);
/* Bytes of the pieces in flight. */
uint64_t copy_bytes_in_flight(const struct copy *c);

#endif
