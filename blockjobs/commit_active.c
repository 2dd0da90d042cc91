/* SPDX-License-Identifier: MIT */
/*
 * Committing the active image. Control thread.
 *
 * A bitmap holds what differs between top and base. It begins with all that the
 * layers above base have; sweeps copy and clear, while the filter above top marks
 * what users write. When users mark much of what was copied already, their writes
 * are made to go to base as well, from which moment on the bitmap only gets emptier.
 *
 * The users stand still only for the last sweep, over what little is left then,
 * and for the change of the graph.
 */
#include "block/dirty_bitmap.h"
#include "block/io.h"
#include "blockjobs/commit_internal.h"

/* So little dirt is dealt with while users stand still. */
#define LEFT_FOR_THE_DRAIN COPY_PIECE_MAX
/* Users' writes go to both places when they have made so much dirty again, and a part of all. */
#define MARKED_MIN (UINT64_C(16) << 20)
#define MARKED_PART 4
/* While ready: how long dirt may wait to be copied together with what comes next. */
#define LAG_NS UINT64_C(100000000)

static void dirtied(void *arg)
{
	struct commit *c = arg;
	struct write_tracker *t = &c->tracker;
	copy_job_update_left(&c->common);
	if (t->marked >= MARKED_MIN && t->marked > c->common.job.progress_done / MARKED_PART) {
		t->copy = c->common.copy;
		t->second = c->common.target;
	}
	if (c->awaits_writes)
		job_kick(&c->common.job);
}

/* Mark what the layers above base have. */
static int co_fn mark_allocated(struct commit *c)
{
	uint64_t offset = 0, size = c->top->size;
	while (offset < size) {
		int r = copy_job_admit(&c->common, 0);
		if (r < 0)
			return r;
		struct extent x;
		consumer_enter(&c->common.job.consumer);
		r = node_status_above(c->top, c->base, offset, size - offset, &x, NULL);
		consumer_leave(&c->common.job.consumer);
		if (r >= 0 && x.bytes == 0)
			r = -EIO;
		if (r < 0 && !copy_job_failed(&c->common, true, r))
			return r;
		if (r < 0)
			continue;
		if (x.flags & EXTENT_ALLOCATED)
			dirty_bitmap_set(c->common.bitmap, offset, x.bytes);
		offset += x.bytes;
	}
	job_progress_set_left(&c->common.job, dirty_bitmap_count(c->common.bitmap));
	return 0;
}

/* Sweep until little is left. */
static int co_fn converge(struct commit *c)
{
	do {
		int r = copy_dirty(c->common.copy, c->common.bitmap);
		if (r < 0)
			return r;
	} while (dirty_bitmap_count(c->common.bitmap) > LEFT_FOR_THE_DRAIN);
	return 0;
}

static bool is_told_to_end(const struct job *j)
{
	return j->completing || j->leaving;
}

/* Wait until something gets dirty or is told, or dirt has waited long enough. */
static void co_fn wait_for_news(struct commit *c)
{
	if (dirty_bitmap_count(c->common.bitmap) > 0) {
		job_sleep_ns(&c->common.job, LAG_NS);
		return;
	}
	c->awaits_writes = true;
	job_wait(&c->common.job);
	c->awaits_writes = false;
}

/* Ready: keep base in step until a client has decided. */
static int co_fn keep_in_step(struct commit *c)
{
	struct job *j = &c->common.job;
	for (;;) {
		int r = job_pause_point(j);
		if (r < 0 || is_told_to_end(j))
			return r;
		wait_for_news(c);
		if (!is_told_to_end(j) && !job_must_pause(j))
			r = copy_dirty(c->common.copy, c->common.bitmap);
		if (r < 0)
			return r;
	}
}

static int co_fn run(struct job *j, struct error **errp)
{
	struct commit *c = commit_of(j);
	c->tracker.dirtied = dirtied;
	c->tracker.arg = c;
	int r = job_pause_point(j);
	if (r >= 0)
		r = commit_grow_base(c, errp);
	if (r >= 0)
		r = mark_allocated(c);
	if (r >= 0)
		r = converge(c);
	if (r >= 0)
		r = copy_job_flush(&c->common, errp);
	if (r >= 0)
		r = job_pause_point(j);
	if (r < 0)
		return r;
	job_set_ready(j);
	r = keep_in_step(c);
	return r >= 0 && j->completing ? converge(c) : r;
}

/* With the users drained: nothing marks any more. */
static int co_fn last_sweep(struct commit *c, struct error **errp)
{
	while (dirty_bitmap_count(c->common.bitmap) > 0) {
		int r = copy_dirty(c->common.copy, c->common.bitmap);
		if (r < 0)
			return r;
	}
	return copy_job_flush(&c->common, errp);
}

static int co_fn pivot(struct commit *c, struct error **errp)
{
	struct drain drain;
	drain_begin(c->common.job.table->graph, &c->filter, 1, &drain);
	int r = last_sweep(c, errp);
	if (r >= 0)
		r = commit_leave_graph(c, c->base, errp);
	drain_end(&drain);
	return r;
}

static int co_fn prepare(struct job *j, struct error **errp)
{
	struct commit *c = commit_of(j);
	/* Told to leave well, the job leaves the users where they are. */
	if (!j->completing)
		return 0;
	c->common.finishing = true;
	/* While the job was pending, more may have been written; and a flush now spares one later. */
	int r = converge(c);
	if (r >= 0)
		r = copy_job_flush(&c->common, errp);
	if (r < 0)
		return r;
	graph_change_begin(j->table->graph);
	r = pivot(c, errp);
	graph_change_end(j->table->graph);
	return r;
}

const struct job_driver active_commit_driver = {
	.type = JOB_TYPE_COMMIT,
	.is_block = true,
	.knows_ready = true,
	.size = sizeof(struct commit),
	.run = run,
	.prepare = prepare,
	.finish = commit_finish,
	.release = commit_release,
};
