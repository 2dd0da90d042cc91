/* SPDX-License-Identifier: MIT */
/*
 * Fewer refcount blocks, after an image has shrunk. Node's loop.
 *
 * 1. A block goes when it counts nothing, or nothing but itself. The refcount
 *    table without it is durable before its cluster is given out, for which
 *    qcow2.lock is held all the time.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"

/* Whether block @index, at cluster @self, counts nothing else. */
static int co_fn is_unused(struct qcow2 *q, uint64_t index, uint64_t self, bool *ret)
{
	uint64_t first = index << q->block_bits, end = (index + 1) << q->block_bits;

	*ret = false;
	for (uint64_t cluster = first; cluster < end; cluster++) {
		uint64_t refcount;
		int r = qcow2_refcount_get(q, cluster, &refcount);

		if (r < 0)
			return r;
		if (refcount > (cluster == self))
			return 0;
	}
	*ret = true;
	return 0;
}

/* Drop it from the table in memory. */
static void drop_block(struct qcow2 *q, uint64_t index)
{
	uint64_t offset = q->reftable.entries[index];

	qcow2_table_set(&q->reftable, index, 0);
	qcow2_metadata_remove(q, offset, METADATA_REFCOUNT_BLOCK);
	qcow2_cache_forget(&q->refcount_cache, offset, q->cluster_bytes);
	q->free_hint = MIN(q->free_hint, index << q->block_bits);
}

/* The table is durable. Who has counted itself is gone with its count; others are freed as any. */
static void free_dropped(struct qcow2 *q, const struct qcow2_table *old)
{
	for (uint32_t i = 0; i < q->reftable.count; i++) {
		uint64_t offset = old->entries[i];

		if (q->reftable.entries[i] != offset &&
		    offset >> q->cluster_bits >> q->block_bits != i)
			qcow2_free_later(q, offset, q->cluster_bytes, FREE_OTHER);
	}
}

/* The new table could not be written: the old one stays in force. */
static void undo(struct qcow2 *q, const struct qcow2_table *old)
{
	for (uint32_t i = 0; i < q->reftable.count; i++) {
		if (q->reftable.entries[i] == old->entries[i])
			continue;
		qcow2_table_set(&q->reftable, i, old->entries[i]);
		qcow2_metadata_add(q, old->entries[i], METADATA_REFCOUNT_BLOCK);
	}
}

static int co_fn shrink_locked(struct qcow2 *q, const struct qcow2_table *old)
{
	int r = 0;

	for (uint32_t i = q->reftable.count; r == 0 && i-- > 1;) {
		uint64_t entry = q->reftable.entries[i];
		bool unused = false;

		if (entry == 0 || (entry & REFTABLE_RESERVED))
			continue;
		r = is_unused(q, i, entry >> q->cluster_bits, &unused);
		if (r == 0 && unused)
			drop_block(q, i);
	}
	if (r == 0)
		r = qcow2_flush_metadata(q, FLUSH_REFCOUNTS);
	if (r == 0)
		r = edge_flush(q->node->file);
	if (r < 0)
		undo(q, old);
	else
		free_dropped(q, old);
	return r;
}

int co_fn qcow2_refcount_shrink(struct qcow2 *q)
{
	struct qcow2_table old;

	co_mutex_lock(&q->lock);
	int r = qcow2_table_copy(&q->reftable, q->reftable.offset, q->reftable.count, &old);

	if (r == 0) {
		r = shrink_locked(q, &old);
		qcow2_table_finish(&old);
	}
	co_mutex_unlock(&q->lock);
	return r < 0 ? r : qcow2_settle(q);
}
