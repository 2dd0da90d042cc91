/* SPDX-License-Identifier: MIT */
/*
 * What queries tell of nodes and of the images in them. Control thread.
 */
#include "daemon/query_image.h"

#include "base/util.h"
#include "block/bitmap.h"
#include "block/driver.h"
#include "block/image_info.h"
#include "block/node.h"

static void list_children(const struct node *n, struct blockdev_child_list *ret)
{
	struct edge *e;
	list_for_each(e, &n->children, parent_link) {
		struct blockdev_child *child = NEW(struct blockdev_child);
		child->child = xstrdup(e->name);
		child->node_name = xstrdup(edge_shown_child(e)->name);
		blockdev_child_list_append(ret, child);
	}
}

static struct block_dirty_info *bits_info(const struct dirty_bitmap *bits)
{
	struct block_dirty_info *info = NEW(struct block_dirty_info);
	info->count = (int64_t)bitmap_count(bits);
	info->granularity = dirty_bitmap_granularity(bits);
	return info;
}

/* What jobs and filters know comes first: it has no name, and is busy for nobody. */
static void list_bitmaps(struct node *n, struct block_dirty_info_list *ret)
{
	struct bitmap_view *v;
	list_for_each (v, &n->bitmap_views, link) {
		struct block_dirty_info *info = bits_info(v->bits);
		info->recording = v->is_recording;
		block_dirty_info_list_append(ret, info);
	}
	struct bitmap *b = NULL;
	while ((b = bitmap_next(n, b))) {
		struct block_dirty_info *info = bits_info(b->bits);
		info->name = xstrdup(b->name);
		info->recording = bitmap_is_recording(b);
		info->busy = b->busy;
		info->persistent = b->persistent;
		if (b->inconsistent)
			info->has_inconsistent = info->inconsistent = true;
		block_dirty_info_list_append(ret, info);
	}
}

struct block_device_info *co_fn query_device_info(struct node *n, bool flat)
{
	struct block_device_info *info = NEW(struct block_device_info);

	info->file = xstrdup(n->filename);
	info->node_name = xstrdup(n->name);
	info->ro = n->read_only;
	info->drv = xstrdup(n->driver->name);
	if (n->backing)
		info->backing_file = xstrdup(n->backing->child->filename);
	list_children(n, &info->children);
	info->active = n->active;
	info->detect_zeroes = n->detect_zeroes;
	info->write_threshold = (int64_t)n->write_threshold;
	info->cache = NEW(struct blockdev_cache_info);
	info->cache->writeback = true;
	info->cache->direct = n->cache_direct;
	info->cache->no_flush = n->cache_no_flush;
	list_bitmaps(n, &info->dirty_bitmaps);
	info->has_dirty_bitmaps = info->dirty_bitmaps.count > 0;

	info->image = node_image_info(n);
	struct image_info *last = info->image;
	for (n = node_chain_next(n); n && !flat; n = node_chain_next(n)) {
		info->backing_file_depth++;
		last = last->backing_image = node_image_info(n);
	}
	return info;
}
