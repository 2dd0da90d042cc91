/* SPDX-License-Identifier: MIT */
/*
 * Edges as links. Loop's thread.
 */
#include "block/edge.h"

#include <assert.h>
#include <stdlib.h>

#include "block/consumer.h"
#include "block/graph.h"

struct edge *edge_new(struct node *parent, struct consumer *consumer, const char *name,
		      struct node *child, unsigned role)
{
	assert(!parent != !consumer);
	struct edge *e = NEW(struct edge);
	e->parent = parent;
	e->consumer = consumer;
	e->name = xstrdup(name);
	e->child = node_ref(child);
	e->role = role;
	e->shared = PERM_ALL;
	list_init(&e->parent_link);
	list_init(&e->child_link);
	return e;
}

void edge_free(struct edge *e)
{
	assert(!list_is_linked(&e->parent_link) && !list_is_linked(&e->child_link));
	free(e->name);
	free(e);
}

void node_update_shortcuts(struct node *parent)
{
	parent->file = parent->backing = NULL;
	struct edge *e;
	list_for_each (e, &parent->children, parent_link) {
		if (e->role & EDGE_COW)
			parent->backing = e;
		else if (e->role & (EDGE_PRIMARY | EDGE_FILTERED) && !parent->file)
			parent->file = e;
	}
}

void edge_link(struct edge *e)
{
	list_add_tail(e->parent ? &e->parent->children : &e->consumer->edges, &e->parent_link);
	list_add_tail(&e->child->parents, &e->child_link);
	if (e->parent)
		node_update_shortcuts(e->parent);
}

void edge_unlink(struct edge *e)
{
	list_del_init(&e->parent_link);
	list_del_init(&e->child_link);
	if (e->parent)
		node_update_shortcuts(e->parent);
}

int edge_refuse_frozen(const struct edge *e, struct error **errp)
{
	return error_set(errp, -EPERM, "Cannot change frozen '%s' link from '%s' to '%s'", e->name,
			 e->parent->name, e->child->name);
}
