/* SPDX-License-Identifier: MIT */
/*
 * Opening nodes from options. Control thread, in a coroutine; the caller holds
 * the change lock wherever others may change the graph.
 */
#include "block/open.h"

#include <assert.h>

#include "block/driver.h"
#include "block/graph.h"
#include "block/node_internal.h"
#include "block/open_internal.h"
#include "block/options.h"

struct node_modes modes_resolve(const struct blockdev_options *o, const struct node_modes *parent,
				const struct driver *parent_driver, unsigned role)
{
	static const struct node_modes initial = {.active = true};
	struct node_modes m = parent ? *parent : initial;
	m.detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF;
	if (role & EDGE_COW) {
		/* Writing to a backing file would change what its overlays show. */
		m.read_only = true;
		m.auto_read_only = false;
	}
	/* Formats and filters look after their users' wish; a format may give back its own space. */
	m.discard_unmap = parent && (parent_driver->is_format || parent_driver->is_filter) &&
			  !(role & EDGE_COW);

	if (o->has_read_only)
		m.read_only = o->read_only;
	if (o->has_auto_read_only)
		m.auto_read_only = o->auto_read_only;
	if (o->has_force_share)
		m.force_share = o->force_share;
	if (o->has_discard)
		m.discard_unmap = o->discard == BLOCKDEV_DISCARD_OPTIONS_UNMAP;
	if (o->has_active)
		m.active = o->active;
	if (o->has_detect_zeroes)
		m.detect_zeroes = o->detect_zeroes;
	if (o->cache && o->cache->has_direct)
		m.cache_direct = o->cache->direct;
	if (o->cache && o->cache->has_no_flush)
		m.cache_no_flush = o->cache->no_flush;
	return m;
}

struct node_modes modes_of(const struct node *n)
{
	return (struct node_modes){
		.read_only = n->read_only,
		.auto_read_only = n->auto_read_only,
		.force_share = n->force_share,
		.discard_unmap = n->discard_unmap,
		.active = n->active,
		.cache_direct = n->cache_direct,
		.cache_no_flush = n->cache_no_flush,
		.detect_zeroes = n->detect_zeroes,
	};
}

void modes_apply(struct node *n, const struct node_modes *m)
{
	n->read_only = m->read_only;
	n->auto_read_only = m->auto_read_only;
	n->force_share = m->force_share;
	n->discard_unmap = m->discard_unmap;
	n->active = m->active;
	n->cache_direct = m->cache_direct;
	/* What was written meanwhile has never been flushed, whatever was answered. */
	if (n->cache_no_flush && !m->cache_no_flush)
		n->write_generation++;
	n->cache_no_flush = m->cache_no_flush;
	n->detect_zeroes = m->detect_zeroes;
}

int modes_check(const struct node_modes *m, struct error **errp)
{
	if (m->force_share && !m->read_only)
		return error_set(errp, -EINVAL,
				 "force-share=on can only be used with read-only images");
	if (m->detect_zeroes == BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP && !m->discard_unmap)
		return error_set(errp, -EINVAL,
				 "setting detect-zeroes to unmap is not allowed without setting "
				 "discard operation to unmap");
	return 0;
}

int node_apply_auto_read_only(struct node *n, const char *reason, struct error **errp)
{
	if (n->read_only)
		return 0;
	if (!n->auto_read_only)
		return error_set(errp, -EACCES, "%s", reason);
	n->read_only = true;
	return 0;
}

static int co_fn open_layer(struct graph *g, const struct blockdev_options *o,
			    struct node *parent, unsigned role, unsigned flags, struct node **ret,
			    struct error **errp)
{
	const char *driver_name = blockdev_driver_name(o->driver);
	const struct driver *driver = graph_load_driver(g, driver_name, errp);
	if (!driver)
		return -ENOENT;

	struct node_modes parent_modes;
	if (parent)
		parent_modes = modes_of(parent);
	struct node_modes modes = modes_resolve(o, parent ? &parent_modes : NULL,
						parent ? parent->driver : NULL, role);
	int r = modes_check(&modes, errp);
	if (r >= 0 && !modes.active && !driver->can_be_inactive)
		r = error_set(errp, -ENOTSUP, "Driver '%s' does not support inactive nodes",
			      driver_name);
	if (r < 0)
		return r;

