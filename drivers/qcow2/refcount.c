/* SPDX-License-Identifier: MIT */
/*
 * Refcounts of host clusters: reading and changing them. Node's loop, under
 * qcow2.lock unless it is only about bytes in memory.
 *
 * 1. An entry is 1 << refcount_order bits wide; of narrow ones the first is in
 *    the lowest bits of its byte, wide ones are big-endian.
 * 2. Where there is no refcount block, all refcounts are 0.
 * 3. What a refcount rises for is written after the refcount; what it falls for
 *    was durably written before (flush.c, free.c). Therefore slices of refcount
 *    blocks may be written at any time.
 */
#include "drivers/qcow2/refcount.h"

#include "drivers/qcow2/image.h"

uint64_t qcow2_refcount_load(const uint8_t *data, unsigned order, uint64_t index)
{
	switch (order) {
	case 0:
		return data[index / 8] >> (index % 8) & 1;
	case 1:
		return data[index / 4] >> (index % 4 * 2) & 3;
	case 2:
		return data[index / 2] >> (index % 2 * 4) & 15;
	case 3:
		return data[index];
	case 4:
		return load_be16(data + index * 2);
	case 5:
		return load_be32(data + index * 4);
	default:
		return load_be64(data + index * 8);
	}
}

/* Put @value into the @width bits of @byte from bit @shift on. */
static uint8_t insert_bits(uint8_t byte, unsigned shift, unsigned width, uint64_t value)
{
	unsigned mask = ((1u << width) - 1) << shift;

	return (byte & ~mask) | (value << shift & mask);
}

void qcow2_refcount_store(uint8_t *data, unsigned order, uint64_t index, uint64_t value)
{
	switch (order) {
	case 0:
		data[index / 8] = insert_bits(data[index / 8], index % 8, 1, value);
		break;
	case 1:
		data[index / 4] = insert_bits(data[index / 4], index % 4 * 2, 2, value);
		break;
	case 2:
		data[index / 2] = insert_bits(data[index / 2], index % 2 * 4, 4, value);
		break;
	case 3:
		data[index] = value;
		break;
	case 4:
		store_be16(data + index * 2, value);
		break;
	case 5:
		store_be32(data + index * 4, value);
		break;
	default:
		store_be64(data + index * 8, value);
		break;
	}
}

int co_fn qcow2_refcount_slice(struct qcow2 *q, uint64_t cluster, struct slice **ret)
{
	uint64_t index = cluster >> q->block_bits;

	*ret = NULL;
	if (index >= q->reftable.count)
		return 0;
	uint64_t entry = q->reftable.entries[index], block = entry & REFTABLE_OFFSET;

	if (block == 0)
		return 0;
	if ((entry & REFTABLE_RESERVED) || qcow2_in_cluster(q, block) != 0)
		return qcow2_signal_corruption(
			q, "Refblock offset %#" PRIx64 " unaligned (reftable index: %#" PRIx64 ")",
			block, index);
	uint64_t slice = (cluster & ((UINT64_C(1) << q->block_bits) - 1)) >> q->refcount_slice_bits;

	return qcow2_cache_get(&q->refcount_cache,
			       block + slice * q->refcount_cache.slice_bytes, ret);
}

int co_fn qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret)
{
	struct slice *s;
	int r = qcow2_refcount_slice(q, cluster, &s);

	if (r < 0)
		return r;
	*ret = s ? qcow2_refcount_load(s->data, q->refcount_order, qcow2_refcount_index(q, cluster)) : 0;
	if (s)
		qcow2_cache_put(&q->refcount_cache, s);
	return 0;
}

/* Add one to as many of @count entries as lie in one slice; *ret_done says how many. */
static int co_fn increment_in_slice(struct qcow2 *q, uint64_t cluster, uint64_t count,
				    uint64_t *ret_done)
{
	struct slice *s;
	int r = qcow2_refcount_slice(q, cluster, &s);

	*ret_done = 0;
	if (r < 0)
		return r;
	if (!s)
		return qcow2_signal_corruption(q, "No refcount block for cluster %#" PRIx64,
					       cluster);
	uint64_t index = qcow2_refcount_index(q, cluster);
	uint64_t n = MIN(count, (UINT64_C(1) << q->refcount_slice_bits) - index);
	uint8_t *data = qcow2_cache_modify(&q->refcount_cache, s);

	for (uint64_t i = 0; i < n; i++) {
		uint64_t value = qcow2_refcount_load(data, q->refcount_order, index + i);

		if (value == q->refcount_max) {
			r = -ERANGE;
			break;
		}
		qcow2_refcount_store(data, q->refcount_order, index + i, value + 1);
		++*ret_done;
	}
	qcow2_cache_put(&q->refcount_cache, s);
	return r;
}

int co_fn qcow2_refcount_increment(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	uint64_t done = 0;

	while (done < count) {
		uint64_t n;
		int r = increment_in_slice(q, cluster + done, count - done, &n);

		done += n;
		if (r < 0) {
			/* At worst some clusters leak. */
			(void)qcow2_refcount_decrement(q, cluster, done);
			return r;
		}
	}
	return 0;
}

static int co_fn decrement_in_slice(struct qcow2 *q, uint64_t cluster, uint64_t count,
				    uint64_t *ret_done)
{
	struct slice *s;
	int r = qcow2_refcount_slice(q, cluster, &s);
	uint64_t index = qcow2_refcount_index(q, cluster);
	uint64_t n = MIN(count, (UINT64_C(1) << q->refcount_slice_bits) - index);

	*ret_done = n;
	if (r < 0)
		return r;
	if (!s)
		return qcow2_signal_corruption(q, "No refcount block for cluster %#" PRIx64,
					       cluster);
	uint8_t *data = qcow2_cache_modify(&q->refcount_cache, s);
	uint64_t damaged = UINT64_MAX;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t value = qcow2_refcount_load(data, q->refcount_order, index + i);

		if (value == 0) {
			damaged = cluster + i;
			continue;
		}
		qcow2_refcount_store(data, q->refcount_order, index + i, value - 1);
		if (value > 1)
			continue;
		q->free_hint = MIN(q->free_hint, cluster + i);
		if (q->compressed_next >> q->cluster_bits == cluster + i)
			q->compressed_next = 0;
	}
	qcow2_cache_put(&q->refcount_cache, s);
	if (damaged != UINT64_MAX)
		return qcow2_signal_corruption(
			q, "Refcount of cluster %#" PRIx64 " cannot fall below 0", damaged);
	return 0;
}

int co_fn qcow2_refcount_decrement(struct qcow2 *q, uint64_t cluster, uint64_t count)
{
	int result = 0;

	/* A failure leaks some clusters; the others need not. */
	while (count > 0) {
		uint64_t n;
		int r = decrement_in_slice(q, cluster, count, &n);

		if (r < 0 && result == 0)
			result = r;
		cluster += n;
		count -= n;
	}
	return result;
}
