/* SPDX-License-Identifier: MIT */
/*
 * What all jobs that copy have in common: two edges, a copy between them that
 * obeys the job's speed, pauses and error policies, a flush of the target, and
 * a piece of a backing chain that nobody else may redirect meanwhile.
 *
 * An object of a type embeds struct copy_job first. Control thread.
 */
#ifndef BLOCKJOBS_COPY_JOB_H
#define BLOCKJOBS_COPY_JOB_H

#include "block/bitmap.h"
#include "block/copy.h"
#include "block/sound.h"
#include "blockjobs/job.h"

struct dirty_bitmap;
struct drain;
struct graph_tx;

/* The first piece of a stream and of a commit, as long as that of the reference program. */
#define COPY_JOB_FIRST_PIECE (UINT64_C(1) << 19)

struct copy_job {
	struct job job;
	struct edge *source, *target; /* of the job's consumer */
	struct copy *copy;            /* between them; see copy_job_begin() */
	struct node *filter;          /* above what is copied; the type's reference, until it has left */
	bool is_in_graph;             /* the edges and the filter are there */
	enum blockdev_on_error on_source_error, on_target_error;
	/* What is left to copy, where a bitmap knows it; progress follows it then. */
	struct dirty_bitmap *bitmap;
	struct bitmap_view shown; /* of it, where a node shows it */
	struct node *users; /* whom the job leaves room for use this node; NULL: not known */
	uint64_t buffer_limit; /* bytes in flight at most; 0 for the default */
	uint64_t first_piece; /* of a job with a speed, however low that is; 0 for as the others */
	bool allocates_zeroes; /* what reads as zeroes takes its space in the target */
	int failure; /* a reason from elsewhere to end, or 0 */
	bool finishing; /* inside prepare(): neither pauses nor retries */
	bool backs_off; /* a request failed and is to be tried again, after a while */
	uint64_t retries; /* how many have been so */
	/* With copy_up(): what fails under the policy "ignore" is left out; the first such error. */
	bool leaves_out;
	int left_out;
	struct edge **frozen; /* links of a chain */
	size_t frozen_count;
};

/* Make the copy, once both edges are there. */
void copy_job_begin(struct copy_job *c);
/*
 * Or use @copy, which is another's, and @bitmap, which tells what is left for it; @s says
 * how, but for what is the job's business. NULL for all three gives it back, with
 * nothing in flight.
 */
void copy_job_adopt(struct copy_job *c, struct copy *copy, struct dirty_bitmap *bitmap,
		    const struct copy_settings *s);
/* Free the copy and what else is left; the bitmap is the type's. Nothing may be in flight. */
void copy_job_end(struct copy_job *c);

/*
 * Wait for the rate limit and pauses, as before each piece of @bytes; 0 or a negative
 * errno that ends the work. Also for other work that is to pause and end in the
 * same way: with 0 bytes.
 */
int co_fn copy_job_admit(struct copy_job *c, uint64_t bytes);
/* Announce a failed request and apply the policy: true to try again, after copy_job_admit(). */
bool copy_job_failed(struct copy_job *c, bool is_read, int error);
/* Make the target durable. A failure is that of a write, and treated as such. Inside run() or prepare(). */
int co_fn copy_job_flush(struct copy_job *c, struct error **errp);
/* Let the announced total follow what the bitmap and the pieces in flight say. */
void copy_job_update_left(struct copy_job *c);

/* Refuse a @device above which nodes stand, and not only users and the filters of jobs. */
int copy_job_check_root(const struct node *device, struct error **errp);
/*
 * Refuse a @top whose backing file a job is to rely on while that is the filter of another
 * job, which leaves when it ends and could not.
 */
int copy_job_check_base(struct node *top, struct error **errp);

/*
 * Let the image of @n name @base as its backing file, by @name (NULL: by its own;
 * @base NULL: none), durably. With @masks_protocol a base without a format counts as
 * raw. Also when @n is read-only. The caller holds the change lock.
 */
