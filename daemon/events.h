/* SPDX-License-Identifier: MIT */
/*
 * From the news of the engines to the events of the monitor. Control thread.
 */
#ifndef DAEMON_EVENTS_H
#define DAEMON_EVENTS_H

#include "block/graph.h"
#include "blockjobs/job.h"
#include "protocol/export.h"

/* Observe the nodes, the exports and the jobs of the daemon. */
extern const struct graph_observer graph_events;
extern const struct export_observer export_events;
extern const struct job_observer job_events;

#endif
