/* SPDX-License-Identifier: MIT */
/*
 * What the files of the copy share: its state, and the pieces that it is made of.
 * Only they include it.
 */
#ifndef BLOCK_COPY_INTERNAL_H
#define BLOCK_COPY_INTERNAL_H

#include "base/loop.h"
#include "block/copy.h"

enum piece_kind { PIECE_DATA, PIECE_ZERO, PIECE_UNKNOWN, PIECE_UP };

/* A call of copy_urgently(), on its stack. */
struct urgent {
	unsigned pieces; /* in flight */
	int result;
};

struct piece {
	struct list link; /* in copy.in_flight or copy.failed */
	struct copy *copy;
	uint64_t offset, bytes;
	enum piece_kind kind;
	struct dirty_bitmap *bitmap; /* is dirty there again if it fails; NULL: it is tried again */
	bool is_urgent;
	struct urgent *urgent; /* the call that waits for it; NULL when that has given up */
	bool forgiven; /* a failure is nobody's business */
};

struct copy {
	struct copy_settings settings;
	struct loop *loop;
	struct list in_flight, failed; /* struct piece */
	struct list holds;             /* struct copy_hold, in the order of their coming */
	unsigned swept_count; /* of the pieces in flight, those of a sweep, */
	unsigned urgent_count; /* and the others */
	uint64_t in_flight_bytes, swept_bytes;
	struct co_queue changed; /* a piece or a hold has ended */
	uint64_t piece_bytes, piece_limit; /* of data */
	uint64_t piece_fixed; /* in place of both; 0 for none */
	uint64_t room; /* bytes of sweeps in flight at most, as urgent copies need it */
	uint64_t room_changed_ns;
	bool is_considerate; /* users are at work */
	bool is_stopped; /* what is in flight has been forgiven since the last permission to go on */
	uint64_t data_end; /* what copy_dirty() finds dirty up to there is data */
	struct dirty_bitmap *bitmap; /* that copy_dirty() sweeps; else NULL */
	bool is_up;                  /* copy_up() is under way: */
	uint64_t given, reported;    /* so far pieces have been given out, and is all done */
	struct piece *in_hand;       /* waits to be started; NULL for none */
	int result;

	/* What copy_allocated() and copy_up() know of the range before extent_end. */
	uint64_t extent_end;
	bool extent_allocated;
	enum piece_kind extent_kind;
};

/* A piece that is nobody's yet. */
struct piece *copy_piece_new(struct copy *c, uint64_t offset, uint64_t bytes,
			     enum piece_kind kind);
/*
 * Begin an operation in which a worker is free for the range. False, and no
 * operation, when the copying is over.
 */
bool co_fn copy_enter(struct copy *c, uint64_t offset, uint64_t bytes);
/* Let it be copied, inside an operation of the caller. It frees itself, or goes to c->failed. */
void copy_start_piece(struct copy *c, struct piece *p);
/* The same for a piece of a sweep: the operation that copy_enter() began becomes the piece's. */
void copy_start_swept(struct copy *c, struct piece *p);
/*
 * Ask the settings about a failed request of a sweep, and end the copying if they say so.
 * Returns @error, or 0 when what failed is left out.
 */
int copy_judge(struct copy *c, bool is_read, int error);
/* Of copy_up(): tell how far all is done. */
void copy_report_up(struct copy *c);
/* True when a piece in flight overlaps the range. */
bool copy_meets_piece(const struct copy *c, uint64_t offset, uint64_t bytes);
/* The longest piece of data that a sweep shall begin now. */
uint64_t copy_data_piece_max(const struct copy *c);

#endif
