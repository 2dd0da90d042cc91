/* SPDX-License-Identifier: MIT */
/*
 * The life of a job: its states, its coroutine and its pause points. Control
 * thread.
 */
#include "blockjobs/job.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/graph.h"
#include "block/text.h"
#include "blockjobs/job_internal.h"

/* So long a job may work without a wait, as over large tables in memory. */
#define BREATH_NS UINT64_C(1000000)

#define BIT(status) (1u << JOB_STATUS_##status)

/* Where each state may lead. */
static const unsigned transitions[JOB_STATUS__COUNT] = {
	[JOB_STATUS_UNDEFINED] = BIT(CREATED) | BIT(NULL),
	[JOB_STATUS_CREATED] = BIT(RUNNING) | BIT(ABORTING) | BIT(NULL),
	[JOB_STATUS_RUNNING] = BIT(PAUSED) | BIT(READY) | BIT(WAITING) | BIT(ABORTING),
	[JOB_STATUS_PAUSED] = BIT(RUNNING),
	[JOB_STATUS_READY] = BIT(STANDBY) | BIT(WAITING) | BIT(ABORTING),
	[JOB_STATUS_STANDBY] = BIT(READY),
	[JOB_STATUS_WAITING] = BIT(PENDING) | BIT(ABORTING),
	[JOB_STATUS_PENDING] = BIT(CONCLUDED) | BIT(ABORTING),
	[JOB_STATUS_ABORTING] = BIT(CONCLUDED),
	[JOB_STATUS_CONCLUDED] = BIT(NULL),
	[JOB_STATUS_NULL] = 0,
};

bool job_may_move(enum job_status from, enum job_status to)
{
	return transitions[from] >> to & 1;
}

void job_set_status(struct job *j, enum job_status status)
{
	assert(job_may_move(j->status, status));
	j->status = status;
	if (j->table->observer->status_changed)
		j->table->observer->status_changed(j);
}

void job_stand_still(struct job *j)
{
	/* Its work is over, whatever its state still says. */
	if (j->cancelled || j->result < 0)
		return;
	/* All other states have nothing to interrupt. */
	if (j->status == JOB_STATUS_RUNNING)
		job_set_status(j, JOB_STATUS_PAUSED);
	else if (j->status == JOB_STATUS_READY)
		job_set_status(j, JOB_STATUS_STANDBY);
}

void job_go_on(struct job *j)
{
	if (j->status == JOB_STATUS_PAUSED)
		job_set_status(j, JOB_STATUS_RUNNING);
	else if (j->status == JOB_STATUS_STANDBY)
		job_set_status(j, JOB_STATUS_READY);
}

bool job_is_at_rest(const struct job *j)
{
	return j->idle || (j->driver->is_block && j->consumer.operations == 0);
}

void job_pause_begin(struct job *j)
{
	j->pauses++;
	/* Wherever that is, it changes its state at no other place than at a pause point. */
	if (job_is_at_rest(j))
		job_stand_still(j);
	else
		job_kick(j);
}

void job_pause_end(struct job *j)
{
	assert(j->pauses > 0);
	if (--j->pauses > 0)
		return;
	job_go_on(j);
	job_kick(j);
}

static char *describe(const struct consumer *c)
{
	const struct job *j = container_of(c, struct job, consumer);
	return xasprintf("%s job '%s'", job_type_name(j->driver->type), j->id);
}

static struct job *job_of(struct consumer *c)
{
	return container_of(c, struct job, consumer);
}

static void quiesce(struct consumer *c)
{
	job_pause_begin(job_of(c));
}

/* Wherever its coroutine is, it does nothing any more. */
static void drained(struct consumer *c)
{
	if (job_of(c)->pauses > 0)
		job_stand_still(job_of(c));
}

static void resume(struct consumer *c)
{
	job_pause_end(job_of(c));
}

static const struct consumer_ops consumer_ops = {
	.describe = describe,
	.quiesce = quiesce,
	.resume = resume,
	.drained = drained,
};

