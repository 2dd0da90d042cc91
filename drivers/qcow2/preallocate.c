/* SPDX-License-Identifier: MIT */
/*
 * Setting host clusters aside for parts of the guest's disk. Node's loop.
 *
 * 1. A cluster that was never written reads as zeroes, and so needs no zero flag:
 *    writing to it later changes no table. Where there is no such cluster (on a
 *    device, say) the zero flag hides the old content.
 * 2. The file covers the clusters, in the way asked for, before a table names
 *    them.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/task.h"

/* Entries in a row that have no host cluster, from the first of @t on, all in @slice. */
static uint64_t count_bare(struct qcow2 *q, const struct slice *slice, const struct task *t)
{
	uint64_t n = 0, max = t->last - t->first + 1;

	while (n < max) {
		struct l2_entry e = qcow2_l2_load(q, slice, (t->first + n) << q->cluster_bits);

		if (e.descriptor & (ENTRY_OFFSET | ENTRY_COMPRESSED))
			break;
		n++;
	}
	return n;
}

/* What @old becomes with a cluster at @host. */
static struct l2_entry set_aside(const struct qcow2 *q, struct l2_entry old, uint64_t host,
				 bool reads_as_zeroes)
{
	struct l2_entry e = {.descriptor = host | ENTRY_COPIED};

	if (q->extended_l2 && q->header.backing_offset != 0)
		e.bitmap = old.bitmap; /* the backing file goes on showing */
	else if (q->extended_l2)
		e.bitmap = reads_as_zeroes ? UINT32_MAX : (uint64_t)UINT32_MAX << 32;
	else if (!reads_as_zeroes)
		e.descriptor |= ENTRY_ZERO;
	return e;
}

/* Let the file reach to the end of the clusters. */
static int co_fn cover(struct qcow2 *q, const struct allocation *a,
		       enum preallocation preallocation, struct error **errp)
{
	uint64_t end = a->offset + (a->count << q->cluster_bits);

	if (preallocation == PREALLOCATION_METADATA)
		preallocation = PREALLOCATION_OFF;
	if (end <= qcow2_file_size(q))
		return 0;
	return edge_grow(q->node->file, end, preallocation, errp);
}

/* The first clusters of the task that have none; *ret_done says how far that went. */
static int co_fn preallocate_in_task(struct qcow2 *q, const struct task *t,
				     enum preallocation preallocation, uint64_t *ret_done,
				     struct error **errp)
{
	uint64_t start = t->first << q->cluster_bits;
	struct allocation a = {0};
	struct slice *slice;
	int r = qcow2_l2_slice_for_write(q, start, &slice);

	*ret_done = 0;
	if (r < 0)
		return error_set_errno(errp, r, "Could not preallocate metadata");
	uint64_t count = count_bare(q, slice, t);

	if (count == 0) {
		*ret_done = 1; /* has a cluster already */
	} else {
		r = qcow2_allocate_fresh(q, count, &a);
		if (r < 0)
			error_set_errno(errp, r, "Could not allocate clusters");
		else
			r = cover(q, &a, preallocation, errp);
		if (r == 0 && !a.fresh && q->header.version < 3) {
			r = qcow2_zero_host(q, a.offset, a.count << q->cluster_bits);
			if (r < 0)
				error_set_errno(errp, r, "Could not zero clusters");
		}
		if (r < 0 && a.count > 0)
			qcow2_unallocate(q, a.offset, a.count);
	}
	for (uint64_t i = 0; r == 0 && i < a.count; i++) {
		uint64_t guest = start + (i << q->cluster_bits);

		qcow2_l2_store(q, slice, guest,
			       set_aside(q, qcow2_l2_load(q, slice, guest),
					 a.offset + (i << q->cluster_bits),
					 a.fresh || q->header.version < 3));
	}
	*ret_done += a.count;
	qcow2_cache_put(&q->l2_cache, slice);
	return r;
}

int co_fn qcow2_preallocate(struct qcow2 *q, uint64_t offset, uint64_t bytes,
			    enum preallocation preallocation, struct error **errp)
{
	uint64_t span = qcow2_slice_span(q), end = offset + bytes;

	while (offset < end) {
		uint64_t slice_end = MIN(align_down(offset, span) + span, end), done;
		struct task t;
		int r = qcow2_task_exclusive(q, &t, offset >> q->cluster_bits,
					     (slice_end - 1) >> q->cluster_bits);

		if (r == -EAGAIN)
			continue;
		r = preallocate_in_task(q, &t, preallocation, &done, errp);
		qcow2_task_end(&t);
		if (r < 0)
			return r;
		offset = align_down(offset, q->cluster_bytes) + (done << q->cluster_bits);
	}
	return 0;
}
