/* SPDX-License-Identifier: MIT */
/*
 * Committing images below the active one. Control thread.
 *
 * The order at the end keeps the chain on disk right whenever the daemon dies:
 *
 * 1. All data are in base, and durable.
 * 2. Only then do the headers above say that base is their backing file. Until
 *    one does, it names top, which with a changed base below shows the same.
 * 3. Only when all of them do is top let go.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/open.h"
#include "blockjobs/commit_internal.h"

/* Zeroes are written in steps, so that none takes long. */
#define ZERO_STEP (UINT64_C(1) << 30)

static int co_fn run(struct job *j, struct error **errp)
{
	struct commit *c = commit_of(j);
	job_progress_set_left(j, c->top->size);
	int r = job_pause_point(j);
	if (r >= 0)
		r = commit_grow_base(c, errp);
	/* Its sentence is that of the error number, as everywhere. */
	if (r >= 0)
		r = copy_allocated(c->common.copy, c->base, c->top->size);
	return r;
}

struct overlays {
	struct node **items;
	size_t count;
};

static void overlays_add(struct overlays *o, struct node *n)
{
	o->items = xrealloc(o->items, o->count + 1, sizeof(o->items[0]));
	o->items[o->count++] = n;
}

/* Drop the references; with the change lock, and nothing drained. */
static void co_fn overlays_drop_locked(struct overlays *o)
{
	for (size_t i = 0; i < o->count; i++)
		node_unref_apart(o->items[i]);
	free(o->items);
	*o = (struct overlays){0};
}

static void co_fn overlays_drop(struct commit *c, struct overlays *o)
{
	struct graph *g = c->common.job.table->graph;
	graph_change_begin(g);
	overlays_drop_locked(o);
	graph_change_end(g);
}

/*
 * The images above the filter that name top as their backing file; other filters are seen through.
 * One that is being closed goes on naming top, as if it had been closed before.
 */
static void find_overlays(struct node *filter, struct overlays *ret)
{
	struct overlays filters = {0};
	overlays_add(&filters, filter);
	for (size_t i = 0; i < filters.count; i++) {
		struct edge *e;
		list_for_each (e, &filters.items[i]->parents, child_link) {
			if (!e->parent || list_is_linked(&e->parent->closing_link))
				continue;
			if (e->role & EDGE_COW)
				overlays_add(ret, e->parent);
			else if (e->parent->driver->is_filter)
				overlays_add(&filters, e->parent);
		}
	}
	free(filters.items);
}

/* Where an overlay is longer than top, zeroes show: the end of what base, if longer, shows of it. */
static uint64_t tail_end(const struct commit *c, const struct overlays *overlays)
{
	uint64_t end = c->top->size;
	for (size_t i = 0; i < overlays->count; i++)
		end = MAX(end, MIN(overlays->items[i]->size, c->base->size));
	return end;
}

/* Make base show zeroes, too. */
static int co_fn zero_tail(struct commit *c, uint64_t offset, uint64_t end)
{
	while (offset < end) {
		uint64_t bytes = MIN(end - offset, ZERO_STEP);
		consumer_enter(&c->common.job.consumer);
		int r = edge_zero(c->common.target, offset, bytes, REQUEST_MAY_UNMAP);
		consumer_leave(&c->common.job.consumer);
		if (r < 0)
			return r;
		offset += bytes;
	}
	return 0;
}

/* Bring to base what its overlays show behind the end of top. *zeroed: so far that is done. */
static int co_fn prepare_tail(struct commit *c, uint64_t *zeroed, struct error **errp)
{
	struct overlays overlays = {0};
	find_overlays(c->common.filter, &overlays);
	uint64_t end = tail_end(c, &overlays);
	free(overlays.items);
	int r = zero_tail(c, *zeroed, end);
	if (r < 0)
		return error_set_errno(errp, r, "Could not write zeroes to '%s'", c->base->name);
	*zeroed = MAX(*zeroed, end);
	return copy_job_flush(&c->common, errp);
}

static bool can_be_named_ahead(const struct overlays *overlays)
{
	for (size_t i = 0; i < overlays->count; i++) {
		if (overlays->items[i]->read_only)
			return false;
	}
	return overlays->count > 0;
}

/*
 * Where nobody has the change lock, have the overlays name base before it is taken; as in the
 * change itself, with the users drained. @ret, with references, are those that do: then the lock is
 * to be taken at once, and @ret_held to be ended.
 */
