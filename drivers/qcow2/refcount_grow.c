/* SPDX-License-Identifier: MIT */
/*
 * More refcount blocks, and a larger refcount table. Node's loop, under
 * qcow2.lock.
 *
 * 1. A new refcount block lies in a free cluster that it covers itself, or that
 *    another block covers, and is filled with zeroes in the file before the
 *    refcount table in memory points at it. The table on disk follows when the
 *    block is durable (flush.c).
 * 2. A larger table is written, with blocks that cover it and themselves, to
 *    clusters beyond everything that the old one covers; these are durable
 *    before the header names the new table, and that is durable before the old
 *    table's clusters become free.
 */
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"

/* The slice that holds, or will hold, the refcount of zeroed block @index at @cluster. */
static int co_fn get_own_slice(struct qcow2 *q, uint64_t index, uint64_t cluster,
			       struct slice **ret)
{
	uint64_t in_block = cluster & ((UINT64_C(1) << q->block_bits) - 1);
	uint64_t slice = in_block >> q->refcount_slice_bits;

	if (cluster >> q->block_bits != index)
		return qcow2_refcount_slice(q, cluster, ret);
	return qcow2_cache_get_zeroed(&q->refcount_cache,
				      (cluster << q->cluster_bits) +
					      slice * q->refcount_cache.slice_bytes, ret);
}

int co_fn qcow2_refcount_block_create(struct qcow2 *q, uint64_t index, uint64_t cluster)
{
	uint64_t offset = cluster << q->cluster_bits;
	struct slice *s;

	qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC);
	int r = qcow2_overlap_check(q, offset, q->cluster_bytes, 0);

	if (r < 0)
		return r;
	qcow2_cache_forget(&q->refcount_cache, offset, q->cluster_bytes);
	qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE);
	r = qcow2_zero_host(q, offset, q->cluster_bytes);
	if (r == 0)
		r = get_own_slice(q, index, cluster, &s);
	if (r < 0)
		return r;
	/* Without a wait in between: a flush takes the table's entry and the refcount, or none. */
	qcow2_refcount_store(qcow2_cache_modify(&q->refcount_cache, s), q->refcount_order,
			     qcow2_refcount_index(q, cluster), 1);
	q->fresh_from = MAX(q->fresh_from, cluster + 1);
	qcow2_table_set(&q->reftable, index, offset);
	qcow2_metadata_add(q, offset, METADATA_REFCOUNT_BLOCK);
	qcow2_cache_put(&q->refcount_cache, s);
	return 0;
}

/* The layout of a larger table: blocks first, then the table, in clusters from @base on. */
struct growth {
	uint64_t base, blocks, table_clusters;
	uint64_t entries;
};

/* Find the layout that covers @cluster and itself. */
static int plan(const struct qcow2 *q, uint64_t cluster, struct growth *ret)
{
	uint64_t covered = (uint64_t)q->reftable.count << q->block_bits;
	uint64_t per_cluster = q->cluster_bytes / sizeof(uint64_t);
	struct growth g = {.base = covered, .blocks = 1};

	for (;;) {
		uint64_t end = MAX(cluster + 1, g.base + g.blocks + g.table_clusters);

		/* Half as much again, so that growing stays rare. */
		g.entries = MAX(div_round_up(end, UINT64_C(1) << q->block_bits),
				(uint64_t)q->reftable.count + q->reftable.count / 2);
		uint64_t table = div_round_up(g.entries, per_cluster);
		uint64_t blocks =
			div_round_up(g.blocks + table, UINT64_C(1) << q->block_bits);

		if (table == g.table_clusters && blocks == g.blocks)
			break;
		g.table_clusters = table;
		g.blocks = MAX(blocks, g.blocks);
	}
	g.entries = g.table_clusters * per_cluster;
	if (g.table_clusters > REFTABLE_BYTES_MAX / q->cluster_bytes ||
	    g.base + g.blocks + g.table_clusters > (uint64_t)INT64_MAX >> q->cluster_bits)
		return -EFBIG;
	*ret = g;
	return 0;
}

