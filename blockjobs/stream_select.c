/* SPDX-License-Identifier: MIT */
/*
 * From the names in a block-stream command to nodes. Control thread.
 */
#include "block/blocker.h"
#include "block/driver.h"
#include "block/open.h"
#include "blockjobs/filter.h"
#include "blockjobs/stream_internal.h"

static int check_exclusive(const struct block_stream_args *args, struct error **errp)
{
	if (args->base && args->base_node)
		return error_set(errp, -EINVAL,
				 "'base' and 'base-node' cannot be specified at the same time");
	if (args->base && args->bottom)
		return error_set(errp, -EINVAL,
				 "'base' and 'bottom' cannot be specified at the same time");
	if (args->bottom && args->base_node)
		return error_set(errp, -EINVAL,
				 "'bottom' and 'base-node' cannot be specified at the same time");
	return 0;
}

/* The image that stays below; NULL for none. */
static int select_base(struct graph *g, const struct block_stream_args *args, struct node *device,
		       struct node **ret, struct error **errp)
{
	*ret = NULL;
	if (args->base) {
		*ret = node_find_backing_named(device, args->base);
		return *ret ? 0 : error_set(errp, -ENOENT, "Can't find '%s' in the backing chain",
					    args->base);
	}
	if (!args->base_node)
		return 0;
	*ret = node_find_named(g, args->base_node, errp);
	if (!*ret)
		return -ENODEV;
	if (node_chain_contains(node_backing(device), *ret))
		return 0;
	/* What is below a filter of another job only seems to be the backing image. */
	int r = *ret != device && node_chain_contains(device, *ret)
			? blocker_check(device, BLOCK_OP_STREAM, errp)
			: 0;
	if (r >= 0)
		r = error_set(errp, -EINVAL, "Node '%s' is not a backing image of '%s'",
			      (*ret)->name, device->name);
	return r;
}

static int select_bottom(struct graph *g, const struct block_stream_args *args,
			 struct node *device, struct stream_chain *ret, struct error **errp)
{
	if (args->bottom) {
		ret->bottom = node_find_named(g, args->bottom, errp);
		if (!ret->bottom)
			return -ENODEV;
		if (ret->bottom->driver->is_filter)
			return error_set(errp, -EINVAL, "Node '%s' is a filter, use a non-filter node as 'bottom'",
					 ret->bottom->name);
		if (!node_chain_contains(device, ret->bottom))
			return error_set(errp, -EINVAL,
					 "Node '%s' is not in a chain starting from '%s'",
					 ret->bottom->name, device->name);
		return 0;
	}
	struct node *base;
	int r = select_base(g, args, device, &base, errp);
	if (r < 0)
		return r;
	/* Another job's filter directly above base stays with it. */
	ret->bottom = ret->top;
	for (struct node *n = ret->top; n && n != base; n = node_chain_next(n)) {
		if (!node_is_job_filter(n))
			ret->bottom = n;
	}
	return 0;
}

/* Refuse it with the first node from @device down to @bottom on which @op is forbidden. */
static int find_blocker(struct node *device, const struct node *bottom, enum block_operation op,
			struct error **errp)
{
	for (struct node *n = device;; n = node_chain_next(n)) {
		/* A filter that shows no more than what is below it is not worth a word. */
		int r = node_is_blocked_as(n, BLOCKER_AFTER_OVERLAY) ? 0
								     : blocker_check(n, op, errp);
		if (r < 0 || n == bottom)
			return r;
	}
}

static int check_blockers(struct node *device, const struct node *bottom, struct error **errp)
{
	int r = find_blocker(device, bottom, BLOCK_OP_STREAM, NULL);
	/* A commit lets streams into the active image, but is at work on that as well. */
	return r < 0 ? find_blocker(device, bottom, BLOCK_OP_CHANGE, errp) : 0;
}

/* What is redirected in the end must not be what somebody else relies on. */
static int check_frozen(const struct stream_chain *chain, struct error **errp)
{
	const struct edge *e = chain->top->backing;
	if (chain->bottom == chain->top || e->frozen == 0)
		return 0;
	return edge_refuse_frozen(e, errp);
}

int stream_select(struct graph *g, const struct block_stream_args *args, struct stream_chain *ret,
		  struct error **errp)
{
	int r = check_exclusive(args, errp);
	if (r < 0)
		return r;
	struct node *device = node_find_error(g, args->device, errp);
	if (!device)
		return -ENODEV;
	ret->top = node_skip_filters(device);
	r = select_bottom(g, args, device, ret, errp);
	if (r >= 0)
		r = check_blockers(device, ret->bottom, errp);
	if (r >= 0)
		r = check_frozen(ret, errp);
	if (r >= 0 && args->backing_file && !node_chain_next(ret->bottom))
		r = error_set(errp, -EINVAL,
			      "backing file specified, but streaming the entire chain");
	return r;
}
