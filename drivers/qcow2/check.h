/* SPDX-License-Identifier: MIT */
/*
 * Checking an image, and mending it.
 */
#ifndef DRIVERS_QCOW2_CHECK_H
#define DRIVERS_QCOW2_CHECK_H

#include "drivers/qcow2/state.h"

/* A check under way. */
struct check {
	struct qcow2 *q;
	struct image_check *result;
	unsigned fix;
	uint64_t clusters;  /* that the file has */
	uint32_t *counts;   /* references found to each */
	uint64_t next_host; /* where the next cluster would continue the last one, for statistics */
	bool mends_flags;   /* bit 63 may be set to what the refcounts say */
	bool needs_rebuild; /* the refcount structures cannot be mended in place */
};

int co_fn qcow2_check(struct node *n, unsigned fix, struct image_check *ret, struct error **errp);
/* The same on an image that is not fit for writing yet, or has been settled. */
int co_fn qcow2_check_image(struct qcow2 *q, unsigned fix, struct image_check *ret,
			    struct error **errp);
/* Tell the caller of the check. */
void qcow2_check_report(struct check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Count everything that is referred to, but the refcount structures. */
int co_fn qcow2_check_count_all(struct check *c);
/* Count the refcount table and blocks, and judge whether they can be mended. */
void qcow2_check_count_refcounts(struct check *c);
/* Compare bit 63 of L1 and L2 entries with the refcounts, and mend it. */
int co_fn qcow2_check_copied(struct check *c);
/* Write new refcount structures from what was counted without the old ones. */
int co_fn qcow2_rebuild_refcounts(struct check *c, struct error **errp);

#endif
