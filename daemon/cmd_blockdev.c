/* SPDX-License-Identifier: MIT */
/*
 * Commands that open, change and close nodes. Control thread.
 */
#include <string.h>

#include "base/cleanup.h"
#include "block/active.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "block/edge.h"
#include "block/graph.h"
#include "block/node.h"
#include "block/open.h"
#include "block/change.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

int co_fn qmp_blockdev_add(const struct blockdev_options *args, struct error **errp)
{
	struct graph_apart apart;
	struct node *n = NULL;

	if (!args->node_name)
		return error_set(errp, -EINVAL, "'node-name' must be specified for the root node");
	graph_change_begin_apart(the_daemon.graph, &apart);
	node_announce_use(the_daemon.graph, args);
	int r = node_open(the_daemon.graph, args, &n, errp);
	if (r == 0)
		n->monitor_owned = true; /* takes over the reference */
	graph_change_end_apart(the_daemon.graph, &apart);
	return r;
}

static int co_fn reopen_locked(void *arg, struct error **errp)
{
	const struct blockdev_options_list *options = arg;
	return nodes_reopen(the_daemon.graph,
			    (const struct blockdev_options *const *)options->items,
			    (unsigned)options->count, errp);
}

int co_fn qmp_blockdev_reopen(const struct blockdev_reopen_args *args, struct error **errp)
{
	const struct blockdev_options_list *options = &args->options;

	for (size_t i = 0; i < options->count; i++)
		if (!options->items[i]->node_name)
			return error_set(errp, -EINVAL, "node-name not specified");
	struct sound_target *targets _cleanup_free_ =
		xalloc(MAX(options->count, 1), sizeof(targets[0]));
	for (size_t i = 0; i < options->count; i++)
		targets[i] = (struct sound_target){
			.name = options->items[i]->node_name,
			.flags = SOUND_FLUSH,
		};
	/* Storage that does not answer may be what the client wants to leave. */
	return graph_change_anyway(the_daemon.graph, targets, options->count, reopen_locked,
				   (void *)options, errp);
}

static int co_fn set_active_locked(void *arg, struct error **errp)
{
	const struct blockdev_set_active_args *args = arg;
	struct graph *g = the_daemon.graph;
	struct node *n = args->node_name ? node_find(g, args->node_name) : NULL;
	if (args->node_name && !n)
		return error_set(errp, -ENODEV, "Failed to find node with node-name='%s'",
				 args->node_name);
	return nodes_set_active(g, n, args->active, errp);
}

int co_fn qmp_blockdev_set_active(const struct blockdev_set_active_args *args, struct error **errp)
{
	struct graph *g = the_daemon.graph;
	struct sound_target *targets _cleanup_free_ = NULL;
	size_t count = 0;
	struct node *n;
	list_for_each (n, &g->nodes, link) {
		if (!node_is_listed(n) || (args->node_name && strcmp(n->name, args->node_name) != 0))
			continue;
		targets = xrealloc(targets, count + 1, sizeof(targets[0]));
		targets[count++] = (struct sound_target){
			.node = n,
			.flags = SOUND_FLUSH | SOUND_STORAGE,
		};
	}
	/* Storage is flushed as it is given away, and looked at when it comes back. */
	return graph_change_around(g, targets, count, set_active_locked, (void *)args, errp);
}

/*
 * A user of @n; with @is_first, only one that moves along when the graph changes, as an export, or
 * a job that writes there: the others are told of by their blockers.
 */
static bool has_user(struct node *n, bool is_first)
{
	const struct edge *e;
	list_for_each(e, &n->parents, child_link)
		if (e->consumer && !(is_first && e->stays && !(e->permissions & PERM_WRITE)))
			return true;
	/* Some come in by the filter of a job. */
	list_for_each(e, &node_entrance(n)->parents, child_link)
		if (e->consumer && e->shows_below && edge_shown_child(e) == n)
			return true;
	return false;
}

/* Whether blockdev-del may close @n. */
static int check_unused(struct node *n, struct error **errp)
{
	if (has_user(n, true) || node_is_blocked_as(n, BLOCKER_IS_USER))
		return error_set(errp, -EBUSY, "Node %s is in use", n->name);
	int r = blocker_check(n, BLOCK_OP_DRIVE_DEL, errp);
	if (r < 0)
		return r;
	if (has_user(n, false))
		return error_set(errp, -EBUSY, "Node %s is in use", n->name);
	if (!n->monitor_owned)
		return error_set(errp, -EPERM, "Node %s is not owned by the monitor", n->name);
	if (n->references > 1)
		return error_set(errp, -EBUSY, "Block device %s is in use", n->name);
	return 0;
}

int co_fn qmp_blockdev_del(const struct blockdev_del_args *args, struct error **errp)
{
	struct graph_apart apart;
	int r;

	graph_change_begin_apart(the_daemon.graph, &apart);
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
	graph_change_end_apart(the_daemon.graph, &apart);
	return r;
}

static int co_fn add_child(struct node *n, const char *name, struct error **errp)
{
	struct node *child = node_find(n->graph, name);
	if (!child)
		return error_set(errp, -ENODEV, "Node '%s' not found", name);
	if (!n->driver->add_child)
		return error_set(errp, -ENOTSUP, "The node %s does not support adding a child",
				 n->name);
	if (!list_is_empty(&child->parents))
		return error_set(errp, -EBUSY, "The node %s already has a parent", child->name);
	struct drain drain;
	int r = drain_begin_patiently(n->graph, (struct node *[]){n, child}, 2, &drain, errp);
	if (r < 0)
		return r;
	r = n->driver->add_child(n, child, errp);
	drain_end(&drain);
	return r;
}

static int co_fn remove_child(struct node *n, const char *name, struct error **errp)
{
	struct edge *e, *found = NULL;
	list_for_each (e, &n->children, parent_link) {
		if (strcmp(e->name, name) == 0)
			found = e;
	}
	if (!found)
		return error_set(errp, -ENOENT, "Node '%s' does not have child '%s'", n->name, name);
	if (!n->driver->remove_child)
		return error_set(errp, -ENOTSUP, "The node %s does not support removing a child",
				 n->name);
	if (found->frozen > 0)
		return error_set(errp, -EPERM, "Cannot change frozen '%s' link from '%s' to '%s'",
				 found->name, n->name, found->child->name);
	struct drain drain;
	int r = drain_begin_patiently(n->graph, &n, 1, &drain, errp);
	if (r < 0)
		return r;
	struct node *child = node_ref(found->child);
	r = n->driver->remove_child(n, found, errp);
	drain_end(&drain);
	node_unref_apart(child);
	return r;
}

static int co_fn change_locked(void *arg, struct error **errp)
{
	const struct x_blockdev_change_args *args = arg;
	struct node *n = node_find_error(the_daemon.graph, args->parent, errp);
	if (!n)
		return -ENODEV;
	if (!args->child == !args->node)
		return error_set(errp, -EINVAL,
				 args->child ? "The parameters child and node are in conflict"
					     : "Either child or node must be specified");
	return args->node ? add_child(n, args->node, errp) : remove_child(n, args->child, errp);
}

int co_fn qmp_x_blockdev_change(const struct x_blockdev_change_args *args, struct error **errp)
{
	/* Storage that does not answer may be what the client wants to remove. */
	const struct sound_target targets[] = {{.name = args->parent}, {.name = args->node}};
	return graph_change_anyway(the_daemon.graph, targets, ARRAY_SIZE(targets), change_locked,
				   (void *)args, errp);
}
