/* SPDX-License-Identifier: MIT */
/*
 * Snapshots, alone and many at one moment. Control thread.
 */
#include "block/graph.h"
#include "block/snapshot.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

static int co_fn run(struct snapshot_set *set, bool aborts, struct error **errp)
{
	int r = snapshot_set_prepare(set, errp);
	if (r < 0)
		return r;
	if (aborts)
		return error_set(errp, -ECANCELED, "Transaction aborted using Abort action");
	return snapshot_set_commit(set, errp);
}

/* All of @actions, or none of them. */
static int co_fn run_transaction(const struct transaction_action *const *actions, size_t count,
				 struct error **errp)
{
	graph_change_begin(the_daemon.graph);
	struct snapshot_set *set = snapshot_set_create(the_daemon.graph);
	bool aborts = false;
	for (size_t i = 0; i < count && !aborts; i++) {
		switch (actions[i]->type) {
		case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
			snapshot_set_add(set, actions[i]->u.blockdev_snapshot.data);
			break;
		case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
			snapshot_set_add_sync(set, actions[i]->u.blockdev_snapshot_sync.data);
			break;
		default:
			aborts = true;
		}
	}
	int r = run(set, aborts, errp);
	snapshot_set_destroy(set);
	graph_change_end(the_daemon.graph);
	return r;
}

static int check_properties(const struct transaction_args *args, struct error **errp)
{
	if (!args->properties ||
	    args->properties->completion_mode == ACTION_COMPLETION_MODE_INDIVIDUAL)
		return 0;
	for (size_t i = 0; i < args->actions.count; i++) {
		enum transaction_action_kind kind = args->actions.items[i]->type;
		if (kind != TRANSACTION_ACTION_KIND_ABORT)
			return error_set(errp, -EINVAL, "Action '%s' does not support Transaction "
					 "property completion-mode = grouped",
					 transaction_action_kind_name(kind));
	}
	return 0;
}

int co_fn qmp_transaction(const struct transaction_args *args, struct error **errp)
{
	int r = check_properties(args, errp);
	if (r < 0)
		return r;
	return run_transaction((const struct transaction_action *const *)args->actions.items,
			       args->actions.count, errp);
}

int co_fn qmp_blockdev_snapshot(const struct blockdev_snapshot *args, struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT,
		.u.blockdev_snapshot.data = (struct blockdev_snapshot *)args,
	};
	return run_transaction((const struct transaction_action *[]){&action}, 1, errp);
}

int co_fn qmp_blockdev_snapshot_sync(const struct blockdev_snapshot_sync *args,
				     struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC,
		.u.blockdev_snapshot_sync.data = (struct blockdev_snapshot_sync *)args,
	};
	return run_transaction((const struct transaction_action *[]){&action}, 1, errp);
}
