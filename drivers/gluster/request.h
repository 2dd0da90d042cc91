/* SPDX-License-Identifier: MIT */
/*
 * Requests to an open file of a volume. Node's loop.
 */
#ifndef DRIVERS_GLUSTER_REQUEST_H
#define DRIVERS_GLUSTER_REQUEST_H

#include "base/loop.h"
#include "base/vec.h"
#include "drivers/gluster/file.h"

/* Pieces of memory in one request. */
#define GLUSTER_IOVECS_MAX 32

/* Where requests are collected until the end of the loop's turn. */
struct gluster_queue {
	struct loop *loop;
	struct loop_deferred submit;
	struct list requests;
};

void gluster_queue_init(struct gluster_queue *q, struct loop *loop);
/* No request is under way. */
void gluster_queue_finish(struct gluster_queue *q);

/*
 * What the file system calls of the same names do; 0 or a negative errno. Reads
 * fill up with zeroes what lies beyond the end of the file.
 */
int co_fn gluster_read(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
		       uint64_t bytes, struct vec v);
int co_fn gluster_write(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			uint64_t bytes, struct vec v);
int co_fn gluster_datasync(struct gluster_queue *q, struct gluster_file *f);
int co_fn gluster_punch_hole(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			     uint64_t bytes);
/* Write zeroes, on the bricks; what lies beyond the end of the file becomes part of it. */
int co_fn gluster_zero_fill(struct gluster_queue *q, struct gluster_file *f, uint64_t offset,
			    uint64_t bytes);
int co_fn gluster_set_size(struct gluster_queue *q, struct gluster_file *f, uint64_t size);

#endif
