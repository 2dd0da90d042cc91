/* SPDX-License-Identifier: MIT */
/*
 * The driver copy-before-write: a filter that saves what is about to be changed
 * below it to a target; see block/cbw.h. Node's loop.
 */
#include <inttypes.h>

#include "block/bitmap.h"
#include "block/cbw.h"
#include "block/driver.h"

#define NS_PER_S UINT64_C(1000000000)

/* The node's memory is one pointer. */
static struct cbw *cbw_of(const struct node *n)
{
	return *(struct cbw **)n->state;
}

static int check_min_cluster(uint64_t bytes, struct error **errp)
{
	if (bytes != 0 && !is_power_of_2(bytes))
		return error_set(errp, -EINVAL, "min-cluster-size needs to be a power of 2");
	return 0;
}

/* Keep what the bitmap has dirty now. */
static int apply_bitmap(struct node *n, const struct block_dirty_bitmap *name, struct error **errp)
{
	struct bitmap *b = bitmap_find_error(n->graph, name->node, name->name, errp);
	if (!b)
		return -ENOENT;
	int r = bitmap_check(b, BITMAP_UNREADABLE, errp);
	if (r < 0)
		return r;
	if (dirty_bitmap_size(b->bits) != n->size)
		return error_set(errp, -EINVAL,
				 "Bitmaps are of different sizes (destination size is %" PRIu64
				 " and source size is %" PRIu64 ") and can't be merged",
				 n->size, dirty_bitmap_size(b->bits));
	cbw_keep_only(cbw_of(n), b->bits);
	return 0;
}

static int co_fn cbw_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	struct cbw **cbw = n->state;
	const struct blockdev_options_cbw *o = &options->u.copy_before_write;
	uint64_t min_cluster = o->has_min_cluster_size ? o->min_cluster_size : 0;
	struct cbw_settings settings = {
		.on_error = o->has_on_cbw_error ? o->on_cbw_error : ON_CBW_ERROR_BREAK_GUEST_WRITE,
		.timeout_ns = o->has_cbw_timeout ? o->cbw_timeout * NS_PER_S : 0,
	};
	int r = check_min_cluster(min_cluster, errp);
	if (r >= 0)
		r = node_open_child(n, o->file, "file", EDGE_FILTERED | EDGE_PRIMARY,
				    &settings.source, errp);
	if (r >= 0)
		r = node_open_child(n, o->target, "target", EDGE_DATA, &settings.target, errp);
	if (r < 0)
		return r;
	n->size = n->file->child->size;
	struct node *source = settings.source->child, *target = settings.target->child;
	r = cbw_choose_cluster(source, target, min_cluster, &settings.cluster, errp);
	if (r >= 0)
		r = cbw_create(&settings, cbw, errp);
	if (r >= 0 && o->bitmap)
		r = apply_bitmap(n, o->bitmap, errp);
	if (r < 0)
		cbw_destroy(*cbw);
	return r;
}

static void co_fn cbw_close(struct node *n)
{
	cbw_destroy(cbw_of(n));
}

static int co_fn cbw_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	int r = cbw_before_write(cbw_of(n), offset, bytes);
	return r < 0 ? r : edge_writev(n->file, offset, bytes, v, flags);
}

static int co_fn cbw_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	int r = cbw_before_write(cbw_of(n), offset, bytes);
	return r < 0 ? r : edge_zero(n->file, offset, bytes, flags);
}

static int co_fn cbw_discard_below(struct node *n, uint64_t offset, uint64_t bytes)
{
	int r = cbw_before_write(cbw_of(n), offset, bytes);
	return r < 0 ? r : edge_discard(n->file, offset, bytes);
}

/* What is cut off belongs to the point in time as well as what is overwritten. */
static int co_fn cbw_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp)
{
	int r = size < n->size ? cbw_before_write(cbw_of(n), size, n->size - size) : 0;
	if (r < 0)
		return error_set_errno(errp, r, "Could not save what is to be cut off '%s'", n->name);
	return edge_truncate(n->file, size, preallocation, errp);
}

/*
 * The target may have users of its own, and be one day what the source's users
 * write to. Nobody but the filter may write below it, once it has users: until
 * then it can be put into a graph that is in use.
 */
static void cbw_permissions(struct node *n, const char *name, unsigned role, unsigned permissions,
			    unsigned shared, unsigned *ret_permissions, unsigned *ret_shared)
{
	if (!(role & EDGE_FILTERED)) {
		*ret_permissions = PERM_WRITE;
		*ret_shared = PERM_ALL & ~(unsigned)PERM_RESIZE;
		return;
	}
	permission_for_child(n, role, permissions, shared, ret_permissions, ret_shared);
	if (permissions & PERM_WRITE)
		*ret_permissions |= PERM_CONSISTENT_READ;
	if (cbw_of(n) && cbw_discards_source(cbw_of(n)))
		*ret_permissions |= PERM_WRITE;
	if (list_is_empty(&n->parents))
		return;
	*ret_shared &= ~(unsigned)(PERM_WRITE | PERM_RESIZE);
	/* A backup reads below its filter, whether there are users or not. */
	if (!n->options)
		*ret_permissions |= PERM_CONSISTENT_READ;
}

const struct driver copy_before_write_driver = {
	.name = "copy-before-write",
	.state_size = sizeof(struct cbw *),
	.is_filter = true,
	.named_as_child = true,
	.supports_fua = true,
	.open = cbw_open,
	.close = cbw_close,
	.write = cbw_write,
	.zero = cbw_zero,
	.discard = cbw_discard_below,
	.truncate = cbw_truncate,
	.cbw = cbw_of,
	.child_permissions = cbw_permissions,
	/* Both children stay what they are: the one is compared with what was saved to the other. */
	.is_fixed = true,
};