static void timer_fired(struct loop_timer *t)
{
	job_kick(container_of(t, struct job, timer));
}

int job_create(struct job_table *t, const struct job_driver *driver,
	       const struct job_options *options, struct job **ret, struct error **errp)
{
	const char *id = options->id ? options->id : "";
	if (t->closing)
		return error_set(errp, -ESHUTDOWN, "The daemon is about to end");
	if (!text_is_identifier(id))
		return error_set(errp, -EINVAL, "Invalid job ID '%s'", id);
	if (job_find(t, id, false))
		return error_set(errp, -EEXIST, "Job ID '%s' already in use", id);

	assert(driver->size >= sizeof(struct job));
	struct job *j = xalloc(1, driver->size);
	j->driver = driver;
	j->table = t;
	j->id = xstrdup(id);
	j->status = JOB_STATUS_UNDEFINED;
	j->auto_finalize = options->auto_finalize;
	j->auto_dismiss = options->auto_dismiss;
	j->speed = (uint64_t)MAX(options->speed, 0);
	j->has_bad_speed = options->speed < 0;
	ratelimit_set(&j->ratelimit, j->speed, loop_now_ns(t->graph->loop));
	consumer_init(&j->consumer, t->graph, &consumer_ops);
	list_init(&j->blockers);
	list_init(&j->tx_link);
	co_queue_init(&j->kicked);
	loop_timer_init(t->graph->loop, &j->timer, timer_fired);
	list_add_head(&t->jobs, &j->link);

	struct job_tx *own = options->tx ? NULL : job_tx_new();
	job_tx_join(own ? own : options->tx, j);
	job_tx_unref(own);
	*ret = j;
	return 0;
}

void job_forget(struct job *j)
{
	struct job_table *t = j->table;
	job_tx_leave(j);
	job_unblock_all(j);
	loop_timer_cancel(&j->timer);
	consumer_finish(&j->consumer);
	list_del_init(&j->link);
	if (j->driver->release)
		j->driver->release(j);
	error_free(j->error);
	free(j->id);
	free(j);
	co_queue_wake_all(&t->ended);
}

int job_announce(struct job *j, struct error **errp)
{
	job_set_status(j, JOB_STATUS_CREATED);
	if (j->has_bad_speed)
		return error_set(errp, -EINVAL, "Parameter 'speed' expects a non-negative value");
	return 0;
}

void job_discard(struct job *j)
{
	assert(j->status == JOB_STATUS_UNDEFINED || j->status == JOB_STATUS_CREATED);
	if (j->status == JOB_STATUS_UNDEFINED)
		j->status = JOB_STATUS_NULL; /* nobody has heard of it */
	else
		job_set_status(j, JOB_STATUS_NULL);
	job_forget(j);
}

void job_withdraw(struct job *j)
{
	if (j->status == JOB_STATUS_UNDEFINED)
		job_set_status(j, JOB_STATUS_CREATED);
	job_set_status(j, JOB_STATUS_ABORTING);
	job_set_status(j, JOB_STATUS_CONCLUDED);
	job_set_status(j, JOB_STATUS_NULL);
	job_forget(j);
}

/* From the end of the work to what took effect. *ret_prepared: prepare() has succeeded. */
static int co_fn settle(struct job *j, bool *ret_prepared)
{
	int r = job_pause_point(j);
	if (r < 0)
		return r;
	job_set_status(j, JOB_STATUS_WAITING);
	r = job_tx_reach(j, JOB_TX_WAITING);
	if (r >= 0)
		r = job_tx_await_turn(j, JOB_TX_PENDING);
	if (r < 0)
		return r;

	job_set_status(j, JOB_STATUS_PENDING);
	if (!j->auto_finalize && j->table->observer->pending)
		j->table->observer->pending(j);
	r = job_tx_reach(j, JOB_TX_PENDING);
	if (r >= 0)
		r = job_tx_wait_finalize(j);
	if (r < 0)
		return r;

	struct co_mutex *turn = job_tx_turn(j->tx);
	co_mutex_lock(turn);
	r = j->cancelled ? -ECANCELED : 0;
	if (r >= 0 && j->driver->prepare)
		r = j->driver->prepare(j, &j->error);
	co_mutex_unlock(turn);
	*ret_prepared = r >= 0;
	return r >= 0 ? job_tx_reach(j, JOB_TX_PREPARED) : r;
}

