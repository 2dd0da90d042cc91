/* SPDX-License-Identifier: MIT */
/*
 * The L1 table and the refcount table in memory. Node's loop.
 *
 * 1. Entries in memory are what the image means; the disk follows at the next
 *    flush, sector by sector.
 * 2. A table occupies whole clusters of the file, so that its last sector may be
 *    written whole; entries behind the last one are zero.
 */
#include "drivers/qcow2/overlap.h"

#define SECTOR_BYTES (TABLE_SECTOR_ENTRIES * sizeof(uint64_t))
/* Neighbouring sectors that are written together. */
#define RUN_SECTORS 128

static uint32_t sectors(uint32_t entries)
{
	return div_round_up(entries, TABLE_SECTOR_ENTRIES);
}

/* 64 sectors to a word; at least one word. */
static size_t dirty_words(uint32_t entries)
{
	return sectors(entries) / 64 + 1;
}

int co_fn qcow2_table_load(struct qcow2_table *t, struct qcow2 *q, uint64_t offset, uint32_t count)
{
	uint64_t bytes = (uint64_t)count * sizeof(uint64_t), end;

	if (add_overflows(offset, bytes, &end) || end > qcow2_file_size(q))
		return -EIO;
	uint64_t *entries = malloc(MAX(bytes, 1));
	uint64_t *dirty = calloc(dirty_words(count), sizeof(uint64_t));
	int r = entries && dirty ? 0 : -ENOMEM;

	if (r == 0 && count > 0)
		r = edge_read(q->node->file, offset, bytes, entries, 0);
	if (r < 0) {
		free(entries);
		free(dirty);
		return r;
	}
	for (uint32_t i = 0; i < count; i++)
		entries[i] = be64toh(entries[i]);
	*t = (struct qcow2_table){
		.entries = entries, .count = count, .offset = offset, .dirty = dirty};
	return 0;
}

void qcow2_table_finish(struct qcow2_table *t)
{
	free(t->entries);
	free(t->dirty);
	*t = (struct qcow2_table){0};
}

static void mark(struct qcow2_table *t, uint32_t sector)
{
	uint64_t bit = UINT64_C(1) << (sector % 64);

	if (!(t->dirty[sector / 64] & bit))
		t->dirty_count++;
	t->dirty[sector / 64] |= bit;
}

void qcow2_table_set(struct qcow2_table *t, uint32_t index, uint64_t entry)
{
	t->entries[index] = entry;
	mark(t, index / TABLE_SECTOR_ENTRIES);
}

int qcow2_table_copy(const struct qcow2_table *t, uint64_t offset, uint32_t count,
		     struct qcow2_table *ret)
{
	uint64_t *entries = calloc(MAX(count, 1), sizeof(uint64_t));
	uint64_t *dirty = calloc(dirty_words(count), sizeof(uint64_t));

	if (!entries || !dirty) {
		free(entries);
		free(dirty);
		return -ENOMEM;
	}
	memcpy(entries, t->entries, MIN(count, t->count) * sizeof(uint64_t));
	*ret = (struct qcow2_table){
		.entries = entries, .count = count, .offset = offset, .dirty = dirty};
	return 0;
}

void qcow2_table_encode(const struct qcow2_table *t, uint8_t *ret, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		store_be64(ret + i * sizeof(uint64_t), i < t->count ? t->entries[i] : 0);
}

void qcow2_table_take(struct qcow2_table *t, struct qcow2_table_snapshot *ret)
{
	*ret = (struct qcow2_table_snapshot){0};
	if (t->dirty_count == 0)
		return;
	ret->sectors = xalloc(t->dirty_count, sizeof(uint32_t));
	ret->data = xalloc(t->dirty_count, SECTOR_BYTES);
	for (uint32_t sector = 0; sector < sectors(t->count); sector++) {
		if (!(t->dirty[sector / 64] >> (sector % 64) & 1))
			continue;
		uint8_t *data = ret->data + ret->count * SECTOR_BYTES;
		uint32_t first = sector * TABLE_SECTOR_ENTRIES;

		for (uint32_t i = first; i < MIN(first + TABLE_SECTOR_ENTRIES, t->count); i++)
			store_be64(data + (i - first) * sizeof(uint64_t), t->entries[i]);
		ret->sectors[ret->count++] = sector;
	}
	memset(t->dirty, 0, dirty_words(t->count) * sizeof(uint64_t));
	t->dirty_count = 0;
}

static void tell_update(struct qcow2 *q, unsigned kind)
{
	if (kind == METADATA_ACTIVE_L1) {
		qcow2_event(q, BLKDEBUG_EVENT_L1_UPDATE);
	} else {
		qcow2_event(q, BLKDEBUG_EVENT_REFTABLE_UPDATE);
		qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC_HOOKUP);
	}
}

int co_fn qcow2_table_write(struct qcow2_table *t, struct qcow2 *q, unsigned kind,
			    const struct qcow2_table_snapshot *snapshot)
{
	unsigned done = 0;

	while (done < snapshot->count) {
		const uint32_t *sector = &snapshot->sectors[done];
		unsigned n = 1;

		while (n < RUN_SECTORS && done + n < snapshot->count && sector[n] == sector[0] + n)
			n++;
		uint64_t offset = t->offset + sector[0] * SECTOR_BYTES;

		tell_update(q, kind);
		int r = qcow2_overlap_check(q, offset, n * SECTOR_BYTES, kind);

		if (r == 0)
			r = edge_write(q->node->file, offset, n * SECTOR_BYTES,
				       snapshot->data + done * SECTOR_BYTES, 0);
		if (r < 0)
			return r;
		done += n;
	}
	return 0;
}

void qcow2_table_untake(struct qcow2_table *t, const struct qcow2_table_snapshot *snapshot)
{
	for (unsigned i = 0; i < snapshot->count; i++) {
		if (snapshot->sectors[i] < sectors(t->count))
			mark(t, snapshot->sectors[i]);
	}
}

void qcow2_table_snapshot_finish(struct qcow2_table_snapshot *snapshot)
{
	free(snapshot->sectors);
	free(snapshot->data);
	*snapshot = (struct qcow2_table_snapshot){0};
}
