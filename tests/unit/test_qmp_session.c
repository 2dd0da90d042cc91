/* SPDX-License-Identifier: MIT */
/*
 * protocol/qmp/session.c, server.c and dispatch.c: requests in, replies and
 * events out, in order, with clients that are slow, many, rude or gone. The
 * handlers are the test's own; the far end of each client is a socket here.
 */
#include "protocol/qmp/session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"
#include "protocol/qmp/dispatch.h"
#include "protocol/qmp/output.h"
#include "schema/commands.h"
#include "tests/unit/unit.h"

#define MS UINT64_C(1000000)

static struct loop *loop;
static struct qmp_server *server;
static schema_handler *handlers[SCHEMA_COMMAND_COUNT];
static unsigned running, most_running, finished;
static struct co_queue gate; /* where commands that take a while wait */

static int co_fn capabilities(const void *args, void *ret, struct error **errp)
{
	const struct qmp_capabilities_args *a = args;
	return qmp_session_negotiate(server->current, a->enable.count > 0, errp);
}

static struct version_info *version(void)
{
	struct version_info *v = NEW(struct version_info);
	v->qemu = NEW(struct version_triple);
	v->qemu->major = 11;
	v->package = xstrdup("test");
	return v;
}

static int co_fn query_version(const void *args, void *ret, struct error **errp)
{
	*(struct version_info **)ret = version();
	finished++;
	return 0;
}

/* Waits at the gate. */
static int co_fn take_a_while(const void *args, void *ret, struct error **errp)
{
	running++;
	most_running = MAX(running, most_running);
	co_queue_wait(&gate);
	running--;
	finished++;
	return 0;
}

static int co_fn blockdev_del(const void *args, void *ret, struct error **errp)
{
	const struct blockdev_del_args *a = args;
	return error_set_class(errp, ERROR_DEVICE_NOT_FOUND, -ENODEV, "No node '%s'", a->node_name);
}

static void set_handler(const char *name, schema_handler *handler)
{
	handlers[schema_command_find(name) - schema_commands] = handler;
}

struct client {
	int fd;        /* the far end, blocking reads only through expect() */
	int near_fd;
	bool closed;   /* the session has ended */
	bool was_dropped;
	struct qmp_session *session;
};

static void on_closed(void *arg, const char *complaint)
{
	struct client *c = arg;
	close(c->near_fd);
	c->closed = true;
	c->was_dropped = complaint != NULL;
}

static void connect_client(struct client *c, bool pretty)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	*c = (struct client){.fd = fds[0], .near_fd = fds[1]};
	c->session = qmp_session_open(server, &(struct qmp_session_setup){
		.fd_in = c->near_fd, .fd_out = c->near_fd, .pretty = pretty,
		.closed = on_closed, .arg = c});
}

static void co_fn say(struct client *c, const char *text)
{
	size_t left = strlen(text);
	while (left > 0) {
		ssize_t n = send(c->fd, text, left, MSG_NOSIGNAL);
		if (n < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			co_sleep_ns(MS);
			continue;
		}
		text += n;
		left -= (size_t)n;
	}
}

/* Read exactly what @wanted says. */
static void co_fn expect(struct client *c, const char *wanted)
{
	size_t length = strlen(wanted), got = 0;
	char *text = xalloc(length + 1, 1);

	for (unsigned tries = 0; got < length; tries++) {
		ssize_t n = recv(c->fd, text + got, length - got, 0);
		if (n == 0)
			break;
		if (n > 0) {
			got += (size_t)n;
			continue;
		}
		ck_assert_msg(tries < 2000, "waits for '%s', has '%s'", wanted, text);
		co_sleep_ns(MS);
	}
	ck_assert_str_eq(text, wanted);
	free(text);
}

static void co_fn expect_nothing(struct client *c)
{
	char byte;
	co_sleep_ns(20 * MS);
	ck_assert_int_eq(recv(c->fd, &byte, 1, 0), -1);
	ck_assert_int_eq(errno, EAGAIN);
}

static void co_fn expect_end(struct client *c)
{
	char byte;
	for (unsigned tries = 0; !c->closed; tries++) {
		ck_assert(tries < 2000);
		co_sleep_ns(MS);
	}
	ck_assert_int_le(recv(c->fd, &byte, 1, 0), 0);
	close(c->fd);
	c->fd = -1;
}

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 11}, "         \
	"\"package\": \"test\"}, \"capabilities\": [\"oob\"]}}\r\n"
