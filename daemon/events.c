/* SPDX-License-Identifier: MIT */
/*
 * From the news of the engines to the events of the monitor. Control thread;
 * nothing here waits.
 */
#include "daemon/events.h"

#include <string.h>

#include "base/log.h"
#include "block/driver.h"
#include "daemon/daemon.h"
#include "daemon/event_limit.h"

static void on_export_deleted(void *arg, const char *id)
{
	struct block_export_deleted_event event = {.id = (char *)id};
	daemon_emit(SCHEMA_EVENT_BLOCK_EXPORT_DELETED, &event);
}

static void on_export_failed(void *arg, const struct export *e, bool is_read, int error)
{
	const char *node_name = edge_shown_child(e->edge)->name;
	struct block_io_error_event event = {
		.qom_path = (char *)"",
		.device = (char *)"",
		.node_name = (char *)node_name,
		.operation = is_read ? IO_OPERATION_TYPE_READ : IO_OPERATION_TYPE_WRITE,
		.action = BLOCK_ERROR_ACTION_REPORT,
		.has_nospace = true,
		.nospace = error == -ENOSPC,
		.reason = strerror(-error),
	};
	event_limit_emit(SCHEMA_EVENT_BLOCK_IO_ERROR, node_name, &event);
}

const struct export_observer export_events = {
	.deleted = on_export_deleted,
	.failed = on_export_failed,
};

static void on_job_status(const struct job *j)
{
	struct job_status_change_event event = {.id = j->id, .status = j->status};
	daemon_emit(SCHEMA_EVENT_JOB_STATUS_CHANGE, &event);
}

/* The events of block jobs are older than jobs of other kinds, which have only their status. */

/* What three of them tell alike. */
#define WORK_OF(j)                                                                                 \
	.type = (j)->driver->type, .device = (j)->id, .len = (int64_t)(j)->progress_total,         \
	.offset = (int64_t)(j)->progress_done, .speed = (int64_t)(j)->speed

static void on_job_ready(const struct job *j)
{
	struct block_job_ready_event event = {WORK_OF(j)};
	if (j->driver->is_block)
		daemon_emit(SCHEMA_EVENT_BLOCK_JOB_READY, &event);
}

static void on_job_pending(const struct job *j)
{
	struct block_job_pending_event event = {.type = j->driver->type, .id = j->id};
	if (j->driver->is_block)
		daemon_emit(SCHEMA_EVENT_BLOCK_JOB_PENDING, &event);
}

static void on_job_completed(const struct job *j)
{
	struct block_job_completed_event event = {
		WORK_OF(j),
		.error = j->error ? j->error->message : NULL,
	};
	if (j->driver->is_block)
		daemon_emit(SCHEMA_EVENT_BLOCK_JOB_COMPLETED, &event);
}

static void on_job_cancelled(const struct job *j)
{
	struct block_job_cancelled_event event = {WORK_OF(j)};
	if (j->driver->is_block)
		daemon_emit(SCHEMA_EVENT_BLOCK_JOB_CANCELLED, &event);
}

static void on_job_failed(const struct job *j, enum io_operation_type operation,
			  enum block_error_action action)
{
	struct block_job_error_event event = {
		.device = j->id, .operation = operation, .action = action};
	if (j->driver->is_block)
		daemon_emit(SCHEMA_EVENT_BLOCK_JOB_ERROR, &event);
}

const struct job_observer job_events = {
	.status_changed = on_job_status,
	.ready = on_job_ready,
	.pending = on_job_pending,
	.completed = on_job_completed,
	.cancelled = on_job_cancelled,
	.failed = on_job_failed,
};

static void on_threshold_exceeded(const struct node *n, uint64_t excess, uint64_t threshold)
{
	struct block_write_threshold_event event = {
		.node_name = (char *)n->name,
		.amount_exceeded = excess,
		.write_threshold = threshold,
	};
	daemon_emit(SCHEMA_EVENT_BLOCK_WRITE_THRESHOLD, &event);
}

static void on_image_damaged(const struct node *n, const struct image_damage *damage)
{
	struct block_image_corrupted_event event = {
		.device = (char *)"",
		.node_name = (char *)n->name,
		.msg = (char *)damage->message,
		.has_offset = damage->has_range,
		.offset = (int64_t)damage->offset,
		.has_size = damage->has_range,
		.size = (int64_t)damage->bytes,
		.fatal = damage->is_fatal,
	};
	log_error("%s: node '%s': %s: %s; further %scorruption events will be suppressed",
		  n->driver->name, n->name,
		  damage->is_fatal ? "Marking image as corrupt" : "Image is corrupt",
		  damage->message, damage->is_fatal ? "" : "non-fatal ");
	daemon_emit(SCHEMA_EVENT_BLOCK_IMAGE_CORRUPTED, &event);
}

#define SECTOR_BYTES 512

static void on_child_bad(const struct node *child, enum quorum_op_type op, int error,
			 uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset / SECTOR_BYTES;
	struct quorum_report_bad_event event = {
		.type = op,
		.error = error < 0 ? strerror(-error) : NULL,
		.node_name = (char *)child->name,
		.sector_num = (int64_t)first,
		.sectors_count = (int64_t)(div_round_up(offset + bytes, SECTOR_BYTES) - first),
	};
	event_limit_emit(SCHEMA_EVENT_QUORUM_REPORT_BAD, child->name, &event);
}

static void on_vote_failed(const struct node *n, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset / SECTOR_BYTES;
	struct quorum_failure_event event = {
		.reference = (char *)n->name,
		.sector_num = (int64_t)first,
		.sectors_count = (int64_t)(div_round_up(offset + bytes, SECTOR_BYTES) - first),
	};
	event_limit_emit(SCHEMA_EVENT_QUORUM_FAILURE, n->name, &event);
}

static void on_store_failed(const struct error *error)
{
	log_error("%s", error->message);
}

const struct graph_observer graph_events = {
	.threshold_exceeded = on_threshold_exceeded,
	.image_damaged = on_image_damaged,
	.child_bad = on_child_bad,
	.vote_failed = on_vote_failed,
	.store_failed = on_store_failed,
};
