/* SPDX-License-Identifier: MIT */
/*
 * A QMP session over a UNIX socket.
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "schema/json_stream.h"
#include "tools/client/client.h"

/* A monitor for one client at a time takes a second one, and greets when the first has left. */
#define GREETING_MS 10000

struct session {
	int fd;
	struct json_stream *stream;
	json_t *events; /* that nobody has asked for yet */
	json_t *answer; /* the last one that has come; or the greeting */
	bool is_garbled;
};

/* What is neither an event nor garbage is an answer. */
static bool on_value(void *arg, json_t *value, const char *error)
{
	struct session *s = arg;
	if (!json_is_object(value)) {
		s->is_garbled = true;
		json_release(value);
	} else if (json_object_get(value, "event")) {
		json_array_append_new(s->events, value);
	} else {
		json_release(s->answer);
		s->answer = value;
	}
	return true;
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

/* Take in bytes, waiting until @deadline_ms, for ever when that is negative. 1, 0 or an error. */
static int receive(struct session *s, int64_t deadline_ms, struct error **errp)
{
	int64_t left = deadline_ms < 0 ? -1 : MAX(deadline_ms - now_ms(), 0);
	struct pollfd p = {.fd = s->fd, .events = POLLIN};
	int r = poll(&p, 1, (int)left);
	if (r == 0)
		return 0;
	char bytes[65536];
	ssize_t n = recv(s->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 1;
	if (n < 0)
		return error_set_errno(errp, -errno, "The connection to the daemon is lost");
	if (n == 0)
		return error_set(errp, -ECONNRESET, "The daemon has closed the connection");
	json_stream_feed(s->stream, bytes, (size_t)n);
	if (s->is_garbled)
		return error_set(errp, -EPROTO, "What answers is no QMP monitor");
	return 1;
}

/* Wait for an answer, which is the caller's. */
static int take_answer(struct session *s, int64_t deadline_ms, json_t **ret, struct error **errp)
{
	while (!s->answer) {
		int r = receive(s, deadline_ms, errp);
		if (r < 0)
			return r;
		if (r == 0)
			return error_set(errp, -ETIMEDOUT, "The monitor does not greet: it may be busy "
					 "with another client");
	}
	*ret = TAKE(s->answer);
	return 0;
}

static int send_all(struct session *s, const char *text, struct error **errp)
{
	size_t left = strlen(text);
	while (left > 0) {
		ssize_t n = send(s->fd, text, left, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(errp, -errno, "The connection to the daemon is lost");
		text += n;
		left -= (size_t)n;
	}
	return 0;
}

int session_execute(struct session *s, const char *command, json_t *arguments, json_t **ret,
		    struct error **errp)
{
	json_t *message _cleanup_json_ = json_object();
	json_t *answer _cleanup_json_ = NULL;
	json_object_set_new(message, "execute", json_string(command));
	if (arguments)
		json_object_set_new(message, "arguments", arguments);
	char *text _cleanup_free_ = text_json(message, false);
	int r = send_all(s, text, errp);
	if (r >= 0)
		r = take_answer(s, -1, &answer, errp);
	if (r < 0)
		return r;
	const json_t *error = json_object_get(answer, "error");
	if (error) {
		const char *said = schema_text(error, "desc");
		return error_set(errp, -EREMOTEIO, "%s", said ? said : "The command has failed");
	}
	json_t *result = json_object_get(answer, "return");
	if (!result)
		return error_set(errp, -EPROTO, "What answers is no QMP monitor");
	*ret = json_incref(result);
	return 0;
}

int session_wait(struct session *s, int timeout_ms, json_t **ret, struct error **errp)
{
	int64_t deadline = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
	while (json_array_size(s->events) == 0) {
		int r = receive(s, deadline, errp);
		if (r <= 0)
			return r;
	}
	*ret = json_incref(json_array_get(s->events, 0));
	json_array_remove(s->events, 0);
	return 1;
}

static int open_socket(const char *path, int *ret_fd, struct error **errp)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		return error_set(errp, -EINVAL, "The path of the socket is longer than %zu bytes: '%s'",
				 sizeof(address.sun_path) - 1, path);
	memcpy(address.sun_path, path, strlen(path));
	int fd _cleanup_close_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(errp, -errno, "Could not make a socket");
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		error_set_errno(errp, -errno, "Could not connect to '%s'", path);
		error_hint(errp, "Name the socket of the daemon's monitor with -s or $CAIRN_SOCKET.");
		return -errno;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int greet(struct session *s, struct error **errp)
{
	json_t *greeting _cleanup_json_ = NULL, *nothing _cleanup_json_ = NULL;
	int r = take_answer(s, now_ms() + GREETING_MS, &greeting, errp);
	if (r < 0)
		return r;
	if (!json_object_get(greeting, "QMP"))
		return error_set(errp, -EPROTO, "What answers is no QMP monitor");
	return session_execute(s, "qmp_capabilities", NULL, &nothing, errp);
}

int session_open(const char *path, struct session **ret, struct error **errp)
{
	int fd = -1;
	int r = open_socket(path, &fd, errp);
	if (r < 0)
		return r;
	struct session *s = NEW(struct session);
	s->fd = fd;
	s->events = json_array();
	s->stream = json_stream_new(on_value, s);
	r = greet(s, errp);
	if (r < 0) {
		session_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

void session_close(struct session *s)
{
	if (!s)
		return;
	close(s->fd);
	json_stream_free(s->stream);
	json_release(s->events);
	json_release(s->answer);
	free(s);
}
