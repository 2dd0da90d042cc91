/* SPDX-License-Identifier: MIT */
/*
 * Commands that start, steer and list jobs. Control thread.
 */
#include "block/graph.h"
#include "blockjobs/amend.h"
#include "blockjobs/commit.h"
#include "blockjobs/create.h"
#include "blockjobs/job.h"
#include "blockjobs/mirror.h"
#include "blockjobs/stream.h"
#include "daemon/daemon.h"
#include "schema/commands.h"

#define CANCEL_PATIENCE_NS UINT64_C(2000000000)

/* A job that is still being set up is nobody's business. */
static bool is_visible(const struct job *j)
{
	return j->status != JOB_STATUS_UNDEFINED;
}

/* The visible job called @id; NULL when there is none. */
static struct job *find_visible(const char *id, bool is_block)
{
	struct job *j = job_find(the_daemon.jobs, id, is_block);
	return j && is_visible(j) ? j : NULL;
}

/* For the verbs job-*: a job of any kind. */
static struct job *find_job(const char *id, struct error **errp)
{
	struct job *j = find_visible(id, false);
	if (!j)
		error_set(errp, -ENOENT, "Job not found");
	return j;
}

/* For the verbs block-job-*, whose error is older. */
static struct job *find_block_job(const char *id, struct error **errp)
{
	struct job *j = find_visible(id, true);
	if (!j)
		error_set_class(errp, ERROR_DEVICE_NOT_ACTIVE, -ENOENT, "Block job '%s' not found",
				id);
	return j;
}

int co_fn qmp_block_commit(const struct block_commit_args *args, struct error **errp)
{
	return commit_start(the_daemon.jobs, args, errp);
}

/* The reply comes behind the end of a job that fails without a wait. @r: of its start. */
static int co_fn let_begin(int r)
{
	if (r >= 0)
		co_reschedule();
	return r;
}

int co_fn qmp_blockdev_create(const struct blockdev_create_args *args, struct error **errp)
{
	return let_begin(create_start(the_daemon.jobs, args, errp));
}

int co_fn qmp_x_blockdev_amend(const struct x_blockdev_amend_args *args, struct error **errp)
{
	return let_begin(amend_start(the_daemon.jobs, args, errp));
}

int co_fn qmp_blockdev_mirror(const struct blockdev_mirror_args *args, struct error **errp)
{
	return mirror_start(the_daemon.jobs, args, errp);
}

int co_fn qmp_drive_mirror(const struct drive_mirror_args *args, struct error **errp)
{
	return mirror_start_drive(the_daemon.jobs, args, errp);
}

int co_fn qmp_block_stream(const struct block_stream_args *args, struct error **errp)
{
	return stream_start(the_daemon.jobs, args, errp);
}

int co_fn qmp_job_pause(const struct job_pause_args *args, struct error **errp)
{
	struct job *j = find_job(args->id, errp);
	return j ? job_verb_pause(j, errp) : -ENOENT;
}

int co_fn qmp_job_resume(const struct job_resume_args *args, struct error **errp)
{
	struct job *j = find_job(args->id, errp);
	return j ? job_verb_resume(j, errp) : -ENOENT;
}

/*
 * The reply comes behind the events of the end where that takes no time to speak of: not
 * while another changes the graph, who may wait for storage that hangs; nor when the users'
 * requests turn out to hang, and with them the drain by which the job leaves the graph.
 */
static int co_fn cancel(struct job *j, bool force, struct error **errp)
{
	bool ends_at_once = job_can_end_at_once(j) && !graph_is_changing(the_daemon.graph);
	int r = job_verb_cancel(j, force, errp);
	if (r >= 0 && ends_at_once)
		job_wait_concluded(j, CANCEL_PATIENCE_NS);
	return r;
}

int co_fn qmp_job_cancel(const struct job_cancel_args *args, struct error **errp)
{
	struct job *j = find_job(args->id, errp);
	return j ? cancel(j, true, errp) : -ENOENT;
}

int co_fn qmp_job_complete(const struct job_complete_args *args, struct error **errp)
{
	struct job *j = find_job(args->id, errp);
	return j ? job_verb_complete(j, errp) : -ENOENT;
}

/* Clients rely on it that the job has ended when they read the reply. */
static int co_fn finalize(struct job *j, struct error **errp)
{
	int r = job_verb_finalize(j, errp);
	if (r >= 0)
		job_wait_concluded(j, 0);
	return r;
}

