/* SPDX-License-Identifier: MIT */
/*
 * Copying from file to file by the kernel, which saves the way through the daemon's
 * memory, and on some file systems the copy itself. Node's loop, in a coroutine.
 *
 * It is never more than a way to do it faster: whoever is told -ENOTSUP, or anything
 * else but 0, copies the range by reading and writing.
 */
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/request.h"

/* True when all that @n shows lies in @storage in a way that only @n's options change. */
static bool passes_through(const struct node *n, const struct node *storage)
{
	while (n != storage && n->driver->copy && n->file)
		n = n->file->child;
	return n == storage && n->driver->copy;
}

static int co_fn copy_tracked(struct node *n, uint64_t offset, uint64_t bytes, struct node *from,
			      uint64_t from_offset)
{
	/* What looks at the data of a write, or has to add to it, must see the data. */
	if (!n->driver->copy || n->probed || offset + bytes > n->size ||
	    n->detect_zeroes != BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF ||
	    !io_is_aligned(n, offset, bytes))
		return -ENOTSUP;
	struct request rq;
	request_begin(&rq, n, offset, bytes);
	/* It may have waited for the node to become shorter. */
	if (offset + bytes > n->size) {
		request_end(&rq);
		return -ENOTSUP;
	}
	if (n->write_threshold != 0)
		io_check_threshold(n, offset + bytes);
	int r = n->driver->copy(n, offset, bytes, from, from_offset);
	io_note_write(n, offset, bytes);
	request_end(&rq);
	return r;
}

int co_fn edge_copy_from(struct edge *e, uint64_t offset, uint64_t bytes, struct node *from,
			 uint64_t from_offset)
{
	int r = io_check_write(e, offset, bytes, 0);
	if (r < 0)
		return r;
	if (!io_is_counted(e))
		return copy_tracked(e->child, offset, bytes, from, from_offset);
	uint64_t begin_ns = io_count_begin(e);
	r = copy_tracked(e->child, offset, bytes, from, from_offset);
	/* What is tried again in another way is counted there. */
	if (r >= 0)
		io_count_end(e, STATS_WRITE, bytes, begin_ns, r);
	return r;
}

int co_fn edge_copy(struct edge *source, struct edge *target, uint64_t offset, uint64_t bytes)
{
	struct node *n = source->child;
	struct extent x;
	if (!n->driver->copy || !target->child->driver->copy)
		return -ENOTSUP;
	int r = node_status(n, offset, bytes, &x);
	if (r < 0)
		return r;
	if (x.bytes < bytes || !(x.flags & EXTENT_DATA) || !(x.flags & EXTENT_OFFSET_VALID) ||
	    !passes_through(n, x.node))
		return -ENOTSUP;
	return edge_copy_from(target, offset, bytes, x.node, x.offset);
}
