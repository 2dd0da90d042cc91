/* SPDX-License-Identifier: MIT */
/*
 * Host clusters: taking and giving back.
 */
#ifndef DRIVERS_QCOW2_CLUSTER_H
#define DRIVERS_QCOW2_CLUSTER_H

#include "drivers/qcow2/state.h"

/* Clusters just taken. */
struct allocation {
	uint64_t offset; /* in the file */
	uint64_t count;
	bool fresh;      /* reads as zeroes, all of it */
};

/* Take 1 to @count clusters that lie in a row. -ENOSPC, -EFBIG, -EIO. */
int co_fn qcow2_allocate(struct qcow2 *q, uint64_t count, struct allocation *ret);
/* Take exactly @count in a row. */
int co_fn qcow2_allocate_exactly(struct qcow2 *q, uint64_t count, struct allocation *ret);
/* As qcow2_allocate(), beyond everything that the file has held so far. */
int co_fn qcow2_allocate_fresh(struct qcow2 *q, uint64_t count, struct allocation *ret);
/* Take @bytes (at most one cluster) for compressed data; *ret is a byte offset. */
int co_fn qcow2_allocate_bytes(struct qcow2 *q, uint64_t bytes, uint64_t *ret);
/* Give back clusters that no table ever pointed at. */
void co_fn qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t count);

/*
 * A table in memory has dropped its reference to the clusters that @bytes at
 * @offset touch. Their refcounts go down when that is durable. Does not wait.
 */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum free_reason reason);
/* Flush and reclaim when much has been freed: in pieces or, @for_space, in bytes. */
int co_fn qcow2_reclaim_some(struct qcow2 *q, bool for_space);
/* Lower the refcounts of @list, to which no durable table points any more. Empties the list. */
int co_fn qcow2_reclaim(struct qcow2 *q, struct freed_list *list);
void qcow2_freed_list_append(struct freed_list *to, struct freed_list *from);
void qcow2_freed_list_finish(struct freed_list *list);

#endif
