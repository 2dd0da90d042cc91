/* SPDX-License-Identifier: MIT */
/*
 * Writing. Node's loop, in a coroutine; nothing is allocated but bounce buffers.
 *
 * A write that covers blocks in part reads them, merges and writes them whole.
 * It serialises from before the read until after the write, so that it neither
 * loses another's bytes nor brings old ones back.
 */
#include <assert.h>

#include "base/buffer.h"
#include "block/bitmap.h"
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/layers.h"
#include "block/node_internal.h"
#include "block/probe.h"
#include "block/request.h"

#define SECTOR_BYTES 512

bool io_is_beyond(const struct edge *e, uint64_t offset, uint64_t bytes)
{
	return offset + bytes > e->child->size &&
	       !(e->parent && (e->permissions & PERM_RESIZE));
}

int io_check_write(const struct edge *e, uint64_t offset, uint64_t bytes, unsigned flags)
{
	const struct node *n = e->child;
	unsigned needed = PERM_WRITE;
	if (flags & REQUEST_UNCHANGED)
		needed |= PERM_WRITE_UNCHANGED;
	if (!(e->permissions & needed))
		return -EPERM;
	if (n->read_only || !n->active)
		return -EPERM;
	if (offset > IO_END_MAX || bytes > IO_END_MAX)
		return -EIO;
	if (io_is_beyond(e, offset, bytes))
		return -EIO;
	if (n->corrupt)
		return -EIO;
	return 0;
}

unsigned io_driver_flags(const struct node *n, unsigned flags)
{
	unsigned accepted = REQUEST_UNCHANGED | REQUEST_MAY_UNMAP | REQUEST_NO_FALLBACK;
	if (n->driver->supports_fua && !n->cache_no_flush)
		accepted |= REQUEST_FUA;
	if (n->driver->can_compress)
		accepted |= REQUEST_COMPRESSED;
	return flags & accepted;
}

bool io_needs_flush(const struct node *n, unsigned flags)
{
	return (flags & REQUEST_FUA) && !n->driver->supports_fua && !n->cache_no_flush;
}

void io_note_write(struct node *n, uint64_t offset, uint64_t bytes)
{
	n->write_generation++;
	layers_note_write(n, offset, bytes);
	n->stats.highest_written = MAX(n->stats.highest_written, offset + bytes);
	if (!list_is_empty(&n->bitmaps))
		bitmaps_mark(n, offset, bytes);
}

/* A range and a view that suit the driver, but for their length. */
static int co_fn write_aligned(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			       unsigned flags)
{
	uint64_t max = n->limits.max_transfer != 0 ? n->limits.max_transfer : bytes;
	node_debug_event(n, BLKDEBUG_EVENT_PWRITEV);
	for (;;) {
		uint64_t part = MIN(bytes, max);
		int r = n->driver->write ? n->driver->write(n, offset, part, v, flags)
			: n->driver->is_filter && n->file
				? edge_writev(n->file, offset, part, v, flags)
				: -ENOTSUP;
		if (r < 0 || part == bytes)
			return r;
		offset += part;
		bytes -= part;
		v = vec_advance(v, part);
	}
}

/* Fill those blocks at the ends of the buffer for [@start, @start + @span) that are not covered. */
static int co_fn read_edges(struct node *n, uint64_t start, uint64_t span, uint64_t offset,
			    uint64_t end, char *buffer)
{
	uint64_t align = n->limits.request_alignment;
	uint64_t last = start + span - align;
	struct iovec storage;
	int r = 0;
	if (offset > start || (end < start + span && last == start)) {
		node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_RMW_HEAD);
		r = io_read(n, start, align, vec_flat(&storage, buffer, align), 0);
		node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_RMW_AFTER_HEAD);
	}
	if (r >= 0 && end < start + span && last != start) {
		node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_RMW_TAIL);
		r = io_read(n, last, align, vec_flat(&storage, buffer + (last - start), align), 0);
		node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_RMW_AFTER_TAIL);
	}
	return r;
}

