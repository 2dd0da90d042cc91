/* SPDX-License-Identifier: MIT */
/*
 * The table of internal snapshots. Node's loop.
 *
 * 1. The table occupies header.snapshot_count entries of varying length from
 *    header.snapshots_offset on, each padded to 8 bytes.
 * 2. What a snapshot refers to has its reference in the refcounts, so that
 *    writing copies shared clusters; nothing else protects it.
 * 3. A new table is durable at a new place before the header names it.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/snapshot.h"

static uint64_t entry_bytes(const struct qcow2_snapshot *s)
{
	return align_up(SNAPSHOT_FIXED_BYTES + (uint64_t)s->extra_bytes + strlen(s->id) +
				strlen(s->name), 8);
}

static void snapshot_finish(struct qcow2_snapshot *s)
{
	free(s->id);
	free(s->name);
	free(s->extra);
}

void qcow2_snapshots_free(struct qcow2_snapshot *snapshots, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		snapshot_finish(&snapshots[i]);
	free(snapshots);
}

struct qcow2_snapshot qcow2_snapshot_copy(const struct qcow2_snapshot *s)
{
	struct qcow2_snapshot copy = *s;

	copy.id = xstrdup(s->id);
	copy.name = xstrdup(s->name);
	copy.extra = s->extra_bytes ? xmemdup(s->extra, s->extra_bytes) : NULL;
	return copy;
}

struct qcow2_snapshot *qcow2_snapshot_find(const struct qcow2 *q, const char *id)
{
	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		if (strcmp(q->snapshots[i].id, id) == 0)
			return &q->snapshots[i];
	}
	return NULL;
}

/* What the extra data says, as far as it goes. */
static void decode_extra(const struct qcow2 *q, struct qcow2_snapshot *s)
{
	s->disk_bytes = q->header.size;
	s->icount = UINT64_MAX;
	if (s->extra_bytes >= SNAPSHOT_DISK_BYTES)
		s->state_bytes = load_be64(s->extra + SNAPSHOT_STATE_BYTES);
	if (s->extra_bytes >= SNAPSHOT_ICOUNT)
		s->disk_bytes = load_be64(s->extra + SNAPSHOT_DISK_BYTES);
	if (s->extra_bytes >= SNAPSHOT_EXTRA_KNOWN)
		s->icount = load_be64(s->extra + SNAPSHOT_ICOUNT);
}

/* Read what follows the fixed part: extra data, ID and name. */
static int co_fn load_rest(struct qcow2 *q, uint64_t offset, uint16_t id_bytes,
			   uint16_t name_bytes, struct qcow2_snapshot *s)
{
	uint64_t bytes = s->extra_bytes + (uint64_t)id_bytes + name_bytes;
	_cleanup_free_ char *data = xalloc(1, bytes + 1);
	int r = offset + bytes > qcow2_file_size(q) ? -EIO : 0;

	if (r == 0 && bytes > 0)
		r = edge_read(q->node->file, offset, bytes, data, 0);
	if (r < 0)
		return r;
	s->extra = s->extra_bytes ? xmemdup(data, s->extra_bytes) : NULL;
	s->id = xasprintf("%.*s", id_bytes, data + s->extra_bytes);
	s->name = xasprintf("%.*s", name_bytes, data + s->extra_bytes + id_bytes);
	decode_extra(q, s);
	return 0;
}