static int co_fn name_ahead(struct commit *c, uint64_t zeroed, struct overlays *ret,
			    struct drain *ret_held, struct error **errp)
{
	struct consumer *consumer = &c->common.job.consumer;
	struct graph *g = c->common.job.table->graph;
	bool is_done = false;
	int r = 0;
	if (graph_is_changing(g))
		return 0;
	copy_job_hold_users(&c->common, c->common.filter, ret_held);
	consumer_enter(consumer);
	find_overlays(c->common.filter, ret);
	for (size_t i = 0; i < ret->count; i++)
		node_ref(ret->items[i]);
	if (can_be_named_ahead(ret) && tail_end(c, ret) <= zeroed)
		r = copy_job_rename_ahead(ret->items, ret->count, c->base, c->backing_file,
					  c->mask_protocol, &is_done, errp);
	consumer_leave(consumer);
	if (!is_done) {
		drain_end(ret_held);
		overlays_drop(c, ret);
	}
	return r;
}

static bool overlays_have(const struct overlays *o, const struct node *n)
{
	for (size_t i = 0; i < o->count; i++) {
		if (o->items[i] == n)
			return true;
	}
	return false;
}

/* With the users drained: no overlay becomes longer any more. @named do name base already. */
static int co_fn pivot(struct commit *c, const struct overlays *overlays,
		       const struct overlays *named, struct error **errp)
{
	int r = 0;
	for (size_t i = 0; i < overlays->count && r >= 0; i++) {
		struct node *n = overlays->items[i];
		if (overlays_have(named, n))
			node_note_backing(n);
		else
			r = copy_job_rename_backing(n, c->base, c->backing_file, c->mask_protocol,
						    errp);
	}
	return r >= 0 ? copy_job_leave(&c->common, c->base, NULL, NULL, errp) : r;
}

/*
 * *ret_is_longer: nothing is done, as more than @zeroed has to be: an overlay has grown. @held:
 * where overlays have been @named, the drain that holds the users.
 */
static int co_fn leave_locked(struct commit *c, uint64_t zeroed, const struct overlays *named,
			      struct drain *held, bool *ret_is_longer, struct error **errp)
{
	struct graph *g = c->common.job.table->graph;
	struct overlays overlays = {0};
	struct drain drain;
	int r = drain_begin_patiently(g, &c->common.filter, 1, &drain, errp);
	if (r < 0)
		return r;
	graph_change_is_certain(g);
	find_overlays(c->common.filter, &overlays);
	*ret_is_longer = tail_end(c, &overlays) > zeroed;
	r = *ret_is_longer ? 0 : pivot(c, &overlays, named, errp);
	drain_end(&drain);
	if (held)
		drain_end(held);
	free(overlays.items);
	if (r >= 0 && !*ret_is_longer)
		copy_job_drop_filter(&c->common);
	return r;
}

static int co_fn prepare(struct job *j, struct error **errp)
{
	struct commit *c = commit_of(j);
	struct graph *g = j->table->graph;
	uint64_t zeroed = c->top->size;
	c->common.finishing = true;
	for (unsigned tries = 0;; tries++) {
		struct overlays named = {0};
		struct drain held;
		struct error *error = NULL;
		bool is_longer = false;
		/* While others may still change the graph, and hold up the job. */
		int r = prepare_tail(c, &zeroed, errp);
		if (r < 0)
			return r;
		/* The images above have to name another backing file. */
		copy_job_sound(&c->common, c->device, SOUND_STORAGE);
		r = name_ahead(c, zeroed, &named, &held, errp);
		if (r < 0)
			return r;
		graph_change_begin_patiently(g, tries);
		if (named.count > 0)
			graph_change_is_certain(g);
		r = leave_locked(c, zeroed, &named, named.count > 0 ? &held : NULL, &is_longer,
				 &error);
		overlays_drop_locked(&named);
		graph_change_end(g);
		if (r != -ERESTART && !is_longer)
			return r < 0 ? error_move(errp, error) : r;
		error_free(error);
	}
}

const struct job_driver commit_driver = {
	.type = JOB_TYPE_COMMIT,
	.is_block = true,
	.size = sizeof(struct commit),
	.run = run,
	.prepare = prepare,
	.finish = commit_finish,
	.release = commit_release,
};
