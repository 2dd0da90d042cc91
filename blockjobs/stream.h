/* SPDX-License-Identifier: MIT */
/*
 * The stream job: copying into an image what it shows of the images below it, so
 * that they can leave its chain. Control thread.
 */
#ifndef BLOCKJOBS_STREAM_H
#define BLOCKJOBS_STREAM_H

#include "blockjobs/job.h"

/*
 * Start what the command block-stream describes. Errors have the sentences of the
 * rival. Takes the change lock.
 */
int co_fn stream_start(struct job_table *t, const struct block_stream_args *args,
		       struct error **errp);

#endif
