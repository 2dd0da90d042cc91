/* SPDX-License-Identifier: MIT */
/*
 * Waiting for remote storage without the change lock. Control thread, in coroutines.
 *
 * A request that hangs does so at the node of the storage, whatever is above it. So it is
 * enough to look at those nodes.
 */
#include "block/sound.h"

#include <assert.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/vec.h"
#include "block/change.h"
#include "block/consumer.h"
#include "block/driver.h"
#include "block/node_internal.h"
#include "block/request.h"
#include "block/walk.h"

/* A node of remote storage. */
struct probe {
	struct sounding *sounding;
	struct node *node; /* referenced */
	const struct node *root; /* the caller's that led to it; NULL: users of those did */
	uint64_t number;   /* the first request that is not waited for */
	bool asks;         /* for an answer of its own */
	bool flushes;
	int result;        /* -ETIMEDOUT, or that of the flush */
};

struct sounding {
	struct graph *graph;
	struct node_array roots; /* referenced once there is something to wait for */
	unsigned *flags;         /* one for each root */
	struct probe *probes;
	size_t count, capacity;
	struct co_group group;
};

static bool is_busy(const struct node *n)
{
	return !list_is_empty(&n->requests) || n->work > 0 || n->flush_lock.owner;
}

static struct probe *add_probe(struct sounding *s, struct node *n)
{
	if (s->count == s->capacity) {
		s->capacity = s->capacity == 0 ? 8 : 2 * s->capacity;
		s->probes = xrealloc(s->probes, s->capacity, sizeof(s->probes[0]));
	}
	struct probe *p = &s->probes[s->count++];
	*p = (struct probe){.node = n, .number = n->begun};
	return p;
}

static struct probe *find_probe(const struct sounding *s, const struct node *n)
{
	for (size_t i = 0; i < s->count; i++) {
		if (s->probes[i].node == n)
			return &s->probes[i];
	}
	return NULL;
}

static bool is_any_dirty(const struct node_array *nodes)
{
	for (size_t i = 0; i < nodes->count; i++) {
		if (nodes->items[i]->flushed_generation < nodes->items[i]->write_generation)
			return true;
	}
	return false;
}

/* What is below @root, one of the caller's nodes. */
static void add_below(struct sounding *s, struct node *root, unsigned flags)
{
	struct node_array below _cleanup_node_array_;
	walk_below(s->graph, &root, 1, &below);
	bool flushes = (flags & SOUND_FLUSH) && is_any_dirty(&below);
	for (size_t i = 0; i < below.count; i++) {
		struct node *n = below.items[i];
		if (!n->driver->is_remote || !n->is_open)
			continue;
		struct probe *p = find_probe(s, n);
		if (!p) {
			p = add_probe(s, n);
			p->root = root;
		}
		p->asks |= (flags & SOUND_STORAGE) || is_busy(n);
		p->flushes |= flushes;
	}
}

/*
 * What the users that a drain would wait for are at work with, here and elsewhere. A request
 * may not have come to the storage that it needs yet, so that is asked in any case.
 */
static void add_used(struct sounding *s)
{
	struct node_array above _cleanup_node_array_, below _cleanup_node_array_;
	struct node_array used _cleanup_node_array_ = {0};
	walk_users(s->graph, s->roots.items, s->roots.count, &above);
	for (size_t i = 0; i < above.count; i++) {
		struct edge *e, *other;
		list_for_each (e, &above.items[i]->parents, child_link) {
			if (!e->consumer || e->consumer->operations == 0)
				continue;
			list_for_each (other, &e->consumer->edges, parent_link)
				node_array_add(&used, other->child);
		}
	}
	walk_below(s->graph, used.items, used.count, &below);
	for (size_t i = 0; i < below.count; i++) {
		struct node *n = below.items[i];
		if (!n->driver->is_remote || !n->is_open)
			continue;
		struct probe *p = find_probe(s, n);
		p = p ? p : add_probe(s, n);
		p->asks = true;
	}
}

/*
 * Whether a node above is being opened or closed, and its driver at work: a drain waits for that,
 * too, and it may have to wait for storage elsewhere.
 */
static bool is_work_above(const struct sounding *s)
{
	struct node_array above _cleanup_node_array_ = {0};
	walk_above(s->graph, s->roots.items, s->roots.count, &above);
	for (size_t i = 0; i < above.count; i++) {
		struct node *n = above.items[i];
		if ((n->opener || list_is_linked(&n->closing_link)) && n->work > 0 &&
		    node_is_remote(n))
			return true;
	}
	return false;
}

