/* SPDX-License-Identifier: MIT */
/*
 * A top-level table (L1 or refcount table), whole in memory, in host order.
 *
 * Changes stay in memory and are remembered by sector; a flush takes a snapshot
 * of the changed sectors and writes it when what they point at is durable.
 */
#ifndef DRIVERS_QCOW2_TABLE_H
#define DRIVERS_QCOW2_TABLE_H

#include "base/coroutine.h"
#include "base/util.h"

struct qcow2;

/* Entries per sector of 512 bytes, the unit of writing. */
#define TABLE_SECTOR_ENTRIES 64

struct qcow2_table {
	uint64_t *entries;
	uint32_t count;
	uint64_t offset;      /* in the file */
	uint64_t *dirty;      /* one bit per sector */
	uint32_t dirty_count; /* bits set */
};

/* Changed sectors of a table as they were at one moment. */
struct qcow2_table_snapshot {
	unsigned count;
	uint32_t *sectors; /* numbers, ascending */
	uint8_t *data;     /* @count times 512 bytes, in disk order */
};

/* Read @count entries at @offset. -EIO when the file ends before that. */
int co_fn qcow2_table_load(struct qcow2_table *t, struct qcow2 *q, uint64_t offset, uint32_t count);
void qcow2_table_finish(struct qcow2_table *t);
void qcow2_table_set(struct qcow2_table *t, uint32_t index, uint64_t entry);
/* Make a copy for another place and length; missing entries are zero, nothing is dirty. */
int qcow2_table_copy(const struct qcow2_table *t, uint64_t offset, uint32_t count,
		     struct qcow2_table *ret);
/* All entries in disk order, in @ret, which has room for @count of them; the rest is zero. */
void qcow2_table_encode(const struct qcow2_table *t, uint8_t *ret, uint32_t count);

/* Take all changed sectors, which are clean afterwards. */
void qcow2_table_take(struct qcow2_table *t, struct qcow2_table_snapshot *ret);
/* Write the snapshot. @kind says which metadata this is (enum metadata_kind). */
int co_fn qcow2_table_write(struct qcow2_table *t, struct qcow2 *q, unsigned kind,
			    const struct qcow2_table_snapshot *snapshot);
/* The snapshot could not be written: its sectors are dirty again. */
void qcow2_table_untake(struct qcow2_table *t, const struct qcow2_table_snapshot *snapshot);
void qcow2_table_snapshot_finish(struct qcow2_table_snapshot *snapshot);

#endif
