/* SPDX-License-Identifier: MIT */
/*
 * What the files of the backup job share. Only they include it.
 */
#ifndef BLOCKJOBS_BACKUP_INTERNAL_H
#define BLOCKJOBS_BACKUP_INTERNAL_H

#include "block/bitmap.h"
#include "block/cbw.h"
#include "block/graph.h"
#include "blockjobs/backup.h"
#include "blockjobs/copy_job.h"

/* Without references. */
struct backup_nodes {
	struct node *source, *target;
};

/* Find the nodes; the target, too, unless it is set already. What is missing in @args is told. */
int backup_select_nodes(struct graph *g, const struct blockdev_backup *args,
			struct backup_nodes *ret, struct error **errp);
/* Whether @n are fit for what @args ask for, as far as that is known before the moment of the backup. */
int backup_check_nodes(const struct backup_nodes *n, const struct blockdev_backup *args,
		       struct error **errp);
/* Whether pieces may be as small as @args have it; to be told behind what is wrong with the filter. */
int backup_check_chunk(const struct blockdev_backup *args, struct error **errp);
/* Find the bitmap, and what is to become of it. *ret is NULL without one. */
int backup_select_bitmap(const struct blockdev_backup *args, struct node *source,
			 struct bitmap **ret, enum bitmap_sync_mode *ret_mode, struct error **errp);

struct backup {
	struct copy_job common;
	struct node *source, *target; /* referenced */
	struct cbw *cbw; /* the filter's */
	const struct blockdev_backup *args; /* until the start */
	struct blockdev_backup *own_args;   /* the same, where it is the job's; shallow */
	struct node *backing; /* that the target gets when the users come; referenced, or NULL */
	enum mirror_sync_mode sync; /* `incremental` is `bitmap` */
	struct node *base;     /* with sync=top: what is below the top image; held by its link */
	struct bitmap *bitmap; /* frozen while the job is in the graph; NULL without one */
	enum bitmap_sync_mode bitmap_mode;
	bool may_be_lost; /* what was copied: the target could not be flushed */
	bool is_refused; /* could not enter the graph */
	char *made;      /* the target's file, if it was not there before; until the start */
};

extern const struct job_driver backup_driver;

/* As backup_open(), to a node that is open already. The caller keeps its reference. */
int co_fn backup_open_to(struct job_table *t, const struct blockdev_backup *args,
			 struct node *target, struct job_tx *tx, struct backup **ret,
			 struct error **errp);

#endif
