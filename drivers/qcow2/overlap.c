/* SPDX-License-Identifier: MIT */
/*
 * Where metadata lies, and the check before each write that it does not land on
 * metadata of another kind. Node's loop.
 *
 * 1. Tables with one place (header, L1, refcount table, snapshot table, L1 of
 *    snapshots, bitmap directory) are compared by range.
 * 2. L2 tables and refcount blocks, of which there are many, are in a hash of
 *    host clusters. A cluster that a damaged image uses twice has both kinds.
 */
#include "drivers/qcow2/overlap.h"

#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"

#define KIND_BITS 16
#define KIND_MASK ((UINT64_C(1) << KIND_BITS) - 1)
#define SLOT_REMOVED 1 /* kinds without a cluster: cluster 0 is handled by range */

static const char *kind_name(unsigned kinds)
{
	static const struct {
		unsigned kind;
		const char *name;
	} names[] = {
		{METADATA_HEADER, "qcow2_header"},
		{METADATA_ACTIVE_L1, "active L1 table"},
		{METADATA_ACTIVE_L2, "active L2 table"},
		{METADATA_REFCOUNT_BLOCK, "refcount block"},
		{METADATA_REFCOUNT_TABLE, "refcount table"},
		{METADATA_SNAPSHOT_TABLE, "snapshot table"},
		{METADATA_INACTIVE_L1, "inactive L1 table"},
		{METADATA_INACTIVE_L2, "inactive L2 table"},
		{METADATA_BITMAP_DIRECTORY, "bitmap directory"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (kinds & names[i].kind)
			return names[i].name;
	}
	return "metadata";
}

static uint64_t *find_slot(const struct cluster_set *s, uint64_t cluster)
{
	uint64_t mask = (UINT64_C(1) << s->bits) - 1;
	uint64_t i = (cluster * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - s->bits);

	while (s->slots[i] != 0 && s->slots[i] >> KIND_BITS != cluster)
		i = (i + 1) & mask;
	return &s->slots[i];
}

static void set_grow(struct cluster_set *s)
{
	struct cluster_set old = *s;
	uint64_t live = 0;

	for (uint64_t i = 0; old.bits && i < UINT64_C(1) << old.bits; i++)
		live += old.slots[i] > SLOT_REMOVED;
	s->bits = 4;
	while (UINT64_C(1) << s->bits < 3 * (live + 1))
		s->bits++;
	s->slots = xalloc(UINT64_C(1) << s->bits, sizeof(uint64_t));
	s->used = live;
	for (uint64_t i = 0; old.bits && i < UINT64_C(1) << old.bits; i++) {
		if (old.slots[i] > SLOT_REMOVED)
			*find_slot(s, old.slots[i] >> KIND_BITS) = old.slots[i];
	}
	free(old.slots);
}

void qcow2_metadata_add(struct qcow2 *q, uint64_t offset, unsigned kind)
{
	struct cluster_set *s = &q->metadata;
	uint64_t cluster = offset >> q->cluster_bits;

	if (cluster == 0 || cluster >> (64 - KIND_BITS))
		return; /* the header's, or out of reach */
	if (s->bits == 0 || 2 * (s->used + 1) > UINT64_C(1) << s->bits)
		set_grow(s);
	uint64_t *slot = find_slot(s, cluster);

	if (*slot == 0)
		s->used++;
	*slot |= cluster << KIND_BITS | kind;
}

void qcow2_metadata_remove(struct qcow2 *q, uint64_t offset, unsigned kind)
{
	struct cluster_set *s = &q->metadata;

	if (s->bits == 0)
		return;
	uint64_t *slot = find_slot(s, offset >> q->cluster_bits);

	*slot &= ~(uint64_t)kind;
	/* A chain may lead across the slot: it is not made empty. */
	if (*slot != 0 && (*slot & KIND_MASK) == 0)
		*slot = SLOT_REMOVED;
}

void qcow2_metadata_finish(struct qcow2 *q)
{
	free(q->metadata.slots);
	q->metadata = (struct cluster_set){0};
}

static int co_fn collect_inactive_l2(struct qcow2 *q, const struct qcow2_snapshot *snapshot)
{
	struct qcow2_table t;
	int r = qcow2_table_load(&t, q, snapshot->l1_offset, snapshot->l1_entries);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < t.count; i++)
		qcow2_metadata_add(q, t.entries[i] & ENTRY_OFFSET, METADATA_INACTIVE_L2);
	qcow2_table_finish(&t);
	return 0;
}

