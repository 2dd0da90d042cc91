/* SPDX-License-Identifier: MIT */
/*
 * Monitors: a character device whose clients speak QMP. Control thread.
 */
#ifndef DAEMON_MONITOR_H
#define DAEMON_MONITOR_H

#include "base/error.h"
#include "schema/types.h"

/* What the program says of itself, in greetings and in query-version. Constant. */
const struct version_info *daemon_version(void);

/* Serve QMP on the device that @options names, which has no other user. */
int monitor_open(const struct monitor_options *options, struct error **errp);

#endif
