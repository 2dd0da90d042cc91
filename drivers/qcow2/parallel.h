/* SPDX-License-Identifier: MIT */
/*
 * Parts of one request under way at the same time, up to a limit.
 */
#ifndef DRIVERS_QCOW2_PARALLEL_H
#define DRIVERS_QCOW2_PARALLEL_H

#include "base/coroutine.h"

struct parallel {
	struct loop *loop;
	unsigned running, limit;
	int error; /* the first one */
	struct co_queue changed;
};

/* Embedded in the caller's description of a part, which is allocated with malloc(). */
struct parallel_part {
	struct parallel *parallel;
	int co_fn (*run)(struct parallel_part *part); /* returns 0 or a negative errno */
};

void qcow2_parallel_init(struct parallel *p, struct loop *loop, unsigned limit);
/* Start @part, whose run is set, once fewer than the limit are running. It is freed at its end. */
void co_fn qcow2_parallel_start(struct parallel *p, struct parallel_part *part);
/* Wait for all; returns the first error or 0. */
int co_fn qcow2_parallel_wait(struct parallel *p);

#endif
