/* SPDX-License-Identifier: MIT */
/*
 * Zeroes: whole grains become entries of their tables, in images made for that. Room that they
 * had is not used again. Node's loop.
 */
#include <errno.h>

#include "drivers/vmdk/state.h"

/* Let whole grains of one table read as zeroes. */
static int co_fn zero_in_table(struct vmdk_extent *x, uint64_t first, uint64_t count)
{
	uint64_t number = first / x->header.table_entries;
	uint32_t index = first % x->header.table_entries;
	struct vmdk_table *t;

	if (x->directory[number] == 0)
		return -EIO;
	co_mutex_lock(&x->lock);
	while (vmdk_wait_for_allocation(x, first, count))
		;
	int r = vmdk_table_get_locked(x, number, &t);

	for (uint64_t i = 0; r == 0 && i < count; i++)
		if (t->entries[index + i] != VMDK_ENTRY_ZERO)
			vmdk_table_set(x, t, index + i, VMDK_ENTRY_ZERO);
	co_mutex_unlock(&x->lock);
	return r;
}

static int co_fn zero_grains(struct vmdk_extent *x, uint64_t offset, uint64_t bytes)
{
	uint64_t end = offset + bytes;

	if (!x->has_zero_grain || x->is_compressed || !is_aligned(offset, x->grain_bytes) ||
	    (!is_aligned(end, x->grain_bytes) && end != x->bytes))
		return -ENOTSUP;
	uint64_t first = offset / x->grain_bytes, last = div_round_up(end, x->grain_bytes);

	while (first < last) {
		uint64_t in_table = first % x->header.table_entries;
		uint64_t count = MIN(last - first, x->header.table_entries - in_table);
		int r = zero_in_table(x, first, count);

		if (r < 0)
			return r;
		first += count;
	}
	return 0;
}

static int co_fn zero_flat(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, unsigned flags)
{
	if (!x->file)
		return -EACCES;
	return vmdk_flat_has(x, offset, bytes)
		       ? edge_zero(x->file, x->offset + offset, bytes, flags)
		       : -EIO;
}

int co_fn vmdk_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	int r = vmdk_begin_writing(n);

	while (r == 0 && bytes > 0) {
		struct vmdk_extent *x = vmdk_find_extent(n->state, offset);
		uint64_t within = offset - x->start, part = MIN(bytes, x->bytes - within);

		if (x->is_sparse)
			r = zero_grains(x, within, part);
		else
			r = zero_flat(x, within, part, flags);
		offset += part;
		bytes -= part;
	}
	return r;
}
