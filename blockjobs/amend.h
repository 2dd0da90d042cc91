/* SPDX-License-Identifier: MIT */
/*
 * The job of x-blockdev-amend: change options of an image in the background.
 * Control thread.
 */
#ifndef BLOCKJOBS_AMEND_H
#define BLOCKJOBS_AMEND_H

#include "blockjobs/job.h"

/*
 * Start the job that @args describe. Takes the change lock. Fails here when there is no
 * such node (-ENODEV), its driver is another (-EINVAL) or cannot (-ENOTSUP), the ID is not
 * to be had, or something is to change and others use the node (-EPERM). Whether the image
 * can be changed is told by the job's end. The job waits for job-dismiss.
 */
int co_fn amend_start(struct job_table *t, const struct x_blockdev_amend_args *args,
		      struct error **errp);

#endif
