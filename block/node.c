/* SPDX-License-Identifier: MIT */
/*
 * The life of a node: made, named, counted, closed. Control thread.
 */
#include "block/node.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/bitmap.h"
#include "block/consumer.h"
#include "block/drain.h"
#include "block/driver.h"
#include "block/edge.h"
#include "block/layers.h"
#include "block/node_internal.h"
#include "block/permission_update.h"
#include "block/text.h"
#include "block/walk.h"

/* Also one that is being opened. */
static struct node *find_registered(struct graph *g, const char *name)
{
	struct node *n;
	HASH_FIND(by_name, g->by_name, name, strlen(name), n);
	return n;
}

int node_check_name(struct graph *g, const char *name, struct error **errp)
{
	if (!text_is_identifier(name))
		return error_set(errp, -EINVAL, "Invalid node-name: '%s'", name);
	if (find_registered(g, name))
		return error_set(errp, -EEXIST, "Duplicate nodes with node-name='%s'", name);
	if (strlen(name) > NODE_NAME_MAX)
		return error_set(errp, -EINVAL, "Node name too long");
	return 0;
}

/* Whose the nodes are that the caller opens; NULL for everybody's. */
static struct graph_apart *own_party(const struct graph *g)
{
	const struct graph_apart *a = g->apart;
	return a && (a->owner == co_self() || a->has_helpers) ? a->party : NULL;
}

int node_create(struct graph *g, const struct driver *driver, const char *name, struct node **ret,
		struct error **errp)
{
	char *automatic _cleanup_free_ = NULL;
	if (name) {
		int r = node_check_name(g, name, errp);
		if (r < 0)
			return r;
	} else {
		automatic = xasprintf("#block%03" PRIu64, g->next_auto_name++);
		name = automatic;
	}

	struct node *n = NEW(struct node);
	strcpy(n->name, name);
	n->graph = g;
	n->loop = g->loop;
	n->driver = driver;
	n->state = xalloc(1, driver->state_size);
	n->references = 1;
	n->shared = PERM_ALL;
	n->active = true;
	n->limits.request_alignment = n->limits.memory_alignment = 1;
	list_init(&n->parents);
	list_init(&n->children);
	list_init(&n->requests);
	list_init(&n->bitmaps);
	list_init(&n->bitmap_views);
	list_init(&n->blockers);
	list_init(&n->unsettled_link);
	list_init(&n->opening_link);
	list_init(&n->closing_link);
	struct graph_apart *party = own_party(g);
	if (party) {
		n->opener = party;
		list_add_tail(&party->opening, &n->opening_link);
	}
	co_queue_init(&n->conflicts);
	co_mutex_init(&n->flush_lock);
	co_mutex_init(&n->resize_lock);
	list_add_tail(&g->nodes, &n->link);
	HASH_ADD(by_name, g->by_name, name[0], strlen(n->name), n);
	*ret = n;
	return 0;
}

/* Others may change the graph while a server is not heard from. */
static int co_fn open_remote(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	struct graph_apart *apart = graph_apart_leave(n->graph);
	int r = n->driver->open(n, options, arg, errp);
	graph_apart_return(n->graph, apart);
	return r;
}

/* Whether @c, which is being closed, may yet write to the storage of @n. */
static bool is_closing_on(struct node *c, const struct node *n)
{
	struct node_array below _cleanup_node_array_;
	walk_below(n->graph, &c, 1, &below);
	for (size_t i = 0; i < below.count; i++) {
		const struct node *b = below.items[i];
		if (b != n && b->driver == n->driver && string_equal(b->filename, n->filename))
			return true;
	}
	return false;
}

static bool has_predecessor(const struct node *n)
{
	struct node *c;
	list_for_each (c, &n->graph->closing, closing_link) {
		if (is_closing_on(c, n))
			return true;
	}
	return false;
}

/*
 * Storage behind a network has no locks that keep @n from being read before a node that is
 * closed without the lock for changes has written what it has left.
 */
static int co_fn wait_for_predecessors(struct node *n, struct error **errp)
{
	struct graph *g = n->graph;
	while (has_predecessor(n)) {
		struct graph_apart *apart = graph_apart_leave(g);
		/* Closing ends with the lock that the caller does not let go of. */
		if (!apart)
			return error_set(errp, -EBUSY, "'%s' is still being closed", n->filename);
		co_queue_wait(&g->worked);
		graph_apart_return(g, apart);
	}
	return 0;
}

