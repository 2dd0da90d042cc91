/* SPDX-License-Identifier: MIT */
/*
 * Room for new grains, at the end of the file. Node's loop.
 *
 * 1. Only here does the file grow, one caller at a time; and nothing makes it shrink.
 * 2. New grains come behind every grain that a table knows of, even where the file has lost its
 *    end: so no two owners ever share one.
 */
#include <errno.h>

#include "drivers/vmdk/state.h"

struct search {
	uint64_t grain_sectors, end; /* sectors */
};

static int note_end(void *arg, uint64_t grain, uint32_t sector)
{
	struct search *s = arg;

	s->end = MAX(s->end, sector + s->grain_sectors);
	return 0;
}

/* Where new grains begin. All tables are clean: none has been changed yet. */
static int co_fn find_next_free(struct vmdk_extent *x)
{
	/* How long a compressed grain is stands in it: its place in the file counts, and that is whole. */
	struct search s = {.grain_sectors = x->is_compressed ? 1 : x->header.grain};
	int r = vmdk_visit_grains(x, note_end, &s);

	if (r < 0)
		return r;
	if (x->is_compressed && s.end * VMDK_SECTOR_BYTES > vmdk_file_size(x))
		return -EIO;
	uint64_t end = MAX(s.end, x->header.overhead) * VMDK_SECTOR_BYTES;

	x->next_free = MAX(end, vmdk_file_size(x));
	return 0;
}

int co_fn vmdk_allocate(struct vmdk_extent *x, uint64_t bytes, uint64_t align, uint64_t *ret)
{
	int r = x->next_free == 0 ? find_next_free(x) : 0;

	if (r < 0)
		return r;
	uint64_t start = align_up(x->next_free, align), end = align_up(start + bytes, VMDK_SECTOR_BYTES);

	if (end / VMDK_SECTOR_BYTES > UINT32_MAX)
		return -ENOSPC;
	if (end > vmdk_file_size(x))
		r = edge_truncate(x->file, end, PREALLOCATION_OFF, NULL);
	if (r < 0)
		return r;
	x->next_free = end;
	*ret = start;
	return 0;
}

bool co_fn vmdk_wait_for_allocation(struct vmdk_extent *x, uint64_t first, uint64_t count)
{
	struct vmdk_allocation *a;

	list_for_each (a, &x->allocations, link) {
		if (first >= a->first + a->count || a->first >= first + count)
			continue;
		co_mutex_unlock(&x->lock);
		co_queue_wait(&x->allocated);
		co_mutex_lock(&x->lock);
		return true;
	}
	return false;
}
