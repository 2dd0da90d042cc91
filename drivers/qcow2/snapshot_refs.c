/* SPDX-License-Identifier: MIT */
/*
 * The references of a whole L1 table, which a snapshot takes or gives up. Node's
 * loop; the node is drained and everything has been settled, so that tables are
 * read from the file.
 *
 * 1. Taking references ends all or nothing.
 * 2. Bit 63 of an entry, which says that a cluster is not shared, goes after the
 *    higher refcount is durable, and before anybody writes again: from tables
 *    that are about to become active by qcow2_references_disown(), from those
 *    that are by qcow2_references_mark().
 */
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/refcount.h"
#include "drivers/qcow2/snapshot.h"

/* What to do with each of the references, in their order. */
struct walk {
	struct qcow2 *q;
	/* Called with a range of the file. */
	int co_fn (*visit)(struct walk *w, uint64_t offset, uint64_t bytes);
	bool disowns;   /* rewrite tables whose entries have bit 63 */
	uint64_t done;  /* references visited */
	uint64_t limit; /* stop after so many */
	bool has_zeroes; /* there was a cluster with ENTRY_ZERO */
};

static int co_fn visit_entry(struct walk *w, struct l2_entry entry)
{
	struct qcow2 *q = w->q;
	uint64_t offset = entry.descriptor & ENTRY_OFFSET, bytes = q->cluster_bytes;

	if (entry.descriptor & ENTRY_COMPRESSED)
		qcow2_compressed_range(q, entry.descriptor, &offset, &bytes);
	else if (entry.descriptor & ENTRY_ZERO)
		w->has_zeroes = true;
	if (offset == 0 && !(entry.descriptor & ENTRY_COMPRESSED))
		return 0;
	if (w->done == w->limit)
		return 0;
	int r = w->visit(w, offset, bytes);

	if (r == 0)
		w->done++;
	return r;
}

/* The entries of one L2 table, read into @data. */
static int co_fn visit_entries(struct walk *w, uint8_t *data, bool *ret_changed)
{
	struct qcow2 *q = w->q;

	for (uint64_t i = 0; i < UINT64_C(1) << q->l2_bits; i++) {
		struct l2_entry entry = qcow2_l2_load_at(q, data, i);

		if (!qcow2_l2_is_possible(q, entry))
			return -EIO;
		int r = visit_entry(w, entry);

		if (r < 0)
			return r;
		if ((entry.descriptor & ENTRY_COPIED) && !(entry.descriptor & ENTRY_COMPRESSED)) {
			entry.descriptor &= ~ENTRY_COPIED;
			qcow2_l2_store_at(q, data, i, entry);
			*ret_changed = true;
		}
	}
	return 0;
}

static int co_fn visit_table(struct walk *w, uint64_t table, uint8_t *data)
{
	struct qcow2 *q = w->q;
	bool changed = false;

	if (qcow2_in_cluster(q, table) != 0 || table + q->cluster_bytes > qcow2_file_size(q))
		return -EIO;
	int r = edge_read(q->node->file, table, q->cluster_bytes, data, 0);

	if (r == 0)
		r = visit_entries(w, data, &changed);
	if (r == 0 && changed && w->disowns)
		r = edge_write(q->node->file, table, q->cluster_bytes, data, 0);
	if (r == 0 && w->done < w->limit) {
		r = w->visit(w, table, q->cluster_bytes);
		if (r == 0)
			w->done++;
	}
	return r;
}

/* All tables; the first error is returned, and ends the walk unless @persistent. */
static int co_fn walk(struct walk *w, const struct qcow2_table *l1, bool persistent)
{
	struct qcow2 *q = w->q;
	uint8_t *data = buffer_get(q->loop, q->cluster_bytes);
	int result = data ? 0 : -ENOMEM;

	for (uint32_t i = 0; data && i < l1->count && (result == 0 || persistent); i++) {
		uint64_t table = l1->entries[i] & ENTRY_OFFSET;

		if (table == 0 || w->done == w->limit)
			continue;
		int r = visit_table(w, table, data);

		if (r < 0 && result == 0)
			result = r;
		co_reschedule(); /* a table may have many clusters */
	}
	buffer_put(q->loop, data, q->cluster_bytes);
	return result;
}

static int co_fn change(struct walk *w, uint64_t offset, uint64_t bytes, bool up)
{
	struct qcow2 *q = w->q;
	uint64_t first = offset >> q->cluster_bits;
	uint64_t count = ((offset + bytes - 1) >> q->cluster_bits) - first + 1;

	co_mutex_lock(&q->lock);
	int r = up ? qcow2_refcount_increment(q, first, count)
		   : qcow2_refcount_decrement(q, first, count);

	co_mutex_unlock(&q->lock);
	return r;
}

static int co_fn raise(struct walk *w, uint64_t offset, uint64_t bytes)
{
	return change(w, offset, bytes, true);
}

static int co_fn lower(struct walk *w, uint64_t offset, uint64_t bytes)
{
	return change(w, offset, bytes, false);
}

static int co_fn give_up(struct walk *w, uint64_t offset, uint64_t bytes)
{
	qcow2_free_later(w->q, offset, bytes, FREE_SNAPSHOT);
	return 0;
}

/*
 * Lower the first @count of the refcounts, which are those that were raised. A failure
 * leaks what comes behind it: who went on could not tell any more which are the first.
 */
static void co_fn undo(struct qcow2 *q, const struct qcow2_table *l1, uint64_t count)
{
	struct walk w = {.q = q, .visit = lower, .limit = count};

	(void)walk(&w, l1, false);
}

int co_fn qcow2_references_add(struct qcow2 *q, const struct qcow2_table *l1)
{
	struct walk up = {.q = q, .visit = raise, .limit = UINT64_MAX};
	int r = walk(&up, l1, false);

	if (r < 0)
		undo(q, l1, up.done);
	return r;
}

void co_fn qcow2_references_undo(struct qcow2 *q, const struct qcow2_table *l1)
{
	undo(q, l1, UINT64_MAX);
}

static int co_fn leave(struct walk *w, uint64_t offset, uint64_t bytes)
{
	return 0;
}

int co_fn qcow2_references_disown(struct qcow2 *q, const struct qcow2_table *l1)
{
	struct walk w = {.q = q, .visit = leave, .disowns = true, .limit = UINT64_MAX};

	return walk(&w, l1, false);
}

int co_fn qcow2_references_free(struct qcow2 *q, const struct qcow2_table *l1)
{
	struct walk w = {.q = q, .visit = give_up, .limit = UINT64_MAX};

	return walk(&w, l1, true);
}

int co_fn qcow2_references_have_zeroes(struct qcow2 *q, const struct qcow2_table *l1, bool *ret)
{
	struct walk w = {.q = q, .visit = leave, .limit = UINT64_MAX};
	int r = walk(&w, l1, false);

	*ret = w.has_zeroes;
	return r;
}

int co_fn qcow2_references_mark(struct qcow2 *q)
{
	struct image_check result = {0};
	struct check c = {
		.q = q,
		.result = &result,
		.fix = IMAGE_FIX_ERRORS,
		.clusters = qcow2_clusters(q, qcow2_file_size(q)),
	};
	int r = qcow2_check_copied(&c);

	return r < 0 ? r : qcow2_settle(q);
}
