/* SPDX-License-Identifier: MIT */
/*
 * Requests to an open file of a volume.
 *
 * The library is entered at the end of the loop's turn, for all requests of the
 * turn, on the loop's own stack: its layers need more than a coroutine has.
 * Its callbacks come on its own threads, several at once, or from inside the
 * call; they store the result and post it.
 */
#include "drivers/gluster/request.h"

#include <assert.h>
#include <glusterfs/api/glfs.h>

#include "base/cleanup.h"
#include "base/util.h"

/*
 * For an answer that is longer the library maps memory, which it unmaps afterwards: the page faults
 * cost more than the bytes.
 */
#define READ_MAX (256 * KiB)

enum operation { OP_READ, OP_WRITE, OP_DATASYNC, OP_PUNCH_HOLE, OP_ZERO_FILL, OP_SET_SIZE };

struct request {
	struct list link; /* in queue.requests */
	enum operation op;
	struct glfs_fd *fd;
	uint64_t offset, bytes;
	struct vec v;

	struct loop *loop;
	struct loop_post post;
	struct coroutine *waiter;
	int64_t result; /* bytes, or a negative errno */
};

static void on_result(struct loop_post *post)
{
	struct request *r = container_of(post, struct request, post);
	co_wake(r->waiter);
}

/* On a thread of the library. */
static void on_complete(struct glfs_fd *fd, ssize_t result, struct glfs_stat *before,
			struct glfs_stat *after, void *arg)
{
	struct request *r = arg;
	r->result = result >= 0 ? result : errno > 0 ? -errno : -EIO;
	loop_post(r->loop, &r->post);
}

static int issue(struct request *r)
{
	struct iovec iov[GLUSTER_IOVECS_MAX];
	off_t offset = (off_t)r->offset;
	int count;
	switch (r->op) {
	case OP_READ:
		count = vec_to_iovecs(r->v, r->bytes, iov, GLUSTER_IOVECS_MAX);
		return glfs_preadv_async(r->fd, iov, count, offset, 0, on_complete, r);
	case OP_WRITE:
		count = vec_to_iovecs(r->v, r->bytes, iov, GLUSTER_IOVECS_MAX);
		return glfs_pwritev_async(r->fd, iov, count, offset, 0, on_complete, r);
	case OP_DATASYNC:
		return glfs_fdatasync_async(r->fd, on_complete, r);
	case OP_PUNCH_HOLE:
		return glfs_discard_async(r->fd, offset, r->bytes, on_complete, r);
	case OP_ZERO_FILL:
		return glfs_zerofill_async(r->fd, offset, (off_t)r->bytes, on_complete, r);
	case OP_SET_SIZE:
		return glfs_ftruncate_async(r->fd, offset, on_complete, r);
	}
	assert(false);
	return -1;
}

static void submit(struct loop_deferred *d)
{
	struct gluster_queue *q = container_of(d, struct gluster_queue, submit);
	struct request *r;
	while ((r = list_first(&q->requests, struct request, link))) {
		list_del_init(&r->link);
		if (issue(r) == 0)
			continue;
		r->result = errno > 0 ? -errno : -EIO;
		co_wake(r->waiter);
	}
}

void gluster_queue_init(struct gluster_queue *q, struct loop *loop)
{
	q->loop = loop;
	list_init(&q->requests);
	loop_deferred_init(&q->submit, submit);
}

void gluster_queue_finish(struct gluster_queue *q)
{
	assert(list_is_empty(&q->requests));
	loop_deferred_cancel(&q->submit);
}

/* Have @r, which is filled in up to the blank line, done. Returns its result. */
static int64_t co_fn run(struct gluster_queue *q, struct request *r)
{
	r->loop = q->loop;
	r->post.fn = on_result;
	r->waiter = co_self();
	list_add_tail(&q->requests, &r->link);
	loop_defer(q->loop, &q->submit);
	co_yield();
	return r->result;
}

static int co_fn read_piece(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			    uint64_t bytes, struct vec v)
{
	while (bytes > 0) {
		struct request r = {.op = OP_READ, .fd = f->fd, .offset = offset,
				    .bytes = bytes, .v = v};
		int64_t done = run(q, &r);
		if (done < 0)
			return (int)done;
		if (done == 0) {
			vec_fill(v, 0, bytes);
			return 0;
		}
		/* The end of the file, mostly; only one who asks again can be sure. */
		v = vec_advance(v, (size_t)done);
		offset += (uint64_t)done;
		bytes -= MIN(bytes, (uint64_t)done);
	}
	return 0;
}

/* A part of a read, beside others. */
struct part {
	struct gluster_queue *queue;
	struct gluster_file *file;
	uint64_t offset, bytes;
	struct vec v;
	struct co_group *group;
	int result;
};

static void co_fn read_part(void *arg)
{
	struct part *p = arg;
	p->result = read_piece(p->queue, p->file, p->offset, p->bytes, p->v);
	co_group_done(p->group);
}

int co_fn gluster_read(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
		       uint64_t bytes, struct vec v)
{
	if (bytes <= READ_MAX)
		return read_piece(q, f, offset, bytes, v);
	size_t count = div_round_up(bytes, READ_MAX);
	struct part *parts _cleanup_free_ = xalloc(count, sizeof(*parts));
	struct co_group group;
	co_group_init(&group);
	for (size_t i = 0; i < count; i++) {
		uint64_t skip = i * READ_MAX;
		parts[i] = (struct part){
			.queue = q,
			.file = f,
			.offset = offset + skip,
			.bytes = MIN(bytes - skip, READ_MAX),
			.v = vec_advance(v, skip),
			.group = &group,
		};
		co_group_add(&group);
		co_start(q->loop, read_part, &parts[i]);
	}
	co_group_wait(&group);
	int r = 0;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = parts[i].result;
	return r;
}

int co_fn gluster_write(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			uint64_t bytes, struct vec v)
{
	while (bytes > 0) {
		struct request r = {.op = OP_WRITE, .fd = f->fd, .offset = offset,
				    .bytes = bytes, .v = v};
		int64_t done = run(q, &r);
		if (done <= 0)
			return done < 0 ? (int)done : -ENOSPC;
		v = vec_advance(v, (size_t)done);
		offset += (uint64_t)done;
		bytes -= MIN(bytes, (uint64_t)done);
	}
	return 0;
}

/* A request whose result is no number of bytes. */
static int co_fn run_plain(struct gluster_queue *q, struct request *r)
{
	int64_t result = run(q, r);
	return result < 0 ? (int)result : 0;
}

int co_fn gluster_datasync(struct gluster_queue *q, struct gluster_file *f)
{
	return run_plain(q, &(struct request){.op = OP_DATASYNC, .fd = f->fd});
}

int co_fn gluster_punch_hole(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			     uint64_t bytes)
{
	return run_plain(q, &(struct request){.op = OP_PUNCH_HOLE, .fd = f->fd,
					      .offset = offset, .bytes = bytes});
}

int co_fn gluster_zero_fill(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			    uint64_t bytes)
{
	return run_plain(q, &(struct request){.op = OP_ZERO_FILL, .fd = f->fd,
					      .offset = offset, .bytes = bytes});
}

int co_fn gluster_set_size(struct gluster_queue *q, struct gluster_file *f, uint64_t size)
{
	return run_plain(q, &(struct request){.op = OP_SET_SIZE, .fd = f->fd, .offset = size});
}
