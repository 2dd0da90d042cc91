/* SPDX-License-Identifier: MIT */
/*
 * From guest offsets to host clusters: the L1 table, L2 tables and their entries.
 */
#ifndef DRIVERS_QCOW2_MAP_H
#define DRIVERS_QCOW2_MAP_H

#include "drivers/qcow2/state.h"

enum cluster_type {
	CLUSTER_UNALLOCATED, /* the backing file shows */
	CLUSTER_ZERO,        /* zeroes, without a host cluster */
	CLUSTER_ZERO_KEPT,   /* zeroes, with a host cluster kept for later */
	CLUSTER_NORMAL,
	CLUSTER_COMPRESSED,
};

/* An L2 entry in host order. */
struct l2_entry {
	uint64_t descriptor;
	uint64_t bitmap; /* subclusters; 0 without extended L2 */
};

/* A part of the guest's disk that is the same all along. */
struct run {
	enum cluster_type type;
	uint64_t host;       /* of the first byte; NORMAL and ZERO_KEPT */
	uint64_t descriptor; /* COMPRESSED: the L2 entry */
	uint64_t bytes;
};

/* Where in the file the slice for guest @offset lies, in the L2 table at @table. */
uint64_t qcow2_l2_slice_offset(const struct qcow2 *q, uint64_t table, uint64_t offset);
/* The slice for the cluster at @offset, pinned; NULL where there is no L2 table. */
int co_fn qcow2_l2_slice(struct qcow2 *q, uint64_t offset, struct slice **ret);
/* The same, to be changed: with an L2 table of our own, made or copied as needed. */
int co_fn qcow2_l2_slice_for_write(struct qcow2 *q, uint64_t offset, struct slice **ret);
/* The entry for the cluster at @offset in its @slice. */
struct l2_entry qcow2_l2_load(const struct qcow2 *q, const struct slice *slice, uint64_t offset);
/* The same, of any slice or table in memory, by number. */
struct l2_entry qcow2_l2_load_at(const struct qcow2 *q, const uint8_t *data, uint64_t index);
void qcow2_l2_store(struct qcow2 *q, struct slice *slice, uint64_t offset, struct l2_entry entry);
void qcow2_l2_store_at(const struct qcow2 *q, uint8_t *data, uint64_t index,
		       struct l2_entry entry);
/* The type of the subcluster at @offset (of the cluster, without extended L2). */
enum cluster_type qcow2_l2_type(const struct qcow2 *q, struct l2_entry entry, uint64_t offset);
/* Whether it has a host cluster that is the active tables' alone, whatever that holds. */
static inline bool qcow2_l2_is_ours(struct l2_entry entry)
{
	return (entry.descriptor & ENTRY_COPIED) && (entry.descriptor & ENTRY_OFFSET) &&
	       !(entry.descriptor & ENTRY_COMPRESSED);
}
/* Whether the format allows such an entry. */
bool qcow2_l2_is_possible(const struct qcow2 *q, struct l2_entry entry);
/* Signal the impossible entry for guest @offset. Returns -EIO. */
int co_fn qcow2_l2_corrupt(struct qcow2 *q, struct l2_entry entry, uint64_t offset);
/* In the descriptor of a compressed cluster, the number of sectors begins at this bit. */
static inline unsigned qcow2_compressed_shift(const struct qcow2 *q)
{
	return 62 - (q->cluster_bits - 8);
}
/* Host bytes of a compressed cluster. */
void qcow2_compressed_range(const struct qcow2 *q, uint64_t descriptor, uint64_t *ret_offset,
			    uint64_t *ret_bytes);
/* The bytes of guest disk that one slice describes. */
static inline uint64_t qcow2_slice_span(const struct qcow2 *q)
{
	return UINT64_C(1) << (q->slice_bits + q->cluster_bits);
}
/* The same for a whole L2 table. */
static inline uint64_t qcow2_table_span(const struct qcow2 *q)
{
	return UINT64_C(1) << (q->l2_bits + q->cluster_bits);
}
/* Drop the references that @entry holds, later. */
void qcow2_l2_free(struct qcow2 *q, struct l2_entry entry, enum free_reason reason);

/*
 * What lies at @offset, at most @bytes of it (more than 0), merged as far as it
 * is equal and contiguous and can be told without a further wait: it is true when this
 * returns. A compressed run is (the rest of) one cluster. -EIO after signalling
 * corruption when an entry is impossible.
 */
int co_fn qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct run *ret);

/* Whether the run at @offset certainly reads as zeroes, by the tables alone. */
bool qcow2_run_is_zero(const struct qcow2 *q, uint64_t offset, const struct run *run);

/* The L2 table for L1 entry @index in our own possession. Takes l1_lock. */
int co_fn qcow2_l2_table_own(struct qcow2 *q, uint32_t index, uint64_t *ret_offset);
/* The offset of L1 entry @index, 0 without a table; -EIO after signalling corruption. */
int co_fn qcow2_l1_entry(struct qcow2 *q, uint64_t index, uint64_t *ret_offset);
/* Move the L1 table so that it has @count entries, durably. Takes l1_lock. */
int co_fn qcow2_l1_grow(struct qcow2 *q, uint64_t count, struct error **errp);

#endif
