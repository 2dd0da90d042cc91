/* SPDX-License-Identifier: MIT */
/*
 * The mirror job: copying a node to another one and keeping both in step while users
 * write, until the users move to the copy or it is left as it is. Control thread.
 */
#ifndef BLOCKJOBS_MIRROR_H
#define BLOCKJOBS_MIRROR_H

#include "blockjobs/job.h"

/*
 * Start what the command blockdev-mirror describes. Errors have the sentences of the
 * rival. Takes the change lock.
 */
int co_fn mirror_start(struct job_table *t, const struct blockdev_mirror_args *args,
		       struct error **errp);
/* The same for drive-mirror: make the image, or open it, first. */
int co_fn mirror_start_drive(struct job_table *t, const struct drive_mirror_args *args,
			     struct error **errp);

/* True when a mirror's both places show the same and users' writes go to both. */
bool mirror_is_actively_synced(const struct job *j);

#endif
