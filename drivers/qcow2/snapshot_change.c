/* SPDX-License-Identifier: MIT */
/*
 * Taking, applying and deleting internal snapshots. Node's loop; the node is
 * drained.
 *
 * 1. A crash at any point leaves the image with the old or the new list of
 *    snapshots, and the old or the new content. It may leak clusters.
 * 2. Taking one: the references are durable, and the active tables no longer
 *    say that they own them, before the table of snapshots names the copy of L1.
 * 3. Applying one: a new L1 table is durable before the header, in one sector,
 *    names it and the size.
 * 4. Deleting one: the table without it is durable before its references go.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/snapshot.h"

static int failed(struct error **errp, int r, const char *what)
{
	return error_set_errno(errp, r, "Could not %s", what);
}

/* Fit for writing, and nothing left to be written. */
static int co_fn begin(struct qcow2 *q, struct error **errp)
{
	if (!q->writable)
		return error_set(errp, -EACCES, "Image is read-only");
	int r = qcow2_begin_writing(q, errp);

	if (r < 0)
		return r;
	r = q->node->corrupt ? -EIO : qcow2_settle(q);
	return r < 0 ? failed(errp, r, "write the tables") : 0;
}

/* What is no longer referred to, goes; bit 63 follows the refcounts. */
static int co_fn finish(struct qcow2 *q, struct error **errp)
{
	int r = qcow2_settle(q);

	if (r == 0)
		r = qcow2_references_mark(q);
	if (r < 0)
		return failed(errp, r, "write the tables");
	return qcow2_metadata_collect(q, errp);
}

static int not_found(struct error **errp, const char *id)
{
	return error_set(errp, -ENOENT, "Can't find snapshot '%s'", id);
}

/* A copy of the list with room for one more. */
static struct qcow2_snapshot *copy_list(const struct qcow2 *q, const struct qcow2_snapshot *without,
					uint32_t *ret_count)
{
	struct qcow2_snapshot *list =
		xalloc(q->header.snapshot_count + 1, sizeof(struct qcow2_snapshot));

	*ret_count = 0;
	for (uint32_t i = 0; i < q->header.snapshot_count; i++) {
		if (&q->snapshots[i] != without)
			list[(*ret_count)++] = qcow2_snapshot_copy(&q->snapshots[i]);
	}
	return list;
}

/* Write @l1 at its offset, saying that nothing is its own. */
static int co_fn write_l1(struct qcow2 *q, struct qcow2_table *l1)
{
	uint64_t bytes = align_up(l1->count * sizeof(uint64_t), q->cluster_bytes);

	if (l1->count == 0)
		return 0;
	for (uint32_t i = 0; i < l1->count; i++)
		l1->entries[i] &= ~ENTRY_COPIED;
	uint8_t *data = buffer_get(q->loop, bytes);

	if (!data)
		return -ENOMEM;
	memset(data, 0, bytes);
	qcow2_table_encode(l1, data, l1->count);
	int r = edge_write(q->node->file, l1->offset, bytes, data, 0);

	buffer_put(q->loop, data, bytes);
	return r;
}

/* Make a copy of @from with @count entries in new clusters, which it shares with @from. */
static int co_fn copy_l1(struct qcow2 *q, const struct qcow2_table *from, uint32_t count,
			 struct qcow2_table *ret)
{
	struct allocation a = {0};
	int r = 0;

	if (count > 0)
		r = qcow2_allocate_exactly(q, qcow2_clusters(q, count * sizeof(uint64_t)), &a);
	if (r < 0)
		return r;
	r = qcow2_table_copy(from, a.offset, count, ret);
	if (r == 0) {
		r = qcow2_references_add(q, from);
		if (r == 0) {
			r = write_l1(q, ret);
			if (r < 0)
				qcow2_references_undo(q, from);
		}
		if (r < 0)
			qcow2_table_finish(ret);
	}
	if (r < 0 && a.count > 0)
		qcow2_unallocate(q, a.offset, a.count);
	return r;
}

