/* SPDX-License-Identifier: MIT */
/*
 * Character devices: where a monitor's bytes come from and go to.
 *
 * A device is a listening socket, a connection that the daemon opens, or the
 * standard streams. It may exist before anything is attached to it: clients
 * wait in the backlog until then. Control thread only.
 */
#ifndef DAEMON_CHARDEV_H
#define DAEMON_CHARDEV_H

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct chardev;

/* One client, or the one stream, of a device. */
struct chardev_stream {
	int fd_in, fd_out; /* non-blocking; the same for a socket */
};

/*
 * Open a device. With server and wait, returns when the first client has
 * connected, or with -ECANCELED when the daemon is asked to stop. Runs in main's
 * coroutine. Errors: what the address or the streams do not allow, a duplicate
 * name.
 */
int co_fn chardev_open(const struct chardev_options *options, struct error **errp);

/*
 * Turn the short forms that options of --chardev may have into "key=value":
 * "server" into "server=on", "nowait" into "wait=off". Free with free().
 */
char *chardev_expand_short_forms(const char *text);

/* The device called @id; NULL and *errp when there is none. */
struct chardev *chardev_find(const char *id, struct error **errp);

/*
 * Hand every stream of @c, now and later, to @on_stream, which owns it until it
 * calls chardev_stream_close(). Fails with -EBUSY when @c has a user.
 */
int chardev_attach(struct chardev *c, void (*on_stream)(void *arg, struct chardev_stream *stream),
		   void *arg, struct error **errp);

void chardev_stream_close(struct chardev_stream *stream);

/* Stop listening and remove the sockets' files. Streams that are in use stay. */
void chardev_close_all(void);

#endif
