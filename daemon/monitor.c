/* SPDX-License-Identifier: MIT */
/*
 * Monitors: a character device whose clients speak QMP. Control thread.
 *
 * A monitor lives as long as the daemon, while its clients come and go.
 */
#include "daemon/monitor.h"

#include "base/log.h"
#include "daemon/chardev.h"
#include "daemon/daemon.h"
#include "protocol/qmp/session.h"

/* The interface that we follow: QMP as its reference of this version describes it. */
#define INTERFACE_MAJOR 11
#define INTERFACE_MINOR 0
#define INTERFACE_MICRO 0

const struct version_info *daemon_version(void)
{
	static struct version_triple interface = {
		.major = INTERFACE_MAJOR, .minor = INTERFACE_MINOR, .micro = INTERFACE_MICRO};
	static const struct version_info version = {
		.qemu = &interface, .package = (char *)"cairn " CAIRN_VERSION};
	return &version;
}

/* More clients at a time than any use has, and few enough for the memory that each may take. */
#define CLIENTS_MAX 1000

static void on_closed(void *arg, const char *complaint)
{
	if (complaint)
		log_warning("a client of the monitor is disconnected: %s", complaint);
	chardev_stream_close(arg);
}

static void open_session(struct chardev_stream *stream, bool pretty)
{
	if (the_daemon.qmp->open.count >= CLIENTS_MAX) {
		log_warning("a client of the monitor is refused: there are %u", CLIENTS_MAX);
		chardev_stream_close(stream);
		return;
	}
	struct qmp_session_setup setup = {
		.fd_in = stream->fd_in,
		.fd_out = stream->fd_out,
		.pretty = pretty,
		.closed = on_closed,
		.arg = stream,
	};
	qmp_session_open(the_daemon.qmp, &setup);
}

static void on_stream(void *arg, struct chardev_stream *stream)
{
	open_session(stream, false);
}

static void on_pretty_stream(void *arg, struct chardev_stream *stream)
{
	open_session(stream, true);
}

int monitor_open(const struct monitor_options *options, struct error **errp)
{
	struct chardev *c = chardev_find(options->chardev, errp);
	if (!c)
		return -ENOENT;
	return chardev_attach(c, options->pretty ? on_pretty_stream : on_stream, NULL, errp);
}
