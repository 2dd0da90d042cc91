/* SPDX-License-Identifier: MIT */
/*
 * cairnd: how it starts and how it ends.
 *
 * One coroutine on the control thread goes from the first option to the last
 * closed node; in between it waits for a signal or the command quit.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/aio.h"
#include "base/detached.h"
#include "base/log.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/node.h"
#include "block/throttle_group.h"
#include "daemon/background.h"
#include "daemon/chardev.h"
#include "daemon/daemon.h"
#include "daemon/event_limit.h"
#include "daemon/farewell.h"
#include "daemon/help.h"
#include "daemon/monitor.h"
#include "daemon/object.h"
#include "daemon/options.h"
#include "daemon/parts.h"
#include "daemon/pidfile.h"
#include "daemon/pressure.h"
#include "daemon/systemd.h"
#include "drivers/table.h"
#include "protocol/nbd/server.h"
#include "protocol/qmp/server.h"

/* Closing storage that is gone takes longer than this, and nothing else does. */
#define HANGING_CLOSE_NS UINT64_C(1500000000)

/* How long clients of the monitor may take, at the end, to read what waits for them. */
#define LAST_WORDS_NS UINT64_C(1000000000)
/* The same where it ends around commands that hang. */
#define REPLY_NS UINT64_C(100000000)

struct daemon the_daemon;

/* The signals that end the daemon. */
static const int end_signals[] = {SIGINT, SIGTERM, SIGHUP};

struct run {
	const struct options *options;
	struct pidfile *pidfile;
	uv_signal_t signals[ARRAY_SIZE(end_signals)];
	bool is_leaving; /* by end_abruptly() */
	int result; /* 0, or a negative errno that has been told */
};

static void co_fn end_abruptly(void *arg);

void daemon_stop(void)
{
	the_daemon.stop_requested = true;
	/* The start, or a command, may wait for what ends only so. */
	throttle_groups_open(the_daemon.graph);
	farewell_begin();
	co_queue_wake_all(&the_daemon.changed);
}

void daemon_emit(enum schema_event event, const void *payload)
{
	qmp_server_emit(the_daemon.qmp, event, payload);
}

/* Advice for whoever reads the log: clients of the monitor do not get it. */
static void log_hint_of_command(const char *command, const struct error *error)
{
	log_warning("%s: %.*s", command, (int)strlen(error->hint) - 1, error->hint);
}

static void on_signal(uv_signal_t *handle, int number)
{
	log_info("ending on signal %d", number);
	daemon_stop();
}

static void watch_signals(struct run *run)
{
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++) {
		uv_signal_init(loop_uv(the_daemon.loop), &run->signals[i]);
		uv_signal_start(&run->signals[i], on_signal, end_signals[i]);
	}
}

static void forget_signals(struct run *run)
{
	for (unsigned i = 0; i < ARRAY_SIZE(end_signals); i++)
		uv_close((uv_handle_t *)&run->signals[i], NULL);
}

/* Tell everybody who waits for it that clients may connect. */
static int announce(struct run *run)
{
	_cleanup_error_ struct error *error = NULL;

	if (run->options->pidfile) {
		int r = pidfile_create(run->options->pidfile, &run->pidfile, &error);
		if (r < 0) {
			log_error("%s", error->message);
			return r;
		}
	}
	background_ready();
	systemd_notify("READY=1");
	return 0;
}

/* The next one to close: users before what they use, but first what no network can hold up. */
static struct node *choose_node(bool with_remote)
{
	struct node *n, *local = NULL, *remote = NULL;
	list_for_each(n, &the_daemon.graph->nodes, link) {
		if (n->monitor_owned)
			*(node_is_remote(n) ? &remote : &local) = n;
	}
	return local || !with_remote ? local : remote;
}

/* Drop the references that blockdev-add holds; the last one closes each node. */
static void co_fn close_nodes(bool with_remote)
{
	struct node *n;
	while ((n = choose_node(with_remote))) {
		uint64_t begin_ns = loop_now_ns(the_daemon.loop);
		farewell_close_begin(node_is_remote(n));
		n->monitor_owned = false;
		node_unref(n);
		farewell_close_end(loop_now_ns(the_daemon.loop) - begin_ns > HANGING_CLOSE_NS);
	}
}