int co_fn node_start(struct node *n, const struct blockdev_options *options, void *arg,
		     struct error **errp)
{
	int r = n->driver->is_remote ? open_remote(n, options, arg, errp)
				     : n->driver->open(n, options, arg, errp);
	if (r < 0)
		return r;
	n->is_open = true;
	/* The list is in the order in which nodes became usable: children first. */
	list_del_init(&n->link);
	list_add_tail(&n->graph->nodes, &n->link);
	nodes_refresh(n->graph, &n, 1);
	return n->driver->is_remote ? wait_for_predecessors(n, errp) : 0;
}

int co_fn node_open_internal(struct graph *g, const struct driver *driver, const char *name,
			     bool read_only, void *arg, struct node **ret, struct error **errp)
{
	struct node *n;
	int r = node_create(g, driver, name, &n, errp);
	if (r < 0)
		return r;
	n->read_only = read_only;
	r = node_start(n, NULL, arg, errp);
	if (r < 0) {
		node_unref(n);
		return r;
	}
	*ret = n;
	return 0;
}

struct node *node_find(struct graph *g, const char *name)
{
	struct node *n = find_registered(g, name);
	if (!n || !n->is_open)
		return NULL;
	return n->opener && n->opener != own_party(g) ? NULL : n;
}

struct node *node_find_error(struct graph *g, const char *name, struct error **errp)
{
	struct node *n = node_find(g, name);
	if (!n)
		error_set(errp, -ENODEV, "Cannot find device='%s' nor node-name='%s'", name, name);
	return n;
}

struct node *node_find_named(struct graph *g, const char *name, struct error **errp)
{
	struct node *n = node_find(g, name);
	if (!n)
		error_set(errp, -ENODEV, "Cannot find device='' nor node-name='%s'", name);
	return n;
}

struct node *node_ref(struct node *n)
{
	assert(n->references > 0);
	n->references++;
	return n;
}

/* Nobody shall find a node that is about to close. */
static void unregister(struct node *n, struct list *doomed)
{
	HASH_DELETE(by_name, n->graph->by_name, n);
	list_del_init(&n->link);
	list_add_tail(doomed, &n->link);
	list_add_tail(&n->graph->closing, &n->closing_link);
	list_del_init(&n->opening_link);
	list_del_init(&n->unsettled_link);
	drain_forget_node(n);
	struct node *heir;
	list_for_each (heir, &n->graph->nodes, link) {
		if (heir->inherits_from == n)
			heir->inherits_from = NULL;
	}
}

/* Whoever loses a parent and lives on needs less than before. */
static void relax(struct node *n)
{
	struct permission_update *u;
	if (permission_update_prepare(n->graph, &n, 1, &u, NULL) >= 0)
		permission_update_commit(u);
}

static void drop_children(struct node *n, struct list *doomed)
{
	struct edge *e, *following;
	list_for_each_safe (e, following, &n->children, parent_link) {
		struct node *child = e->child;
		edge_unlink(e);
		edge_free(e);
		if (--child->references == 0)
			unregister(child, doomed);
		else
			relax(child);
	}
}

static void node_free(struct node *n)
{
	assert(list_is_empty(&n->parents) && list_is_empty(&n->children));
	assert(list_is_empty(&n->requests) && list_is_empty(&n->blockers));
	list_del_init(&n->closing_link);
	co_queue_wake_all(&n->graph->worked);
	bitmap_views_end_all(n);
	bitmaps_destroy_all(n);
	blockdev_options_free(n->options);
	free(n->filename);
	free(n->backing_name);
	free(n->backing_format);
	free(n->auto_backing_name);
	free(n->state);
	layers_destroy(n);
	free(n);
}

void node_unsettle(struct node *n)
{
	if (!list_is_linked(&n->unsettled_link))
		list_add_tail(&n->graph->unsettled, &n->unsettled_link);
}

void co_fn nodes_settle(struct graph *g)
{
	struct node *n;
	while ((n = list_first(&g->unsettled, struct node, unsettled_link))) {
		list_del_init(&n->unsettled_link);
		node_ref(n);
		n->driver->settle(n);
		node_unref(n);
	}
}

bool node_is_remote(struct node *n)
{
	struct node_array below _cleanup_node_array_;
	walk_below(n->graph, &n, 1, &below);
	for (size_t i = 0; i < below.count; i++) {
		if (below.items[i]->driver->is_remote)
			return true;
	}
	return false;
}

void node_close_failed(struct node *n, struct error *error)
{
	const struct graph_observer *o = n->graph->observer;
	if (o->store_failed)
		o->store_failed(error);
	error_free(error);
}

static void co_fn flush_at_close(struct node *n)
{
	struct error *error = NULL;
	int r = node_flush(n);
	if (r >= 0)
		return;
	error_set_errno(&error, r, "Could not flush node '%s' as it was closed", n->name);
	node_close_failed(n, error);
}

