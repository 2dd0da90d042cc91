/* SPDX-License-Identifier: MIT */
/*
 * The backup job: copying a node as it is at one moment to another one, while users
 * write on. Control thread.
 *
 * Setting one up takes three steps, so that many can share one moment: opening, which
 * may take long; entering the graph, with the source's users drained; starting.
 */
#ifndef BLOCKJOBS_BACKUP_H
#define BLOCKJOBS_BACKUP_H

#include "blockjobs/job.h"

struct backup;
struct graph_tx;

/*
 * Find, check and open what the command blockdev-backup describes; the caller holds
 * the change lock from here to the start or the end. Errors have the sentences of the
 * rival. @tx: as in struct job_options.
 */
int co_fn backup_open(struct job_table *t, const struct blockdev_backup *args, struct job_tx *tx,
		      struct backup **ret, struct error **errp);
/* The same for drive-backup: make the image, or open it, first. */
int co_fn backup_open_drive(struct job_table *t, const struct drive_backup *args,
			    struct job_tx *tx, struct backup **ret, struct error **errp);
/* The node whose users must be drained during the next step. */
struct node *backup_source(struct backup *b);
/*
 * Fix the moment: let the users reach the source through a filter from now on, as a
 * step of @tx. When that is undone, backup_leave() must be called.
 */
int co_fn backup_enter(struct backup *b, struct graph_tx *tx, struct error **errp);
/* After the commit: start the job. It belongs to the table from now on; it waits for the drain. */
void backup_start(struct backup *b);
/* @tx is undone or about to be. @is_refused: since it does not take the backup. */
void backup_leave(struct backup *b, bool is_refused);
/* It will not be started: let clients hear of it, unless it has been refused, before it goes. */
void backup_announce(struct backup *b);
/* Close what has not been started. */
void co_fn backup_close(struct backup *b);

#endif
