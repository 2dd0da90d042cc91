/* SPDX-License-Identifier: MIT */
/*
 * One client of the monitor, from its greeting to its end. Loop's thread.
 *
 * Whatever changes a session (bytes that came, a reply, an event, the end of a
 * lane) only notes the change and defers settle(), which runs once at the end
 * of the loop's round. It alone writes, chooses what to watch for, and frees.
 */
#include "protocol/qmp/session.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/loop.h"
#include "protocol/qmp/dispatch.h"
#include "protocol/qmp/output.h"
#include "schema/json.h"
#include "schema/json_stream.h"

/* A lane lets others have the loop after so many requests. */
#define LANE_BATCH 64

/* A writer of replies keeps no more memory than this between two of them. */
#define REPLY_KEEP (64 * KiB)

/* One value that the framing found, or what was wrong instead. */
struct request {
	struct list link;
	struct json_t *json; /* NULL with @error */
	struct error *error;
};

/* Requests that are answered in their order. */
struct lane {
	struct qmp_session *session;
	struct list requests; /* struct request.link */
	unsigned count;
	bool is_oob;
	bool running;              /* its coroutine exists */
	struct coroutine *pausing; /* between two batches */
	struct loop_deferred resume;
	struct json_writer reply;  /* under construction; its memory is kept for the next */
};

struct qmp_session {
	struct list link; /* in server->sessions */
	struct qmp_server *server;
	struct qmp_session_setup setup;
	struct loop_fd *in, *out; /* the same watch when the descriptors are the same */
	struct json_stream *framing;
	struct lane in_band, oob;
	struct qmp_output output;
	struct co_queue drained;      /* lanes that wait for @output to become shorter */
	struct loop_deferred settle;
	struct qmp_mode mode;
	bool ended; /* nothing more is read: the client closed, or the server stops */
	bool listens; /* ended by the client, whose own descriptor for output still takes events */
	bool dead;  /* nothing more is written either */
	const char *complaint; /* constant; for setup.closed() */
};

static void change(struct qmp_session *s)
{
	loop_defer(s->server->loop, &s->settle);
}

static void request_free(struct request *r)
{
	json_release(r->json);
	error_free(r->error);
	free(r);
}

static struct request *lane_take(struct lane *l)
{
	struct request *r = list_first(&l->requests, struct request, link);
	if (r) {
		list_del_init(&r->link);
		l->count--;
	}
	return r;
}

static void lane_drop(struct lane *l)
{
	struct request *r;
	while ((r = lane_take(l)))
		request_free(r);
}

/* Give the client up: it is gone, or does not read what it asked for. */
static void kill_session(struct qmp_session *s)
{
	s->dead = true;
	lane_drop(&s->in_band);
	lane_drop(&s->oob);
	qmp_output_finish(&s->output);
	co_queue_wake_all(&s->drained);
	change(s);
}

/* Queue @text. Every line ends with CR and LF: the last, and those inside one that is pretty. */
static void send_lines(struct qmp_session *s, const char *text, size_t bytes)
{
	const char *newline;

	while ((newline = memchr(text, '\n', bytes))) {
		size_t length = (size_t)(newline - text);
		qmp_output_append(&s->output, text, length);
		qmp_output_append(&s->output, "\r\n", 2);
		text += length + 1;
		bytes -= length + 1;
	}
	qmp_output_append(&s->output, text, bytes);
	qmp_output_append(&s->output, "\r\n", 2);
	change(s);
}

void qmp_session_send_event(struct qmp_session *s, const char *text, size_t bytes)
{
	if (qmp_output_waiting(&s->output) + bytes > QMP_OUTPUT_MAX) {
		s->complaint = "it did not read, and too much waited for it";
		kill_session(s);
		return;
	}
	send_lines(s, text, bytes);
}

/* Send the reply that @l has written, however long: there is one at a time. */
static void send_reply(struct lane *l)
{
	struct json_writer *w = &l->reply;
	if (!l->session->dead)
		send_lines(l->session, w->text, w->length);
	w->length = 0;
	w->has_item = false;
	if (w->capacity > REPLY_KEEP)
		json_writer_finish(w);
}

