/* SPDX-License-Identifier: MIT */
/*
 * Write-zeroes and discard requests: whole clusters (and subclusters) by their
 * entries, the rest as data or not at all. Node's loop.
 *
 * Zeroes that come with REQUEST_UNCHANGED show already, and shall go on showing
 * when the backing file is another one: they are stored in any case.
 */
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/task.h"

/* Whether the range surely reads as zeroes already. */
static int co_fn reads_as_zeroes(struct qcow2 *q, uint64_t offset, uint64_t bytes, bool *ret)
{
	*ret = true;
	while (bytes > 0) {
		struct run run;
		int r = qcow2_map(q, offset, bytes, &run);

		if (r < 0)
			return r;
		if (!qcow2_run_is_zero(q, offset, &run)) {
			*ret = false;
			return 0;
		}
		offset += run.bytes;
		bytes -= run.bytes;
	}
	return 0;
}

/* Whole subclusters of one cluster, inside an exclusive task. */
static int co_fn zero_in_task(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t first = qcow2_in_cluster(q, offset) >> q->granule_bits;
	uint64_t mask = ((UINT64_C(1) << (bytes >> q->granule_bits)) - 1) << first;
	struct slice *slice;
	int r = qcow2_l2_slice_for_write(q, offset, &slice);

	if (r < 0)
		return r;
	struct l2_entry e = qcow2_l2_load(q, slice, offset);

	if (!qcow2_l2_is_possible(q, e)) {
		r = qcow2_l2_corrupt(q, e, offset);
	} else if (e.descriptor & ENTRY_COMPRESSED) {
		r = -ENOTSUP;
	} else {
		e.bitmap = (e.bitmap | mask << 32) & ~mask;
		qcow2_l2_store(q, slice, offset, e);
	}
	qcow2_cache_put(&q->l2_cache, slice);
	return r;
}

/* Whole subclusters of one cluster by their bits; -ENOTSUP where that cannot be. */
static int co_fn zero_subclusters(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t cluster = offset >> q->cluster_bits;
	struct task t;
	int r;

	if (!q->extended_l2 || !is_aligned(offset | bytes, qcow2_granule_bytes(q)))
		return -ENOTSUP;
	do {
		r = q->node->corrupt ? -EIO : qcow2_task_exclusive(q, &t, cluster, cluster);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	r = zero_in_task(q, offset, bytes);
	qcow2_task_end(&t);
	return r;
}

int co_fn qcow2_zero_part(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned flags)
{
	bool is_zero = false;
	int r = 0;

	if (bytes == 0)
		return 0;
	if (!(flags & REQUEST_UNCHANGED))
		r = reads_as_zeroes(q, offset, bytes, &is_zero);
	if (r < 0 || is_zero)
		return r;
	r = zero_subclusters(q, offset, bytes);
	if (r != -ENOTSUP)
		return r;
	if (flags & REQUEST_NO_FALLBACK)
		return -ENOTSUP;
	return qcow2_write_zeroes(q, offset, bytes);
}

/*
 * The last cluster's part up to @end. Where the image ends there, what lies behind
 * does not matter, unless the image grows before we have got hold of the cluster.
 */
static int co_fn zero_tail(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum drop_mode mode,
			   unsigned flags)
{
	int r = -ESTALE;

	if (bytes > 0 && offset + bytes >= q->node->size)
		r = qcow2_drop(q, offset, bytes, mode);
	if (r == -ESTALE || r == -ENOTSUP)
		r = qcow2_zero_part(q, offset, bytes, flags);
	return r;
}

int co_fn qcow2_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct qcow2 *q = n->state;
	uint64_t end = offset + bytes;
	uint64_t first = align_up(offset, q->cluster_bytes);
	uint64_t last = align_down(end, q->cluster_bytes);
	enum drop_mode mode = flags & REQUEST_MAY_UNMAP ? DROP_ZERO_UNMAP : DROP_ZERO;
	int r = qcow2_begin_writing(q, NULL);

	if (r < 0)
		return r;
	/* Version 2 knows zeroes only as nothing above nothing. */
	if ((flags & REQUEST_UNCHANGED) && q->header.version < 3)
		return flags & REQUEST_NO_FALLBACK ? -ENOTSUP : qcow2_write_zeroes(q, offset, bytes);
	if (first > last)
		return qcow2_zero_part(q, offset, bytes, flags);
	r = qcow2_zero_part(q, offset, first - offset, flags);
	if (r == 0 && first < last)
		r = qcow2_drop(q, first, last - first, mode);
	if (r == -ENOTSUP && !(flags & REQUEST_NO_FALLBACK))
		r = qcow2_write_zeroes(q, first, last - first);
	return r < 0 ? r : zero_tail(q, last, end - last, mode, flags);
}

int co_fn qcow2_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct qcow2 *q = n->state;
	uint64_t end = offset + bytes;
	uint64_t first = align_up(offset, q->cluster_bytes);

	/* A part of a cluster counts at the end of the image only. */
	if (end < n->size)
		end = align_down(end, q->cluster_bytes);
	if (first >= end)
		return 0;
	/* Version 2 cannot hide the backing file: dropping clusters would show its old data. */
	if (q->header.version < 3 && n->backing)
		return -ENOTSUP;
	int r = qcow2_begin_writing(q, NULL);

	if (r == 0)
		r = qcow2_drop(q, first, end - first, DROP_DISCARD);
	return r == -ESTALE ? 0 : r;
}