#define VERSION                                                                                    \
	"{\"return\": {\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 11}, "                    \
	"\"package\": \"test\"}"

static void co_fn negotiate(struct client *c)
{
	connect_client(c, false);
	expect(c, GREETING);
	say(c, "{\"execute\": \"qmp_capabilities\"}");
	expect(c, "{\"return\": {}}\r\n");
}

static void co_fn start(void)
{
	static struct version_info *v;
	v = version();
	signal(SIGPIPE, SIG_IGN);
	co_queue_init(&gate);
	set_handler("qmp_capabilities", capabilities);
	set_handler("query-version", query_version);
	set_handler("nbd-server-stop", take_a_while);
	set_handler("block_resize", take_a_while);
	set_handler("blockdev-del", blockdev_del);
	server = qmp_server_new(loop, handlers, v);
}

static void co_fn stop(void)
{
	struct version_info *v = (struct version_info *)server->version;
	qmp_server_quiesce(server);
	qmp_server_free(server, 50 * MS);
	version_info_free(v);
}

static void run(co_entry *entry)
{
	loop = loop_new_uv(NULL);
	ck_assert_ptr_nonnull(loop);
	loop_run_coroutine(loop, entry, NULL);
	loop_free(loop);
}

#define SESSION_TEST(name)                                                                         \
	static void co_fn name##_body(void *arg);                                                  \
	START_TEST(name)                                                                           \
	{                                                                                          \
		run(name##_body);                                                                  \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn name##_body(void *arg)

SESSION_TEST(one_packet_with_everything_is_answered_in_order)
{
	struct client c;
	start();
	connect_client(&c, false);
	say(&c, "{\"execute\":\"query-version\"}{\"execute\":\"qmp_capabilities\"}"
		"{'execute':'query-version','id':[1]}[]{}"
		"{\"execute\":\"blockdev-del\",\"arguments\":{\"node-name\":\"x\"},\"id\":2}");
	expect(&c, GREETING
	       "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"Expecting capabilities "
	       "negotiation with 'qmp_capabilities'\"}}\r\n"
	       "{\"return\": {}}\r\n"
	       VERSION ", \"id\": [1]}\r\n"
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": "
	       "\"QMP input must be a JSON object\"}}\r\n"
	       "{\"error\": {\"class\": \"GenericError\", \"desc\": "
	       "\"QMP input lacks member 'execute'\"}}\r\n"
	       "{\"id\": 2, \"error\": {\"class\": \"DeviceNotFound\", \"desc\": "
	       "\"No node 'x'\"}}\r\n");
	close(c.fd);
	stop();
	ck_assert(c.closed);
}

SESSION_TEST(one_byte_at_a_time_is_enough)
{
	struct client c;
	start();
	negotiate(&c);
	const char *command = "{\"execute\": \"query-version\", \"id\": \"slow\"}";
	for (const char *p = command; *p; p++) {
		say(&c, (char[]){*p, '\0'});
		co_sleep_ns(MS / 4);
	}
	expect(&c, VERSION ", \"id\": \"slow\"}\r\n");
	close(c.fd);
	stop();
}

SESSION_TEST(garbage_is_answered_and_the_session_goes_on)
{
	struct client c;
	start();
	negotiate(&c);
	say(&c, "nonsense\n");
	expect(&c, "{\"error\": {\"class\": \"GenericError\", \"desc\": "
		   "\"JSON parse error, invalid keyword 'nonsense'\"}}\r\n");
	say(&c, "{\"execute\": \"query-version\"}");
	expect(&c, VERSION "}\r\n");
	close(c.fd);
	stop();
}

SESSION_TEST(half_closed_client_gets_every_reply)
{
	struct client c;
	start();
	negotiate(&c);
	say(&c, "{\"execute\": \"query-version\", \"id\": 1}"
		"{\"execute\": \"query-version\", \"id\": 2}{\"exec");
	shutdown(c.fd, SHUT_WR);
	expect(&c, VERSION ", \"id\": 1}\r\n" VERSION ", \"id\": 2}\r\n");
	expect_end(&c);
	stop();
}

/* Two that take a while, one in its turn, one beside others. */
#define IN_TURN "{\"execute\": \"nbd-server-stop\"}"
#define RESIZE "{\"execute\": \"block_resize\", \"arguments\": {\"size\": 1}}"

SESSION_TEST(commands_of_all_clients_run_one_at_a_time)
{
	struct client c[3];
	start();
	for (unsigned i = 0; i < 3; i++)
		negotiate(&c[i]);
	for (unsigned i = 0; i < 3; i++)
		say(&c[i], IN_TURN "{\"execute\": \"query-version\"}");
	for (unsigned i = 0; i < 3; i++) {
		while (!co_queue_wake_one(&gate))
			co_sleep_ns(MS);
		/* The sessions take turns, so the others' second commands wait for the first ones. */
		co_sleep_ns(5 * MS);
		ck_assert_uint_le(running, 1);
	}
	for (unsigned i = 0; i < 3; i++) {
		expect(&c[i], "{\"return\": {}}\r\n" VERSION "}\r\n");
		close(c[i].fd);
	}
	ck_assert_uint_eq(most_running, 1);
	stop();
}

static void co_fn wait_until_running(unsigned count)
{
	for (unsigned tries = 0; running < count; tries++) {
		ck_assert(tries < 2000);
		co_sleep_ns(MS);
	}
}

SESSION_TEST(concurrent_command_holds_up_its_own_session_only)
{
	struct client c[3];
	start();
	for (unsigned i = 0; i < 3; i++)
		negotiate(&c[i]);
	for (unsigned i = 0; i < 2; i++)
		say(&c[i], RESIZE "{\"execute\": \"query-version\"}");
	wait_until_running(2);
	say(&c[2], "{\"execute\": \"query-version\"}" IN_TURN);
	expect(&c[2], VERSION "}\r\n");
	wait_until_running(3);
	for (unsigned i = 0; i < 3; i++)
		expect_nothing(&c[i]);
	co_queue_wake_all(&gate);
	for (unsigned i = 0; i < 2; i++)
		expect(&c[i], "{\"return\": {}}\r\n" VERSION "}\r\n");
	expect(&c[2], "{\"return\": {}}\r\n");
	for (unsigned i = 0; i < 3; i++)
		close(c[i].fd);
	stop();
}

SESSION_TEST(held_commands_wait_whatever_their_kind)
{
	struct client c[2];
	start();
	for (unsigned i = 0; i < 2; i++)
		negotiate(&c[i]);
	qmp_server_hold(server);
	say(&c[0], RESIZE);
	say(&c[1], "{\"execute\": \"query-version\"}");
	expect_nothing(&c[1]);
	ck_assert_uint_eq(running, 0);
	qmp_server_release(server);
	expect(&c[1], VERSION "}\r\n");
	wait_until_running(1);
	co_queue_wake_all(&gate);
	expect(&c[0], "{\"return\": {}}\r\n");
	for (unsigned i = 0; i < 2; i++)
		close(c[i].fd);
	stop();
}

static void co_fn open_gate(void *arg)
{
	co_sleep_ns(20 * MS);
	while (!co_queue_wake_one(&gate))
		co_sleep_ns(MS);
}

SESSION_TEST(vanished_client_leaves_its_command_to_finish)
{
	struct client c, other;
	start();
	negotiate(&c);
	say(&c, IN_TURN);
	while (running == 0)
		co_sleep_ns(MS);
	close(c.fd);
	negotiate(&other); /* does not wait for the command, nor does this */
	say(&other, "{\"execute\": \"query-version\"}");
	expect(&other, VERSION "}\r\n");
	ck_assert_uint_eq(running, 1);
	co_start(loop, open_gate, NULL);
	for (unsigned tries = 0; !c.closed || running > 0; tries++) {
		ck_assert(tries < 2000);
		co_sleep_ns(MS);
	}
	ck_assert(!c.was_dropped);
	say(&other, "{\"execute\": \"query-version\"}");
	expect(&other, VERSION "}\r\n");
	close(other.fd);
	stop();
}

#define NO_OOB(id)                                                                                 \
	"{\"id\": " id ", \"error\": {\"class\": \"GenericError\", "                               \
	"\"desc\": \"The command query-version does not support OOB\"}}\r\n"

SESSION_TEST(out_of_band_overtakes_a_command_that_waits)
{
	struct client c;
	start();
	connect_client(&c, false);
	say(&c, "{\"execute\": \"qmp_capabilities\", \"arguments\": {\"enable\": [\"oob\"]}}");
	expect(&c, GREETING "{\"return\": {}}\r\n");
	say(&c, IN_TURN IN_TURN "{\"exec-oob\": \"query-version\", \"id\": 1}");
	/* Refused, as no command of this interface may overtake, but refused at once. */
	expect(&c, NO_OOB("1"));
	ck_assert_uint_eq(running, 1);
	say(&c, "{\"exec-oob\": \"query-version\", \"id\": 2}");
	expect(&c, NO_OOB("2"));
	for (unsigned i = 0; i < 2; i++) {
		while (!co_queue_wake_one(&gate))
			co_sleep_ns(MS);
		expect(&c, "{\"return\": {}}\r\n");
	}
	close(c.fd);
	stop();
}

SESSION_TEST(no_more_is_read_while_requests_wait)
{
	struct client c;
	start();
	negotiate(&c);
	say(&c, IN_TURN);
	while (running == 0)
		co_sleep_ns(MS);
	/* Far more than the daemon and the socket hold while nobody takes it. */
	const char *command = "{\"execute\": \"query-version\"}\n";
	unsigned sent = 0;
	for (unsigned idle = 0; idle < 50; idle++, co_sleep_ns(MS)) {
		while (send(c.fd, command, strlen(command), MSG_NOSIGNAL) ==
		       (ssize_t)strlen(command)) {
			idle = 0;
			sent++;
		}
		ck_assert_uint_lt(sent, 100000);
	}
	while (!co_queue_wake_one(&gate))
		co_sleep_ns(MS);
	expect(&c, "{\"return\": {}}\r\n");
	for (unsigned i = 0; i < sent; i++)
		expect(&c, VERSION "}\r\n");
	close(c.fd);
	stop();
}

static void emit(const char *id)
{
	struct block_export_deleted_event event = {.id = (char *)id};
	qmp_server_emit(server, SCHEMA_EVENT_BLOCK_EXPORT_DELETED, &event);
}

/* Read a line that must begin with a timestamp and end with @wanted. */
static void co_fn expect_event(struct client *c, const char *wanted)
{
	char line[512];
	size_t n = 0;
	while (n == 0 || line[n - 1] != '\n') {
		ck_assert_uint_lt(n, sizeof(line) - 1);
		if (recv(c->fd, line + n, 1, 0) == 1)
			n++;
		else
			co_sleep_ns(MS);
	}
	line[n] = '\0';
	unsigned long seconds, microseconds;
	int end = 0;
	sscanf(line, "{\"timestamp\": {\"seconds\": %lu, \"microseconds\": %lu}, %n", &seconds,
	       &microseconds, &end);
	ck_assert_int_gt(end, 0);
	ck_assert_uint_lt(microseconds, 1000000);
	ck_assert_str_eq(line + end, wanted);
}

SESSION_TEST(events_reach_who_has_negotiated)
{
	struct client a, b, fresh;
	start();
	negotiate(&a);
	negotiate(&b);
	connect_client(&fresh, false);
	emit("one");
	const char *event = "\"event\": \"BLOCK_EXPORT_DELETED\", \"data\": {\"id\": \"one\"}}\r\n";
	expect_event(&a, event);
	expect_event(&b, event);
	expect(&fresh, GREETING);
	expect_nothing(&fresh);
	close(a.fd);
	close(b.fd);
	close(fresh.fd);
	stop();
}

SESSION_TEST(pretty_session_gets_lines_and_indentation)
{
	struct client c;
	start();
	connect_client(&c, true);
	say(&c, "{\"execute\": \"qmp_capabilities\", \"id\": 1}");
	expect(&c, "{\r\n    \"QMP\": {\r\n        \"version\": {\r\n            \"qemu\": {\r\n"
		   "                \"micro\": 0,\r\n                \"minor\": 0,\r\n"
		   "                \"major\": 11\r\n            },\r\n"
		   "            \"package\": \"test\"\r\n        },\r\n"
		   "        \"capabilities\": [\r\n            \"oob\"\r\n        ]\r\n    }\r\n}\r\n"
		   "{\r\n    \"return\": {\r\n    },\r\n    \"id\": 1\r\n}\r\n");
	close(c.fd);
	stop();
}

SESSION_TEST(client_that_does_not_read_is_not_served_further)
{
	struct client c;
	start();
	negotiate(&c);
	finished = 0;
	/* Far more replies than sockets and queue take. */
	unsigned sent = 0;
	const char *command = "{\"execute\": \"query-version\"}\n";
	for (unsigned idle = 0; idle < 50;) {
		if (send(c.fd, command, strlen(command), MSG_NOSIGNAL) == (ssize_t)strlen(command)) {
			sent++;
			idle = 0;
		} else {
			idle++;
			co_sleep_ns(MS);
		}
		ck_assert_uint_lt(sent, 1000000);
	}
	ck_assert_uint_lt(finished, sent);
	/* Once it reads, it gets all of them. */
	static char buffer[65536];
	unsigned lines = 0;
	while (lines < sent) {
		ssize_t n = recv(c.fd, buffer, sizeof(buffer), 0);
		for (ssize_t i = 0; i < n; i++)
			lines += buffer[i] == '\n';
		if (n < 0)
			co_sleep_ns(MS);
	}
	ck_assert_uint_eq(finished, sent);
	close(c.fd);
	stop();
}

SESSION_TEST(client_whose_events_pile_up_is_dropped)
{
	struct client slow, quick;
	start();
	negotiate(&slow);
	char *id = xalloc(1 * MiB + 1, 1);
	memset(id, 'x', 1 * MiB);
	for (unsigned i = 0; i < QMP_OUTPUT_MAX / MiB + 2 && !slow.closed; i++) {
		emit(id);
		co_sleep_ns(MS);
	}
	for (unsigned tries = 0; !slow.closed; tries++) {
		ck_assert(tries < 2000);
		co_sleep_ns(MS);
	}
	ck_assert(slow.was_dropped);
	negotiate(&quick);
	emit("y");
	expect_event(&quick,
		     "\"event\": \"BLOCK_EXPORT_DELETED\", \"data\": {\"id\": \"y\"}}\r\n");
	free(id);
	close(slow.fd);
	close(quick.fd);
	stop();
}

SESSION_TEST(stop_answers_what_runs_and_drops_what_waits)
{
	struct client c;
	start();
	negotiate(&c);
	say(&c, IN_TURN "{\"execute\": \"query-version\", \"id\": 1}");
	while (running == 0)
		co_sleep_ns(MS);
	finished = 0;
	co_start(loop, open_gate, NULL);
	stop();
	ck_assert_uint_eq(finished, 1);
	expect(&c, "{\"return\": {}}\r\n");
	expect_end(&c);
}

SESSION_TEST(settling_waits_for_concurrent_commands)
{
	struct client c;
	start();
	negotiate(&c);
	say(&c, RESIZE "{\"execute\": \"query-version\"}");
	wait_until_running(1);
	qmp_server_quiesce(server); /* nobody has the turn */
	ck_assert_uint_eq(running, 1);
	co_start(loop, open_gate, NULL);
	qmp_server_settle(server);
	ck_assert_uint_eq(running, 0);
	expect(&c, "{\"return\": {}}\r\n"); /* what follows came too late */
	stop();
	expect_end(&c);
}

SESSION_TEST(stop_does_not_wait_for_who_does_not_read)
{
	struct client c;
	start();
	negotiate(&c);
	char *id = xalloc(4 * MiB + 1, 1);
	memset(id, 'x', 4 * MiB);
	emit(id);
	uint64_t begin = loop_now_ns(loop);
	stop();
	ck_assert_uint_lt(loop_now_ns(loop) - begin, 20000 * MS);
	ck_assert(c.closed);
	free(id);
	close(c.fd);
}

static const struct unit_test tests[] = {
	UNIT_TEST(one_packet_with_everything_is_answered_in_order),
	UNIT_TEST(one_byte_at_a_time_is_enough),
	UNIT_TEST(garbage_is_answered_and_the_session_goes_on),
	UNIT_TEST(half_closed_client_gets_every_reply),
	UNIT_TEST(commands_of_all_clients_run_one_at_a_time),
	UNIT_TEST(concurrent_command_holds_up_its_own_session_only),
	UNIT_TEST(held_commands_wait_whatever_their_kind),
	UNIT_TEST(vanished_client_leaves_its_command_to_finish),
	UNIT_TEST(out_of_band_overtakes_a_command_that_waits),
	UNIT_TEST(no_more_is_read_while_requests_wait),
	UNIT_TEST(events_reach_who_has_negotiated),
	UNIT_TEST(pretty_session_gets_lines_and_indentation),
	UNIT_TEST(client_that_does_not_read_is_not_served_further),
	UNIT_TEST(client_whose_events_pile_up_is_dropped),
	UNIT_TEST(stop_answers_what_runs_and_drops_what_waits),
	UNIT_TEST(settling_waits_for_concurrent_commands),
	UNIT_TEST(stop_does_not_wait_for_who_does_not_read),
};
UNIT_MAIN("qmp_session", tests)