static void on_resume(struct loop_deferred *d)
{
	co_wake(container_of(d, struct lane, resume)->pausing);
}

/* Let the loop look at everybody else once. */
static void co_fn lane_pause(struct lane *l)
{
	l->pausing = co_self();
	loop_defer(l->session->server->loop, &l->resume);
	co_yield();
}

/* Wait until a command may be executed. True when it has the turn, and has to give it back. */
static bool co_fn take_turn(const struct lane *l, enum qmp_order order)
{
	struct qmp_server *server = l->session->server;
	if (l->is_oob || (order != QMP_IN_TURN && !server->is_held))
		return false;
	co_mutex_lock(&server->in_band);
	if (order == QMP_IN_TURN)
		return true;
	/* It was only held back. */
	co_mutex_unlock(&server->in_band);
	return false;
}

static void co_fn execute(struct lane *l, struct request *request)
{
	struct qmp_session *s = l->session;
	struct qmp_server *server = s->server;

	if (request->error) {
		qmp_write_error(&l->reply, request->error, NULL);
		send_reply(l);
		return;
	}
	enum qmp_order order = qmp_order(request->json);
	bool has_turn = take_turn(l, order);
	if (!l->is_oob)
		server->current = s;
	bool begun = !server->stopping && !s->dead;
	if (order == QMP_CONCURRENT)
		co_group_add(&server->concurrent);
	if (begun)
		qmp_dispatch(server, &s->mode, request->json, &l->reply);
	if (order == QMP_CONCURRENT)
		co_group_done(&server->concurrent);
	if (has_turn)
		co_mutex_unlock(&server->in_band);
	if (begun)
		send_reply(l);
}

static void co_fn lane_run(void *arg)
{
	struct lane *l = arg;
	struct qmp_session *s = l->session;
	unsigned done = 0;

	for (;;) {
		while (qmp_output_waiting(&s->output) > QMP_OUTPUT_HIGH && !s->dead)
			co_queue_wait(&s->drained);
		struct request *r = lane_take(l);
		if (!r)
			break;
		execute(l, r);
		request_free(r);
		if (++done % LANE_BATCH == 0)
			lane_pause(l);
	}
	l->running = false;
	change(s);
}

static void lane_init(struct lane *l, struct qmp_session *s, bool is_oob)
{
	*l = (struct lane){.session = s, .is_oob = is_oob, .reply.pretty = s->setup.pretty};
	list_init(&l->requests);
	loop_deferred_init(&l->resume, on_resume);
}

static void lane_add(struct lane *l, struct json_t *json, struct error *error)
{
	struct request *r = NEW(struct request);
	r->json = json;
	r->error = error;
	list_add_tail(&l->requests, &r->link);
	l->count++;
	if (!l->running) {
		l->running = true;
		co_start(l->session->server->loop, lane_run, l);
	}
}

/* From the framing: a value, which is ours now, or what was wrong instead of one. */
static bool on_value(void *arg, struct json_t *json, const char *message)
{
	struct qmp_session *s = arg;
	struct error *error = NULL;

	if (!json)
		error_set(&error, -EINVAL, "%s", message);
	bool oob = json && s->mode.oob_enabled && qmp_is_out_of_band(json);
	lane_add(oob ? &s->oob : &s->in_band, json, error);
	return true;
}

static void read_some(struct qmp_session *s)
{
	ssize_t n = read(s->setup.fd_in, s->server->input, QMP_READ_MAX);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		kill_session(s);
		return;
	}
	if (n == 0) {
		s->ended = true;
		s->listens = s->out != s->in;
		change(s);
		return;
	}
	json_stream_feed(s->framing, s->server->input, (size_t)n);
	change(s);
}

static bool wants_input(const struct qmp_session *s)
{
	/* One command out of band is no use if it waits behind others; in band they wait anyway. */
	unsigned max = s->mode.oob_enabled ? QMP_REQUEST_QUEUE_MAX : 1;
	return !s->ended && !s->dead && s->in_band.count < max && s->oob.count < max;
}

