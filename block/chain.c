/* SPDX-License-Identifier: MIT */
/*
 * Questions about a backing chain: the nodes that follow one another by filtered
 * and COW children. Loop's thread.
 */
#include <string.h>

#include "block/driver.h"
#include "block/node.h"
#include "block/node_internal.h"
#include "schema/schema.h"

struct edge *node_chain_edge(const struct node *n)
{
	return n->driver->is_filter ? n->file : n->backing;
}

struct node *node_chain_next(const struct node *n)
{
	const struct edge *e = node_chain_edge(n);
	return e ? e->child : NULL;
}

/* The filter directly above @n that users of @n have to use, or NULL. */
static struct node *entrance_above(const struct node *n)
{
	const struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		if (e->parent && e->parent->driver->is_entrance && e->parent->file == e)
			return e->parent;
	}
	return NULL;
}

struct node *node_entrance(struct node *n)
{
	for (struct node *above; (above = entrance_above(n));)
		n = above;
	return n;
}

struct node *edge_shown_child(const struct edge *e)
{
	struct node *n = e->child;
	while (e->shows_below && n->driver->is_entrance && n->file)
		n = n->file->child;
	return n;
}

unsigned node_chain_length(const struct node *n)
{
	unsigned length = 0;
	for (; n; n = node_chain_next(n))
		length++;
	return length;
}

const struct node *node_storage(const struct node *n)
{
	while (n->file)
		n = n->file->child;
	return n;
}

bool node_grows_zeroed(const struct node *n)
{
	while (n->file && (n->driver->is_filter || n->driver->sizes_itself))
		n = n->file->child;
	/* Several copies: there may be a device among them. */
	return !n->driver->sizes_itself && (n->file || list_is_empty(&n->children));
}

struct node *node_skip_filters(struct node *n)
{
	while (n && n->driver->is_filter && n->file)
		n = n->file->child;
	return n;
}

/* The only child, when @n shows its content. */
static struct node *shown_child(const struct node *n)
{
	struct edge *e = list_first(&n->children, struct edge, parent_link);
	bool is_only = e && e->parent_link.next == &n->children;
	return is_only && e->role & (EDGE_PRIMARY | EDGE_FILTERED) ? e->child : NULL;
}

struct node *node_with_snapshots(struct node *n)
{
	while (n && !n->driver->snapshot_list)
		n = shown_child(n);
	return n;
}

int co_fn node_find_snapshot(struct node *keeper, const char *id, const char *name,
			     struct snapshot_info **ret, struct error **errp)
{
	struct snapshot_info_list list = {0};
	*ret = NULL;
	int r = keeper->driver->snapshot_list(keeper, &list, errp);
	for (size_t i = 0; r >= 0 && i < list.count && !*ret; i++) {
		const struct snapshot_info *s = list.items[i];
		if ((!id || strcmp(s->id, id) == 0) && (!name || strcmp(s->name, name) == 0))
			*ret = schema_clone(&snapshot_info_type, s);
	}
	schema_finish(&snapshot_info_list_type, &list);
	return r;
}

int co_fn node_driver_info(struct node *n, struct driver_info *ret)
{
	*ret = (struct driver_info){0};
	while (!n->driver->info && !n->driver->supports_backing && n->file &&
	       (n->driver->is_filter || n->driver->is_format))
		n = n->file->child;
	return n->driver->info ? n->driver->info(n, ret) : -ENOTSUP;
}

struct node *node_backing(struct node *n)
{
	n = node_skip_filters(n);
	return n && n->backing ? n->backing->child : NULL;
}

bool node_chain_contains(struct node *top, struct node *below)
{
	struct node *n = top;
	while (n && n != below)
		n = node_chain_next(n);
	return n;
}
