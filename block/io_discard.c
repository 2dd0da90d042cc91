/* SPDX-License-Identifier: MIT */
/*
 * Discarding. Node's loop, in a coroutine.
 *
 * A discard is advice: whole blocks are passed on, pieces of blocks are dropped,
 * and a driver that cannot do it is no failure.
 */
#include "block/bitmap.h"
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/layers.h"
#include "block/request.h"

static int co_fn discard_by_driver(struct node *n, uint64_t offset, uint64_t bytes)
{
	if (n->driver->discard)
		return n->driver->discard(n, offset, bytes);
	if (n->driver->is_filter && n->file && !n->driver->write)
		return edge_discard(n->file, offset, bytes);
	return -ENOTSUP;
}

static int co_fn discard_blocks(struct node *n, uint64_t offset, uint64_t bytes)
{
	while (bytes > 0) {
		uint64_t piece = io_first_piece(n, offset, bytes, n->limits.discard_alignment,
						n->limits.max_discard);
		int r = discard_by_driver(n, offset, piece);
		if (r < 0 && r != -ENOTSUP)
			return r;
		offset += piece;
		bytes -= piece;
	}
	return 0;
}

/* The whole blocks of the range, inside its request. */
static int co_fn discard_whole(struct node *n, uint64_t offset, uint64_t bytes)
{
	uint64_t align = n->limits.request_alignment;
	/* It may have waited for the node to become shorter. */
	if (offset + bytes > n->size)
		return -EIO;
	uint64_t first = align_up(offset, align);
	/* A last block that the image's end cuts short is whole in its way. */
	uint64_t last = offset + bytes == n->size ? align_up(offset + bytes, align)
						  : align_down(offset + bytes, align);
	if (first >= last)
		return 0;

	int r = discard_blocks(n, first, last - first);
	io_note_write(n, 0, 0);
	layers_note_write(n, offset, bytes);
	if (!list_is_empty(&n->bitmaps))
		bitmaps_mark(n, offset, bytes);
	return r;
}

static int co_fn discard_tracked(struct node *n, uint64_t offset, uint64_t bytes)
{
	if (!n->discard_unmap)
		return 0;
	struct request rq;
	request_begin(&rq, n, offset, bytes);
	int r = discard_whole(n, offset, bytes);
	request_end(&rq);
	return r;
}

int co_fn edge_discard(struct edge *e, uint64_t offset, uint64_t bytes)
{
	int r = io_check_write(e, offset, bytes, 0);
	/* There is nothing to give back beyond the end. */
	if (r >= 0 && offset + bytes > e->child->size)
		r = -EIO;
	if (r < 0) {
		io_count_invalid(e, STATS_UNMAP);
		return r;
	}
	if (bytes == 0)
		return 0;
	if (!io_is_counted(e))
		return discard_tracked(e->child, offset, bytes);

	uint64_t begin_ns = io_count_begin(e);
	r = discard_tracked(e->child, offset, bytes);
	io_count_end(e, STATS_UNMAP, bytes, begin_ns, r);
	return r;
}
