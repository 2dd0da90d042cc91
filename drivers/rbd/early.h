/* SPDX-License-Identifier: MIT */
/*
 * Changes of an image that are answered before they are stored.
 *
 * librbd's cache of the policy "writearound", which is its default, does that too: it answers a
 * write when it has sent it. But of one that fails later it tells only a flush that comes to it
 * while changes are under way, and which flush that is depends on what else goes on; to the others
 * the disk looks sound. So librbd is given a limit of no bytes for it (cluster.c), by which it tells
 * of each change what has become of it, and the early answers are given here: from the first flush
 * on, as by librbd, and up to the limit that was configured.
 *
 * A request for bytes that such a change touches waits until that has ended. A flush waits for all
 * that are older, and fails when one has ever failed. After any failure changes are answered when
 * they are stored, until a flush succeeds.
 *
 * The loop's thread, but for what says otherwise.
 */
#ifndef DRIVERS_RBD_EARLY_H
#define DRIVERS_RBD_EARLY_H

#include <stdatomic.h>

#include "base/loop.h"

/* A change that has been answered, and is under way. */
struct early_change {
	struct list link;
	uint64_t start, end;
	uint64_t number; /* of those that have begun */
	uint64_t begun_ns;
	struct co_queue waiters;
};

struct early {
	struct loop *loop;
	uint64_t max_bytes;  /* under way; 0: nothing is answered early */
	bool is_on;          /* now; never without max_bytes */
	struct list changes; /* oldest first */
	uint64_t bytes;      /* theirs */
	uint64_t begun;
	int error;           /* the first: a negative errno */
	atomic_uint count;   /* of the changes */
};

void early_init(struct early *e, struct loop *loop);
/* Answer early from the first flush on, or at once. Any thread, before there are requests. */
void early_configure(struct early *e, uint64_t max_bytes, bool at_once);

/* Whether a change of @bytes may be answered early. */
bool early_has_room(const struct early *e, uint64_t bytes);
/* @c, whose range is set, has been sent, and is being answered. */
void early_begin(struct early *e, struct early_change *c);
/* It has ended: @r is 0 or a negative errno. @e may be gone from here on. */
void early_end(struct early *e, struct early_change *c, int r);

/* A change has failed that was not answered early. */
void early_pause(struct early *e);
/* A flush has succeeded, before which early_wait() has. */
void early_resume(struct early *e);

/* Wait until no change under way touches the range. */
void co_fn early_wait_range(struct early *e, uint64_t offset, uint64_t bytes);
/*
 * Wait until all changes that were answered before have ended. 0, or a negative errno when one
 * of them, ever, has failed.
 */
int co_fn early_wait(struct early *e);

/* Any thread: whether changes are under way. */
static inline bool early_is_busy(const struct early *e)
{
	return atomic_load(&e->count) > 0;
}

#endif
