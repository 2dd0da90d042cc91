/* SPDX-License-Identifier: MIT */
/*
 * The registry of exports; see export.h. The graph's loop only.
 *
 * The end of an export is a coroutine of its own, so that block-export-del need
 * not wait for requests that a disk holds up.
 */
#include "protocol/export.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/active.h"
#include "block/iothread.h"
#include "block/node.h"
#include "block/text.h"

#define TYPES_MAX 8

struct registered_type {
	const struct export_type *type;
	void *arg;
};

struct export_registry {
	struct graph *graph;
	struct list exports;
	struct registered_type types[TYPES_MAX];
	unsigned type_count;
	const struct export_observer *observer;
	void *observer_arg;
	struct co_queue changed; /* an export is gone */
};

struct export_registry *export_registry_create(struct graph *graph)
{
	struct export_registry *r = NEW(struct export_registry);
	r->graph = graph;
	list_init(&r->exports);
	co_queue_init(&r->changed);
	return r;
}

void export_registry_free(struct export_registry *r)
{
	if (!r)
		return;
	assert(list_is_empty(&r->exports) && co_queue_is_empty(&r->changed));
	free(r);
}

void export_registry_add_type(struct export_registry *r, const struct export_type *type, void *arg)
{
	assert(r->type_count < TYPES_MAX);
	r->types[r->type_count++] = (struct registered_type){type, arg};
}

void export_registry_set_observer(struct export_registry *r,
				  const struct export_observer *observer, void *arg)
{
	r->observer = observer;
	r->observer_arg = arg;
}

static char *describe(const struct consumer *c)
{
	return xasprintf("block export '%s'", container_of(c, struct export, consumer)->id);
}

static const struct consumer_ops export_consumer_ops = {
	.describe = describe,
};

static struct export *find(struct export_registry *r, const char *id)
{
	struct export *e;
	list_for_each(e, &r->exports, link)
		if (string_equal(e->id, id))
			return e;
	return NULL;
}

static struct registered_type *find_type(struct export_registry *r, enum block_export_type type)
{
	for (unsigned i = 0; i < r->type_count; i++)
		if (r->types[i].type->type == type)
			return &r->types[i];
	return NULL;
}

static struct export *export_new(struct export_registry *r,
				 const struct block_export_options *options)
{
	struct export *e = NEW(struct export);
	e->registry = r;
	e->id = xstrdup(options->id);
	e->writable = options->writable;
	e->writethrough = options->writethrough;
	co_queue_init(&e->unused);
	consumer_init(&e->consumer, r->graph, &export_consumer_ops);
	return e;
}

static void export_free(struct export *e)
{
	consumer_finish(&e->consumer);
	iothread_unref(e->iothread);
	free(e->node_name);
	free(e->id);
	free(e);
}

/* An inactive node is taken as it is, or made active. */
static int co_fn check_active(struct export *e, const struct block_export_options *options,
			      struct node *n, struct error **errp)
{
	if (!options->allow_inactive)
		return n->active ? 0 : nodes_set_active(n->graph, n, true, errp);
	if (!e->type->bears_inactive)
		return error_set(errp, -ENOTSUP, "Export type does not support inactive exports");
	e->consumer.bears_inactive = true;
	return 0;
}

static int take_iothread(struct export *e, const struct block_export_options *options,
			 struct error **errp)
{
	if (!options->iothread)
		return 0;
	e->iothread = iothread_ref(iothread_find(e->registry->graph, options->iothread->u.single,
						 errp));
	return e->iothread ? 0 : -ENOENT;
}

/* Undo attach(). */
static void detach(struct export *e)
{
	iothread_leave(&e->consumer, e->edge->child);
	edge_detach(TAKE(e->edge));
}

/* The edge from @e to the node of @options. The change lock is held. */
static int co_fn attach(struct export *e, const struct block_export_options *options,
			struct error **errp)
{
	struct node *n = node_find_named(e->registry->graph, options->node_name, errp);
	if (!n)
		return -ENOENT;
	if (e->writable && n->read_only)
		return error_set(errp, -EACCES, "Cannot export read-only node as writable");
	int r = take_iothread(e, options, errp);
	if (r >= 0)
		r = check_active(e, options, n, errp);
	if (r < 0)
		return r;
	unsigned permissions = PERM_CONSISTENT_READ | (e->writable ? PERM_WRITE : 0);
	/* A job's filter above the node shall see what clients write, and they move with it. */
	struct node *entrance = node_entrance(n);
	r = edge_attach_consumer(&e->consumer, "root", entrance, permissions, PERM_ALL, &e->edge,
				 errp);
	if (r < 0)
		return r;
	e->edge->shows_below = entrance != n;
	/*
	 * NBD clients cannot be told of another size, so nobody may change it below them. That
	 * is told after what the export itself may not.
	 */
	r = edge_set_permissions(e->edge, permissions, PERM_ALL & ~PERM_RESIZE, errp);
	if (r < 0) {
		edge_detach(TAKE(e->edge));
		return r;
	}
	r = iothread_enter(&e->consumer, entrance, e->iothread, options->fixed_iothread, errp);
	if (r < 0)
		detach(e);
	return r;
}