/* Decode the entry at @offset of the file. *ret_bytes is its padded length. */
static int co_fn load_entry(struct qcow2 *q, uint64_t offset, struct qcow2_snapshot *ret,
			    uint64_t *ret_bytes)
{
	uint8_t fixed[SNAPSHOT_FIXED_BYTES];

	if (offset + sizeof(fixed) > qcow2_file_size(q))
		return -EIO;
	int r = edge_read(q->node->file, offset, sizeof(fixed), fixed, 0);

	if (r < 0)
		return r;
	uint32_t extra = load_be32(fixed + SNAPSHOT_EXTRA_BYTES);
	uint16_t id_bytes = load_be16(fixed + SNAPSHOT_ID_BYTES);
	uint16_t name_bytes = load_be16(fixed + SNAPSHOT_NAME_BYTES);

	if (extra > SNAPSHOT_EXTRA_MAX)
		return -EFBIG;
	*ret_bytes = align_up(SNAPSHOT_FIXED_BYTES + (uint64_t)extra + id_bytes + name_bytes, 8);
	*ret = (struct qcow2_snapshot){
		.l1_offset = load_be64(fixed + SNAPSHOT_L1_OFFSET),
		.l1_entries = load_be32(fixed + SNAPSHOT_L1_ENTRIES),
		.date_s = load_be32(fixed + SNAPSHOT_DATE_S),
		.date_ns = load_be32(fixed + SNAPSHOT_DATE_NS),
		.clock_ns = load_be64(fixed + SNAPSHOT_CLOCK_NS),
		.state_bytes = load_be32(fixed + SNAPSHOT_STATE_BYTES_32),
		.extra_bytes = extra,
	};
	return load_rest(q, offset + sizeof(fixed), id_bytes, name_bytes, ret);
}

static int check_entry(const struct qcow2 *q, const struct qcow2_snapshot *s, uint32_t number,
		       struct error **errp)
{
	if (s->l1_entries > L1_BYTES_MAX / sizeof(uint64_t))
		return error_set(errp, -EFBIG, "L1 table of snapshot %" PRIu32 " is too large",
				 number);
	if (qcow2_in_cluster(q, s->l1_offset) != 0 || s->l1_offset > INT64_MAX)
		return error_set(errp, -EINVAL,
				 "L1 table offset of snapshot %" PRIu32 " is invalid", number);
	return 0;
}

int co_fn qcow2_snapshots_load(struct qcow2 *q, struct error **errp)
{
	uint64_t offset = q->header.snapshots_offset, begin = offset;
	uint32_t count = q->header.snapshot_count;

	if (count == 0)
		return 0;
	q->snapshots = xalloc(count, sizeof(struct qcow2_snapshot));
	for (uint32_t i = 0; i < count; i++) {
		uint64_t bytes;
		int r = load_entry(q, offset, &q->snapshots[i], &bytes);

		if (r < 0)
			return qcow2_table_error(q, "snapshots", offset, SNAPSHOT_FIXED_BYTES, r,
						 errp);
		r = check_entry(q, &q->snapshots[i], i, errp);
		if (r < 0)
			return r;
		offset += bytes;
		if (offset - begin > SNAPSHOT_TABLE_BYTES_MAX)
			return error_set(errp, -EFBIG, "Snapshot table too large");
	}
	q->snapshot_table_bytes = offset - begin;
	return 0;
}

static void encode_entry(const struct qcow2_snapshot *s, uint8_t *ret)
{
	size_t id_bytes = strlen(s->id), name_bytes = strlen(s->name);
	uint8_t *rest = ret + SNAPSHOT_FIXED_BYTES;

	store_be64(ret + SNAPSHOT_L1_OFFSET, s->l1_offset);
	store_be32(ret + SNAPSHOT_L1_ENTRIES, s->l1_entries);
	store_be16(ret + SNAPSHOT_ID_BYTES, id_bytes);
	store_be16(ret + SNAPSHOT_NAME_BYTES, name_bytes);
	store_be32(ret + SNAPSHOT_DATE_S, s->date_s);
	store_be32(ret + SNAPSHOT_DATE_NS, s->date_ns);
	store_be64(ret + SNAPSHOT_CLOCK_NS, s->clock_ns);
	store_be32(ret + SNAPSHOT_STATE_BYTES_32,
		   s->state_bytes <= UINT32_MAX ? s->state_bytes : 0);
	store_be32(ret + SNAPSHOT_EXTRA_BYTES, s->extra_bytes);
	if (s->extra)
		memcpy(rest, s->extra, s->extra_bytes);
	if (s->extra_bytes >= SNAPSHOT_DISK_BYTES)
		store_be64(rest + SNAPSHOT_STATE_BYTES, s->state_bytes);
	if (s->extra_bytes >= SNAPSHOT_ICOUNT)
		store_be64(rest + SNAPSHOT_DISK_BYTES, s->disk_bytes);
	if (s->extra_bytes >= SNAPSHOT_EXTRA_KNOWN)
		store_be64(rest + SNAPSHOT_ICOUNT, s->icount);
	memcpy(rest + s->extra_bytes, s->id, id_bytes);
	memcpy(rest + s->extra_bytes + id_bytes, s->name, name_bytes);
}

