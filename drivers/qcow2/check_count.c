/* SPDX-License-Identifier: MIT */
/*
 * Counting the references to each host cluster: walking everything that can
 * refer to one. Node's loop.
 *
 * 1. Tables are read from the file, not through the caches.
 * 2. A reference that leads outside the file, or where no cluster begins, is a
 *    corruption that no refcount can mend.
 */
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/map.h"

/* Count a reference to each cluster that the range touches; @what is for the report. */
static void count_range(struct check *c, uint64_t offset, uint64_t bytes, const char *what)
{
	struct qcow2 *q = c->q;
	uint64_t first = offset >> q->cluster_bits, end = qcow2_clusters(q, offset + bytes);

	if (bytes == 0)
		return;
	if (offset > INT64_MAX || end > c->clusters) {
		qcow2_check_report(c, "ERROR: counting reference for region exceeding the end of the "
				   "file by one cluster or more: offset %#" PRIx64 " size %#" PRIx64
				   " (%s)", offset, bytes, what);
		c->result->corruptions++;
	}
	for (uint64_t i = first; i < MIN(end, c->clusters); i++) {
		if (c->counts[i] < UINT32_MAX)
			c->counts[i]++;
	}
}

static void count_compressed(struct check *c, struct l2_entry entry, bool active)
{
	uint64_t offset, bytes;

	qcow2_compressed_range(c->q, entry.descriptor, &offset, &bytes);
	count_range(c, offset, bytes, "compressed cluster");
	if (!active)
		return;
	c->result->compressed_clusters++;
	c->result->allocated_clusters++;
	c->result->fragmented_clusters++; /* by its nature */
}

/* Of an entry that is not compressed. */
static uint64_t reserved_bits(const struct qcow2 *q)
{
	uint64_t known = ENTRY_COPIED | ENTRY_COMPRESSED | ENTRY_OFFSET;

	if (q->header.version >= 3 && !q->extended_l2)
		known |= ENTRY_ZERO;
	return ~known;
}

static void count_entry(struct check *c, struct l2_entry entry, uint64_t guest, bool active)
{
	struct qcow2 *q = c->q;
	uint64_t host = entry.descriptor & ENTRY_OFFSET;

	if (entry.descriptor & ENTRY_COMPRESSED) {
		count_compressed(c, entry, active);
		return;
	}
	if (entry.descriptor & reserved_bits(q)) {
		qcow2_check_report(c, "ERROR found l2 entry with reserved bits set: %" PRIx64,
				   entry.descriptor);
		c->result->corruptions++;
	}
	if (!qcow2_l2_is_possible(q, entry)) {
		qcow2_check_report(c, "ERROR: L2 entry %#" PRIx64 " for guest offset %#" PRIx64
				   " is impossible", entry.descriptor, guest);
		c->result->corruptions++;
		if (qcow2_in_cluster(q, host) != 0)
			return;
	}
	if (host == 0)
		return;
	count_range(c, host, q->cluster_bytes, "data cluster");
	if (!active)
		return;
	c->result->allocated_clusters++;
	if (c->next_host != 0 && host != c->next_host)
		c->result->fragmented_clusters++;
	c->next_host = host + q->cluster_bytes;
}

/*
 * Read the table at @table, which may reach beyond the end of a file that has been cut:
 * there it is zero. What the rest refers to must be counted, or it would be given away.
 */
static int co_fn read_table(struct check *c, uint64_t table, uint8_t *data)
{
	struct qcow2 *q = c->q;
	uint64_t size = qcow2_file_size(q);
	uint64_t bytes = table >= size ? 0 : MIN(q->cluster_bytes, size - table);

	memset(data + bytes, 0, q->cluster_bytes - bytes);
	return bytes > 0 ? edge_read(q->node->file, table, bytes, data, 0) : 0;
}

/* One L2 table, read into @data. */
static void co_fn count_l2(struct check *c, uint64_t table, uint64_t guest, bool active,
			   uint8_t *data)
{
	struct qcow2 *q = c->q;

	if (qcow2_in_cluster(q, table) != 0) {
		qcow2_check_report(c, "ERROR: L2 table at %#" PRIx64 " is not aligned", table);
		c->result->corruptions++;
		return;
	}
	count_range(c, table, q->cluster_bytes, "L2 table");
	c->next_host = 0; /* there may be tables between the clusters of two */
	if (read_table(c, table, data) < 0) {
		qcow2_check_report(c, "ERROR: I/O error reading the L2 table at %#" PRIx64, table);
		c->result->errors++;
		return;
	}
	for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++)
		count_entry(c, qcow2_l2_load_at(q, data, i), guest + (i << q->cluster_bits),
			    active);
}

