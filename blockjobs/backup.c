/* SPDX-License-Identifier: MIT */
/*
 * The backup job. Control thread.
 *
 * From the moment on at which the users reach the source through the filter, the
 * filter copies what they are about to overwrite, and the job all the rest; a bitmap
 * of the filter tells what is left. Both use one copy, so that none copies what the
 * other has, and a user waits for a piece of the job only where it is in the way.
 */
#include "blockjobs/backup_internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/dirty_bitmap.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/open.h"

/* Pieces in flight at most, whatever is asked for: each takes memory. */
#define WORKERS_MAX 64

static struct backup *backup_of(struct job *j)
{
	return container_of(j, struct backup, common.job);
}

/* --- Into the graph ---------------------------------------------------------------- */

static struct blockdev_ref *reference(const struct node *n)
{
	struct blockdev_ref *ref = NEW(struct blockdev_ref);
	ref->kind = BLOCKDEV_REF_REFERENCE;
	ref->u.reference = xstrdup(n->name);
	return ref;
}

static int co_fn open_filter(const struct backup_nodes *nodes, const struct blockdev_backup *args,
			     struct node **ret, struct error **errp)
{
	struct blockdev_options *o = NEW(struct blockdev_options);
	struct blockdev_options_cbw *cbw = &o->u.copy_before_write;
	const struct backup_perf *perf = args->x_perf;
	o->driver = BLOCKDEV_DRIVER_COPY_BEFORE_WRITE;
	o->node_name = xstrdup(args->filter_node_name);
	/* Whether discarding has an effect is for the source to say. */
	o->has_discard = true;
	o->discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP;
	cbw->file = reference(nodes->source);
	cbw->target = reference(nodes->target);
	cbw->has_on_cbw_error = true;
	cbw->on_cbw_error = args->on_cbw_error;
	cbw->has_min_cluster_size = perf && perf->has_min_cluster_size;
	cbw->min_cluster_size = perf ? perf->min_cluster_size : 0;
	int r = node_open(nodes->source->graph, o, ret, errp);
	if (r < 0 && (r != -EINVAL || args->filter_node_name))
		error_prefix(errp, "Could not create node: ");
	blockdev_options_free(o);
	/* Names and reopening take it for what it is, which no user has opened. */
	if (r >= 0)
		blockdev_options_free(TAKE((*ret)->options));
	return r;
}

/* Readers of a target that shows the source where it has nothing must not see in between. */
static bool is_fleecing(const struct backup *b)
{
	return node_chain_contains(b->target, b->source);
}

static void configure_copy(struct backup *b, const struct blockdev_backup *args)
{
	const struct backup_perf *perf = args->x_perf;
	struct copy_settings s = {
		.write_flags = (args->compress ? REQUEST_COMPRESSED : 0u) |
			       (is_fleecing(b) ? REQUEST_SERIALISING : 0u),
		.discards_source = args->discard_source,
		.offloads = perf && perf->use_copy_range,
	};
	if (perf && perf->has_max_workers)
		s.workers = (unsigned)MIN(perf->max_workers, WORKERS_MAX);
	if (perf && perf->max_chunk > 0)
		s.piece_max = (uint64_t)perf->max_chunk;
	copy_job_adopt(&b->common, cbw_copy(b->cbw), cbw_left(b->cbw), &s);
}

static void co_fn drop_filter(struct backup *b)
{
	copy_job_adopt(&b->common, NULL, NULL, NULL);
	node_unref(TAKE(b->common.filter));
}

static void co_fn drop_nodes(struct backup *b)
{
	drop_filter(b);
	node_unref(TAKE(b->backing));
	node_unref(TAKE(b->target));
	node_unref(TAKE(b->source));
}

/* The filter is there. With success it is the job's, and so are references to the nodes. */
static int create_job(struct job_table *t, const struct blockdev_backup *args,
		      const struct backup_nodes *nodes, struct node *filter, struct job_tx *tx,
		      struct backup **ret, struct error **errp)
{
	const struct job_options options = {
		.id = args->job_id,
		.speed = args->speed,
		.auto_finalize = args->auto_finalize,
		.auto_dismiss = args->auto_dismiss,
		.tx = tx,
	};
	struct job *j;
	int r = job_create(t, &backup_driver, &options, &j, errp);
	if (r < 0)
		return r;
	struct backup *b = backup_of(j);
	b->source = node_ref(nodes->source);
	b->target = node_ref(nodes->target);
	b->common.filter = filter;
	b->cbw = filter->driver->cbw(filter);
	b->args = args;
	b->sync = args->sync == MIRROR_SYNC_MODE_INCREMENTAL ? MIRROR_SYNC_MODE_BITMAP : args->sync;
	b->common.on_source_error = args->on_source_error;
	b->common.on_target_error = args->on_target_error;
	if (args->discard_source)
		cbw_discard_source(b->cbw);
	configure_copy(b, args);
	*ret = b;
	return 0;
}

