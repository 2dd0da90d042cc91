/* SPDX-License-Identifier: MIT */
/*
 * Commands that open, change and close nodes. Control thread.
 */
#include "block/blocker.h"
#include "block/edge.h"
#include "block/graph.h"
#include "block/node.h"
#include "block/open.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

int co_fn qmp_blockdev_add(const struct blockdev_options *args, struct error **errp)
{
	struct node *n = NULL;

	if (!args->node_name)
		return error_set(errp, -EINVAL, "'node-name' must be specified for the root node");
	graph_change_begin(the_daemon.graph);
	int r = node_open(the_daemon.graph, args, &n, errp);
	if (r == 0)
		n->monitor_owned = true; /* takes over the reference */
	graph_change_end(the_daemon.graph);
	return r;
}

int co_fn qmp_blockdev_reopen(const struct blockdev_reopen_args *args, struct error **errp)
{
	const struct blockdev_options_list *options = &args->options;

	for (size_t i = 0; i < options->count; i++)
		if (!options->items[i]->node_name)
			return error_set(errp, -EINVAL, "node-name not specified");
	graph_change_begin(the_daemon.graph);
	int r = nodes_reopen(the_daemon.graph,
			     (const struct blockdev_options *const *)options->items,
			     (unsigned)options->count, errp);
	graph_change_end(the_daemon.graph);
	return r;
}

/* Whether blockdev-del may close @n. */
static int check_unused(struct node *n, struct error **errp)
{
	struct edge *e;

	int r = blocker_check(n, BLOCK_OP_DRIVE_DEL, errp);
	if (r < 0)
		return r;
	list_for_each(e, &n->parents, child_link)
		if (e->consumer)
			return error_set(errp, -EBUSY, "Node %s is in use", n->name);
	if (!n->monitor_owned)
		return error_set(errp, -EPERM, "Node %s is not owned by the monitor", n->name);
	if (n->references > 1)
		return error_set(errp, -EBUSY, "Block device %s is in use", n->name);
	return 0;
}

int co_fn qmp_blockdev_del(const struct blockdev_del_args *args, struct error **errp)
{
	int r;

	graph_change_begin(the_daemon.graph);
	struct node *n = node_find(the_daemon.graph, args->node_name);
	if (n)
		r = check_unused(n, errp);
	else
		r = error_set(errp, -ENODEV, "Failed to find node with node-name='%s'",
			      args->node_name);
	if (r == 0) {
		n->monitor_owned = false;
		node_unref(n);
	}
	graph_change_end(the_daemon.graph);
	return r;
}