static int co_fn add_locked(struct export_registry *r, const struct block_export_options *options,
			    struct error **errp)
{
	if (!text_is_identifier(options->id))
		return error_set(errp, -EINVAL, "Invalid block export id");
	if (find(r, options->id))
		return error_set(errp, -EEXIST, "Block export id '%s' is already in use",
				 options->id);
	struct registered_type *t = find_type(r, options->type);
	if (!t)
		return error_set(errp, -ENOTSUP, "Exports of type '%s' are not supported",
				 block_export_type_name(options->type));

	struct export *e = export_new(r, options);
	e->type = t->type;
	int error = attach(e, options, errp);
	if (error < 0) {
		export_free(e);
		return error;
	}
	error = t->type->start(e, options, t->arg, errp);
	if (error < 0) {
		detach(e);
		export_free(e);
		return error;
	}
	list_add_tail(&r->exports, &e->link);
	return 0;
}

int export_add(struct export_registry *r, const struct block_export_options *options,
	       struct error **errp)
{
	graph_change_begin(r->graph);
	int error = add_locked(r, options, errp);
	graph_change_end(r->graph);
	return error;
}

/* The end of an export: wait for its users, then take it apart. */
static void co_fn remove_export(void *arg)
{
	struct export *e = arg;
	struct export_registry *r = e->registry;

	while (e->users > 0)
		co_queue_wait(&e->unused);
	graph_change_begin(r->graph);
	e->type->finish(e);
	for (int i = 0; i < 2; i++)
		drain_idle(r->graph, e->edge->child); /* as the reference program does */
	/* The node may close with it, and clients may ask meanwhile. */
	e->node_name = xstrdup(edge_shown_child(e->edge)->name);
	struct node *n = node_ref(e->edge->child);
	detach(e);
	node_unref_apart(n);
	graph_change_end(r->graph);

	list_del_init(&e->link);
	char *id = TAKE(e->id);
	if (e->is_gone)
		*e->is_gone = true;
	export_free(e);
	if (r->observer && r->observer->deleted)
		r->observer->deleted(r->observer_arg, id);
	free(id);
	co_queue_wake_all(&r->changed);
}

static void begin_removal(struct export *e)
{
	if (e->shutting_down)
		return;
	e->shutting_down = true;
	e->type->disconnect(e);
	co_start(e->registry->graph->loop, remove_export, e);
}

int export_del(struct export_registry *r, struct export *e, enum block_export_remove_mode mode,
	       struct error **errp)
{
	if (e->shutting_down)
		return error_set(errp, -EBUSY, "Export '%s' is already shutting down", e->id);
	if (mode == BLOCK_EXPORT_REMOVE_MODE_SAFE && e->users > 0)
		return error_set(errp, -EBUSY, "export '%s' still in use", e->id);

	bool is_gone = e->users > 0;
	/* If nobody holds it up let the client's next command find the node free. */
	if (!is_gone)
		e->is_gone = &is_gone;
	begin_removal(e);
	while (!is_gone)
		co_queue_wait(&r->changed);
	return 0;
}

static void co_fn delete_matching(struct export_registry *r, const enum block_export_type *type)
{
	for (;;) {
		bool found = false;
		struct export *e;
		list_for_each(e, &r->exports, link) {
			if (type && e->type->type != *type)
				continue;
			found = true;
			begin_removal(e); /* only queues */
		}
		if (!found)
			return;
		co_queue_wait(&r->changed);
	}
}

void export_del_type(struct export_registry *r, enum block_export_type type)
{
	delete_matching(r, &type);
}

void export_del_all(struct export_registry *r)
{
	delete_matching(r, NULL);
}

struct export *export_find(struct export_registry *r, const char *id, struct error **errp)
{
	struct export *e = find(r, id);
	if (!e)
		error_set(errp, -ENOENT, "Export '%s' is not found", id);
	return e;
}

static struct block_export_info *info_of(const struct export *e)
{
	struct block_export_info *info = NEW(struct block_export_info);
	info->id = xstrdup(e->id);
	info->type = e->type->type;
	info->node_name = xstrdup(e->edge ? edge_shown_child(e->edge)->name : e->node_name);
	info->shutting_down = e->shutting_down;
	return info;
}

void export_query(struct export_registry *r, struct block_export_info_list *ret)
{
	size_t count = 0;
	struct export *e;
	list_for_each(e, &r->exports, link)
		count++;

	ret->items = xalloc(MAX(count, 1), sizeof(*ret->items));
	ret->count = count;
	list_for_each(e, &r->exports, link)
		ret->items[--count] = info_of(e);
}

void export_report_failure(struct export *e, bool is_read, int error)
{
	const struct export_observer *o = e->registry->observer;
	if (error != -ENOTSUP && error != -EINVAL && o && o->failed)
		o->failed(e->registry->observer_arg, e, is_read, error);
}

uint64_t export_look_ns(const struct export *e)
{
	return e->iothread ? e->iothread->poll_max_ns : UINT64_MAX;
}

void export_enter(struct export *e)
{
	assert(!e->shutting_down);
	e->users++;
}

void export_leave(struct export *e)
{
	assert(e->users > 0);
	if (--e->users == 0)
		co_queue_wake_all(&e->unused);
}
