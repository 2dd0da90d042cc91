/* SPDX-License-Identifier: MIT */
/*
 * Requests to an open image. Node's loop.
 */
#include "drivers/rbd/image.h"

#include <errno.h>
#include <stdlib.h>

#include <rados/librados.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/node.h"

/*
 * Of reads, and of writes, that follow each other. Not from one object into the next: they lie
 * in different places, where one may answer and the other not.
 */
#define MERGE_MAX (1 * MiB)
#define MERGE_IOVECS_MAX 256
/* How far is read ahead at a time; not into the next object, either. */
#define AHEAD_MAX (1 * MiB)

/*
 * A client that did not answer in time when another one wanted its lock is shut out by the
 * cluster, and with it all images of its connection, for good.
 */
void image_note_result(struct image *image, int r)
{
	if (r == -ESHUTDOWN)
		image->cluster->is_shut_out = true;
}

/* A request under way. */
struct flight {
	struct loop *loop;
	struct loop_post post;
	struct coroutine *waiter;
	int64_t result;
	struct iovec *iov; /* of a request for several pieces */
	void *copy;        /* of what a write that goes through has in several pieces */
	enum passage {
		PASSAGE_PLAIN,   /* librbd may answer a change before it is stored */
		PASSAGE_THROUGH, /* it does not */
		PASSAGE_ALONE,   /* it may; reads that come before and after are held apart */
	} passage;
};

static void on_landed(struct loop_post *post)
{
	co_wake(container_of(post, struct flight, post)->waiter);
}

/* On a thread of librbd. */
static void on_complete(rbd_completion_t completion, void *arg)
{
	struct flight *f = arg;
	f->result = rbd_aio_get_return_value(completion);
	rbd_aio_release(completion);
	loop_post(f->loop, &f->post); /* the flight may be gone from here on */
}

/*
 * How a change has to go. librbd holds a flush back until the reads that came before have ended, also
 * the one that is sent behind the change and is to hear of its failure; see follow.h. Only
 * of writes librbd can be told not to answer early.
 */
static enum passage choose_passage(const struct image *image, const struct image_request *q)
{
	if (q->op == IMAGE_READ || q->op == IMAGE_FLUSH || !follow_is_on(&image->follow) ||
	    image->reading.readers == 0)
		return PASSAGE_PLAIN;
	return q->op == IMAGE_WRITE ? PASSAGE_THROUGH : PASSAGE_ALONE;
}

static int submit_through(struct image *image, const struct image_request *q, struct flight *f,
			  rbd_completion_t c)
{
	const char *p = vec_contiguous(q->v, q->bytes);
	if (!p) {
		p = f->copy = buffer_get(image->loop, q->bytes);
		if (!p)
			return -ENOMEM;
		vec_to_buffer(q->v, f->copy, q->bytes);
	}
	return rbd_aio_write2(image->handle, q->offset, q->bytes, p, c, LIBRADOS_OP_FLAG_FADVISE_FUA);
}

static int submit_vec(struct image *image, const struct image_request *q, struct flight *f,
		      rbd_completion_t c)
{
	void *p = vec_contiguous(q->v, q->bytes);
	if (p)
		return q->op == IMAGE_READ ? rbd_aio_read(image->handle, q->offset, q->bytes, p, c)
					   : rbd_aio_write(image->handle, q->offset, q->bytes, p, c);
	/* librbd looks at the array when the data is there. */
	f->iov = xalloc(q->v.count, sizeof(*f->iov));
	int count = vec_to_iovecs(q->v, q->bytes, f->iov, q->v.count);
	return q->op == IMAGE_READ ? rbd_aio_readv(image->handle, f->iov, count, q->offset, c)
				   : rbd_aio_writev(image->handle, f->iov, count, q->offset, c);
}

static int submit(struct image *image, const struct image_request *q, struct flight *f,
		  rbd_completion_t c)
{
	switch (q->op) {
	case IMAGE_ZERO:
		return rbd_aio_write_zeroes(image->handle, q->offset, q->bytes, c,
					    q->keeps_blocks ? RBD_WRITE_ZEROES_FLAG_THICK_PROVISION
							    : 0,
					    0);
	case IMAGE_DISCARD:
		return rbd_aio_discard(image->handle, q->offset, q->bytes, c);
	case IMAGE_FLUSH:
		return rbd_aio_flush(image->handle, c);
	default:
		return f->passage == PASSAGE_THROUGH ? submit_through(image, q, f, c)
						     : submit_vec(image, q, f, c);
	}
}

