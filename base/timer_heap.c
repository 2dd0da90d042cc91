/* SPDX-License-Identifier: MIT */
/*
 * The heap of armed timers. Loop's thread only.
 */
#include "base/timer_heap.h"

#include <assert.h>
#include <stdlib.h>

#include "base/util.h"

static void place(struct timer_heap *h, unsigned i, struct loop_timer *t)
{
	h->timers[i] = t;
	t->heap_index = i;
}

/* @t belongs at @i or above it. */
static void sift_up(struct timer_heap *h, unsigned i, struct loop_timer *t)
{
	while (i > 1 && t->deadline_ns < h->timers[i / 2]->deadline_ns) {
		place(h, i, h->timers[i / 2]);
		i /= 2;
	}
	place(h, i, t);
}

/* @t belongs at @i or below it. */
static void sift_down(struct timer_heap *h, unsigned i, struct loop_timer *t)
{
	for (;;) {
		unsigned child = 2 * i;
		if (child > h->count)
			break;
		if (child < h->count &&
		    h->timers[child + 1]->deadline_ns < h->timers[child]->deadline_ns)
			child++;
		if (t->deadline_ns <= h->timers[child]->deadline_ns)
			break;
		place(h, i, h->timers[child]);
		i = child;
	}
	place(h, i, t);
}

static void sift(struct timer_heap *h, unsigned i, struct loop_timer *t)
{
	if (i > 1 && t->deadline_ns < h->timers[i / 2]->deadline_ns)
		sift_up(h, i, t);
	else
		sift_down(h, i, t);
}

void timer_heap_set(struct timer_heap *h, struct loop_timer *t)
{
	if (t->heap_index != 0) {
		sift(h, t->heap_index, t);
		return;
	}
	if (h->count + 1 >= h->capacity) {
		h->capacity = MAX(16u, 2 * h->capacity);
		h->timers = xrealloc(h->timers, h->capacity, sizeof(*h->timers));
	}
	h->count++;
	sift_up(h, h->count, t);
}

void timer_heap_remove(struct timer_heap *h, struct loop_timer *t)
{
	unsigned i = t->heap_index;
	if (i == 0)
		return;
	assert(i <= h->count && h->timers[i] == t);

	struct loop_timer *last = h->timers[h->count--];
	t->heap_index = 0;
	if (last != t)
		sift(h, i, last);
}

struct loop_timer *timer_heap_first(const struct timer_heap *h)
{
	return h->count > 0 ? h->timers[1] : NULL;
}

void timer_heap_finish(struct timer_heap *h)
{
	assert(h->count == 0);
	free(h->timers);
	*h = (struct timer_heap){0};
}
