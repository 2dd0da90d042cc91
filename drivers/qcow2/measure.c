/* SPDX-License-Identifier: MIT */
/*
 * How large an image's file becomes: computations on the layout, without an image.
 *
 * 1. A file holds the header, the refcount table and blocks, the L1 table, L2 tables
 *    for all of the content, and data clusters, each from a cluster boundary on.
 * 2. Refcount blocks count everything, themselves and their table included.
 */
#include "block/bitmap.h"
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/image.h"

struct geometry {
	uint64_t cluster_bytes, refcount_bits, entry_bytes;
	uint64_t content; /* whole clusters */
};

static struct geometry find_geometry(const struct blockdev_create_options_qcow2 *o, uint64_t size)
{
	struct geometry g = {
		.cluster_bytes = o->cluster_size,
		.refcount_bits = o->refcount_bits,
		.entry_bytes = o->extended_l2 ? 16 : 8,
	};

	g.content = align_up(size, g.cluster_bytes);
	return g;
}

/* Bytes of refcount blocks and their table for @clusters others. */
static uint64_t refcount_bytes(const struct geometry *g, uint64_t clusters)
{
	uint64_t per_block = g->cluster_bytes * 8 / g->refcount_bits;
	uint64_t blocks = 0, table = 0, before;

	do {
		before = blocks + table;
		blocks = div_round_up(clusters + before, per_block);
		table = div_round_up(blocks * sizeof(uint64_t), g->cluster_bytes);
	} while (blocks + table != before);
	return (blocks + table) * g->cluster_bytes;
}

/* Everything but the content. */
static uint64_t metadata_bytes(const struct geometry *g)
{
	uint64_t l2 = align_up(g->content / g->cluster_bytes * g->entry_bytes, g->cluster_bytes);
	uint64_t l1 = align_up(l2 / g->cluster_bytes * sizeof(uint64_t), g->cluster_bytes);
	uint64_t bytes = g->cluster_bytes + l1 + l2;

	return bytes + refcount_bytes(g, (bytes + g->content) / g->cluster_bytes);
}

/* Bytes of the clusters that hold data of @source. */
static int co_fn data_bytes(const struct geometry *g, struct node *source, uint64_t *ret)
{
	uint64_t at = 0;

	*ret = 0;
	while (at < source->size) {
		struct extent x;
		int r = node_status(source, at, source->size - at, &x);

		if (r < 0)
			return r;
		uint64_t bytes = x.bytes;

		if ((x.flags & EXTENT_ALLOCATED) && (x.flags & EXTENT_DATA) &&
		    !(x.flags & EXTENT_ZERO)) {
			/* The whole clusters that it touches; what follows begins behind them. */
			uint64_t begin = at % g->cluster_bytes;

			bytes = MIN(align_up(at + bytes, g->cluster_bytes), g->content) - at;
			*ret += begin + bytes;
		}
		at += bytes;
	}
	return 0;
}

static int check_size(const struct geometry *g, uint64_t size, struct error **errp)
{
	if (size > INT64_MAX - g->cluster_bytes ||
	    g->content / g->cluster_bytes * g->entry_bytes / g->cluster_bytes >
		    L1_BYTES_MAX / sizeof(uint64_t))
		return error_set(errp, -EFBIG,
				 "The image size is too large (try using a larger cluster size)");
	return 0;
}

/* Copies of all bitmaps that are stored with @source, as if they were full. */
static uint64_t bitmap_bytes(const struct geometry *g, struct node *source)
{
	uint64_t directory = 0, bytes = 0;
	struct bitmap *b = NULL;

	while ((b = bitmap_next(source, b))) {
		if (!b->persistent)
			continue;
		uint64_t bits = div_round_up(source->size, dirty_bitmap_granularity(b->bits));
		uint64_t clusters = div_round_up(div_round_up(bits, 8), g->cluster_bytes);

		bytes += clusters * g->cluster_bytes +
			 align_up(clusters * sizeof(uint64_t), g->cluster_bytes);
		directory += qcow2_directory_entry_bytes(strlen(b->name), 0);
	}
	return bytes + align_up(directory, g->cluster_bytes);
}

int co_fn qcow2_measure(const struct blockdev_create_options *options, struct node *source,
			struct image_measure *ret, struct error **errp)
{
	const struct blockdev_create_options_qcow2 *o = &options->u.qcow2;
	uint64_t data = 0;
	int r = qcow2_check_geometry(o, errp);

	if (r < 0)
		return r;
	struct geometry g = find_geometry(o, MIN(o->size, INT64_MAX - UINT32_MAX));

	r = check_size(&g, o->size, errp);
	if (r < 0)
		return r;
	/* With a backing file it depends on what the two share: at worst nothing. */
	bool is_full = (source && o->backing_file) ||
		       o->preallocation == PREALLOC_MODE_FALLOC ||
		       o->preallocation == PREALLOC_MODE_FULL;
	if (is_full)
		data = g.content;
	else if (source)
		r = data_bytes(&g, source, &data);
	if (r < 0)
		return error_set_errno(errp, r, "Unable to get block status");
	bool is_v2 = o->version == BLOCKDEV_QCOW2_VERSION_V2;

	*ret = (struct image_measure){
		.required = metadata_bytes(&g) + data,
		.fully_allocated = metadata_bytes(&g) + g.content,
		.has_bitmaps = source && source->driver->can_store_bitmap && !is_v2,
	};
	if (ret->has_bitmaps)
		ret->bitmaps = bitmap_bytes(&g, source);
	return 0;
}
