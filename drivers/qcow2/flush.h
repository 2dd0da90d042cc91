/* SPDX-License-Identifier: MIT */
/*
 * Changed tables to the disk, in an order that survives a crash.
 */
#ifndef DRIVERS_QCOW2_FLUSH_H
#define DRIVERS_QCOW2_FLUSH_H

#include "drivers/qcow2/state.h"

enum flush_metadata_flags {
	FLUSH_RECLAIM = 1 << 0, /* also lower the refcounts of what was freed */
	FLUSH_REFCOUNTS = 1 << 1, /* write refcounts even if they are lazy */
};

/*
 * Write all changed tables in the order that survives a crash. Durable after
 * the file's next flush; with FLUSH_RECLAIM what has been freed is durably so.
 */
int co_fn qcow2_flush_metadata(struct qcow2 *q, unsigned flags);
int co_fn qcow2_flush(struct node *n);
/* For the caches: make their slices clean. */
int co_fn qcow2_make_l2_clean(struct qcow2 *q);
int co_fn qcow2_make_refcounts_clean(struct qcow2 *q);

#endif
