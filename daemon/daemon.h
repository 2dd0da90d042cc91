/* SPDX-License-Identifier: MIT */
/*
 * What the parts of cairnd share: one daemon per process.
 *
 * Handlers of commands have no context argument; they find everything here.
 * Control thread only.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include "base/loop.h"
#include "schema/tables.h"

struct export_registry;
struct graph;
struct job_table;
struct nbd_server;
struct qmp_server;

struct daemon {
	struct loop *loop;
	struct graph *graph;
	struct export_registry *exports;
	struct nbd_server *nbd; /* exists always; listens once it is started */
	struct job_table *jobs;
	struct qmp_server *qmp;
	/* Main's coroutine waits here for what others set: stop_requested, a first client. */
	struct co_queue changed;
	bool stop_requested;
	/* The command quit waits here for the end of all else, which its reply announces. */
	struct co_queue all_closed;
};

extern struct daemon the_daemon;

/* End the daemon cleanly, soon: what a signal and the command quit do. May be repeated. */
void daemon_stop(void);

/*
 * Send the event to every client of the monitor that has finished its
 * negotiation. @payload is the event's struct, such as struct
 * job_status_change_event, and stays the caller's; NULL for an event without data.
 */
void daemon_emit(enum schema_event event, const void *payload);

#endif
