/* SPDX-License-Identifier: MIT */
/*
 * The driver snapshot-access: shows the point in time that a copy-before-write
 * filter keeps. It can be read, and discarded where it is not needed any more.
 * Node's loop.
 */
#include "block/cbw.h"
#include "block/driver.h"

/* The filter below, whichever that is now; NULL when it is none. */
static struct cbw *cbw_below(const struct node *n)
{
	struct node *child = edge_shown_child(n->file);
	return child->driver->cbw ? child->driver->cbw(child) : NULL;
}

static int co_fn access_open(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	int r = node_open_child(n, options->u.snapshot_access.file, "file", EDGE_DATA | EDGE_PRIMARY,
				NULL, errp);
	if (r >= 0)
		n->size = n->file->child->size;
	return r;
}

static int co_fn access_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			     unsigned flags)
{
	struct cbw *w = cbw_below(n);
	return w ? cbw_read(w, offset, bytes, v, flags) : -ENOTSUP;
}

static int co_fn access_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct cbw *w = cbw_below(n);
	return w ? cbw_discard(w, offset, bytes) : -ENOTSUP;
}

static int co_fn access_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct cbw *w = cbw_below(n);
	if (!w)
		return -ENOTSUP;
	int r = cbw_status(w, offset, ret->bytes, ret);
	/* Where it lies is soon no longer true. */
	ret->flags &= ~(unsigned)(EXTENT_OFFSET_VALID | EXTENT_COMPRESSED | EXTENT_EOF);
	ret->flags |= EXTENT_ALLOCATED;
	return r;
}

/* Nothing is read or written through the edge: the filter reads and writes for itself. */
static void access_permissions(struct node *n, const char *name, unsigned role,
			       unsigned permissions, unsigned shared, unsigned *ret_permissions,
			       unsigned *ret_shared)
{
	*ret_permissions = 0;
	*ret_shared = PERM_ALL;
}

const struct driver snapshot_access_driver = {
	.name = "snapshot-access",
	.named_as_child = true,
	.is_fixed = true,
	.open = access_open,
	.read = access_read,
	.discard = access_discard,
	.status = access_status,
	.child_permissions = access_permissions,
};
