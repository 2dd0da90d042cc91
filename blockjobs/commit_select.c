/* SPDX-License-Identifier: MIT */
/*
 * From the names in a block-commit command to nodes. Control thread.
 */
#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "block/open.h"
#include "blockjobs/commit_internal.h"

static int check_in_chain(struct node *top, struct node *n, struct error **errp)
{
	if (node_chain_contains(top, n))
		return 0;
	return error_set(errp, -EINVAL, "'%s' is not in this backing file chain", n->name);
}

static int select_top(struct graph *g, const struct block_commit_args *args,
		      struct commit_chain *ret, struct error **errp)
{
	ret->top = ret->device;
	if (args->top_node && args->top)
		return error_set(errp, -EINVAL, "'top-node' and 'top' are mutually exclusive");
	if (args->top_node) {
		ret->top = node_find_named(g, args->top_node, errp);
		return ret->top ? check_in_chain(ret->device, ret->top, errp) : -ENODEV;
	}
	if (args->top && !string_equal(ret->device->filename, args->top)) {
		ret->top = node_find_backing_named(ret->device, args->top);
		if (!ret->top)
			return error_set(errp, -ENOENT, "Top image file %s not found", args->top);
	}
	return 0;
}

static int select_base(struct graph *g, const struct block_commit_args *args,
		       struct commit_chain *ret, struct error **errp)
{
	if (args->base_node && args->base)
		return error_set(errp, -EINVAL, "'base-node' and 'base' are mutually exclusive");
	if (args->base_node) {
		ret->base = node_find_named(g, args->base_node, errp);
		return ret->base ? check_in_chain(ret->top, ret->base, errp) : -ENODEV;
	}
	if (args->base) {
		ret->base = node_find_backing_named(ret->top, args->base);
		if (!ret->base)
			return error_set(errp, -ENOENT, "Can't find '%s' in the backing chain",
					 args->base);
		return 0;
	}
	ret->base = node_skip_filters(ret->top);
	for (struct node *n = ret->base; n; n = node_skip_filters(node_backing(n)))
		ret->base = n;
	return 0;
}

/* A part of the chain that no other job works on. */
static int check_blockers(const struct commit_chain *chain, struct error **errp)
{
	int r = 0;
	for (struct node *n = chain->top; r >= 0 && n != chain->base; n = node_chain_next(n))
		r = blocker_check(n, BLOCK_OP_COMMIT_SOURCE, errp);
	return r < 0 ? r : blocker_check(chain->base, BLOCK_OP_COMMIT_TARGET, errp);
}

/* True when nothing but filters is between @device and @top. */
static bool is_active(struct node *device, struct node *top)
{
	struct node *n = device;
	while (n != top && n->driver->is_filter && n->file)
		n = n->file->child;
	return n == top;
}

/* The rest, when ret->device has been found. */
static int select_chain(struct graph *g, const struct block_commit_args *args,
			struct commit_chain *ret, struct error **errp)
{
	int r = copy_job_check_root(ret->device, errp);
	if (r >= 0)
		r = select_top(g, args, ret, errp);
	if (r >= 0)
		r = select_base(g, args, ret, errp);
	if (r >= 0)
		r = check_blockers(ret, errp);
	if (r < 0)
		return r;

	if (node_skip_filters(ret->top) == node_skip_filters(ret->base))
		return error_set(errp, -EINVAL, ret->top == ret->base
							? "cannot commit an image into itself"
							: "Can't mirror node into itself");
	ret->is_active = is_active(ret->device, ret->top);
	if (ret->is_active && args->backing_file)
		return error_set(errp, -EINVAL,
				 "'backing-file' specified, but 'top' is the active layer");
	if (!ret->is_active && args->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING)
		return error_set(errp, -EINVAL,
				 "'copy-mode' specified, but 'top' is not the active layer");
	return 0;
}

int commit_select(struct graph *g, const struct block_commit_args *args, struct commit_chain *ret,
		  struct error **errp)
{
	struct error *error = NULL;
	ret->device = node_find(g, args->device);
	if (!ret->device)
		return error_set_class(errp, ERROR_DEVICE_NOT_FOUND, -ENODEV,
				       "Device '%s' not found", args->device);
	int r = select_chain(g, args, ret, &error);
	return r < 0 ? node_refuse_as_root(ret->device, error, errp) : r;
}
