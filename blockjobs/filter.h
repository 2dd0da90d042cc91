/* SPDX-License-Identifier: MIT */
/*
 * Filter nodes that jobs put into the graph and take out again.
 *
 * They show what is below them and need no consistent read of it, so that a job
 * may change what lies further down as long as the sum stays the same. Control
 * thread.
 */
#ifndef BLOCKJOBS_FILTER_H
#define BLOCKJOBS_FILTER_H

#include "block/graph.h"
#include "block/node.h"
#include "block/open.h"
#include "base/vec.h"

struct copy;
struct dirty_bitmap;

/* Above the topmost image that a commit takes out of a chain. Nobody writes through it. */
extern const struct driver commit_top_driver;

/*
 * Above an image whose writes must reach a second place, too. The argument of its
 * open is a struct write_tracker, which outlives the node.
 */
extern const struct driver mirror_top_driver;

struct write_tracker {
	struct dirty_bitmap *bitmap; /* gets what was written */
	uint64_t marked;             /* bytes that writes have made dirty that were clean */
	/* Optional: called after bits were set. Must not wait. */
	void (*dirtied)(void *arg);
	void *arg;
	/*
	 * With a second place, data is written there before the write is answered,
	 * where that is not dirty anyway, and nothing gets dirty unless it fails. May
	 * be set at any time.
	 */
	struct copy *copy; /* whose pieces keep out of the way */
	struct edge *second;
	/*
	 * Where @place, the second one, fills up clusters of so many bytes that are written
	 * in part, and not with what shows here. What it does not hold yet gets dirty in
	 * whole clusters. 0 for none.
	 */
	uint64_t cluster;
	struct edge *place;
};

/*
 * Whether a filter can be called @name, or NULL. What is wrong with that is told before what is
 * wrong with the job's ID.
 */
int filter_check_name(struct graph *g, const char *name, struct error **errp);
/*
 * Open a filter to be put above @below; @name NULL makes it implicit. It has no
 * child yet. The caller gets the reference.
 */
int co_fn filter_open(const struct driver *driver, const char *name, struct node *below, void *arg,
		      struct node **ret, struct error **errp);
/* Put it between @below and all that use @below, but for edges that stay. */
int filter_insert(struct graph_tx *tx, struct node *filter, struct node *below, struct error **errp);
/* True when @n is one of these, or the copy-on-read filter of a job. */
bool node_is_job_filter(const struct node *n);

#endif
