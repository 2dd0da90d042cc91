/* SPDX-License-Identifier: MIT */
/*
 * What a node's options come to for this image: defaults, limits and their
 * contradictions. Pure computation.
 */
#include "drivers/qcow2/image.h"

#define L2_CACHE_BYTES_DEFAULT (32 * MiB)
#define L2_SLICE_BYTES_DEFAULT 4096
#define L2_CACHE_SLICES_MIN 2
#define REFCOUNT_CACHE_CLUSTERS_MIN 4
#define CLEAN_INTERVAL_DEFAULT_S 600
#define CACHE_SLICES_MAX (INT32_MAX)

/* The sizes as given; absent ones are not set. */
struct cache_options {
	bool has_total, has_l2, has_refcount;
	uint64_t total, l2, refcount;
};

static int size_option(const char *name, bool has, int64_t value, bool *ret_has, uint64_t *ret,
		       struct error **errp)
{
	if (has && value < 0)
		return error_set(errp, -EINVAL,
				 "Parameter '%s' expects a non-negative number below 2^63", name);
	*ret_has = has;
	*ret = value;
	return 0;
}

static int read_cache_options(const struct blockdev_options_qcow2 *o, struct cache_options *c,
			      struct error **errp)
{
	int r = size_option("cache-size", o->has_cache_size, o->cache_size, &c->has_total,
			    &c->total, errp);

	if (r == 0)
		r = size_option("l2-cache-size", o->has_l2_cache_size, o->l2_cache_size,
				&c->has_l2, &c->l2, errp);
	if (r == 0)
		r = size_option("refcount-cache-size", o->has_refcount_cache_size,
				o->refcount_cache_size, &c->has_refcount, &c->refcount, errp);
	if (r < 0)
		return r;
	if (!c->has_total)
		return 0;
	if (c->has_l2 && c->has_refcount)
		return error_set(errp, -EINVAL,
				 "cache-size, l2-cache-size and refcount-cache-size may not be set "
				 "at the same time");
	if (c->has_l2 && c->l2 > c->total)
		return error_set(errp, -EINVAL, "l2-cache-size may not exceed cache-size");
	if (c->has_refcount && c->refcount > c->total)
		return error_set(errp, -EINVAL, "refcount-cache-size may not exceed cache-size");
	return 0;
}

/* All L2 tables of the image, in bytes. */
static uint64_t all_l2_bytes(const struct qcow2 *q)
{
	uint64_t entries = qcow2_clusters(q, q->header.size);

	return align_up(entries << q->entry_shift, q->cluster_bytes);
}

/* Divide the memory: as much to the L2 tables as they can use, unless told otherwise. */
static void divide(const struct qcow2 *q, const struct cache_options *c,
		   struct qcow2_settings *s)
{
	uint64_t refcount_min = REFCOUNT_CACHE_CLUSTERS_MIN * q->cluster_bytes;
	uint64_t l2_max = all_l2_bytes(q);
	uint64_t l2 = c->has_l2 ? c->l2 : L2_CACHE_BYTES_DEFAULT;
	uint64_t refcount = c->has_refcount ? c->refcount : refcount_min;

	if (c->has_total && c->has_l2) {
		refcount = c->total - c->l2;
	} else if (c->has_total && c->has_refcount) {
		l2 = c->total - c->refcount;
	} else if (c->has_total && c->total >= l2_max + refcount_min) {
		l2 = l2_max;
		refcount = c->total - l2_max;
	} else if (c->has_total) {
		refcount = MIN(c->total, refcount_min);
		l2 = c->total - refcount;
	}
	s->l2_cache_bytes = MAX(MIN(l2, l2_max), L2_CACHE_SLICES_MIN * s->l2_slice_bytes);
	s->refcount_cache_bytes = MAX(refcount, refcount_min);
}

