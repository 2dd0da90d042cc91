/* SPDX-License-Identifier: MIT */
/*
 * Changing the image's size. Node's loop; nobody writes beyond the smaller size
 * meanwhile.
 *
 * 1. Growing: what the new size uncovers (the tail of the last cluster, clusters
 *    that a shrinking cut short has left beyond the end, a longer backing file) is
 *    durably zero before the header has the new size.
 * 2. Shrinking: the header has the new size durably before anything is dropped.
 *    From then on it is the size, whether or not everything can be dropped, unless
 *    the tables turn out to be damaged: then the old size is put back.
 */
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"

/* Whole clusters of a longer backing file. */
static int co_fn hide_backing(struct qcow2 *q, uint64_t from, uint64_t size)
{
	uint64_t shown = q->node->backing ? q->node->backing->child->size : 0;
	uint64_t end = align_up(MIN(size, shown), q->cluster_bytes);

	if (from >= end)
		return 0;
	int r = qcow2_drop(q, from, end - from, DROP_ZERO_UNMAP);

	return r == -ENOTSUP ? qcow2_write_zeroes(q, from, end - from) : r;
}

static int co_fn zero_uncovered(struct qcow2 *q, uint64_t old_size, uint64_t size)
{
	uint64_t from = align_up(old_size, q->cluster_bytes);
	int r = qcow2_zero_part(q, old_size, from - old_size, 0);

	if (r == 0 && from < size)
		r = qcow2_drop(q, from, align_up(size, q->cluster_bytes) - from, DROP_ALL);
	if (r == 0)
		r = hide_backing(q, from, size);
	if (r == 0)
		r = qcow2_flush_metadata(q, 0);
	if (r == 0)
		r = edge_flush(q->node->file);
	return r;
}

static int co_fn set_header_size(struct qcow2 *q, uint64_t size, struct error **errp)
{
	uint64_t old = q->header.size;

	q->header.size = size;
	int r = qcow2_header_update(q);

	if (r == 0)
		return 0;
	/* It may have arrived nevertheless: go on only with what certainly is there. */
	q->header.size = old;
	if (qcow2_header_update(q) < 0)
		qcow2_header_lost(q, r);
	return error_set_errno(errp, r, "Failed to update the image size");
}

static int co_fn grow(struct qcow2 *q, uint64_t size, enum preallocation preallocation,
		      struct error **errp)
{
	uint64_t old_size = q->header.size;
	uint64_t first_new = align_up(old_size, q->cluster_bytes);
	int r = qcow2_l1_grow(q, div_round_up(size, qcow2_table_span(q)), errp);

	if (r < 0)
		return r;
	r = zero_uncovered(q, old_size, size);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to zero out new clusters");
	if (preallocation != PREALLOCATION_OFF && size > first_new) {
		r = qcow2_preallocate(q, first_new, size - first_new, preallocation, errp);
		if (r < 0)
			return r;
	}
	return set_header_size(q, size, errp);
}

/* Drop the L2 tables that lie wholly beyond the end; all their entries are empty. */
static void drop_tables(struct qcow2 *q, uint64_t size, uint64_t old_size)
{
	uint64_t end = MIN(div_round_up(old_size, qcow2_table_span(q)), q->l1.count);

	for (uint64_t i = div_round_up(size, qcow2_table_span(q)); i < end; i++) {
		uint64_t table = q->l1.entries[i] & ENTRY_OFFSET;

		if (table == 0 || qcow2_in_cluster(q, table) != 0)
			continue;
		qcow2_table_set(&q->l1, i, 0);
		qcow2_metadata_remove(q, table, METADATA_ACTIVE_L2);
		qcow2_cache_forget(&q->l2_cache, table, q->cluster_bytes);
		qcow2_free_later(q, table, q->cluster_bytes, FREE_OTHER);
	}
}

