/* SPDX-License-Identifier: MIT */
/*
 * The driver quorum: the same data on several children, of which enough must agree.
 */
#ifndef DRIVERS_QUORUM_QUORUM_H
#define DRIVERS_QUORUM_QUORUM_H

#include "block/driver.h"

struct quorum {
	struct edge **children; /* in their order; those of the node */
	unsigned count;
	unsigned threshold;   /* how many must agree */
	unsigned next_number; /* of the next child, for its name */
	bool is_verify;       /* two children that must never differ */
	bool rewrites;        /* a child that is outvoted is written to */
	bool is_fifo;         /* reads ask one child after the other until one answers */
	struct list turns;    /* struct quorum_turn.link, in the order of their arrival */
	struct co_queue waiters;
};

extern const struct driver quorum_driver;

/* ---- read.c ---- */

int co_fn quorum_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
		      unsigned flags);

/* ---- request.c ---- */

/*
 * A request under way, on its coroutine's stack. Of two that overlap, one of which
 * writes, the later one waits: else children would see them in different orders,
 * or one of two states each.
 */
struct quorum_turn {
	struct list link;
	uint64_t offset, end;
	bool writes;
};

void co_fn quorum_turn_begin(struct quorum *q, struct quorum_turn *t, uint64_t offset,
			     uint64_t bytes, bool writes);
void quorum_turn_end(struct quorum *q, struct quorum_turn *t);

/* One request of several, each to one child, at the same time. */
struct quorum_part {
	struct edge *child;
	int result;
	uint8_t *data; /* of a read */
	int co_fn (*run)(struct quorum_part *part, void *arg);
	void *arg;
	struct co_group *group;
};

/* An array of a part for each child, as many as there are now. Free with free(). */
struct quorum_part *quorum_parts_new(const struct quorum *q);
/* Run @run on every part at the same time and wait until all have ended. */
void co_fn quorum_run(struct node *n, struct quorum_part *parts, unsigned count,
		      int co_fn (*run)(struct quorum_part *part, void *arg), void *arg);
/*
 * Tell of the parts that failed in something with the range. 0 when enough
 * succeeded; else tells of that, too, and returns the most frequent error.
 */
int quorum_judge(struct node *n, const struct quorum_part *parts, unsigned count,
		 enum quorum_op_type op, uint64_t offset, uint64_t bytes);
/* Tell that the child @n has failed with @error, or was outvoted when that is 0. */
void quorum_report_bad(const struct node *n, const struct node *child, enum quorum_op_type op,
		       int error, uint64_t offset, uint64_t bytes);
/* Tell that too few agree about the range. */
void quorum_report_failure(const struct node *n, uint64_t offset, uint64_t bytes);

#endif