/* Send the request. */
static int take_off(struct image *image, const struct image_request *request, struct flight *f)
{
	rbd_completion_t completion;
	int r = rbd_aio_create_completion(f, on_complete, &completion);
	if (r < 0)
		return r;
	if (request->op == IMAGE_FLUSH)
		follow_note_flush(&image->follow);
	r = submit(image, request, f, completion);
	if (r < 0)
		rbd_aio_release(completion);
	else if (request->op != IMAGE_READ && request->op != IMAGE_FLUSH)
		follow_note_change(&image->follow);
	return r;
}

/* Send a read, behind the flushes that follow the changes so far. */
static int co_fn take_off_reading(struct image *image, const struct image_request *request,
				  struct flight *f)
{
	co_rwlock_read(&image->reading);
	follow_send_now(&image->follow);
	int r = take_off(image, request, f);
	if (r < 0)
		co_rwlock_read_unlock(&image->reading);
	return r;
}

/* Send a change while no read is under way, and the flush behind it. */
static int co_fn take_off_alone(struct image *image, const struct image_request *request,
				struct flight *f)
{
	co_rwlock_write(&image->reading);
	int r = take_off(image, request, f);
	follow_send_now(&image->follow);
	co_rwlock_write_unlock(&image->reading);
	return r;
}

static int64_t co_fn fly(struct image *image, const struct image_request *request)
{
	struct flight f = {
		.loop = image->loop,
		.post = {.fn = on_landed},
		.waiter = co_self(),
		.passage = choose_passage(image, request),
	};
	int r = request->op == IMAGE_READ ? take_off_reading(image, request, &f)
		: f.passage == PASSAGE_ALONE ? take_off_alone(image, request, &f)
					     : take_off(image, request, &f);
	if (r >= 0) {
		co_yield();
		if (request->op == IMAGE_READ)
			co_rwlock_read_unlock(&image->reading);
	}
	free(f.iov);
	buffer_put(image->loop, f.copy, request->bytes);
	if (r < 0)
		return r;
	if (request->op == IMAGE_FLUSH) {
		int lost = follow_wait(&image->follow);
		f.result = f.result < 0 ? f.result : lost;
	}
	image_note_result(image, (int)MIN(f.result, 0));
	return f.result < 0 || request->op == IMAGE_READ ? f.result : 0;
}

static int64_t co_fn fly_transfer(void *arg, const struct transfer *t)
{
	return fly(arg, &(struct image_request){
		.op = t->is_write ? IMAGE_WRITE : IMAGE_READ,
		.offset = t->offset,
		.bytes = t->bytes,
		.v = t->v,
	});
}

static int64_t co_fn read_merged(void *arg, uint64_t offset, uint64_t bytes, struct vec v)
{
	struct image *image = arg;
	return merge_transfer(&image->merge, &(struct transfer){
		.offset = offset,
		.bytes = bytes,
		.v = v,
	});
}

static int64_t co_fn write_merged(struct image *image, const struct image_request *request)
{
	return merge_transfer(&image->merge, &(struct transfer){
		.is_write = true,
		.offset = request->offset,
		.bytes = request->bytes,
		.v = request->v,
	});
}

int64_t co_fn image_run(struct image *image, const struct image_request *request)
{
	if (request->op == IMAGE_FLUSH)
		return fly(image, request);
	if (request->op == IMAGE_READ)
		return image->reads_ahead
			       ? readahead_read(&image->ahead, request->offset, request->bytes,
						request->v, image_size(image))
			       : read_merged(image, request->offset, request->bytes, request->v);
	image_forget(image);
	int64_t r = request->op == IMAGE_WRITE ? write_merged(image, request) : fly(image, request);
	image_forget(image);
	return r;
}

/* Drains of the node wait for it, and changes find out before whether its storage answers. */
static void work_begin(void *arg)
{
	node_work_begin(((struct image *)arg)->owner);
}

static void work_end(void *arg)
{
	node_work_end(((struct image *)arg)->owner);
}

void image_requests_init(struct image *image)
{
	image->merge = (struct merge_queue){
		.run = fly_transfer,
		.arg = image,
		.max_bytes = MERGE_MAX,
		.max_iovecs = MERGE_IOVECS_MAX,
		.boundary = image->object_size,
		/* With fewer reads under way librbd, the network and the client wait for each other. */
		.read_part = 4,
		.write_part = 2,
	};
	merge_queue_init(&image->merge, image->loop);
	co_rwlock_init(&image->reading);
	image->ahead = (struct readahead){
		.read = read_merged,
		.work_begin = work_begin,
		.work_end = work_end,
		.arg = image,
		.chunk_bytes = MIN(AHEAD_MAX, image->object_size),
	};
	readahead_init(&image->ahead, image->loop);
}

void co_fn image_requests_finish(struct image *image)
{
	if (image->ahead.loop)
		readahead_finish(&image->ahead);
}

void image_forget(struct image *image)
{
	readahead_drop(&image->ahead);
}
