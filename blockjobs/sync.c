/* SPDX-License-Identifier: MIT */
/*
 * Bringing two places in step. Control thread.
 *
 * The bitmap begins with all that is found to differ; sweeps copy and clear, while
 * the filter marks what users write. When their writes are made to go to both places,
 * the bitmap only gets emptier: whatever the load, the job converges.
 *
 * The users stand still only for the last sweep, over what little is left then,
 * and for the change of the graph. The sweep goes without the change lock, so whoever gets a
 * way to the source meanwhile goes unheld: with the lock it is found out, and all is done again.
 */
#include "blockjobs/sync.h"

#include "base/cleanup.h"
#include "block/dirty_bitmap.h"
#include "block/graph.h"
#include "block/node.h"

/* So little dirt is dealt with while users stand still. */
#define LEFT_FOR_THE_DRAIN COPY_PIECE_MAX
/* It is very much that users have made dirty again when it is so much, and a part of all. */
#define MARKED_MIN (UINT64_C(16) << 20)
#define MARKED_PART 4
/* While ready: how long dirt may wait to be copied together with what comes next. */
#define LAG_NS UINT64_C(100000000)
/* 128 MiB of memory, for images from 64 TiB on. */
#define BITMAP_BITS_MAX (UINT64_C(1) << 30)
/* How often users may go on, at the end, while another changes the graph. */
#define TRIES_MAX 5

static void dirtied(void *arg)
{
	struct sync *s = arg;
	struct job *j = &s->job->job;
	copy_job_update_left(s->job);
	if (s->heeds_load && s->tracker.marked >= MARKED_MIN &&
	    s->tracker.marked > j->progress_done / MARKED_PART)
		sync_pass_on(s);
	if (s->awaits_writes)
		job_kick(j);
}

int sync_init(struct sync *s, struct copy_job *job, struct node *source, uint32_t granularity,
	      struct error **errp)
{
	uint64_t bytes = source->size;
	if (granularity == 0)
		granularity = COPY_PIECE_MIN;
	while (bytes / granularity > BITMAP_BITS_MAX && granularity < DIRTY_BITMAP_GRANULARITY_MAX)
		granularity *= 2;
	s->job = job;
	job->bitmap = dirty_bitmap_create(bytes, granularity);
	if (!job->bitmap)
		return error_set(errp, -ENOMEM, "No memory for the dirty bitmap of '%s'",
				 source->name);
	bitmap_view_begin(&job->shown, source, job->bitmap, true);
	s->tracker = (struct write_tracker){
		.bitmap = job->bitmap,
		.dirtied = dirtied,
		.arg = s,
	};
	return 0;
}

void sync_finish(struct sync *s)
{
	if (!s->job)
		return;
	bitmap_view_end(&s->job->shown);
	dirty_bitmap_destroy(TAKE(s->job->bitmap));
}

void sync_pass_on(struct sync *s)
{
	s->tracker.copy = s->job->copy;
	s->tracker.second = s->job->target;
}

bool sync_is_active(const struct sync *s)
{
	const struct copy_job *c = s->job;
	return c->copy && c->job.was_ready && s->tracker.second &&
	       dirty_bitmap_count(c->bitmap) == 0 && copy_bytes_in_flight(c->copy) == 0;
}

static void set_different(struct sync *s, uint64_t offset, uint64_t bytes, uint64_t size)
{
	uint64_t cluster = MAX(s->tracker.cluster, 1);
	uint64_t start = align_down(offset, cluster);
	uint64_t end = MIN(align_up(offset + bytes, cluster), size);
	dirty_bitmap_set(s->job->bitmap, start, end - start);
}

int co_fn sync_find(struct sync *s, uint64_t bytes, sync_compare *compare, bool counts_rest)
{
	struct copy_job *c = s->job;
	for (uint64_t offset = 0; offset < bytes;) {
		int r = copy_job_admit(c, 0);
		if (r < 0)
			return r;
		struct sync_extent x;
		consumer_enter(&c->job.consumer);
		r = compare(s, offset, bytes - offset, &x);
		consumer_leave(&c->job.consumer);
		if (r >= 0 && x.bytes == 0)
			r = -EIO; /* the source has become shorter */
		if (r < 0 && !copy_job_failed(c, true, r))
			return r;
		if (r < 0)
			continue;
		if (x.differs)
			set_different(s, offset, x.bytes, bytes);
		offset += x.bytes;
	}
	if (counts_rest)
		job_progress_add(&c->job, bytes - dirty_bitmap_count(c->bitmap));
	copy_job_update_left(c);
	return 0;
}

/* Sweep until little is left. */
static int co_fn converge(struct sync *s)
{
	do {
		int r = copy_dirty(s->job->copy, s->job->bitmap);
		if (r < 0)
			return r;
	} while (dirty_bitmap_count(s->job->bitmap) > LEFT_FOR_THE_DRAIN);
	return 0;
}

static bool is_told_to_end(const struct job *j)
{
	return j->completing || j->leaving;
}

