/* SPDX-License-Identifier: MIT */
/*
 * The QMP server: what all monitors of one daemon share.
 *
 * Any number of clients may be connected at once, each with a session of its
 * own (session.h), which executes its commands in their order. Those of all
 * sessions are executed one at a time, in the order in which the sessions ask, but
 * for three kinds: out-of-band commands and those that never wait (instant ones)
 * overtake, and those that may wait for storage that hangs (concurrent ones) neither
 * wait for their turn nor hold it. Events go to every session that has finished
 * its negotiation.
 *
 * Everything runs on the loop's thread.
 */
#ifndef PROTOCOL_QMP_SERVER_H
#define PROTOCOL_QMP_SERVER_H

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/dispatch.h"

struct json_writer;
struct loop;
struct qmp_session;

/* Bytes that one read from a client may bring. */
#define QMP_READ_MAX (64 * 1024)

struct qmp_server {
	struct loop *loop;
	schema_handler *const *handlers; /* parallel to schema_commands[] */
	const struct version_info *version; /* for the greeting */
	struct list sessions;        /* struct qmp_session.link */
	struct co_mutex in_band;     /* held while a command is executed */
	struct co_group concurrent;  /* commands that are executed beside that */
	bool is_held;                /* also instant and concurrent commands wait */
	struct qmp_session *current; /* whose in-band command began last; valid until that waits */
	struct co_group open;        /* sessions that exist */
	bool stopping;               /* no further command is started */
	char *input;                 /* QMP_READ_MAX bytes, used inside one call only */
	/* Called with what a failed command has to tell beyond its reply (error->hint); or NULL. */
	void (*on_hint)(const char *command, const struct error *error);
};

/* @handlers and @version stay the caller's and outlive the server. */
struct qmp_server *qmp_server_new(struct loop *loop, schema_handler *const *handlers,
				  const struct version_info *version);

/* Send an event to every session that wants it. @payload: the event's struct, or NULL. */
void qmp_server_emit(struct qmp_server *server, enum schema_event event, const void *payload);

/* Let commands wait, and let them go on. Greetings and out-of-band commands do not wait. */
void co_fn qmp_server_hold(struct qmp_server *server);
void qmp_server_release(struct qmp_server *server);

/* Start no further command from now on. */
void qmp_server_stop(struct qmp_server *server);

/* Start no further command, and wait until the one whose turn it is has been answered. */
void co_fn qmp_server_quiesce(struct qmp_server *server);
/* Wait until the concurrent commands under way have ended. */
void co_fn qmp_server_settle(struct qmp_server *server);

/*
 * End all sessions, each when its client has taken what waits for it or
 * @timeout_ns has passed, and free the server, which is quiesced and settled.
 */
void co_fn qmp_server_free(struct qmp_server *server, uint64_t timeout_ns);

#endif
