/* SPDX-License-Identifier: MIT */
/*
 * Copy before write: what a filter node does to keep a point in time of its child,
 * the source, while users write to it through the filter.
 *
 * The moment is the one at which the users come to the filter. Before one of them
 * changes a range, what is there is copied to the target. So the point in time is
 * in the target where users have written since, and in the source everywhere else.
 *
 * Node's loop.
 */
#ifndef BLOCK_CBW_H
#define BLOCK_CBW_H

#include "block/copy.h"
#include "block/io.h"
#include "schema/types.h"

struct cbw;

struct cbw_settings {
	struct edge *source, *target; /* of the filter */
	uint32_t cluster;             /* see cbw_choose_cluster() */
	enum on_cbw_error on_error;
	uint64_t timeout_ns; /* of one copy; 0 for none */
};

/*
 * Choose in what units to copy: what @target allocates at once, and no less than
 * @min_bytes (a power of two, or 0). Returns 0, or the errno of a target that
 * cannot tell and would spoil what it does not show through from a backing file.
 */
int co_fn cbw_choose_cluster(struct node *source, struct node *target, uint64_t min_bytes,
			     uint32_t *ret, struct error **errp);

/* Keep everything. @s is copied. -ENOMEM. */
int cbw_create(const struct cbw_settings *s, struct cbw **ret, struct error **errp);
/* No user is left. Waits for what goes on after a timeout. NULL is allowed. */
void co_fn cbw_destroy(struct cbw *w);

/*
 * Before users come: keep only what @bits has dirty. The rest is neither copied
 * nor part of the point in time.
 */
void cbw_keep_only(struct cbw *w, const struct dirty_bitmap *bits);

/*
 * Before a user changes the range in the source, inside the user's operation.
 * Waits for copies in that range only, and for reads of the point in time there.
 * Returns 0, or the error that the user shall get.
 */
int co_fn cbw_before_write(struct cbw *w, uint64_t offset, uint64_t bytes);

/* --- The point in time ----------------------------------------------------------- */

/* -EACCES where it is not kept, or when it is lost. */
int co_fn cbw_read(struct cbw *w, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);
/* As node_status(), for the first part of the range. -EACCES as above. */
int co_fn cbw_status(struct cbw *w, uint64_t offset, uint64_t bytes, struct extent *ret);
/* The clusters inside the range are not needed any more: they are dropped, in the target, too. */
int co_fn cbw_discard(struct cbw *w, uint64_t offset, uint64_t bytes);

/* --- For a job that copies all of it ------------------------------------------------ */

/* What copies; the job configures it and sweeps with it. */
struct copy *cbw_copy(struct cbw *w);
/* What is still to be copied, in clusters. The job may clear bits. */
struct dirty_bitmap *cbw_left(struct cbw *w);
/* 0, or the error after which the point in time was given up so that users could write on. */
int cbw_error(const struct cbw *w);
/* @broken(@arg) is called when that happens; must not wait. NULL for nobody. */
void cbw_watch(struct cbw *w, void (*broken)(void *arg), void *arg);
/* Nobody wants the point in time any more: no user waits for it from now on, nor fails with it. */
void cbw_give_up(struct cbw *w);
/* The source is discarded behind the copies, which takes permission to write there. */
void cbw_discard_source(struct cbw *w);
bool cbw_discards_source(const struct cbw *w);

#endif
