/* SPDX-License-Identifier: MIT */
/*
 * From one JSON value of a client to the text of its reply: the checks of the
 * envelope {"execute": ..., "arguments": ..., "id": ...}, the command, and the
 * envelope of the answer. Knows no client and no queue.
 */
#ifndef PROTOCOL_QMP_DISPATCH_H
#define PROTOCOL_QMP_DISPATCH_H

#include "protocol/qmp/server.h"

/* What a session has agreed on. */
struct qmp_mode {
	bool negotiated;  /* qmp_capabilities has succeeded: all commands are open */
	bool oob_enabled; /* "exec-oob" is understood */
};

/* True when @json asks to be executed out of band: it has "exec-oob" and no "execute". */
bool qmp_is_out_of_band(struct json_t *json);

/* How a command goes with those of other sessions. */
enum qmp_order {
	QMP_IN_TURN,    /* none of them is executed meanwhile, but for those below */
	QMP_CONCURRENT, /* it may wait, and lets others be executed then */
	QMP_INSTANT,    /* it never waits */
};

/* What @json asks for; what is no command is refused in its turn. */
enum qmp_order qmp_order(struct json_t *json);

/*
 * Execute the request @json, which stays the caller's, and write the one reply
 * to @reply, whatever becomes of it.
 */
void co_fn qmp_dispatch(struct qmp_server *server, const struct qmp_mode *mode,
			struct json_t *json, struct json_writer *reply);

/* Write the reply that tells @error. @id may be NULL. */
void qmp_write_error(struct json_writer *reply, const struct error *error, struct json_t *id);

/* Write the first thing that a client sees. */
void qmp_write_greeting(struct json_writer *reply, const struct version_info *version);

#endif
