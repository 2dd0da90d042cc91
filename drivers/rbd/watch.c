/* SPDX-License-Identifier: MIT */
/*
 * A reader's watch; see watch.h.
 *
 * librados keeps it up while the cluster restarts. What was out of reach for too long has
 * lost it, and is told so: a thread, which may have to wait, watches anew.
 */
#include "drivers/rbd/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/detached.h"
#include "base/util.h"
#include "drivers/rbd/guard.h"

/* Between attempts to watch anew, and looks whether the thread is over. */
#define RETRY_MS 1000
#define LOOK_MS 1
/* More than Ceph's images have. */
#define ID_MAX_BYTES 256

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static bool is_trying(struct header_watch *w)
{
	guard_lock(&w->guard);
	bool ret = w->is_trying;
	guard_unlock(&w->guard);
	return ret;
}

static bool is_ending(struct header_watch *w)
{
	guard_lock(&w->guard);
	bool ret = w->is_ending;
	guard_unlock(&w->guard);
	return ret;
}

/* On a thread of librados. Whoever asks waits for an answer of all watchers; a reader has none. */
static void on_notify(void *arg, uint64_t notify, uint64_t cookie, uint64_t notifier, void *data,
		      size_t bytes)
{
	struct header_watch *w = arg;
	rados_notify_ack(w->pool, w->object, notify, cookie, NULL, 0);
}

static void try_again(void *arg);

/* On a thread of librados, which must not wait. */
static void on_error(void *arg, uint64_t cookie, int error)
{
	struct header_watch *w = arg;
	guard_lock(&w->guard);
	bool must_start = !w->is_trying && !w->is_ending;
	w->is_trying |= must_start;
	guard_unlock(&w->guard);
	if (!must_start || detached_start(try_again, w) >= 0)
		return;
	guard_lock(&w->guard);
	w->is_trying = false;
	guard_unlock(&w->guard);
}

static int set(struct header_watch *w)
{
	/* It may be lost before the call returns. */
	w->is_set = true;
	int r = rados_watch3(w->pool, w->object, &w->cookie, on_notify, on_error, 0, w);
	if (r < 0)
		w->is_set = false;
	return r;
}

static void unset(struct header_watch *w)
{
	if (w->is_set)
		rados_unwatch2(w->pool, w->cookie);
	w->is_set = false;
}

/* On a thread of its own. */
static void try_again(void *arg)
{
	struct header_watch *w = arg;
	int r = -EAGAIN;
	unset(w);
	while (r < 0 && !is_ending(w)) {
		r = set(w);
		atomic_store(&w->is_gone, r == -ENOENT);
		/* Who has been shut out stays so. */
		if (r == -ENOENT || r == -ESHUTDOWN || r == -EPERM)
			break;
		if (r < 0)
			sleep_ms(RETRY_MS);
	}
	guard_lock(&w->guard);
	w->is_trying = false;
	guard_unlock(&w->guard); /* the watch may be gone from here on */
}

/* The name of the object that is the header of image @name; free with free(). */
static char *header_name(rbd_image_t handle, const char *name)
{
	uint8_t is_old;
	char id[ID_MAX_BYTES];
	if (rbd_get_old_format(handle, &is_old) < 0)
		return NULL;
	if (is_old)
		return xasprintf("%s.rbd", name);
	return rbd_get_id(handle, id, sizeof(id)) < 0 ? NULL : xasprintf("rbd_header.%s", id);
}

void header_watch_begin(struct header_watch *w, rados_t cluster, rados_ioctx_t pool,
			rbd_image_t handle, const char *name)
{
	w->cluster = cluster;
	w->pool = pool;
	w->object = header_name(handle, name);
	if (!w->object || set(w) >= 0)
		return;
	free(w->object);
	w->object = NULL;
}

void header_watch_end(struct header_watch *w)
{
	if (!w->object)
		return;
	guard_lock(&w->guard);
	w->is_ending = true;
	guard_unlock(&w->guard);
	while (is_trying(w))
		sleep_ms(LOOK_MS);
	unset(w);
	rados_watch_flush(w->cluster); /* no callback is under way any more */
	free(w->object);
	w->object = NULL;
}
