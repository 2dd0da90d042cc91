/* SPDX-License-Identifier: MIT */
/*
 * Mapping the guest's disk to runs of the same kind. Node's loop.
 *
 * A run is merged as far as its kind stays the same and its place in the file is
 * contiguous, across slices and L2 tables as far as they are cached. Only the first
 * slice is waited for: over a wait, what has been looked up might get other owners.
 */
#include "drivers/qcow2/map.h"

/* Whether @type at @host continues @run. */
static bool continues(const struct run *run, enum cluster_type type, uint64_t host)
{
	if (run->type != type || type == CLUSTER_COMPRESSED)
		return false;
	return (type != CLUSTER_NORMAL && type != CLUSTER_ZERO_KEPT) ||
	       host == run->host + run->bytes;
}

/*
 * Extend @run by what one slice says about @bytes at @offset, all of which it
 * describes. Returns 1 when the run goes on to their end, 0 when it ends before.
 */
static int co_fn run_in_slice(struct qcow2 *q, const struct slice *slice, uint64_t offset,
			      uint64_t bytes, struct run *run)
{
	uint64_t index = (offset >> q->cluster_bits) & ((UINT64_C(1) << q->slice_bits) - 1);
	uint64_t end = offset + bytes;

	while (offset < end) {
		struct l2_entry entry = qcow2_l2_load_at(q, slice->data, index);

		if (!qcow2_l2_is_possible(q, entry))
			return run->bytes > 0 ? 0 : qcow2_l2_corrupt(q, entry, offset);
		enum cluster_type type = qcow2_l2_type(q, entry, offset);
		uint64_t host = (entry.descriptor & ENTRY_OFFSET) + qcow2_in_cluster(q, offset);

		if (run->bytes == 0)
			*run = (struct run){type, host, entry.descriptor, 0};
		else if (!continues(run, type, host))
			return 0;
		uint64_t unit = type == CLUSTER_COMPRESSED ? q->cluster_bytes
							   : qcow2_granule_bytes(q);
		uint64_t n = MIN(unit - (offset & (unit - 1)), end - offset);

		run->bytes += n;
		offset += n;
		if (qcow2_in_cluster(q, offset) == 0)
			index++;
	}
	return 1;
}

/* Where no L2 table exists, nothing is allocated in all of its span. */
static int run_without_table(struct qcow2 *q, uint64_t bytes, struct run *run)
{
	if (run->bytes == 0)
		*run = (struct run){.type = CLUSTER_UNALLOCATED};
	else if (run->type != CLUSTER_UNALLOCATED)
		return 0;
	run->bytes += bytes;
	return 1;
}

/* As run_in_slice(), for as much of @bytes as one slice or missing table describes: *ret_span. */
static int co_fn extend_run(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct run *run,
			    uint64_t *ret_span)
{
	uint64_t table, span = qcow2_slice_span(q);
	int r = qcow2_l1_entry(q, qcow2_l1_index(q, offset), &table);

	if (r == 0 && table == 0) {
		span = qcow2_table_span(q);
		*ret_span = MIN(bytes, span - (offset & (span - 1)));
		return run_without_table(q, *ret_span, run);
	}
	*ret_span = MIN(bytes, span - (offset & (span - 1)));
	if (r < 0)
		return run->bytes > 0 ? 0 : r; /* whoever asks for the rest gets the error */
	uint64_t at = qcow2_l2_slice_offset(q, table, offset);
	struct slice *slice = qcow2_cache_find(&q->l2_cache, at);

	if (slice)
		return run_in_slice(q, slice, offset, *ret_span, run);
	if (run->bytes > 0)
		return 0;
	r = qcow2_cache_get(&q->l2_cache, at, &slice);
	if (r < 0)
		return r;
	r = run_in_slice(q, slice, offset, *ret_span, run);
	qcow2_cache_put(&q->l2_cache, slice);
	return r;
}

int co_fn qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct run *ret)
{
	struct run run = {0};
	uint64_t done = 0;
	int r = 1;

	while (r == 1 && done < bytes) {
		uint64_t span;

		r = extend_run(q, offset + done, bytes - done, &run, &span);
		done += span;
	}
	if (r < 0)
		return r;
	*ret = run;
	return 0;
}

bool qcow2_run_is_zero(const struct qcow2 *q, uint64_t offset, const struct run *run)
{
	if (run->type == CLUSTER_UNALLOCATED)
		return !q->node->backing || offset >= q->node->backing->child->size;
	return run->type == CLUSTER_ZERO || run->type == CLUSTER_ZERO_KEPT;
}
