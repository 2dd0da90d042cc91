/* SPDX-License-Identifier: MIT */
/*
 * Copy on read: what a read finds below is stored in the layer that was read.
 * Node's loop, in a coroutine.
 *
 * The request serialises on whole clusters: a write that comes in between the
 * read below and the write here would otherwise be overwritten with old data.
 *
 * A reader who gets the data does not care whether it could be stored: on a full disk,
 * reads go on. Who wants nothing but the copy, as a stream does, is told of the failure.
 */
#include "base/buffer.h"
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/layers.h"
#include "block/node_internal.h"
#include "block/request.h"

static uint64_t co_fn cluster_size(struct node *n)
{
	struct driver_info info = {0};
	if (n->driver->info && n->driver->info(n, &info) >= 0 && is_power_of_2(info.cluster_size))
		return MAX(info.cluster_size, n->limits.request_alignment);
	return n->limits.request_alignment;
}

static void note_copy(struct node *n, uint64_t offset, uint64_t bytes)
{
	n->write_generation++;
	layers_note_write(n, offset, bytes);
}

static int co_fn store(struct node *n, uint64_t offset, uint64_t bytes, struct vec v)
{
	node_debug_event(n, BLKDEBUG_EVENT_COR_WRITE);
	int r = vec_is_zero(v, bytes) ? io_zero(n, offset, bytes, REQUEST_UNCHANGED)
				      : io_write(n, offset, bytes, v, REQUEST_UNCHANGED);
	note_copy(n, offset, bytes);
	return r;
}

/*
 * Copy the clusters around [@offset, @offset + *bytes), or as many of them as one
 * buffer holds, into @n; hand out what was asked for and set *bytes to its length.
 */
static int co_fn copy_up(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			 uint64_t cluster, unsigned flags)
{
	uint64_t start = align_down(offset, cluster);
	uint64_t span = align_up(offset + *bytes, cluster) - start;
	span = MIN(span, MAX(IO_CHUNK_MAX, cluster));
	span = MIN(span, align_up(n->size, n->limits.request_alignment) - start);
	void *buffer = buffer_get(n->loop, span);
	if (!buffer)
		return -ENOMEM;

	struct iovec storage;
	struct vec flat = vec_flat(&storage, buffer, span);
	int r = io_read(n, start, span, flat, 0);
	if (r >= 0) {
		int stored = store(n, start, span, flat);
		*bytes = MIN(*bytes, start + span - offset);
		if (flags & REQUEST_PREFETCH)
			r = stored;
		else
			vec_from_buffer(v, (char *)buffer + (offset - start), *bytes);
	}
	buffer_put(n->loop, buffer, span);
	return r;
}

/*
 * Zeroes from below are stored without being read, over as many whole clusters as
 * there are. Returns 0, or 1 when the range does not begin with them.
 */
static int co_fn zero_up(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			 uint64_t cluster, unsigned flags)
{
	struct extent x;
	uint64_t start = align_down(offset, cluster);
	uint64_t end = MIN(align_up(offset + *bytes, cluster), n->size);
	int r = node_status(n, start, end - start, &x);
	if (r < 0)
		return r;
	uint64_t zeroes = x.flags & EXTENT_EOF ? x.bytes : align_down(x.bytes, cluster);
	if (!(x.flags & EXTENT_ZERO) || zeroes == 0)
		return 1;
	node_debug_event(n, BLKDEBUG_EVENT_COR_WRITE);
	r = io_zero(n, start, zeroes, REQUEST_UNCHANGED);
	note_copy(n, start, zeroes);
	*bytes = MIN(*bytes, start + zeroes - offset);
	if (flags & REQUEST_PREFETCH)
		return r;
	vec_fill(v, 0, *bytes);
	return 0;
}

static int co_fn copy_step(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			   uint64_t cluster, unsigned flags)
{
	struct extent x;
	struct node *next = node_chain_next(n);
	int r = node_status_above(n, next, offset, *bytes, &x, NULL);
	if (r < 0)
		return r;
	*bytes = x.bytes;
	if (x.flags & EXTENT_ALLOCATED)
		return flags & REQUEST_PREFETCH ? 0 : io_read(n, offset, *bytes, v, 0);
	r = zero_up(n, offset, bytes, v, cluster, flags);
	return r == 1 ? copy_up(n, offset, bytes, v, cluster, flags) : r;
}

int co_fn io_copy_on_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags)
{
	if (n->read_only)
		return -EPERM;
	uint64_t cluster = cluster_size(n);
	struct request rq;
	int r = request_begin_serialising(&rq, n, offset, bytes, cluster, flags);
	if (r < 0)
		return r;
	/* It may have waited for the node to become shorter. */
	if (offset + bytes > n->size) {
		request_end(&rq);
		return -EIO;
	}
	while (bytes > 0) {
		uint64_t done = bytes;
		r = copy_step(n, offset, &done, v, cluster, flags);
		if (r < 0 || done == bytes)
			break;
		offset += done;
		bytes -= done;
		if (!(flags & REQUEST_PREFETCH))
			v = vec_advance(v, done);
	}
	request_end(&rq);
	return r;
}
