/* SPDX-License-Identifier: MIT */
/*
 * The command transaction, with the table of all kinds of actions, and snapshots.
 * Control thread.
 */
#include "block/snapshot.h"
#include "daemon/daemon.h"
#include "daemon/transaction.h"
#include "schema/commands.h"

/* --- The kinds ----------------------------------------------------------------- */

static int co_fn prepare_abort(struct transaction *t, struct action *a, struct error **errp)
{
	return error_set(errp, -ECANCELED, "Transaction aborted using Abort action");
}

const struct action_kind abort_action = {.can_group = true, .prepare = prepare_abort};

/* A snapshot's state is its index in the set, plus one. */
static size_t index_of(const struct action *a)
{
	return (size_t)(uintptr_t)a->state - 1;
}

static void set_index(struct action *a, size_t index)
{
	a->state = (void *)(uintptr_t)(index + 1);
}

/* The base: what is unflushed goes there, and it is opened anew for reading. */
static struct sound_target find_base(const struct transaction_action *args)
{
	const struct blockdev_snapshot_sync *sync = args->u.blockdev_snapshot_sync.data;
	struct sound_target t = {.flags = SOUND_FLUSH | SOUND_STORAGE};
	if (args->type == TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT)
		t.name = args->u.blockdev_snapshot.data->node;
	else
		t.name = sync->node_name ? sync->node_name : sync->device;
	return t;
}

static int co_fn open_snapshot(struct transaction *t, struct action *a, struct error **errp)
{
	const struct transaction_action *args = a->args;
	set_index(a, args->type == TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT
			     ? snapshot_set_add(t->snapshots, args->u.blockdev_snapshot.data)
			     : snapshot_set_add_sync(t->snapshots,
						     args->u.blockdev_snapshot_sync.data));
	return 0;
}

static void list_base(struct transaction *t, struct action *a)
{
	transaction_drain_later(t, snapshot_set_base(t->snapshots, index_of(a)));
}

static int co_fn prepare_snapshot(struct transaction *t, struct action *a, struct error **errp)
{
	return snapshot_set_link(t->snapshots, index_of(a), &t->tx, errp);
}

/* Of both commands. */
const struct action_kind snapshot_action = {
	.is_snapshot = true,
	.target = find_base,
	.open = open_snapshot,
	.list_nodes = list_base,
	.prepare = prepare_snapshot,
};

const struct action_kind *action_kind_of(const struct transaction_action *action)
{
	static const struct action_kind *const kinds[] = {
		[TRANSACTION_ACTION_KIND_ABORT] = &abort_action,
		[TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ADD] = &bitmap_add_action,
		[TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_REMOVE] = &bitmap_remove_action,
		[TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_CLEAR] = &bitmap_clear_action,
		[TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_ENABLE] = &bitmap_enable_action,
		[TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_DISABLE] = &bitmap_disable_action,
		[TRANSACTION_ACTION_KIND_BLOCK_DIRTY_BITMAP_MERGE] = &bitmap_merge_action,
		[TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP] = &backup_action,
		[TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT] = &snapshot_action,
		[TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC] = &internal_snapshot_action,
		[TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC] = &snapshot_action,
		[TRANSACTION_ACTION_KIND_DRIVE_BACKUP] = &backup_action,
	};
	return kinds[action->type];
}

/* --- Commands ------------------------------------------------------------------- */

int co_fn qmp_transaction(const struct transaction_args *args, struct error **errp)
{
	bool grouped = args->properties &&
		       args->properties->completion_mode == ACTION_COMPLETION_MODE_GROUPED;
	return transaction_run(args->actions.items, args->actions.count, grouped, errp);
}

int co_fn qmp_blockdev_snapshot(const struct blockdev_snapshot *args, struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT,
		.u.blockdev_snapshot.data = (struct blockdev_snapshot *)args,
	};
	return transaction_run_one(&action, errp);
}

int co_fn qmp_blockdev_snapshot_sync(const struct blockdev_snapshot_sync *args,
				     struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_SYNC,
		.u.blockdev_snapshot_sync.data = (struct blockdev_snapshot_sync *)args,
	};
	return transaction_run_one(&action, errp);
}
