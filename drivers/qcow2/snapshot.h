/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots: their table, what they refer to, taking and applying them.
 */
#ifndef DRIVERS_QCOW2_SNAPSHOT_H
#define DRIVERS_QCOW2_SNAPSHOT_H

#include "drivers/qcow2/state.h"

/* Read the table of internal snapshots. */
int co_fn qcow2_snapshots_load(struct qcow2 *q, struct error **errp);
/* Free all of @count and the array. */
void qcow2_snapshots_free(struct qcow2_snapshot *snapshots, uint32_t count);
/*
 * Have the image list @count @snapshots instead of its own, durably. They and the
 * array become the image's; on failure they stay the caller's.
 */
int co_fn qcow2_snapshots_replace(struct qcow2 *q, struct qcow2_snapshot *snapshots,
				  uint32_t count);
/* Have each snapshot say, durably, how long its disk is, as version 3 demands. */
int co_fn qcow2_snapshots_complete(struct qcow2 *q);
/* A deep copy, the strings included. */
struct qcow2_snapshot qcow2_snapshot_copy(const struct qcow2_snapshot *s);
/* The snapshot with the ID, or NULL. */
struct qcow2_snapshot *qcow2_snapshot_find(const struct qcow2 *q, const char *id);
int co_fn qcow2_snapshot_list(struct node *n, struct snapshot_info_list *ret, struct error **errp);

/*
 * Raise the refcount of everything that @l1 leads to, itself excepted, all or
 * nothing.
 */
int co_fn qcow2_references_add(struct qcow2 *q, const struct qcow2_table *l1);
/* Lower it again, when no table has come to lead there. */
void co_fn qcow2_references_undo(struct qcow2 *q, const struct qcow2_table *l1);
/*
 * Have the L2 tables of @l1 say in the file that they share everything. What is
 * cached of them is stale then.
 */
int co_fn qcow2_references_disown(struct qcow2 *q, const struct qcow2_table *l1);
/* Drop those references later (free.c). What cannot be read leaks. */
int co_fn qcow2_references_free(struct qcow2 *q, const struct qcow2_table *l1);
/*
 * Whether a table of @l1, which is no image's with extended L2 entries, has zero clusters
 * that are flagged as such. *ret counts only when 0 is returned, not a negative errno.
 */
int co_fn qcow2_references_have_zeroes(struct qcow2 *q, const struct qcow2_table *l1, bool *ret);
/* Set bit 63 of the active tables as the refcounts are. */
int co_fn qcow2_references_mark(struct qcow2 *q);

int co_fn qcow2_snapshot_create(struct node *n, const char *name, struct error **errp);
int co_fn qcow2_snapshot_apply(struct node *n, const char *id, struct error **errp);
int co_fn qcow2_snapshot_delete(struct node *n, const char *id, struct error **errp);
int co_fn qcow2_snapshot_show(struct node *n, const char *id, struct error **errp);

#endif
