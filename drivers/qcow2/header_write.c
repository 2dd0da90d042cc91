/* SPDX-License-Identifier: MIT */
/*
 * Writing the header, so that a crash leaves the old or the new one.
 *
 * 1. Whatever the new header's first sector refers to is durable before that
 *    sector is written, and does not overwrite what the old one refers to.
 * 2. Everything lies in the first cluster, which is nothing but the header: there
 *    is no overlap to check, and marking an image corrupt goes through here.
 * 3. A call returns after a flush: callers rely on the header's order relative
 *    to other writes.
 */
#include "drivers/qcow2/header.h"

#define SECTOR 512

static int co_fn write_first_sector(struct qcow2 *q, uint8_t *sector)
{
	int r = edge_write(q->node->file, 0, SECTOR, sector, 0);

	if (r == 0)
		r = edge_flush(q->node->file);
	return r;
}

int co_fn qcow2_header_update(struct qcow2 *q)
{
	_cleanup_free_ uint8_t *sector = NULL;
	size_t bytes = MAX(align_up(q->header.length, SECTOR), SECTOR);

	co_mutex_lock(&q->header_lock);
	sector = xalloc(1, bytes);
	int r = edge_read(q->node->file, 0, MIN(bytes, qcow2_file_size(q)), sector, 0);

	if (r == 0) {
		/* Unknown fields that reach beyond the sector are on disk already. */
		qcow2_header_encode(&q->header, sector);
		r = write_first_sector(q, sector);
	}
	co_mutex_unlock(&q->header_lock);
	return r;
}

int co_fn qcow2_header_set_incompatible(struct qcow2 *q, uint64_t set, uint64_t clear)
{
	uint64_t old = q->header.incompatible, new = (old | set) & ~clear;

	if (q->header.version < 3 || new == old)
		return 0;
	q->header.incompatible = new;
	int r = qcow2_header_update(q);

	if (r < 0)
		q->header.incompatible = (q->header.incompatible & ~(set | clear)) |
					 (old & (set | clear));
	return r;
}

int qcow2_header_lost(struct qcow2 *q, int r)
{
	q->node->corrupt = true;
	return r;
}

/* Write the part of [@from, @to) that lies behind the first sector. */
static int co_fn write_part(struct qcow2 *q, const uint8_t *cluster, uint64_t from, uint64_t to)
{
	from = MAX(from, SECTOR);
	if (from >= to)
		return 0;
	return edge_write(q->node->file, from, to - from, cluster + from, 0);
}

/* Whether both headers have a name behind the first sector, and these touch. */
static bool names_touch(const struct qcow2_header *a, const struct qcow2_header *b)
{
	uint64_t a_end = a->backing_offset + a->backing_bytes;
	uint64_t b_end = b->backing_offset + b->backing_bytes;

	return MAX(a->backing_offset, SECTOR) < b_end && MAX(b->backing_offset, SECTOR) < a_end;
}

/* Lay out the new header; its name keeps clear of the old one if there is room for that. */
static int64_t compose(struct qcow2 *q, const char *name, const char *format,
		       struct qcow2_header *h, uint8_t *cluster, struct error **errp)
{
	const struct qcow2_header *old = &q->header;
	int64_t end = qcow2_header_compose(h, &q->extensions, name, format, 0, cluster, errp);

	if (end < 0 || !names_touch(old, h))
		return end;
	memset(cluster, 0, q->cluster_bytes);
	return qcow2_header_compose(h, &q->extensions, name, format,
				    align_up(old->backing_offset + old->backing_bytes, 8), cluster,
				    errp);
}

static int co_fn rewrite_locked(struct qcow2 *q, const char *name, const char *format,
				uint8_t *cluster, struct error **errp)
{
	struct qcow2_header new = q->header;
	int64_t end = compose(q, name, format, &new, cluster, errp);

	if (end < 0)
		return end;
	int r = write_part(q, cluster, 0, end);

	if (r == 0)
		r = write_part(q, cluster, new.backing_offset,
			       new.backing_offset + new.backing_bytes);
	if (r == 0)
		r = edge_flush(q->node->file);
	if (r == 0)
		r = write_first_sector(q, cluster);
	if (r < 0)
		return error_set_errno(errp, r, "Could not write the qcow2 header");
	/* Only what is new here: others may have changed more meanwhile, and wait to write it. */
	q->header.backing_offset = new.backing_offset;
	q->header.backing_bytes = new.backing_bytes;
	return 0;
}

int co_fn qcow2_header_rewrite(struct qcow2 *q, struct error **errp)
{
	uint8_t *cluster = calloc(1, q->cluster_bytes);

	if (!cluster)
		return error_set_errno(errp, -ENOMEM, "Could not write the qcow2 header");
	co_mutex_lock(&q->header_lock);
	int r = rewrite_locked(q, q->node->backing_name, q->node->backing_format, cluster, errp);

	co_mutex_unlock(&q->header_lock);
	free(cluster);
	return r;
}

/* Before the lock goes: who writes the header next writes these. */
static void set_names(struct node *n, const char *name, const char *format)
{
	/* The new names may be the old ones. */
	char *old_name = n->backing_name, *old_format = n->backing_format;

	n->backing_name = xstrdup(name);
	n->backing_format = xstrdup(format);
	free(old_name);
	free(old_format);
}

int co_fn qcow2_header_rename(struct qcow2 *q, const char *backing_name,
			      const char *backing_format, struct error **errp)
{
	uint8_t *cluster = calloc(1, q->cluster_bytes);

	if (!cluster)
		return error_set_errno(errp, -ENOMEM, "Could not write the qcow2 header");
	co_mutex_lock(&q->header_lock);
	int r = rewrite_locked(q, backing_name, backing_format, cluster, errp);

	if (r == 0)
		set_names(q->node, backing_name, backing_format);
	co_mutex_unlock(&q->header_lock);
	free(cluster);
	return r;
}