/* Cut off what is free at the end of the file. That it cannot be done is no failure. */
static void co_fn trim_file(struct qcow2 *q)
{
	uint64_t refcount;

	co_mutex_lock(&q->lock);
	/* Clusters that were just taken may not have made the file longer yet. */
	uint64_t clusters = qcow2_clusters(q, qcow2_file_size(q));
	uint64_t used = MAX(clusters, q->fresh_from);

	while (used > 1 && qcow2_refcount_get(q, used - 1, &refcount) == 0 && refcount == 0)
		used--;
	if (used < clusters &&
	    edge_truncate(q->node->file, used << q->cluster_bits, PREALLOCATION_OFF, NULL) == 0)
		q->fresh_from = used;
	co_mutex_unlock(&q->lock);
}

/* Give back what lies beyond the end. A failure leaves some of it there, unused. */
static void co_fn drop_beyond(struct qcow2 *q, uint64_t size, uint64_t old_size)
{
	uint64_t from = align_up(size, q->cluster_bytes);
	uint64_t to = align_up(old_size, q->cluster_bytes);
	int r = from < to ? qcow2_drop(q, from, to - from, DROP_ALL) : 0;

	if (r == 0)
		r = qcow2_flush_metadata(q, 0); /* no slice of a dropped table is dirty then */
	if (r < 0)
		return;
	qcow2_event(q, BLKDEBUG_EVENT_L1_SHRINK_WRITE_TABLE);
	co_mutex_lock(&q->l1_lock);
	drop_tables(q, size, old_size);
	co_mutex_unlock(&q->l1_lock);
	qcow2_event(q, BLKDEBUG_EVENT_L1_SHRINK_FREE_L2_CLUSTERS);
	r = qcow2_settle(q);
	if (r == 0)
		r = qcow2_refcount_shrink(q);
	if (r == 0)
		trim_file(q);
}

/* Damage was met: what is still there beyond the smaller size stays part of the image. */
static int co_fn undo_shrink(struct qcow2 *q, uint64_t old_size, struct error **errp)
{
	/* That this fails as well is no news: until somebody repairs it, nobody writes the image. */
	(void)set_header_size(q, old_size, NULL);
	q->header.size = old_size;
	return error_set_errno(errp, -EIO, "Failed to discard cropped clusters");
}

static int co_fn shrink(struct qcow2 *q, uint64_t size, struct error **errp)
{
	uint64_t old_size = q->header.size;
	int r = set_header_size(q, size, errp);

	if (r < 0)
		return r;
	drop_beyond(q, size, old_size);
	return q->node->corrupt ? undo_shrink(q, old_size, errp) : 0;
}

int co_fn qcow2_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			 struct error **errp)
{
	struct qcow2 *q = n->state;

	if (size % 512 != 0)
		return error_set(errp, -EINVAL, "The new size must be a multiple of 512");
	int r = qcow2_begin_writing(q, errp);

	if (r < 0)
		return r;
	if (q->header.snapshot_count > 0 && q->header.version < 3)
		return error_set(errp, -ENOTSUP, "Can't resize a v2 image which has snapshots");
	r = qcow2_bitmaps_check_resize(q, size, errp);
	if (r < 0)
		return r;
	if (size < q->header.size && preallocation != PREALLOCATION_OFF)
		return error_set(errp, -EINVAL,
				 "Preallocation can't be used for shrinking an image");
	if (size > q->header.size)
		r = grow(q, size, preallocation, errp);
	else if (size < q->header.size)
		r = shrink(q, size, errp);
	if (r < 0)
		return r;

	/* The largest useful L2 cache depends on the size. */
	struct qcow2_settings settings;

	if (qcow2_settings_init(&settings, q, n->options, NULL) == 0) {
		q->settings.l2_cache_bytes = settings.l2_cache_bytes;
		qcow2_cache_resize(&q->l2_cache, settings.l2_cache_bytes);
	}
	return 0;
}

int co_fn qcow2_make_empty(struct node *n, struct error **errp)
{
	struct qcow2 *q = n->state;
	int r = qcow2_begin_writing(q, errp);

	if (r < 0)
		return r;
	r = qcow2_drop(q, 0, align_up(q->header.size, q->cluster_bytes), DROP_ALL);
	if (r == 0)
		r = qcow2_settle(q);
	if (r == 0)
		trim_file(q);
	return r < 0 ? error_set_errno(errp, r, "Could not empty the image") : 0;
}
