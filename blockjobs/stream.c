/* SPDX-License-Identifier: MIT */
/*
 * The stream job. Control thread.
 *
 * A copy-on-read filter above the image, `top`, stores what users read from the
 * layers that are to go; the job reads everything else in the same way. So a users'
 * write and the job's copy of the same clusters exclude each other in one place, the
 * image's list of requests.
 *
 * The order at the end keeps the chain on disk right whenever the daemon dies:
 *
 * 1. All that the layers down to `bottom` hold is in top, and durable.
 * 2. Only then does top's header name what is below bottom, or nothing. Until it
 *    does, it names a chain that shows the same.
 * 3. Only then do the layers in between leave the graph.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/change.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/open.h"
#include "blockjobs/copy_job.h"
#include "blockjobs/filter.h"
#include "blockjobs/stream_internal.h"

struct stream {
	struct copy_job common; /* source and target are one edge, to top */
	struct node *top;       /* referenced */
	struct node *bottom;    /* held by the frozen chain */
	char *backing_file;     /* what top shall say; NULL for the name of what is below */
	bool mask_protocol;
	bool was_read_only;
};

static struct stream *stream_of(struct job *j)
{
	return container_of(j, struct stream, common.job);
}

/* What stays below bottom; it may change while the job runs. */
static struct node *base_of(const struct stream *s)
{
	return node_chain_next(s->bottom);
}

/* --- Into the graph --------------------------------------------------------------- */

static int attach_all(struct stream *s, struct graph_tx *tx, struct error **errp)
{
	bool copies = s->bottom != s->top;
	int r = copy_job_attach(&s->common, tx, "active node", s->top,
				copies ? PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED : 0,
				PERM_ALL & ~(unsigned)PERM_RESIZE, &s->common.source, errp);
	s->common.target = s->common.source;
	for (struct node *n = s->top; r >= 0 && n != s->bottom;) {
		n = node_chain_next(n);
		r = copy_job_attach(&s->common, tx, "intermediate node", n, 0,
				    PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED, NULL, errp);
	}
	return r;
}

/* And put the filter between top and all that use it. */
static int link_all(struct copy_job *c, struct graph_tx *tx, void *arg, struct error **errp)
{
	struct stream *s = arg;
	int r = attach_all(s, tx, errp);
	if (r >= 0)
		r = graph_tx_attach_node(tx, c->filter, "file", s->top,
					 EDGE_FILTERED | EDGE_PRIMARY, NULL, errp);
	return r < 0 ? r : graph_tx_replace_node(tx, s->top, c->filter, errp);
}

static int co_fn open_filter(struct stream *s, const char *name, struct error **errp)
{
	const struct driver *d = graph_find_driver(s->top->graph, "copy-on-read");
	struct node *n;
	int r = node_open_internal(s->top->graph, d, name, false, s->bottom, &n, errp);
	if (r < 0)
		return r;
	n->implicit = !name;
	n->size = s->top->size;
	/* Whether discarding has an effect is for the image to say. */
	n->discard_unmap = true;
	s->common.filter = n;
	return 0;
}

static void block_all(struct stream *s)
{
	struct job *j = &s->common.job;
	/* Users may leave the filter: the job reads the image itself, and nothing is lost by that. */
	job_block_as(j, s->common.filter, BLOCK_OP_LEAVE, BLOCKER_IS_USER);
	/* What top says of its backing file counts until the job says it, and where it fails. */
	struct node *n = s->top;
	job_block(j, n, BLOCK_OP_BACKING_NAME);
	while (n != s->bottom) {
		n = node_chain_next(n);
		job_block(j, n, BLOCK_OP_BACKING_NAME);
	}
}

/* All that comes before job_start(). */
static int co_fn set_up(struct stream *s, const struct block_stream_args *args,
			struct error **errp)
{
	int r = open_filter(s, args->filter_node_name, errp);
	if (r < 0)
		return r;
	s->was_read_only = s->top->read_only;
	r = node_set_read_only(s->top, false, errp);
	if (r >= 0)
		r = copy_job_enter(&s->common, s->top, link_all, s, errp);
	if (r < 0) {
		node_set_read_only(s->top, s->was_read_only, NULL);
		node_unref(TAKE(s->common.filter));
		return r;
	}
	node_ref(s->top);
	copy_job_freeze(&s->common, s->common.filter, s->bottom);
	block_all(s);
	copy_job_begin(&s->common);
	s->common.first_piece = COPY_JOB_FIRST_PIECE;
	return 0;
}

struct start {
	struct job_table *table;
	const struct block_stream_args *args;
};

static int co_fn start_locked(void *arg, struct error **errp)
{
	const struct start *start = arg;
	struct job_table *t = start->table;
	const struct block_stream_args *args = start->args;
	struct stream_chain chain;
	int r = stream_select(t->graph, args, &chain, errp);
	if (r < 0)
		return r;
	r = filter_check_name(t->graph, args->filter_node_name, errp);
	if (r < 0) {
		error_prefix(errp, "Could not create node: ");
		return r;
	}
	const struct job_options options = {
		.id = args->job_id,
		.speed = args->speed,
		.auto_finalize = args->auto_finalize,
		.auto_dismiss = args->auto_dismiss,
	};
	struct job *j;
	r = job_create(t, &stream_driver, &options, &j, errp);
	if (r < 0)
		return r;
	struct stream *s = stream_of(j);
	s->top = chain.top;
	s->bottom = chain.bottom;
	s->common.on_source_error = s->common.on_target_error = args->on_error;
	s->common.leaves_out = true;
	s->backing_file = xstrdup(args->backing_file);
	s->mask_protocol = args->backing_mask_protocol;
	r = set_up(s, args, errp);
	if (r < 0)
		job_discard(j);
	else
		job_start(j);
	return r;
}