static int co_fn write_bounced(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			       unsigned flags)
{
	while (bytes > 0) {
		uint64_t start = align_down(offset, n->limits.request_alignment);
		uint64_t span = io_bounce_span(n, offset, bytes);
		uint64_t part = MIN(bytes, start + span - offset);
		char *buffer = buffer_get(n->loop, span);
		if (!buffer)
			return -ENOMEM;

		int r = read_edges(n, start, span, offset, offset + part, buffer);
		if (r >= 0) {
			struct iovec storage;
			vec_to_buffer(v, buffer + (offset - start), part);
			r = write_aligned(n, start, span, vec_flat(&storage, buffer, span), flags);
		}
		buffer_put(n->loop, buffer, span);
		if (r < 0)
			return r;
		offset += part;
		bytes -= part;
		v = vec_advance(v, part);
	}
	return 0;
}

int co_fn io_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	if (io_is_aligned(n, offset, bytes) && io_is_memory_fit(n, v, bytes))
		return write_aligned(n, offset, bytes, v, flags);
	return write_bounced(n, offset, bytes, v, flags);
}

/* The storage ends inside or before the last block: make room, or let the driver do so. */
static int co_fn make_room(struct node *n, uint64_t end)
{
	if (n->driver->grows_on_write || (n->driver->is_filter && !n->driver->write))
		return 0;
	/* An image used as storage has a size in sectors. */
	return io_grow(n, align_up(end, SECTOR_BYTES));
}

static int co_fn write_tracked(struct edge *e, uint64_t offset, uint64_t bytes, struct vec v,
			       unsigned flags)
{
	struct node *n = e->child;
	struct request rq;
	bool probed = n->probed && offset < PROBE_BYTES;
	int r = 0;
	if (!io_is_aligned(n, offset, bytes) || (flags & REQUEST_SERIALISING) || probed)
		r = request_begin_serialising(&rq, n, offset, bytes, n->limits.request_alignment,
					      flags);
	else
		request_begin(&rq, n, offset, bytes);
	if (r < 0)
		return r;
	/* It may have waited for the node to become shorter. */
	if (io_is_beyond(e, offset, bytes)) {
		request_end(&rq);
		return -EIO;
	}

	if (n->write_threshold != 0)
		io_check_threshold(n, offset + bytes);
	uint64_t end = align_up(offset + bytes, n->limits.request_alignment);
	if (probed)
		r = probe_check_write(n, offset, bytes, v);
	if (r >= 0 && end > n->size)
		r = make_room(n, end);
	if (r >= 0)
		r = io_write(n, offset, bytes, v, io_driver_flags(n, flags));
	node_debug_event(n, BLKDEBUG_EVENT_PWRITEV_DONE);
	if (r >= 0 && end > n->size)
		node_set_size(n, end);
	/* What a failed write has left behind is to be flushed, and is dirty, just as well. */
	io_note_write(n, offset, bytes);
	request_end(&rq);
	return r;
}

/* True when the write shall become a request for zeroes; sets *flags to that one's. */
static bool detect_zeroes(const struct node *n, uint64_t bytes, struct vec v, unsigned *flags)
{
	if (n->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF || (*flags & REQUEST_COMPRESSED))
		return false;
	if (!vec_is_zero(v, bytes))
		return false;
	if (n->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP)
		*flags |= REQUEST_MAY_UNMAP;
	return true;
}

static int co_fn write_checked(struct edge *e, uint64_t offset, uint64_t bytes, struct vec v,
			       unsigned flags)
{
	struct node *n = e->child;
	if ((flags & REQUEST_COMPRESSED) && !n->driver->can_compress)
		return -ENOTSUP;
	if (detect_zeroes(n, bytes, v, &flags))
		return io_zero_edge(e, offset, bytes, flags);
	int r = write_tracked(e, offset, bytes, v, flags);
	if (r >= 0 && io_needs_flush(n, flags))
		r = node_flush(n);
	return r;
}

int co_fn edge_writev(struct edge *e, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	int r = bytes <= REQUEST_MAX ? io_check_write(e, offset, bytes, flags) : -EINVAL;
	if (r < 0) {
		io_count_invalid(e, STATS_WRITE);
		return r;
	}
	if (bytes == 0)
		return 0;
	if (!io_is_counted(e))
		return write_checked(e, offset, bytes, v, flags);

	uint64_t begin_ns = io_count_begin(e);
	r = write_checked(e, offset, bytes, v, flags);
	io_count_end(e, STATS_WRITE, bytes, begin_ns, r);
	return r;
}

int co_fn edge_write(struct edge *e, uint64_t offset, uint64_t bytes, const void *p, unsigned flags)
{
	struct iovec storage;
	return edge_writev(e, offset, bytes, vec_flat(&storage, p, bytes), flags);
}
