/* SPDX-License-Identifier: MIT */
/*
 * Permissions: names, what a parent needs of a child, and the recomputation over
 * a part of the graph. Loop's thread; nothing here waits.
 *
 * Needs flow down: what the parents of a node need and share, taken together,
 * decides through its driver what the node needs of its children. So the nodes
 * are looked at parents first, and only those whose parents have changed.
 */
#include "block/permission_update.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/walk.h"

#define PERM_BITS 4

char *permission_names(unsigned permissions)
{
	static const char *const names[PERM_BITS] = {
		"consistent read",
		"write",
		"write unchanged",
		"resize",
	};
	char *text = xstrdup("");
	for (unsigned bit = 0; bit < PERM_BITS; bit++) {
		if (!(permissions & 1u << bit))
			continue;
		char *longer = xasprintf("%s%s%s", text, *text ? ", " : "", names[bit]);
		free(text);
		text = longer;
	}
	return text;
}

/* A backing file is only read, and only what it shows matters. */
static void for_backing(unsigned permissions, unsigned shared, unsigned *ret_permissions,
			unsigned *ret_shared)
{
	*ret_permissions = permissions & PERM_CONSISTENT_READ;
	/* Who can bear a change of data can bear one below as well, and so can who reads none. */
	*ret_shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
	if ((shared & PERM_WRITE) || !(permissions & PERM_CONSISTENT_READ))
		*ret_shared |= PERM_WRITE | PERM_RESIZE;
}

/* Storage of a format: its tables may change although nobody writes data. */
static void for_storage(struct node *n, unsigned role, unsigned permissions, unsigned shared,
			unsigned *ret_permissions, unsigned *ret_shared)
{
	permissions |= PERM_CONSISTENT_READ;
	if (role & EDGE_METADATA) {
		if (!n->read_only)
			permissions |= PERM_WRITE | PERM_RESIZE;
		shared &= ~(PERM_WRITE | PERM_RESIZE);
	}
	if (role & EDGE_DATA) {
		/* Writing data may need room at the end. */
		if (permissions & PERM_WRITE)
			permissions |= PERM_RESIZE;
		shared &= ~PERM_RESIZE;
	}
	*ret_permissions = permissions;
	*ret_shared = shared;
}

void permission_for_child(struct node *n, unsigned role, unsigned permissions, unsigned shared,
			  unsigned *ret_permissions, unsigned *ret_shared)
{
	if (role & EDGE_COW) {
		for_backing(permissions, shared, ret_permissions, ret_shared);
	} else if (role & (EDGE_METADATA | EDGE_DATA)) {
		for_storage(n, role, permissions, shared, ret_permissions, ret_shared);
	} else {
		/* Requests are merely passed on. */
		*ret_permissions = permissions;
		*ret_shared = shared;
	}
}

/* What an edge asked for before the update. */
struct change {
	struct edge *edge;
	unsigned permissions, shared;
};

struct permission_update {
	struct node_array checked; /* parents first */
	unsigned *permissions, *shared; /* for each of them, what its parents need and share */
	struct change *changes;
	size_t change_count, change_capacity;
};

static char *describe_user(const struct edge *e)
{
	if (e->consumer)
		return e->consumer->ops->describe(e->consumer);
	return xasprintf("node '%s'", e->parent->name);
}

/* What a job writes by is what others have for their root, whatever it is called. */
static const char *shown_name(const struct edge *e)
{
	return e->stays && (e->permissions & (PERM_WRITE | PERM_WRITE_UNCHANGED)) ? "root" : e->name;
}

static int conflict(const struct node *n, const struct edge *user, const struct edge *owner,
		    struct error **errp)
{
	char *names _cleanup_free_ = permission_names(user->permissions & ~owner->shared);
	char *user_text _cleanup_free_ = describe_user(user);
	char *owner_text _cleanup_free_ = describe_user(owner);
	/* The full stop is the rival's, whose sentence scripts compare. */
	return error_set(errp, -EPERM,
			 "Permission conflict on node '%s': permissions '%s' are both required by "
			 "%s (uses node '%s' as '%s' child) and unshared by "
			 "%s (uses node '%s' as '%s' child).",
			 n->name, names, user_text, n->name, shown_name(user), owner_text,
			 n->name, shown_name(owner));
}