static void announce_failure(struct job *j)
{
	if (j->status == JOB_STATUS_ABORTING)
		return;
	job_go_on(j);
	job_set_status(j, JOB_STATUS_ABORTING);
}

static void note_failure(struct job *j, int r)
{
	if (j->cancelled) {
		error_free(TAKE(j->error));
		r = -ECANCELED;
	}
	j->result = r;
	if (!j->error)
		error_set(&j->error, r, "%s", strerror(-r));
	/* Of several jobs, those that only follow another tell so in turn. */
	if (job_tx_fail(j) || job_tx_is_turn(j))
		announce_failure(j);
}

static void announce_end(const struct job *j)
{
	const struct job_observer *o = j->table->observer;
	bool was_cancelled = j->result < 0 && j->cancelled;
	void (*tell)(const struct job *) = was_cancelled ? o->cancelled : o->completed;
	if (tell)
		tell(j);
}

static void co_fn job_main(void *arg)
{
	struct job *j = arg;
	bool prepared = false;
	int r = j->driver->run(j, &j->error);
	if (r >= 0)
		r = settle(j, &prepared);
	if (r < 0)
		note_failure(j, r);

	j->driver->finish(j, prepared && r >= 0);
	job_unblock_all(j);
	job_tx_await_end(j);
	j->idle = true;
	if (r < 0)
		announce_failure(j);
	announce_end(j);
	job_set_status(j, JOB_STATUS_CONCLUDED);
	job_tx_leave(j);
	co_queue_wake_all(&j->table->ended);
	if (j->auto_dismiss || j->table->closing) {
		job_set_status(j, JOB_STATUS_NULL);
		job_forget(j);
	}
}

void job_start(struct job *j)
{
	if (j->status == JOB_STATUS_UNDEFINED)
		job_set_status(j, JOB_STATUS_CREATED);
	job_set_status(j, JOB_STATUS_RUNNING);
	/* Its nodes may be drained. */
	if (j->pauses > 0)
		job_stand_still(j);
	co_start(j->table->graph->loop, job_main, j);
}

/* --- Blockers ---------------------------------------------------------------- */

struct job_blocker {
	struct list link;
	struct blocker blocker;
};

void job_block(struct job *j, struct node *n, unsigned except)
{
	job_block_as(j, n, except, 0);
}

void job_block_as(struct job *j, struct node *n, unsigned except, unsigned manner)
{
	char *reason _cleanup_free_ = xasprintf("block device is in use by block job: %s",
						job_type_name(j->driver->type));
	struct job_blocker *b = NEW(struct job_blocker);
	blocker_add(&b->blocker, n, BLOCK_OP_ALL & ~except, reason);
	b->blocker.manner = manner;
	list_add_tail(&j->blockers, &b->link);
}

void job_unblock_all(struct job *j)
{
	struct job_blocker *b, *following;
	list_for_each_safe (b, following, &j->blockers, link) {
		list_del_init(&b->link);
		blocker_remove(&b->blocker);
		free(b);
	}
}

/* --- Pause points ------------------------------------------------------------- */

bool job_is_cancelled(const struct job *j)
{
	return j->cancelled;
}

bool job_must_pause(const struct job *j)
{
	return j->cancelled || j->pauses > 0;
}

