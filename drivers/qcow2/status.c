/* SPDX-License-Identifier: MIT */
/*
 * What an image tells about itself and its clusters. Node's loop.
 */
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"

int co_fn qcow2_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct qcow2 *q = n->state;
	struct run run;
	int r = qcow2_map(q, offset, ret->bytes, &run);

	if (r < 0)
		return r;
	*ret = (struct extent){.bytes = run.bytes};
	switch (run.type) {
	case CLUSTER_UNALLOCATED:
		break;
	case CLUSTER_ZERO:
		ret->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
		break;
	case CLUSTER_COMPRESSED:
		ret->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED;
		break;
	case CLUSTER_ZERO_KEPT:
		ret->flags = EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID;
		break;
	case CLUSTER_NORMAL:
		/* Set aside and not written, a cluster may be a hole in the file. */
		ret->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID | EXTENT_RECURSE;
		break;
	}
	if (ret->flags & EXTENT_OFFSET_VALID) {
		ret->node = n->file->child;
		ret->offset = run.host;
	}
	return 0;
}

int co_fn qcow2_info(struct node *n, struct driver_info *ret)
{
	const struct qcow2 *q = n->state;

	*ret = (struct driver_info){
		.cluster_size = q->cluster_bytes,
		.is_dirty = q->header.incompatible & INCOMPATIBLE_DIRTY,
		.has_snapshots = q->header.snapshot_count > 0,
	};
	return 0;
}

static void list_bitmaps(const struct qcow2 *q, struct qcow2_bitmap_info_list *ret)
{
	const struct qcow2_bitmap *b;

	list_for_each(b, &q->bitmaps, link) {
		struct qcow2_bitmap_info *info = NEW(struct qcow2_bitmap_info);

		info->name = xstrdup(b->name);
		info->granularity = b->granularity_bits < 32 ? UINT32_C(1) << b->granularity_bits : 0;
		if (b->flags & BITMAP_IN_USE)
			qcow2_bitmap_info_flags_list_append(&info->flags,
							    QCOW2_BITMAP_INFO_FLAGS_IN_USE);
		if (b->flags & BITMAP_AUTO)
			qcow2_bitmap_info_flags_list_append(&info->flags,
							    QCOW2_BITMAP_INFO_FLAGS_AUTO);
		qcow2_bitmap_info_list_append(ret, info);
	}
}

struct image_info_specific *qcow2_specific_info(struct node *n)
{
	const struct qcow2 *q = n->state;
	struct image_info_specific *info = NEW(struct image_info_specific);
	struct image_info_specific_qcow2 *i = NEW(struct image_info_specific_qcow2);

	info->type = IMAGE_INFO_SPECIFIC_KIND_QCOW2;
	info->u.qcow2.data = i;
	i->compat = xstrdup(q->header.version < 3 ? "0.10" : "1.1");
	i->refcount_bits = INT64_C(1) << q->refcount_order;
	i->compression_type = q->header.compression_type == COMPRESSION_ZSTD
				      ? QCOW2_COMPRESSION_TYPE_ZSTD
				      : QCOW2_COMPRESSION_TYPE_ZLIB;
	if (q->header.version < 3)
		return info;
	i->has_bitmaps = !list_is_empty(&q->bitmaps);
	list_bitmaps(q, &i->bitmaps);
	i->has_lazy_refcounts = true;
	i->lazy_refcounts = q->header.compatible & COMPATIBLE_LAZY_REFCOUNTS;
	i->has_corrupt = true;
	i->corrupt = q->header.incompatible & INCOMPATIBLE_CORRUPT;
	i->has_extended_l2 = true;
	i->extended_l2 = q->extended_l2;
	return info;
}

void qcow2_limits(struct node *n)
{
	const struct qcow2 *q = n->state;

	n->limits.zero_alignment = qcow2_granule_bytes(q);
	n->limits.discard_alignment = q->cluster_bytes;
}
