/* SPDX-License-Identifier: MIT */
/*
 * Asynchronous file I/O on the loop's engine.
 *
 * Three engines stand behind these calls: aio_uring (io_uring), aio_worker
 * (threads with preadv and pwritev) and aio_sim (simulated disks under virtual
 * time, whose fds come from aio_sim.h). A call queues its request and suspends
 * the coroutine; the loop submits everything that one turn has queued in one
 * system call.
 *
 * All results are bytes or 0 on success and a negative errno on failure. Short
 * transfers are continued inside: a read ends short only at the end of the
 * file, and a write never does.
 */
#ifndef BASE_AIO_H
#define BASE_AIO_H

#include "base/coroutine.h"
#include "base/vec.h"

struct loop;

/* Upper limit of iovecs in one request. */
#define AIO_IOV_MAX 1024

/* Read @bytes at @offset into @v. Returns the bytes read; fewer than asked only at the end. */
int64_t co_fn aio_read(struct loop *loop, int fd, uint64_t offset, uint64_t bytes, struct vec v);

enum aio_write_flags {
	AIO_WRITE_FUA = 1, /* durable when the call returns (RWF_DSYNC) */
	/*
	 * @fd is a regular file without O_DIRECT: a hint that io_uring would not
	 * serve it well, see aio_lane.h.
	 */
	AIO_WRITE_CACHED = 2,
};

/* Write @bytes at @offset from @v. Returns 0. */
int co_fn aio_write(struct loop *loop, int fd, uint64_t offset, uint64_t bytes, struct vec v,
		    unsigned flags);

/* Make all completed writes durable (fdatasync). */
int co_fn aio_flush(struct loop *loop, int fd);

/* fallocate(2); @mode holds FALLOC_FL_*. */
int co_fn aio_fallocate(struct loop *loop, int fd, int mode, uint64_t offset, uint64_t bytes);

/* Set the file's length. */
int co_fn aio_truncate(struct loop *loop, int fd, uint64_t size);

/* The name of the engine in use: "io_uring", "threads" or "sim". */
const char *aio_engine_name(struct loop *loop);

#endif