/* Wait until something gets dirty or is told, or dirt has waited long enough. */
static void co_fn wait_for_news(struct sync *s)
{
	if (dirty_bitmap_count(s->job->bitmap) > 0) {
		job_sleep_ns(&s->job->job, LAG_NS);
		return;
	}
	s->awaits_writes = true;
	job_wait(&s->job->job);
	s->awaits_writes = false;
}

/* Ready: keep in step until a client has decided. */
static int co_fn keep_in_step(struct sync *s)
{
	struct job *j = &s->job->job;
	for (;;) {
		int r = job_pause_point(j);
		if (r < 0 || is_told_to_end(j))
			return r;
		wait_for_news(s);
		if (!is_told_to_end(j) && !job_must_pause(j))
			r = copy_dirty(s->job->copy, s->job->bitmap);
		if (r < 0)
			return r;
	}
}

/* Sweep until all has been copied once, and little is left of what users have written since. */
static int co_fn sweep_all(struct sync *s)
{
	uint64_t retries;
	int r;
	do {
		retries = s->job->retries;
		r = converge(s);
		/* Where users are not at work, nothing is left then. */
		if (r >= 0)
			r = copy_dirty(s->job->copy, s->job->bitmap);
		/* What cannot be copied keeps the job from being ready, however little it is. */
	} while (r >= 0 && s->job->retries != retries);
	return r;
}

int co_fn sync_run(struct sync *s, struct error **errp)
{
	struct job *j = &s->job->job;
	int r = sweep_all(s);
	if (r >= 0)
		r = copy_job_flush(s->job, errp);
	if (r >= 0)
		r = job_pause_point(j);
	if (r < 0)
		return r;
	job_set_ready(j);
	r = keep_in_step(s);
	if (r < 0)
		return r;
	/* Whoever wants the end wants it to come. */
	sync_pass_on(s);
	return converge(s);
}

static struct node *target_of(const struct sync *s)
{
	return s->job->target->child;
}

/*
 * With the users held: nothing marks any more. What the target has got up to *ret_generation is
 * durable.
 */
static int co_fn last_sweep(struct sync *s, uint64_t *ret_generation, struct error **errp)
{
	while (dirty_bitmap_count(s->job->bitmap) > 0) {
		int r = copy_dirty(s->job->copy, s->job->bitmap);
		if (r < 0)
			return r;
	}
	*ret_generation = target_of(s)->write_generation;
	return copy_job_flush(s->job, errp);
}

/*
 * With the change lock, which this takes. *ret_is_done: nobody has come in meanwhile, nor had to
 * be waited for too long, and @leave was called. Ends @held, a drain, or NULL.
 */
static int co_fn leave_in_step(struct sync *s, struct node *filter, uint64_t generation,
			       struct drain *held, unsigned tries,
			       int co_fn (*leave)(struct sync *s, struct error **errp),
			       bool *ret_is_done, struct error **errp)
{
	struct graph *g = s->job->job.table->graph;
	struct error *error = NULL;
	struct drain drain;
	graph_change_begin_patiently(g, tries);
	int r = drain_begin_patiently(g, &filter, 1, &drain, &error);
	if (r >= 0) {
		*ret_is_done = dirty_bitmap_count(s->job->bitmap) == 0 &&
			       target_of(s)->write_generation == generation;
		if (*ret_is_done)
			r = leave(s, &error);
		drain_end(&drain);
	}
	if (held)
		drain_end(held);
	if (*ret_is_done && r >= 0)
		copy_job_drop_filter(s->job);
	graph_change_end(g);
	if (r != -ERESTART)
		return r < 0 ? error_move(errp, error) : r;
	error_free(error);
	*ret_is_done = false;
	return 0;
}

int co_fn sync_end(struct sync *s, struct node *filter,
		   int co_fn (*leave)(struct sync *s, struct error **errp), struct error **errp)
{
	struct graph *g = s->job->job.table->graph;
	bool is_done = false;
	s->job->finishing = true;
	/* While the job was pending, more may have been written; a flush now spares one later. */
	int r = converge(s);
	if (r >= 0)
		r = copy_job_flush(s->job, errp);
	if (r < 0)
		return r;

	/* The target may hang yet: its users wait for it, and nobody who changes other disks. */
	for (unsigned tries = 1; !is_done; tries++) {
		struct drain drain;
		uint64_t generation;
		copy_job_sound(s->job, node_chain_next(filter), 0);
		copy_job_hold_users(s->job, filter, &drain);
		r = last_sweep(s, &generation, errp);
		/* Nor shall they wait for another disk that its change may have to wait for. */
		bool is_held = r >= 0 && (tries >= TRIES_MAX || !graph_is_changing(g));
		if (!is_held)
			drain_end(&drain);
		if (r < 0)
			return r;
		r = leave_in_step(s, filter, generation, is_held ? &drain : NULL, tries, leave,
				  &is_done, errp);
	}
	return r;
}