struct graph_apart *node_opening_leave(struct node *n)
{
	struct graph_apart *apart = node_is_remote(n) ? graph_apart_leave(n->graph) : NULL;
	if (apart)
		node_work_begin(n);
	return apart;
}

void co_fn node_opening_return(struct node *n, struct graph_apart *apart)
{
	if (!apart)
		return;
	/* Who has the lock may wait for that. */
	node_work_end(n);
	graph_apart_return(n->graph, apart);
}

/*
 * Flush and close @n, which nobody finds any more. While the lock for changes is let go of,
 * this is work of the node's, so that what is below it changes only afterwards: a change
 * waits for it with the lock held, and so it ends before the lock is taken again.
 */
static void co_fn close_node(struct node *n)
{
	struct graph *g = n->graph;
	node_work_begin(n);
	struct graph_apart *apart = node_is_remote(n) ? graph_apart_leave(g) : NULL;
	flush_at_close(n);
	n->is_open = false;
	if (n->driver->close)
		n->driver->close(n);
	node_work_end(n);
	graph_apart_return(g, apart);
}

void co_fn node_unref(struct node *n)
{
	if (!n)
		return;
	assert(n->references > 0);
	if (--n->references > 0)
		return;

	/* A closing node may drop the last reference on the next, down a chain of any length. */
	struct list doomed;
	struct graph *g = n->graph;
	list_init(&doomed);
	unregister(n, &doomed);
	while ((n = list_first(&doomed, struct node, link))) {
		if (n->is_open)
			close_node(n);
		drop_children(n, &doomed);
		list_del_init(&n->link);
		node_free(n);
	}
	nodes_settle(g);
}

void co_fn node_unref_apart(struct node *n)
{
	if (!n)
		return;
	struct graph *g = n->graph;
	struct graph_apart apart;
	graph_apart_begin(g, &apart);
	node_unref(n);
	graph_apart_end(g, &apart);
}

static void merge_limit(uint64_t *limit, uint64_t other)
{
	if (other != 0 && (*limit == 0 || other < *limit))
		*limit = other;
}

/* Set n->limits from the children and the driver. */
static void compute_limits(struct node *n)
{
	struct node_limits l = {0};
	struct edge *e;
	list_for_each (e, &n->children, parent_link) {
		const struct node_limits *below = &e->child->limits;
		if (!(e->role & (EDGE_DATA | EDGE_FILTERED)))
			continue;
		merge_limit(&l.max_transfer, below->max_transfer);
		l.optimal_transfer = MAX(l.optimal_transfer, below->optimal_transfer);
	}
	n->limits = l;
	if (n->driver->limits)
		n->driver->limits(n);

	n->limits.request_alignment = MAX(n->limits.request_alignment, 1);
	n->limits.memory_alignment = MAX(n->limits.memory_alignment, 1);
	assert(is_power_of_2(n->limits.request_alignment));
	assert(is_power_of_2(n->limits.memory_alignment));
	if (n->limits.max_transfer != 0)
		n->limits.max_transfer = MAX(align_down(n->limits.max_transfer,
							n->limits.request_alignment),
					     n->limits.request_alignment);
}

static void child_resized(struct node *parent, struct edge *e)
{
	if (!parent->is_open)
		return;
	if (parent->driver->child_resized)
		parent->driver->child_resized(parent, e);
	else if (parent->driver->is_filter && e == parent->file)
		node_set_size(parent, e->child->size);
}

void nodes_refresh(struct graph *g, struct node *const *nodes, size_t count)
{
	struct node_array above _cleanup_node_array_;
	walk_above(g, nodes, count, &above);
	layers_check(g);
	for (size_t i = 0; i < above.count; i++) {
		struct node *n = above.items[i];
		if (!n->is_open)
			continue;
		if (n->file)
			child_resized(n, n->file);
		compute_limits(n);
		node_refresh_filename(n);
	}
}

void node_note_change(struct node *n)
{
	n->write_generation++;
	layers_note_write(n, 0, UINT64_MAX);
}

void node_refresh_limits(struct node *n)
{
	struct node_array above _cleanup_node_array_;
	walk_above(n->graph, &n, 1, &above);
	for (size_t i = 0; i < above.count; i++) {
		if (above.items[i]->is_open)
			compute_limits(above.items[i]);
	}
}

void node_set_size(struct node *n, uint64_t size)
{
	if (n->size == size)
		return;
	n->size = size;
	layers_forget(n);
	if (!list_is_empty(&n->bitmaps))
		bitmaps_resize(n);
	struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		if (e->consumer) {
			if (e->consumer->ops->resized)
				e->consumer->ops->resized(e->consumer);
		} else if (!(e->role & EDGE_COW)) {
			child_resized(e->parent, e);
		}
	}
}
