/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine: one ring per loop, a system call per turn or a few.
 *
 * A request goes straight into a free entry of the submission queue; when none
 * is free, what has gathered is submitted first. No more requests are in the
 * kernel's hands than the completion queue has entries, so that it never
 * overflows; the rest waits in a list. Everything runs on the loop's thread,
 * which must be the thread that made the engine (the kernel insists).
 */
#include <liburing.h>
#include <stdlib.h>

#include "base/aio_lane.h"
#include "base/coroutine.h"
#include "base/loop.h"

#define SUBMISSION_ENTRIES 256
#define COMPLETION_ENTRIES 2048

/* So many are handed over before the turn ends, for the disk to begin on them. */
#define SUBMIT_EARLY 8

/* How long to wait when the kernel has no memory for a request and nothing is under way. */
#define RETRY_NS 1000000

struct aio_uring {
	struct aio_engine engine;
	struct io_uring ring;
	struct list waiting;    /* struct aio_request.link: not yet in the ring */
	unsigned in_ring;       /* entries made whose completion was not reaped */
	unsigned unsubmitted;   /* of them, not yet the kernel's */
	struct loop_timer retry;
	struct aio_lanes *lanes; /* for writes into the page cache */
};

static struct aio_uring *from_engine(struct aio_engine *engine)
{
	return container_of(engine, struct aio_uring, engine);
}

static void prepare_transfer(struct io_uring_sqe *sqe, const struct aio_request *r)
{
	bool reads = r->operation == AIO_READ;
	if (r->iov_count == 1) {
		/* READ and WRITE spare the kernel the copy of the iovec. */
		io_uring_prep_rw(reads ? IORING_OP_READ : IORING_OP_WRITE, sqe, r->fd,
				 r->iov->iov_base, (unsigned)r->iov->iov_len, r->offset);
	} else {
		io_uring_prep_rw(reads ? IORING_OP_READV : IORING_OP_WRITEV, sqe, r->fd, r->iov,
				 r->iov_count, r->offset);
	}
	sqe->rw_flags = r->mode;
}

static void prepare(struct io_uring_sqe *sqe, struct aio_request *r)
{
	switch (r->operation) {
	case AIO_READ:
	case AIO_WRITE:
		prepare_transfer(sqe, r);
		break;
	case AIO_FLUSH:
		io_uring_prep_fsync(sqe, r->fd, IORING_FSYNC_DATASYNC);
		break;
	case AIO_FALLOCATE:
		io_uring_prep_fallocate(sqe, r->fd, r->mode, (off_t)r->offset, (off_t)r->bytes);
		break;
	case AIO_TRUNCATE: /* has_truncate is false */
		io_uring_prep_nop(sqe);
		break;
	}
	io_uring_sqe_set_data(sqe, r);
}

/* Wake the owners of all completions that are in the queue. True when there was one. */
static bool reap_queue(struct aio_uring *u)
{
	unsigned head, count = 0;
	struct io_uring_cqe *cqe;
	io_uring_for_each_cqe(&u->ring, head, cqe) {
		struct aio_request *r = io_uring_cqe_get_data(cqe);
		r->result = cqe->res;
		co_wake(r->co);
		count++;
	}
	io_uring_cq_advance(&u->ring, count);
	u->in_ring -= count;
	return count != 0;
}

static void hand_over(struct aio_uring *u)
{
	/* Runs deferred completions too, in the same system call. */
	int n = io_uring_submit_and_get_events(&u->ring);
	if (n >= 0) {
		u->unsubmitted = io_uring_sq_ready(&u->ring);
		if (u->unsubmitted == 0)
			return;
	}
	/* Out of memory or interrupted. A completion brings us back here; else the timer does. */
	if (u->in_ring == u->unsubmitted && !loop_timer_is_set(&u->retry))
		loop_timer_set(&u->retry, loop_now_ns(u->engine.loop) + RETRY_NS);
}

/* Give @r an entry in the ring, if there is a place. */
static bool enter_ring(struct aio_uring *u, struct aio_request *r)
{
	if (u->in_ring >= COMPLETION_ENTRIES)
		return false;
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
	if (!sqe) {
		hand_over(u);
		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return false;
	}
	prepare(sqe, r);
	u->in_ring++;
	u->unsubmitted++;
	return true;
}