/* Read something: storage that hangs does not answer. */
static int co_fn ask(struct node *n)
{
	uint64_t bytes = n->limits.request_alignment;
	void *p = n->size >= bytes && n->driver->read ? buffer_get(n->loop, bytes) : NULL;
	if (!p)
		return 0;
	struct iovec storage;
	struct request rq;
	request_begin(&rq, n, 0, bytes);
	int r = n->driver->read(n, 0, bytes, vec_flat(&storage, p, bytes), 0);
	request_end(&rq);
	buffer_put(n->loop, p, bytes);
	return r;
}

/* Until the requests below @number have ended, and the flushes that came before this. */
static void co_fn wait_for_requests(struct node *n, uint64_t number)
{
	const struct request *first;
	while ((first = list_first(&n->requests, struct request, link)) && first->number < number)
		co_queue_wait(&n->conflicts);
	co_mutex_lock(&n->flush_lock);
	co_mutex_unlock(&n->flush_lock);
}

static void co_fn probe_run(void *arg)
{
	struct probe *p = arg;
	struct node *n = p->node;
	if (p->asks && ask(n) == -ETIMEDOUT)
		p->result = -ETIMEDOUT;
	if (p->flushes && p->result == 0)
		p->result = node_flush(n);
	node_work_end(n);
	wait_for_requests(n, p->number);
	co_group_done(&p->sounding->group);
}

/*
 * The client's node itself. What a job has put in between goes when the job ends, and nobody
 * may find it afterwards. NULL for what has gone already.
 */
static struct node *find_root(struct graph *g, const struct sound_target *t)
{
	struct node *n = t->node || !t->name ? t->node : node_find(g, t->name);
	while (n && !n->options)
		n = n->file ? n->file->child : NULL;
	return n;
}

static void find_roots(struct sounding *s, const struct sound_target *targets, size_t count)
{
	s->flags = xalloc(MAX(count, 1), sizeof(s->flags[0]));
	for (size_t i = 0; i < count; i++) {
		struct node *n = find_root(s->graph, &targets[i]);
		if (!n)
			continue;
		s->flags[s->roots.count] = targets[i].flags;
		node_array_add(&s->roots, n);
	}
}

/* Find what is to be waited for; false for nothing. */
static bool find_all(struct sounding *s)
{
	s->count = 0;
	for (size_t i = 0; i < s->roots.count; i++)
		add_below(s, s->roots.items[i], s->flags[i]);
	add_used(s);
	bool must_wait = is_work_above(s);
	for (size_t i = 0; i < s->count; i++)
		must_wait |= s->probes[i].asks || s->probes[i].flushes;
	return must_wait;
}

/*
 * The same with the lock, when nothing is drained: a drain that comes later waits for what we
 * have begun, so that no driver is reopened under it.
 */
static void co_fn begin(struct sounding *s)
{
	for (size_t i = 0; i < s->roots.count; i++)
		node_ref(s->roots.items[i]);
	graph_change_begin(s->graph);
	find_all(s);
	for (size_t i = 0; i < s->count; i++) {
		node_ref(s->probes[i].node);
		node_work_begin(s->probes[i].node);
	}
	graph_change_end(s->graph);
}

static void co_fn run(struct sounding *s)
{
	co_group_init(&s->group);
	for (size_t i = 0; i < s->count; i++) {
		s->probes[i].sounding = s;
		co_group_add(&s->group);
		co_start(s->graph->loop, probe_run, &s->probes[i]);
	}
	while (is_work_above(s))
		co_queue_wait(&s->graph->worked);
	co_group_wait(&s->group);
}

static int judge(const struct sounding *s, struct error **errp)
{
	const struct probe *failed = NULL;
	for (size_t i = 0; i < s->count; i++) {
		const struct probe *p = &s->probes[i];
		/* That nobody answers says more than that a flush has failed. */
		if (p->root && p->result < 0 && (!failed || p->result == -ETIMEDOUT))
			failed = p;
	}
	if (!failed)
		return 0;
	if (failed->result == -ETIMEDOUT)
		return error_set(errp, -ETIMEDOUT, "The storage of node '%s' does not answer",
				 failed->root->name);
	return error_set_errno(errp, failed->result, "Could not flush node '%s'",
			       failed->root->name);
}

static void co_fn finish(struct sounding *s)
{
	for (size_t i = 0; i < s->count; i++)
		node_unref_unlocked(s->probes[i].node);
	for (size_t i = 0; i < s->roots.count; i++)
		node_unref_unlocked(s->roots.items[i]);
}

int co_fn nodes_sound(struct graph *g, const struct sound_target *targets, size_t count,
		      struct error **errp)
{
	struct sounding s = {.graph = g};
	int r = 0;
	assert(g->change_lock.owner != co_self());
	find_roots(&s, targets, count);
	if (find_all(&s)) {
		begin(&s);
		run(&s);
		r = judge(&s, errp);
		finish(&s);
	}
	node_array_finish(&s.roots);
	free(s.flags);
	free(s.probes);
	return r;
}
