/* SPDX-License-Identifier: MIT */
/*
 * The grain tables of an extent in memory. Node's loop.
 *
 * 1. A table that has changed stays in memory until it is written, which happens when the node
 *    is flushed or another table needs its place, and always behind a flush of the data. So a
 *    table in the file never leads to data that is not there.
 * 2. An entry is set when its grain has been written.
 * 3. A table that could not be written stays dirty, and is written by the next flush.
 */
#include <errno.h>

#include "drivers/vmdk/state.h"

/* Tables that are read at once when all are looked at. */
#define VISIT_TABLES 128

static uint64_t table_bytes(const struct vmdk_extent *x)
{
	return (uint64_t)x->header.table_entries * VMDK_ENTRY_BYTES;
}

static struct vmdk_table **slot_of(struct vmdk_extent *x, uint64_t number)
{
	return &x->tables[number % ARRAY_SIZE(x->tables)];
}

static struct vmdk_table *find(struct vmdk_extent *x, uint64_t number)
{
	struct vmdk_table *t = *slot_of(x, number);

	return t && t->number == number ? t : NULL;
}

static bool is_inside(const struct vmdk_extent *x, uint64_t offset, uint64_t bytes)
{
	return offset + bytes <= vmdk_file_size(x);
}

static int co_fn load(struct vmdk_extent *x, uint64_t number, struct vmdk_table **ret)
{
	uint64_t bytes = table_bytes(x), offset = x->directory[number] * VMDK_SECTOR_BYTES;

	/* Lost with a part of the file. */
	if (!is_inside(x, offset, bytes))
		return -EIO;
	struct vmdk_table *t = malloc(sizeof(*t) + bytes);

	if (!t)
		return -ENOMEM;
	int r = edge_read(x->file, offset, bytes, t->entries, 0);

	if (r < 0) {
		free(t);
		return r;
	}
	t->number = number;
	t->is_dirty = false;
	for (uint32_t i = 0; i < x->header.table_entries; i++)
		t->entries[i] = le32toh(t->entries[i]);
	*ret = t;
	return 0;
}

int co_fn vmdk_table_get_locked(struct vmdk_extent *x, uint64_t number, struct vmdk_table **ret)
{
	struct vmdk_table *t = find(x, number), **slot = slot_of(x, number);
	int r = 0;

	if (!t && *slot && (*slot)->is_dirty)
		r = vmdk_tables_write(x);
	if (r == 0 && !t)
		r = load(x, number, &t);
	if (r < 0)
		return r;
	if (*slot != t) {
		free(*slot);
		*slot = t;
	}
	*ret = t;
	return 0;
}

int co_fn vmdk_table_get(struct vmdk_extent *x, uint64_t number, struct vmdk_table **ret)
{
	struct vmdk_table *t = find(x, number);

	if (t) {
		*ret = t;
		return 0;
	}
	co_mutex_lock(&x->lock);
	int r = vmdk_table_get_locked(x, number, ret);

	co_mutex_unlock(&x->lock);
	return r;
}

void vmdk_table_set(struct vmdk_extent *x, struct vmdk_table *t, uint32_t index, uint32_t entry)
{
	t->entries[index] = entry;
	if (!t->is_dirty)
		x->dirty_count++;
	t->is_dirty = true;
}

static int co_fn write_table(struct vmdk_extent *x, const struct vmdk_table *t, uint8_t *buffer)
{
	uint64_t bytes = table_bytes(x);
	int r = 0;

	for (uint32_t i = 0; i < x->header.table_entries; i++)
		store_le32(buffer + i * VMDK_ENTRY_BYTES, t->entries[i]);
	if (x->redundant)
		r = edge_write(x->file, x->redundant[t->number] * VMDK_SECTOR_BYTES, bytes, buffer, 0);
	return r < 0 ? r
		     : edge_write(x->file, x->directory[t->number] * VMDK_SECTOR_BYTES, bytes,
				  buffer, 0);
}

int co_fn vmdk_tables_write(struct vmdk_extent *x)
{
	uint64_t bytes = table_bytes(x);

	if (x->dirty_count == 0)
		return 0;
	int r = edge_flush(x->file);

	if (r < 0)
		return r;
	uint8_t *buffer = buffer_get(x->node->loop, bytes);

	if (!buffer)
		return -ENOMEM;
	for (unsigned i = 0; i < ARRAY_SIZE(x->tables) && r == 0; i++) {
		struct vmdk_table *t = x->tables[i];

		if (!t || !t->is_dirty)
			continue;
		r = write_table(x, t, buffer);
		if (r == 0) {
			t->is_dirty = false;
			x->dirty_count--;
		}
	}
	buffer_put(x->node->loop, buffer, bytes);
	return r;
}

