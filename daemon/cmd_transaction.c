/* SPDX-License-Identifier: MIT */
/*
 * Snapshots, alone and many at one moment. Control thread.
 */
#include <stdlib.h>

#include "base/util.h"
#include "block/graph.h"
#include "block/snapshot.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

/* One transaction under way. */
struct transaction {
	struct graph_tx tx;
	struct snapshot *snapshots;
	unsigned count;
};

static int co_fn prepare_action(struct transaction *t, const struct transaction_action *action,
				struct error **errp)
{
	struct snapshot *s = &t->snapshots[t->count];
	int r = -EINVAL;

	switch (action->type) {
	case TRANSACTION_ACTION_KIND_ABORT:
		return error_set(errp, -ECANCELED, "Transaction aborted using Abort action");
	case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT:
		r = snapshot_adopt(s, the_daemon.graph, action->u.blockdev_snapshot.data, errp);
		break;
	case TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC:
		r = snapshot_create(s, the_daemon.graph, action->u.blockdev_snapshot_sync.data, errp);
		break;
	case TRANSACTION_ACTION_KIND__COUNT:
		break;
	}
	if (r < 0)
		return r;
	t->count++;
	return snapshot_link(s, &t->tx, errp);
}

/* All of @actions, or none of them. */
static int co_fn run_transaction(const struct transaction_action *const *actions, size_t count,
				 struct error **errp)
{
	struct transaction t = {.snapshots = xalloc(MAX(count, 1), sizeof(*t.snapshots))};
	int r = 0;

	graph_change_begin(the_daemon.graph);
	graph_tx_begin(&t.tx, the_daemon.graph);
	for (size_t i = 0; r >= 0 && i < count; i++)
		r = prepare_action(&t, actions[i], errp);
	if (r >= 0)
		r = graph_tx_prepare(&t.tx, errp);
	if (r >= 0)
		graph_tx_commit(&t.tx);
	else
		graph_tx_abort(&t.tx);
	for (unsigned i = t.count; i-- > 0;)
		snapshot_finish(&t.snapshots[i], r >= 0);
	graph_change_end(the_daemon.graph);
	free(t.snapshots);
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
