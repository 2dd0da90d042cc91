/* SPDX-License-Identifier: MIT */
/*
 * What the files of the commit job share. Only they include it.
 */
#ifndef BLOCKJOBS_COMMIT_INTERNAL_H
#define BLOCKJOBS_COMMIT_INTERNAL_H

#include "block/graph.h"
#include "blockjobs/commit.h"
#include "blockjobs/copy_job.h"
#include "blockjobs/filter.h"
#include "blockjobs/sync.h"

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
	struct copy_job common; /* source is top, target is base */
	struct node *device, *top, *base; /* held by edges that stay; top by a reference, too */
	bool base_was_read_only;

	/* Of commits below the active image. */
	char *backing_file; /* what the images above top shall say; NULL for base's name */
	bool mask_protocol;

	/* Of commits of the active image. */
	struct sync sync;
};

extern const struct job_driver commit_driver, active_commit_driver;

static inline struct commit *commit_of(struct job *j)
{
	return container_of(j, struct commit, common.job);
}

/* Make base at least as long as top. Inside run(). */
int co_fn commit_grow_base(struct commit *c, struct error **errp);
/* Shared by both job drivers. */
void co_fn commit_finish(struct job *j, bool succeeded);
void commit_release(struct job *j);

#endif
