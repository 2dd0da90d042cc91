/* SPDX-License-Identifier: MIT */
/*
 * The driver raw: the bytes of another node as they are, or a window of them.
 * Node's loop.
 */
#include <inttypes.h>
#include <string.h>

#include "block/driver.h"

#define SECTOR_BYTES 512

struct raw {
	uint64_t offset; /* where the window begins in the child */
	bool is_fixed;   /* the window has a size of its own */
};

static int check_window(struct node *n, const struct blockdev_options_raw *o, struct error **errp)
{
	uint64_t real_size = n->file->child->size;
	if (o->offset < 0)
		return error_set(errp, -EINVAL, "Parameter 'offset' must not be negative");
	uint64_t offset = (uint64_t)o->offset;
	if (offset > real_size)
		return error_set(errp, -EINVAL,
				 "Offset (%" PRIu64 ") cannot be greater than size of the "
				 "containing file (%" PRIu64 ")", offset, real_size);
	if (!o->has_size)
		return 0;
	if (o->size < 0)
		return error_set(errp, -EINVAL, "Parameter 'size' must not be negative");
	uint64_t size = (uint64_t)o->size;
	if (size > real_size - offset)
		return error_set(errp, -EINVAL,
				 "The sum of offset (%" PRIu64 ") and size (%" PRIu64 ") has to be "
				 "smaller or equal to the actual size of the containing file "
				 "(%" PRIu64 ")", offset, size, real_size);
	if (!is_aligned(size, SECTOR_BYTES))
		return error_set(errp, -EINVAL, "Specified size is not multiple of %d",
				 SECTOR_BYTES);
	return 0;
}

static void set_window(struct node *n, const struct blockdev_options_raw *o)
{
	struct raw *raw = n->state;
	raw->offset = (uint64_t)o->offset;
	raw->is_fixed = o->has_size;
}

static int co_fn raw_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	const struct blockdev_options_raw *o = &options->u.raw;
	set_window(n, o); /* what is shared below depends on it */
	int r = node_open_child(n, o->file, "file", EDGE_DATA | EDGE_PRIMARY, NULL, errp);
	if (r < 0)
		return r;
	r = check_window(n, o, errp);
	if (r < 0)
		return r;
	n->size = o->has_size ? (uint64_t)o->size : n->file->child->size - (uint64_t)o->offset;
	return 0;
}

static void raw_child_resized(struct node *n, struct edge *e)
{
	struct raw *raw = n->state;
	uint64_t below = e->child->size;
	if (!raw->is_fixed)
		node_set_size(n, below > raw->offset ? below - raw->offset : 0);
}

static int co_fn raw_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags)
{
	struct raw *raw = n->state;
	return edge_readv(n->file, raw->offset + offset, bytes, v, flags);
}

static int co_fn raw_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	struct raw *raw = n->state;
	return edge_writev(n->file, raw->offset + offset, bytes, v, flags);
}

static int co_fn raw_copy(struct node *n, uint64_t offset, uint64_t bytes, struct node *from,
			  uint64_t from_offset)
{
	struct raw *raw = n->state;
	return edge_copy_from(n->file, raw->offset + offset, bytes, from, from_offset);
}

static int co_fn raw_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct raw *raw = n->state;
	return edge_zero(n->file, raw->offset + offset, bytes, flags);
}

static int co_fn raw_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct raw *raw = n->state;
	return edge_discard(n->file, raw->offset + offset, bytes);
}

static int co_fn raw_status(struct node *n, uint64_t offset, struct extent *ret)
{
	/* The answer is the storage's: a hole there is one here, not zeroes that take room. */
	struct raw *raw = n->state;
	return node_status(n->file->child, raw->offset + offset, ret->bytes, ret);
}

static int co_fn raw_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp)
{
	struct raw *raw = n->state;
	if (raw->is_fixed)
		return error_set(errp, -ENOTSUP, "Cannot resize fixed-size raw disks");
	if (size > INT64_MAX - raw->offset)
		return error_set(errp, -EFBIG, "Disk size too large for the chosen offset");
	return edge_truncate(n->file, raw->offset + size, preallocation, errp);
}

/*
 * Nothing of its own is stored below: whoever uses the node uses the storage just
 * so. Only a window might find itself outside when the storage is resized.
 */
static void raw_child_permissions(struct node *n, const char *name, unsigned role,
				  unsigned permissions, unsigned shared,
				  unsigned *ret_permissions, unsigned *ret_shared)
{
	struct raw *raw = n->state;
	*ret_permissions = permissions;
	*ret_shared = shared;
	if (raw->offset > 0 || raw->is_fixed)
		*ret_shared &= ~(unsigned)PERM_RESIZE;
}

static void raw_limits(struct node *n)
{
	struct raw *raw = n->state;
	const struct node_limits *below = &n->file->child->limits;
	uint64_t end = raw->is_fixed ? raw->offset + n->size : 0;
	/* A window that begins or ends inside a block gives the core nothing to align to. */
	n->limits.request_alignment =
		is_aligned(raw->offset | end, below->request_alignment) ? below->request_alignment : 1;
	n->limits.memory_alignment = below->memory_alignment;
	n->limits.max_iovecs = below->max_iovecs;
}

static int co_fn raw_reopen_prepare(struct reopen *r, struct error **errp)
{
	return check_window(r->node, &r->options->u.raw, errp);
}

static void raw_reopen_commit(struct reopen *r)
{
	struct node *n = r->node;
	const struct blockdev_options_raw *o = &r->options->u.raw;
	set_window(n, o);
	if (o->has_size)
		node_set_size(n, (uint64_t)o->size);
	else
		raw_child_resized(n, n->file);
}

static const char *const raw_options[] = {"offset", "size", NULL};

const struct driver raw_driver = {
	.name = "raw",
	.state_size = sizeof(struct raw),
	.is_format = true,
	.can_be_inactive = true,
	.supports_fua = true,
	.strong_options = raw_options,
	.open = raw_open,
	.read = raw_read,
	.write = raw_write,
	.zero = raw_zero,
	.copy = raw_copy,
	.discard = raw_discard,
	.status = raw_status,
	.truncate = raw_truncate,
	.sizes_itself = true,
	.child_resized = raw_child_resized,
	.child_permissions = raw_child_permissions,
	.reopen_options = raw_options,
	.reopen_prepare = raw_reopen_prepare,
	.reopen_commit = raw_reopen_commit,
	.limits = raw_limits,
};
