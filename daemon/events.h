/* SPDX-License-Identifier: MIT */
/*
 * From the news of the engines to the events of the monitor. Control thread.
 */
#ifndef DAEMON_EVENTS_H
#define DAEMON_EVENTS_H

#include "protocol/export.h"

/* Observes the exports of the daemon; takes no argument. */
extern const struct export_observer export_events;

#endif
