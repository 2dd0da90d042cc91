/* SPDX-License-Identifier: MIT */
/*
 * The commit job: merging images of a backing chain into one below them.
 *
 * With a `top` below the active image, what lies above `base` up to `top` is
 * copied down and those images leave the chain. With the active image as `top`,
 * the job becomes ready, keeps both in step while users write, and on completion
 * moves the users to `base`. Control thread.
 */
#ifndef BLOCKJOBS_COMMIT_H
#define BLOCKJOBS_COMMIT_H

#include "blockjobs/job.h"

/*
 * Start what the command block-commit describes. Errors have the sentences of the
 * rival, -ENODEV with the class DeviceNotFound for an unknown device. Takes the
 * change lock.
 */
int co_fn commit_start(struct job_table *t, const struct block_commit_args *args,
		       struct error **errp);

#endif
