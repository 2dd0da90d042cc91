/* SPDX-License-Identifier: MIT */
/*
 * Bringing two places in step while users write to one of them, and keeping them so
 * until a client has decided: the engine of mirror and of commits of the active image.
 *
 * A filter above the source tells what users write (see filter.h); a bitmap holds
 * what differs. Control thread.
 */
#ifndef BLOCKJOBS_SYNC_H
#define BLOCKJOBS_SYNC_H

#include "blockjobs/copy_job.h"
#include "blockjobs/filter.h"

struct sync {
	struct copy_job *job;
	struct write_tracker tracker; /* the filter's */
	/* Users' writes go to both places as soon as they make very much dirty again. */
	bool heeds_load;
	bool awaits_writes; /* idle until something gets dirty */
};

/*
 * Make the bitmap of job->bitmap for @source, where queries show it until
 * copy_job_end(); @granularity 0 chooses one. -ENOMEM with a sentence.
 */
int sync_init(struct sync *s, struct copy_job *job, struct node *source, uint32_t granularity,
	      struct error **errp);
/* Free it, if there is one. */
void sync_finish(struct sync *s);

/*
 * Have users' writes go to both places before they are answered, from now on: what
 * is dirty only gets less then. Once copy_job_begin() has been called.
 */
void sync_pass_on(struct sync *s);
/* True when all that users write goes to both places, and nothing is left to copy. */
bool sync_is_active(const struct sync *s);

/* What is found out about the range from some offset on, for bytes of it. */
struct sync_extent {
	uint64_t bytes;
	bool differs; /* is to be copied */
};

/* Compare the places at @offset, @bytes at most. A negative errno is a failed read. */
typedef int co_fn sync_compare(struct sync *s, uint64_t offset, uint64_t bytes,
			       struct sync_extent *ret);

/*
 * Inside run(): mark what differs of the first @bytes; the rest is progress if
 * @counts_rest. 0 or a negative errno.
 */
int co_fn sync_find(struct sync *s, uint64_t bytes, sync_compare *compare, bool counts_rest);
/* Then copy it, announce that the job is ready, and keep in step until a client has decided. */
int co_fn sync_run(struct sync *s, struct error **errp);
/*
 * Inside prepare(): once more copy all, at last with the users of @filter drained,
 * make it durable and call @leave, under the change lock and with the users still
 * drained. Takes the lock for that only.
 */
int co_fn sync_end(struct sync *s, struct node *filter,
		   int co_fn (*leave)(struct sync *s, struct error **errp), struct error **errp);

#endif
