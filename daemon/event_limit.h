/* SPDX-License-Identifier: MIT */
/*
 * Events that may come by the thousand, such as those of a broken disk: each kind is
 * sent at most once a second. Control thread.
 */
#ifndef DAEMON_EVENT_LIMIT_H
#define DAEMON_EVENT_LIMIT_H

#include "schema/tables.h"

/*
 * As daemon_emit(), unless one of the same @event about the same @subject was sent
 * less than a second ago: then only the last of them is sent, at the end of the
 * second. @payload is copied; its type is the event's.
 */
void event_limit_emit(enum schema_event event, const char *subject, const void *payload);

/* Forget what has not been sent. */
void event_limit_finish(void);

#endif
