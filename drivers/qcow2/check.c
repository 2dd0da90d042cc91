/* SPDX-License-Identifier: MIT */
/*
 * Checking an image: are the refcounts what the tables' references add up to?
 * Node's loop; the node is drained, and its tables are in the file.
 *
 * 1. Too high a refcount is a leak: it wastes space. Too low a one is a
 *    corruption: the cluster may be given out twice.
 * 2. Mending raises and lowers refcounts in place where that is possible, and
 *    writes new refcount structures where the old ones are damaged.
 * 3. Memory is four bytes for each cluster of the file.
 */
#include "drivers/qcow2/check.h"

#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/refcount.h"
#include "drivers/qcow2/snapshot.h"

void qcow2_check_report(struct check *c, const char *format, ...)
{
	if (!c->result->report)
		return;
	va_list args;

	va_start(args, format);
	_cleanup_free_ char *text = xvasprintf(format, args);

	va_end(args);
	c->result->report(c->result->report_arg, text);
}

/* Set one refcount to what was counted. */
static int co_fn mend(struct check *c, uint64_t cluster, uint32_t references)
{
	struct qcow2 *q = c->q;
	struct slice *s;
	int r = qcow2_refcount_slice(q, cluster, &s);

	if (r < 0 || !s || references > q->refcount_max) {
		if (s)
			qcow2_cache_put(&q->refcount_cache, s);
		return r < 0 ? r : -ERANGE;
	}
	qcow2_refcount_store(qcow2_cache_modify(&q->refcount_cache, s), q->refcount_order,
			     qcow2_refcount_index(q, cluster), references);
	qcow2_cache_put(&q->refcount_cache, s);
	if (references == 0)
		q->free_hint = MIN(q->free_hint, cluster);
	return 0;
}

static void co_fn judge_leak(struct check *c, uint64_t cluster, uint64_t refcount,
			     uint32_t references)
{
	bool fixes = c->fix & IMAGE_FIX_LEAKS;

	qcow2_check_report(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu32,
			   fixes ? "Repairing" : "Leaked", cluster, refcount, references);
	if (fixes && mend(c, cluster, references) == 0)
		c->result->leaks_fixed++;
	else
		c->result->leaks++;
}

static void co_fn judge_corruption(struct check *c, uint64_t cluster, uint64_t refcount,
				   uint32_t references)
{
	bool fixes = c->fix & IMAGE_FIX_ERRORS;

	qcow2_check_report(c, "%s cluster %" PRIu64 " refcount=%" PRIu64 " reference=%" PRIu32,
			   fixes ? "Repairing" : "ERROR", cluster, refcount, references);
	if (fixes && mend(c, cluster, references) == 0) {
		c->result->corruptions_fixed++;
		return;
	}
	c->result->corruptions++;
	c->result->has_lost |= refcount == 0;
	c->needs_rebuild = true;
}

/* Compare one cluster. -EIO when its refcount cannot be read. */
static int co_fn compare_cluster(struct check *c, uint64_t cluster)
{
	uint32_t references = c->counts[cluster];
	uint64_t refcount;
	int r = qcow2_refcount_get(c->q, cluster, &refcount);

	if (r < 0)
		return r;
	if (references > 0 || refcount > 0)
		c->result->image_end = MAX(c->result->image_end,
					   (cluster + 1) << c->q->cluster_bits);
	if (refcount > references)
		judge_leak(c, cluster, refcount, references);
	else if (refcount < references)
		judge_corruption(c, cluster, refcount, references);
	return 0;
}

/* All clusters of the file that one refcount block covers, or would cover. */
static void co_fn compare_block(struct check *c, uint64_t index)
{
	struct qcow2 *q = c->q;
	uint64_t first = index << q->block_bits;
	/* What the file does not have is no waste, and may be referred to (2 of check_count.c). */
	uint64_t end = MIN((index + 1) << q->block_bits, c->clusters);

	for (uint64_t cluster = first; cluster < end; cluster++) {
		if (compare_cluster(c, cluster) < 0) {
			qcow2_check_report(c, "ERROR: can't read the refcounts from cluster "
					   "%" PRIu64 " on", cluster);
			c->result->errors++;
			c->needs_rebuild = true;
			return;
		}
	}
}

static void co_fn compare_all(struct check *c)
{
	struct qcow2 *q = c->q;
	uint64_t covered = div_round_up(c->clusters, UINT64_C(1) << q->block_bits);

	co_mutex_lock(&q->lock);
	for (uint64_t i = 0; i < covered; i++) {
		compare_block(c, i);
		co_reschedule(); /* a block covers many clusters */
	}
	co_mutex_unlock(&q->lock);
}

/*
 * Tell everything as it is found, and then mend it, telling that, too: in this order the rival's users
 * know it. Refcounts that cannot be read leave nothing to mend in place.
 */
static void co_fn compare_and_mend(struct check *c)
{
	struct image_check *result = c->result;
	struct image_check before = *result;
	bool needed_rebuild = c->needs_rebuild;
	unsigned fix = c->fix;

	c->fix = 0;
	compare_all(c);
	c->fix = fix;
	bool found = result->leaks > before.leaks || result->corruptions > before.corruptions;

	if (!fix || !found || result->errors > before.errors)
		return;
	/* Nothing is given back while there is no telling what is in use. */
	if (result->has_lost && !(fix & IMAGE_FIX_ERRORS)) {
		c->fix = 0;
		return;
	}
	result->leaks = before.leaks;
	result->corruptions = before.corruptions;
	c->needs_rebuild = needed_rebuild;
	compare_all(c);
}

