/* SPDX-License-Identifier: MIT */
/*
 * A binary heap of the armed timers of one loop, earliest deadline on top.
 *
 * Timers know their place (loop_timer.heap_index, from 1), so that moving and
 * cancelling cost O(log n). Loop's thread only.
 */
#ifndef BASE_TIMER_HEAP_H
#define BASE_TIMER_HEAP_H

#include "base/loop.h"

struct timer_heap {
	struct loop_timer **timers; /* timers[1..count]; timers[0] is unused */
	unsigned count, capacity;
};

/* Put @t, which is in the heap or not, where its deadline_ns belongs. */
void timer_heap_set(struct timer_heap *h, struct loop_timer *t);
/* Take @t out; it may be absent. */
void timer_heap_remove(struct timer_heap *h, struct loop_timer *t);
/* The timer that is due first, or NULL. */
struct loop_timer *timer_heap_first(const struct timer_heap *h);
/* Free the memory of an empty heap. */
void timer_heap_finish(struct timer_heap *h);

#endif
