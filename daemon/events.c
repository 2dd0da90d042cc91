/* SPDX-License-Identifier: MIT */
/*
 * From the news of the engines to the events of the monitor. Control thread;
 * nothing here waits.
 */
#include "daemon/events.h"

#include "daemon/daemon.h"

static void on_export_deleted(void *arg, const char *id)
{
	struct block_export_deleted_event event = {.id = (char *)id};
	daemon_emit(SCHEMA_EVENT_BLOCK_EXPORT_DELETED, &event);
}

const struct export_observer export_events = {
	.deleted = on_export_deleted,
};
