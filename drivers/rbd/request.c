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
};

/* A change that has been answered. It frees itself. */
struct early_flight {
	struct flight flight;
	struct image *image;
	struct early_change change;
	void *copy; /* of what is written: the client's memory is his again */
};

static void on_landed(struct loop_post *post)
{
	co_wake(container_of(post, struct flight, post)->waiter);
}

static void on_landed_early(struct loop_post *post)
{
	struct early_flight *e = container_of(post, struct early_flight, flight.post);
	int r = (int)MIN(e->flight.result, 0);
	buffer_put(e->flight.loop, e->copy, e->change.end - e->change.start);
	image_note_result(e->image, r);
	early_end(&e->image->early, &e->change, r);
	free(e);
}

/* On a thread of librbd. */
static void on_complete(rbd_completion_t completion, void *arg)
{
	struct flight *f = arg;
	f->result = rbd_aio_get_return_value(completion);
	rbd_aio_release(completion);
	loop_post(f->loop, &f->post); /* the flight may be gone from here on */
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
		return submit_vec(image, q, f, c);
	}
}

/* Send the request. */
static int take_off(struct image *image, const struct image_request *request, struct flight *f)
{
	rbd_completion_t completion;
	int r = rbd_aio_create_completion(f, on_complete, &completion);
	if (r < 0)
		return r;
	r = submit(image, request, f, completion);
	if (r < 0)
		rbd_aio_release(completion);
	return r;
}

static int64_t co_fn fly(struct image *image, const struct image_request *request)
{
	struct flight f = {
		.loop = image->loop,
		.post = {.fn = on_landed},
		.waiter = co_self(),
	};
	int r = take_off(image, request, &f);
	if (r >= 0)
		co_yield();
	free(f.iov);
	if (r < 0)
		return r;
	image_note_result(image, (int)MIN(f.result, 0));
	return f.result < 0 || request->op == IMAGE_READ ? f.result : 0;
}

/* Send a change, for which nobody waits. 0, a negative errno, or 1: there is no memory for that. */
static int fly_early(struct image *image, const struct image_request *request)
{
	struct image_request q = *request;
	struct iovec storage;
	void *copy = NULL;
	if (q.op == IMAGE_WRITE) {
		copy = buffer_get(image->loop, q.bytes);
		if (!copy)
			return 1;
		vec_to_buffer(q.v, copy, q.bytes);
		q.v = vec_flat(&storage, copy, q.bytes);
	}
	struct early_flight *e = NEW(struct early_flight);
	*e = (struct early_flight){
		.flight = {.loop = image->loop, .post = {.fn = on_landed_early}},
		.image = image,
		.change = {.start = q.offset, .end = q.offset + q.bytes},
		.copy = copy,
	};
	int r = take_off(image, &q, &e->flight);
	if (r < 0) {
		buffer_put(image->loop, copy, q.bytes);
		free(e);
		return r;
	}
	early_begin(&image->early, &e->change);
	return 0;
}

static int64_t co_fn fly_flush(struct image *image, const struct image_request *request)
{
	int64_t r = early_wait(&image->early);
	if (r >= 0)
		r = fly(image, request);
	if (r >= 0)
		early_resume(&image->early);
	return r;
}

/* A read or a change, behind the changes that were answered early and touch the same bytes. */
static int64_t co_fn fly_behind(struct image *image, const struct image_request *request)
{
	bool is_change = request->op != IMAGE_READ;
	early_wait_range(&image->early, request->offset, request->bytes);
	int r = 1;
	if (is_change && early_has_room(&image->early, request->bytes))
		r = fly_early(image, request);
	int64_t done = r <= 0 ? r : fly(image, request);
	if (is_change && done < 0)
		early_pause(&image->early);
	return done;
}

static int64_t co_fn fly_transfer(void *arg, const struct transfer *t)
{
	return fly_behind(arg, &(struct image_request){
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
		return fly_flush(image, request);
	if (request->op == IMAGE_READ)
		return image->reads_ahead
			       ? readahead_read(&image->ahead, request->offset, request->bytes,
						request->v, image_size(image))
			       : read_merged(image, request->offset, request->bytes, request->v);
	image_forget(image);
	int64_t r = request->op == IMAGE_WRITE ? write_merged(image, request) : fly_behind(image, request);
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
