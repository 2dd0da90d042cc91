/* SPDX-License-Identifier: MIT */
/*
 * The mirror job: into the graph, the work, and out of it again. Control thread.
 *
 * The users stay above the filter, above the source, until the job ends. Its last
 * step, with the users drained and the target durable, either lets them go on with
 * the target or takes the filter away; what fails before leaves them where they were.
 */
#include <assert.h>

#include "base/cleanup.h"
#include "block/change.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/open.h"
#include "blockjobs/mirror_internal.h"

struct mirror {
	struct copy_job common; /* from source to target */
	struct sync sync;
	struct node *source, *target, *replaces; /* referenced */
	struct node *base; /* what lies above it is copied; held by a frozen link; NULL for all */
	enum mirror_sync_mode mode;
	bool target_is_zero;
	bool target_is_new;
	bool passes_on; /* what users write goes to both places, as soon as they come */
};

static struct mirror *mirror_of(const struct job *j)
{
	return container_of(j, struct mirror, common.job);
}

static struct mirror *mirror_of_sync(struct sync *s)
{
	return container_of(s, struct mirror, sync);
}

bool mirror_is_actively_synced(const struct job *j)
{
	return sync_is_active(&mirror_of(j)->sync);
}

/* --- The work --------------------------------------------------------------------- */

static int co_fn compare_top(struct mirror *m, uint64_t offset, uint64_t bytes,
			     struct sync_extent *ret)
{
	struct extent x;
	int r = node_status_above(m->source, m->base, offset, bytes, &x, NULL);
	if (r >= 0)
		*ret = (struct sync_extent){x.bytes, x.flags & EXTENT_ALLOCATED};
	return r;
}

/* Whether the target shows zeroes at @offset, for *bytes. What cannot be told is not zero. */
static bool co_fn target_shows_zeroes(const struct mirror *m, uint64_t offset, uint64_t *bytes)
{
	if (m->target_is_zero)
		return true;
	struct extent x;
	/* Where its backing file is left away, only what it holds itself goes on showing. */
	bool lacks_backing = node_skip_filters(m->target)->backing_name && !node_backing(m->target);
	int r = lacks_backing ? node_status_above(m->target, NULL, offset, *bytes, &x, NULL)
			      : node_status(m->target, offset, *bytes, &x);
	if (r < 0 || x.bytes == 0)
		return false;
	*bytes = x.bytes;
	return x.flags & EXTENT_ZERO && (!lacks_backing || x.flags & EXTENT_ALLOCATED);
}

/* Zeroes are written only over what is not zero; what the target's backing file shows counts. */
static int co_fn compare_full(struct mirror *m, uint64_t offset, uint64_t bytes,
			      struct sync_extent *ret)
{
	struct extent x;
	int r = node_status(m->source, offset, bytes, &x);
	if (r < 0)
		return r;
	bool differs = !(x.flags & EXTENT_ZERO) || !target_shows_zeroes(m, offset, &x.bytes);
	*ret = (struct sync_extent){x.bytes, differs};
	return 0;
}

static int co_fn compare(struct sync *s, uint64_t offset, uint64_t bytes, struct sync_extent *ret)
{
	struct mirror *m = mirror_of_sync(s);
	return m->base ? compare_top(m, offset, bytes, ret) : compare_full(m, offset, bytes, ret);
}

static int co_fn run(struct job *j, struct error **errp)
{
	struct mirror *m = mirror_of(j);
	if (m->source->size != m->target->size)
		return error_set(errp, -EINVAL, "Source and target image have different sizes");
	/* What is equal from the start is work done when all was to be copied. */
	bool counts_rest = m->mode == MIRROR_SYNC_MODE_FULL && !m->target_is_new;
	if (counts_rest)
		job_progress_set_left(j, m->source->size);
	int r = job_pause_point(j);
	if (r >= 0 && m->mode != MIRROR_SYNC_MODE_NONE)
		r = sync_find(&m->sync, m->source->size, compare, counts_rest);
	return r >= 0 ? sync_run(&m->sync, errp) : r;
}

static int change(struct job *j, const struct block_job_change_options *options,
		  struct error **errp)
{
	struct mirror *m = mirror_of(j);
	bool is_active = m->passes_on || m->sync.tracker.second;
	if (options->u.mirror.copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING) {
		m->passes_on = true;
		/* While the job is being set up there are no users yet. */
		if (m->common.copy)
			sync_pass_on(&m->sync);
	} else if (is_active) {
		return error_set(errp, -ENOTSUP, "The copy mode of job '%s' cannot go back to '%s'",
				 j->id, mirror_copy_mode_name(options->u.mirror.copy_mode));
	}
	job_kick(j);
	return 0;
}