/* The bitmap is not looked at. */
static int co_fn open_without_bitmap(struct job_table *t, const struct blockdev_backup *args,
				     const struct backup_nodes *nodes, struct job_tx *tx,
				     struct backup **ret, struct error **errp)
{
	struct node *filter;
	int r = backup_check_nodes(nodes, args, errp);
	if (r >= 0)
		r = open_filter(nodes, args, &filter, errp);
	if (r < 0)
		return r;
	r = backup_check_chunk(args, errp);
	if (r >= 0)
		r = create_job(t, args, nodes, filter, tx, ret, errp);
	if (r < 0)
		node_unref(filter);
	return r;
}

/* What is wrong with the bitmap, or else @error. */
static int refuse(const struct blockdev_backup *args, const struct backup_nodes *nodes,
		  struct error *error, int result, struct error **errp)
{
	struct bitmap *b;
	enum bitmap_sync_mode mode;
	int r = backup_select_bitmap(args, nodes->source, &b, &mode, errp);
	if (r >= 0)
		error_move(errp, error);
	else
		error_free(error);
	/* Clients of a job on the source hear of what was to come. */
	drain_idle(nodes->source->graph, nodes->source);
	return r >= 0 ? result : r;
}

int co_fn backup_open_to(struct job_table *t, const struct blockdev_backup *args,
			 struct node *target, struct job_tx *tx, struct backup **ret,
			 struct error **errp)
{
	struct backup_nodes nodes = {.target = target};
	int r = backup_select_nodes(t->graph, args, &nodes, errp);
	if (r < 0)
		return r;
	struct error *error = NULL;
	r = open_without_bitmap(t, args, &nodes, tx, ret, &error);
	/* Of several mistakes that of the bitmap is told, unless an earlier action may make it. */
	return r < 0 ? refuse(args, &nodes, error, r, errp) : 0;
}

int co_fn backup_open(struct job_table *t, const struct blockdev_backup *args, struct job_tx *tx,
		      struct backup **ret, struct error **errp)
{
	return backup_open_to(t, args, NULL, tx, ret, errp);
}

struct node *backup_source(struct backup *b)
{
	return b->source;
}

/* The bitmap stands still from now on, and says what to copy. */
static int take_bitmap(struct backup *b, struct error **errp)
{
	struct bitmap *bitmap;
	int r = backup_select_bitmap(b->args, b->source, &bitmap, &b->bitmap_mode, errp);
	if (r < 0 || !bitmap)
		return r;
	/* One that cannot be written stands still anyway, and its mode is to leave it alone. */
	r = bitmap->read_only ? 0 : bitmap_freeze(bitmap, errp);
	if (r < 0)
		return r;
	if (b->sync == MIRROR_SYNC_MODE_BITMAP)
		cbw_keep_only(b->cbw, bitmap->bits);
	b->bitmap = bitmap->read_only ? NULL : bitmap;
	return 0;
}

static int link_all(struct backup *b, struct graph_tx *tx, struct error **errp)
{
	struct copy_job *c = &b->common;
	int r = 0;
	if (b->backing)
		r = graph_tx_attach_node(tx, b->target, "backing", b->backing, EDGE_COW, NULL, errp);
	if (r >= 0)
		r = copy_job_attach(c, tx, "main node", c->filter, 0, PERM_ALL, NULL, errp);
	if (r >= 0)
		r = copy_job_attach(c, tx, "target", b->target, 0, PERM_ALL, &c->target, errp);
	/* An earlier action may have put something above the source: users come from there. */
	if (r >= 0)
		r = graph_tx_replace_node(tx, c->filter->file->child, c->filter, errp);
	return r;
}

/*
 * What may have changed since the backup was opened: an earlier action of the transaction
 * may use the nodes, a resize that was under way may have ended, and while an image was made
 * others may have changed the graph.
 */
