/* SPDX-License-Identifier: MIT */
/*
 * The verbs by which clients steer jobs. Control thread; none of them waits:
 * they leave word and kick, and the job acts at its next pause point.
 */
#include "blockjobs/job_internal.h"

#include "block/graph.h"

#define BIT(status) (1u << JOB_STATUS_##status)
#define AT_WORK (BIT(CREATED) | BIT(RUNNING) | BIT(PAUSED) | BIT(READY) | BIT(STANDBY))

/* The states in which each verb is accepted. */
static const unsigned verbs[JOB_VERB__COUNT] = {
	[JOB_VERB_CANCEL] = AT_WORK | BIT(WAITING) | BIT(PENDING),
	[JOB_VERB_PAUSE] = AT_WORK,
	[JOB_VERB_RESUME] = AT_WORK,
	[JOB_VERB_SET_SPEED] = AT_WORK,
	[JOB_VERB_COMPLETE] = BIT(READY) | BIT(STANDBY),
	[JOB_VERB_DISMISS] = BIT(CONCLUDED),
	[JOB_VERB_FINALIZE] = BIT(PENDING),
	[JOB_VERB_CHANGE] = AT_WORK,
};

bool job_may_verb(enum job_status status, enum job_verb verb)
{
	return verbs[verb] >> status & 1;
}

static int check(const struct job *j, enum job_verb verb, struct error **errp)
{
	if (job_may_verb(j->status, verb))
		return 0;
	return error_set(errp, -EPERM, "Job '%s' in state '%s' cannot accept command verb '%s'",
			 j->id, job_status_name(j->status), job_verb_name(verb));
}

int job_verb_pause(struct job *j, struct error **errp)
{
	int r = check(j, JOB_VERB_PAUSE, errp);
	if (r < 0)
		return r;
	if (j->user_paused)
		return error_set(errp, -EBUSY, "Job is already paused");
	j->user_paused = true;
	job_pause_begin(j);
	return 0;
}

int job_verb_resume(struct job *j, struct error **errp)
{
	if (!j->user_paused)
		return error_set(errp, -EINVAL, "Can't resume a job that was not paused");
	int r = check(j, JOB_VERB_RESUME, errp);
	if (r < 0)
		return r;
	j->io_status = BLOCK_DEVICE_IO_STATUS_OK;
	j->user_paused = false;
	job_pause_end(j);
	return 0;
}

static bool is_ready(const struct job *j)
{
	return j->status == JOB_STATUS_READY || j->status == JOB_STATUS_STANDBY;
}

int job_verb_cancel(struct job *j, bool force, struct error **errp)
{
	if (!force && j->user_paused)
		return error_set(errp, -EBUSY, "The block job for device '%s' is currently paused",
				 j->id);
	int r = check(j, JOB_VERB_CANCEL, errp);
	if (r < 0)
		return r;
	if (!force && is_ready(j)) {
		j->leaving = true;
		job_kick(j);
		return 0;
	}
	if (j->user_paused) {
		j->user_paused = false;
		job_pause_end(j);
	}
	j->io_status = BLOCK_DEVICE_IO_STATUS_OK;
	job_force_end(j);
	return 0;
}

bool job_can_end_at_once(const struct job *j)
{
	if (!j->tx || !job_tx_is_at_rest(j->tx))
		return false;
	if (j->status == JOB_STATUS_WAITING || j->status == JOB_STATUS_PENDING)
		return j->idle; /* or it is at its last step */
	return !j->driver->knows_ready;
}

int job_verb_complete(struct job *j, struct error **errp)
{
	int r = check(j, JOB_VERB_COMPLETE, errp);
	if (r < 0)
		return r;
	if (j->cancelled || j->leaving || !j->driver->knows_ready)
		return error_set(errp, -EPERM, "The active block job '%s' cannot be completed",
				 j->id);
	j->completing = true;
	job_kick(j);
	return 0;
}

int job_verb_set_speed(struct job *j, int64_t speed, struct error **errp)
{
	int r = check(j, JOB_VERB_SET_SPEED, errp);
	if (r < 0)
		return r;
	if (speed < 0)
		return error_set(errp, -EINVAL, "Parameter 'speed' expects a non-negative value");
	j->speed = (uint64_t)speed;
	ratelimit_set(&j->ratelimit, j->speed, loop_now_ns(j->table->graph->loop));
	job_kick(j);
	return 0;
}

int job_verb_change(struct job *j, const struct block_job_change_options *options,
		    struct error **errp)
{
	int r = check(j, JOB_VERB_CHANGE, errp);
	if (r < 0)
		return r;
	if (options->type != j->driver->type)
		return error_set(errp, -EINVAL, "Job '%s' is of type '%s', not '%s'", j->id,
				 job_type_name(j->driver->type), job_type_name(options->type));
	if (!j->driver->change)
		return error_set(errp, -ENOTSUP, "Jobs of type '%s' cannot be changed",
				 job_type_name(j->driver->type));
	return j->driver->change(j, options, errp);
}

int job_verb_finalize(struct job *j, struct error **errp)
{
	int r = check(j, JOB_VERB_FINALIZE, errp);
	if (r >= 0)
		job_tx_finalize(j->tx);
	return r;
}

void co_fn job_wait_concluded(struct job *j, uint64_t timeout_ns)
{
	if (j->tx)
		job_tx_wait_gone(j->tx, j->table, timeout_ns);
}

int job_verb_dismiss(struct job *j, struct error **errp)
{
	int r = check(j, JOB_VERB_DISMISS, errp);
	if (r < 0)
		return r;
	job_set_status(j, JOB_STATUS_NULL);
	job_forget(j);
	return 0;
}
