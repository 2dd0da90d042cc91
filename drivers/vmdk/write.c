/* SPDX-License-Identifier: MIT */
/*
 * Writing. Node's loop.
 *
 * 1. Grains that are there are written in place, if they lie where grains may.
 * 2. Grains that are not there get new room. They are written whole, with what showed before
 *    around the new data, and only then do they come into a table.
 * 3. Who wants grains that another request is making waits for it, and looks again.
 */
#include <errno.h>

#include "drivers/vmdk/state.h"

/* New grains that are made at once. */
#define GRAINS_AT_ONCE 64
/* How much is copied from the backing file at a time. */
#define COPY_BYTES (1 * MiB)

/* Whether grains may lie there: not in the metadata, and none beyond the end of the file. */
static bool is_place_of_data(const struct vmdk_extent *x, uint64_t offset, const struct vmdk_run *run)
{
	uint64_t in_first = offset & (x->grain_bytes - 1);
	uint64_t in_last = (offset + run->bytes - 1) & (x->grain_bytes - 1);

	return run->host - in_first >= MAX(x->header.overhead, 1) * VMDK_SECTOR_BYTES &&
	       run->host + run->bytes - 1 - in_last < vmdk_file_size(x);
}

/* What is to be made. */
struct making {
	struct vmdk_allocation allocation;
	struct vmdk_extent *x;
	uint64_t offset, bytes; /* of the request, in the extent */
	struct vec v;
	uint64_t host;          /* of the first grain */
	bool first_from_backing, last_from_backing; /* what they showed until now */
};

static uint64_t grain_of(const struct vmdk_extent *x, uint64_t offset)
{
	return offset / x->grain_bytes;
}

static bool is_unwritten(const struct vmdk_extent *x, uint32_t entry)
{
	return entry == 0 || (entry == VMDK_ENTRY_ZERO && x->has_zero_grain);
}

static bool is_being_made(const struct vmdk_extent *x, uint64_t grain)
{
	const struct vmdk_allocation *a;

	list_for_each (a, &x->allocations, link)
		if (grain >= a->first && grain < a->first + a->count)
			return true;
	return false;
}

/*
 * With x->lock held: choose grains from m->offset on, of one table, and room for them. -EAGAIN
 * when they are there by now.
 */
static int co_fn choose(struct making *m)
{
	struct vmdk_extent *x = m->x;
	uint64_t first = grain_of(x, m->offset), last = grain_of(x, m->offset + m->bytes - 1);
	uint64_t number = first / x->header.table_entries, index = first % x->header.table_entries;
	struct vmdk_table *t;

	/* A hosted extent has all its tables from the start. */
	if (x->directory[number] == 0)
		return -EIO;
	while (vmdk_wait_for_allocation(x, first, 1))
		;
	int r = vmdk_table_get_locked(x, number, &t);

	if (r < 0)
		return r;
	uint64_t limit = MIN(last - first + 1, x->header.table_entries - index), count = 0;

	limit = MIN(limit, GRAINS_AT_ONCE);
	while (count < limit && is_unwritten(x, t->entries[index + count]) &&
	       !is_being_made(x, first + count))
		count++;
	if (count == 0)
		return -EAGAIN;
	m->first_from_backing = x->node->backing && t->entries[index] == 0;
	m->last_from_backing = x->node->backing && t->entries[index + count - 1] == 0;
	r = vmdk_allocate(x, count * x->grain_bytes, x->grain_bytes, &m->host);
	if (r < 0)
		return r;
	m->allocation.first = first;
	m->allocation.count = count;
	m->bytes = MIN(m->bytes, (first + count) * x->grain_bytes - m->offset);
	return 0;
}

/* Copy what the backing file shows; new room is zero already. */
static int co_fn copy_up(struct making *m, uint64_t offset, uint64_t bytes, uint64_t host)
{
	struct vmdk_extent *x = m->x;
	struct edge *backing = x->node->backing;
	uint64_t from = x->start + offset, size = backing->child->size;

	/* The last grain may reach beyond the disk, and the backing file may be shorter. */
	bytes = MIN(bytes, from < size ? size - from : 0);
	if (bytes == 0)
		return 0;
	uint64_t room = MIN(bytes, COPY_BYTES);
	uint8_t *buffer = buffer_get(x->node->loop, room);
	int r = buffer ? 0 : -ENOMEM;

	for (uint64_t done = 0; done < bytes && r == 0; done += room) {
		uint64_t part = MIN(bytes - done, room);

		r = edge_read(backing, from + done, part, buffer, 0);
		if (r == 0)
			r = edge_write(x->file, host + done, part, buffer, 0);
	}
	if (buffer)
		buffer_put(x->node->loop, buffer, room);
	return r;
}

