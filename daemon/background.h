/* SPDX-License-Identifier: MIT */
/*
 * Going to the background: the parent process waits until the daemon serves or
 * has failed, and its exit code tells which.
 *
 * Before any thread or loop exists.
 */
#ifndef DAEMON_BACKGROUND_H
#define DAEMON_BACKGROUND_H

#include <stdbool.h>

#include "base/error.h"

/*
 * Fork into a new session. Returns in the daemon's process only; the parent
 * waits for background_ready() and exits with 0 then, or with 1 when the daemon
 * ends before. Messages of the daemon go to the terminal until then.
 */
int background_start(struct error **errp);

/* True between the two calls. */
bool background_is_starting(void);

/* Let go of the terminal and of the directory, and tell the parent. Nothing without a start. */
void background_ready(void);

#endif
