/* SPDX-License-Identifier: MIT */
/*
 * Bit 63 of the active tables' entries, which says that a refcount is exactly
 * one: comparing it with the refcounts. Node's loop, after these are settled.
 *
 * A bit set in error makes shared data be overwritten; one missing costs a copy.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/refcount.h"

/* Whether the bit is as it should be for the cluster at @offset; errors count as yes. */
static bool co_fn is_right(struct check *c, uint64_t offset, bool copied, uint64_t *ret_refcount)
{
	uint64_t cluster = offset >> c->q->cluster_bits;

	/* What lies outside the file has been reported. */
	if (cluster >= c->clusters)
		return true;
	co_mutex_lock(&c->q->lock);
	int r = qcow2_refcount_get(c->q, cluster, ret_refcount);

	co_mutex_unlock(&c->q->lock);
	if (r < 0) {
		c->result->errors++;
		return true;
	}
	return copied == (*ret_refcount == 1);
}

static bool judge(struct check *c, const char *what, uint64_t entry, uint64_t refcount)
{
	bool fixes = c->mends_flags;

	qcow2_check_report(c, "%s OFLAG_COPIED %s=%" PRIx64 " refcount=%" PRIu64,
			   fixes ? "Repairing" : "ERROR", what, entry, refcount);
	if (fixes)
		c->result->corruptions_fixed++;
	else
		c->result->corruptions++;
	return fixes;
}

static void co_fn check_entry(struct check *c, struct slice *s, uint64_t guest)
{
	struct qcow2 *q = c->q;
	struct l2_entry entry = qcow2_l2_load(q, s, guest);
	uint64_t host = entry.descriptor & ENTRY_OFFSET, refcount = 0;
	bool copied = entry.descriptor & ENTRY_COPIED, right = true;

	if (entry.descriptor & ENTRY_COMPRESSED)
		right = !copied;
	else if (host != 0 && qcow2_in_cluster(q, host) == 0)
		right = is_right(c, host, copied, &refcount);
	if (right || !judge(c, "data cluster: l2_entry", entry.descriptor, refcount))
		return;
	entry.descriptor ^= ENTRY_COPIED;
	qcow2_l2_store(q, s, guest, entry);
}

/* All slices of one table. Slices that cannot be read have been reported. */
static void co_fn check_table(struct check *c, uint64_t guest)
{
	struct qcow2 *q = c->q;
	uint64_t end = guest + qcow2_table_span(q);

	while (guest < end) {
		uint64_t slice_end = guest + qcow2_slice_span(q);
		struct slice *s;

		if (qcow2_l2_slice(q, guest, &s) < 0 || !s)
			return;
		for (; guest < slice_end; guest += q->cluster_bytes)
			check_entry(c, s, guest);
		qcow2_cache_put(&q->l2_cache, s);
	}
}

int co_fn qcow2_check_copied(struct check *c)
{
	struct qcow2 *q = c->q;

	/* Where a refcount is too low, the flag would let a shared cluster be written to. */
	c->mends_flags = (c->fix & IMAGE_FIX_ERRORS) ||
			 (c->fix && c->result->corruptions == 0 && c->result->errors == 0);
	for (uint32_t i = 0; i < q->l1.count; i++) {
		uint64_t entry = q->l1.entries[i], table = entry & ENTRY_OFFSET, refcount = 0;

		if (qcow2_in_cluster(q, table) != 0 ||
		    (table != 0 && table + q->cluster_bytes > qcow2_file_size(q)))
			continue;
		_cleanup_free_ char *what =
			xasprintf("L2 cluster: l1_index=%" PRIu32 " l1_entry", i);
		/* Where there is no table, the bit has no business at all. */
		bool right = table == 0 ? !(entry & ENTRY_COPIED)
					: is_right(c, table, entry & ENTRY_COPIED, &refcount);
		if (!right && judge(c, what, entry, refcount))
			qcow2_table_set(&q->l1, i, entry ^ ENTRY_COPIED);
		if (table != 0)
			check_table(c, i * qcow2_table_span(q));
	}
	return 0;
}