/* A timer, since who is ready all the time would keep the loop from looking at sockets. */
static void co_fn give_way(struct job *j)
{
	struct loop *loop = j->table->graph->loop;
	if (loop_now_ns(loop) - j->gave_way_ns < BREATH_NS)
		return;
	co_sleep_ns(0);
	j->gave_way_ns = loop_now_ns(loop);
}

int co_fn job_pause_point(struct job *j)
{
	/* Who told the job to pause may look at once whether it has. */
	if (!job_must_pause(j))
		give_way(j);
	while (j->pauses > 0 && !j->cancelled) {
		job_stand_still(j);
		job_wait(j);
	}
	if (j->cancelled)
		return -ECANCELED;
	job_go_on(j);
	return 0;
}

int co_fn job_throttle(struct job *j, uint64_t bytes)
{
	struct loop *loop = j->table->graph->loop;
	for (;;) {
		int r = job_pause_point(j);
		if (r < 0)
			return r;
		uint64_t delay_ns = ratelimit_delay_ns(&j->ratelimit, loop_now_ns(loop));
		if (delay_ns == 0 || j->has_failed)
			break;
		job_sleep_ns(j, delay_ns);
	}
	ratelimit_take(&j->ratelimit, bytes, loop_now_ns(loop));
	return 0;
}

void job_hasten(struct job *j)
{
	j->has_failed = true;
	job_kick(j);
}

void co_fn job_wait(struct job *j)
{
	j->idle = true;
	co_queue_wait(&j->kicked);
	j->idle = false;
}

void co_fn job_sleep_ns(struct job *j, uint64_t ns)
{
	loop_timer_set(&j->timer, loop_now_ns(j->table->graph->loop) + ns);
	job_wait(j);
	loop_timer_cancel(&j->timer);
}

void job_kick(struct job *j)
{
	co_queue_wake_all(&j->kicked);
}

void job_force_end(struct job *j)
{
	if (j->result < 0)
		return;
	j->cancelled = true;
	job_kick(j);
}

/* --- What the work tells ------------------------------------------------------- */

void job_set_ready(struct job *j)
{
	job_set_status(j, JOB_STATUS_READY);
	j->was_ready = true;
	if (j->table->observer->ready)
		j->table->observer->ready(j);
}

void job_progress_add(struct job *j, uint64_t bytes)
{
	j->progress_done += bytes;
	j->progress_total = MAX(j->progress_total, j->progress_done);
}

void job_progress_set_left(struct job *j, uint64_t bytes)
{
	j->progress_total = j->progress_done + bytes;
}

static enum block_error_action choose_action(enum blockdev_on_error policy, int error)
{
	switch (policy) {
	case BLOCKDEV_ON_ERROR_IGNORE:
		return BLOCK_ERROR_ACTION_IGNORE;
	case BLOCKDEV_ON_ERROR_STOP:
		return BLOCK_ERROR_ACTION_STOP;
	case BLOCKDEV_ON_ERROR_ENOSPC:
		return error == -ENOSPC ? BLOCK_ERROR_ACTION_STOP : BLOCK_ERROR_ACTION_REPORT;
	default:
		return BLOCK_ERROR_ACTION_REPORT;
	}
}

enum block_error_action job_request_failed(struct job *j, enum blockdev_on_error policy,
					   enum io_operation_type operation, int error)
{
	enum block_error_action action = choose_action(policy, error);
	if (j->table->observer->failed && !j->has_reported)
		j->table->observer->failed(j, operation, action);
	if (action == BLOCK_ERROR_ACTION_REPORT) {
		j->has_reported = true;
		job_hasten(j);
	}
	if (action == BLOCK_ERROR_ACTION_STOP) {
		if (!j->user_paused) {
			j->user_paused = true;
			j->pauses++;
			job_kick(j);
		}
		if (j->io_status == BLOCK_DEVICE_IO_STATUS_OK)
			j->io_status = error == -ENOSPC ? BLOCK_DEVICE_IO_STATUS_NOSPACE
							: BLOCK_DEVICE_IO_STATUS_FAILED;
	}
	return action;
}
