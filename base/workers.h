/* SPDX-License-Identifier: MIT */
/*
 * A bounded pool of threads for calls that block.
 *
 * A job's run() is called on a worker thread; afterwards its done() is called
 * on the loop's thread, by loop_post(). Threads start when jobs wait and none
 * is idle, up to the limit, and end after some seconds without work. Jobs are
 * taken in the order of their submission.
 */
#ifndef BASE_WORKERS_H
#define BASE_WORKERS_H

#include "base/list.h"
#include "base/loop.h"

struct workers;

/* The caller's memory, until done() is called. */
struct worker_job {
	struct list link;
	struct loop_post post;
	void (*run)(struct worker_job *job);  /* on a worker thread; touches nothing of the loop */
	void (*done)(struct worker_job *job); /* on the loop's thread, outside any coroutine */
};

/* Make a pool for @loop's jobs of at most @max_threads (at least 1). No thread starts yet. */
struct workers *workers_create(struct loop *loop, unsigned max_threads);

/*
 * Queue @job with its run and done set. Loop's thread only. Aborts when not
 * even one thread can be had.
 */
void workers_submit(struct workers *w, struct worker_job *job);

/*
 * Queue all jobs of @jobs (linked by worker_job.link) with one lock and as many
 * wake-ups as there are idle threads; leaves @jobs empty.
 */
void workers_submit_all(struct workers *w, struct list *jobs);

/* End the threads and free the pool, whose jobs are all done. NULL is allowed. */
void workers_destroy(struct workers *w);

#endif
