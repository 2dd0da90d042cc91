/* SPDX-License-Identifier: MIT */
/*
 * Giving memory back when the machine runs short of it.
 */
#ifndef DAEMON_PRESSURE_H
#define DAEMON_PRESSURE_H

/* Begin to watch, where the machine can tell. After the loop and the graph are there. */
void pressure_watch(void);
/* Stop watching. */
void pressure_forget(void);

#endif
