/* SPDX-License-Identifier: MIT */
/*
 * What an image tells about itself. Node's loop.
 */
#include <errno.h>

#include "drivers/vmdk/state.h"

/* Of a grain, if all extents have grains of one size; else 0. */
static uint64_t cluster_size(const struct vmdk *v)
{
	uint64_t bytes = v->extents[0].grain_bytes;

	for (unsigned i = 1; i < v->count; i++)
		if (v->extents[i].grain_bytes != bytes)
			return 0;
	return bytes;
}

int co_fn vmdk_info(struct node *n, struct driver_info *ret)
{
	const struct vmdk *v = n->state;
	bool is_compressed = true;

	for (unsigned i = 0; i < v->count; i++)
		is_compressed &= v->extents[i].is_compressed;
	*ret = (struct driver_info){
		.cluster_size = cluster_size(v),
		.needs_compressed_writes = is_compressed,
	};
	return 0;
}

static void describe(const struct vmdk_extent *x, struct vmdk_extent_info *info)
{
	info->filename = xstrdup(x->file ? x->file->child->filename : "");
	info->format = xstrdup(x->is_embedded ? "" : vmdk_extent_type_name(x->type));
	info->virtual_size = (int64_t)x->bytes;
	if (x->is_compressed) {
		info->has_compressed = true;
		info->compressed = true;
	}
	if (x->is_sparse) {
		info->has_cluster_size = true;
		info->cluster_size = (int64_t)x->grain_bytes;
	}
}

struct image_info_specific *vmdk_specific_info(struct node *n)
{
	const struct vmdk *v = n->state;
	struct image_info_specific_vmdk *i = NEW(struct image_info_specific_vmdk);
	struct image_info_specific *info = NEW(struct image_info_specific);

	i->create_type = xstrdup(v->create_type ? v->create_type : "");
	i->cid = v->cid;
	i->parent_cid = v->parent_cid;
	for (unsigned k = 0; k < v->count; k++) {
		struct vmdk_extent_info *x = NEW(struct vmdk_extent_info);

		describe(&v->extents[k], x);
		vmdk_extent_info_list_append(&i->extents, x);
	}
	info->type = IMAGE_INFO_SPECIFIC_KIND_VMDK;
	info->u.vmdk.data = i;
	return info;
}

/* All files of the image count. */
int64_t co_fn vmdk_allocated_bytes(struct node *n)
{
	struct vmdk *v = n->state;
	int64_t sum = n->file->child->driver->allocated_bytes
			      ? n->file->child->driver->allocated_bytes(n->file->child)
			      : -ENOTSUP;

	for (unsigned i = 0; i < v->count && sum >= 0; i++) {
		struct edge *e = v->extents[i].file;

		if (!e || e == n->file)
			continue;
		int64_t bytes = e->child->driver->allocated_bytes
					? e->child->driver->allocated_bytes(e->child)
					: -ENOTSUP;

		sum = bytes < 0 ? bytes : sum + bytes;
	}
	return sum;
}

void vmdk_limits(struct node *n)
{
	const struct vmdk *v = n->state;

	n->limits.request_alignment = MAX(n->limits.request_alignment, (uint32_t)VMDK_SECTOR_BYTES);
	if (v->count > 0)
		n->limits.zero_alignment = cluster_size(v);
	/* With a new child: what may be changed later is looked at while it is as it was. */
	if (n->backing)
		(void)vmdk_check_parent(n);
}
