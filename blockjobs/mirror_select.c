/* SPDX-License-Identifier: MIT */
/*
 * From the names in a command to nodes, for mirrors. Control thread.
 */
#include <inttypes.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/dirty_bitmap.h"
#include "block/driver.h"
#include "blockjobs/mirror_internal.h"

#define GRANULARITY_MIN DIRTY_BITMAP_GRANULARITY_MIN
#define GRANULARITY_MAX (UINT32_C(64) << 20)

int mirror_find_source(struct graph *g, const char *name, struct node **ret, struct error **errp)
{
	struct node *n = node_find_error(g, name, errp);
	if (!n)
		return -ENODEV;
	if (!node_is_root(n))
		return error_set(errp, -EINVAL, "Need a root block node");
	*ret = n;
	return 0;
}

static bool has_one_parent(const struct node *n)
{
	return !list_is_empty(&n->parents) && n->parents.next->next == &n->parents;
}

/* Depth is bounded by GRAPH_NESTING_MAX. */
bool mirror_can_replace(struct node *source, const struct node *n)
{
	if (source == n)
		return true;
	if (source->driver->is_filter && source->file)
		return mirror_can_replace(source->file->child, n);
	struct edge *e;
	/* One that was outvoted may be exchanged; but who else uses it would notice. */
	list_for_each (e, &source->children, parent_link) {
		if (source->driver->votes && has_one_parent(n) && mirror_can_replace(e->child, n))
			return true;
	}
	return false;
}

int mirror_find_replaced(struct node *source, const char *name, struct node **ret,
			 struct error **errp)
{
	struct node *n = name ? node_find(source->graph, name) : source;
	if (!n)
		return error_set(errp, -ENODEV, "Failed to find node with node-name='%s'", name);
	int r = name ? blocker_check(n, BLOCK_OP_REPLACE, errp) : 0;
	if (r < 0)
		return r;
	if (!mirror_can_replace(source, n))
		return error_set(errp, -EINVAL,
				 "Cannot replace '%s' by a node mirrored from '%s', because it "
				 "cannot be guaranteed that doing so would not lead to an abrupt "
				 "change of visible data",
				 n->name, source->name);
	if (n->size != source->size)
		return error_set(errp, -EINVAL,
				 "Cannot replace '%s', which has %" PRIu64 " bytes, by a mirror of "
				 "'%s', which has %" PRIu64,
				 n->name, n->size, source->name, source->size);
	*ret = n;
	return 0;
}

static int check_granularity(const struct blockdev_mirror_args *args, struct error **errp)
{
	uint32_t granularity = args->granularity;
	if (granularity == 0)
		return 0;
	if (granularity < GRANULARITY_MIN || granularity > GRANULARITY_MAX)
		return error_set(errp, -EINVAL,
				 "Parameter 'granularity' expects a value in range [512B, 64MB]");
	if (!is_power_of_2(granularity))
		return error_set(errp, -EINVAL, "Parameter 'granularity' expects a power of 2");
	return 0;
}

static int check_values(const struct blockdev_mirror_args *args, const struct mirror_nodes *n,
			struct error **errp)
{
	if (args->sync == MIRROR_SYNC_MODE_INCREMENTAL || args->sync == MIRROR_SYNC_MODE_BITMAP)
		return error_set(errp, -ENOTSUP, "Sync mode '%s' not supported",
				 mirror_sync_mode_name(args->sync));
	if (args->buf_size < 0)
		return error_set(errp, -EINVAL, "Invalid parameter 'buf-size'");
	if (n->source == n->target)
		return error_set(errp, -EINVAL, "Can't mirror node into itself");
	return 0;
}

int mirror_select(struct graph *g, const struct blockdev_mirror_args *args,
		  struct mirror_nodes *ret, struct error **errp)
{
	int r = mirror_find_source(g, args->device, &ret->source, errp);
	if (r < 0)
		return r;
	ret->target = node_find_error(g, args->target, errp);
	if (!ret->target)
		return -ENODEV;
	r = check_granularity(args, errp);
	if (r >= 0)
		r = blocker_check(ret->source, BLOCK_OP_MIRROR_SOURCE, errp);
	if (r >= 0)
		r = blocker_check(ret->target, BLOCK_OP_MIRROR_TARGET, errp);
	if (r >= 0)
		r = mirror_find_replaced(ret->source, args->replaces, &ret->replaces, errp);
	return r >= 0 ? check_values(args, ret, errp) : r;
}
