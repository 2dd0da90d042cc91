/* SPDX-License-Identifier: MIT */
/*
 * One client of the monitor, from its greeting to its end.
 *
 * Bytes come from one descriptor and go to another (the same for a socket).
 * What the framing finds becomes a request in one of two lanes: the in-band
 * lane answers strictly in order, the out-of-band lane, once negotiated,
 * overtakes it. Each lane runs in a coroutine of its own while it has requests.
 * Replies and events gather in one output queue, which is written once in a
 * turn of the loop.
 *
 * A client that does not read its replies is not served further until it does;
 * one whose events pile up to QMP_OUTPUT_MAX bytes is dropped. A client that closes
 * its sending side still gets the replies to all that it sent.
 */
#ifndef PROTOCOL_QMP_SESSION_H
#define PROTOCOL_QMP_SESSION_H

#include "protocol/qmp/server.h"

/*
 * Requests that may wait in a session with out-of-band commands before no more
 * is read; without them, one. What one read brought is taken in any case.
 */
#define QMP_REQUEST_QUEUE_MAX 8
/* Waiting bytes of output above which no further request is begun. */
#define QMP_OUTPUT_HIGH (256 * 1024)
/* Waiting bytes of output above which the next event costs the client its connection. */
#define QMP_OUTPUT_MAX (64 * 1024 * 1024)

/* What the owner of a session says and hears. */
struct qmp_session_setup {
	int fd_in, fd_out; /* the same for a socket; both stay the owner's until closed() */
	bool pretty;       /* indent the JSON */
	/*
	 * The session has ended and is freed; the descriptors may be closed. @complaint
	 * says what the client did to be dropped; NULL when it left or was left. Runs
	 * outside any coroutine.
	 */
	void (*closed)(void *arg, const char *complaint);
	void *arg;
};

/*
 * Greet and serve the client behind the descriptors, which must be in
 * non-blocking mode. The session frees itself when it has ended.
 */
struct qmp_session *qmp_session_open(struct qmp_server *server,
				     const struct qmp_session_setup *setup);

/*
 * Leave the negotiation mode, with or without out-of-band commands. Returns
 * -EINVAL when @s has left it before.
 */
int qmp_session_negotiate(struct qmp_session *s, bool enable_oob, struct error **errp);

/* True when events are to be sent to @s. */
bool qmp_session_wants_events(const struct qmp_session *s);
bool qmp_session_is_pretty(const struct qmp_session *s);

/* The session after @s, or the first for NULL; NULL after the last. */
struct qmp_session *qmp_server_next(const struct qmp_server *server, const struct qmp_session *s);

/*
 * Queue an event's JSON text for the client; it leaves at the end of the loop's
 * round. A client for which QMP_OUTPUT_MAX bytes wait is dropped instead.
 */
void qmp_session_send_event(struct qmp_session *s, const char *text, size_t bytes);

/* Read nothing more, forget the requests that wait, and end when the client has its replies. */
void qmp_session_end(struct qmp_session *s);
/* End at once. The session is freed when no command of it is under way. */
void qmp_session_kill(struct qmp_session *s);

#endif