int co_fn qmp_job_finalize(const struct job_finalize_args *args, struct error **errp)
{
	struct job *j = find_job(args->id, errp);
	return j ? finalize(j, errp) : -ENOENT;
}

int co_fn qmp_job_dismiss(const struct job_dismiss_args *args, struct error **errp)
{
	struct job *j = find_job(args->id, errp);
	return j ? job_verb_dismiss(j, errp) : -ENOENT;
}

int co_fn qmp_block_job_set_speed(const struct block_job_set_speed_args *args,
				  struct error **errp)
{
	struct job *j = find_block_job(args->device, errp);
	return j ? job_verb_set_speed(j, args->speed, errp) : -ENOENT;
}

int co_fn qmp_block_job_change(const struct block_job_change_options *args, struct error **errp)
{
	struct job *j = find_block_job(args->id, errp);
	return j ? job_verb_change(j, args, errp) : -ENOENT;
}

int co_fn qmp_block_job_cancel(const struct block_job_cancel_args *args, struct error **errp)
{
	struct job *j = find_block_job(args->device, errp);
	return j ? cancel(j, args->force, errp) : -ENOENT;
}

int co_fn qmp_block_job_pause(const struct block_job_pause_args *args, struct error **errp)
{
	struct job *j = find_block_job(args->device, errp);
	return j ? job_verb_pause(j, errp) : -ENOENT;
}

int co_fn qmp_block_job_resume(const struct block_job_resume_args *args, struct error **errp)
{
	struct job *j = find_block_job(args->device, errp);
	return j ? job_verb_resume(j, errp) : -ENOENT;
}

int co_fn qmp_block_job_complete(const struct block_job_complete_args *args, struct error **errp)
{
	struct job *j = find_block_job(args->device, errp);
	return j ? job_verb_complete(j, errp) : -ENOENT;
}

int co_fn qmp_block_job_dismiss(const struct block_job_dismiss_args *args, struct error **errp)
{
	struct job *j = find_block_job(args->id, errp);
	return j ? job_verb_dismiss(j, errp) : -ENOENT;
}

int co_fn qmp_block_job_finalize(const struct block_job_finalize_args *args, struct error **errp)
{
	struct job *j = find_block_job(args->id, errp);
	return j ? finalize(j, errp) : -ENOENT;
}

static struct job_info *job_info(const struct job *j)
{
	struct job_info *info = NEW(struct job_info);
	info->id = xstrdup(j->id);
	info->type = j->driver->type;
	info->status = j->status;
	info->current_progress = (int64_t)j->progress_done;
	info->total_progress = (int64_t)j->progress_total;
	info->error = j->error ? xstrdup(j->error->message) : NULL;
	return info;
}

int co_fn qmp_query_jobs(struct job_info_list *ret, struct error **errp)
{
	struct job *j;
	list_for_each (j, &the_daemon.jobs->jobs, link) {
		if (is_visible(j))
			job_info_list_append(ret, job_info(j));
	}
	return 0;
}

static struct block_job_info *block_job_info(const struct job *j)
{
	struct block_job_info *info = NEW(struct block_job_info);
	info->type = j->driver->type;
	info->device = xstrdup(j->id);
	info->len = (int64_t)j->progress_total;
	info->offset = (int64_t)j->progress_done;
	info->busy = !j->idle;
	/* One that was ready counts as paused, as with the reference program, which holds its users. */
	info->paused = j->pauses > 0 || (j->was_ready && j->status == JOB_STATUS_PENDING);
	info->speed = (int64_t)j->speed;
	info->io_status = j->io_status;
	info->ready = j->status == JOB_STATUS_READY || j->status == JOB_STATUS_STANDBY;
	info->status = j->status;
	info->auto_finalize = j->auto_finalize;
	info->auto_dismiss = j->auto_dismiss;
	info->error = j->error ? xstrdup(j->error->message) : NULL;
	if (j->driver->type == JOB_TYPE_MIRROR)
		info->u.mirror.actively_synced = mirror_is_actively_synced(j);
	return info;
}

int co_fn qmp_query_block_jobs(struct block_job_info_list *ret, struct error **errp)
{
	struct job *j;
	list_for_each (j, &the_daemon.jobs->jobs, link) {
		if (is_visible(j) && j->driver->is_block)
			block_job_info_list_append(ret, block_job_info(j));
	}
	return 0;
}