/* One more than the highest ID that is a number, or behind the last number the first free one. */
static char *new_id(const struct qcow2 *q)
{
	unsigned long highest = 0;

	for (uint32_t i = 0; i < q->header.snapshot_count; i++)
		highest = MAX(highest, strtoul(q->snapshots[i].id, NULL, 10));
	for (;;) {
		char *id = xasprintf("%lu", ++highest);

		if (!qcow2_snapshot_find(q, id))
			return id;
		free(id);
	}
}

static struct qcow2_snapshot new_snapshot(struct qcow2 *q, const char *name,
					  const struct qcow2_table *l1)
{
	uint64_t now_us = loop_realtime_us(q->loop);

	return (struct qcow2_snapshot){
		.l1_offset = l1->offset,
		.l1_entries = l1->count,
		.id = new_id(q),
		.name = xstrdup(name),
		.date_s = now_us / 1000000,
		.date_ns = now_us % 1000000 * 1000,
		.disk_bytes = q->header.size,
		.icount = UINT64_MAX,
		.extra_bytes = SNAPSHOT_EXTRA_KNOWN,
		.extra = xalloc(1, SNAPSHOT_EXTRA_KNOWN),
	};
}

static int co_fn add_to_list(struct qcow2 *q, const char *name, const struct qcow2_table *l1)
{
	uint32_t count;
	struct qcow2_snapshot *list = copy_list(q, NULL, &count);

	list[count++] = new_snapshot(q, name, l1);
	int r = qcow2_snapshots_replace(q, list, count);

	if (r < 0)
		qcow2_snapshots_free(list, count);
	return r;
}

int co_fn qcow2_snapshot_create(struct node *n, const char *name, struct error **errp)
{
	struct qcow2 *q = n->state;
	struct qcow2_table l1;
	int r = begin(q, errp);

	if (r < 0)
		return r;
	if (strlen(name) > UINT16_MAX)
		return error_set(errp, -EINVAL, "The name of the snapshot is too long");
	if (q->header.snapshot_count >= SNAPSHOTS_MAX)
		return error_set(errp, -EFBIG, "The image has %d snapshots already", SNAPSHOTS_MAX);
	r = copy_l1(q, &q->l1, q->l1.count, &l1);
	if (r < 0) {
		/* What was counted in vain may not all have been taken back. */
		(void)finish(q, NULL);
		return failed(errp, r, "share the clusters with the snapshot");
	}
	r = qcow2_settle(q);
	if (r == 0)
		r = qcow2_references_mark(q);
	if (r == 0)
		r = add_to_list(q, name, &l1);
	if (r < 0 && !n->corrupt) {
		(void)qcow2_references_free(q, &l1);
		if (l1.count > 0)
			qcow2_free_later(q, l1.offset, l1.count * sizeof(uint64_t), FREE_OTHER);
	}
	qcow2_table_finish(&l1);
	if (r < 0) {
		(void)finish(q, NULL);
		return failed(errp, r, "write the table of snapshots");
	}
	return finish(q, errp);
}

/* Load the L1 table of @s, and see that it fits its disk. */
static int co_fn load_l1(struct qcow2 *q, const struct qcow2_snapshot *s, struct qcow2_table *ret,
			 struct error **errp)
{
	if (s->disk_bytes > INT64_MAX ||
	    s->l1_entries < div_round_up(s->disk_bytes, qcow2_table_span(q)))
		return error_set(errp, -EINVAL, "Snapshot '%s' has too small an L1 table", s->id);
	int r = qcow2_table_load(ret, q, s->l1_offset, s->l1_entries);

	return r < 0 ? failed(errp, r, "read the snapshot's L1 table") : 0;
}

/* From now on @l1 is the active table. What is cached of the old one goes. */
static void use_l1(struct qcow2 *q, struct qcow2_table *l1)
{
	qcow2_cache_finish(&q->l2_cache);
	qcow2_cache_finish(&q->refcount_cache);
	qcow2_caches_init(q);
	qcow2_compressed_forget(q);
	q->l1 = *l1;
}

