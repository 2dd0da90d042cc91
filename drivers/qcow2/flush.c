/* SPDX-License-Identifier: MIT */
/*
 * Bringing tables to the file in an order that survives a crash at any point.
 *
 * What a table entry promises must be durable before the entry is written:
 *
 * 1. Refcount blocks first. They may be newer than the rest: too high refcounts
 *    are leaks, and too low ones do not occur (free.c).
 * 2. Then, behind a flush, the refcount table. Its new blocks were filled with
 *    zeroes when they were made, and hold their refcounts since step 1.
 * 3. Then, behind a flush, L2 slices and the L1 table. That flush also makes the
 *    data durable that new L2 entries point at, whether written by the guest or
 *    copied, as they are linked after the write has ended; and the first content
 *    of new L2 tables, so that a new L1 entry shows either the old or the new
 *    state of each cluster.
 * 4. The caller, or we, flush again; then everything is durable, and what these
 *    tables no longer refer to may be given back.
 *
 * Everything for steps 2 to 4 is taken at one moment at the start: what others
 * change meanwhile waits for the next time, and is not held up. With lazy
 * refcounts steps 1 and 2 are left out; the dirty bit, durable before the first
 * allocation, makes the next opener rebuild the refcounts.
 */
#include "drivers/qcow2/flush.h"

#include "drivers/qcow2/cluster.h"

struct batch {
	struct list l2; /* frozen slices */
	struct qcow2_table_snapshot l1, reftable;
	struct freed_list freed;
};

static void take(struct qcow2 *q, unsigned flags, bool lazy, struct batch *b)
{
	*b = (struct batch){0};
	list_init(&b->l2);
	qcow2_cache_freeze(&q->l2_cache, &b->l2);
	qcow2_table_take(&q->l1, &b->l1);
	if (!lazy)
		qcow2_table_take(&q->reftable, &b->reftable);
	if (flags & FLUSH_RECLAIM) {
		b->freed = q->freed;
		q->freed = (struct freed_list){0};
	}
}

/* After a failure: everything that was not written is to be written again. */
static void put_back(struct qcow2 *q, struct batch *b)
{
	qcow2_cache_thaw(&q->l2_cache, &b->l2);
	qcow2_table_untake(&q->l1, &b->l1);
	qcow2_table_untake(&q->reftable, &b->reftable);
	qcow2_freed_list_append(&q->freed, &b->freed);
}

static int co_fn write_refcounts(struct qcow2 *q, struct batch *b)
{
	int r = qcow2_cache_write_dirty(&q->refcount_cache);

	if (r < 0 || b->reftable.count == 0)
		return r;
	r = edge_flush(q->node->file);
	if (r == 0)
		r = qcow2_table_write(&q->reftable, q, METADATA_REFCOUNT_TABLE, &b->reftable);
	return r;
}

static int co_fn write_mapping(struct qcow2 *q, struct batch *b)
{
	if (list_is_empty(&b->l2) && b->l1.count == 0)
		return 0;
	int r = edge_flush(q->node->file);

	if (r == 0)
		r = qcow2_cache_write_set(&q->l2_cache, &b->l2);
	if (r == 0)
		r = qcow2_table_write(&q->l1, q, METADATA_ACTIVE_L1, &b->l1);
	return r;
}

static int co_fn flush_locked(struct qcow2 *q, unsigned flags, struct freed_list *ret_freed)
{
	bool lazy = q->settings.lazy_refcounts && !(flags & FLUSH_REFCOUNTS);
	struct batch b;

	if (q->node->corrupt)
		return -EIO;
	take(q, flags, lazy, &b);
	int r = lazy ? 0 : write_refcounts(q, &b);

	if (r == 0)
		r = write_mapping(q, &b);
	if (r == 0 && b.freed.count > 0)
		r = edge_flush(q->node->file);
	if (r < 0)
		put_back(q, &b);
	else
		*ret_freed = b.freed;
	qcow2_table_snapshot_finish(&b.l1);
	qcow2_table_snapshot_finish(&b.reftable);
	return r;
}

int co_fn qcow2_flush_metadata(struct qcow2 *q, unsigned flags)
{
	struct freed_list freed = {0};

	co_mutex_lock(&q->flush_lock);
	int r = flush_locked(q, flags, &freed);

	co_mutex_unlock(&q->flush_lock);
	if (r == 0 && freed.count > 0)
		r = qcow2_reclaim(q, &freed);
	return r;
}

int co_fn qcow2_flush(struct node *n)
{
	struct qcow2 *q = n->state;

	return q->writing ? qcow2_flush_metadata(q, FLUSH_RECLAIM) : 0;
}

int co_fn qcow2_make_l2_clean(struct qcow2 *q)
{
	return qcow2_flush_metadata(q, 0);
}

int co_fn qcow2_make_refcounts_clean(struct qcow2 *q)
{
	return qcow2_cache_write_dirty(&q->refcount_cache);
}
