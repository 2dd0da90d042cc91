/* SPDX-License-Identifier: MIT */
/*
 * Refcounts: reading, changing, and the tables that hold them.
 */
#ifndef DRIVERS_QCOW2_REFCOUNT_H
#define DRIVERS_QCOW2_REFCOUNT_H

#include "drivers/qcow2/state.h"

/* Under lock. *ret is 0 for clusters that no refcount block covers. */
int co_fn qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret);
/* Add one to each of @count clusters, whose refcount blocks exist. Under lock. All or none. */
int co_fn qcow2_refcount_increment(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Take one from each; those that become free may be given out at once. Under lock. */
int co_fn qcow2_refcount_decrement(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* The place of the entry of @cluster in its slice. */
static inline uint64_t qcow2_refcount_index(const struct qcow2 *q, uint64_t cluster)
{
	return cluster & ((UINT64_C(1) << q->refcount_slice_bits) - 1);
}
/* Entry @index of a slice or block in memory, of 1 << @order bits. */
uint64_t qcow2_refcount_load(const uint8_t *data, unsigned order, uint64_t index);
void qcow2_refcount_store(uint8_t *data, unsigned order, uint64_t index, uint64_t value);
/*
 * The slice that holds @cluster's entry, pinned; *ret is NULL when there is no
 * refcount block for it. Under lock.
 */
int co_fn qcow2_refcount_slice(struct qcow2 *q, uint64_t cluster, struct slice **ret);

/* Make refcount block @index in @cluster, which is free and covered by it or another. Under lock. */
int co_fn qcow2_refcount_block_create(struct qcow2 *q, uint64_t index, uint64_t cluster);
/* Move the refcount table to a larger place so that it covers @cluster. Under lock. */
int co_fn qcow2_reftable_grow(struct qcow2 *q, uint64_t cluster);

/* Give up refcount blocks that count nothing but themselves. Everything has been settled. */
int co_fn qcow2_refcount_shrink(struct qcow2 *q);

#endif
