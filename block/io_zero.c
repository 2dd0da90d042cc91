/* SPDX-License-Identifier: MIT */
/*
 * Zeroing. Node's loop, in a coroutine.
 *
 * The driver is asked first, in pieces of its limits, and what it does not know
 * how to do is written as data, unless the caller forbids that. Blocks that are
 * covered in part are merged as with any write.
 */
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/node_internal.h"
#include "block/request.h"

static int co_fn zero_by_driver(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	if (n->driver->zero)
		return n->driver->zero(n, offset, bytes, flags);
	if (n->driver->is_filter && n->file && !n->driver->write)
		return edge_zero(n->file, offset, bytes, flags);
	return -ENOTSUP;
}

static int co_fn zero_by_writing(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	while (bytes > 0) {
		uint64_t part = MIN(bytes, IO_CHUNK_MAX);
		int r = io_write(n, offset, part, io_zeroes(), flags & ~REQUEST_MAY_UNMAP);
		if (r < 0)
			return r;
		offset += part;
		bytes -= part;
	}
	return 0;
}

static int co_fn zero_aligned(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_ZERO);
	while (bytes > 0) {
		uint64_t piece = io_first_piece(n, offset, bytes, n->limits.zero_alignment,
						n->limits.max_zero);
		int r = zero_by_driver(n, offset, piece, flags);
		if (r == -ENOTSUP && !(flags & REQUEST_NO_FALLBACK))
			r = zero_by_writing(n, offset, piece, flags);
		if (r < 0)
			return r;
		offset += piece;
		bytes -= piece;
	}
	return 0;
}

/* Zero a part of one block. */
static int co_fn zero_partial(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	if (flags & REQUEST_NO_FALLBACK)
		return -ENOTSUP;
	return zero_by_writing(n, offset, bytes, flags);
}

int co_fn io_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	uint64_t align = n->limits.request_alignment;
	uint64_t end = offset + bytes;
	uint64_t first = align_up(offset, align), last = align_down(end, align);
	if (first > last || (first == last && first != offset && last != end))
		return zero_partial(n, offset, bytes, flags);

	int r = 0;
	if (offset < first)
		r = zero_partial(n, offset, first - offset, flags);
	if (r >= 0 && first < last)
		r = zero_aligned(n, first, last - first, flags);
	if (r >= 0 && last < end)
		r = zero_partial(n, last, end - last, flags);
	return r;
}

/* New bytes are zero by themselves: grow first, and zero only what was there before. */
static int co_fn zero_and_grow(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	uint64_t old_size = n->size;
	int r = io_grow(n, offset + bytes);
	if (r >= 0 && !node_grows_zeroed(n))
		return io_zero(n, offset, bytes, flags);
	if (r < 0 || offset >= old_size)
		return r;
	return io_zero(n, offset, old_size - offset, flags);
}

int co_fn io_zero_edge(struct edge *e, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct node *n = e->child;
	if (!n->discard_unmap)
		flags &= ~REQUEST_MAY_UNMAP;
	struct request rq;
	int r = 0;
	if (!io_is_aligned(n, offset, bytes) || (flags & REQUEST_SERIALISING))
		r = request_begin_serialising(&rq, n, offset, bytes, n->limits.request_alignment,
					      flags);
	else
		request_begin(&rq, n, offset, bytes);
	if (r < 0)
		return r;
	if (io_is_beyond(e, offset, bytes)) {
		request_end(&rq);
		return -EIO;
	}

	if (n->write_threshold != 0)
		io_check_threshold(n, offset + bytes);
	unsigned driver_flags = io_driver_flags(n, flags);
	if (offset + bytes > n->size)
		r = zero_and_grow(n, offset, bytes, driver_flags);
	else
		r = io_zero(n, offset, bytes, driver_flags);
	node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_DONE);
	io_note_write(n, offset, bytes);
	request_end(&rq);
	if (r >= 0 && io_needs_flush(n, flags))
		r = node_flush(n);
	return r;
}

int co_fn edge_zero(struct edge *e, uint64_t offset, uint64_t bytes, unsigned flags)
{
	int r = io_check_write(e, offset, bytes, flags);
	if (r < 0) {
		io_count_invalid(e, STATS_WRITE);
		return r;
	}
	if (bytes == 0)
		return 0;
	if (!io_is_counted(e))
		return io_zero_edge(e, offset, bytes, flags);

	uint64_t begin_ns = io_count_begin(e);
	r = io_zero_edge(e, offset, bytes, flags);
	io_count_end(e, STATS_WRITE, bytes, begin_ns, r);
	return r;
}
