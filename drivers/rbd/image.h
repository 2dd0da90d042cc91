/* SPDX-License-Identifier: MIT */
/*
 * One open image: its handles and changes of size (image.c), its requests (request.c). Control thread.
 */
#ifndef DRIVERS_RBD_IMAGE_H
#define DRIVERS_RBD_IMAGE_H

#include <rbd/librbd.h>
#include <stdatomic.h>

#include "base/loop.h"
#include "base/vec.h"
#include "block/merge.h"
#include "block/readahead.h"
#include "drivers/rbd/cluster.h"
#include "drivers/rbd/early.h"
#include "drivers/rbd/watch.h"

struct image {
	struct loop *loop;
	struct cluster *cluster;
	rados_ioctx_t pool;
	rbd_image_t handle;
	struct merge_queue merge; /* reads and writes */
	struct readahead ahead;   /* before they are merged */
	bool reads_ahead;
	char *snapshot; /* NULL for the image itself */
	bool read_only, is_cached;
	bool is_encrypted;
	/* When it was opened the first bytes said that what is shown is encrypted so. */
	bool shows_encrypted;
	enum rbd_image_encryption_format shown_format;
	uint64_t header_bytes; /* of an encrypted image, before its content; else 0 */
	uint64_t object_size;
	bool has_simple_layout;       /* each object holds a range of what is read, and no parent's */
	uint64_t discard_granularity; /* librbd rounds discards inwards to it */

	struct early early; /* changes that have been answered */

	/* Another client may change the size; see image.c. */
	struct header_watch header_watch; /* of an image that is open for reading */
	bool has_watch;
	uint64_t watch;
	atomic_uint listers;       /* threads that list the snapshots */
	atomic_flag guard;         /* of the next four, and of posting */
	unsigned updates;          /* how often librbd has said that the header has changed */
	bool is_asking;            /* a thread is there that asks for the size */
	bool is_watching;
	bool is_posted;
	struct loop_post post;
	struct coroutine *closer;
	atomic_uint_fast64_t size;
	atomic_uint resizes;       /* of our own, begun and ended */
	unsigned noticed_resizes;  /* their number before the size was read */
	/* Called when the size has changed. Must not wait. */
	void (*on_size)(struct image *image);
	struct node *owner;
};

/*
 * Open the image that @o describes. @on_size may be NULL. Errors: that of the
 * cluster, -ENOENT without such a pool, image, snapshot or secret, -ETIMEDOUT.
 */
int co_fn image_open(struct graph *g, const struct blockdev_options_rbd *o, bool read_only,
		     bool is_cached, void (*on_size)(struct image *image), struct node *owner,
		     struct image **ret, struct error **errp);
/* Close, in bounded time. No request may be under way. NULL is allowed. */
void co_fn image_close(struct image *image);

enum image_op { IMAGE_READ, IMAGE_WRITE, IMAGE_ZERO, IMAGE_DISCARD, IMAGE_FLUSH };

struct image_request {
	enum image_op op;
	uint64_t offset, bytes;
	struct vec v;      /* of reads and writes */
	bool keeps_blocks; /* of zeroing: the blocks stay allocated */
};

/*
 * Run a request. Returns a negative errno, the bytes that a read has got, or 0. A flush also
 * fails when a change that was answered before has failed afterwards.
 */
int64_t co_fn image_run(struct image *image, const struct image_request *request);

/* To be called once, when the facts of @image are known. */
void image_requests_init(struct image *image);
/* Wait for reads ahead and free what is left of them. The image may have failed to open. */
void co_fn image_requests_finish(struct image *image);
/*
 * What has been read says nothing any more. To be called before and after each change of the image that does
 * not go through image_run(), and when another client is known to have made one.
 */
void image_forget(struct image *image);
/* Remember what @r, a result, tells of the connection. */
void image_note_result(struct image *image, int r);

/*
 * The reason for @r, what a call of librbd has returned that takes the exclusive lock: "read-only"
 * is said for any lock that could not be got, also from a cluster that does not answer. May wait: on a
 * thread of its own.
 */
int image_explain(struct image *image, int r);

/* Change the size. */
int co_fn image_resize(struct image *image, uint64_t size, struct error **errp);

/* Ask the cluster for the size. A reader is told the one that the image had when it was opened. */
int co_fn image_ask_size(struct image *image, uint64_t *ret);

/* Drop what librbd has cached. Nothing may be left that has not been flushed. A negative errno or 0. */
int co_fn image_invalidate(struct image *image);

/* The image's size in bytes, as last heard of. */
static inline uint64_t image_size(const struct image *image)
{
	return atomic_load_explicit(&image->size, memory_order_relaxed);
}

#endif
