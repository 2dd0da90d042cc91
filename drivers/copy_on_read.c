/* SPDX-License-Identifier: MIT */
/*
 * The driver copy-on-read: a filter that stores in the image below it what reads
 * find further down its backing chain. Node's loop.
 *
 * With a `bottom`, only what comes from the layers down to that one is stored. The
 * links to it are frozen, so that it stays in the chain. The job that streams makes
 * such a filter itself and looks after the chain.
 */
#include "drivers/filters.h"

#include <stdlib.h>

#include "block/driver.h"
#include "block/graph.h"

struct copy_on_read {
	struct node *bottom; /* the last layer that counts; NULL: all of them */
	bool is_frozen;      /* the links to it are, and it is referenced */
};

static void freeze(struct node *n, int change)
{
	struct copy_on_read *c = n->state;
	for (; n != c->bottom; n = node_chain_edge(n)->child)
		node_chain_edge(n)->frozen += (unsigned)change;
}

/* What a job has put between comes and goes without asking, and so do links that it relies on. */
static int check_links(const struct node *n, const struct node *bottom, struct error **errp)
{
	for (struct node *at = n->file->child; at != bottom; at = node_chain_edge(at)->child) {
		if (!at->options || node_chain_edge(at)->frozen > 0)
			return error_set(errp, -EBUSY,
					 "Node '%s' is busy: its link to '%s' is in use", at->name,
					 node_chain_edge(at)->child->name);
	}
	return 0;
}

static int set_bottom(struct node *n, const char *name, struct error **errp)
{
	struct copy_on_read *c = n->state;
	struct node *bottom = node_find(n->graph, name);
	if (!bottom)
		return error_set(errp, -ENODEV, "Bottom node '%s' not found", name);
	if (bottom->driver->is_filter)
		return error_set(errp, -EINVAL, "Bottom node '%s' is a filter", name);
	if (!node_chain_contains(n->file->child, bottom))
		return error_set(errp, -EINVAL, "Bottom node '%s' is not in the backing chain of '%s'",
				 name, n->file->child->name);
	int r = check_links(n, bottom, errp);
	if (r < 0)
		return r;
	c->bottom = node_ref(bottom);
	c->is_frozen = true;
	freeze(n, 1);
	return 0;
}

static int co_fn open_filter(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	struct copy_on_read *c = n->state;
	if (!options) {
		c->bottom = arg;
		return 0;
	}
	const struct blockdev_options_cor *o = &options->u.copy_on_read;
	int r = node_open_child(n, o->file, "file", EDGE_FILTERED | EDGE_PRIMARY, NULL, errp);
	if (r < 0)
		return r;
	n->size = n->file->child->size;
	return o->bottom ? set_bottom(n, o->bottom, errp) : 0;
}

static void co_fn close_filter(struct node *n)
{
	struct copy_on_read *c = n->state;
	if (!c->is_frozen)
		return;
	freeze(n, -1);
	node_unref(c->bottom);
}

/* Whether the first part of the range, whose length *bytes becomes, is to be stored. */
static int co_fn is_wanted(struct node *n, uint64_t offset, uint64_t *bytes)
{
	const struct copy_on_read *c = n->state;
	struct node *top = node_skip_filters(n->file->child);
	struct edge *below = c->bottom ? node_chain_edge(c->bottom) : top->backing;
	struct extent x;
	unsigned depth;
	int r = node_status_above(top, below ? below->child : NULL, offset, *bytes, &x, &depth);
	if (r < 0)
		return r;
	if (x.bytes == 0)
		return -EIO; /* the image has become shorter */
	*bytes = x.bytes;
	return c->bottom ? depth > 1 : top->backing && depth == 0;
}

static int co_fn read_filter(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			     unsigned flags)
{
	for (;;) {
		uint64_t part = bytes;
		int r = is_wanted(n, offset, &part);
		if (r >= 0)
			r = edge_readv(n->file, offset, part, v,
				       r > 0 ? flags | REQUEST_COPY_ON_READ : flags);
		if (r < 0 || part == bytes)
			return r;
		offset += part;
		bytes -= part;
		v = vec_advance(v, part);
	}
}

/* Reads write, too, but never what would look different. */
static void child_permissions(struct node *n, const char *name, unsigned role,
			      unsigned permissions, unsigned shared, unsigned *ret_permissions,
			      unsigned *ret_shared)
{
	permission_for_child(n, role, permissions, shared, ret_permissions, ret_shared);
	*ret_permissions |= PERM_WRITE_UNCHANGED;
}

const struct driver copy_on_read_driver = {
	.name = "copy-on-read",
	.state_size = sizeof(struct copy_on_read),
	.is_filter = true,
	.supports_fua = true,
	.can_compress = true,
	.is_fixed = true,
	.open = open_filter,
	.close = close_filter,
	.read = read_filter,
	.child_permissions = child_permissions,
};
