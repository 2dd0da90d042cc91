/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots: taking one, alone or in a transaction, and deleting one.
 * Control thread, with the change lock held once storage that hangs has been waited for.
 */
#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/change.h"
#include "block/driver.h"
#include "block/graph.h"
#include "daemon/daemon.h"
#include "daemon/transaction.h"
#include "schema/commands.h"

/* The node called @device, which no other node uses, unless @op is forbidden on it. */
static int find_root(const char *device, enum block_operation op, struct node **ret,
		     struct error **errp)
{
	struct node *n = node_find_error(the_daemon.graph, device, errp);
	if (!n)
		return -ENODEV;
	if (!node_is_root(n))
		return error_set(errp, -EINVAL, "Need a root block node");
	*ret = n;
	return blocker_check(n, op, errp);
}

/* --- Taking ----------------------------------------------------------------------- */

static const struct blockdev_snapshot_internal *args_of(const struct action *a)
{
	return a->args->u.blockdev_snapshot_internal_sync.data;
}

static struct sound_target find_storage(const struct transaction_action *args)
{
	return (struct sound_target){
		.name = args->u.blockdev_snapshot_internal_sync.data->device,
		.flags = SOUND_STORAGE | SOUND_FLUSH,
	};
}

static void list_nodes(struct transaction *t, struct action *a)
{
	struct node *n = node_find(t->graph, args_of(a)->device);
	if (n && !node_is_root(n))
		return; /* it will be refused */
	/* Others may use the storage below. */
	struct node *keeper = n ? node_with_snapshots(n) : NULL;
	transaction_drain_later(t, keeper ? keeper : n);
}

static int co_fn check(const struct blockdev_snapshot_internal *args, struct node *n,
		       struct error **errp)
{
	if (!n->active)
		return error_set(errp, -EPERM, "Node '%s' is inactive", n->name);
	if (n->read_only)
		return error_set(errp, -EROFS, "Device '%s' is read only", args->device);
	struct node *keeper = node_with_snapshots(n);
	if (!keeper || !keeper->driver->snapshot_create)
		return error_set(errp, -ENOTSUP, "Block format '%s' used by device '%s' does not "
				 "support internal snapshots", n->driver->name, args->device);
	if (!*args->name)
		return error_set(errp, -EINVAL, "Name is empty");
	struct snapshot_info *old;
	int r = node_find_snapshot(keeper, NULL, args->name, &old, errp);
	if (r < 0)
		return r;
	if (!old)
		return 0;
	snapshot_info_free(old);
	return error_set(errp, -EEXIST, "Snapshot with name '%s' already exists on device '%s'",
			 args->name, args->device);
}

static int co_fn prepare(struct transaction *t, struct action *a, struct error **errp)
{
	const struct blockdev_snapshot_internal *args = args_of(a);
	struct node *n;
	int r = find_root(args->device, BLOCK_OP_INTERNAL_SNAPSHOT, &n, errp);
	if (r >= 0)
		r = check(args, n, errp);
	if (r < 0)
		return r;
	n = node_with_snapshots(n);
	r = n->driver->snapshot_create(n, args->name, errp);
	if (r < 0) {
		error_prefix(errp, "Failed to create snapshot '%s' on device '%s': ", args->name,
			     args->device);
		return r;
	}
	a->state = n;
	return 0;
}

static void co_fn abort_snapshot(struct transaction *t, struct action *a)
{
	struct node *n = a->state;
	struct snapshot_info *s;
	/* What cannot be deleted any more stays, unused. */
	if (node_find_snapshot(n, NULL, args_of(a)->name, &s, NULL) < 0 || !s)
		return;
	(void)n->driver->snapshot_delete(n, s->id, NULL);
	snapshot_info_free(s);
}

const struct action_kind internal_snapshot_action = {
	.target = find_storage,
	.list_nodes = list_nodes,
	.prepare = prepare,
	.abort = abort_snapshot,
};

int co_fn qmp_blockdev_snapshot_internal_sync(const struct blockdev_snapshot_internal *args,
					      struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_BLOCKDEV_SNAPSHOT_INTERNAL_SYNC,
		.u.blockdev_snapshot_internal_sync.data = (struct blockdev_snapshot_internal *)args,
	};
	return transaction_run_one(&action, errp);
}

/* --- Deleting --------------------------------------------------------------------- */

static int co_fn delete_drained(struct node *keeper, const char *id, struct error **errp)
{
	struct drain drain;
	int r = drain_begin_patiently(keeper->graph, &keeper, 1, &drain, errp);
	if (r < 0)
		return r;
	r = keeper->driver->snapshot_delete(keeper, id, errp);
	drain_end(&drain);
	return r;
}

struct deletion {
	const struct blockdev_snapshot_delete_internal_sync_args *args;
	struct snapshot_info **ret; /* what it was */
};

static int co_fn delete_locked(void *arg, struct error **errp)
{
	const struct deletion *d = arg;
	const struct blockdev_snapshot_delete_internal_sync_args *args = d->args;
	struct node *n;
	int r = find_root(args->device, BLOCK_OP_INTERNAL_SNAPSHOT_DELETE, &n, errp);
	if (r < 0)
		return r;
	if (!args->id && !args->name)
		return error_set(errp, -EINVAL, "Name or id must be provided");
	struct node *keeper = node_with_snapshots(n);
	if (!keeper)
		return error_set_errno(errp, -ENOTSUP, "Failed to get a snapshot list");
	struct snapshot_info *s;
	r = node_find_snapshot(keeper, args->id, args->name, &s, errp);
	if (r < 0)
		return r;
	if (!s)
		return error_set(errp, -ENOENT, "Snapshot with id '%s' and name '%s' does not exist "
				 "on device '%s'", args->id ? args->id : "null",
				 args->name ? args->name : "null", args->device);
	if (!n->active)
		r = error_set(errp, -EPERM, "Node '%s' is inactive", n->name);
	else if (n->read_only)
		r = error_set(errp, -EROFS, "Device '%s' is read only", args->device);
	else
		r = delete_drained(keeper, s->id, errp);
	if (r < 0)
		snapshot_info_free(s);
	else
		*d->ret = s;
	return r;
}

int co_fn qmp_blockdev_snapshot_delete_internal_sync(
	const struct blockdev_snapshot_delete_internal_sync_args *args, struct snapshot_info **ret,
	struct error **errp)
{
	return graph_change_around(the_daemon.graph, &(struct sound_target){
		.name = args->device,
		.flags = SOUND_STORAGE,
	}, 1, delete_locked, &(struct deletion){args, ret}, errp);
}
