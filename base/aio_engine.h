/* SPDX-License-Identifier: MIT */
/*
 * The table between the loop and its I/O engine. Only base/ includes it.
 *
 * The loop calls submit() once in each round of a turn, after the ready
 * coroutines and the deferred calls have run and before it sleeps; reap() when
 * fd() became readable or, in a simulation, when the time of next_event_ns()
 * has come. Both wake the coroutines whose requests ended; a wake only queues.
 * Everything runs on the loop's thread, outside any coroutine.
 */
#ifndef BASE_AIO_ENGINE_H
#define BASE_AIO_ENGINE_H

#include <sys/uio.h>

#include "base/error.h"
#include "base/workers.h"

struct aio_engine;
struct coroutine;
struct loop;

enum aio_operation { AIO_READ, AIO_WRITE, AIO_FLUSH, AIO_FALLOCATE, AIO_TRUNCATE };

/*
 * One request. It lives on the stack of the coroutine that waits for it; the
 * engine sets @result (bytes, 0 or a negative errno; a transfer may be short)
 * and wakes @co.
 */
struct aio_request {
	enum aio_operation operation;
	int fd;
	bool cached; /* AIO_WRITE: goes to the page cache and may sleep there */
	int mode; /* AIO_FALLOCATE: FALLOC_FL_*; AIO_WRITE: RWF_* */
	unsigned iov_count; /* at least 1 in transfers */
	const struct iovec *iov;
	uint64_t offset;
	uint64_t bytes; /* the sum of the iovecs; AIO_TRUNCATE: 0, the size is in @offset */
	int64_t result;
	struct coroutine *co;
	struct aio_engine *engine; /* for the engine's own use, as all that follows */
	struct list link;
	union {
		struct worker_job job; /* aio_worker's */
		struct {
			struct sim_op *op; /* aio_sim's */
			uint64_t due_ns;
		} sim;
		struct { /* aio_lane's */
			struct loop_post post;
			struct list report;
			struct aio_lanes *lanes;
		} lane;
	};
};

struct aio_engine_ops {
	const char *name; /* what aio_engine_name() answers */
	bool has_truncate; /* takes AIO_TRUNCATE; otherwise co_blocking() does it */
	/* Take @r, to be handed over by the next submit(). Never waits. Required. */
	void (*queue)(struct aio_engine *engine, struct aio_request *r);
	/*
	 * Hand all queued requests to the kernel at once and reap what is already
	 * complete. Must be cheap when nothing is queued. Required.
	 */
	void (*submit)(struct aio_engine *engine);
	/* Reap completions; true when any coroutine was woken. Required. */
	bool (*reap)(struct aio_engine *engine);
	/*
	 * A file descriptor that polls readable while completions wait; -1 when
	 * completions come by loop_post() or, in a simulation, by next_event_ns().
	 */
	int (*fd)(struct aio_engine *engine);
	/* True while a request is queued or in flight. Required. */
	bool (*has_pending)(struct aio_engine *engine);
	/*
	 * Simulation only: the loop's time at which the next completion is due,
	 * UINT64_MAX when none is. reap() at that time must make progress.
	 */
	uint64_t (*next_event_ns)(struct aio_engine *engine);
	/* Free the engine, which has nothing pending. Required. */
	void (*destroy)(struct aio_engine *engine);
};

/* Embedded first in each engine's own struct. */
struct aio_engine {
	const struct aio_engine_ops *ops;
	struct loop *loop;
};

/* io_uring. 0, or a negative errno when the kernel refuses it. */
int aio_uring_create(struct loop *loop, struct aio_engine **ret_engine, struct error **errp);
/* Threads with preadv() and pwritev(). 0 or a negative errno. */
int aio_worker_create(struct loop *loop, struct aio_engine **ret_engine);
/* Simulated disks; @seed decides completion times and faults. */
struct aio_engine *aio_sim_create(struct loop *loop, uint64_t seed);

/*
 * The loop's slot for the pool of buffer.h: NULL until the first buffer_get(),
 * which sets it. loop_free() hands it to buffer_pool_destroy() after the engine
 * is gone.
 */
struct buffer_pool;
struct buffer_pool **loop_buffer_pool(struct loop *loop);
/* Free @pool, which may be NULL, and all that it keeps. */
void buffer_pool_destroy(struct buffer_pool *pool);

#endif