/* The latest parent of @n, other than @owner, that needs what @owner does not share; or NULL. */
static struct edge *find_rival(struct node *n, const struct edge *owner)
{
	for (struct list *l = n->parents.prev; l != &n->parents; l = l->prev) {
		struct edge *e = container_of(l, struct edge, child_link);
		if (e != owner && (e->permissions & ~owner->shared))
			return e;
	}
	return NULL;
}

/*
 * Whether the parents of @n agree; the latest is the first to blame. Pairs are
 * compared only for those few that withhold something that is needed: many
 * readers cost one pass.
 */
static int check_parents(struct node *n, unsigned needed, struct error **errp)
{
	for (struct list *l = n->parents.prev; l != &n->parents; l = l->prev) {
		struct edge *owner = container_of(l, struct edge, child_link);
		if (!(needed & ~owner->shared))
			continue;
		struct edge *rival = find_rival(n, owner);
		if (rival)
			return conflict(n, rival, owner, errp);
	}
	return 0;
}

static int check_writable(const struct node *n, unsigned needed, struct error **errp)
{
	if (!(needed & (PERM_WRITE | PERM_WRITE_UNCHANGED)))
		return 0;
	if (n->read_only) {
		/* Writers that are there already mean that it was writable until now. */
		if (n->permissions & (PERM_WRITE | PERM_WRITE_UNCHANGED))
			return error_set(errp, -EINVAL,
					 "Read-only block node '%s' cannot support read-write users",
					 n->name);
		return error_set(errp, -EPERM, "Block node is read-only");
	}
	/* The last block is written whole and would reach beyond the end. */
	if (!(needed & PERM_RESIZE) && !is_aligned(n->size, n->limits.request_alignment))
		return error_set(errp, -EPERM,
				 "Cannot get 'write' permission without 'resize': Image size is "
				 "not a multiple of request alignment");
	return 0;
}

static void set_edge(struct permission_update *u, struct edge *e, unsigned permissions,
		     unsigned shared)
{
	if (e->permissions == permissions && e->shared == shared)
		return;
	if (u->change_count == u->change_capacity) {
		u->change_capacity = u->change_capacity == 0 ? 8 : 2 * u->change_capacity;
		u->changes = xrealloc(u->changes, u->change_capacity, sizeof(u->changes[0]));
	}
	u->changes[u->change_count++] =
		(struct change){.edge = e, .permissions = e->permissions, .shared = e->shared};
	e->permissions = permissions;
	e->shared = shared;
	e->child->walk_affected = true;
}

static void set_children(struct permission_update *u, struct node *n, unsigned needed,
			 unsigned shared)
{
	struct edge *e;
	list_for_each (e, &n->children, parent_link) {
		unsigned child_needed, child_shared;
		if (!n->active) {
			child_needed = PERM_CONSISTENT_READ;
			child_shared = PERM_ALL;
		} else if (n->driver->child_permissions)
			n->driver->child_permissions(n, e->name, e->role, needed, shared,
						     &child_needed, &child_shared);
		else
			permission_for_child(n, e->role, needed, shared, &child_needed,
					     &child_shared);
		/* The user has decided to bear whatever others do. */
		set_edge(u, e, child_needed, e->child->force_share ? PERM_ALL : child_shared);
	}
}

/* Whoever stays above an inactive node does not use it, or knows that it may only read. */
static int check_inactive(const struct node *n, struct error **errp)
{
	struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		if (e->parent && e->parent->active)
			return error_set(errp, -EPERM,
					 "Inactive '%s' can't be a %s child of active '%s'",
					 n->name, e->name, e->parent->name);
		if (e->consumer && !e->consumer->bears_inactive) {
			char *user _cleanup_free_ = describe_user(e);
			return error_set(errp, -EPERM, "Node '%s' is inactive and cannot be used "
					 "by %s", n->name, user);
		}
	}
	return 0;
}

