/* SPDX-License-Identifier: MIT */
/*
 * The end of the daemon does not wait for storage that has fallen silent. Control thread.
 */
#ifndef DAEMON_FAREWELL_H
#define DAEMON_FAREWELL_H

#include "base/coroutine.h"

/* Before the first of the others: what ends the daemon when there is no other way. */
void farewell_init(co_entry *end, void *arg);
/*
 * The daemon has begun to end, or has been told to. When storage behind a network gives no
 * answer for some seconds, and nothing else is under way, parts_stop() goes on without it; if
 * that is not what is waited for, `end` is started as a coroutine. May be repeated.
 */
void farewell_begin(void);
/* Around the closing of each node, with all that it lies on: whether that may hang, and whether it has. */
void farewell_close_begin(bool is_remote);
void farewell_close_end(bool has_hung);
/* True when something was left behind: what it may still use must not be freed. */
bool farewell_has_given_up(void);
/* Flush all nodes that are left, as far as their storage answers. */
void co_fn farewell_flush(void);
/* Say in the log what the nodes that are left take along, besides requests: their bitmaps. */
void farewell_tell_losses(void);
/* All has ended well. */
void farewell_finish(void);

#endif