int co_fn copy_job_rename_backing(struct node *n, struct node *base, const char *name,
				  bool masks_protocol, struct error **errp);

/*
 * The same for the images of @nodes, which are writable, without the change lock, so that others
 * need not wait for their storage; without node_note_backing(). The caller is inside an operation
 * of the job, which is among the users of @base: whoever changes the chain waits for that.
 *
 * *ret_is_done: all of it is done, and the lock is free. The caller takes it before anything
 * can change what is named, that is, without waiting for anything after this. Otherwise,
 * because another has the lock or with an error, the images say what they had said.
 */
int co_fn copy_job_rename_ahead(struct node *const *nodes, size_t count, struct node *base,
				const char *name, bool masks_protocol, bool *ret_is_done,
				struct error **errp);

/* --- In and out of the graph; in copy_graph.c. The caller holds the change lock --------- */

/* Freeze the links from @top down to @base, which is in its chain. */
void copy_job_freeze(struct copy_job *c, struct node *top, struct node *base);
void copy_job_thaw(struct copy_job *c);
/*
 * Have @tx give the job an edge to @n that stays there whatever comes above it; *ret_edge
 * is set if @ret_edge is not NULL.
 */
int copy_job_attach(struct copy_job *c, struct graph_tx *tx, const char *name, struct node *n,
		    unsigned permissions, unsigned shared, struct edge **ret_edge,
		    struct error **errp);
/* A part of a change of the graph: adds steps to @tx. */
typedef int copy_job_step(struct copy_job *c, struct graph_tx *tx, void *arg,
			  struct error **errp);
/*
 * Announce the job, and let @link attach its edges and the filter, with the users of @top
 * drained. -EPERM and the like when that cannot be, and -ERESTART when they are not idle in
 * time: the job is to be discarded.
 */
int co_fn copy_job_enter(struct copy_job *c, struct node *top, copy_job_step *link, void *arg,
			 struct error **errp);
/*
 * Let all that use the filter use @heir instead (and what is below it, where that would be a
 * cycle), let @more (NULL: nothing) add what is to happen with it, and let go of the edges and
 * of the chain. Users of the filter are drained. On failure all is as before.
 */
int co_fn copy_job_leave(struct copy_job *c, struct node *heir, copy_job_step *more, void *arg,
			 struct error **errp);
/*
 * Let go of the filter after that, without a drain in force on it and before the change lock is
 * let go of: who comes next would find a node that has nothing below it.
 */
void co_fn copy_job_drop_filter(struct copy_job *c);
/*
 * Before the end of the job takes the change lock: wait for storage that hangs below the filter
 * or at its users, and below @n (NULL: nothing), of which @flags say what is to happen with it
 * (enum sound_flags). The end comes whatever that says. Without the change lock.
 */
void co_fn copy_job_sound(struct copy_job *c, struct node *n, unsigned flags);
/*
 * Drain @filter without the change lock, but spare the job, which is among its own users where the
 * second place has come to show the first one. Who gets another way in meanwhile is not held.
 *
 * Another job that does the same may have this one among the users it holds, and be among those
 * of this one. So that they do not wait for each other, this begins when nobody holds the job.
 */
void co_fn copy_job_hold_users(struct copy_job *c, struct node *filter, struct drain *ret);
/*
 * Sound, as copy_job_sound(); then take the change lock, with the users of the filter drained, if
 * it is in the graph. The caller ends @ret and, behind that, lets go of the lock.
 */
void co_fn copy_job_begin_withdrawal(struct copy_job *c, struct node *n, unsigned flags,
				     struct drain *ret);
/*
 * As if the job had never been: leave to @heir, which cannot be refused. Users of the filter are
 * drained.
 */
void co_fn copy_job_withdraw(struct copy_job *c, struct node *heir);

#endif