static void on_ready(void *arg, unsigned events)
{
	struct qmp_session *s = arg;

	if ((events & LOOP_FD_READ) && wants_input(s))
		read_some(s);
	if (events & LOOP_FD_WRITE)
		change(s);
}

static void session_free(struct qmp_session *s)
{
	struct qmp_server *server = s->server;
	struct qmp_session_setup setup = s->setup;
	const char *complaint = s->complaint;

	loop_deferred_cancel(&s->settle);
	list_del_init(&s->link);
	if (s->out != s->in)
		loop_fd_free(s->out);
	loop_fd_free(s->in);
	json_stream_free(s->framing);
	json_writer_finish(&s->in_band.reply);
	json_writer_finish(&s->oob.reply);
	qmp_output_finish(&s->output);
	free(s);
	setup.closed(setup.arg, complaint);
	co_group_done(&server->open);
}

static void watch(struct qmp_session *s)
{
	unsigned in = wants_input(s) ? LOOP_FD_READ : 0;
	unsigned out = qmp_output_waiting(&s->output) > 0 ? LOOP_FD_WRITE : 0;

	if (s->in == s->out) {
		loop_fd_set_events(s->in, in | out);
		return;
	}
	loop_fd_set_events(s->in, in);
	loop_fd_set_events(s->out, out);
}

static void settle(struct loop_deferred *d)
{
	struct qmp_session *s = container_of(d, struct qmp_session, settle);

	if (!s->dead) {
		int r = qmp_output_flush(&s->output, s->setup.fd_out);
		if (r < 0 && r != -EAGAIN)
			kill_session(s);
	}
	bool is_idle = !s->in_band.running && !s->oob.running;
	bool is_over = s->dead ||
		       (s->ended && !s->listens && qmp_output_waiting(&s->output) == 0);
	if (is_idle && is_over) {
		session_free(s);
		return;
	}
	if (qmp_output_waiting(&s->output) <= QMP_OUTPUT_HIGH)
		co_queue_wake_all(&s->drained);
	watch(s);
}

struct qmp_session *qmp_session_open(struct qmp_server *server,
				     const struct qmp_session_setup *setup)
{
	struct qmp_session *s = NEW(struct qmp_session);
	s->server = server;
	s->setup = *setup;
	s->framing = json_stream_new(on_value, s);
	lane_init(&s->in_band, s, false);
	lane_init(&s->oob, s, true);
	co_queue_init(&s->drained);
	loop_deferred_init(&s->settle, settle);
	s->in = loop_fd_new(server->loop, setup->fd_in, on_ready, s);
	s->out = s->in;
	if (setup->fd_out != setup->fd_in)
		s->out = loop_fd_new(server->loop, setup->fd_out, on_ready, s);
	list_add_tail(&server->sessions, &s->link);
	co_group_add(&server->open);

	qmp_write_greeting(&s->in_band.reply, server->version);
	send_reply(&s->in_band);
	return s;
}

int qmp_session_negotiate(struct qmp_session *s, bool enable_oob, struct error **errp)
{
	if (s->mode.negotiated)
		return error_set_class(errp, ERROR_COMMAND_NOT_FOUND, -EINVAL,
				       "Capabilities negotiation is already complete, "
				       "command ignored");
	s->mode.negotiated = true;
	s->mode.oob_enabled = enable_oob;
	return 0;
}

struct qmp_session *qmp_server_next(const struct qmp_server *server, const struct qmp_session *s)
{
	const struct list *next = s ? s->link.next : server->sessions.next;
	return next == &server->sessions ? NULL : container_of(next, struct qmp_session, link);
}

bool qmp_session_wants_events(const struct qmp_session *s)
{
	return s->mode.negotiated && !s->dead;
}

bool qmp_session_is_pretty(const struct qmp_session *s)
{
	return s->setup.pretty;
}

void qmp_session_end(struct qmp_session *s)
{
	s->ended = true;
	s->listens = false;
	lane_drop(&s->in_band);
	lane_drop(&s->oob);
	change(s);
}

void qmp_session_kill(struct qmp_session *s)
{
	kill_session(s);
}
