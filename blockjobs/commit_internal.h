/* SPDX-License-Identifier: MIT */
/*
 * What the files of the commit job share. Only they include it.
 */
#ifndef BLOCKJOBS_COMMIT_INTERNAL_H
#define BLOCKJOBS_COMMIT_INTERNAL_H

#include "block/copy.h"
#include "block/graph.h"
#include "blockjobs/commit.h"
#include "blockjobs/filter.h"

/* Which images: found by name, without references. */
struct commit_chain {
	struct node *device; /* the active image, or a filter above it */
	struct node *top, *base;
	bool is_active; /* top is what users write to */
};

/* Find the nodes that @args name. The caller holds the change lock. */
int commit_select(struct graph *g, const struct block_commit_args *args, struct commit_chain *ret,
		  struct error **errp);

struct commit {
	struct job job;
	struct node *device, *top, *base; /* held by edges that stay; top by a reference, too */
	struct node *filter; /* above top; referenced */
	struct edge *source, *target; /* to top and base */
	struct edge **frozen; /* links of the chain */
	size_t frozen_count;
	bool base_was_read_only;
	bool is_in_graph; /* the edges and the filter are there */
	bool finishing;   /* inside prepare(): neither pauses nor retries */
	bool backs_off;   /* a request failed and is to be tried again, after a while */
	enum blockdev_on_error on_error;
	struct copy *copy;

	/* Of commits below the active image. */
	char *backing_file; /* what the images above top shall say; NULL for base's name */
	bool mask_protocol;

	/* Of commits of the active image. */
	struct dirty_bitmap *bitmap;
	struct write_tracker tracker;
	bool awaits_writes; /* idle until something gets dirty */
};

extern const struct job_driver commit_driver, active_commit_driver;

static inline struct commit *commit_of(struct job *j)
{
	return container_of(j, struct commit, job);
}

/*
 * Hooks of the copy, with the commit as their argument; also for other work that
 * pauses, retries and ends in the same way.
 */
int co_fn commit_admit(void *arg, uint64_t bytes);
bool commit_failed(void *arg, bool is_read, int error);

/* Make base at least as long as top. Inside run(). */
int co_fn commit_grow_base(struct commit *c, struct error **errp);
/* Make base durable. A failure is that of a write, and treated as such. */
int co_fn commit_flush_base(struct commit *c, struct error **errp);
/*
 * Let all that use the filter use @heir instead, and let go of the chain. The
 * caller holds the change lock; users of the filter are drained.
 */
int co_fn commit_leave_graph(struct commit *c, struct node *heir, struct error **errp);
/* Shared by both job drivers. */
void co_fn commit_finish(struct job *j, bool succeeded);
void commit_release(struct job *j);

#endif