/* Write a table of @bytes to new clusters. *ret_offset is 0 for an empty one. */
static int co_fn write_table(struct qcow2 *q, const struct qcow2_snapshot *snapshots,
			     uint32_t count, uint64_t bytes, uint64_t *ret_offset)
{
	struct allocation a;
	uint8_t *at;

	*ret_offset = 0;
	if (count == 0)
		return 0;
	_cleanup_free_ uint8_t *data = calloc(1, bytes);
	int r = data ? qcow2_allocate_exactly(q, qcow2_clusters(q, bytes), &a) : -ENOMEM;

	if (r < 0)
		return r;
	at = data;
	for (uint32_t i = 0; i < count; i++) {
		encode_entry(&snapshots[i], at);
		at += entry_bytes(&snapshots[i]);
	}
	r = edge_write(q->node->file, a.offset, bytes, data, 0);
	if (r == 0)
		r = qcow2_settle(q); /* the refcounts of the table, too, and a flush */
	if (r < 0)
		qcow2_unallocate(q, a.offset, a.count);
	*ret_offset = a.offset;
	return r;
}

int co_fn qcow2_snapshots_replace(struct qcow2 *q, struct qcow2_snapshot *snapshots, uint32_t count)
{
	uint64_t bytes = 0, offset;

	for (uint32_t i = 0; i < count; i++)
		bytes += entry_bytes(&snapshots[i]);
	if (count > SNAPSHOTS_MAX || bytes > SNAPSHOT_TABLE_BYTES_MAX)
		return -EFBIG;
	int r = write_table(q, snapshots, count, bytes, &offset);

	if (r < 0)
		return r;
	uint64_t old_offset = q->header.snapshots_offset, old_bytes = q->snapshot_table_bytes;
	uint32_t old_count = q->header.snapshot_count;

	q->header.snapshots_offset = offset;
	q->header.snapshot_count = count;
	r = qcow2_header_update(q);
	if (r < 0) {
		q->header.snapshots_offset = old_offset;
		q->header.snapshot_count = old_count;
		return qcow2_header_lost(q, r);
	}
	qcow2_snapshots_free(q->snapshots, old_count);
	q->snapshots = snapshots;
	q->snapshot_table_bytes = bytes;
	if (old_count > 0)
		qcow2_free_later(q, old_offset, old_bytes, FREE_OTHER);
	return 0;
}

int co_fn qcow2_snapshots_complete(struct qcow2 *q)
{
	uint32_t count = q->header.snapshot_count;

	if (count == 0)
		return 0;
	struct qcow2_snapshot *list = xalloc(count, sizeof(*list));

	for (uint32_t i = 0; i < count; i++) {
		list[i] = qcow2_snapshot_copy(&q->snapshots[i]);
		if (list[i].extra_bytes >= SNAPSHOT_ICOUNT)
			continue;
		list[i].extra = xrealloc(list[i].extra, 1, SNAPSHOT_ICOUNT);
		memset(list[i].extra + list[i].extra_bytes, 0,
		       SNAPSHOT_ICOUNT - list[i].extra_bytes);
		list[i].extra_bytes = SNAPSHOT_ICOUNT;
	}
	int r = qcow2_snapshots_replace(q, list, count);

	if (r < 0)
		qcow2_snapshots_free(list, count);
	return r < 0 ? r : qcow2_settle(q);
}

int co_fn qcow2_snapshot_list(struct node *n, struct snapshot_info_list *ret, struct error **errp)
{
	const struct qcow2 *q = n->state;

	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];
		struct snapshot_info *info = NEW(struct snapshot_info);

		*info = (struct snapshot_info){
			.id = xstrdup(s->id),
			.name = xstrdup(s->name),
			.vm_state_size = s->state_bytes,
			.date_sec = s->date_s,
			.date_nsec = s->date_ns,
			.vm_clock_sec = s->clock_ns / 1000000000,
			.vm_clock_nsec = s->clock_ns % 1000000000,
			.has_icount = s->icount != UINT64_MAX,
			.icount = s->icount,
		};
		snapshot_info_list_append(ret, info);
	}
	return 0;
}