static int cache_settings(struct qcow2_settings *s, const struct qcow2 *q,
			  const struct blockdev_options_qcow2 *o, struct error **errp)
{
	struct cache_options c = {0};
	int64_t slice = MIN(q->cluster_bytes, L2_SLICE_BYTES_DEFAULT);
	int r = read_cache_options(o, &c, errp);

	if (r < 0)
		return r;
	if (o->has_l2_cache_entry_size)
		slice = o->l2_cache_entry_size;
	if (slice < 512 || (uint64_t)slice > q->cluster_bytes || !is_power_of_2(slice))
		return error_set(errp, -EINVAL,
				 "L2 cache entry size must be a power of two between 512 and the "
				 "cluster size (%" PRIu64 ")", q->cluster_bytes);
	s->l2_slice_bytes = slice;
	divide(q, &c, s);
	if (s->l2_cache_bytes / s->l2_slice_bytes > CACHE_SLICES_MAX)
		return error_set(errp, -EINVAL, "L2 cache size too big");
	if (s->refcount_cache_bytes / q->cluster_bytes > CACHE_SLICES_MAX)
		return error_set(errp, -EINVAL, "Refcount cache size too big");

	int64_t interval = o->has_cache_clean_interval ? o->cache_clean_interval
						       : CLEAN_INTERVAL_DEFAULT_S;
	if (interval < 0 || interval > UINT32_MAX)
		return error_set(errp, -EINVAL, "Cache clean interval too big");
	s->clean_interval_ns = interval * UINT64_C(1000000000);
	return 0;
}

static unsigned mode_checks(enum qcow2_overlap_check_mode mode)
{
	switch (mode) {
	case QCOW2_OVERLAP_CHECK_MODE_NONE:
		return 0;
	case QCOW2_OVERLAP_CHECK_MODE_CONSTANT:
		return METADATA_CONSTANT;
	case QCOW2_OVERLAP_CHECK_MODE_ALL:
		return METADATA_ALL;
	default:
		return METADATA_CACHED;
	}
}

static unsigned overlap_checks(const struct qcow2_overlap_checks *o)
{
	if (!o)
		return METADATA_CACHED;
	if (o->kind == QCOW2_OVERLAP_CHECKS_MODE)
		return mode_checks(o->u.mode);

	const struct qcow2_overlap_check_flags *f = o->u.flags;
	const struct {
		bool has, on;
		unsigned kind;
	} single[] = {
		{f->has_main_header, f->main_header, METADATA_HEADER},
		{f->has_active_l1, f->active_l1, METADATA_ACTIVE_L1},
		{f->has_active_l2, f->active_l2, METADATA_ACTIVE_L2},
		{f->has_refcount_table, f->refcount_table, METADATA_REFCOUNT_TABLE},
		{f->has_refcount_block, f->refcount_block, METADATA_REFCOUNT_BLOCK},
		{f->has_snapshot_table, f->snapshot_table, METADATA_SNAPSHOT_TABLE},
		{f->has_inactive_l1, f->inactive_l1, METADATA_INACTIVE_L1},
		{f->has_inactive_l2, f->inactive_l2, METADATA_INACTIVE_L2},
		{f->has_bitmap_directory, f->bitmap_directory, METADATA_BITMAP_DIRECTORY},
	};
	unsigned checks = mode_checks(f->template);

	for (size_t i = 0; i < ARRAY_SIZE(single); i++) {
		if (single[i].has && single[i].on)
			checks |= single[i].kind;
		else if (single[i].has)
			checks &= ~single[i].kind;
	}
	return checks;
}

int qcow2_settings_init(struct qcow2_settings *s, struct qcow2 *q,
			const struct blockdev_options *options, struct error **errp)
{
	static const struct blockdev_options_qcow2 none = {0};
	const struct blockdev_options_qcow2 *o = options ? &options->u.qcow2 : &none;

	*s = (struct qcow2_settings){0};
	s->lazy_refcounts = o->has_lazy_refcounts
				    ? o->lazy_refcounts
				    : q->header.compatible & COMPATIBLE_LAZY_REFCOUNTS;
	if (s->lazy_refcounts && q->header.version < 3)
		return error_set(errp, -EINVAL,
				 "Lazy refcounts require a qcow2 image with at least qemu 1.1 "
				 "compatibility level");
	s->discards[FREE_REQUEST] =
		o->has_pass_discard_request ? o->pass_discard_request : q->node->discard_unmap;
	s->discards[FREE_SNAPSHOT] =
		o->has_pass_discard_snapshot ? o->pass_discard_snapshot : true;
	s->discards[FREE_OTHER] = o->pass_discard_other;
	s->discard_no_unref = o->discard_no_unref;
	if (s->discard_no_unref && q->header.version < 3)
		return error_set(errp, -EINVAL,
				 "discard-no-unref is only supported since qcow2 version 3");
	s->overlap_checks = overlap_checks(o->overlap_check);
	return cache_settings(s, q, o, errp);
}
