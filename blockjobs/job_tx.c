/* SPDX-License-Identifier: MIT */
/*
 * Transactions of jobs: barriers that all must reach. Control thread.
 *
 * What clients hear of several jobs at a barrier begins with the job that has joined
 * last, as they know it from the reference program.
 */
#include <assert.h>
#include <stdlib.h>

#include "block/graph.h"
#include "blockjobs/job_internal.h"

struct job_tx {
	unsigned references;
	struct list jobs; /* struct job.tx_link, the last one to join first */
	bool failed;      /* one has; the others follow */
	bool finalizing;  /* pending jobs may go on */
	struct co_mutex turn;
};

struct job_tx *job_tx_new(void)
{
	struct job_tx *tx = NEW(struct job_tx);
	tx->references = 1;
	list_init(&tx->jobs);
	co_mutex_init(&tx->turn);
	return tx;
}

void job_tx_unref(struct job_tx *tx)
{
	if (tx && --tx->references == 0)
		free(tx);
}

void job_tx_join(struct job_tx *tx, struct job *j)
{
	tx->references++;
	list_add_head(&tx->jobs, &j->tx_link);
	j->tx = tx;
}

static void kick_all(struct job_tx *tx)
{
	struct job *j;
	list_for_each (j, &tx->jobs, tx_link)
		job_kick(j);
}

void job_tx_leave(struct job *j)
{
	struct job_tx *tx = j->tx;
	if (!tx)
		return;
	list_del_init(&j->tx_link);
	j->tx = NULL;
	kick_all(tx);
	job_tx_unref(tx);
}

static bool all_reached(const struct job_tx *tx, unsigned stage)
{
	const struct job *j;
	list_for_each (j, &tx->jobs, tx_link) {
		if (j->tx_stage < stage)
			return false;
	}
	return true;
}

int co_fn job_tx_reach(struct job *j, enum job_tx_stage stage)
{
	j->tx_stage = stage;
	kick_all(j->tx);
	for (;;) {
		/* What has taken effect is no longer cancelled. */
		if (j->tx->failed || (j->cancelled && stage < JOB_TX_PREPARED))
			return -ECANCELED;
		if (all_reached(j->tx, stage))
			return 0;
		job_wait(j);
	}
}

int co_fn job_tx_await_turn(struct job *j, enum job_tx_stage stage)
{
	for (;;) {
		if (j->cancelled || j->tx->failed)
			return -ECANCELED;
		const struct job *other = list_first(&j->tx->jobs, struct job, tx_link);
		while (other != j && other->tx_stage >= stage)
			other = container_of(other->tx_link.next, struct job, tx_link);
		if (other == j)
			return 0;
		job_wait(j);
	}
}

void co_fn job_tx_await_end(struct job *j)
{
	j->tx_stage = JOB_TX_ENDED;
	kick_all(j->tx);
	while (!all_reached(j->tx, JOB_TX_ENDED) || !job_tx_is_turn(j))
		job_wait(j);
}

static bool all_finalize_themselves(const struct job_tx *tx)
{
	const struct job *j;
	list_for_each (j, &tx->jobs, tx_link) {
		if (!j->auto_finalize)
			return false;
	}
	return true;
}

int co_fn job_tx_wait_finalize(struct job *j)
{
	if (all_finalize_themselves(j->tx))
		j->tx->finalizing = true;
	for (;;) {
		if (j->cancelled || j->tx->failed)
			return -ECANCELED;
		if (j->tx->finalizing)
			return 0;
		job_wait(j);
	}
}

struct patience {
	struct loop_timer timer;
	struct co_queue *queue;
	bool is_lost;
};

static void lose_patience(struct loop_timer *t)
{
	struct patience *p = container_of(t, struct patience, timer);
	p->is_lost = true;
	co_queue_wake_all(p->queue);
}

void co_fn job_tx_wait_gone(struct job_tx *tx, struct job_table *t, uint64_t timeout_ns)
{
	struct loop *loop = t->graph->loop;
	struct patience p = {.queue = &t->ended};
	loop_timer_init(loop, &p.timer, lose_patience);
	if (timeout_ns > 0)
		loop_timer_set(&p.timer, loop_now_ns(loop) + timeout_ns);
	tx->references++;
	while (!list_is_empty(&tx->jobs) && !p.is_lost)
		co_queue_wait(&t->ended);
	job_tx_unref(tx);
	loop_timer_cancel(&p.timer);
}

bool job_tx_is_at_rest(const struct job_tx *tx)
{
	const struct job *j;
	list_for_each (j, &tx->jobs, tx_link) {
		if (!job_is_at_rest(j) || j->consumer.operations > 0)
			return false;
	}
	return true;
}

void job_tx_finalize(struct job_tx *tx)
{
	tx->finalizing = true;
	kick_all(tx);
}

bool job_tx_is_turn(const struct job *j)
{
	return list_first(&j->tx->jobs, struct job, tx_link) == j;
}

bool job_tx_fail(struct job *j)
{
	bool is_first = !j->tx->failed;
	j->tx->failed = true;
	struct job *other;
	list_for_each (other, &j->tx->jobs, tx_link) {
		if (other != j && other->tx_stage < JOB_TX_PREPARED)
			job_force_end(other);
	}
	return is_first && j->tx_stage == JOB_TX_AT_WORK;
}

struct co_mutex *job_tx_turn(struct job_tx *tx)
{
	return &tx->turn;
}
