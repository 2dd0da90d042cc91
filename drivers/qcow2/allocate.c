/* SPDX-License-Identifier: MIT */
/*
 * Taking host clusters. Node's loop; the functions here take qcow2.lock.
 *
 * 1. A cluster is taken by raising its refcount from 0 in memory; the refcount
 *    is durable before any table on disk names the cluster (flush.c).
 * 2. The first free clusters are taken, as many in a row as there are, so that
 *    holes are filled; free_hint spares looking at what is known to be in use.
 * 3. Clusters from fresh_from on have never been written since the file was
 *    opened, and lay beyond its end then: they read as zeroes, except on a
 *    device that somebody has extended.
 * 4. A cluster shared by compressed ones has one reference from each.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/refcount.h"

struct search {
	uint64_t first, count; /* the run found so far */
	uint64_t want;
	bool exact;
	uint64_t first_hole;   /* first free cluster seen; UINT64_MAX */
};

/* True when the run will do. */
static bool is_enough(const struct search *s)
{
	return s->count == s->want || (s->count > 0 && !s->exact);
}

/* Look at the entries of one slice. True when the search is over. */
static bool scan_slice(const struct qcow2 *q, const uint8_t *data, struct search *s)
{
	uint64_t entries = UINT64_C(1) << q->refcount_slice_bits;

	for (uint64_t i = (s->first + s->count) & (entries - 1); i < entries; i++) {
		if (qcow2_refcount_load(data, q->refcount_order, i) == 0) {
			s->first_hole = MIN(s->first_hole, s->first + s->count);
			if (++s->count == s->want)
				return true;
		} else {
			if (is_enough(s))
				return true;
			s->first += s->count + 1;
			s->count = 0;
		}
	}
	return false;
}

/*
 * The run has come to where there is no refcount block: spend its first cluster
 * on one. So a run can become longer than what one block covers.
 */
static int co_fn make_block(struct qcow2 *q, struct search *s)
{
	uint64_t next = s->first + s->count;
	int r = qcow2_refcount_block_create(q, next >> q->block_bits, s->first);

	if (r < 0)
		return r;
	if (s->first_hole == s->first)
		s->first_hole = UINT64_MAX;
	s->first++;
	s->count -= s->count > 0;
	return 0;
}

/* Find free clusters from s->first on. */
static int co_fn search(struct qcow2 *q, struct search *s)
{
	for (;;) {
		uint64_t cluster = s->first + s->count;
		struct slice *slice;
		int r;

		if (cluster >= ENTRY_OFFSET_LIMIT >> q->cluster_bits)
			return -EFBIG;
		if (cluster >> q->block_bits >= q->reftable.count) {
			if (is_enough(s))
				return 0;
			r = qcow2_reftable_grow(q, cluster);
			if (r < 0)
				return r;
			continue;
		}
		r = qcow2_refcount_slice(q, cluster, &slice);
		if (r < 0)
			return r;
		if (!slice) {
			if (is_enough(s))
				return 0;
			r = make_block(q, s);
			if (r < 0)
				return r;
			continue;
		}
		bool done = scan_slice(q, slice->data, s);

		qcow2_cache_put(&q->refcount_cache, slice);
		if (done)
			return 0;
	}
}

/* With lazy refcounts the image is marked before refcounts on disk fall behind. */
static int co_fn mark_dirty(struct qcow2 *q)
{
	if (!q->settings.lazy_refcounts)
		return 0;
	return qcow2_header_set_incompatible(q, INCOMPATIBLE_DIRTY, 0);
}

static int co_fn allocate_locked(struct qcow2 *q, struct search *s, struct allocation *ret)
{
	qcow2_event(q, BLKDEBUG_EVENT_REFBLOCK_ALLOC);
	bool from_hint = s->first == q->free_hint;
	int r = q->node->corrupt ? -EIO : mark_dirty(q);

	if (r == 0)
		r = search(q, s);
	if (r < 0)
		return r;
	uint64_t offset = s->first << q->cluster_bits, end = s->first + s->count;

	r = qcow2_overlap_check(q, offset, s->count << q->cluster_bits, 0);
	if (r == 0)
		r = qcow2_refcount_increment(q, s->first, s->count);
	if (r < 0)
		return r;
	if (from_hint)
		q->free_hint = s->first_hole < s->first ? s->first_hole : end;
	*ret = (struct allocation){
		.offset = offset,
		.count = s->count,
		.fresh = s->first >= q->fresh_from && node_grows_zeroed(q->node->file->child),
	};
	q->fresh_from = MAX(q->fresh_from, end);
	return 0;
}