int co_fn qcow2_metadata_collect(struct qcow2 *q, struct error **errp)
{
	qcow2_metadata_finish(q);
	for (uint32_t i = 0; i < q->l1.count; i++)
		qcow2_metadata_add(q, q->l1.entries[i] & ENTRY_OFFSET, METADATA_ACTIVE_L2);
	for (uint32_t i = 0; i < q->reftable.count; i++)
		qcow2_metadata_add(q, q->reftable.entries[i] & REFTABLE_OFFSET,
				   METADATA_REFCOUNT_BLOCK);
	if (!(q->settings.overlap_checks & METADATA_INACTIVE_L2))
		return 0;
	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		int r = collect_inactive_l2(q, &q->snapshots[i]);

		if (r < 0)
			return error_set_errno(errp, r, "Could not read the L1 table of snapshot "
					       "%" PRIu32, i);
	}
	return 0;
}

static bool ranges_touch(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

static unsigned overlap_in_set(const struct qcow2 *q, uint64_t offset, uint64_t bytes,
			       unsigned kinds)
{
	uint64_t last = (offset + bytes - 1) >> q->cluster_bits;

	for (uint64_t cluster = offset >> q->cluster_bits; cluster <= last; cluster++) {
		unsigned found = *find_slot(&q->metadata, cluster) & kinds;

		if (found)
			return found;
	}
	return 0;
}

static unsigned overlap_in_snapshots(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		const struct qcow2_snapshot *s = &q->snapshots[i];

		if (ranges_touch(offset, bytes, s->l1_offset,
				 s->l1_entries * sizeof(uint64_t)))
			return METADATA_INACTIVE_L1;
	}
	return 0;
}

static unsigned overlap_with_bitmaps(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	struct qcow2_extension *e = qcow2_extension_find(&q->extensions, EXTENSION_BITMAPS);

	/* Only its place is needed here; the extension as a whole is judged where it is used. */
	if (e && e->bytes >= BITMAPS_EXTENSION_BYTES &&
	    ranges_touch(offset, bytes, load_be64(e->data + BITMAPS_DIRECTORY_OFFSET),
			 MIN(load_be64(e->data + BITMAPS_DIRECTORY_BYTES),
			     BITMAP_DIRECTORY_BYTES_MAX)))
		return METADATA_BITMAP_DIRECTORY;
	return 0;
}

/* The kinds of metadata that the range touches, among @kinds. */
static unsigned find_overlap(const struct qcow2 *q, uint64_t offset, uint64_t bytes,
			     unsigned kinds)
{
	unsigned found = 0;

	if ((kinds & METADATA_HEADER) && offset < q->cluster_bytes)
		found |= METADATA_HEADER;
	if ((kinds & METADATA_ACTIVE_L1) &&
	    ranges_touch(offset, bytes, q->l1.offset, q->l1.count * sizeof(uint64_t)))
		found |= METADATA_ACTIVE_L1;
	if ((kinds & METADATA_REFCOUNT_TABLE) &&
	    ranges_touch(offset, bytes, q->reftable.offset, q->reftable.count * sizeof(uint64_t)))
		found |= METADATA_REFCOUNT_TABLE;
	if ((kinds & METADATA_SNAPSHOT_TABLE) && q->header.snapshot_count > 0 &&
	    ranges_touch(offset, bytes, q->header.snapshots_offset, q->snapshot_table_bytes))
		found |= METADATA_SNAPSHOT_TABLE;
	if ((kinds & METADATA_INACTIVE_L1) && q->header.snapshot_count > 0)
		found |= overlap_in_snapshots(q, offset, bytes);
	if ((kinds & METADATA_BITMAP_DIRECTORY) && !list_is_empty(&q->extensions))
		found |= overlap_with_bitmaps(q, offset, bytes);
	if (found == 0 && q->metadata.bits > 0 && bytes > 0)
		found |= overlap_in_set(q, offset, bytes, kinds & KIND_MASK);
	return found;
}

int co_fn qcow2_overlap_check(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned ignore)
{
	unsigned found = find_overlap(q, offset, bytes, q->settings.overlap_checks & ~ignore);

	if (!found)
		return 0;
	return qcow2_signal_bad_write(q, offset, bytes,
				      "Preventing invalid write on metadata (overlaps with %s)",
				      kind_name(found));
}