static void uring_queue(struct aio_engine *engine, struct aio_request *r)
{
	struct aio_uring *u = from_engine(engine);
	/* Durable ones wait for the disk, side by side, which is the ring's strength. */
	if (r->cached && r->mode == 0)
		aio_lanes_queue(u->lanes, r);
	else if (!list_is_empty(&u->waiting) || !enter_ring(u, r))
		list_add_tail(&u->waiting, &r->link);
	else if (u->unsubmitted >= SUBMIT_EARLY)
		hand_over(u);
}

static void move_waiting(struct aio_uring *u)
{
	struct aio_request *r;
	while ((r = list_first(&u->waiting, struct aio_request, link))) {
		if (!enter_ring(u, r))
			return;
		list_del_init(&r->link);
	}
}

static void uring_submit(struct aio_engine *engine)
{
	struct aio_uring *u = from_engine(engine);
	aio_lanes_submit(u->lanes);
	move_waiting(u);
	if (u->unsubmitted == 0)
		return;
	hand_over(u);
	reap_queue(u);
}

static bool uring_reap(struct aio_engine *engine)
{
	struct aio_uring *u = from_engine(engine);
	/* Completions may be waiting for this thread to come into the kernel. */
	if (io_uring_cq_ready(&u->ring) == 0 && u->in_ring != 0)
		io_uring_get_events(&u->ring);
	bool woken = reap_queue(u);
	if (woken)
		move_waiting(u);
	return woken;
}

static int uring_fd(struct aio_engine *engine)
{
	return from_engine(engine)->ring.ring_fd;
}

static bool uring_has_pending(struct aio_engine *engine)
{
	struct aio_uring *u = from_engine(engine);
	return u->in_ring != 0 || !list_is_empty(&u->waiting) || aio_lanes_has_pending(u->lanes);
}

static void uring_destroy(struct aio_engine *engine)
{
	struct aio_uring *u = from_engine(engine);
	loop_timer_cancel(&u->retry);
	aio_lanes_destroy(u->lanes);
	io_uring_queue_exit(&u->ring);
	free(u);
}

static void retry_due(struct loop_timer *t)
{
	uring_submit(&container_of(t, struct aio_uring, retry)->engine);
}

static const struct aio_engine_ops uring_ops = {
	.name = "io_uring",
	.queue = uring_queue,
	.submit = uring_submit,
	.reap = uring_reap,
	.fd = uring_fd,
	.has_pending = uring_has_pending,
	.destroy = uring_destroy,
};

/* Set up a ring with the cheapest way of completing that the kernel knows. */
static int open_ring(struct io_uring *ring)
{
	static const unsigned choices[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, /* 6.0 */
		IORING_SETUP_COOP_TASKRUN,                              /* 5.19 */
		0,
	};
	int r = -EINVAL;
	for (unsigned i = 0; r == -EINVAL && i < ARRAY_SIZE(choices); i++) {
		struct io_uring_params params = {
			.flags = choices[i] | IORING_SETUP_CQSIZE,
			.cq_entries = COMPLETION_ENTRIES,
		};
		r = io_uring_queue_init_params(SUBMISSION_ENTRIES, ring, &params);
	}
	return r;
}

/* Whether the kernel knows all operations that prepare() uses. */
static bool has_operations(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	if (!probe)
		return false;
	bool complete = io_uring_opcode_supported(probe, IORING_OP_READ) &&
			io_uring_opcode_supported(probe, IORING_OP_WRITE) &&
			io_uring_opcode_supported(probe, IORING_OP_FALLOCATE);
	io_uring_free_probe(probe);
	return complete;
}

int aio_uring_create(struct loop *loop, struct aio_engine **ret_engine, struct error **errp)
{
	struct aio_uring *u = NEW(struct aio_uring);
	int r = open_ring(&u->ring);
	if (r < 0) {
		free(u);
		return error_set_errno(errp, r, "Could not set up io_uring");
	}
	if (!has_operations(&u->ring)) {
		io_uring_queue_exit(&u->ring);
		free(u);
		return error_set(errp, -ENOSYS, "The kernel's io_uring is too old");
	}
	u->engine = (struct aio_engine){.ops = &uring_ops, .loop = loop};
	list_init(&u->waiting);
	loop_timer_init(loop, &u->retry, retry_due);
	u->lanes = aio_lanes_create(loop);
	*ret_engine = &u->engine;
	return 0;
}