static bool may_rebuild(const struct check *c)
{
	return c->needs_rebuild && (c->fix & IMAGE_FIX_ERRORS);
}

/* Count, compare and mend. */
static int co_fn run(struct check *c, struct error **errp)
{
	struct image_check *result = c->result;
	unsigned fix = c->fix;
	int r = qcow2_check_count_all(c);

	if (r < 0)
		return error_set_errno(errp, r, "Could not read the tables");
	/* What a table that cannot be read refers to was not counted, and is no leak. */
	if (result->errors > 0)
		c->fix = 0;
	uint64_t unmendable = result->corruptions; /* wrong references; refcounts are no help */
	uint32_t *without = NULL;

	if (c->fix & IMAGE_FIX_ERRORS) {
		without = malloc(MAX(c->clusters, 1) * sizeof(uint32_t));
		if (!without)
			return error_set_errno(errp, -ENOMEM, "Could not check the image");
		memcpy(without, c->counts, c->clusters * sizeof(uint32_t));
	}
	qcow2_check_count_refcounts(c);
	if (!may_rebuild(c))
		compare_and_mend(c);
	if (may_rebuild(c)) {
		qcow2_check_report(c, "Rebuilding refcount structure");
		free(c->counts);
		c->counts = TAKE(without);
		r = qcow2_rebuild_refcounts(c, errp);
		if (r == 0) {
			result->corruptions_fixed += result->corruptions - unmendable;
			result->leaks_fixed += result->leaks;
			result->corruptions = unmendable;
			result->leaks = result->errors = 0;
		}
	}
	free(without);
	/* With lost clusters, a repair of leaks alone has ended. */
	bool gave_up = fix == IMAGE_FIX_LEAKS && result->has_lost;

	if (r == 0 && !gave_up)
		r = qcow2_check_copied(c);
	return r;
}

/* In version 3 each snapshot says how long its disk is. A new table needs sound refcounts. */
static int co_fn check_snapshots(struct check *c, struct error **errp)
{
	struct qcow2 *q = c->q;
	struct image_check *result = c->result;
	bool fixes = (c->fix & IMAGE_FIX_ERRORS) && !result->errors && !result->corruptions;
	int r = 0;

	for (uint32_t i = 0; q->header.version >= 3 && i < q->header.snapshot_count; i++) {
		if (q->snapshots[i].extra_bytes >= SNAPSHOT_ICOUNT)
			continue;
		qcow2_check_report(c, "%s snapshot table entry %" PRIu32 " is incomplete",
				   fixes ? "Repairing" : "ERROR", i);
		*(fixes ? &result->corruptions_fixed : &result->corruptions) += 1;
		r = 1;
	}
	if (r == 1 && fixes)
		r = qcow2_snapshots_complete(q);
	return r < 0 ? error_set_errno(errp, r, "Could not write the table of snapshots") : 0;
}

/* A mended image is neither dirty nor corrupt. */
static int co_fn finish(struct check *c, struct error **errp)
{
	struct qcow2 *q = c->q;
	uint64_t clear = 0;

	if (!c->fix)
		return 0;
	int r = qcow2_settle(q);

	if (c->result->errors == 0 && c->result->corruptions == 0 && (c->fix & IMAGE_FIX_ERRORS))
		clear = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT;
	if (r == 0)
		r = qcow2_header_set_incompatible(q, 0, clear);
	if (r < 0)
		return error_set_errno(errp, r, "Could not write the mended tables");
	return 0;
}

int co_fn qcow2_check_image(struct qcow2 *q, unsigned fix, struct image_check *ret,
			    struct error **errp)
{
	struct check c = {
		.q = q,
		.result = ret,
		.fix = fix,
		.clusters = qcow2_clusters(q, qcow2_file_size(q)),
	};

	c.counts = calloc(MAX(c.clusters, 1), sizeof(uint32_t));
	if (!c.counts)
		return error_set_errno(errp, -ENOMEM, "Could not check the image");
	ret->total_clusters = qcow2_clusters(q, q->header.size);
	int r = run(&c, errp);

	if (r == 0)
		r = check_snapshots(&c, errp);
	if (r == 0)
		r = finish(&c, errp);
	free(c.counts);
	return r;
}

/* Without snapshots nobody looks at it; but who writes a wild one has damaged the header. */
static int check_snapshots_offset(const struct qcow2 *q, struct image_check *result,
				  struct error **errp)
{
	uint64_t offset = q->header.snapshots_offset;

	if (offset <= INT64_MAX && is_aligned(offset, q->cluster_bytes))
		return 0;
	if (result->report)
		result->report(result->report_arg, "ERROR snapshot table offset invalid");
	return error_set_errno(errp, -EINVAL, "Could not check the snapshot table");
}

int co_fn qcow2_check(struct node *n, unsigned fix, struct image_check *ret, struct error **errp)
{
	struct qcow2 *q = n->state;
	int r = check_snapshots_offset(q, ret, errp);

	if (r < 0)
		return r;
	if (fix && !q->writable)
		return error_set(errp, -EACCES, "Image is read-only");
	if (fix)
		r = qcow2_begin_writing(q, errp);
	if (r == 0 && q->writing) {
		r = qcow2_settle(q);
		if (r < 0)
			error_set_errno(errp, r, "Could not write the tables");
	}
	if (r == 0)
		r = qcow2_load_reftable(q, errp);
	return r < 0 ? r : qcow2_check_image(q, fix, ret, errp);
}
