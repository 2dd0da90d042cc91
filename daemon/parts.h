/* SPDX-License-Identifier: MIT */
/*
 * The engines that the daemon runs (exports, NBD, jobs) and the way from their
 * news to the monitor's events. Control thread.
 */
#ifndef DAEMON_PARTS_H
#define DAEMON_PARTS_H

#include "base/coroutine.h"

/* Make the engines and set them in the_daemon, whose graph exists. */
void parts_create(void);

/* End all that they do: cancel jobs, disconnect clients, remove exports. */
void co_fn parts_stop(void);

/* Free the engines, which have stopped. */
void parts_free(void);

#endif
