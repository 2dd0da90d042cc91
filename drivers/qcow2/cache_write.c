/* SPDX-License-Identifier: MIT */
/*
 * Writing changed slices: freeze them as they are, write the frozen content,
 * while changes go on in other memory. Node's loop.
 *
 * 1. A slice is on exactly one list: the cache's dirty list when it is dirty and
 *    not frozen, its frozen set when it is frozen, or none.
 * 2. The memory at slice.frozen does not change until the set is released.
 */
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/parallel.h"

/* Slices that lie side by side are written together, up to so many. */
#define RUN_SLICES 32
#define RUNS_AT_ONCE 8

void qcow2_cache_freeze(struct qcow2_cache *c, struct list *set)
{
	struct slice *s;

	list_for_each(s, &c->dirty, link) {
		s->frozen = s->data;
		s->dirty = false;
	}
	list_splice_tail(set, &c->dirty);
}

/* End the frozen time of @s. Whoever changed it meanwhile, or a failed write, leaves it dirty. */
static void slice_release(struct qcow2_cache *c, struct slice *s, bool written)
{
	list_del_init(&s->link);
	if (s->frozen != s->data)
		qcow2_slice_memory_put(c, s->frozen);
	s->frozen = NULL;
	if (s->forgotten) {
		s->dirty = false;
		qcow2_slice_let_go(c, s);
		return;
	}
	if (!written)
		s->dirty = true;
	if (s->dirty)
		list_add_tail(&c->dirty, &s->link);
}

void qcow2_cache_thaw(struct qcow2_cache *c, struct list *set)
{
	while (!list_is_empty(set))
		slice_release(c, list_first(set, struct slice, link), false);
}

static int compare_offsets(const void *a, const void *b)
{
	const struct slice *const *x = a, *const *y = b;

	return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

struct run_write {
	struct parallel_part part;
	struct qcow2_cache *cache;
	struct slice **slices; /* neighbours */
	unsigned count;
};

static int co_fn run_write(struct parallel_part *part)
{
	struct run_write *w = container_of(part, struct run_write, part);
	struct qcow2_cache *c = w->cache;
	uint64_t offset = w->slices[0]->offset, bytes = (uint64_t)w->count * c->slice_bytes;
	struct iovec iov[RUN_SLICES];
	int r = qcow2_overlap_check(c->q, offset, bytes, c->kind);

	for (unsigned i = 0; i < w->count; i++)
		iov[i] = (struct iovec){w->slices[i]->frozen, c->slice_bytes};
	qcow2_event(c->q, c->kind == METADATA_ACTIVE_L2 ? BLKDEBUG_EVENT_L2_UPDATE
							: BLKDEBUG_EVENT_REFBLOCK_UPDATE_PART);
	if (r == 0)
		r = edge_writev(c->q->node->file, offset, bytes,
				(struct vec){.iov = iov, .count = w->count}, 0);
	for (unsigned i = 0; i < w->count; i++)
		slice_release(c, w->slices[i], r == 0);
	return r;
}

/* How many of @slices, at least one, follow each other in the file. */
static unsigned run_length(const struct qcow2_cache *c, struct slice *const *slices, unsigned count)
{
	unsigned n = 1;

	while (n < count && n < RUN_SLICES &&
	       slices[n]->offset == slices[n - 1]->offset + c->slice_bytes)
		n++;
	return n;
}

int co_fn qcow2_cache_write_set(struct qcow2_cache *c, struct list *set)
{
	struct parallel parallel;
	struct slice *s;
	unsigned count = 0;

	list_for_each(s, set, link)
		count++;
	if (count == 0)
		return 0;
	struct slice **slices = xalloc(count, sizeof(struct slice *));

	count = 0;
	list_for_each(s, set, link)
		slices[count++] = s;
	qsort(slices, count, sizeof(struct slice *), compare_offsets);

	qcow2_parallel_init(&parallel, c->q->loop, RUNS_AT_ONCE);
	for (unsigned i = 0; i < count && parallel.error == 0;) {
		unsigned n = run_length(c, &slices[i], count - i);
		struct run_write *w = NEW(struct run_write);

		*w = (struct run_write){{.run = run_write}, c, &slices[i], n};
		i += n;
		if (i == count && parallel.running == 0) { /* the last one needs no coroutine */
			parallel.error = run_write(&w->part);
			free(w);
		} else {
			qcow2_parallel_start(&parallel, &w->part);
		}
	}
	int r = qcow2_parallel_wait(&parallel);

	qcow2_cache_thaw(c, set); /* what was not begun after an error */
	free(slices);
	return r;
}

int co_fn qcow2_cache_write_dirty(struct qcow2_cache *c)
{
	struct list set = LIST_INIT(set);

	co_mutex_lock(&c->write_lock);
	qcow2_cache_freeze(c, &set);
	int r = qcow2_cache_write_set(c, &set);

	co_mutex_unlock(&c->write_lock);
	return r;
}
