/* SPDX-License-Identifier: MIT */
/*
 * Flushes that follow the writes to an image.
 *
 * librbd's cache of the policy "writearound", which is its default, answers a write when
 * it has sent it. Of one that fails later it tells only the flush that was under way then: one
 * that comes when all is over succeeds, and the bytes are lost silently. So in each turn of
 * the loop in which writes were sent, a flush is sent behind them, for which no write
 * waits. Flushes that somebody asks for wait for these, and fail when one of them has.
 *
 * librbd lets a flush come to the cache only after all requests that came before it have ended. So no
 * read may be before it (see request.c). Other changes may: one that fails at once while an
 * older one, at another OSD, takes its time and then succeeds is not told of.
 */
#ifndef DRIVERS_RBD_FOLLOW_H
#define DRIVERS_RBD_FOLLOW_H

#include <rbd/librbd.h>
#include <stdatomic.h>

#include "base/coroutine.h"
#include "base/loop.h"
#include "drivers/rbd/config.h"

struct follow;

struct follow_group {
	struct follow *owner;
	unsigned count; /* flushes under way; guarded */
};

struct follow {
	struct loop *loop;
	rbd_image_t handle;
	bool is_needed;    /* the cache is of that kind, */
	bool is_active;    /* and in use: librbd writes through until the first flush */
	struct loop_deferred send;
	struct co_mutex lock; /* who waits for a group */
	unsigned current;     /* the group of the next flush */
	struct coroutine *waiter;
	struct loop_post post;

	atomic_flag guard; /* of what follows */
	struct follow_group groups[2];
	struct follow_group *awaited; /* whose end is to be posted */
	int error;                    /* the first: a negative errno */
};

void follow_init(struct follow *f, struct loop *loop);
/* Look what cache the image has that is open for writing. The thread that opens it. */
void follow_detect(struct follow *f, rbd_image_t handle, const struct image_config *c);
/* A flush is about to be sent by somebody else. The loop's thread, or that of follow_detect(). */
void follow_note_flush(struct follow *f);

/* The loop's thread. */

/* Whether changes are answered early, and flushes follow them. */
static inline bool follow_is_on(const struct follow *f)
{
	return f->is_needed && f->is_active;
}

/* A request that changes the image has been sent. */
void follow_note_change(struct follow *f);
/*
 * Send the flush that is due, if any, and not only at the end of the turn: before a read, which would
 * hold it back.
 */
void follow_send_now(struct follow *f);
/*
 * Wait until it is known what became of all changes that were answered before. 0, or a
 * negative errno when one of them, ever, has failed afterwards.
 */
int co_fn follow_wait(struct follow *f);
/* Send no more; nobody waits. */
void follow_end(struct follow *f);

/* Any thread: whether librbd may still use @f. Not again true after follow_end(). */
bool follow_is_busy(struct follow *f);

#endif
