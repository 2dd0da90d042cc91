/* SPDX-License-Identifier: MIT */
/*
 * The metadata contexts that exports can have. The loop's thread.
 */
#include "protocol/nbd/context.h"

#include <stdlib.h>

#include "block/bitmap.h"
#include "block/io.h"
#include "protocol/nbd/wire.h"

static int co_fn allocation_status(const struct nbd_context *c, struct node *n, uint64_t offset,
				   uint32_t bytes, struct nbd_extent *ret)
{
	struct extent extent;
	int r = node_status(n, offset, bytes, &extent);
	if (r < 0)
		return r;
	if (extent.bytes == 0)
		return -EIO; /* the node has become shorter */
	*ret = (struct nbd_extent){
		.bytes = extent.bytes,
		.flags = (extent.flags & EXTENT_DATA ? 0 : NBD_STATE_HOLE) |
			 (extent.flags & EXTENT_ZERO ? NBD_STATE_ZERO : 0),
	};
	return 0;
}

struct nbd_context nbd_context_allocation(void)
{
	return (struct nbd_context){
		.name = xstrdup("base:allocation"),
		.status = allocation_status,
	};
}

static int co_fn depth_status(const struct nbd_context *c, struct node *n, uint64_t offset,
			      uint32_t bytes, struct nbd_extent *ret)
{
	struct extent extent;
	unsigned depth = 0;
	int r = node_status_above(n, NULL, offset, bytes, &extent, &depth);
	if (r < 0)
		return r;
	if (extent.bytes == 0)
		return -EIO;
	*ret = (struct nbd_extent){.bytes = extent.bytes, .flags = depth};
	return 0;
}

struct nbd_context nbd_context_depth(void)
{
	return (struct nbd_context){
		.name = xstrdup("qemu:allocation-depth"),
		.status = depth_status,
	};
}

static int co_fn bitmap_status(const struct nbd_context *c, struct node *n, uint64_t offset,
			       uint32_t bytes, struct nbd_extent *ret)
{
	uint64_t start, length;
	bool found = dirty_bitmap_next_area(c->bitmap->bits, offset, bytes, &start, &length);

	*ret = (struct nbd_extent){.bytes = bytes};
	if (found && start == offset)
		*ret = (struct nbd_extent){.bytes = MIN(length, bytes), .flags = NBD_STATE_DIRTY};
	else if (found)
		ret->bytes = MIN(start - offset, bytes);
	return 0;
}

/* The bitmap called @name of @n or of what is below in its chain; NULL with the sentence. */
static struct bitmap *find_in_chain(struct node *n, const char *name, bool writable,
				    struct error **errp)
{
	struct bitmap *b = NULL;
	while (n && !(b = bitmap_find(n, name))) {
		struct node *below = node_skip_filters(n);
		n = below != n ? n->file->child : node_backing(n);
	}
	if (!b) {
		error_set(errp, -ENOENT, "Bitmap '%s' is not found", name);
	} else if (!writable && !n->read_only && bitmap_is_recording(b)) {
		error_set(errp, -EINVAL, "Enabled bitmap '%s' incompatible with readonly export",
			  name);
		return NULL;
	}
	return b;
}

int nbd_context_bitmap(struct node *n, const struct block_dirty_bitmap_or_str *which,
		       bool writable, struct nbd_context *ret, struct error **errp)
{
	struct bitmap *b;
	if (which->kind == BLOCK_DIRTY_BITMAP_OR_STR_LOCAL)
		b = find_in_chain(n, which->u.local, writable, errp);
	else
		b = bitmap_find_error(n->graph, which->u.external->node, which->u.external->name,
				      errp);
	if (!b)
		return -ENOENT;
	int r = bitmap_check(b, BITMAP_UNREADABLE, errp);
	if (r < 0)
		return r;
	node_ref(b->node);
	*ret = (struct nbd_context){
		.name = xasprintf("qemu:dirty-bitmap:%s", b->name),
		.status = bitmap_status,
		.bitmap = b,
	};
	return 0;
}

void nbd_contexts_begin(struct nbd_context *contexts, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		if (contexts[i].bitmap)
			contexts[i].bitmap->busy = true;
	}
}

void co_fn nbd_contexts_end(struct nbd_context *contexts, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		struct bitmap *b = contexts[i].bitmap;
		free(contexts[i].name);
		if (!b)
			continue;
		b->busy = false;
		node_unref(b->node);
	}
}
