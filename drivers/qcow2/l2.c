/* SPDX-License-Identifier: MIT */
/*
 * L2 entries: what they mean, and finding the slice that holds one. Node's loop.
 *
 * 1. An entry is 8 bytes, or 16 with extended L2 entries, when the second half
 *    says which of the cluster's 32 subclusters are allocated (low half) or read
 *    as zeroes (high half).
 * 2. The offset of a standard cluster is cluster-aligned. Bit 63 says that its
 *    refcount is one, so that it may be overwritten in place.
 * 3. Changing an entry is one step without waiting, by the holder of an exclusive
 *    task for the cluster.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"

struct l2_entry qcow2_l2_load_at(const struct qcow2 *q, const uint8_t *data, uint64_t index)
{
	const uint8_t *p = data + (index << q->entry_shift);

	return (struct l2_entry){load_be64(p), q->extended_l2 ? load_be64(p + 8) : 0};
}

void qcow2_l2_store_at(const struct qcow2 *q, uint8_t *data, uint64_t index,
		       struct l2_entry entry)
{
	uint8_t *p = data + (index << q->entry_shift);

	store_be64(p, entry.descriptor);
	if (q->extended_l2)
		store_be64(p + 8, entry.bitmap);
}

static uint64_t index_in_slice(const struct qcow2 *q, uint64_t offset)
{
	return (offset >> q->cluster_bits) & ((UINT64_C(1) << q->slice_bits) - 1);
}

struct l2_entry qcow2_l2_load(const struct qcow2 *q, const struct slice *slice, uint64_t offset)
{
	return qcow2_l2_load_at(q, slice->data, index_in_slice(q, offset));
}

void qcow2_l2_store(struct qcow2 *q, struct slice *slice, uint64_t offset, struct l2_entry entry)
{
	uint8_t *data = qcow2_cache_modify(&q->l2_cache, slice);

	qcow2_l2_store_at(q, data, index_in_slice(q, offset), entry);
}

enum cluster_type qcow2_l2_type(const struct qcow2 *q, struct l2_entry entry, uint64_t offset)
{
	bool has_host = entry.descriptor & ENTRY_OFFSET;

	if (entry.descriptor & ENTRY_COMPRESSED)
		return CLUSTER_COMPRESSED;
	if (!q->extended_l2) {
		if (entry.descriptor & ENTRY_ZERO)
			return has_host ? CLUSTER_ZERO_KEPT : CLUSTER_ZERO;
		return has_host ? CLUSTER_NORMAL : CLUSTER_UNALLOCATED;
	}
	unsigned subcluster = qcow2_in_cluster(q, offset) >> q->granule_bits;

	if (entry.bitmap >> (32 + subcluster) & 1)
		return has_host ? CLUSTER_ZERO_KEPT : CLUSTER_ZERO;
	return entry.bitmap >> subcluster & 1 ? CLUSTER_NORMAL : CLUSTER_UNALLOCATED;
}

int co_fn qcow2_l2_corrupt(struct qcow2 *q, struct l2_entry entry, uint64_t offset)
{
	uint64_t host = entry.descriptor & ENTRY_OFFSET;

	if (qcow2_in_cluster(q, host) != 0)
		return qcow2_signal_corruption(
			q, "Cluster allocation offset %#" PRIx64 " unaligned (guest offset: %#"
			PRIx64 ")", host, offset);
	if (host == 0 && (entry.descriptor & ENTRY_COPIED))
		return qcow2_signal_corruption(
			q, "Cluster allocation offset 0 for guest offset %#" PRIx64, offset);
	if (q->extended_l2)
		return qcow2_signal_corruption(
			q, "Impossible subcluster bitmap %#" PRIx64 " (guest offset: %#" PRIx64
			")", entry.bitmap, offset);
	return qcow2_signal_corruption(
		q, "Zero cluster entry found in pre-v3 image (guest offset: %#" PRIx64 ")", offset);
}

bool qcow2_l2_is_possible(const struct qcow2 *q, struct l2_entry entry)
{
	uint64_t host = entry.descriptor & ENTRY_OFFSET;

	if (entry.descriptor & ENTRY_COMPRESSED)
		return true; /* its offset is judged when it is read */
	if (host & (q->cluster_bytes - 1))
		return false;
	if (!q->extended_l2) {
		if (entry.descriptor & ENTRY_ZERO)
			return q->header.version >= 3;
		return host != 0 || !(entry.descriptor & ENTRY_COPIED);
	}
	uint32_t allocated = entry.bitmap, zero = entry.bitmap >> 32;

	return !(allocated & zero) && (allocated == 0 || host != 0);
}

void qcow2_compressed_range(const struct qcow2 *q, uint64_t descriptor, uint64_t *ret_offset,
			    uint64_t *ret_bytes)
{
	unsigned shift = qcow2_compressed_shift(q);
	uint64_t offset = descriptor & ((UINT64_C(1) << shift) - 1) & (ENTRY_OFFSET_LIMIT - 1);
	uint64_t sectors = (descriptor >> shift & ((UINT64_C(1) << (q->cluster_bits - 8)) - 1)) + 1;

	*ret_offset = offset;
	*ret_bytes = sectors * 512 - (offset & 511);
}

void qcow2_l2_free(struct qcow2 *q, struct l2_entry entry, enum free_reason reason)
{
	uint64_t offset = entry.descriptor & ENTRY_OFFSET, bytes = q->cluster_bytes;

	if (entry.descriptor & ENTRY_COMPRESSED) {
		qcow2_compressed_range(q, entry.descriptor, &offset, &bytes);
		qcow2_compressed_forget(q);
	} else if (offset == 0) {
		return;
	}
	qcow2_free_later(q, offset, bytes, reason);
}

uint64_t qcow2_l2_slice_offset(const struct qcow2 *q, uint64_t table, uint64_t offset)
{
	uint64_t in_table = (offset >> q->cluster_bits) & ((UINT64_C(1) << q->l2_bits) - 1);

	return table + (in_table >> q->slice_bits) * q->l2_cache.slice_bytes;
}

int co_fn qcow2_l2_slice(struct qcow2 *q, uint64_t offset, struct slice **ret)
{
	uint64_t table;
	int r = qcow2_l1_entry(q, qcow2_l1_index(q, offset), &table);

	*ret = NULL;
	if (r < 0 || table == 0)
		return r;
	return qcow2_cache_get(&q->l2_cache, qcow2_l2_slice_offset(q, table, offset), ret);
}

int co_fn qcow2_l2_slice_for_write(struct qcow2 *q, uint64_t offset, struct slice **ret)
{
	uint64_t table;
	int r = qcow2_l2_table_own(q, qcow2_l1_index(q, offset), &table);

	if (r < 0)
		return r;
	return qcow2_cache_get(&q->l2_cache, qcow2_l2_slice_offset(q, table, offset), ret);
}