/* Write the new blocks: refcount 1 for all clusters of the growth. */
static int co_fn write_blocks(struct qcow2 *q, const struct growth *g)
{
	uint8_t *block = buffer_get(q->loop, q->cluster_bytes);
	uint64_t left = g->blocks + g->table_clusters;
	int r = block ? 0 : -ENOMEM;

	qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE_BLOCKS);
	for (uint64_t i = 0; i < g->blocks && r == 0; i++) {
		uint64_t n = MIN(left, UINT64_C(1) << q->block_bits);

		memset(block, 0, q->cluster_bytes);
		for (uint64_t j = 0; j < n; j++)
			qcow2_refcount_store(block, q->refcount_order, j, 1);
		left -= n;
		r = edge_write(q->node->file, (g->base + i) << q->cluster_bits, q->cluster_bytes,
			       block, 0);
	}
	if (block)
		buffer_put(q->loop, block, q->cluster_bytes);
	return r;
}

/* Write the new table: what the old one has, and the new blocks. */
static int co_fn write_table(struct qcow2 *q, const struct growth *g)
{
	uint64_t bytes = g->table_clusters << q->cluster_bits;
	uint8_t *data = buffer_get(q->loop, bytes);

	if (!data)
		return -ENOMEM;
	memset(data, 0, bytes);
	qcow2_table_encode(&q->reftable, data, g->entries);
	for (uint64_t i = 0; i < g->blocks; i++)
		store_be64(data + ((g->base >> q->block_bits) + i) * sizeof(uint64_t),
			   (g->base + i) << q->cluster_bits);
	qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC_WRITE_TABLE);
	int r = edge_write(q->node->file, (g->base + g->blocks) << q->cluster_bits, bytes, data, 0);

	buffer_put(q->loop, data, bytes);
	return r;
}

/* Let header and memory name the new table. */
static int co_fn switch_table(struct qcow2 *q, const struct growth *g)
{
	uint64_t offset = (g->base + g->blocks) << q->cluster_bits;
	struct qcow2_table grown;
	int r = qcow2_table_copy(&q->reftable, offset, g->entries, &grown);

	if (r < 0)
		return r;
	q->header.reftable_offset = offset;
	q->header.reftable_clusters = g->table_clusters;
	qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC_SWITCH_TABLE);
	r = qcow2_header_update(q);
	if (r < 0) {
		qcow2_table_finish(&grown);
		return qcow2_header_lost(q, r);
	}
	qcow2_table_finish(&q->reftable);
	q->reftable = grown;
	for (uint64_t i = 0; i < g->blocks; i++) {
		uint64_t index = (g->base >> q->block_bits) + i;

		q->reftable.entries[index] = (g->base + i) << q->cluster_bits;
		qcow2_metadata_add(q, q->reftable.entries[index], METADATA_REFCOUNT_BLOCK);
	}
	return 0;
}

static int co_fn grow_locked(struct qcow2 *q, const struct growth *g)
{
	uint64_t offset = g->base << q->cluster_bits;
	uint64_t clusters = g->blocks + g->table_clusters;
	int r = qcow2_overlap_check(q, offset, clusters << q->cluster_bits, 0);

	/* Blocks that only the table in memory names so far must be durable with it. */
	if (r == 0)
		r = qcow2_cache_write_dirty(&q->refcount_cache);
	qcow2_cache_forget(&q->refcount_cache, offset, clusters << q->cluster_bits);
	if (r == 0)
		r = write_blocks(q, g);
	if (r == 0)
		r = write_table(q, g);
	if (r == 0)
		r = edge_flush(q->node->file);
	if (r == 0)
		r = switch_table(q, g);
	return r;
}

int co_fn qcow2_reftable_grow(struct qcow2 *q, uint64_t cluster)
{
	uint64_t old = q->reftable.offset >> q->cluster_bits;
	uint64_t old_clusters = q->header.reftable_clusters;
	struct growth g;

	qcow2_event(q, BLKDEBUG_EVENT_REFTABLE_GROW);
	int r = plan(q, cluster, &g);

	if (r < 0)
		return r;
	co_mutex_lock(&q->flush_lock); /* a flush may be writing the old table */
	r = grow_locked(q, &g);
	co_mutex_unlock(&q->flush_lock);
	q->fresh_from = MAX(q->fresh_from, g.base + g.blocks + g.table_clusters);
	if (r < 0)
		return r;
	/* A failure leaks the old table. */
	(void)qcow2_refcount_decrement(q, old, old_clusters);
	return 0;
}
