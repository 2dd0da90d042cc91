/* SPDX-License-Identifier: MIT */
/*
 * The job of blockdev-create. It is one call, which cannot be paused or broken
 * off; a cancelled job ends when the image has been made, and fails nevertheless.
 */
#include "blockjobs/create.h"

#include "block/driver.h"
#include "block/graph.h"

struct create {
	struct job job;
	const struct driver *driver;
	struct blockdev_create_options *options;
};

static struct create *create_of(struct job *j)
{
	return container_of(j, struct create, job);
}

static int co_fn create_run(struct job *j, struct error **errp)
{
	struct create *c = create_of(j);
	struct graph *g = j->table->graph;
	/* A server is not part of the graph, and may not answer. */
	bool is_change = !c->driver->is_remote;
	job_progress_set_left(j, 1);
	if (is_change)
		graph_change_begin(g);
	int r = c->driver->create(g, c->options, errp);
	if (is_change)
		graph_change_end(g);
	job_progress_add(j, 1);
	return r;
}

static void co_fn create_finish(struct job *j, bool succeeded)
{
}

static void create_release(struct job *j)
{
	blockdev_create_options_free(create_of(j)->options);
}

static const struct job_driver create_driver = {
	.type = JOB_TYPE_CREATE,
	.size = sizeof(struct create),
	.run = create_run,
	.finish = create_finish,
	.release = create_release,
};

int co_fn create_start(struct job_table *t, const struct blockdev_create_args *args,
		       struct error **errp)
{
	const char *name = blockdev_driver_name(args->options->driver);
	const struct driver *driver = graph_load_driver(t->graph, name, errp);
	if (!driver)
		return -ENOENT;
	if (!driver->create)
		return error_set(errp, -ENOTSUP, "Driver does not support blockdev-create");

	const struct job_options options = {.id = args->job_id, .auto_finalize = true};
	struct job *j;
	int r = job_create(t, &create_driver, &options, &j, errp);
	if (r < 0)
		return r;
	create_of(j)->driver = driver;
	create_of(j)->options = schema_clone(&blockdev_create_options_type, args->options);
	job_start(j);
	return 0;
}
