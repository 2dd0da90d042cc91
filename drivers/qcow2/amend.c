/* SPDX-License-Identifier: MIT */
/*
 * Changing the options of an image that exists. Node's loop; nobody else uses the
 * node, unless only the name of the backing file changes.
 *
 * 1. Each change ends with one sector of the header, written when everything that
 *    the new header promises is durable: a crash leaves the image before or after it.
 * 2. Version 2 has no zero clusters: before the header says so, they become
 *    unallocated or, above a backing file, are filled with zeroes. It may be one that
 *    the header names or one that the node has been given. Those of internal snapshots
 *    stay, and with them the version.
 */
#include "block/bitmap.h"
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/snapshot.h"

/* --- The version -------------------------------------------------------------------- */

/* Write the header anew as @new, or leave it as it is. */
static int co_fn change_header(struct qcow2 *q, const struct qcow2_header *new, struct error **errp)
{
	struct qcow2_header old = q->header;

	q->header = *new;
	int r = qcow2_header_rewrite(q, errp);

	if (r == 0)
		return 0;
	/* It may have arrived nevertheless: go on only with what certainly is there. */
	q->header = old;
	if (qcow2_header_rewrite(q, NULL) < 0)
		qcow2_header_lost(q, r);
	return r;
}

static int co_fn upgrade(struct qcow2 *q, struct error **errp)
{
	int r = qcow2_snapshots_complete(q);

	if (r < 0)
		return error_set_errno(errp, r, "Could not write the table of snapshots");
	struct qcow2_header new = q->header;

	new.version = 3;
	new.length = HEADER_BYTES_V3;
	new.refcount_order = REFCOUNT_ORDER_V2;
	return change_header(q, &new, errp);
}

static int check_downgrade(const struct qcow2 *q, struct error **errp)
{
	uint64_t lasting = q->header.incompatible & ~(uint64_t)INCOMPATIBLE_DIRTY;

	if (q->refcount_order != REFCOUNT_ORDER_V2)
		return error_set(errp, -ENOTSUP, "compat=0.10 requires refcount_bits=16");
	if (lasting != 0)
		return error_set(errp, -ENOTSUP,
				 "Cannot downgrade an image with incompatible features set");
	if (!list_is_empty(&q->bitmaps) || bitmaps_have_persistent(q->node))
		return error_set(errp, -ENOTSUP, "Cannot downgrade an image with bitmaps");
	return 0;
}

/* What the L2 tables of a snapshot say must be said in version 2 as well. */
static int co_fn check_snapshot(struct qcow2 *q, const struct qcow2_snapshot *s,
				struct error **errp)
{
	struct qcow2_table l1;
	bool has_zeroes = false;
	int r = qcow2_table_load(&l1, q, s->l1_offset, s->l1_entries);

	if (r == 0) {
		r = qcow2_references_have_zeroes(q, &l1, &has_zeroes);
		qcow2_table_finish(&l1);
	}
	if (r < 0)
		return error_set_errno(errp, r, "Could not read the tables of snapshot '%s'",
				       s->id);
	if (has_zeroes)
		return error_set(errp, -ENOTSUP,
				 "Cannot downgrade an image with internal snapshots that have "
				 "zero clusters, as '%s' has", s->id);
	return 0;
}

static int co_fn check_snapshots(struct qcow2 *q, struct error **errp)
{
	int r = q->header.snapshot_count > 0 ? qcow2_settle(q) : 0;

	if (r < 0)
		return error_set_errno(errp, r, "Could not write the tables");
	for (uint32_t i = 0; i < q->header.snapshot_count && r == 0; i++)
		r = check_snapshot(q, &q->snapshots[i], errp);
	return r;
}

/* Express one run of zero clusters without their flag. */
static int co_fn expand_run(struct qcow2 *q, uint64_t offset, const struct run *run)
{
	if (run->type != CLUSTER_ZERO && run->type != CLUSTER_ZERO_KEPT)
		return 0;
	uint64_t end = align_up(offset + run->bytes, q->cluster_bytes);

	return q->node->backing_name || q->node->backing
		       ? qcow2_write_zeroes(q, offset, run->bytes)
		       : qcow2_drop(q, offset, end - offset, DROP_ALL);
}

static int co_fn expand_zeroes(struct qcow2 *q)
{
	int r = 0;

	for (uint64_t at = 0; at < q->header.size && r == 0;) {
		struct run run;

		r = qcow2_map(q, at, MIN(q->header.size - at, GiB), &run);
		if (r < 0)
			return r;
		r = expand_run(q, at, &run);
		at += run.bytes;
	}
	return r < 0 ? r : qcow2_settle(q);
}

static int co_fn downgrade(struct qcow2 *q, struct error **errp)
{
	int r = check_downgrade(q, errp);

	if (r == 0)
		r = check_snapshots(q, errp);
	if (r < 0)
		return r;
	q->settings.lazy_refcounts = false;
	r = expand_zeroes(q);
	if (r == 0)
		r = qcow2_header_set_incompatible(q, 0, INCOMPATIBLE_DIRTY);
	if (r < 0)
		return error_set_errno(errp, r, "Could not turn zero clusters into data clusters");
	/* Time has passed. From here on the header says that there can be none. */
	r = check_downgrade(q, errp);
	if (r < 0)
		return r;
	struct qcow2_header new = q->header;

	new.version = 2;
	new.length = HEADER_BYTES_V2;
	new.compatible = new.autoclear = 0;
	new.unknown_bytes = 0;
	return change_header(q, &new, errp);
}

