/* SPDX-License-Identifier: MIT */
/*
 * The graph itself: its registers and the right to change it. Control thread.
 */
#include "block/graph.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/node.h"

/* How long a change waits with the lock for remote storage at first, and how often that is doubled. */
#define PATIENCE_NS UINT64_C(1000000000)
#define PATIENCE_DOUBLED_MAX 6

/* Nobody wants to know anything. */
static const struct graph_observer no_observer;

struct graph *graph_new(struct loop *loop, const struct driver *const *drivers)
{
	struct graph *g = NEW(struct graph);
	g->loop = loop;
	g->observer = &no_observer;
	g->drivers = drivers;
	list_init(&g->nodes);
	list_init(&g->closing);
	list_init(&g->making);
	list_init(&g->consumers);
	list_init(&g->drains);
	list_init(&g->throttle_groups);
	list_init(&g->secrets);
	list_init(&g->tls_creds);
	list_init(&g->authz);
	list_init(&g->iothreads);
	list_init(&g->unsettled);
	list_init(&g->layer_maps);
	list_init(&g->layer_pages);
	co_queue_init(&g->worked);
	co_mutex_init(&g->change_lock);
	return g;
}

void graph_free(struct graph *g)
{
	if (!g)
		return;
	assert(list_is_empty(&g->nodes) && list_is_empty(&g->closing) && !g->by_name);
	assert(list_is_empty(&g->consumers));
	assert(list_is_empty(&g->drains));
	free(g);
}

const struct driver *graph_find_driver(const struct graph *g, const char *name)
{
	for (const struct driver *const *d = g->drivers; *d; d++) {
		if (strcmp((*d)->name, name) == 0)
			return *d;
	}
	return NULL;
}

const struct driver *co_fn graph_load_driver(const struct graph *g, const char *name,
					     struct error **errp)
{
	const struct driver *d = graph_find_driver(g, name);
	if (!d)
		error_set(errp, -ENOENT, "Unknown driver '%s'", name);
	return d && d->load ? d->load(errp) : d;
}

void co_fn graph_change_begin(struct graph *g)
{
	co_mutex_lock(&g->change_lock);
	g->turns++;
}

void co_fn graph_change_begin_patiently(struct graph *g, unsigned tries)
{
	graph_change_begin(g);
	g->patience_ns = PATIENCE_NS << MIN(tries, PATIENCE_DOUBLED_MAX);
}

void graph_change_is_certain(struct graph *g)
{
	g->patience_ns = 0;
}

void graph_change_end(struct graph *g)
{
	g->patience_ns = 0;
	co_mutex_unlock(&g->change_lock);
}

bool graph_is_changing(const struct graph *g)
{
	return g->change_lock.owner;
}

void graph_change_suspend(struct graph *g, struct graph_suspension *ret)
{
	*ret = (struct graph_suspension){0};
	if (!g->change_lock.owner || g->change_lock.owner != co_self())
		return;
	ret->was_held = true;
	ret->apart = TAKE(g->apart);
	ret->patience_ns = g->patience_ns;
	graph_change_end(g);
}

void co_fn graph_change_resume(struct graph *g, const struct graph_suspension *s)
{
	if (!s->was_held)
		return;
	graph_change_begin(g);
	g->apart = s->apart;
	g->patience_ns = s->patience_ns;
}

void graph_apart_begin(struct graph *g, struct graph_apart *ret)
{
	assert(g->change_lock.owner == co_self() && !g->apart);
	*ret = (struct graph_apart){.owner = co_self(), .party = ret};
	list_init(&ret->opening);
	g->apart = ret;
}

void graph_apart_end(struct graph *g, struct graph_apart *a)
{
	assert(g->apart == a && a->party == a);
	struct node *n, *following;
	list_for_each_safe (n, following, &a->opening, opening_link) {
		list_del_init(&n->opening_link);
		n->opener = NULL;
	}
	g->apart = NULL;
}

void co_fn graph_change_begin_apart(struct graph *g, struct graph_apart *ret)
{
	graph_change_begin(g);
	graph_apart_begin(g, ret);
}

void graph_change_end_apart(struct graph *g, struct graph_apart *a)
{
	graph_apart_end(g, a);
	graph_change_end(g);
}

void co_fn graph_apart_help_begin(struct graph *g, struct graph_apart *party,
				  struct graph_apart *ret)
{
	graph_change_begin_apart(g, ret);
	ret->party = party;
}

void graph_apart_help_end(struct graph *g, struct graph_apart *a)
{
	assert(g->apart == a && list_is_empty(&a->opening));
	g->apart = NULL;
	graph_change_end(g);
}

struct graph_apart *graph_apart_leave(struct graph *g)
{
	struct graph_apart *a = g->apart;
	if (!a || a->owner != co_self())
		return NULL;
	g->apart = NULL;
	a->patience_ns = g->patience_ns;
	graph_change_end(g);
	return a;
}

void co_fn graph_apart_return(struct graph *g, struct graph_apart *a)
{
	if (!a)
		return;
	graph_change_begin(g);
	g->apart = a;
	g->patience_ns = a->patience_ns;
}
