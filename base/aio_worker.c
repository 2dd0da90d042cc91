/* SPDX-License-Identifier: MIT */
/*
 * The engine of threads: each request is one blocking call on a worker.
 *
 * Used where io_uring is refused. What one turn has queued is handed to the
 * pool with one lock; completions come back by loop_post(). Only run_request()
 * is on worker threads; the rest is on the loop's.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/aio_lane.h"
#include "base/coroutine.h"

/* As many requests as the kernel works on at a time. */
#define THREADS_MAX 64

struct aio_worker {
	struct aio_engine engine;
	struct workers *workers;
	struct aio_lanes *lanes; /* for writes into the page cache */
	struct list queued; /* struct worker_job.link */
	unsigned pending;   /* queued or on a worker */
};

static int64_t run_once(const struct aio_request *r)
{
	switch (r->operation) {
	case AIO_READ:
		return preadv2(r->fd, r->iov, (int)r->iov_count, (off_t)r->offset, 0);
	case AIO_WRITE:
		return pwritev2(r->fd, r->iov, (int)r->iov_count, (off_t)r->offset, r->mode);
	case AIO_FLUSH:
		return fdatasync(r->fd);
	case AIO_FALLOCATE:
		return fallocate(r->fd, r->mode, (off_t)r->offset, (off_t)r->bytes);
	case AIO_TRUNCATE:
		return ftruncate(r->fd, (off_t)r->offset);
	}
	return -1;
}

static void run_request(struct worker_job *job)
{
	struct aio_request *r = container_of(job, struct aio_request, job);
	int64_t n = run_once(r);
	r->result = n < 0 ? -errno : n;
}

static void request_done(struct worker_job *job)
{
	struct aio_request *r = container_of(job, struct aio_request, job);
	struct aio_worker *w = container_of(r->engine, struct aio_worker, engine);
	w->pending--;
	co_wake(r->co);
}

static void worker_queue(struct aio_engine *engine, struct aio_request *r)
{
	struct aio_worker *w = container_of(engine, struct aio_worker, engine);
	if (r->cached && r->mode == 0) {
		aio_lanes_queue(w->lanes, r);
		return;
	}
	r->engine = engine;
	r->job.run = run_request;
	r->job.done = request_done;
	list_add_tail(&w->queued, &r->job.link);
	w->pending++;
}

static void worker_submit(struct aio_engine *engine)
{
	struct aio_worker *w = container_of(engine, struct aio_worker, engine);
	aio_lanes_submit(w->lanes);
	if (!list_is_empty(&w->queued))
		workers_submit_all(w->workers, &w->queued);
}

/* Completions arrive by posts, which the loop runs by itself. */
static bool worker_reap(struct aio_engine *engine)
{
	return false;
}

static int worker_fd(struct aio_engine *engine)
{
	return -1;
}

static bool worker_has_pending(struct aio_engine *engine)
{
	struct aio_worker *w = container_of(engine, struct aio_worker, engine);
	return w->pending != 0 || aio_lanes_has_pending(w->lanes);
}

static void worker_destroy(struct aio_engine *engine)
{
	struct aio_worker *w = container_of(engine, struct aio_worker, engine);
	aio_lanes_destroy(w->lanes);
	workers_destroy(w->workers);
	free(w);
}

static const struct aio_engine_ops worker_ops = {
	.name = "threads",
	.has_truncate = true,
	.queue = worker_queue,
	.submit = worker_submit,
	.reap = worker_reap,
	.fd = worker_fd,
	.has_pending = worker_has_pending,
	.destroy = worker_destroy,
};

int aio_worker_create(struct loop *loop, struct aio_engine **ret_engine)
{
	struct aio_worker *w = NEW(struct aio_worker);
	w->engine = (struct aio_engine){.ops = &worker_ops, .loop = loop};
	w->workers = workers_create(loop, THREADS_MAX);
	w->lanes = aio_lanes_create(loop);
	list_init(&w->queued);
	*ret_engine = &w->engine;
	return 0;
}
