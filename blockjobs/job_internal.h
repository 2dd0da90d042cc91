/* SPDX-License-Identifier: MIT */
/*
 * What the files of the job engine share. Only they include it.
 */
#ifndef BLOCKJOBS_JOB_INTERNAL_H
#define BLOCKJOBS_JOB_INTERNAL_H

#include "blockjobs/job.h"

/* Change the state, which the transition table must permit, and tell the observer. */
void job_set_status(struct job *j, enum job_status status);
/* True while the job waits for time or a client, or is about to: it begins nothing. */
bool job_is_at_rest(const struct job *j);
/* Stand still, at once or at the next pause point, until as many pauses have ended. */
void job_pause_begin(struct job *j);
void job_pause_end(struct job *j);
/* Announce that the job stands still, where its state knows that, and that it goes on. */
void job_stand_still(struct job *j);
void job_go_on(struct job *j);
/* Have the job end without success at its next pause point, unless it is failing anyway. */
void job_force_end(struct job *j);
/* Take a concluded job out of its table and free it. */
void job_forget(struct job *j);

/* How far a job has come inside its transaction. */
enum job_tx_stage {
	JOB_TX_AT_WORK,
	JOB_TX_WAITING,
	JOB_TX_PENDING,
	JOB_TX_PREPARED,
	JOB_TX_ENDED, /* has let go of everything, and is about to say so */
};

void job_tx_join(struct job_tx *tx, struct job *j);
/* Drops the job's hold on its transaction. Repeating has no effect. */
void job_tx_leave(struct job *j);
/* Wait until all jobs have come to @stage. 0, or -ECANCELED when one has failed. */
int co_fn job_tx_reach(struct job *j, enum job_tx_stage stage);
/* Wait until all jobs that have joined after @j have come to @stage. As above. */
int co_fn job_tx_await_turn(struct job *j, enum job_tx_stage stage);
/* Wait until all jobs have ended, and those that have joined after @j have said so. */
void co_fn job_tx_await_end(struct job *j);
/* Wait until a client or the absence of jobs without auto_finalize lets all go on. As above. */
int co_fn job_tx_wait_finalize(struct job *j);
/* Wait until all jobs have concluded, for @timeout_ns at most if that is not 0. */
void co_fn job_tx_wait_gone(struct job_tx *tx, struct job_table *t, uint64_t timeout_ns);
/* True when all jobs are at rest, and nothing of theirs is in flight. */
bool job_tx_is_at_rest(const struct job_tx *tx);
/* Let all pending jobs go on. */
void job_tx_finalize(struct job_tx *tx);
/* @j has failed: end the others. True when it is the first to, and was at work. */
bool job_tx_fail(struct job *j);
/* True when all jobs that have joined after @j have said that they have ended. */
bool job_tx_is_turn(const struct job *j);
/* Held while one job prepares, so that they do so in turn. */
struct co_mutex *job_tx_turn(struct job_tx *tx);

#endif
