/* SPDX-License-Identifier: MIT */
/*
 * Transactions of the monitor: several changes at one moment, all or none.
 *
 * Each kind of action is a row of functions beside its command, named in the table in
 * cmd_transaction.c. When remote storage that hangs has been waited for, for all actions at
 * the same time (block/sound.h), and with the change lock held, the engine
 *
 *   1. opens each action in order, while users go on: what takes long, such as
 *      creating an image. Snapshots are a special case: all that stand in a row are
 *      made together. The lock is let go of while images are made and opened at servers
 *      (graph_apart_begin()), and what has been made is found by nobody else; so what was found out
 *      before is checked again, by the set of snapshots at the end of this step, by
 *      other actions when they are prepared;
 *   2. drains all nodes that the actions name, so that what follows is one moment for
 *      their users: a request falls before all of it, or after;
 *   3. prepares each in order. Each sees what those before it have done;
 *   4. checks the graph as it now stands, and commits the changes of the graph;
 *   5. commits each in order, which cannot fail; ends the drain; cleans each up.
 *      A base of a snapshot becomes read-only after the last commit.
 *
 * When something fails before 5, the actions that were prepared are aborted in
 * reverse, then the changes of the graph undone, and everything cleaned up
 * in reverse. The
 * transaction's error is that of the first action in order that failed; an action of
 * the steps 1 and 2 comes before one of step 3.
 *
 * Control thread, in a coroutine.
 */
#ifndef DAEMON_TRANSACTION_H
#define DAEMON_TRANSACTION_H

#include "block/graph.h"
#include "block/sound.h"
#include "schema/types.h"

struct action;
struct job_tx;
struct snapshot_set;

struct transaction {
	struct graph *graph;
	/*
	 * For changes of the graph between prepare and commit. It is not prepared
	 * before step 4: do not read permissions that it will set. A row that has to
	 * change the graph in a transaction of its own must undo that by its abort.
	 */
	struct graph_tx tx;
	struct snapshot_set *snapshots;
	/* For job_options.tx: with completion-mode grouped, one for all jobs; else NULL. */
	struct job_tx *jobs;
	struct action *actions;
	const struct action *refused; /* when step 4 fails: the one that is taken for the cause */
	bool begins_again; /* it fails because it had to wait for too long: nobody is to hear of it */
	size_t count;
	struct node **nodes; /* to drain; without references */
	size_t node_count, node_capacity;
};

/* All functions but prepare are optional. */
struct action_kind {
	bool can_group;   /* starts a job, which completion-mode=grouped ties to the others */
	bool is_snapshot; /* its open adds to transaction.snapshots */
	/* Before all: whose storage is waited for. Must not wait. */
	struct sound_target (*target)(const struct transaction_action *args);
	/* Step 1. May wait. What it sets up, clean gives back. */
	int co_fn (*open)(struct transaction *t, struct action *a, struct error **errp);
	/* Step 2: call transaction_drain_later() for the nodes that it is about. Must not wait. */
	void (*list_nodes)(struct transaction *t, struct action *a);
	/* Step 3. May wait. On failure it has undone what it did. */
	int co_fn (*prepare)(struct transaction *t, struct action *a, struct error **errp);
	/* Step 5. May wait, as when a job is started. */
	void co_fn (*commit)(struct transaction *t, struct action *a);
	/* Undo a successful prepare. */
	void co_fn (*abort)(struct transaction *t, struct action *a);
	/* Something has failed: for every action in order, before the first clean. Must not wait. */
	void (*failed)(struct transaction *t, struct action *a);
	/* After all that, for every action, also one that was not begun: frees its state. */
	void co_fn (*clean)(struct transaction *t, struct action *a);
};

struct action {
	const struct action_kind *kind;
	const struct transaction_action *args;
	void *state; /* the kind's own; NULL at first */
};

/* For list_nodes. @n may be NULL, for a name that prepare will complain about. */
void transaction_drain_later(struct transaction *t, struct node *n);

/* Do all of @actions, or none. @grouped: as completion-mode says. */
int co_fn transaction_run(struct transaction_action *const *actions, size_t count, bool grouped,
			  struct error **errp);
/* A command that is an action: do it alone. */
int co_fn transaction_run_one(struct transaction_action *action, struct error **errp);
/* The kind of @action; in cmd_transaction.c. */
const struct action_kind *action_kind_of(const struct transaction_action *action);

/* The rows. */
extern const struct action_kind bitmap_add_action, bitmap_remove_action, bitmap_clear_action,
	bitmap_enable_action, bitmap_disable_action, bitmap_merge_action;
extern const struct action_kind abort_action, backup_action, snapshot_action,
	internal_snapshot_action;

#endif