static int check_again(struct backup *b, struct error **errp)
{
	int r = blocker_check(b->source, BLOCK_OP_BACKUP_SOURCE, errp);
	if (r >= 0)
		r = blocker_check(b->target, BLOCK_OP_BACKUP_TARGET, errp);
	if (r >= 0 && b->sync == MIRROR_SYNC_MODE_TOP)
		r = copy_job_check_base(node_skip_filters(b->source), errp);
	if (r < 0)
		return r;
	/* The image of drive-backup names another one. */
	if (b->backing && b->sync == MIRROR_SYNC_MODE_TOP &&
	    node_skip_filters(node_backing(b->source)) != node_skip_filters(b->backing))
		return error_set(errp, -EBUSY, "The backing file of node '%s' has been changed "
				 "meanwhile", b->source->name);
	uint64_t bytes = dirty_bitmap_size(cbw_left(b->cbw));
	if (b->source->size != bytes || b->target->size != bytes)
		return error_set(errp, -EINVAL, "Source and target image have different sizes");
	return 0;
}

int co_fn backup_enter(struct backup *b, struct graph_tx *tx, struct error **errp)
{
	int r = check_again(b, errp);
	if (r >= 0)
		r = take_bitmap(b, errp);
	if (r >= 0) {
		b->common.is_in_graph = true;
		job_block(&b->common.job, b->common.filter, 0);
		job_block(&b->common.job, b->target, 0);
		r = link_all(b, tx, errp);
	}
	if (r >= 0)
		r = job_announce(&b->common.job, errp);
	if (r < 0)
		backup_leave(b, true);
	return r;
}

static void broken(void *arg)
{
	struct backup *b = arg;
	b->common.failure = cbw_error(b->cbw);
	job_hasten(&b->common.job);
}

void backup_start(struct backup *b)
{
	struct job *j = &b->common.job;
	cbw_watch(b->cbw, broken, b);
	struct node *top = node_skip_filters(b->source);
	if (b->sync == MIRROR_SYNC_MODE_TOP && top->backing) {
		b->base = top->backing->child;
		copy_job_freeze(&b->common, top, b->base);
	}
	copy_job_update_left(&b->common);
	b->args = NULL;
	free(TAKE(b->own_args));
	image_keep(j->table->graph, TAKE(b->made));
	job_start(j);
}

/* --- Out of the graph ----------------------------------------------------------------- */

/* The bitmap goes on with what is not in the backup, as its mode says. */
static void give_bitmap_back(struct backup *b, bool succeeded)
{
	bool is_synced = (b->bitmap_mode == BITMAP_SYNC_MODE_ALWAYS && !b->may_be_lost) ||
			 (b->bitmap_mode == BITMAP_SYNC_MODE_ON_SUCCESS && succeeded);
	struct dirty_bitmap *left = cbw_left(b->cbw);
	if (!b->bitmap)
		return;
	if (!is_synced) {
		bitmap_reclaim(b->bitmap);
		return;
	}
	bitmap_abdicate(b->bitmap);
	uint64_t offset = 0, bytes;
	while (!succeeded && dirty_bitmap_next_area(left, offset, UINT64_MAX, &offset, &bytes)) {
		dirty_bitmap_set(b->bitmap->bits, offset, bytes);
		offset += bytes;
	}
}

void backup_leave(struct backup *b, bool is_refused)
{
	b->is_refused = is_refused;
	if (!b->common.is_in_graph)
		return;
	b->common.is_in_graph = false;
	b->common.target = NULL;
	job_unblock_all(&b->common.job);
	/* It has not begun: there is nothing that the bitmap could have lost. */
	if (b->bitmap)
		bitmap_reclaim(b->bitmap);
}

void backup_announce(struct backup *b)
{
	struct job *j = &b->common.job;
	if (!b->is_refused && j->status == JOB_STATUS_UNDEFINED)
		job_announce(j, NULL);
}

void co_fn backup_close(struct backup *b)
{
	struct job *j = &b->common.job;
	drop_nodes(b);
	image_uncreate(j->table->graph, TAKE(b->made));
	free(b->own_args);
	if (b->is_refused)
		job_discard(j);
	else
		job_withdraw(j);
}

