/* SPDX-License-Identifier: MIT */
/*
 * Blockers: who forbids which operation on a node, and why. Loop's thread.
 */
#include "block/blocker.h"

#include "base/cleanup.h"
#include "block/driver.h"

void blocker_add(struct blocker *b, struct node *n, unsigned operations, const char *reason)
{
	*b = (struct blocker){.node = n, .operations = operations, .reason = xstrdup(reason)};
	list_add_tail(&n->blockers, &b->link);
}

void blocker_remove(struct blocker *b)
{
	list_del_init(&b->link);
	free(TAKE(b->reason));
	b->node = NULL;
}

/*
 * What an overlay cannot bear of its backing file. Commit, stream and backup work
 * on chains, and a changed backing name shows the same data.
 */
#define BLOCKED_BY_OVERLAY                                                                         \
	(BLOCK_OP_MIRROR_SOURCE | BLOCK_OP_MIRROR_TARGET | BLOCK_OP_EXTERNAL_SNAPSHOT |            \
	 BLOCK_OP_INTERNAL_SNAPSHOT | BLOCK_OP_INTERNAL_SNAPSHOT_DELETE | BLOCK_OP_RESIZE |        \
	 BLOCK_OP_REPLACE | BLOCK_OP_DRIVE_DEL)

/* The latest overlay above @n, through filters, or NULL. Depth is bounded by GRAPH_NESTING_MAX. */
static const struct node *find_overlay(const struct node *n)
{
	for (const struct list *l = n->parents.prev; l != &n->parents; l = l->prev) {
		const struct edge *e = container_of(l, struct edge, child_link);
		if (e->role & EDGE_COW)
			return e->parent;
		const struct node *overlay =
			e->role & EDGE_FILTERED && e->parent->driver->is_filter
				? find_overlay(e->parent)
				: NULL;
		if (overlay)
			return overlay;
	}
	return NULL;
}

/* A blocker of @op on @n whose manner has @mask as in @manner, or NULL. */
static const struct blocker *find_blocker(const struct node *n, enum block_operation op,
					  unsigned mask, unsigned manner)
{
	const struct blocker *b;
	list_for_each (b, &n->blockers, link) {
		if (b->operations & op && (b->manner & mask) == manner)
			return b;
	}
	return NULL;
}

int blocker_check(struct node *n, enum block_operation op, struct error **errp)
{
	/* Of two reasons that of a job, which most often is the later one, is told. */
	const struct blocker *b = find_blocker(n, op, BLOCKER_AFTER_OVERLAY, 0);
	const struct node *overlay = !b && op & BLOCKED_BY_OVERLAY ? find_overlay(n) : NULL;
	if (overlay)
		return error_set(errp, -EBUSY,
				 "Node '%s' is busy: node is used as backing hd of '%s'", n->name,
				 overlay->name);
	if (!b)
		b = find_blocker(n, op, 0, 0);
	return b ? error_set(errp, -EBUSY, "Node '%s' is busy: %s", n->name, b->reason) : 0;
}

bool node_is_blocked_as(const struct node *n, unsigned manner)
{
	const struct blocker *b;
	list_for_each (b, &n->blockers, link) {
		if (b->manner & manner)
			return true;
	}
	return false;
}

bool node_has_overlay(const struct node *n)
{
	return find_overlay(n);
}

bool node_is_root(const struct node *n)
{
	const struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		if (e->parent)
			return false;
	}
	return list_is_empty(&n->blockers);
}

int node_refuse_as_root(const struct node *n, struct error *error, struct error **errp)
{
	if (node_is_root(n))
		return error_move(errp, error);
	error_free(error);
	return error_set(errp, -EINVAL, "Need a root block node");
}
