/* SPDX-License-Identifier: MIT */
/*
 * Reading, and what is known of a range. Node's loop.
 *
 * The file may end inside its last grain; what is missing is zero. A grain that begins at or
 * behind the end was lost with a part of the file: -EIO. So was all that a flat file lacks.
 */
#include <errno.h>

#include "drivers/vmdk/state.h"

struct vmdk_extent *vmdk_find_extent(struct vmdk *v, uint64_t offset)
{
	unsigned from = 0, to = v->count;

	while (to - from > 1) {
		unsigned middle = from + (to - from) / 2;

		if (v->extents[middle].start <= offset)
			from = middle;
		else
			to = middle;
	}
	return &v->extents[from];
}

/* Read grains that lie one behind the other, from @offset of the extent on. */
static int co_fn read_data(struct vmdk_extent *x, uint64_t offset, const struct vmdk_run *run,
			   struct vec v)
{
	uint64_t size = vmdk_file_size(x);
	uint64_t in_last = (offset + run->bytes - 1) & (x->grain_bytes - 1);
	uint64_t end = run->host + run->bytes, present = run->bytes;

	/* No grain lies in the header, and the last one begins inside the file. */
	if (run->host < VMDK_SECTOR_BYTES || end - 1 - in_last >= size)
		return -EIO;
	if (end > size) {
		present = run->host < size ? size - run->host : 0;
		vec_fill(vec_advance(v, present), 0, run->bytes - present);
	}
	return present > 0 ? edge_readv(x->file, run->host, present, v, 0) : 0;
}

static int co_fn read_flat(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, struct vec v)
{
	return vmdk_flat_has(x, offset, bytes)
		       ? edge_readv(x->file, x->offset + offset, bytes, v, 0)
		       : -EIO;
}

static int co_fn read_sparse(struct vmdk_extent *x, uint64_t offset, uint64_t *bytes, struct vec v,
			     unsigned flags)
{
	struct vmdk_run run;
	int r = vmdk_map(x, offset, *bytes, &run);

	if (r < 0)
		return r;
	*bytes = run.bytes;
	if (run.type == VMDK_RUN_NONE && x->node->backing) {
		r = vmdk_check_parent(x->node);
		return r < 0 ? r : READ_FROM_BACKING;
	}
	if (flags & REQUEST_PREFETCH)
		return 0;
	switch (run.type) {
	case VMDK_RUN_DATA:
		return read_data(x, offset, &run, v);
	case VMDK_RUN_COMPRESSED:
		return vmdk_read_compressed(x, offset, &run, v);
	default:
		vec_fill(v, 0, run.bytes);
		return 0;
	}
}

int co_fn vmdk_read_some(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			 unsigned flags)
{
	struct vmdk_extent *x = vmdk_find_extent(n->state, offset);

	offset -= x->start;
	*bytes = MIN(*bytes, x->bytes - offset);
	if (x->is_sparse)
		return read_sparse(x, offset, bytes, v, flags);
	if (flags & REQUEST_PREFETCH)
		return 0;
	if (x->type != VMDK_ZERO)
		return read_flat(x, offset, *bytes, v);
	vec_fill(v, 0, *bytes);
	return 0;
}

static int co_fn status_sparse(struct vmdk_extent *x, uint64_t offset, struct extent *ret)
{
	struct vmdk_run run;
	int r = vmdk_map(x, offset, ret->bytes, &run);

	if (r < 0)
		return r;
	*ret = (struct extent){.bytes = run.bytes};
	switch (run.type) {
	case VMDK_RUN_NONE:
		break;
	case VMDK_RUN_ZEROES:
		ret->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
		break;
	case VMDK_RUN_COMPRESSED:
		ret->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_COMPRESSED;
		break;
	case VMDK_RUN_DATA:
		ret->flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID;
		ret->node = x->file->child;
		ret->offset = run.host;
		break;
	}
	return 0;
}

int co_fn vmdk_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct vmdk_extent *x = vmdk_find_extent(n->state, offset);

	offset -= x->start;
	ret->bytes = MIN(ret->bytes, x->bytes - offset);
	if (x->is_sparse)
		return status_sparse(x, offset, ret);
	if (x->type == VMDK_ZERO) {
		ret->flags = EXTENT_ZERO | EXTENT_ALLOCATED;
		return 0;
	}
	/* What the file lacks must be read, to fail. */
	ret->flags = EXTENT_DATA | EXTENT_ALLOCATED;
	if (!vmdk_flat_has(x, offset, ret->bytes))
		return 0;
	ret->flags |= EXTENT_OFFSET_VALID | EXTENT_RECURSE;
	ret->node = x->file->child;
	ret->offset = x->offset + offset;
	return 0;
}