/* What the parents need and share, taken together. */
static int sum_up(struct node *n, unsigned *ret_needed, unsigned *ret_shared,
		  struct error **errp)
{
	unsigned needed = 0, shared = PERM_ALL;
	struct edge *e;
	list_for_each (e, &n->parents, child_link) {
		needed |= e->permissions;
		shared &= e->shared;
	}
	*ret_needed = n->active ? needed : needed & PERM_CONSISTENT_READ;
	*ret_shared = n->active ? shared : PERM_ALL;
	return n->active ? check_parents(n, needed, errp) : check_inactive(n, errp);
}

static int update_node(struct permission_update *u, struct node *n, struct error **errp)
{
	unsigned needed, shared;
	/* A driver that has closed cannot be asked or told: what it has it keeps until it is gone. */
	if (list_is_linked(&n->closing_link))
		return 0;
	int r = sum_up(n, &needed, &shared, errp);
	if (r >= 0)
		r = check_writable(n, needed, errp);
	if (r >= 0 && n->driver->check_permissions)
		r = n->driver->check_permissions(n, needed, shared, errp);
	if (r < 0)
		return r;

	size_t i = u->checked.count;
	node_array_add(&u->checked, n);
	u->permissions = xrealloc(u->permissions, u->checked.capacity, sizeof(unsigned));
	u->shared = xrealloc(u->shared, u->checked.capacity, sizeof(unsigned));
	u->permissions[i] = needed;
	u->shared[i] = shared;
	set_children(u, n, needed, shared);
	return 0;
}

int permission_update_prepare(struct graph *g, struct node *const *nodes, size_t count,
			      struct permission_update **ret, struct error **errp)
{
	struct node_array order _cleanup_node_array_;
	walk_below(g, nodes, count, &order);
	for (size_t i = 0; i < order.count; i++)
		order.items[i]->walk_affected = false;
	for (size_t i = 0; i < count; i++)
		nodes[i]->walk_affected = true;

	struct permission_update *u = NEW(struct permission_update);
	for (size_t i = 0; i < order.count; i++) {
		if (!order.items[i]->walk_affected)
			continue;
		int r = update_node(u, order.items[i], errp);
		if (r < 0) {
			permission_update_abort(u);
			return r;
		}
	}
	*ret = u;
	return 0;
}

static void update_free(struct permission_update *u)
{
	node_array_finish(&u->checked);
	free(u->permissions);
	free(u->shared);
	free(u->changes);
	free(u);
}

/* What the last writer leaves behind unflushed is flushed by whoever shows @n to others. */
static void note_last_writer(struct node *n, unsigned needed)
{
	const unsigned writes = PERM_WRITE | PERM_WRITE_UNCHANGED;
	if ((n->permissions & writes) && !(needed & writes))
		n->left_generation = n->write_generation;
}

void permission_update_commit(struct permission_update *u)
{
	if (!u)
		return;
	for (size_t i = 0; i < u->checked.count; i++) {
		struct node *n = u->checked.items[i];
		note_last_writer(n, u->permissions[i]);
		n->permissions = u->permissions[i];
		n->shared = u->shared[i];
		if (n->driver->set_permissions)
			n->driver->set_permissions(n, n->permissions, n->shared);
	}
	update_free(u);
}

void permission_update_abort(struct permission_update *u)
{
	if (!u)
		return;
	for (size_t i = u->checked.count; i-- > 0;) {
		struct node *n = u->checked.items[i];
		if (n->driver->abort_permissions)
			n->driver->abort_permissions(n);
	}
	for (size_t i = u->change_count; i-- > 0;) {
		u->changes[i].edge->permissions = u->changes[i].permissions;
		u->changes[i].edge->shared = u->changes[i].shared;
	}
	update_free(u);
}
