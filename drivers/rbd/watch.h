/* SPDX-License-Identifier: MIT */
/*
 * A reader's watch on an image's header: Ceph removes no image that somebody watches, and
 * what a reader finds of a removed one are holes, which read as zeroes.
 *
 * librbd itself has no watch for those who are open read-only; to be open for writing
 * would have it take the exclusive lock for a look at what is allocated.
 */
#ifndef DRIVERS_RBD_WATCH_H
#define DRIVERS_RBD_WATCH_H

#include <rbd/librbd.h>
#include <stdatomic.h>
#include <stdbool.h>

struct header_watch {
	rados_t cluster;
	rados_ioctx_t pool;
	char *object;       /* the header; NULL without a watch */
	atomic_bool is_gone; /* the watch was lost, and then there was no header any more */
	atomic_flag guard;  /* of the next two */
	bool is_trying;     /* a thread is there that watches anew */
	bool is_ending;
	atomic_bool is_set; /* of who begins, then of that thread, then of who ends */
	uint64_t cookie;
};

/*
 * Watch the header of @handle, image @name of @pool, where the user may: a user who can only
 * read cannot, and goes without. All three outlive the watch. May wait.
 */
void header_watch_begin(struct header_watch *w, rados_t cluster, rados_ioctx_t pool,
			rbd_image_t handle, const char *name);
/* End it, unless it has not begun. May wait. */
void header_watch_end(struct header_watch *w);

/* Whether somebody has removed the image nevertheless. Any thread. */
static inline bool header_watch_is_gone(const struct header_watch *w)
{
	return atomic_load_explicit(&w->is_gone, memory_order_relaxed);
}

#endif