	struct node *n;
	r = node_create(g, driver, o->node_name, &n, errp);
	if (r < 0)
		return r;
	modes_apply(n, &modes);
	n->open_flags = flags;
	n->options = blockdev_options_clone(o);
	n->inherits_from = parent;
	n->nesting = parent && !(role & EDGE_COW) ? parent->nesting + 1 : 0;
	r = node_start(n, n->options, NULL, errp);
	if (r < 0) {
		node_unref(n);
		return r;
	}
	*ret = n;
	return 0;
}

int co_fn node_open_layer(struct graph *g, const struct blockdev_options *o, struct node *parent,
			  unsigned role, struct node **ret, struct error **errp)
{
	return open_layer(g, o, parent, role, 0, ret, errp);
}

/* Open what @o describes, with its backing chain, for @parent (NULL: for the user). */
static int co_fn open_below(struct graph *g, const struct blockdev_options *o, struct node *parent,
			    unsigned role, struct node **ret, struct error **errp)
{
	struct node *n = NULL;
	int r = node_open_layer(g, o, parent, role, &n, errp);
	if (r < 0)
		return r;
	r = backing_open_chain(n, errp);
	if (r < 0) {
		node_unref(n);
		return r;
	}
	*ret = n;
	return 0;
}

int co_fn node_open(struct graph *g, const struct blockdev_options *options, struct node **ret,
		    struct error **errp)
{
	return open_below(g, options, NULL, 0, ret, errp);
}

int co_fn node_open_with_flags(struct graph *g, const struct blockdev_options *options,
			       unsigned flags, struct node **ret, struct error **errp)
{
	struct node *n = NULL;
	int r = open_layer(g, options, NULL, 0, flags, &n, errp);
	if (r >= 0 && !(flags & NODE_OPEN_ALONE))
		r = backing_open_chain(n, errp);
	if (r < 0) {
		node_unref(n);
		return r;
	}
	*ret = n;
	return 0;
}

/* Take a reference on the node called @name. */
static int find_ref(struct graph *g, const char *name, struct node **ret, struct error **errp)
{
	struct node *n = node_find_error(g, name, errp);
	if (!n)
		return -ENODEV;
	*ret = node_ref(n);
	return 0;
}

int co_fn node_open_ref(struct graph *g, const struct blockdev_ref *ref, struct node **ret,
			struct error **errp)
{
	if (ref->kind == BLOCKDEV_REF_REFERENCE)
		return find_ref(g, ref->u.reference, ret, errp);
	return node_open(g, ref->u.definition, ret, errp);
}

int co_fn node_open_child(struct node *n, const struct blockdev_ref *ref, const char *name,
			  unsigned role, struct edge **ret, struct error **errp)
{
	/* Definitions nest as deep as the input does; the stack does not. */
	if (n->nesting >= GRAPH_NESTING_MAX)
		return error_set(errp, -EINVAL, "More than %d nodes stand upon each other",
				 GRAPH_NESTING_MAX);
	struct node *child;
	int r = ref->kind == BLOCKDEV_REF_REFERENCE
			? find_ref(n->graph, ref->u.reference, &child, errp)
			: open_below(n->graph, ref->u.definition, n, role, &child, errp);
	if (r < 0)
		return r;
	struct node *entrance = role & EDGE_COW ? child : node_entrance(child);
	struct edge *e;
	r = edge_attach_node(n, name, entrance, role, &e, errp);
	if (r >= 0) {
		e->shows_below = entrance != child;
		if (ret)
			*ret = e;
	}
	/* The edge holds the child from now on. */
	node_unref(child);
	return r;
}

void node_announce_use(struct graph *g, const struct blockdev_options *options)
{
	struct child_ref ref;
	while (options_child_named(options, "file", &ref)) {
		struct node *n = ref.reference ? node_find(g, ref.reference) : NULL;
		for (int i = 0; n && i < 2; i++)
			drain_idle(g, n);
		options = ref.definition;
	}
}
