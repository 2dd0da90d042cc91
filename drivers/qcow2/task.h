/* SPDX-License-Identifier: MIT */
/*
 * Writes under way, and who has to wait for whom.
 */
#ifndef DRIVERS_QCOW2_TASK_H
#define DRIVERS_QCOW2_TASK_H

#include "drivers/qcow2/state.h"

/* A write under way on guest clusters @first to @last. On its coroutine's stack or heap. */
struct task {
	struct list link;
	uint64_t first, last;
	struct co_queue waiters;
};

/*
 * Begin on the clusters; 0, or -EAGAIN after waiting for somebody in the way,
 * when everything must be looked up again. An exclusive task changes table
 * entries and suffers nobody beside it; in-place tasks suffer each other.
 * qcow2_task_exclusive() may shorten the range to end before somebody's.
 */
int co_fn qcow2_task_in_place(struct qcow2 *q, struct task *t, uint64_t first, uint64_t last);
int co_fn qcow2_task_exclusive(struct qcow2 *q, struct task *t, uint64_t first, uint64_t last);
/* Give up the clusters behind @last. */
void qcow2_task_shorten(struct task *t, uint64_t last);
void qcow2_task_end(struct task *t);

#endif