/* --- Into the graph ----------------------------------------------------------------- */

struct link {
	struct mirror *mirror;
	struct node *backing; /* what the target gets for its backing file; NULL for nothing */
};

static int link_all(struct copy_job *c, struct graph_tx *tx, void *arg, struct error **errp)
{
	const struct link *l = arg;
	struct mirror *m = l->mirror;
	bool is_aligned_size = is_aligned(m->target->size, m->target->limits.request_alignment);
	int r = copy_job_attach(c, tx, "source", m->source, PERM_CONSISTENT_READ,
				PERM_ALL & ~(unsigned)PERM_RESIZE, &c->source, errp);
	if (r >= 0)
		r = copy_job_attach(c, tx, "target", m->target,
				    PERM_WRITE | (is_aligned_size ? 0 : PERM_RESIZE),
				    PERM_WRITE_UNCHANGED, &c->target, errp);
	m->sync.tracker.place = c->target;
	if (r >= 0)
		r = filter_insert(tx, c->filter, m->source, errp);
	/* Behind the filter, which would take its place otherwise. */
	if (r >= 0 && l->backing)
		r = graph_tx_attach_node(tx, m->target, "backing", l->backing, EDGE_COW, NULL,
					 errp);
	return r;
}

/*
 * The bytes of the target's clusters, where writing a part of one would hide what its
 * backing file, which it is to get later, shows in the rest; 0 elsewhere.
 */
static uint64_t co_fn filled_up_cluster(const struct mirror *m, const struct node *backing)
{
	struct driver_info info;
	if (!m->base || backing || node_backing(m->target) ||
	    node_driver_info(m->target, &info) < 0 || !is_power_of_2(info.cluster_size))
		return 0;
	return info.cluster_size;
}

/* All that comes before job_start(). */
static int co_fn set_up(struct mirror *m, const struct blockdev_mirror_args *args,
			struct node *backing, struct error **errp)
{
	struct copy_job *c = &m->common;
	int r = sync_init(&m->sync, c, m->source, args->granularity, errp);
	if (r >= 0)
		r = filter_open(&mirror_top_driver, args->filter_node_name, m->source,
				&m->sync.tracker, &m->common.filter, errp);
	if (r < 0)
		return r;
	struct link l = {m, backing};
	m->sync.tracker.cluster = filled_up_cluster(m, backing);
	r = copy_job_enter(c, m->source, link_all, &l, errp);
	if (r < 0) {
		node_unref(TAKE(m->common.filter));
		return r;
	}
	c->users = m->common.filter;
	/* Their writes go to the target, too, and ask what it holds. */
	c->job.consumer.joined_from = m->common.filter;
	if (m->base)
		copy_job_freeze(c, m->source, m->base);
	job_block(&c->job, m->common.filter, 0);
	job_block(&c->job, m->source, 0);
	job_block(&c->job, m->target, 0);
	copy_job_begin(c);
	if (m->passes_on) {
		sync_pass_on(&m->sync);
		c->shown.is_recording = false;
	}
	return 0;
}

static const struct job_driver mirror_driver;

static void configure(struct mirror *m, const struct blockdev_mirror_args *args,
		      const struct mirror_nodes *nodes, const struct mirror_image *image)
{
	m->source = node_ref(nodes->source);
	m->target = node_ref(nodes->target);
	m->replaces = node_ref(nodes->replaces);
	m->mode = args->sync;
	if (m->mode == MIRROR_SYNC_MODE_TOP)
		m->base = node_backing(m->source);
	m->target_is_new = image && image->is_new;
	m->target_is_zero = args->target_is_zero;
	m->passes_on = args->copy_mode == MIRROR_COPY_MODE_WRITE_BLOCKING;
	m->common.allocates_zeroes = image && image->allocates_zeroes;
	m->common.buffer_limit = (uint64_t)args->buf_size;
	m->common.on_source_error = args->on_source_error;
	m->common.on_target_error = args->on_target_error;
}

static void co_fn drop_nodes(struct mirror *m)
{
	node_unref(TAKE(m->common.filter));
	node_unref(TAKE(m->replaces));
	node_unref(TAKE(m->source));
	node_unref(TAKE(m->target));
}

