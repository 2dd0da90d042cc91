/* SPDX-License-Identifier: MIT */
/*
 * The job of x-blockdev-amend. It is one call, which cannot be paused or broken
 * off; a cancelled job ends when the image has been changed, and fails nevertheless.
 *
 * The image's tables move while its driver is at it. So the job lets nobody else have
 * any part in the node, unless nothing is to change.
 */
#include "blockjobs/amend.h"

#include "block/driver.h"
#include "block/graph.h"
#include "block/node.h"

struct amend {
	struct job job;
	struct edge *edge; /* NULL: nothing is to change */
	struct blockdev_create_options options;
};

static struct amend *amend_of(struct job *j)
{
	return container_of(j, struct amend, job);
}

static int co_fn amend_run(struct job *j, struct error **errp)
{
	struct amend *a = amend_of(j);
	int r = 0;

	job_progress_set_left(j, 1);
	if (a->edge) {
		struct node *n = a->edge->child;

		consumer_enter(&j->consumer);
		r = n->driver->amend(n, &a->options, errp);
		consumer_leave(&j->consumer);
	}
	job_progress_add(j, 1);
	return r;
}

static void co_fn amend_finish(struct job *j, bool succeeded)
{
	struct amend *a = amend_of(j);

	if (!a->edge)
		return;
	/* The edge may be the node's last. */
	job_unblock_all(j);
	graph_change_begin(j->table->graph);
	edge_detach(a->edge);
	graph_change_end(j->table->graph);
	a->edge = NULL;
}

static const struct job_driver amend_driver = {
	.type = JOB_TYPE_AMEND,
	.size = sizeof(struct amend),
	.run = amend_run,
	.finish = amend_finish,
};

/* The node to change. */
static int find(struct graph *g, const struct x_blockdev_amend_args *args, struct node **ret,
		struct error **errp)
{
	struct node *n = node_find_named(g, args->node_name, errp);

	if (!n)
		return -ENODEV;
	if (!string_equal(n->driver->name, blockdev_driver_name(args->options->driver)))
		return error_set(errp, -EINVAL,
				 "x-blockdev-amend doesn't support changing the block driver");
	if (!n->driver->amend)
		return error_set(errp, -ENOTSUP, "Driver does not support x-blockdev-amend");
	*ret = n;
	return 0;
}

/* As the driver is told; false when nothing is to change. */
static bool convert(const struct blockdev_amend_options *from, struct blockdev_create_options *to)
{
	const struct blockdev_amend_options_qcow2 *a = &from->u.qcow2;
	struct blockdev_create_options_qcow2 *o = &to->u.qcow2;

	to->driver = from->driver;
	if (from->driver != BLOCKDEV_DRIVER_QCOW2)
		return false;
	o->has_version = a->has_version;
	o->version = a->version;
	o->has_lazy_refcounts = a->has_lazy_refcounts;
	o->lazy_refcounts = a->lazy_refcounts;
	o->has_refcount_bits = a->has_refcount_bits;
	o->refcount_bits = a->refcount_bits;
	return a->has_version || a->has_lazy_refcounts || a->has_refcount_bits;
}

static int co_fn start_locked(struct job_table *t, const struct x_blockdev_amend_args *args,
			      struct error **errp)
{
	struct node *n = NULL;
	struct job *j;
	int r = find(t->graph, args, &n, errp);

	if (r < 0)
		return r;
	r = job_create(t, &amend_driver, &(struct job_options){.id = args->job_id,
							       .auto_finalize = true},
		       &j, errp);
	if (r < 0)
		return r;
	struct amend *a = amend_of(j);
	if (convert(args->options, &a->options))
		r = edge_attach_consumer(&j->consumer, "main node", n,
					 PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE, 0,
					 &a->edge, errp);
	if (r < 0) {
		job_discard(j);
		return r;
	}
	if (a->edge)
		job_block(j, n, 0);
	job_start(j);
	return 0;
}

int co_fn amend_start(struct job_table *t, const struct x_blockdev_amend_args *args,
		      struct error **errp)
{
	graph_change_begin(t->graph);
	int r = start_locked(t, args, errp);
	graph_change_end(t->graph);
	return r;
}
