/* SPDX-License-Identifier: MIT */
/*
 * Commands on bitmaps. Control thread.
 */
#include "block/bitmap.h"

#include "block/driver.h"
#include "block/graph.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

static int co_fn check_persistent(struct node *n, const char *name, uint32_t granularity,
				  struct error **errp)
{
	if (!n->driver->can_store_bitmap)
		return error_set(errp, -ENOTSUP,
				 "Can't store persistent bitmaps to %s: Operation not supported",
				 n->name);
	int r = n->driver->can_store_bitmap(n, name, granularity, errp);
	if (r < 0)
		error_prefix(errp, "Can't make bitmap '%s' persistent in '%s': ", name, n->name);
	return r;
}

static int co_fn add(const struct block_dirty_bitmap_add *args, struct error **errp)
{
	struct node *n = node_find_error(the_daemon.graph, args->node, errp);
	if (!n)
		return -ENODEV;
	if (args->name[0] == '\0')
		return error_set(errp, -EINVAL, "Bitmap name cannot be empty");
	uint32_t granularity =
		args->has_granularity ? args->granularity : bitmap_default_granularity(n);
	struct bitmap *b;
	int r = args->persistent ? check_persistent(n, args->name, granularity, errp) : 0;
	if (r >= 0)
		r = bitmap_create(n, args->name, granularity, &b, errp);
	if (r >= 0) {
		b->persistent = args->persistent;
		b->enabled = !args->disabled;
	}
	return r;
}

int co_fn qmp_block_dirty_bitmap_add(const struct block_dirty_bitmap_add *args,
				     struct error **errp)
{
	graph_change_begin(the_daemon.graph);
	int r = add(args, errp);
	graph_change_end(the_daemon.graph);
	return r;
}

/* The bitmap that @args name, or NULL when it is not there or one of @obstacles is. */
static struct bitmap *find_usable(const struct block_dirty_bitmap *args, unsigned obstacles,
				  struct error **errp)
{
	struct bitmap *b = bitmap_find_error(the_daemon.graph, args->node, args->name, errp);
	return b && bitmap_check(b, obstacles, errp) >= 0 ? b : NULL;
}

int co_fn qmp_block_dirty_bitmap_remove(const struct block_dirty_bitmap *args,
					struct error **errp)
{
	struct bitmap *b = find_usable(args, BITMAP_BUSY | BITMAP_READ_ONLY, errp);
	if (!b)
		return -EINVAL;
	bitmap_destroy(b);
	return 0;
}

int co_fn qmp_block_dirty_bitmap_clear(const struct block_dirty_bitmap *args, struct error **errp)
{
	struct bitmap *b = find_usable(args, BITMAP_UNWRITABLE, errp);
	if (!b)
		return -EINVAL;
	dirty_bitmap_clear(b->bits, 0, UINT64_MAX);
	return 0;
}

static int set_enabled(const struct block_dirty_bitmap *args, bool enabled, struct error **errp)
{
	struct bitmap *b = find_usable(args, BITMAP_UNREADABLE, errp);
	if (!b)
		return -EINVAL;
	b->enabled = enabled;
	return 0;
}

int co_fn qmp_block_dirty_bitmap_enable(const struct block_dirty_bitmap *args,
					struct error **errp)
{
	return set_enabled(args, true, errp);
}

int co_fn qmp_block_dirty_bitmap_disable(const struct block_dirty_bitmap *args,
					 struct error **errp)
{
	return set_enabled(args, false, errp);
}

/* The bitmap that an item of block-dirty-bitmap-merge on the node called @node means. */
static struct bitmap *find_source(const char *node, const struct block_dirty_bitmap_or_str *item,
				  struct error **errp)
{
	struct block_dirty_bitmap local = {.node = (char *)node, .name = item->u.local};
	bool is_local = item->kind == BLOCK_DIRTY_BITMAP_OR_STR_LOCAL;
	return find_usable(is_local ? &local : item->u.external, BITMAP_UNREADABLE, errp);
}

int co_fn qmp_block_dirty_bitmap_merge(const struct block_dirty_bitmap_merge *args,
				       struct error **errp)
{
	struct block_dirty_bitmap name = {.node = args->node, .name = args->target};
	struct bitmap *target = find_usable(&name, BITMAP_UNWRITABLE, errp);
	if (!target)
		return -EINVAL;
	struct dirty_bitmap *sum = dirty_bitmap_clone(target->bits);
	if (!sum)
		return error_set(errp, -ENOMEM, "No memory to merge into bitmap '%s'", target->name);
	int r = 0;
	for (size_t i = 0; i < args->bitmaps.count && r >= 0; i++) {
		struct bitmap *source = find_source(args->node, args->bitmaps.items[i], errp);
		r = source ? bitmap_check_merge(target, source, errp) : -EINVAL;
		if (r >= 0)
			dirty_bitmap_merge(sum, source->bits);
	}
	if (r >= 0) {
		struct dirty_bitmap *old = target->bits;
		target->bits = sum;
		sum = old;
	}
	dirty_bitmap_destroy(sum);
	return r;
}

int co_fn qmp_x_debug_block_dirty_bitmap_sha256(const struct block_dirty_bitmap *args,
						struct block_dirty_bitmap_sha256 **ret,
						struct error **errp)
{
	struct bitmap *b = find_usable(args, 0, errp);
	if (!b)
		return -ENOENT;
	*ret = NEW(struct block_dirty_bitmap_sha256);
	(*ret)->sha256 = xalloc(1, 65);
	bitmap_sha256(b, (*ret)->sha256);
	return 0;
}
