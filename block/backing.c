/* SPDX-License-Identifier: MIT */
/*
 * Opening backing chains, layer by layer in a loop: they are as long as their
 * images say. Control thread, in a coroutine.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/node_internal.h"
#include "block/open.h"
#include "block/open_internal.h"
#include "block/options.h"

/* Of a long chain an error shall not tell only how long it is. */
#define PREFIXES_MAX 8u

static bool same_medium(const struct node *a, const struct node *b)
{
	a = node_storage(a);
	b = node_storage(b);
	return a->driver == b->driver && a->driver->same_medium && a->driver->same_medium(a, b);
}

/* True when a node from @top down lies in the file called @filename. */
static bool chain_has(struct node *top, const char *filename)
{
	struct node *n = top;
	while (n && !string_equal(node_storage(n)->filename, filename))
		n = node_chain_next(n);
	return n;
}

static int refuse_loop(struct node *top, const char *filename, struct error **errp)
{
	return error_set(errp, -ELOOP, "'%s' is in its own backing chain, which begins at '%s'",
			 filename, node_storage(top)->filename);
}

/* Open the image that the header of @n names. */
static int co_fn open_named(struct node *top, struct node *n, struct node **ret,
			    struct error **errp)
{
	char *filename _cleanup_free_ = NULL;
	int r = node_backing_filename(n, &filename, errp);
	if (r < 0)
		return r;
	if (chain_has(top, filename))
		return refuse_loop(top, filename, errp);

	struct blockdev_options *options;
	bool probed;
	r = options_from_filename(n->graph, filename, n->backing_format, &options, &probed, errp);
	if (r < 0)
		return r;
	struct node *backing;
	r = node_open_layer(n->graph, options, n, EDGE_COW, &backing, errp);
	blockdev_options_free(options);
	if (r < 0)
		return r;
	backing->probed = probed;
	free(n->auto_backing_name);
	n->auto_backing_name = xstrdup(backing->filename);
	*ret = backing;
	return 0;
}

/* The backing node of @n with a reference, or NULL. *ret_opened: it is new, and a layer only. */
static int co_fn open_backing(struct node *top, struct node *n, struct node **ret,
			      bool *ret_opened, struct error **errp)
{
	*ret = NULL;
	*ret_opened = true;
	struct child_ref ref;
	if (!options_child_named(n->options, "backing", &ref))
		return n->options && n->backing_name ? open_named(top, n, ret, errp) : 0;
	/* No name is the old spelling of null. */
	if (ref.is_null || (ref.reference && ref.reference[0] == '\0'))
		return 0;
	if (ref.definition)
		return node_open_layer(n->graph, ref.definition, n, EDGE_COW, ret, errp);

	struct node *found = node_find_error(n->graph, ref.reference, errp);
	if (!found)
		return -ENODEV;
	*ret_opened = false;
	*ret = node_ref(found);
	return 0;
}

static int check_new_layer(struct node *top, struct node *backing, struct error **errp)
{
	for (struct node *n = top; n; n = node_chain_next(n)) {
		if (same_medium(n, backing))
			return refuse_loop(top, node_storage(backing)->filename, errp);
	}
	return 0;
}

/* Open and attach what lies directly below @n. *ret is the layer to go on with, or NULL. */
static int co_fn open_next(struct node *top, struct node *n, struct node **ret, struct error **errp)
{
	struct node *backing;
	bool opened;
	int r = open_backing(top, n, &backing, &opened, errp);
	if (r < 0 || !backing) {
		*ret = NULL;
		return r;
	}
	r = check_new_layer(top, backing, errp);
	if (r >= 0)
		r = edge_attach_node(n, "backing", backing, EDGE_COW, NULL, errp);
	/* The edge holds it from now on. */
	node_unref(backing);
	*ret = r >= 0 && opened ? backing : NULL;
	return r;
}

int co_fn backing_open_chain(struct node *top, struct error **errp)
{
	struct node *n = top;
	for (unsigned depth = 1; n && n->driver->supports_backing; depth++) {
		int r = open_next(top, n, &n, errp);
		if (r < 0) {
			/* How often it is said tells how far below @top the trouble is, if not very. */
			for (depth = MIN(depth, PREFIXES_MAX); depth > 0; depth--)
				error_prefix(errp, "Could not open backing file: ");
			return r;
		}
	}
	return 0;
}

int co_fn node_write_backing(struct node *n, const char *name, const char *format,
			     struct error **errp)
{
	if (!n->active)
		return error_set(errp, -EPERM, "Node '%s' is inactive", n->name);
	if (name && !*name)
		name = NULL; /* as it will be read back */
	return n->driver->change_backing(n, name, format, errp);
}

void node_note_backing(struct node *n)
{
	free(n->auto_backing_name);
	n->auto_backing_name = xstrdup(n->backing_name);
	/* By its own name alone the image would no longer get the backing file that it has. */
	nodes_refresh(n->graph, &n, 1);
}

int co_fn node_change_backing(struct node *n, const char *name, const char *format,
			      struct error **errp)
{
	int r = node_write_backing(n, name, format, errp);
	if (r >= 0)
		node_note_backing(n);
	return r;
}

/* True when @n, a backing file of @overlay, is called @name in the image or in full. */
static bool is_called(const struct node *overlay, const struct node *n, const char *name)
{
	if (string_equal(overlay->backing_name, name) || string_equal(n->filename, name))
		return true;
	char *full _cleanup_free_ = NULL;
	return backing_filename(overlay->filename, name, &full, NULL) >= 0 &&
	       string_equal(n->filename, full);
}

struct node *node_find_backing_named(struct node *top, const char *name)
{
	struct node *overlay = node_skip_filters(top);
	struct node *n = node_skip_filters(node_backing(overlay));
	while (n && !is_called(overlay, n, name)) {
		overlay = n;
		n = node_skip_filters(node_backing(n));
	}
	return n;
}
