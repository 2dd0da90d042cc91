/* SPDX-License-Identifier: MIT */
/*
 * Tables of bitmaps, and their bits. See bitmap.h.
 *
 * A table entry names a cluster of bits, or says that they are all 0 or all 1. Bit j of
 * byte k, of all data in a row, stands for granule 8 k + j; those behind the last are 0.
 */
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/table.h"

uint64_t qcow2_bitmap_table_entries(const struct qcow2 *q, uint64_t size,
				    unsigned granularity_bits)
{
	uint64_t granules = div_round_up(size, UINT64_C(1) << granularity_bits);

	return qcow2_clusters(q, div_round_up(granules, 8));
}

/* The table of @b, whose entries are possible. Finish it with qcow2_table_finish(). */
static int co_fn load_table(struct qcow2 *q, const struct qcow2_bitmap *b, struct qcow2_table *ret)
{
	if (b->table_entries == 0 || b->table_entries > BITMAP_TABLE_ENTRIES_MAX ||
	    b->table_offset == 0 || qcow2_in_cluster(q, b->table_offset) != 0)
		return -EINVAL;
	int r = qcow2_table_load(ret, q, b->table_offset, b->table_entries);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < ret->count; i++) {
		uint64_t entry = ret->entries[i], host = entry & ENTRY_OFFSET;
		bool possible = host == 0 ? entry <= BITMAP_TABLE_ONES
					  : entry == host && qcow2_in_cluster(q, host) == 0 &&
						    host <= qcow2_file_size(q) - q->cluster_bytes;

		if (!possible || qcow2_file_size(q) < q->cluster_bytes) {
			qcow2_table_finish(ret);
			return -EINVAL;
		}
	}
	return 0;
}

int co_fn qcow2_bitmap_load(struct qcow2 *q, const struct qcow2_bitmap *b,
			    struct dirty_bitmap *bits)
{
	uint64_t span = (q->cluster_bytes * 8) << b->granularity_bits; /* of a cluster of bits */
	struct qcow2_table t;

	if (b->table_entries !=
	    qcow2_bitmap_table_entries(q, dirty_bitmap_size(bits), b->granularity_bits))
		return -EINVAL;
	int r = load_table(q, b, &t);

	if (r < 0)
		return r;
	uint8_t *data = buffer_get(q->loop, q->cluster_bytes);

	r = data ? 0 : -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < t.count; i++) {
		if (t.entries[i] == BITMAP_TABLE_ONES) {
			dirty_bitmap_set(bits, i * span, span);
		} else if (t.entries[i] != 0) {
			r = edge_read(q->node->file, t.entries[i], q->cluster_bytes, data, 0);
			if (r == 0)
				dirty_bitmap_load(bits, i * q->cluster_bytes, data,
						  q->cluster_bytes);
		}
	}
	if (data)
		buffer_put(q->loop, data, q->cluster_bytes);
	qcow2_table_finish(&t);
	return r;
}

static int co_fn write_at(struct qcow2 *q, uint64_t offset, uint64_t bytes, const void *data)
{
	int r = qcow2_overlap_check(q, offset, bytes, 0);

	return r < 0 ? r : edge_write(q->node->file, offset, bytes, data, 0);
}

/* Write one cluster of bits, if it needs one. */
static int co_fn write_bits(struct qcow2 *q, const uint8_t *data, uint64_t *ret_entry)
{
	struct allocation a;

	*ret_entry = 0;
	if (buffer_is_zero(data, q->cluster_bytes))
		return 0;
	int r = qcow2_allocate_exactly(q, 1, &a);

	if (r < 0)
		return r;
	*ret_entry = a.offset;
	return write_at(q, a.offset, q->cluster_bytes, data);
}

static int co_fn write_table(struct qcow2 *q, const uint64_t *entries, uint32_t count,
			     struct qcow2_bitmap *b)
{
	uint64_t bytes = count * sizeof(uint64_t);
	struct allocation a;
	int r = qcow2_allocate_exactly(q, qcow2_clusters(q, bytes), &a);

	if (r < 0)
		return r;
	_cleanup_free_ uint8_t *data = malloc(bytes);

	for (uint32_t i = 0; data && i < count; i++)
		store_be64(data + i * sizeof(uint64_t), entries[i]);
	r = data ? write_at(q, a.offset, bytes, data) : -ENOMEM;
	if (r < 0) {
		qcow2_unallocate(q, a.offset, a.count);
		return r;
	}
	b->table_offset = a.offset;
	b->table_entries = count;
	return 0;
}

int co_fn qcow2_bitmap_write(struct qcow2 *q, const struct dirty_bitmap *bits,
			     struct qcow2_bitmap *b)
{
	uint64_t count =
		qcow2_bitmap_table_entries(q, dirty_bitmap_size(bits), b->granularity_bits);
	_cleanup_free_ uint64_t *entries = calloc(count, sizeof(uint64_t));
	uint8_t *data = buffer_get(q->loop, q->cluster_bytes);
	int r = entries && data ? 0 : -ENOMEM;

	if (count > BITMAP_TABLE_ENTRIES_MAX)
		r = -EFBIG;
	for (uint64_t i = 0; r == 0 && i < count; i++) {
		dirty_bitmap_save(bits, i * q->cluster_bytes, data, q->cluster_bytes);
		r = write_bits(q, data, &entries[i]);
	}
	if (r == 0)
		r = write_table(q, entries, count, b);
	for (uint64_t i = 0; r < 0 && entries && i < count; i++) {
		if (entries[i] != 0)
			qcow2_unallocate(q, entries[i], 1);
	}
	if (data)
		buffer_put(q->loop, data, q->cluster_bytes);
	return r;
}

void co_fn qcow2_bitmap_drop(struct qcow2 *q, const struct qcow2_bitmap *b)
{
	struct qcow2_table t;

	/* What cannot be read leaks. */
	if (load_table(q, b, &t) < 0)
		return;
	for (uint32_t i = 0; i < t.count; i++) {
		if (t.entries[i] & ENTRY_OFFSET)
			qcow2_free_later(q, t.entries[i], q->cluster_bytes, FREE_OTHER);
	}
	qcow2_free_later(q, b->table_offset, b->table_entries * sizeof(uint64_t), FREE_OTHER);
	qcow2_table_finish(&t);
}
