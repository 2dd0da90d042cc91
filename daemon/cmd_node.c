/* SPDX-License-Identifier: MIT */
/*
 * Commands that change one node or its image. Control thread.
 */
#include "block/blocker.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/open.h"
#include "block/change.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

static char *describe(const struct consumer *c)
{
	return xstrdup("command block_resize");
}

static const struct consumer_ops resize_ops = {.describe = describe};

/* Refuse it in the words for a device, which scripts know, and say why behind. */
static int check_resize(struct node *n, const char *device, struct error **errp)
{
	struct error *why _cleanup_error_ = NULL;
	int r = blocker_check(n, BLOCK_OP_RESIZE, &why);

	if (r < 0) {
		error_set(errp, r, "Device '%s' is in use", device ? device : n->name);
		error_detail(errp, "%s", why->message);
	}
	return r;
}

/*
 * Find the node of @args and use it by @c. With a size that storage has to take, it may be
 * long before the command lets go of the node again.
 */
static int co_fn attach(struct consumer *c, const struct block_resize_args *args,
			struct edge **ret, struct error **errp)
{
	const char *name = args->node_name ? args->node_name : "";
	struct node *n = node_find(the_daemon.graph, name);

	if (!n)
		return error_set(errp, -ENODEV, "Cannot find device='%s' nor node-name='%s'",
				 args->device ? args->device : "", name);
	if (args->size < 0)
		return error_set(errp, -EINVAL, "Parameter 'size' expects a >0 size");
	int r = check_resize(n, args->device, errp);
	return r < 0 ? r : edge_attach_consumer(c, "root", n, PERM_RESIZE, PERM_ALL, ret, errp);
}

int co_fn qmp_block_resize(const struct block_resize_args *args, struct error **errp)
{
	struct graph *g = the_daemon.graph;
	struct consumer c;
	struct edge *e;

	consumer_init(&c, g, &resize_ops);
	graph_change_begin(g);
	int r = attach(&c, args, &e, errp);
	graph_change_end(g);
	if (r == 0) {
		consumer_enter(&c);
		r = edge_truncate(e, (uint64_t)args->size, PREALLOCATION_OFF, errp);
		consumer_leave(&c);
		graph_change_begin(g);
		edge_detach(e);
		graph_change_end(g);
	}
	consumer_finish(&c);
	return r;
}

/* Users, not nodes, stand above the active image. */
static int check_root(const struct node *n, struct error **errp)
{
	struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		if (e->parent)
			return error_set(errp, -EINVAL, "Need a root block node");
	}
	return 0;
}

/* Find the image of change-backing-file below @top, and see whether both allow it. */
static int find_image(struct node *top, const struct change_backing_file_args *args,
		      struct node **ret, struct error **errp)
{
	int r = check_root(top, errp);
	if (r < 0)
		return r;
	struct node *n = node_find_named(the_daemon.graph, args->image_node_name, errp);
	if (!n)
		return -ENODEV;
	if (!node_backing(n))
		return error_set(errp, -EINVAL, "not allowing backing file change on an image "
				 "without a backing file");
	if (!node_chain_contains(top, n))
		return error_set(errp, -EINVAL, "'%s' and image file are not in the same chain",
				 args->device);
	if (!n->driver->change_backing)
		return error_set(errp, -ENOTSUP,
				 "Could not change backing file to '%s': Operation not supported",
				 args->backing_file);
	*ret = n;
	r = blocker_check(top, BLOCK_OP_CHANGE, errp);
	return r < 0 ? r : blocker_check(n, BLOCK_OP_BACKING_NAME, errp);
}

static int co_fn change_backing(struct node *n, const char *name, struct error **errp)
{
	bool was_read_only = n->read_only;
	int r = 0;

	if (was_read_only)
		r = node_set_read_only(n, false, errp);
	if (r < 0)
		return r;
	graph_change_is_certain(n->graph);
	/* The data below stay the same by the caller's word, so their format does, too. */
	r = node_change_backing(n, name, node_backing(n)->driver->name, errp);
	if (was_read_only) {
		int back = node_set_read_only(n, true, r < 0 ? NULL : errp);
		r = r < 0 ? r : back;
	}
	return r;
}

static int co_fn change_locked(void *arg, struct error **errp)
{
	const struct change_backing_file_args *args = arg;
	struct error *error = NULL;
	struct node *n = NULL;
	struct node *top = node_find_error(the_daemon.graph, args->device, errp);
	if (!top)
		return -ENODEV;
	int r = find_image(top, args, &n, &error);
	return r < 0 ? node_refuse_as_root(top, error, errp)
		     : change_backing(n, args->backing_file, errp);
}

int co_fn qmp_change_backing_file(const struct change_backing_file_args *args,
				  struct error **errp)
{
	return graph_change_around(the_daemon.graph, &(struct sound_target){
		.name = args->device,
		.flags = SOUND_STORAGE | SOUND_FLUSH,
	}, 1, change_locked, (void *)args, errp);
}

int co_fn qmp_block_set_write_threshold(const struct block_set_write_threshold_args *args,
					struct error **errp)
{
	struct node *n = node_find(the_daemon.graph, args->node_name);
	if (!n)
		return error_set(errp, -ENODEV, "Device '%s' not found", args->node_name);
	n->write_threshold = args->write_threshold;
	return 0;
}
