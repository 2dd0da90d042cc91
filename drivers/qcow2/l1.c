/* SPDX-License-Identifier: MIT */
/*
 * The L1 table: finding L2 tables, making them, copying those that are shared
 * with a snapshot, and growing. Node's loop.
 *
 * 1. Bit 63 of an entry says that the L2 table's refcount is one. A table
 *    without it is never changed: it is copied first.
 * 2. A new L2 table has its first content (zeroes, or the copy) in the file
 *    before the entry in memory names it. The entry on disk follows behind a
 *    flush (flush.c).
 * 3. A larger L1 table is durable before the header names it, and that is durable
 *    before the old one's clusters become free.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"

int co_fn qcow2_l1_entry(struct qcow2 *q, uint64_t index, uint64_t *ret_offset)
{
	uint64_t entry = index < q->l1.count ? q->l1.entries[index] : 0;
	uint64_t offset = entry & ENTRY_OFFSET;

	if (qcow2_in_cluster(q, offset) != 0 || (offset == 0 && (entry & ENTRY_COPIED)))
		return qcow2_signal_corruption(
			q, "L2 table offset %#" PRIx64 " unaligned (L1 index: %#" PRIx64 ")",
			offset, index);
	*ret_offset = offset;
	return 0;
}

/* Fill the new table at @to with what @from has, as shared clusters. */
static int co_fn copy_table(struct qcow2 *q, uint64_t from, uint64_t to)
{
	uint8_t *data = buffer_get(q->loop, q->cluster_bytes);

	if (!data)
		return -ENOMEM;
	int r = from + q->cluster_bytes > qcow2_file_size(q) ? -EIO : 0;

	qcow2_event(q, BLKDEBUG_EVENT_L2_ALLOC_COW_READ);
	if (r == 0)
		r = edge_read(q->node->file, from, q->cluster_bytes, data, 0);
	for (uint64_t i = 0; r == 0 && i < UINT64_C(1) << q->l2_bits; i++) {
		struct l2_entry entry = qcow2_l2_load_at(q, data, i);

		if (!(entry.descriptor & ENTRY_COPIED) || (entry.descriptor & ENTRY_COMPRESSED))
			continue;
		entry.descriptor &= ~ENTRY_COPIED;
		qcow2_l2_store_at(q, data, i, entry);
	}
	qcow2_event(q, BLKDEBUG_EVENT_L2_ALLOC_WRITE);
	if (r == 0)
		r = edge_write(q->node->file, to, q->cluster_bytes, data, 0);
	buffer_put(q->loop, data, q->cluster_bytes);
	return r;
}

/* Give L1 entry @index a table of its own, with the content of the one at @old, if any. */
static int co_fn make_table(struct qcow2 *q, uint32_t index, uint64_t old)
{
	struct allocation a;
	int r = qcow2_allocate_exactly(q, 1, &a);

	if (r < 0)
		return r;
	/* The cluster may have held a table before, slices of which are still cached. */
	qcow2_cache_forget(&q->l2_cache, a.offset, q->cluster_bytes);
	if (!old)
		qcow2_event(q, BLKDEBUG_EVENT_L2_ALLOC_WRITE);
	r = old ? copy_table(q, old, a.offset) : qcow2_zero_host(q, a.offset, q->cluster_bytes);
	if (r < 0) {
		qcow2_unallocate(q, a.offset, 1);
		return r;
	}
	qcow2_metadata_add(q, a.offset, METADATA_ACTIVE_L2);
	qcow2_table_set(&q->l1, index, a.offset | ENTRY_COPIED);
	if (old) {
		qcow2_metadata_remove(q, old, METADATA_ACTIVE_L2);
		qcow2_free_later(q, old, q->cluster_bytes, FREE_OTHER);
	}
	return 0;
}

