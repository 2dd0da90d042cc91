/* SPDX-License-Identifier: MIT */
/*
 * Write-zeroes and discard requests: whole clusters (and subclusters) by their
 * entries, the rest as data or not at all. Node's loop.
 *
 * Zeroes shall go on showing when the image gets its backing file, or another one:
 * the target of a mirror, say, is open without it. So they are stored where they show
 * already, too. Version 2 knows zeroes only as nothing above nothing. There they are
 * stored as data, but only where the header names a backing file that is not open, or
 * where a request says that nothing visible changes (REQUEST_UNCHANGED).
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

/* Granules of @mask become zeroes where there is nothing; false where there is something. */
static bool keep_zeroes(const struct qcow2 *q, struct l2_entry *e, uint64_t mask)
{
	if (e->descriptor & ENTRY_COMPRESSED)
		return false;
	if (q->extended_l2) {
		bool is_data = e->bitmap & mask;

		e->bitmap |= mask << 32;
		return !is_data;
	}
	if (e->descriptor & ENTRY_ZERO)
		return true;
	bool is_data = e->descriptor & ENTRY_OFFSET;

	e->descriptor = ENTRY_ZERO;
	return !is_data;
}

/* Subclusters of @mask become zeroes, whatever they were. */
static bool make_zeroes(const struct qcow2 *q, struct l2_entry *e, uint64_t mask)
{
	if (!q->extended_l2 || e->descriptor & ENTRY_COMPRESSED)
		return false;
	e->bitmap = (e->bitmap | mask << 32) & ~mask;
	return true;
}

/* What becomes of an entry; false when that cannot be. */
typedef bool change_entry(const struct qcow2 *q, struct l2_entry *e, uint64_t mask);

/* Whole granules of one cluster, inside an exclusive task. */
static int co_fn change_in_task(struct qcow2 *q, uint64_t offset, uint64_t bytes,
				change_entry *change)
{
	uint64_t first = qcow2_in_cluster(q, offset) >> q->granule_bits;
	uint64_t mask = ((UINT64_C(1) << (bytes >> q->granule_bits)) - 1) << first;
	struct slice *slice;
	int r = qcow2_l2_slice_for_write(q, offset, &slice);

	if (r < 0)
		return r;
	struct l2_entry e = qcow2_l2_load(q, slice, offset), old = e;

	if (!qcow2_l2_is_possible(q, e))
		r = qcow2_l2_corrupt(q, e, offset);
	else if (!change(q, &e, mask))
		r = -ENOTSUP;
	else if (e.descriptor != old.descriptor || e.bitmap != old.bitmap)
		qcow2_l2_store(q, slice, offset, e);
	qcow2_cache_put(&q->l2_cache, slice);
	return r;
}

/* Whole granules of one cluster by their entry alone; -ENOTSUP where that cannot be. */
static int co_fn change_granules(struct qcow2 *q, uint64_t offset, uint64_t bytes,
				 change_entry *change)
{
	uint64_t cluster = offset >> q->cluster_bits;
	struct task t;
	int r;

	do {
		r = q->node->corrupt ? -EIO : qcow2_task_exclusive(q, &t, cluster, cluster);
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	r = change_in_task(q, offset, bytes, change);
	qcow2_task_end(&t);
	return r;
}

static int co_fn zero_subclusters(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	if (!q->extended_l2 || !is_aligned(offset | bytes, qcow2_granule_bytes(q)))
		return -ENOTSUP;
	return change_granules(q, offset, bytes, make_zeroes);
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

/* Granules that show zeroes already, as nothing or as what they are; -ENOTSUP for others. */
static int co_fn keep_part(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	uint64_t granule = qcow2_granule_bytes(q);
	uint64_t start = align_down(offset, granule), end = align_up(offset + bytes, granule);
	bool is_zero;
	int r = reads_as_zeroes(q, start, end - start, &is_zero);

	if (r == 0 && is_zero)
		r = change_granules(q, start, end - start, keep_zeroes);
	else if (r == 0)
		r = -ENOTSUP;
	return r;
}

/* Whether nothing is not enough, and only data will do. */
static bool needs_data(const struct qcow2 *q, unsigned flags)
{
	bool lacks_backing = q->node->backing_name && !q->node->backing;

	return q->header.version < 3 && (lacks_backing || flags & REQUEST_UNCHANGED);
}

/* A part of a cluster that shall be this image's own. */
static int co_fn store_part(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned flags)
{
	int r = -ENOTSUP;

	if (bytes == 0)
		return 0;
	if (q->header.version >= 3) {
		r = keep_part(q, offset, bytes);
		flags |= REQUEST_UNCHANGED;
	}
	return r == -ENOTSUP ? qcow2_zero_part(q, offset, bytes, flags) : r;
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
		r = store_part(q, offset, bytes, flags);
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
	if (needs_data(q, flags))
		return flags & REQUEST_NO_FALLBACK ? -ENOTSUP : qcow2_write_zeroes(q, offset, bytes);
	if (first > last)
		return store_part(q, offset, bytes, flags);
	r = store_part(q, offset, first - offset, flags);
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