static int co_fn allocate(struct qcow2 *q, uint64_t count, bool exact, bool fresh,
			  struct allocation *ret)
{
	struct search s = {.want = count, .exact = exact, .first_hole = UINT64_MAX};

	qcow2_event(q, BLKDEBUG_EVENT_CLUSTER_ALLOC);
	co_mutex_lock(&q->lock);
	s.first = fresh ? MAX(q->fresh_from, q->free_hint) : q->free_hint;
	int r = allocate_locked(q, &s, ret);

	co_mutex_unlock(&q->lock);
	return r;
}

int co_fn qcow2_allocate(struct qcow2 *q, uint64_t count, struct allocation *ret)
{
	return allocate(q, count, false, false, ret);
}

int co_fn qcow2_allocate_exactly(struct qcow2 *q, uint64_t count, struct allocation *ret)
{
	return allocate(q, count, true, false, ret);
}

int co_fn qcow2_allocate_fresh(struct qcow2 *q, uint64_t count, struct allocation *ret)
{
	return allocate(q, count, false, true, ret);
}

/* First byte that a compressed cluster's descriptor cannot express. */
static uint64_t compressed_limit(const struct qcow2 *q)
{
	return MIN(UINT64_C(1) << qcow2_compressed_shift(q), ENTRY_OFFSET_LIMIT);
}

/* Continue in the cluster begun last, and the one behind it. -EAGAIN when that cannot be. */
static int co_fn continue_bytes(struct qcow2 *q, uint64_t bytes, uint64_t *ret)
{
	uint64_t offset = q->compressed_next;
	uint64_t first = offset >> q->cluster_bits, last = (offset + bytes - 1) >> q->cluster_bits;
	uint64_t refcount;

	if (offset == 0)
		return -EAGAIN;
	if (last != first) {
		int r = qcow2_refcount_get(q, last, &refcount);

		if (r < 0)
			return r;
		if (refcount != 0 || last >> q->block_bits != first >> q->block_bits)
			return -EAGAIN;
	}
	int r = qcow2_refcount_get(q, first, &refcount);

	if (r < 0)
		return r;
	if (refcount == q->refcount_max)
		return -EAGAIN;
	r = qcow2_overlap_check(q, offset, bytes, 0);
	if (r == 0)
		r = qcow2_refcount_increment(q, first, last - first + 1);
	if (r < 0)
		return r;
	q->fresh_from = MAX(q->fresh_from, last + 1);
	*ret = offset;
	return 0;
}

static int co_fn allocate_bytes_locked(struct qcow2 *q, uint64_t bytes, uint64_t *ret)
{
	int r = continue_bytes(q, bytes, ret);

	if (r != -EAGAIN)
		return r;
	struct search s = {.want = 1, .first = q->free_hint, .first_hole = UINT64_MAX};
	struct allocation a;

	r = allocate_locked(q, &s, &a);
	if (r < 0)
		return r;
	if (a.offset + bytes > compressed_limit(q)) {
		(void)qcow2_refcount_decrement(q, a.offset >> q->cluster_bits, 1);
		return -EFBIG;
	}
	*ret = a.offset;
	return 0;
}

int co_fn qcow2_allocate_bytes(struct qcow2 *q, uint64_t bytes, uint64_t *ret)
{
	qcow2_event(q, BLKDEBUG_EVENT_CLUSTER_ALLOC_BYTES);
	co_mutex_lock(&q->lock);
	int r = mark_dirty(q);

	if (r == 0)
		r = allocate_bytes_locked(q, bytes, ret);
	if (r == 0)
		q->compressed_next = qcow2_in_cluster(q, *ret + bytes) ? *ret + bytes : 0;
	co_mutex_unlock(&q->lock);
	return r;
}

void co_fn qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t count)
{
	qcow2_event(q, BLKDEBUG_EVENT_CLUSTER_FREE);
	co_mutex_lock(&q->lock);
	/* A failure leaks them. */
	(void)qcow2_refcount_decrement(q, offset >> q->cluster_bits, count);
	co_mutex_unlock(&q->lock);
}
