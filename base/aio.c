/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous file I/O: turns views of memory into plain iovecs, splits what is
 * too long for one request and continues what the engine left unfinished.
 *
 * Runs in coroutines of the loop that owns the engine.
 */
#include "base/aio.h"

#include <unistd.h>

#include "base/aio_engine.h"
#include "base/buffer.h"
#include "base/loop.h"

/* The kernel moves at most 0x7ffff000 bytes at once; this is the largest power of two below. */
#define TRANSFER_MAX (UINT64_C(1) << 30)

/* Iovecs that fit on the stack; more come from the pool. */
#define STACK_IOVECS 16

static int64_t co_fn run(struct loop *loop, struct aio_request *r)
{
	struct aio_engine *engine = loop_engine(loop);
	r->co = co_self();
	engine->ops->queue(engine, r);
	co_yield();
	return r->result;
}

/* Run until the kernel has done it or refused it for good. */
static int64_t co_fn run_persistently(struct loop *loop, struct aio_request *r)
{
	for (;;) {
		int64_t n = run(loop, r);
		if (n != -EINTR && n != -EAGAIN)
			return n;
		co_reschedule();
	}
}

/* How many iovecs the first @bytes of @v take, but at most AIO_IOV_MAX. */
static unsigned count_iovecs(struct vec v, uint64_t bytes)
{
	v = vec_advance(v, 0);
	unsigned count = 0;
	uint64_t covered = 0;
	while (covered < bytes && count < AIO_IOV_MAX) {
		covered += v.iov[count].iov_len - v.skip;
		v.skip = 0;
		count++;
	}
	return count;
}

/* Write @count iovecs of @v to @ret, not beyond @bytes; returns the bytes that they cover. */
static uint64_t take_iovecs(struct vec v, uint64_t bytes, struct iovec *ret, unsigned count)
{
	v = vec_advance(v, 0);
	uint64_t covered = 0;
	for (unsigned i = 0; i < count; i++) {
		uint64_t length = MIN(v.iov[i].iov_len - v.skip, bytes - covered);
		ret[i] = (struct iovec){(char *)v.iov[i].iov_base + v.skip, length};
		v.skip = 0;
		covered += length;
	}
	return covered;
}

/* One request for the first @r->bytes of @v, or as much of it as has few enough pieces. */
static int64_t co_fn transfer_once(struct loop *loop, struct aio_request *r, struct vec v)
{
	struct iovec local[STACK_IOVECS];
	void *p = vec_contiguous(v, r->bytes);
	if (p) {
		local[0] = (struct iovec){p, r->bytes};
		r->iov = local;
		r->iov_count = 1;
		return run_persistently(loop, r);
	}

	unsigned count = count_iovecs(v, r->bytes);
	struct iovec *pooled = NULL;
	if (count > STACK_IOVECS) {
		pooled = buffer_get(loop, count * sizeof(*pooled));
		if (!pooled)
			return -ENOMEM;
	}
	struct iovec *iov = pooled ? pooled : local;
	r->bytes = take_iovecs(v, r->bytes, iov, count);
	r->iov = iov;
	r->iov_count = count;
	int64_t n = run_persistently(loop, r);
	buffer_put(loop, pooled, count * sizeof(*pooled));
	return n;
}

/* Returns the bytes moved, fewer than @bytes only when the engine has moved 0, or an errno. */
static int64_t co_fn transfer(struct loop *loop, enum aio_operation operation, int fd,
			      uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	uint64_t done = 0;
	while (done < bytes) {
		struct aio_request r = {
			.operation = operation,
			.fd = fd,
			.mode = flags & AIO_WRITE_FUA ? RWF_DSYNC : 0,
			.cached = flags & AIO_WRITE_CACHED,
			.offset = offset + done,
			.bytes = MIN(bytes - done, TRANSFER_MAX),
		};
		int64_t n = transfer_once(loop, &r, vec_advance(v, done));
		/* A direct read that ended at an unaligned end of file cannot be continued. */
		if (n == -EINVAL && operation == AIO_READ && done % 512 != 0)
			return (int64_t)done;
		if (n < 0)
			return n;
		if (n == 0)
			break;
		done += (uint64_t)n;
	}
	return (int64_t)done;
}

int64_t co_fn aio_read(struct loop *loop, int fd, uint64_t offset, uint64_t bytes, struct vec v)
{
	return transfer(loop, AIO_READ, fd, offset, bytes, v, 0);
}

int co_fn aio_write(struct loop *loop, int fd, uint64_t offset, uint64_t bytes, struct vec v,
		    unsigned flags)
{
	int64_t n = transfer(loop, AIO_WRITE, fd, offset, bytes, v, flags);
	if (n == -EOPNOTSUPP && (flags & AIO_WRITE_FUA)) {
		/* The kernels of some containers do not know durable writes. */
		int r = aio_write(loop, fd, offset, bytes, v, flags & ~AIO_WRITE_FUA);
		return r < 0 ? r : aio_flush(loop, fd);
	}
	if (n < 0)
		return (int)n;
	/* A write that accepts nothing has met the end of a device. */
	return (uint64_t)n < bytes ? -ENOSPC : 0;
}

int co_fn aio_flush(struct loop *loop, int fd)
{
	struct aio_request r = {.operation = AIO_FLUSH, .fd = fd};
	return (int)run(loop, &r);
}

int co_fn aio_fallocate(struct loop *loop, int fd, int mode, uint64_t offset, uint64_t bytes)
{
	struct aio_request r = {
		.operation = AIO_FALLOCATE,
		.fd = fd,
		.mode = mode,
		.offset = offset,
		.bytes = bytes,
	};
	return (int)run_persistently(loop, &r);
}

struct truncation {
	int fd;
	uint64_t size;
};

static int truncate_blocking(void *arg)
{
	struct truncation *t = arg;
	int r;
	do {
		r = ftruncate(t->fd, (off_t)t->size);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

int co_fn aio_truncate(struct loop *loop, int fd, uint64_t size)
{
	if (!loop_engine(loop)->ops->has_truncate) {
		struct truncation t = {fd, size};
		return co_blocking(truncate_blocking, &t);
	}
	struct aio_request r = {.operation = AIO_TRUNCATE, .fd = fd, .offset = size};
	return (int)run(loop, &r);
}

const char *aio_engine_name(struct loop *loop)
{
	return loop_engine(loop)->ops->name;
}
