/* SPDX-License-Identifier: MIT */
/*
 * Reading. Node's loop, in a coroutine; nothing is allocated but bounce buffers.
 *
 * A backing chain is walked in a loop, not by recursion: each layer answers for
 * the first part of the range, and where it has nothing the next one is asked.
 * Filters without a read of their own are passed over in the same loop.
 */
#include <assert.h>

#include "base/buffer.h"
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/layers.h"
#include "block/node_internal.h"
#include "block/request.h"

/* What a driver may be told about a read. */
#define READ_DRIVER_FLAGS (REQUEST_PREFETCH | REQUEST_COPY_ON_READ)

static int co_fn read_driver(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			     unsigned flags)
{
	const struct driver *d = n->driver;
	if (d->read_some)
		return d->read_some(n, offset, bytes, v, flags & READ_DRIVER_FLAGS);
	return d->read(n, offset, *bytes, v, flags & READ_DRIVER_FLAGS);
}

/* The blocks around the range are read aside, and what was asked for is copied out. */
static int co_fn read_bounced(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			      unsigned flags)
{
	uint64_t start = align_down(offset, n->limits.request_alignment);
	uint64_t span = io_bounce_span(n, offset, *bytes);
	void *buffer = buffer_get(n->loop, span);
	if (!buffer)
		return -ENOMEM;

	struct iovec storage;
	uint64_t got = span;
	int r = read_driver(n, start, &got, vec_flat(&storage, buffer, span), flags);
	if (r >= 0) {
		assert(start + got > offset);
		*bytes = MIN(*bytes, start + got - offset);
		if (r == 0)
			vec_from_buffer(v, (char *)buffer + (offset - start), *bytes);
	}
	buffer_put(n->loop, buffer, span);
	return r;
}

int co_fn io_read_layer(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			unsigned flags)
{
	if (!n->driver->read && !n->driver->read_some)
		return n->driver->is_filter && n->file ? READ_FROM_BACKING : -ENOTSUP;
	if (!io_is_aligned(n, offset, *bytes)) {
		/* Only the last block of a long read needs to be read aside. */
		uint64_t blocks = align_down(*bytes, n->limits.request_alignment);
		if (blocks == 0 || !io_is_aligned(n, offset, blocks))
			return read_bounced(n, offset, bytes, v, flags);
		*bytes = blocks;
	}
	if (!io_is_memory_fit(n, v, *bytes))
		return read_bounced(n, offset, bytes, v, flags);
	if (n->limits.max_transfer != 0)
		*bytes = MIN(*bytes, n->limits.max_transfer);
	return read_driver(n, offset, bytes, v, flags);
}

/* One layer below the top: tracked there while it is read. */
static int co_fn read_lower(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			    unsigned flags)
{
	struct request rq;
	request_begin(&rq, n, offset, *bytes);
	int r = io_read_layer(n, offset, bytes, v, flags);
	request_end(&rq);
	return r;
}

/* Read the first part of the range from wherever it comes, setting *bytes to its length. */
static int co_fn read_step(struct node *top, uint64_t offset, uint64_t *bytes, struct vec v,
			   unsigned flags)
{
	struct node *n = top;
	if (top->layers && offset < top->size) {
		*bytes = MIN(*bytes, top->size - offset);
		n = layers_find(top, offset, bytes);
	}
	for (unsigned depth = 1; n && offset < n->size; n = node_chain_next(n), depth++) {
		*bytes = MIN(*bytes, n->size - offset);
		int r = n == top ? io_read_layer(n, offset, bytes, v, flags)
				 : read_lower(n, offset, bytes, v, flags);
		if (depth == LAYERS_MIN && !top->layers)
			layers_create(top);
		if (r != READ_FROM_BACKING)
			return r;
	}
	/* Below the base, or beyond the end of a layer. */
	vec_fill(v, 0, *bytes);
	return 0;
}

int co_fn io_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	for (;;) {
		uint64_t done = bytes;
		int r = read_step(n, offset, &done, v, flags);
		if (r < 0 || done == bytes)
			return r;
		assert(done > 0 && done < bytes);
		offset += done;
		bytes -= done;
		v = vec_advance(v, done);
	}
}

static int co_fn copy_through_filter(struct node *n, uint64_t offset, uint64_t bytes,
				     struct vec v, unsigned flags)
{
	if (!n->driver->read)
		return edge_readv(n->file, offset, bytes, v, flags);
	struct request rq;
	request_begin(&rq, n, offset, bytes);
	int r = n->driver->read(n, offset, bytes, v, flags & READ_DRIVER_FLAGS);
	request_end(&rq);
	return r;
}

static int co_fn read_tracked(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			      unsigned flags)
{
	/* A filter has nothing of its own: the image that it shows is to get the data. */
	if ((flags & REQUEST_COPY_ON_READ) && n->driver->is_filter && n->file)
		return copy_through_filter(n, offset, bytes, v, flags);
	if (flags & REQUEST_COPY_ON_READ)
		return io_copy_on_read(n, offset, bytes, v, flags);
	/* Without a place to put it, data that is not wanted need not be read. */
	if (flags & REQUEST_PREFETCH)
		return 0;
	struct request rq;
	if (flags & REQUEST_SERIALISING) {
		int r = request_begin_serialising(&rq, n, offset, bytes,
						  n->limits.request_alignment, flags);
		if (r < 0)
			return r;
	} else {
		request_begin(&rq, n, offset, bytes);
	}
	int r = io_read(n, offset, bytes, v, flags);
	request_end(&rq);
	return r;
}

/* Formats may read beyond the end of their storage; who shows a node to others may not. */
static bool is_in_range(const struct edge *e, uint64_t offset, uint64_t bytes)
{
	if (bytes > REQUEST_MAX || offset > IO_END_MAX)
		return false;
	return e->parent || (offset <= e->child->size && bytes <= e->child->size - offset);
}

int co_fn edge_readv(struct edge *e, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	if (!is_in_range(e, offset, bytes)) {
		io_count_invalid(e, STATS_READ);
		return -EIO;
	}
	if (bytes == 0)
		return 0;
	if ((flags & REQUEST_COPY_ON_READ) &&
	    !(e->permissions & (PERM_WRITE | PERM_WRITE_UNCHANGED)))
		return -EPERM;
	if (!io_is_counted(e))
		return read_tracked(e->child, offset, bytes, v, flags);

	uint64_t begin_ns = io_count_begin(e);
	int r = read_tracked(e->child, offset, bytes, v, flags);
	io_count_end(e, STATS_READ, bytes, begin_ns, r);
	return r;
}

int co_fn edge_read(struct edge *e, uint64_t offset, uint64_t bytes, void *p, unsigned flags)
{
	struct iovec storage;
	return edge_readv(e, offset, bytes, vec_flat(&storage, p, bytes), flags);
}
