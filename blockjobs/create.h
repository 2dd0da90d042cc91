/* SPDX-License-Identifier: MIT */
/*
 * The job of blockdev-create: make an image or a file in the background. Control
 * thread.
 */
#ifndef BLOCKJOBS_CREATE_H
#define BLOCKJOBS_CREATE_H

#include "blockjobs/job.h"

/*
 * Start the job that @args describe. Only what the job's existence depends on
 * fails here: its ID, and a driver that cannot make anything. Whether the image
 * can be made is told by the job's end. The job waits for job-dismiss.
 */
int co_fn create_start(struct job_table *t, const struct blockdev_create_args *args,
		       struct error **errp);

#endif
