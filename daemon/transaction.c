/* SPDX-License-Identifier: MIT */
/*
 * The engine of transactions. Control thread, in a coroutine that holds the change lock.
 */
#include "daemon/transaction.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "block/change.h"
#include "block/node.h"
#include "block/snapshot.h"
#include "blockjobs/job.h"
#include "daemon/daemon.h"

void transaction_drain_later(struct transaction *t, struct node *n)
{
	if (!n)
		return;
	if (t->node_count == t->node_capacity) {
		t->node_capacity = t->node_capacity == 0 ? 8 : 2 * t->node_capacity;
		t->nodes = xrealloc(t->nodes, t->node_capacity, sizeof(t->nodes[0]));
	}
	t->nodes[t->node_count++] = n;
}

static int check_grouped(const struct transaction *t, struct error **errp)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!t->actions[i].kind->can_group)
			return error_set(errp, -EINVAL, "Action '%s' does not support Transaction "
					 "property completion-mode = grouped",
					 transaction_action_kind_name(t->actions[i].args->type));
	}
	return 0;
}

/* Step 1. Snapshots only join the set, until somebody may want to see their overlays. */
static int co_fn open_all(struct transaction *t, struct error **errp)
{
	for (size_t i = 0; i < t->count; i++) {
		struct action *a = &t->actions[i];
		if (!a->kind->open)
			continue;
		int r = a->kind->is_snapshot ? 0 : snapshot_set_prepare(t->snapshots, errp);
		if (r >= 0)
			r = a->kind->open(t, a, errp);
		if (r < 0)
			return r;
	}
	return snapshot_set_prepare(t->snapshots, errp);
}

static void list_nodes(struct transaction *t)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->actions[i].kind->list_nodes)
			t->actions[i].kind->list_nodes(t, &t->actions[i]);
	}
}

/* Undo the first @prepared actions, and all changes of the graph. */
static void co_fn undo(struct transaction *t, size_t prepared)
{
	while (prepared-- > 0) {
		struct action *a = &t->actions[prepared];
		if (a->kind->abort)
			a->kind->abort(t, a);
	}
	graph_tx_abort(&t->tx);
}

static void co_fn commit(struct transaction *t)
{
	graph_tx_commit(&t->tx);
	for (size_t i = 0; i < t->count; i++) {
		if (t->actions[i].kind->commit)
			t->actions[i].kind->commit(t, &t->actions[i]);
	}
	/* Now that it is known what becomes of their bitmaps. */
	snapshot_set_settle(t->snapshots);
}

/* Steps 3 to 5. */
static int co_fn run_drained(struct transaction *t, struct error **errp)
{
	int r = snapshot_set_flush(t->snapshots, errp);
	if (r < 0)
		return r;
	graph_change_is_certain(t->graph);
	graph_tx_begin(&t->tx, t->graph);
	size_t prepared = 0;
	while (r >= 0 && prepared < t->count) {
		struct action *a = &t->actions[prepared];
		r = a->kind->prepare(t, a, errp);
		if (r >= 0)
			prepared++;
	}
	if (r >= 0) {
		r = graph_tx_prepare(&t->tx, errp);
		if (r < 0)
			t->refused = &t->actions[t->count - 1];
	}
	if (r < 0)
		undo(t, prepared);
	else
		commit(t);
	return r;
}

static int co_fn run(struct transaction *t, struct error **errp)
{
	struct graph_apart apart;
	graph_apart_begin(t->graph, &apart);
	int r = open_all(t, errp);
	graph_apart_end(t->graph, &apart);
	if (r >= 0)
		r = snapshot_set_check_again(t->snapshots, errp);
	/* Most of what is unflushed goes while the users are still at work. */
	if (r >= 0)
		r = snapshot_set_flush(t->snapshots, errp);
	if (r < 0)
		return r;
	list_nodes(t);
	struct drain drain;
	r = drain_begin_patiently(t->graph, t->nodes, (unsigned)t->node_count, &drain, errp);
	if (r < 0)
		return r;
	r = run_drained(t, errp);
	drain_end(&drain);
	return r;
}

/* Then the jobs on its nodes have one pause, and not another one for the drain. */
static bool is_about_bitmaps(const struct transaction *t)
{
	for (size_t i = 0; i < t->count; i++) {
		const struct action_kind *kind = t->actions[i].kind;
		if (kind == &snapshot_action || kind == &internal_snapshot_action ||
		    kind == &backup_action)
			return false;
	}
	return true;
}

static void tell_failed(struct transaction *t)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->actions[i].kind->failed)
			t->actions[i].kind->failed(t, &t->actions[i]);
	}
}

/* What was set up in vain goes in the reverse of the order in which it came. */
static void co_fn clean(struct transaction *t, bool has_failed)
{
	/* Closing, and deleting, may take long. */
	struct graph_apart apart;
	graph_apart_begin(t->graph, &apart);
	for (size_t i = 0; i < t->count; i++) {
		struct action *a = &t->actions[has_failed ? t->count - 1 - i : i];
		if (a->kind->clean)
			a->kind->clean(t, a);
	}
	snapshot_set_destroy(t->snapshots);
	graph_apart_end(t->graph, &apart);
	job_tx_unref(t->jobs);
	free(t->nodes);
	free(t->actions);
}

/* What the client has asked for. */
struct wish {
	struct transaction_action *const *actions;
	size_t count;
	bool grouped;
};

static int co_fn run_locked(void *arg, struct error **errp)
{
	const struct wish *w = arg;
	struct graph *g = the_daemon.graph;
	struct transaction t = {
		.graph = g,
		.snapshots = snapshot_set_create(g),
		.jobs = w->grouped ? job_tx_new() : NULL,
		.actions = xalloc(w->count, sizeof(struct action)),
	};
	/* What comes after an action that is sure to fail is not even begun. */
	for (const struct action_kind *kind = NULL; t.count < w->count && kind != &abort_action;) {
		kind = action_kind_of(w->actions[t.count]);
		t.actions[t.count] = (struct action){.kind = kind, .args = w->actions[t.count]};
		t.count++;
	}
	job_table_stand_still(the_daemon.jobs);
	if (!is_about_bitmaps(&t))
		job_table_go_on(the_daemon.jobs);
	int r = w->grouped ? check_grouped(&t, errp) : 0;
	if (r >= 0)
		r = run(&t, errp);
	job_table_go_on(the_daemon.jobs);
	t.begins_again = r == -ERESTART;
	if (r < 0 && !t.begins_again)
		tell_failed(&t);
	clean(&t, r < 0);
	return r;
}

int co_fn transaction_run(struct transaction_action *const *actions, size_t count, bool grouped,
			  struct error **errp)
{
	struct sound_target *targets _cleanup_free_ = xalloc(MAX(count, 1), sizeof(targets[0]));
	for (size_t i = 0; i < count; i++) {
		const struct action_kind *kind = action_kind_of(actions[i]);
		targets[i] = kind->target ? kind->target(actions[i]) : (struct sound_target){0};
	}
	return graph_change_around(the_daemon.graph, targets, count, run_locked, &(struct wish){
		.actions = actions,
		.count = count,
		.grouped = grouped,
	}, errp);
}

int co_fn transaction_run_one(struct transaction_action *action, struct error **errp)
{
	return transaction_run(&action, 1, false, errp);
}