static int co_fn switch_to(struct qcow2 *q, struct qcow2_table *l1, uint64_t size)
{
	int r = qcow2_settle(q);

	if (r == 0)
		r = qcow2_references_disown(q, l1);
	if (r == 0)
		r = edge_flush(q->node->file);
	if (r < 0)
		return r;
	q->header.l1_offset = l1->offset;
	q->header.l1_entries = l1->count;
	q->header.size = size;
	r = qcow2_header_update(q);
	return r < 0 ? qcow2_header_lost(q, r) : 0;
}

/* Bitmaps tell what has been written: they cannot follow an image back in time. */
static int check_bitmaps(const struct qcow2 *q, struct error **errp)
{
	if (list_is_empty(&q->node->bitmaps) && list_is_empty(&q->bitmaps))
		return 0;
	return error_set(errp, -ENOTSUP, "Device has active dirty bitmaps");
}

int co_fn qcow2_snapshot_apply(struct node *n, const char *id, struct error **errp)
{
	struct qcow2 *q = n->state;
	struct qcow2_table kept, l1, old;
	int r = begin(q, errp);

	if (r == 0)
		r = check_bitmaps(q, errp);
	if (r < 0)
		return r;
	const struct qcow2_snapshot *s = qcow2_snapshot_find(q, id);

	if (!s)
		return not_found(errp, id);
	uint64_t size = s->disk_bytes;

	r = load_l1(q, s, &kept, errp);
	if (r < 0)
		return r;
	r = copy_l1(q, &kept, kept.count, &l1);
	qcow2_table_finish(&kept);
	if (r < 0)
		return failed(errp, r, "share the clusters with the snapshot");
	r = switch_to(q, &l1, size);
	if (r < 0) {
		/* When the header is lost, everything leaks: which table it names is unknown. */
		if (!n->corrupt) {
			qcow2_references_undo(q, &l1);
			if (l1.count > 0)
				qcow2_unallocate(q, l1.offset,
						 qcow2_clusters(q, l1.count * sizeof(uint64_t)));
		}
		qcow2_table_finish(&l1);
		return failed(errp, r, "write the header");
	}
	old = q->l1;
	use_l1(q, &l1);
	(void)qcow2_references_free(q, &old);
	if (old.count > 0)
		qcow2_free_later(q, old.offset, old.count * sizeof(uint64_t), FREE_SNAPSHOT);
	qcow2_table_finish(&old);
	node_set_size(n, size);
	node_note_change(n);
	return finish(q, errp);
}

int co_fn qcow2_snapshot_delete(struct node *n, const char *id, struct error **errp)
{
	struct qcow2 *q = n->state;
	struct qcow2_table l1 = {0};
	uint32_t count;
	int r = begin(q, errp);

	if (r < 0)
		return r;
	const struct qcow2_snapshot *s = qcow2_snapshot_find(q, id);

	if (!s)
		return not_found(errp, id);
	r = qcow2_table_load(&l1, q, s->l1_offset, s->l1_entries);
	if (r < 0)
		return failed(errp, r, "read the snapshot's L1 table");
	l1.offset = s->l1_offset;
	struct qcow2_snapshot *list = copy_list(q, s, &count);

	r = qcow2_snapshots_replace(q, list, count);
	if (r < 0) {
		qcow2_snapshots_free(list, count);
		qcow2_table_finish(&l1);
		return failed(errp, r, "write the table of snapshots");
	}
	(void)qcow2_references_free(q, &l1);
	if (l1.count > 0)
		qcow2_free_later(q, l1.offset, l1.count * sizeof(uint64_t), FREE_SNAPSHOT);
	qcow2_table_finish(&l1);
	return finish(q, errp);
}

int co_fn qcow2_snapshot_show(struct node *n, const char *id, struct error **errp)
{
	struct qcow2 *q = n->state;
	const struct qcow2_snapshot *s = qcow2_snapshot_find(q, id);
	struct qcow2_table l1, old = q->l1;

	if (q->writable)
		return error_set(errp, -EACCES, "Only a read-only image can show a snapshot");
	if (!s)
		return not_found(errp, id);
	int r = load_l1(q, s, &l1, errp);

	if (r < 0)
		return r;
	use_l1(q, &l1);
	qcow2_table_finish(&old);
	node_set_size(n, s->disk_bytes);
	return 0;
}
