/* SPDX-License-Identifier: MIT */
/*
 * Making whole clusters read as zeroes, or as unallocated, by their entries
 * alone. Node's loop.
 *
 * 1. Each slice's part is an exclusive task; its entries change in one step.
 * 2. Host clusters that lose their entry are freed later (free.c). Only a
 *    cluster that stays in its place may be discarded in the file at once.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/task.h"

/* What an entry becomes. */
static struct l2_entry zero_entry(const struct qcow2 *q, struct l2_entry old, bool keeps_host)
{
	uint64_t kept = keeps_host ? old.descriptor & (ENTRY_OFFSET | ENTRY_COPIED) : 0;

	if (q->extended_l2)
		return (struct l2_entry){kept, (uint64_t)UINT32_MAX << 32};
	return (struct l2_entry){kept | ENTRY_ZERO, 0};
}

static bool is_empty(struct l2_entry entry)
{
	return (entry.descriptor & ~ENTRY_COPIED) == 0 && entry.bitmap == 0;
}

/* Without zero flags (version 2), only clusters with nothing behind them can be zeroed. */
static bool can_express(const struct qcow2 *q, uint64_t offset)
{
	return q->header.version >= 3 || !q->node->backing ||
	       offset >= q->node->backing->child->size;
}

static struct l2_entry dropped_entry(const struct qcow2 *q, struct l2_entry old,
				     enum drop_mode mode)
{
	/* Before version 3 there is nothing behind it: can_express(). */
	if (mode == DROP_ALL || q->header.version < 3)
		return (struct l2_entry){0};
	if (mode == DROP_DISCARD) {
		if (is_empty(old) && !q->node->backing)
			return old;
		return zero_entry(q, old, q->settings.discard_no_unref && qcow2_l2_is_ours(old));
	}
	bool keeps = qcow2_l2_is_ours(old) && (mode == DROP_ZERO || q->settings.discard_no_unref);

	return zero_entry(q, old, keeps);
}

struct drop {
	enum drop_mode mode;
	bool discards_kept;
	uint64_t kept_host, kept_bytes; /* contiguous run to be discarded */
};

/*
 * Give back the storage of kept clusters, while the task keeps others off them.
 * The entry on disk may still show them: then zeroes will do for a request to
 * zero, and only a discard may leave anything. A failure does not matter.
 */
static void co_fn discard_kept(struct qcow2 *q, const struct drop *d)
{
	uint64_t size = qcow2_file_size(q);

	if (d->kept_bytes == 0 || d->kept_host >= size)
		return;
	uint64_t bytes = MIN(d->kept_bytes, size - d->kept_host);

	if (d->mode == DROP_DISCARD)
		(void)edge_discard(q->node->file, d->kept_host, bytes);
	else
		(void)edge_zero(q->node->file, d->kept_host, bytes,
				REQUEST_MAY_UNMAP | REQUEST_NO_FALLBACK);
}

/* Change one entry. */
static void co_fn drop_cluster(struct qcow2 *q, struct slice *slice, uint64_t offset,
			       struct drop *d)
{
	struct l2_entry old = qcow2_l2_load(q, slice, offset);
	struct l2_entry new = dropped_entry(q, old, d->mode);
	uint64_t host = new.descriptor & ENTRY_OFFSET;

	if (new.descriptor != old.descriptor || new.bitmap != old.bitmap) {
		qcow2_l2_store(q, slice, offset, new);
		if (host == 0)
			qcow2_l2_free(q, old, d->mode == DROP_DISCARD || d->mode == DROP_ZERO_UNMAP
						      ? FREE_REQUEST : FREE_OTHER);
	}
	if (host == 0 || !d->discards_kept)
		return;
	if (d->kept_host + d->kept_bytes != host) {
		discard_kept(q, d);
		d->kept_host = host;
		d->kept_bytes = 0;
	}
	d->kept_bytes += q->cluster_bytes;
}

/* The clusters of one slice, inside an exclusive task. */
static int co_fn drop_in_slice(struct qcow2 *q, const struct task *t, enum drop_mode mode)
{
	uint64_t start = t->first << q->cluster_bits, end = (t->last + 1) << q->cluster_bits;
	struct drop d = {.mode = mode};
	struct slice *slice;
	int r = qcow2_l2_slice(q, start, &slice);

	if (r < 0)
		return r;
	/* Without a table, and nothing behind it, there is nothing to drop. */
	bool is_nothing = !slice && (mode == DROP_ALL || q->header.version < 3 ||
				     (mode == DROP_DISCARD && !q->node->backing));

	if (slice)
		qcow2_cache_put(&q->l2_cache, slice);
	if (is_nothing)
		return 0;
	r = qcow2_l2_slice_for_write(q, start, &slice);
	if (r < 0)
		return r;
	d.discards_kept = mode != DROP_ZERO && q->settings.discard_no_unref &&
			  q->settings.discards[FREE_REQUEST];
	for (uint64_t offset = start; offset < end && r == 0; offset += q->cluster_bytes) {
		struct l2_entry entry = qcow2_l2_load(q, slice, offset);

		if (!qcow2_l2_is_possible(q, entry))
			r = qcow2_l2_corrupt(q, entry, offset);
		else
			drop_cluster(q, slice, offset, &d);
	}
	discard_kept(q, &d);
	qcow2_cache_put(&q->l2_cache, slice);
	return r;
}

/* Whether the task has a cluster that ends behind @end, but not behind the image any more. */
static bool is_overtaken(const struct qcow2 *q, const struct task *t, uint64_t end)
{
	return (t->last + 1) << q->cluster_bits > end && q->node->size > end;
}

int co_fn qcow2_drop(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum drop_mode mode)
{
	uint64_t span = qcow2_slice_span(q), end = offset + bytes;

	while (offset < end) {
		uint64_t slice_end = MIN(align_down(offset, span) + span, end);
		struct task t;

		if (q->node->corrupt)
			return -EIO;
		if (mode != DROP_ALL && !can_express(q, offset))
			return -ENOTSUP;
		int r = qcow2_task_exclusive(q, &t, offset >> q->cluster_bits,
					     (slice_end - 1) >> q->cluster_bits);

		if (r == -EAGAIN)
			continue;
		r = is_overtaken(q, &t, end) ? -ESTALE : drop_in_slice(q, &t, mode);
		offset = (t.last + 1) << q->cluster_bits;
		qcow2_task_end(&t);
		if (r == 0)
			r = qcow2_reclaim_some(q, offset >= end);
		if (r < 0)
			return r;
	}
	return 0;
}