/* --- Looking up ------------------------------------------------------------------- */

static enum vmdk_run_type type_of(const struct vmdk_extent *x, uint32_t entry)
{
	if (entry == 0)
		return VMDK_RUN_NONE;
	if (entry == VMDK_ENTRY_ZERO && x->has_zero_grain)
		return VMDK_RUN_ZEROES;
	return x->is_compressed ? VMDK_RUN_COMPRESSED : VMDK_RUN_DATA;
}

/* Whether the entry goes on what begins with the entry @count before it. */
static bool continues(const struct vmdk_extent *x, const uint32_t *first, uint64_t count)
{
	enum vmdk_run_type type = type_of(x, first[0]);

	if (type_of(x, first[count]) != type || type == VMDK_RUN_COMPRESSED)
		return false;
	return type != VMDK_RUN_DATA || first[count] == first[0] + count * x->header.grain;
}

int co_fn vmdk_map(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, struct vmdk_run *ret)
{
	uint64_t number = offset / x->table_span, in_table = offset % x->table_span;
	uint64_t in_grain = offset & (x->grain_bytes - 1), index = in_table / x->grain_bytes;
	struct vmdk_table *t;

	bytes = MIN(bytes, x->table_span - in_table);
	*ret = (struct vmdk_run){.type = VMDK_RUN_NONE, .bytes = bytes};
	if (x->directory[number] == 0)
		return 0;
	int r = vmdk_table_get(x, number, &t);

	if (r < 0)
		return r;
	const uint32_t *first = &t->entries[index];
	uint64_t grains = div_round_up(in_grain + bytes, x->grain_bytes), count = 1;

	while (count < grains && continues(x, first, count))
		count++;
	ret->type = type_of(x, first[0]);
	ret->bytes = MIN(bytes, count * x->grain_bytes - in_grain);
	ret->host = first[0] * VMDK_SECTOR_BYTES;
	if (ret->type == VMDK_RUN_DATA)
		ret->host += in_grain;
	return 0;
}

/* --- All of them ------------------------------------------------------------------ */

/* How many tables from @number on lie one behind the other. */
static uint64_t adjacent(const struct vmdk_extent *x, uint64_t number)
{
	uint64_t sectors = table_bytes(x) / VMDK_SECTOR_BYTES, count = 1;

	if (table_bytes(x) % VMDK_SECTOR_BYTES != 0)
		return 1;
	while (count < VISIT_TABLES && number + count < x->header.directory_entries &&
	       x->directory[number + count] == x->directory[number] + count * sectors)
		count++;
	return count;
}

static int visit_entries(const struct vmdk_extent *x, uint64_t number, uint64_t tables,
			 const uint8_t *data,
			 int (*visit)(void *arg, uint64_t grain, uint32_t sector), void *arg)
{
	uint64_t first = number * x->header.table_entries;

	for (uint64_t i = 0; i < tables * x->header.table_entries; i++) {
		uint32_t entry = load_le32(data + i * VMDK_ENTRY_BYTES);
		enum vmdk_run_type type = type_of(x, entry);
		int r = type == VMDK_RUN_DATA || type == VMDK_RUN_COMPRESSED
				? visit(arg, first + i, entry)
				: 0;

		if (r != 0)
			return r;
	}
	return 0;
}

/* Whether the file has a hole there: tables that were never written need not be read. */
static bool co_fn is_hole(const struct vmdk_extent *x, uint64_t offset, uint64_t bytes)
{
	struct extent e;

	return !node_status_is_costly(x->file->child) &&
	       node_status(x->file->child, offset, bytes, &e) == 0 && e.bytes >= bytes &&
	       (e.flags & EXTENT_ZERO);
}

int co_fn vmdk_visit_grains(struct vmdk_extent *x,
			    int (*visit)(void *arg, uint64_t grain, uint32_t sector), void *arg)
{
	uint64_t size = VISIT_TABLES * table_bytes(x);
	uint8_t *buffer = buffer_get(x->node->loop, size);
	int r = buffer ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < x->header.directory_entries && r == 0;) {
		uint64_t tables = x->directory[i] ? adjacent(x, i) : 1;
		uint64_t offset = x->directory[i] * VMDK_SECTOR_BYTES, bytes = tables * table_bytes(x);

		if (x->directory[i] != 0 && !is_inside(x, offset, bytes))
			r = -EIO;
		else if (x->directory[i] != 0 && !is_hole(x, offset, bytes)) {
			r = edge_read(x->file, offset, bytes, buffer, 0);
			if (r == 0)
				r = visit_entries(x, i, tables, buffer, visit, arg);
		}
		i += tables;
	}
	buffer_put(x->node->loop, buffer, size);
	return r;
}
