/* SPDX-License-Identifier: MIT */
/*
 * Committing the active image: what the layers above base have is brought there and
 * kept in step, until the users move to base. Control thread.
 */
#include "block/io.h"
#include "blockjobs/commit_internal.h"

static struct commit *commit_of_sync(struct sync *s)
{
	return container_of(s, struct commit, sync);
}

static int co_fn compare(struct sync *s, uint64_t offset, uint64_t bytes, struct sync_extent *ret)
{
	struct commit *c = commit_of_sync(s);
	struct extent x;
	int r = node_status_above(c->top, c->base, offset, bytes, &x, NULL);
	if (r >= 0)
		*ret = (struct sync_extent){x.bytes, x.flags & EXTENT_ALLOCATED};
	return r;
}

static int co_fn run(struct job *j, struct error **errp)
{
	struct commit *c = commit_of(j);
	int r = job_pause_point(j);
	if (r >= 0)
		r = commit_grow_base(c, errp);
	if (r >= 0)
		r = sync_find(&c->sync, c->top->size, compare, false);
	return r >= 0 ? sync_run(&c->sync, errp) : r;
}

static int co_fn pivot(struct sync *s, struct error **errp)
{
	struct commit *c = commit_of_sync(s);
	return copy_job_leave(&c->common, c->base, NULL, NULL, errp);
}

static int co_fn prepare(struct job *j, struct error **errp)
{
	struct commit *c = commit_of(j);
	/* Told to leave well, the job leaves the users where they are. */
	return j->completing ? sync_end(&c->sync, c->common.filter, pivot, errp) : 0;
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