int co_fn mirror_start_locked(struct job_table *t, const struct blockdev_mirror_args *args,
			      const struct mirror_image *image, struct error **errp)
{
	struct mirror_nodes nodes;
	int r = mirror_select(t->graph, args, &nodes, errp);
	if (r >= 0 && args->sync == MIRROR_SYNC_MODE_TOP)
		r = copy_job_check_base(nodes.source, errp);
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
	r = job_create(t, &mirror_driver, &options, &j, errp);
	if (r < 0)
		return r;
	struct mirror *m = mirror_of(j);
	configure(m, args, &nodes, image);
	r = set_up(m, args, image ? image->backing : NULL, errp);
	if (r >= 0) {
		job_start(j);
		return 0;
	}
	drop_nodes(m);
	job_discard(j);
	return r;
}

struct start {
	struct job_table *table;
	const struct blockdev_mirror_args *args;
};

static int co_fn start_locked(void *arg, struct error **errp)
{
	const struct start *s = arg;
	return mirror_start_locked(s->table, s->args, NULL, errp);
}

int co_fn mirror_start(struct job_table *t, const struct blockdev_mirror_args *args,
		       struct error **errp)
{
	const struct sound_target targets[] = {{.name = args->device}, {.name = args->target}};
	return graph_change_around(t->graph, targets, ARRAY_SIZE(targets), start_locked,
				   &(struct start){t, args}, errp);
}

/* --- Out of the graph ------------------------------------------------------------------ */

/* Let those of m->replaces go on with @arg. */
static int replace_others(struct copy_job *c, struct graph_tx *tx, void *arg, struct error **errp)
{
	struct mirror *m = container_of(c, struct mirror, common);
	struct node *heir = arg;
	if (!mirror_can_replace(m->source, m->replaces))
		return error_set(errp, -EINVAL, "Node '%s' does not show the same as '%s' any more",
				 m->replaces->name, m->source->name);
	return graph_tx_replace_node(tx, m->replaces, heir, errp);
}

/*
 * Give the source its users back. @heir NULL leaves the users there. The caller holds the
 * change lock; users of the filter are drained. -ERESTART when others cannot be for now.
 */
static int co_fn leave_graph(struct mirror *m, struct node *heir, struct error **errp)
{
	/* Some may use the source, or what is replaced, directly. */
	struct node *const nodes[] = {m->source, m->replaces};
	struct drain drain;
	int r = drain_begin_patiently(m->common.job.table->graph, nodes, 2, &drain, errp);
	if (r < 0)
		return r;
	r = copy_job_leave(&m->common, m->source, heir ? replace_others : NULL, heir, errp);
	drain_end(&drain);
	return r;
}

static int co_fn pivot(struct sync *s, struct error **errp)
{
	struct mirror *m = mirror_of_sync(s);
	int r = leave_graph(m, m->target, errp);
	/* Users that had only been reading shall not be able to write now. */
	if (r >= 0 && m->source->read_only)
		node_set_read_only(m->target, true, NULL);
	return r;
}

static int co_fn part(struct sync *s, struct error **errp)
{
	return leave_graph(mirror_of_sync(s), NULL, errp);
}

static int co_fn prepare(struct job *j, struct error **errp)
{
	struct mirror *m = mirror_of(j);
	return sync_end(&m->sync, m->common.filter, j->completing ? pivot : part, errp);
}

static void co_fn finish(struct job *j, bool succeeded)
{
	struct mirror *m = mirror_of(j);
	struct graph *g = j->table->graph;
	struct graph_apart apart;
	struct drain drain;
	copy_job_begin_withdrawal(&m->common, NULL, 0, &drain);
	if (m->common.is_in_graph)
		copy_job_withdraw(&m->common, m->source);
	drain_end(&drain);
	node_unref(TAKE(m->common.filter));
	graph_change_end(g);
	/* Closing a target may take long. */
	graph_change_begin_apart(g, &apart);
	drop_nodes(m);
	graph_change_end_apart(g, &apart);
	copy_job_end(&m->common);
}

static void release(struct job *j)
{
	sync_finish(&mirror_of(j)->sync);
}

static const struct job_driver mirror_driver = {
	.type = JOB_TYPE_MIRROR,
	.is_block = true,
	.knows_ready = true,
	.size = sizeof(struct mirror),
	.run = run,
	.prepare = prepare,
	.finish = finish,
	.change = change,
	.release = release,
};
