/* SPDX-License-Identifier: MIT */
/*
 * Setting up a commit and taking it down: what both kinds share. Control thread.
 *
 * While the job runs, the images between top and base show nothing sensible on
 * their own: base changes below them. So the job forbids others to read them
 * consistently, and the filter above top, where the sum is right, asks for no
 * consistent read of it. The links of the chain are frozen.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/open.h"
#include "block/change.h"
#include "blockjobs/commit_internal.h"

int co_fn commit_grow_base(struct commit *c, struct error **errp)
{
	if (c->base->size >= c->top->size)
		return 0;
	uint64_t old_size = c->base->size, size = c->top->size;
	consumer_enter(&c->common.job.consumer);
	int r = edge_truncate(c->common.target, size, PREALLOCATION_OFF, errp);
	/* What no layer has reads as zeroes in the overlay, and must go on to. */
	if (r >= 0 && !node_grows_zeroed(c->base)) {
		r = edge_zero(c->common.target, old_size, size - old_size, 0);
		if (r < 0)
			error_set_errno(errp, r, "Could not zero the new area of '%s'",
					c->base->name);
	}
	consumer_leave(&c->common.job.consumer);
	return r;
}

/* --- Into the graph -------------------------------------------------------------- */

static unsigned target_permissions(const struct commit *c)
{
	bool may_grow = c->base->size < c->top->size ||
			!is_aligned(c->base->size, c->base->limits.request_alignment);
	/*
	 * The filter above top needs no consistent read below itself; what is below base must not
	 * be written to nevertheless, since users see it.
	 */
	bool is_active = c->common.job.driver == &active_commit_driver;
	return PERM_WRITE | (may_grow ? PERM_RESIZE : 0) | (is_active ? 0 : PERM_CONSISTENT_READ);
}

static int attach_chain(struct commit *c, struct graph_tx *tx, struct error **errp)
{
	const unsigned shared = PERM_WRITE_UNCHANGED | PERM_WRITE;
	int r = 0;
	for (struct node *n = node_chain_next(c->top); r >= 0 && n != c->base;
	     n = node_chain_next(n))
		r = copy_job_attach(&c->common, tx, "intermediate node", n, 0, shared, NULL, errp);
	return r;
}

static int link_all(struct copy_job *common, struct graph_tx *tx, void *arg, struct error **errp)
{
	struct commit *c = arg;
	bool is_active = common->job.driver == &active_commit_driver;
	int r = 0;
	if (!is_active)
		r = copy_job_attach(common, tx, "main node", c->device, 0, PERM_ALL, NULL, errp);
	/* A job below the active image reads it where nobody else may. */
	if (r >= 0)
		r = copy_job_attach(common, tx, is_active ? "source" : "intermediate node", c->top,
				    0,
				    is_active ? PERM_ALL & ~(unsigned)PERM_RESIZE
					      : PERM_WRITE_UNCHANGED | PERM_WRITE,
				    &common->source, errp);
	if (r >= 0)
		r = attach_chain(c, tx, errp);
	if (r >= 0)
		r = copy_job_attach(common, tx, "target", c->base, target_permissions(c),
				    PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED, &common->target,
				    errp);
	return r >= 0 ? filter_insert(tx, common->filter, c->top, errp) : r;
}

static void block_all(struct commit *c)
{
	struct job *j = &c->common.job;
	bool is_active = j->driver == &active_commit_driver;
	/* Whoever asks for what the images above forbid anyway need not know of the job. */
	job_block_as(j, c->common.filter, is_active ? 0 : BLOCK_OP_STREAM,
		     is_active ? 0 : BLOCKER_AFTER_OVERLAY);
	job_block_as(j, c->top, 0, is_active ? 0 : BLOCKER_IS_USER);
	for (struct node *n = node_chain_next(c->top); n != c->base; n = node_chain_next(n))
		job_block(j, n, 0);
	job_block(j, c->base, 0);
	/* Another part of the chain may be merged meanwhile, also into the image above. */
	if (!is_active)
		job_block(j, c->device,
			  BLOCK_OP_COMMIT_SOURCE | BLOCK_OP_COMMIT_TARGET | BLOCK_OP_STREAM);
}