/* The bitmap may forget only what is durable in the target. */
static void co_fn flush_target(struct backup *b)
{
	if (edge_flush(b->common.target) < 0)
		b->may_be_lost = true;
}

/* Let the users reach the source again without the filter; they are drained. */
static void co_fn leave_graph(struct backup *b, bool succeeded, bool flushes)
{
	/* Users may have had more copied since the flush that they did not have to wait for. */
	if (flushes) {
		consumer_join(&b->common.job.consumer);
		flush_target(b);
		consumer_leave(&b->common.job.consumer);
	}
	give_bitmap_back(b, succeeded);
	copy_job_withdraw(&b->common, b->common.filter->file->child);
}

static void co_fn finish(struct job *j, bool succeeded)
{
	struct backup *b = backup_of(j);
	struct graph *g = j->table->graph;
	bool flushes = b->common.is_in_graph && b->bitmap_mode == BITMAP_SYNC_MODE_ALWAYS &&
		       !succeeded;
	if (flushes) {
		consumer_enter(&j->consumer);
		flush_target(b);
		consumer_leave(&j->consumer);
	}
	struct drain drain;
	cbw_watch(b->cbw, NULL, NULL);
	/* Users need not wait for a target that may not answer, and the end not for their copies. */
	if (!succeeded)
		cbw_give_up(b->cbw);
	copy_job_begin_withdrawal(&b->common, NULL, 0, &drain);
	leave_graph(b, succeeded, flushes);
	drain_end(&drain);
	drop_filter(b);
	graph_change_end(g);
	/* Closing a target may take long. */
	struct graph_apart apart;
	graph_change_begin_apart(g, &apart);
	drop_nodes(b);
	graph_change_end_apart(g, &apart);
	copy_job_end(&b->common);
}

/* --- The work ------------------------------------------------------------------------- */

/* With sync=top: what the images below show needs no copy. */
static int co_fn drop_unallocated(struct backup *b)
{
	struct copy_job *c = &b->common;
	uint64_t offset = 0, size = dirty_bitmap_size(c->bitmap);
	while (offset < size) {
		int r = copy_job_admit(c, 0);
		if (r < 0)
			return r;
		struct extent x;
		consumer_enter(&c->job.consumer);
		r = node_status_above(b->common.filter->file->child, b->base, offset, size - offset, &x,
				      NULL);
		consumer_leave(&c->job.consumer);
		if (r >= 0 && x.bytes == 0)
			r = -EIO; /* the source has become shorter */
		if (r < 0 && !copy_job_failed(c, true, r))
			return r;
		if (r < 0)
			continue;
		/* A user may have had a part copied already: clearing it again does no harm. */
		if (!(x.flags & EXTENT_ALLOCATED))
			dirty_bitmap_clear(c->bitmap, offset, x.bytes);
		copy_job_update_left(c);
		offset += x.bytes;
	}
	return 0;
}

/* Until no piece is left, of users neither. */
static int co_fn copy_all(struct backup *b)
{
	struct copy_job *c = &b->common;
	while (dirty_bitmap_count(c->bitmap) > 0 || copy_bytes_in_flight(c->copy) > 0) {
		int r = copy_dirty(c->copy, c->bitmap);
		if (r < 0)
			return r;
		copy_wait_range(c->copy, 0, dirty_bitmap_size(c->bitmap));
	}
	return 0;
}

/* With sync=none: users do the copying, until a client has enough. */
static int co_fn wait_for_end(struct backup *b)
{
	for (;;) {
		int r = copy_job_admit(&b->common, 0);
		if (r < 0)
			return r;
		job_wait(&b->common.job);
	}
}

static int co_fn run(struct job *j, struct error **errp)
{
	struct backup *b = backup_of(j);
	int r = copy_job_admit(&b->common, 0);
	if (r < 0)
		return r;
	if (b->sync == MIRROR_SYNC_MODE_NONE)
		return wait_for_end(b);
	if (b->sync == MIRROR_SYNC_MODE_TOP)
		r = drop_unallocated(b);
	if (r >= 0)
		r = copy_all(b);
	if (r >= 0)
		r = copy_job_flush(&b->common, errp);
	return r >= 0 ? copy_job_admit(&b->common, 0) : r;
}

const struct job_driver backup_driver = {
	.type = JOB_TYPE_BACKUP,
	.is_block = true,
	.size = sizeof(struct backup),
	.run = run,
	.finish = finish,
};
