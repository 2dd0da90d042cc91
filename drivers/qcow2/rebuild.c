/* SPDX-License-Identifier: MIT */
/*
 * Writing new refcount structures from counted references. Node's loop.
 *
 * 1. Refcount blocks and the table go behind the end of the file, where nothing
 *    else can be; blocks are made for all clusters in use and for themselves.
 * 2. They are durable before the header names the new table. The old structures
 *    were not counted, and so are free.
 */
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"

struct rebuild {
	uint64_t base;       /* first cluster of the new structures: blocks, then the table */
	uint64_t blocks;     /* that are needed */
	uint64_t table_clusters;
	uint64_t end;
};

/* Whether any cluster of block @index is in use. */
static bool is_block_needed(const struct check *c, const struct rebuild *b, uint64_t index)
{
	uint64_t first = index << c->q->block_bits, end = (index + 1) << c->q->block_bits;

	if (first < b->end && end > b->base)
		return true;
	for (uint64_t i = first; i < MIN(end, c->clusters); i++) {
		if (c->counts[i] > 0)
			return true;
	}
	return false;
}

static uint64_t needed_blocks(const struct check *c, const struct rebuild *b)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < div_round_up(b->end, UINT64_C(1) << c->q->block_bits); i++)
		n += is_block_needed(c, b, i);
	return n;
}

static int plan(const struct check *c, struct rebuild *b)
{
	const struct qcow2 *q = c->q;

	*b = (struct rebuild){.base = c->clusters, .end = c->clusters + 1};
	for (;;) {
		uint64_t entries = div_round_up(b->end, UINT64_C(1) << q->block_bits);
		uint64_t table = qcow2_clusters(q, entries * sizeof(uint64_t));
		uint64_t blocks = needed_blocks(c, b);

		if (blocks <= b->blocks && table <= b->table_clusters)
			break;
		b->blocks = MAX(blocks, b->blocks);
		b->table_clusters = MAX(table, b->table_clusters);
		b->end = b->base + b->blocks + b->table_clusters;
	}
	return b->table_clusters > REFTABLE_BYTES_MAX / q->cluster_bytes ? -EFBIG : 0;
}

static int fill_block(const struct check *c, const struct rebuild *b, uint64_t index,
		      uint8_t *block)
{
	const struct qcow2 *q = c->q;
	uint64_t first = index << q->block_bits;

	memset(block, 0, q->cluster_bytes);
	for (uint64_t i = 0; i < UINT64_C(1) << q->block_bits; i++) {
		uint64_t cluster = first + i, count = 0;

		if (cluster < c->clusters)
			count = c->counts[cluster];
		else if (cluster >= b->base && cluster < b->end)
			count = 1;
		if (count > q->refcount_max)
			return -ERANGE;
		qcow2_refcount_store(block, q->refcount_order, i, count);
	}
	return 0;
}

/* Write the blocks, and then the table that names them. */
static int co_fn write_structures(const struct check *c, const struct rebuild *b, uint8_t *block,
				  uint8_t *table)
{
	const struct qcow2 *q = c->q;
	uint64_t at = b->base;
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < div_round_up(b->end, UINT64_C(1) << q->block_bits);
	     i++) {
		if (!is_block_needed(c, b, i))
			continue;
		r = fill_block(c, b, i, block);
		qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_UPDATE);
		if (r == 0)
			r = edge_write(q->node->file, at << q->cluster_bits, q->cluster_bytes,
				       block, 0);
		store_be64(table + i * sizeof(uint64_t), at << q->cluster_bits);
		at++;
	}
	if (r == 0)
		r = edge_write(q->node->file, (b->base + b->blocks) << q->cluster_bits,
			       b->table_clusters << q->cluster_bits, table, 0);
	return r < 0 ? r : edge_flush(q->node->file);
}

/* The table in memory, from what has been written: to read it again might fail. */
static int decode_table(const struct qcow2 *q, const struct rebuild *b, const uint8_t *data,
			struct qcow2_table *ret)
{
	uint64_t bytes = b->table_clusters << q->cluster_bits;
	int r = qcow2_table_copy(&q->reftable, (b->base + b->blocks) << q->cluster_bits,
				 bytes / sizeof(uint64_t), ret);

	for (uint32_t i = 0; r == 0 && i < ret->count; i++)
		ret->entries[i] = load_be64(data + i * sizeof(uint64_t));
	return r;
}

/* Name the new table in the header, and use it: @table, which is taken over on success. */
static int co_fn switch_structures(struct check *c, const struct rebuild *b,
				   struct qcow2_table *table)
{
	struct qcow2 *q = c->q;

	q->header.reftable_offset = (b->base + b->blocks) << q->cluster_bits;
	q->header.reftable_clusters = b->table_clusters;
	int r = qcow2_header_update(q);

	if (r < 0)
		return qcow2_header_lost(q, r);
	/* L2 tables stay where they are, and may be being read. */
	qcow2_cache_finish(&q->refcount_cache);
	qcow2_refcount_cache_init(q);
	qcow2_table_finish(&q->reftable);
	q->reftable = *table;
	q->free_hint = 0;
	q->fresh_from = MAX(q->fresh_from, b->end);
	c->clusters = qcow2_clusters(q, qcow2_file_size(q));
	c->result->image_end = b->end << q->cluster_bits;
	return 0;
}

int co_fn qcow2_rebuild_refcounts(struct check *c, struct error **errp)
{
	struct qcow2 *q = c->q;
	struct qcow2_table loaded;
	struct rebuild b;
	int r = plan(c, &b);

	if (r < 0)
		return error_set_errno(errp, r, "Could not rebuild the refcounts");
	uint8_t *block = malloc(q->cluster_bytes);
	uint8_t *table = calloc(b.table_clusters, q->cluster_bytes);

	r = block && table ? write_structures(c, &b, block, table) : -ENOMEM;
	if (r == 0)
		r = decode_table(q, &b, table, &loaded);
	free(block);
	free(table);
	if (r == 0) {
		r = switch_structures(c, &b, &loaded);
		if (r < 0)
			qcow2_table_finish(&loaded);
	}
	if (r < 0)
		return error_set_errno(errp, r, "Could not rebuild the refcounts");
	return qcow2_metadata_collect(q, errp);
}