static int co_fn open_filter(struct commit *c, const char *name, struct error **errp)
{
	bool is_active = c->common.job.driver == &active_commit_driver;
	int r = is_active ? sync_init(&c->sync, &c->common, c->top, 0, errp) : 0;
	if (r < 0)
		return r;
	return filter_open(is_active ? &mirror_top_driver : &commit_top_driver, name, c->top,
			   &c->sync.tracker, &c->common.filter, errp);
}

/* All that comes before job_start(). */
static int co_fn set_up(struct commit *c, const struct block_commit_args *args, struct error **errp)
{
	int r = open_filter(c, args->filter_node_name, errp);
	if (r < 0)
		return r;
	c->base_was_read_only = c->base->read_only;
	r = node_set_read_only(c->base, false, errp);
	if (r >= 0)
		r = copy_job_enter(&c->common, c->top, link_all, c, errp);
	if (r < 0) {
		node_set_read_only(c->base, c->base_was_read_only, NULL);
		node_unref(TAKE(c->common.filter));
		return r;
	}
	c->common.users = c->common.filter;
	node_ref(c->top);
	copy_job_freeze(&c->common, c->common.filter, c->base);
	block_all(c);
	copy_job_begin(&c->common);
	c->common.first_piece = c->common.job.driver == &commit_driver ? COPY_JOB_FIRST_PIECE : 0;
	c->sync.heeds_load = true;
	if (args->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING)
		sync_pass_on(&c->sync);
	return 0;
}

struct start {
	struct job_table *table;
	const struct block_commit_args *args;
};

static int co_fn start_locked(void *arg, struct error **errp)
{
	const struct start *s = arg;
	struct job_table *t = s->table;
	const struct block_commit_args *args = s->args;
	struct commit_chain chain;
	int r = commit_select(t->graph, args, &chain, errp);
	if (r >= 0)
		r = filter_check_name(t->graph, args->filter_node_name, errp);
	if (r < 0)
		return r;
	const struct job_options options = {
		.id = args->job_id,
		.speed = args->speed,
		.auto_finalize = args->auto_finalize,
		.auto_dismiss = args->auto_dismiss,
	};
	struct job *j;
	r = job_create(t, chain.is_active ? &active_commit_driver : &commit_driver, &options, &j,
		       errp);
	if (r < 0)
		return r;
	struct commit *c = commit_of(j);
	c->device = chain.device;
	c->top = chain.top;
	c->base = chain.base;
	c->common.on_source_error = c->common.on_target_error = args->on_error;
	c->backing_file = xstrdup(args->backing_file);
	c->mask_protocol = args->backing_mask_protocol;
	r = set_up(c, args, errp);
	if (r < 0)
		job_discard(j);
	else
		job_start(j);
	return r;
}

int co_fn commit_start(struct job_table *t, const struct block_commit_args *args,
		       struct error **errp)
{
	/* The base may have to be opened anew, for writing. */
	const struct sound_target targets[] = {
		{.name = args->device, .flags = SOUND_STORAGE},
		{.name = args->base_node},
	};
	return graph_change_around(t->graph, targets, ARRAY_SIZE(targets), start_locked,
				   &(struct start){t, args}, errp);
}

/* --- Out of the graph --------------------------------------------------------------- */

void co_fn commit_finish(struct job *j, bool succeeded)
{
	struct commit *c = commit_of(j);
	struct graph *g = j->table->graph;
	bool is_pivoted = !c->common.is_in_graph && j->driver == &active_commit_driver;
	struct drain drain;
	/* The edge to it may be its last. */
	struct node *base = node_ref(c->base);

	copy_job_begin_withdrawal(&c->common, base, c->base_was_read_only ? SOUND_STORAGE : 0,
				  &drain);
	if (c->common.is_in_graph)
		copy_job_withdraw(&c->common, c->top);
	drain_end(&drain);
	node_unref(TAKE(c->common.filter));
	/* Users that had only been reading shall not be able to write now. */
	if (c->base_was_read_only && (!is_pivoted || c->top->read_only))
		node_set_read_only(base, true, NULL);
	node_unref_apart(TAKE(c->top));
	node_unref_apart(base);
	graph_change_end(g);
	copy_job_end(&c->common);
}

void commit_release(struct job *j)
{
	struct commit *c = commit_of(j);
	sync_finish(&c->sync);
	free(c->backing_file);
}
