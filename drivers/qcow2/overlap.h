/* SPDX-License-Identifier: MIT */
/*
 * Which host clusters hold metadata, so that nothing else is written there.
 */
#ifndef DRIVERS_QCOW2_OVERLAP_H
#define DRIVERS_QCOW2_OVERLAP_H

#include "drivers/qcow2/state.h"

/* Remember and forget that a host cluster holds metadata of @kind. */
void qcow2_metadata_add(struct qcow2 *q, uint64_t offset, unsigned kind);
void qcow2_metadata_remove(struct qcow2 *q, uint64_t offset, unsigned kind);
void qcow2_metadata_finish(struct qcow2 *q);
/* Collect what q->l1, q->reftable and the snapshots point at. */
int co_fn qcow2_metadata_collect(struct qcow2 *q, struct error **errp);
/*
 * Before each write to the file: 0, or -EIO after signalling corruption when
 * the range touches metadata other than @ignore that the settings protect.
 */
int co_fn qcow2_overlap_check(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned ignore);

#endif