int co_fn stream_start(struct job_table *t, const struct block_stream_args *args,
		       struct error **errp)
{
	return graph_change_around(t->graph, &(struct sound_target){.name = args->device}, 1,
				   start_locked, &(struct start){t, args}, errp);
}

/* --- The work --------------------------------------------------------------------- */

static int co_fn run(struct job *j, struct error **errp)
{
	struct stream *s = stream_of(j);
	if (s->bottom != s->top)
		job_progress_set_left(j, s->top->size);
	int r = job_pause_point(j);
	if (r < 0 || s->bottom == s->top)
		return r;
	r = copy_up(s->common.copy, s->bottom, s->top->size);
	return r >= 0 ? s->common.left_out : r;
}

/* --- Out of the graph -------------------------------------------------------------- */

/* Let top's backing link lead to base; without one, remove it. */
static int drop_layers(struct copy_job *c, struct graph_tx *tx, void *arg, struct error **errp)
{
	struct stream *s = arg;
	struct node *base = base_of(s);
	if (s->bottom == s->top)
		return 0;
	if (base)
		return graph_tx_retarget(tx, s->top->backing, base, errp);
	graph_tx_detach(tx, s->top->backing);
	return 0;
}

/*
 * Where nobody has the change lock, name base before it is taken, with the users held so that
 * they are not waited for with it. *ret_is_named: it is to be taken at once, and @ret_held ended.
 */
static int co_fn name_base_ahead(struct stream *s, bool *ret_is_named, struct drain *ret_held,
				 struct error **errp)
{
	struct job *j = &s->common.job;
	int r = 0;
	*ret_is_named = false;
	if (graph_is_changing(j->table->graph) || !s->top->backing || s->top->read_only)
		return 0;
	copy_job_hold_users(&s->common, s->top, ret_held);
	consumer_enter(&j->consumer);
	/* Meanwhile it may have become read-only. */
	if (!s->top->read_only)
		r = copy_job_rename_ahead(&s->top, 1, base_of(s), s->backing_file,
					  s->mask_protocol, ret_is_named, errp);
	consumer_leave(&j->consumer);
	if (!*ret_is_named)
		drain_end(ret_held);
	return r;
}

/* With the users drained. */
static int co_fn leave(struct stream *s, bool is_named, struct error **errp)
{
	int r = 0;
	if (is_named)
		node_note_backing(s->top);
	else if (s->top->backing)
		r = copy_job_rename_backing(s->top, base_of(s), s->backing_file, s->mask_protocol,
					    errp);
	return r < 0 ? r : copy_job_leave(&s->common, s->top, drop_layers, s, errp);
}

/* @held: where base is named, the drain that holds the users. */
static int co_fn prepare_locked(struct stream *s, struct drain *held, struct error **errp)
{
	struct graph *g = s->common.job.table->graph;
	struct drain drain;
	/* Not only those above the filter: somebody may have come to the image itself since. */
	int r = drain_begin_patiently(g, &s->top, 1, &drain, errp);
	if (r < 0)
		return r;
	graph_change_is_certain(g);
	/* Until nothing is drained any more. */
	struct node *layers = s->bottom != s->top ? node_ref(s->top->backing->child) : NULL;
	r = leave(s, held != NULL, errp);
	drain_end(&drain);
	if (held)
		drain_end(held);
	if (r >= 0)
		copy_job_drop_filter(&s->common);
	node_unref_apart(layers);
	return r;
}

static int co_fn prepare(struct job *j, struct error **errp)
{
	struct stream *s = stream_of(j);
	struct graph *g = j->table->graph;
	struct error *error = NULL;
	s->common.finishing = true;
	int r = s->top->backing ? copy_job_flush(&s->common, errp) : 0;
	if (r < 0)
		return r;
	for (unsigned tries = 0;; tries++) {
		struct drain held;
		bool is_named;
		copy_job_sound(&s->common, s->top, s->top->backing ? SOUND_STORAGE : 0);
		r = name_base_ahead(s, &is_named, &held, errp);
		if (r < 0)
			return r;
		graph_change_begin_patiently(g, tries);
		if (is_named)
			graph_change_is_certain(g);
		r = prepare_locked(s, is_named ? &held : NULL, &error);
		graph_change_end(g);
		if (r != -ERESTART)
			return r < 0 ? error_move(errp, error) : r;
		error_free(TAKE(error));
	}
}

static void co_fn finish(struct job *j, bool succeeded)
{
	struct stream *s = stream_of(j);
	struct graph *g = j->table->graph;
	struct drain drain;
	copy_job_begin_withdrawal(&s->common, s->top, s->was_read_only ? SOUND_STORAGE : 0, &drain);
	if (s->common.is_in_graph)
		copy_job_withdraw(&s->common, s->top);
	drain_end(&drain);
	node_unref(TAKE(s->common.filter));
	if (s->was_read_only)
		node_set_read_only(s->top, true, NULL);
	node_unref_apart(TAKE(s->top));
	graph_change_end(g);
	copy_job_end(&s->common);
}

static void release(struct job *j)
{
	free(stream_of(j)->backing_file);
}

const struct job_driver stream_driver = {
	.type = JOB_TYPE_STREAM,
	.is_block = true,
	.size = sizeof(struct stream),
	.run = run,
	.prepare = prepare,
	.finish = finish,
	.release = release,
};
