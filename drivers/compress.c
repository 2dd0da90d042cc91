/* SPDX-License-Identifier: MIT */
/*
 * The driver compress: a filter that has everything that is written compressed.
 * Node's loop.
 *
 * A cluster is compressed as a whole: what is written in part is read and merged
 * by the core, whose alignment the cluster is here.
 */
#include "drivers/filters.h"

#include "block/driver.h"

struct compress {
	uint32_t cluster; /* bytes; a power of two */
};

static int co_fn open_filter(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	struct compress *c = n->state;
	int r = node_open_child(n, options->u.compress.file, "file",
				EDGE_FILTERED | EDGE_PRIMARY, NULL, errp);
	if (r < 0)
		return r;
	struct node *image = node_skip_filters(n->file->child);
	if (!image->driver->can_compress)
		return error_set(errp, -ENOTSUP,
				 "Compression is not supported for underlying format: %s",
				 image->driver->name);
	struct driver_info info = {0};
	if (image->driver->info)
		image->driver->info(image, &info);
	c->cluster = is_power_of_2(info.cluster_size) ? (uint32_t)info.cluster_size : 1;
	n->size = n->file->child->size;
	return 0;
}

static int co_fn write_filter(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			      unsigned flags)
{
	/* The last cluster may reach beyond the end. */
	return edge_writev(n->file, offset, MIN(bytes, n->size - offset), v,
			   flags | REQUEST_COMPRESSED);
}

static int co_fn zero_filter(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	return edge_zero(n->file, offset, MIN(bytes, n->size - offset), flags);
}

static int co_fn discard_filter(struct node *n, uint64_t offset, uint64_t bytes)
{
	return edge_discard(n->file, offset, MIN(bytes, n->size - offset));
}

static void limits(struct node *n)
{
	const struct compress *c = n->state;
	n->limits.request_alignment = c->cluster;
}

const struct driver compress_driver = {
	.name = "compress",
	.state_size = sizeof(struct compress),
	.is_filter = true,
	.supports_fua = true,
	.can_compress = true,
	.is_fixed = true,
	.open = open_filter,
	.write = write_filter,
	.zero = zero_filter,
	.discard = discard_filter,
	.limits = limits,
};