static int co_fn own_locked(struct qcow2 *q, uint32_t index, uint64_t *ret_offset)
{
	uint64_t old, refcount = 0;
	int r = qcow2_l1_entry(q, index, &old);

	if (r < 0)
		return r;
	if (old != 0 && !(q->l1.entries[index] & ENTRY_COPIED)) {
		co_mutex_lock(&q->lock);
		r = qcow2_refcount_get(q, old >> q->cluster_bits, &refcount);
		co_mutex_unlock(&q->lock);
		if (r < 0)
			return r;
		if (refcount == 1) /* nobody else has it: the bit was merely stale */
			qcow2_table_set(&q->l1, index, old | ENTRY_COPIED);
	}
	if (old == 0 || !(q->l1.entries[index] & ENTRY_COPIED))
		r = make_table(q, index, old);
	*ret_offset = q->l1.entries[index] & ENTRY_OFFSET;
	return r;
}

int co_fn qcow2_l2_table_own(struct qcow2 *q, uint32_t index, uint64_t *ret_offset)
{
	if (index >= q->l1.count)
		return -EIO;
	uint64_t entry = q->l1.entries[index];

	if ((entry & ENTRY_COPIED) && (entry & ENTRY_OFFSET))
		return qcow2_l1_entry(q, index, ret_offset);
	co_mutex_lock(&q->l1_lock);
	int r = own_locked(q, index, ret_offset);

	co_mutex_unlock(&q->l1_lock);
	return r;
}

/* Write the larger table to @a. */
static int co_fn write_grown(struct qcow2 *q, const struct allocation *a, uint32_t count)
{
	uint64_t bytes = a->count << q->cluster_bits;
	uint8_t *data = buffer_get(q->loop, bytes);

	if (!data)
		return -ENOMEM;
	memset(data, 0, bytes);
	qcow2_table_encode(&q->l1, data, count);
	qcow2_event(q, BLKDEBUG_EVENT_L1_GROW_WRITE_TABLE);
	int r = edge_write(q->node->file, a->offset, bytes, data, 0);

	buffer_put(q->loop, data, bytes);
	return r < 0 ? r : edge_flush(q->node->file);
}

/* Let header and memory name the larger table at @a. */
static int co_fn switch_l1(struct qcow2 *q, const struct allocation *a, uint32_t count)
{
	struct qcow2_table grown;
	int r = qcow2_table_copy(&q->l1, a->offset, count, &grown);

	if (r < 0)
		return r;
	q->header.l1_offset = a->offset;
	q->header.l1_entries = count;
	qcow2_event(q, BLKDEBUG_EVENT_L1_GROW_ACTIVATE_TABLE);
	r = qcow2_header_update(q);
	if (r < 0) {
		qcow2_table_finish(&grown);
		return qcow2_header_lost(q, r);
	}
	qcow2_table_finish(&q->l1);
	q->l1 = grown;
	return 0;
}

static int co_fn grow_locked(struct qcow2 *q, uint64_t count)
{
	struct allocation a;
	uint64_t old = q->l1.offset, old_bytes = q->l1.count * sizeof(uint64_t);

	qcow2_event(q, BLKDEBUG_EVENT_L1_GROW_ALLOC_TABLE);
	int r = qcow2_allocate_exactly(q, qcow2_clusters(q, count * sizeof(uint64_t)), &a);

	if (r < 0)
		return r;
	/* The new table's refcounts, and whatever the old table points at, come first. */
	r = qcow2_flush_metadata(q, FLUSH_REFCOUNTS);
	if (r == 0) {
		co_mutex_lock(&q->flush_lock); /* a flush may be writing the old table */
		r = write_grown(q, &a, count);
		if (r == 0)
			r = switch_l1(q, &a, count);
		co_mutex_unlock(&q->flush_lock);
	}
	if (r < 0) {
		if (!q->node->corrupt)
			qcow2_unallocate(q, a.offset, a.count);
		return r;
	}
	if (old_bytes > 0)
		qcow2_free_later(q, old, old_bytes, FREE_OTHER);
	return 0;
}

int co_fn qcow2_l1_grow(struct qcow2 *q, uint64_t count, struct error **errp)
{
	if (count > L1_BYTES_MAX / sizeof(uint64_t))
		return error_set_errno(errp, -EFBIG, "Failed to grow the L1 table");
	co_mutex_lock(&q->l1_lock);
	int r = count > q->l1.count ? grow_locked(q, count) : 0;

	co_mutex_unlock(&q->l1_lock);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to grow the L1 table");
	return 0;
}