/* --- The width of refcounts ----------------------------------------------------------- */

static int find_too_high(const struct check *c, unsigned order, struct error **errp)
{
	uint64_t max = UINT64_MAX >> (64 - (1u << order));

	for (uint64_t i = 0; i < c->clusters; i++) {
		if (c->counts[i] > max)
			return error_set(errp, -EINVAL,
					 "Cannot decrease refcount entry width to %u bits: Cluster "
					 "at offset %#" PRIx64 " has a refcount of %" PRIu32,
					 1u << order, i << c->q->cluster_bits, c->counts[i]);
	}
	return 0;
}

/* Count everything anew, and write the counts in the new width. */
static int co_fn rewrite_refcounts(struct check *c, unsigned order, struct error **errp)
{
	struct qcow2 *q = c->q;
	unsigned old = q->refcount_order;
	int r = qcow2_check_count_all(c);

	if (r == 0 && (c->result->corruptions > 0 || c->result->errors > 0))
		return error_set(errp, -EIO, "The image is damaged; check it first");
	if (r < 0)
		return error_set_errno(errp, r, "Could not read the tables");
	r = find_too_high(c, order, errp);
	if (r < 0)
		return r;
	qcow2_set_refcount_order(q, order);
	uint64_t table = q->header.reftable_offset;

	r = qcow2_rebuild_refcounts(c, errp);
	if (r < 0 && q->header.reftable_offset == table)
		qcow2_set_refcount_order(q, old);
	return r;
}

static int co_fn change_refcount_bits(struct qcow2 *q, int64_t bits, struct error **errp)
{
	struct image_check result = {0};
	struct check c = {.q = q, .result = &result};
	int r = qcow2_check_refcount_bits(bits, errp);

	if (r < 0)
		return r;
	r = qcow2_settle(q);
	if (r < 0)
		return error_set_errno(errp, r, "Could not write the tables");
	c.clusters = qcow2_clusters(q, qcow2_file_size(q));
	c.counts = calloc(MAX(c.clusters, 1), sizeof(uint32_t));
	if (!c.counts)
		return error_set_errno(errp, -ENOMEM, "Could not count the references");
	r = rewrite_refcounts(&c, __builtin_ctzll(bits), errp);
	free(c.counts);
	return r;
}

/* --- The whole -------------------------------------------------------------------------- */

static int co_fn change_lazy(struct qcow2 *q, bool lazy, struct error **errp)
{
	struct qcow2_header new = q->header;

	/* What is cached already will not wait for its refcounts any more: mark the image as well. */
	if (lazy) {
		new.compatible |= COMPATIBLE_LAZY_REFCOUNTS;
		new.incompatible |= INCOMPATIBLE_DIRTY;
	} else {
		new.compatible &= ~(uint64_t)COMPATIBLE_LAZY_REFCOUNTS;
	}
	int r = change_header(q, &new, errp);

	if (r == 0)
		q->settings.lazy_refcounts = lazy;
	return r;
}

static int co_fn amend_locked(struct qcow2 *q, const struct blockdev_create_options_qcow2 *o,
			      struct error **errp)
{
	unsigned version = q->header.version;

	if (o->has_version)
		version = o->version == BLOCKDEV_QCOW2_VERSION_V2 ? 2 : 3;
	if (version < 3 && o->has_refcount_bits && o->refcount_bits != 16)
		return error_set(errp, -EINVAL, "Refcount widths other than 16 bits require "
				 "compatibility level 1.1 or above (use compat=1.1 or greater)");
	if (version < 3 && o->has_lazy_refcounts && o->lazy_refcounts)
		return error_set(errp, -EINVAL, "Lazy refcounts only supported with compatibility "
				 "level 1.1 and above (use compat=1.1 or greater)");
	int r = qcow2_begin_writing(q, errp);

	if (r == 0 && version > q->header.version)
		r = upgrade(q, errp);
	if (r == 0 && o->has_refcount_bits &&
	    (uint64_t)o->refcount_bits != UINT64_C(1) << q->refcount_order)
		r = change_refcount_bits(q, o->refcount_bits, errp);
	if (r == 0 && o->has_lazy_refcounts && q->header.version >= 3)
		r = change_lazy(q, o->lazy_refcounts, errp);
	if (r == 0 && version < q->header.version)
		r = downgrade(q, errp);
	return r;
}

int co_fn qcow2_amend(struct node *n, const struct blockdev_create_options *options,
		      struct error **errp)
{
	struct qcow2 *q = n->state;

	co_mutex_lock(&q->layout_lock);
	int r = amend_locked(q, &options->u.qcow2, errp);

	co_mutex_unlock(&q->layout_lock);
	return r;
}

/* --- The backing file ------------------------------------------------------------------- */

int co_fn qcow2_change_backing(struct node *n, const char *name, const char *format,
			       struct error **errp)
{
	struct qcow2 *q = n->state;
	int r = qcow2_begin_writing(q, errp);

	if (r < 0)
		return r;
	if (!name)
		format = NULL;
	if (format && strlen(format) > BACKING_FORMAT_MAX)
		return error_set(errp, -EINVAL, "Backing format name '%s' is too long", format);
	return qcow2_header_rename(q, name, format, errp);
}