static int co_fn fill(struct making *m)
{
	struct vmdk_extent *x = m->x;
	uint64_t begin = m->allocation.first * x->grain_bytes;
	uint64_t end = begin + m->allocation.count * x->grain_bytes;
	uint64_t head = m->offset - begin, behind = m->offset + m->bytes, tail = end - behind;
	int r = 0;

	if (head > 0 && m->first_from_backing)
		r = copy_up(m, begin, head, m->host);
	if (r == 0 && tail > 0 && m->last_from_backing)
		r = copy_up(m, behind, tail, m->host + head + m->bytes);
	return r < 0 ? r : edge_writev(x->file, m->host + head, m->bytes, m->v, 0);
}

/* With x->lock held: let the table lead to the new grains. */
static int co_fn enter(struct making *m)
{
	struct vmdk_extent *x = m->x;
	uint64_t first = m->allocation.first, number = first / x->header.table_entries;
	uint32_t index = first % x->header.table_entries, sector = m->host / VMDK_SECTOR_BYTES;
	struct vmdk_table *t;
	int r = vmdk_table_get_locked(x, number, &t);

	for (uint64_t i = 0; r == 0 && i < m->allocation.count; i++)
		vmdk_table_set(x, t, index + i, sector + i * x->header.grain);
	return r;
}

/* Make grains at the beginning of the range. *bytes says how far that got. */
static int co_fn write_new(struct vmdk_extent *x, uint64_t offset, uint64_t *bytes, struct vec v)
{
	struct making m = {.x = x, .offset = offset, .bytes = *bytes, .v = v};

	/* What is not written anew comes from below. */
	int r = x->node->backing ? vmdk_check_parent(x->node) : 0;

	if (r < 0)
		return r;
	co_mutex_lock(&x->lock);
	r = choose(&m);
	if (r == 0)
		list_add_tail(&x->allocations, &m.allocation.link);
	co_mutex_unlock(&x->lock);
	if (r < 0)
		return r;
	r = fill(&m);
	co_mutex_lock(&x->lock);
	if (r == 0)
		r = enter(&m);
	list_del_init(&m.allocation.link);
	co_mutex_unlock(&x->lock);
	co_queue_wake_all(&x->allocated);
	*bytes = m.bytes;
	return r;
}

static int co_fn write_sparse(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, struct vec v)
{
	while (bytes > 0) {
		struct vmdk_run run;
		int r = vmdk_map(x, offset, bytes, &run);
		uint64_t done = run.bytes;

		if (r == 0 && run.type == VMDK_RUN_DATA)
			r = is_place_of_data(x, offset, &run)
				    ? edge_writev(x->file, run.host, run.bytes, v, 0)
				    : -EIO;
		else if (r == 0)
			r = write_new(x, offset, &done, v);
		if (r == -EAGAIN)
			continue;
		if (r < 0)
			return r;
		offset += done;
		bytes -= done;
		v = vec_advance(v, done);
	}
	return 0;
}

/* Whole grains, one by one; the last of the extent may be shorter. */
static int co_fn write_stream(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, struct vec v)
{
	while (bytes > 0) {
		uint64_t part = MIN(bytes, x->grain_bytes);

		if (!is_aligned(offset, x->grain_bytes) ||
		    (part < x->grain_bytes && offset + part != x->bytes))
			return -EINVAL;
		int r = vmdk_write_compressed(x, offset, part, v);

		if (r < 0)
			return r;
		offset += part;
		bytes -= part;
		v = vec_advance(v, part);
	}
	return 0;
}

static int co_fn write_flat(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, struct vec v)
{
	if (!x->file)
		return -EACCES;
	return vmdk_flat_has(x, offset, bytes)
		       ? edge_writev(x->file, x->offset + offset, bytes, v, 0)
		       : -EIO;
}

int co_fn vmdk_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	int r = vmdk_begin_writing(n);

	while (r == 0 && bytes > 0) {
		struct vmdk_extent *x = vmdk_find_extent(n->state, offset);
		uint64_t within = offset - x->start, part = MIN(bytes, x->bytes - within);

		if (x->is_compressed)
			r = write_stream(x, within, part, v);
		else if (x->is_sparse)
			r = write_sparse(x, within, part, v);
		else
			r = write_flat(x, within, part, v);
		offset += part;
		bytes -= part;
		v = vec_advance(v, part);
	}
	return r;
}

int co_fn vmdk_flush(struct node *n)
{
	struct vmdk *v = n->state;
	int result = 0;

	for (unsigned i = 0; i < v->count; i++) {
		struct vmdk_extent *x = &v->extents[i];

		if (!x->is_sparse)
			continue;
		co_mutex_lock(&x->lock);
		int r = vmdk_tables_write(x);

		co_mutex_unlock(&x->lock);
		if (r < 0 && result == 0)
			result = r;
	}
	return result;
}