/* What an L1 entry holds beside the offset of a table. An active one's bit 63 is checked later. */
static void check_l1_flags(struct check *c, uint64_t entry, bool active)
{
	bool is_odd = entry & ~(ENTRY_COPIED | ENTRY_OFFSET);

	if (is_odd)
		qcow2_check_report(c, "ERROR found L1 entry with reserved bits set: %" PRIx64, entry);
	else if (entry == ENTRY_COPIED && !active)
		qcow2_check_report(c, "ERROR: L1 entry %" PRIx64 " of a snapshot has no table", entry);
	else
		return;
	c->result->corruptions++;
}

static int co_fn count_l1(struct check *c, uint64_t offset, uint32_t entries, bool active)
{
	struct qcow2 *q = c->q;
	struct qcow2_table l1;

	count_range(c, offset, entries * sizeof(uint64_t), "L1 table");
	if (entries == 0)
		return 0;
	int r = qcow2_table_load(&l1, q, offset, entries);

	if (r < 0) {
		qcow2_check_report(c, "ERROR: can't read the L1 table at %#" PRIx64, offset);
		c->result->errors++;
		return 0;
	}
	uint8_t *data = buffer_get(q->loop, q->cluster_bytes);

	for (uint32_t i = 0; data && i < entries; i++) {
		uint64_t table = l1.entries[i] & ENTRY_OFFSET;

		check_l1_flags(c, l1.entries[i], active);
		if (table != 0)
			count_l2(c, table, i * qcow2_table_span(q), active, data);
	}
	qcow2_table_finish(&l1);
	if (!data)
		return -ENOMEM;
	buffer_put(q->loop, data, q->cluster_bytes);
	return 0;
}

static void co_fn count_bitmap_table(struct check *c, uint64_t offset, uint32_t entries)
{
	struct qcow2_table t;

	count_range(c, offset, entries * sizeof(uint64_t), "bitmap table");
	if (entries == 0)
		return;
	if (entries > BITMAP_TABLE_ENTRIES_MAX ||
	    qcow2_table_load(&t, c->q, offset, entries) < 0) {
		qcow2_check_report(c, "ERROR: can't read the bitmap table at %#" PRIx64, offset);
		c->result->errors++;
		return;
	}
	for (uint32_t i = 0; i < t.count; i++) {
		uint64_t data = t.entries[i] & ENTRY_OFFSET;

		if (data != 0)
			count_range(c, data, c->q->cluster_bytes, "bitmap data");
	}
	qcow2_table_finish(&t);
}

/* The directory and what it leads to, as read when the image was opened and changed since. */
static void co_fn count_bitmaps(struct check *c)
{
	struct qcow2 *q = c->q;
	struct qcow2_extension *e = qcow2_extension_find(&q->extensions, EXTENSION_BITMAPS);
	struct qcow2_bitmap *b;

	if (!e)
		return;
	count_range(c, load_be64(e->data + BITMAPS_DIRECTORY_OFFSET),
		    load_be64(e->data + BITMAPS_DIRECTORY_BYTES), "bitmap directory");
	list_for_each(b, &q->bitmaps, link)
		count_bitmap_table(c, b->table_offset, b->table_entries);
}

int co_fn qcow2_check_count_all(struct check *c)
{
	struct qcow2 *q = c->q;

	count_range(c, 0, q->cluster_bytes, "header");
	count_range(c, q->header.snapshots_offset, q->snapshot_table_bytes, "snapshot table");
	int r = count_l1(c, q->l1.offset, q->l1.count, true);

	for (uint32_t i = 0; r == 0 && i < q->header.snapshot_count; i++)
		r = count_l1(c, q->snapshots[i].l1_offset, q->snapshots[i].l1_entries, false);
	if (r == 0)
		count_bitmaps(c);
	return r;
}

static void refcounts_broken(struct check *c, uint32_t index, uint64_t entry, const char *how)
{
	qcow2_check_report(c, "ERROR refcount block %" PRIu32 " (%#" PRIx64 ") %s", index, entry,
			   how);
	c->result->corruptions++;
	c->needs_rebuild = true;
}

void qcow2_check_count_refcounts(struct check *c)
{
	struct qcow2 *q = c->q;

	count_range(c, q->reftable.offset, q->reftable.count * sizeof(uint64_t),
		    "refcount table");
	for (uint32_t i = 0; i < q->reftable.count; i++) {
		uint64_t entry = q->reftable.entries[i], block = entry & REFTABLE_OFFSET;
		uint64_t cluster = block >> q->cluster_bits;

		if (block == 0)
			continue;
		if ((entry & REFTABLE_RESERVED) || qcow2_in_cluster(q, block) != 0) {
			refcounts_broken(c, i, entry, "is not cluster aligned");
		} else if (cluster >= c->clusters ||
			   block + q->cluster_bytes > qcow2_file_size(q)) {
			refcounts_broken(c, i, entry, "is outside image");
		} else {
			count_range(c, block, q->cluster_bytes, "refcount block");
			if (c->counts[cluster] > 1)
				refcounts_broken(c, i, entry, "is used for something else as well");
		}
	}
}