/* Go, with requests in flight that nobody waits for any more. */
static void co_fn end_abruptly(void *arg)
{
	struct run *run = arg;
	/* The way that was given up may turn out to be no dead end: too late. */
	if (run->is_leaving)
		co_yield();
	run->is_leaving = true;
	/* Whoever holds the lock for changes waits for what may never come. */
	close_nodes(false);
	farewell_flush();
	farewell_tell_losses();
	if (!co_queue_is_empty(&the_daemon.all_closed)) {
		co_queue_wake_all(&the_daemon.all_closed);
		/* Sessions whose command hangs cannot be ended; the reply to quit shall leave. */
		co_sleep_ns(REPLY_NS);
	}
	chardev_close_all();
	nbd_server_close_listener(the_daemon.nbd);
	pidfile_remove(run->pidfile);
	fflush(NULL);
	/* Libraries' threads are at work: none of them may find its memory freed. */
	_exit(EXIT_SUCCESS);
}

/* In the reverse of the start: what uses before what is used. */
static void co_fn shut_down(struct run *run)
{
	systemd_notify("STOPPING=1");
	daemon_stop();
	chardev_close_all();
	qmp_server_quiesce(the_daemon.qmp);
	qmp_server_settle(the_daemon.qmp);
	parts_stop();
	if (!farewell_has_given_up()) {
		graph_change_begin(the_daemon.graph);
		close_nodes(true);
		graph_change_end(the_daemon.graph);
	}
	if (farewell_has_given_up())
		end_abruptly(run);
	farewell_finish();
	co_queue_wake_all(&the_daemon.all_closed);
	event_limit_finish();
	object_delete_all();
	qmp_server_free(the_daemon.qmp, LAST_WORDS_NS);
	parts_free();
	graph_free(the_daemon.graph);
	pidfile_remove(run->pidfile);
	pressure_forget();
	forget_signals(run);
}

static void co_fn run_daemon(void *arg)
{
	struct run *run = arg;

	/* Commands find what all options have made, wherever --monitor stands among them. */
	qmp_server_hold(the_daemon.qmp);
	run->result = options_apply(run->options);
	if (run->result == 0)
		run->result = announce(run);
	qmp_server_release(the_daemon.qmp);
	while (run->result == 0 && !the_daemon.stop_requested)
		co_queue_wait(&the_daemon.changed);
	if (the_daemon.stop_requested)
		run->result = 0; /* whatever was broken off by it */
	shut_down(run);
}

static int serve(const struct options *options)
{
	_cleanup_error_ struct error *error = NULL;
	struct run run = {.options = options};

	the_daemon.loop = loop_new_uv(&error);
	if (!the_daemon.loop) {
		log_error("%s", error->message);
		return EXIT_FAILURE;
	}
	log_info("started; I/O by %s", aio_engine_name(the_daemon.loop));
	co_queue_init(&the_daemon.changed);
	co_queue_init(&the_daemon.all_closed);
	the_daemon.graph = graph_new(the_daemon.loop, driver_table);
	the_daemon.qmp = qmp_server_new(the_daemon.loop, schema_handlers, daemon_version());
	the_daemon.qmp->on_hint = log_hint_of_command;
	parts_create();
	farewell_init(end_abruptly, &run);
	watch_signals(&run);
	pressure_watch();
	loop_run_coroutine(the_daemon.loop, run_daemon, &run);
	loop_free(the_daemon.loop);
	return run.result < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* Files and sockets are many in a storage daemon; the soft limit is for users of select(2). */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Whoever started us without standard streams must not find its messages in an image. */
static void open_standard_streams(void)
{
	int fd;
	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

/* What must come before the loop: another daemon's PID file, and forking. */
static int prepare(const struct options *options)
{
	_cleanup_error_ struct error *error = NULL;
	int r = 0;

	if (options->pidfile)
		r = pidfile_check(options->pidfile, &error);
	if (r == 0 && options->daemonize)
		r = background_start(&error);
	if (r < 0)
		log_error("%s", error->message);
	return r;
}

int main(int argc, char **argv)
{
	struct options options;
	int status = EXIT_FAILURE;

	log_set_program("cairnd");
	signal(SIGPIPE, SIG_IGN);
	open_standard_streams();
	systemd_take_sockets();
	raise_file_limit();
	if (options_read(argc, argv, &options) == 0) {
		if (options.wants_help || options.wants_version) {
			(options.wants_help ? help_print : version_print)();
			status = EXIT_SUCCESS;
		} else if (prepare(&options) == 0) {
			status = serve(&options);
		}
	}
	options_finish(&options);
	detached_exit(status);
}
