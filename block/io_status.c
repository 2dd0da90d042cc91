/* SPDX-License-Identifier: MIT */
/*
 * What is known of a range, without reading it. Node's loop, in a coroutine.
 *
 * As with reading, a chain is walked in a loop. A format's answer that its bytes
 * lie in some other node may ask for that node's opinion (EXTENT_RECURSE): a hole
 * there reads as zeroes here.
 */
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/node_internal.h"
#include "block/request.h"

/* All data, as they lie: what is true of a node whose driver knows nothing better. */
static void unknown(struct node *n, uint64_t offset, struct extent *x)
{
	x->flags = EXTENT_DATA | EXTENT_ALLOCATED;
	if (!n->driver->is_format) {
		x->flags |= EXTENT_OFFSET_VALID;
		x->node = n;
		x->offset = offset;
	}
}

static int co_fn ask_local(struct node *n, uint64_t start, struct extent *x)
{
	int r = n->driver->status(n, start, x);
	n->answers++;
	return r;
}

/* A request like any other for who waits for the storage, in nobody's way. */
static int co_fn ask_remote(struct node *n, uint64_t start, struct extent *x)
{
	struct request rq;
	request_begin(&rq, n, 0, 0);
	int r = n->driver->status(n, start, x);
	request_end(&rq);
	return r;
}

/* Ask the driver about whole blocks, and cut the answer to [@offset, @offset + @bytes). */
static int co_fn ask_driver(struct node *n, uint64_t offset, uint64_t bytes, struct extent *x)
{
	uint64_t align = n->limits.request_alignment;
	uint64_t start = align_down(offset, align);
	*x = (struct extent){.bytes = align_up(offset + bytes, align) - start};
	if (!n->driver->status) {
		unknown(n, start, x);
	} else {
		int r = n->driver->is_remote ? ask_remote(n, start, x) : ask_local(n, start, x);
		if (r != 0)
			return r;
	}
	uint64_t before = offset - start;
	if (x->bytes <= before)
		return -EIO;
	x->bytes = MIN(x->bytes - before, bytes);
	if (x->flags & EXTENT_OFFSET_VALID)
		x->offset += before;
	return 0;
}

/* True when @n leaves all questions about its data to its child. */
static bool passes_on(const struct node *n)
{
	return n->driver->is_filter && n->file && !n->driver->status;
}

/*
 * Look below for zeroes. What comes back as data there stays as it was. Depth is
 * bounded by GRAPH_NESTING_MAX.
 */
static int co_fn recurse(struct extent *x)
{
	x->flags &= ~EXTENT_RECURSE;
	if (!(x->flags & EXTENT_OFFSET_VALID) || (x->flags & EXTENT_ZERO))
		return 0;
	/* Storage that ends here reads as zeroes from here on. */
	if (x->offset >= x->node->size) {
		x->flags |= EXTENT_ZERO;
		return 0;
	}
	struct extent below;
	uint64_t bytes = MIN(x->bytes, x->node->size - x->offset);
	int r = node_status(x->node, x->offset, bytes, &below);
	if (r < 0)
		return r;
	x->bytes = below.bytes;
	x->flags |= below.flags & EXTENT_ZERO;
	return 0;
}

int co_fn node_layer_status(struct node *n, uint64_t offset, uint64_t bytes, struct extent *x)
{
	bytes = MIN(bytes, n->size - offset);
	int r = ask_driver(n, offset, bytes, x);
	if (r == 0 && (x->flags & (EXTENT_DATA | EXTENT_ZERO)))
		x->flags |= EXTENT_ALLOCATED;
	return r;
}

static void set_end(struct node *n, uint64_t offset, struct extent *x)
{
	if (offset + x->bytes >= n->size)
		x->flags |= EXTENT_EOF;
	else
		x->flags &= ~EXTENT_EOF;
}

int co_fn node_status(struct node *n, uint64_t offset, uint64_t bytes, struct extent *ret)
{
	if (offset >= n->size) {
		*ret = (struct extent){.flags = EXTENT_EOF};
		return 0;
	}
	uint64_t left = MIN(bytes, n->size - offset);
	struct extent x = {.flags = EXTENT_ZERO, .bytes = left};
	for (struct node *layer = n; layer; layer = node_chain_next(layer)) {
		if (offset >= layer->size) {
			/* A layer that is too short hides what is longer below it. */
			x = (struct extent){.flags = EXTENT_ZERO | EXTENT_ALLOCATED, .bytes = left};
			break;
		}
		if (passes_on(layer))
			continue;
		int r = node_layer_status(layer, offset, left, &x);
		if (r == STATUS_FROM_BACKING)
			continue;
		if (r < 0)
			return r;
		if (x.flags & EXTENT_ALLOCATED)
			break;
		left = x.bytes;
		x.flags = EXTENT_ZERO;
	}
	if (x.flags & EXTENT_RECURSE) {
		int r = recurse(&x);
		if (r < 0)
			return r;
	}
	set_end(n, offset, &x);
	*ret = x;
	return 0;
}

bool node_status_is_costly(const struct node *n)
{
	for (; n; n = node_chain_next(n)) {
		for (const struct node *m = n; m; m = m->file ? m->file->child : NULL) {
			if (m->driver->status_is_costly)
				return true;
		}
	}
	return false;
}

int co_fn node_status_above(struct node *top, struct node *base, uint64_t offset, uint64_t bytes,
			    struct extent *ret, unsigned *ret_depth)
{
	if (offset >= top->size) {
		*ret = (struct extent){.flags = EXTENT_EOF};
		if (ret_depth)
			*ret_depth = 0;
		return 0;
	}
	uint64_t left = MIN(bytes, top->size - offset);
	struct extent x = {.bytes = left};
	unsigned depth = 0;
	for (struct node *n = top; n && n != base; n = node_chain_next(n)) {
		if (passes_on(n))
			continue;
		if (offset >= n->size) {
			x = (struct extent){.flags = EXTENT_ZERO | EXTENT_ALLOCATED, .bytes = left};
			depth++;
			break;
		}
		int r = node_layer_status(n, offset, left, &x);
		if (r == STATUS_FROM_BACKING)
			continue;
		if (r < 0)
			return r;
		depth++;
		if (x.flags & EXTENT_ALLOCATED)
			break;
		left = x.bytes;
	}
	x.flags &= EXTENT_ALLOCATED | EXTENT_ZERO | EXTENT_DATA;
	if (!(x.flags & EXTENT_ALLOCATED)) {
		x.flags = 0;
		depth = 0;
	}
	set_end(top, offset, &x);
	*ret = x;
	if (ret_depth)
		*ret_depth = depth;
	return 0;
}
