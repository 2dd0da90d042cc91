/* SPDX-License-Identifier: MIT */
/*
 * What is known of an image. Node's loop.
 */
#include "block/image_info.h"

#include "base/aio.h"
#include "base/buffer.h"
#include "base/util.h"
#include "block/driver.h"
#include "block/node.h"
#include "block/open.h"
#include "schema/schema.h"

#define SET(has, field, value)                                                                     \
	do {                                                                                       \
		(has) = true;                                                                      \
		(field) = (value);                                                                 \
	} while (0)

/* The size on the medium is that of the file at the bottom, unless a driver above knows better. */
static int64_t co_fn allocated_bytes(struct node *n)
{
	while (!n->driver->allocated_bytes && n->file)
		n = n->file->child;
	return n->driver->allocated_bytes ? n->driver->allocated_bytes(n) : -ENOTSUP;
}

/* The file name against which the image's backing name is resolved. */
static const char *own_filename(const struct node *n)
{
	if (string_starts_with(n->filename, "json:") && n->file)
		return n->file->child->filename;
	return n->filename;
}

static struct block_limits_info *limits_info(const struct node *n)
{
	const struct node_limits *l = &n->limits;
	struct block_limits_info *info = NEW(struct block_limits_info);

	info->request_alignment = l->request_alignment;
	if (l->max_discard)
		SET(info->has_max_discard, info->max_discard, l->max_discard);
	if (l->discard_alignment)
		SET(info->has_discard_alignment, info->discard_alignment,
		    (uint32_t)l->discard_alignment);
	if (l->max_zero)
		SET(info->has_max_write_zeroes, info->max_write_zeroes, l->max_zero);
	if (l->zero_alignment)
		SET(info->has_write_zeroes_alignment, info->write_zeroes_alignment,
		    (uint32_t)l->zero_alignment);
	if (l->optimal_transfer)
		SET(info->has_opt_transfer, info->opt_transfer,
		    (uint32_t)MIN(l->optimal_transfer, UINT32_MAX));
	if (l->max_transfer)
		SET(info->has_max_transfer, info->max_transfer,
		    (uint32_t)MIN(l->max_transfer, UINT32_MAX));
	info->max_iov = l->max_iovecs ? l->max_iovecs : AIO_IOV_MAX;
	info->min_mem_alignment = l->memory_alignment;
	info->opt_mem_alignment = MAX(l->memory_alignment, (uint32_t)BUFFER_ALIGNMENT);
	return info;
}

static void set_backing_names(const struct node *n, struct image_info *info)
{
	if (!n->backing_name)
		return;
	info->backing_filename = xstrdup(n->backing_name);
	info->backing_filename_format = xstrdup(n->backing_format);
	/* A name that cannot be resolved is told as it stands, and nothing is made up. */
	char *full;
	if (backing_filename(own_filename(n), n->backing_name, &full, NULL) == 0)
		info->full_backing_filename = full;
}

/* A list that cannot be read is none: opening the image has said so, or a check will. */
static void co_fn set_snapshots(struct node *n, struct image_info *info)
{
	struct node *keeper = node_with_snapshots(n);
	if (!keeper)
		return;
	if (keeper->driver->snapshot_list(keeper, &info->snapshots, NULL) < 0)
		schema_finish(&snapshot_info_list_type, &info->snapshots);
	info->has_snapshots = info->snapshots.count > 0;
}

struct image_info *co_fn node_image_info(struct node *n)
{
	struct image_info *info = NEW(struct image_info);
	struct driver_info d;

	info->filename = xstrdup(n->filename);
	info->format = xstrdup(n->driver->name);
	info->virtual_size = (int64_t)n->size;
	int64_t allocated = allocated_bytes(n);
	if (allocated >= 0)
		SET(info->has_actual_size, info->actual_size, allocated);
	if (node_driver_info(n, &d) == 0) {
		SET(info->has_dirty_flag, info->dirty_flag, d.is_dirty);
		if (d.cluster_size)
			SET(info->has_cluster_size, info->cluster_size, (int64_t)d.cluster_size);
	}
	set_backing_names(n, info);
	set_snapshots(n, info);
	info->limits = limits_info(n);
	if (n->driver->specific_info)
		info->format_specific = n->driver->specific_info(n);
	return info;
}
