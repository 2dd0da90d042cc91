/* SPDX-License-Identifier: MIT */
/*
 * Making changes that begin again when storage hangs. Control thread, in coroutines.
 */
#include "block/change.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "block/node_internal.h"

static int co_fn run(struct graph *g, const struct sound_target *targets, size_t count,
		     bool must_answer, graph_change_fn *change, void *arg, struct error **errp)
{
	for (unsigned tries = 0;; tries++) {
		struct error *error = NULL;
		int r = nodes_sound(g, targets, count, must_answer ? errp : NULL);
		if (r < 0 && must_answer)
			return r;
		graph_change_begin_patiently(g, tries);
		r = change(arg, &error);
		graph_change_end(g);
		if (r != -ERESTART)
			return r < 0 ? error_move(errp, error) : r;
		error_free(error);
	}
}

int co_fn graph_change_around(struct graph *g, const struct sound_target *targets, size_t count,
			      graph_change_fn *change, void *arg, struct error **errp)
{
	return run(g, targets, count, true, change, arg, errp);
}

int co_fn graph_change_anyway(struct graph *g, const struct sound_target *targets, size_t count,
			      graph_change_fn *change, void *arg, struct error **errp)
{
	return run(g, targets, count, false, change, arg, errp);
}

/* A flush that may be left to itself. */
struct flushing {
	struct node *node; /* referenced */
	struct loop_timer patience;
	struct coroutine *waiter;
	bool is_left; /* nobody waits for it any more */
	bool is_done;
	int result;
};

static void flushing_free(struct flushing *f)
{
	loop_timer_cancel(&f->patience);
	free(f);
}

static void co_fn flush(void *arg)
{
	struct flushing *f = arg;
	f->result = node_flush(f->node);
	f->is_done = true;
	node_work_end(f->node);
	if (!f->is_left) {
		if (f->waiter)
			co_wake(TAKE(f->waiter));
		return;
	}
	node_unref_unlocked(f->node);
	flushing_free(f);
}

static void on_impatient(struct loop_timer *t)
{
	struct flushing *f = container_of(t, struct flushing, patience);
	if (f->waiter)
		co_wake(TAKE(f->waiter));
}

int co_fn node_flush_patiently(struct node *n)
{
	struct graph *g = n->graph;
	if (g->patience_ns == 0 || !node_is_remote(n))
		return node_flush(n);
	struct flushing *f = NEW(struct flushing);
	f->node = node_ref(n);
	node_work_begin(n);
	loop_timer_init(g->loop, &f->patience, on_impatient);
	loop_timer_set(&f->patience, loop_now_ns(g->loop) + g->patience_ns);
	co_start(g->loop, flush, f);
	if (!f->is_done) {
		f->waiter = co_self();
		co_yield();
	}
	if (!f->is_done) {
		f->is_left = true;
		return -ERESTART;
	}
	int r = f->result;
	node_unref(f->node);
	flushing_free(f);
	return r;
}

void co_fn node_unref_unlocked(struct node *n)
{
	struct graph *g = n->graph;
	struct graph_apart apart;
	bool is_last = n->references == 1;
	if (is_last)
		graph_change_begin_apart(g, &apart);
	node_unref(n);
	if (is_last)
		graph_change_end_apart(g, &apart);
}
