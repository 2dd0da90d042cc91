/* SPDX-License-Identifier: MIT */
/*
 * The QMP server: what all monitors of one daemon share. Loop's thread.
 */
#include "protocol/qmp/server.h"

#include <stdlib.h>

#include "base/loop.h"
#include "protocol/qmp/session.h"
#include "schema/json.h"

#define US_PER_S UINT64_C(1000000)

struct qmp_server *qmp_server_new(struct loop *loop, schema_handler *const *handlers,
				  const struct version_info *version)
{
	struct qmp_server *server = NEW(struct qmp_server);
	server->loop = loop;
	server->handlers = handlers;
	server->version = version;
	list_init(&server->sessions);
	co_mutex_init(&server->in_band);
	co_group_init(&server->concurrent);
	co_group_init(&server->open);
	server->input = xalloc(1, QMP_READ_MAX);
	return server;
}

static void write_event(struct json_writer *w, uint64_t now_us,
			const struct schema_event_info *event, const void *payload)
{
	json_writer_begin_object(w);
	json_writer_key(w, "timestamp");
	json_writer_begin_object(w);
	json_writer_key(w, "seconds");
	json_writer_uint(w, now_us / US_PER_S);
	json_writer_key(w, "microseconds");
	json_writer_uint(w, now_us % US_PER_S);
	json_writer_end_object(w);
	json_writer_key(w, "event");
	json_writer_str(w, event->name);
	if (event->type) {
		json_writer_key(w, "data");
		schema_write(w, event->type, payload);
	}
	json_writer_end_object(w);
}

void qmp_server_emit(struct qmp_server *server, enum schema_event event, const void *payload)
{
	uint64_t now_us = loop_realtime_us(server->loop);
	struct json_writer forms[2] = {{.pretty = false}, {.pretty = true}};

	struct qmp_session *s = NULL;
	while ((s = qmp_server_next(server, s))) {
		if (!qmp_session_wants_events(s))
			continue;
		struct json_writer *w = &forms[qmp_session_is_pretty(s)];
		if (w->length == 0)
			write_event(w, now_us, &schema_events[event], payload);
		qmp_session_send_event(s, w->text, w->length);
	}
	json_writer_finish(&forms[0]);
	json_writer_finish(&forms[1]);
}

void co_fn qmp_server_hold(struct qmp_server *server)
{
	server->is_held = true;
	co_mutex_lock(&server->in_band);
}

void qmp_server_release(struct qmp_server *server)
{
	server->is_held = false;
	co_mutex_unlock(&server->in_band);
}

void qmp_server_stop(struct qmp_server *server)
{
	server->stopping = true;
}

void co_fn qmp_server_quiesce(struct qmp_server *server)
{
	qmp_server_stop(server);
	qmp_server_hold(server);
	qmp_server_release(server);
}

void co_fn qmp_server_settle(struct qmp_server *server)
{
	co_group_wait(&server->concurrent);
}

struct deadline {
	struct loop_timer timer;
	struct qmp_server *server;
};

static void on_deadline(struct loop_timer *t)
{
	struct qmp_server *server = container_of(t, struct deadline, timer)->server;
	struct qmp_session *s = NULL;
	while ((s = qmp_server_next(server, s)))
		qmp_session_kill(s);
}

void co_fn qmp_server_free(struct qmp_server *server, uint64_t timeout_ns)
{
	struct deadline deadline = {.server = server};
	struct qmp_session *s = NULL;

	while ((s = qmp_server_next(server, s)))
		qmp_session_end(s);
	loop_timer_init(server->loop, &deadline.timer, on_deadline);
	loop_timer_set(&deadline.timer, loop_now_ns(server->loop) + timeout_ns);
	co_group_wait(&server->open);
	loop_timer_cancel(&deadline.timer);
	free(server->input);
	free(server);
}
