/* SPDX-License-Identifier: MIT */
/*
 * Stored bitmaps. The node tool's own: nobody else uses it.
 */
#include "tools/img/bitmaps.h"

#include <stdio.h>

#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"

int co_fn bitmaps_add(struct image *image, const char *name, uint32_t granularity,
		      struct bitmap **ret, struct error **errp)
{
	struct node *n = image->node;

	if (!*name)
		return error_set(errp, -EINVAL, "Bitmap name cannot be empty");
	if (granularity == 0)
		granularity = bitmap_default_granularity(n);
	int r = bitmap_check_granularity(granularity, errp);

	if (r >= 0 && !n->driver->can_store_bitmap)
		r = error_set(errp, -ENOTSUP,
			      "Can't store persistent bitmaps to %s: Operation not supported",
			      n->name);
	if (r >= 0 && bitmap_find(n, name))
		r = error_set(errp, -EEXIST, "Bitmap already exists: %s", name);
	if (r < 0)
		return r;
	r = n->driver->can_store_bitmap(n, name, granularity, errp);
	if (r < 0) {
		error_prefix(errp, "Can't make bitmap '%s' persistent in '%s': ", name, n->name);
		return r;
	}
	r = bitmap_create(n, name, granularity, ret, errp);
	if (r >= 0)
		(*ret)->persistent = true;
	return r;
}

int co_fn bitmaps_merge(struct bitmap *target, const struct bitmap *source, struct error **errp)
{
	int r = bitmap_check(target, BITMAP_UNWRITABLE, errp);

	if (r >= 0)
		r = bitmap_check(source, BITMAP_UNREADABLE, errp);
	if (r >= 0)
		r = bitmap_check_merge(target, source, errp);
	if (r >= 0 && target->node->driver->change_bitmaps)
		r = target->node->driver->change_bitmaps(target->node, errp);
	if (r >= 0)
		dirty_bitmap_merge(target->bits, source->bits);
	return r;
}

int co_fn bitmaps_store(struct image *image, struct error **errp)
{
	int r = edge_flush(image->edge);

	if (r < 0)
		return error_set_errno(errp, r, "Could not flush '%s'", image->name);
	r = edge_set_permissions(image->edge, 0, PERM_ALL, errp);
	if (r < 0)
		return r;
	/* Becoming read-only drains those who use the image: us. */
	consumer_leave(&image->consumer);
	graph_change_begin(the_img.graph);
	r = node_set_read_only(image->node, true, errp);
	graph_change_end(the_img.graph);
	consumer_enter(&image->consumer);
	return r;
}

int bitmaps_check_copy(const struct image *source, bool skips_broken)
{
	struct bitmap *b = NULL;

	while ((b = bitmap_next(source->node, b))) {
		if (!b->persistent || !b->inconsistent || skips_broken)
			continue;
		img_error("Cannot copy inconsistent bitmap '%s'", b->name);
		fputs("Try --skip-broken-bitmaps, or use 'cairn-img bitmap --remove' to delete it\n",
		      stderr);
		return 1;
	}
	return 0;
}

static int co_fn copy_one(const struct bitmap *b, struct image *target, struct error **errp)
{
	struct bitmap *copy;
	int r = bitmaps_add(target, b->name, dirty_bitmap_granularity(b->bits), &copy, errp);

	if (r >= 0)
		r = bitmaps_merge(copy, b, errp);
	if (r >= 0)
		copy->enabled = b->enabled;
	return r;
}

int co_fn bitmaps_copy(struct image *source, struct image *target)
{
	struct error *error = NULL;
	struct bitmap *b = NULL;
	int r = 0;

	while (r >= 0 && (b = bitmap_next(source->node, b))) {
		if (!b->persistent)
			continue;
		if (b->inconsistent) {
			img_warn("Skipping inconsistent bitmap '%s'", b->name);
			continue;
		}
		r = copy_one(b, target, &error);
		if (r < 0)
			error_prefix(&error, "Failed to populate bitmap %s: ", b->name);
	}
	if (r >= 0)
		r = bitmaps_store(target, &error);
	if (r < 0)
		img_report(error);
	return r < 0;
}
