/* SPDX-License-Identifier: MIT */
/*
 * Commands and actions that begin backups. Control thread.
 */
#include "base/cleanup.h"
#include "blockjobs/backup.h"
#include "daemon/daemon.h"
#include "daemon/transaction.h"
#include "schema/commands.h"

static struct sound_target find_source(const struct transaction_action *args)
{
	return (struct sound_target){
		.name = args->type == TRANSACTION_ACTION_KIND_DRIVE_BACKUP
				? args->u.drive_backup.data->device
				: args->u.blockdev_backup.data->device,
	};
}

static int co_fn open_backup(struct transaction *t, struct action *a, struct error **errp)
{
	const struct transaction_action *args = a->args;
	struct backup *b;
	int r = args->type == TRANSACTION_ACTION_KIND_DRIVE_BACKUP
			? backup_open_drive(the_daemon.jobs, args->u.drive_backup.data, t->jobs, &b,
					    errp)
			: backup_open(the_daemon.jobs, args->u.blockdev_backup.data, t->jobs, &b,
				      errp);
	if (r >= 0)
		a->state = b;
	return r;
}

static void list_source(struct transaction *t, struct action *a)
{
	transaction_drain_later(t, backup_source(a->state));
}

static int co_fn prepare_backup(struct transaction *t, struct action *a, struct error **errp)
{
	return backup_enter(a->state, &t->tx, errp);
}

static void co_fn commit_backup(struct transaction *t, struct action *a)
{
	/* It is its table's from now on. */
	backup_start(TAKE(a->state));
}

static void co_fn abort_backup(struct transaction *t, struct action *a)
{
	backup_leave(a->state, a == t->refused);
}

static void announce_backup(struct transaction *t, struct action *a)
{
	if (a->state)
		backup_announce(a->state);
}

static void co_fn clean_backup(struct transaction *t, struct action *a)
{
	if (!a->state)
		return;
	if (t->begins_again)
		backup_leave(a->state, true);
	backup_close(a->state);
}

/* Of both commands. */
const struct action_kind backup_action = {
	.can_group = true,
	.target = find_source,
	.open = open_backup,
	.list_nodes = list_source,
	.prepare = prepare_backup,
	.commit = commit_backup,
	.abort = abort_backup,
	.failed = announce_backup,
	.clean = clean_backup,
};

int co_fn qmp_blockdev_backup(const struct blockdev_backup *args, struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_BLOCKDEV_BACKUP,
		.u.blockdev_backup.data = (struct blockdev_backup *)args,
	};
	return transaction_run_one(&action, errp);
}

int co_fn qmp_drive_backup(const struct drive_backup *args, struct error **errp)
{
	struct transaction_action action = {
		.type = TRANSACTION_ACTION_KIND_DRIVE_BACKUP,
		.u.drive_backup.data = (struct drive_backup *)args,
	};
	return transaction_run_one(&action, errp);
}
