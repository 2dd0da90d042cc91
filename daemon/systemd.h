/* SPDX-License-Identifier: MIT */
/*
 * What a service manager and the daemon tell each other: readiness through the
 * datagram socket NOTIFY_SOCKET, and sockets that are already open through
 * LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. All of it does nothing when the
 * variables are not set.
 */
#ifndef DAEMON_SYSTEMD_H
#define DAEMON_SYSTEMD_H

#include "base/error.h"

/* Send @state, such as "READY=1". Never waits; a manager that does not listen is no error. */
void systemd_notify(const char *state);

/*
 * Take over the inherited sockets: mark them close-on-exec and forget the
 * variables, which are not for children. Call once, before any other descriptor
 * is opened and before forking.
 */
void systemd_take_sockets(void);

/*
 * The descriptor meant by @text: the name that the service manager gave to a
 * socket, or else a number. Returns -EINVAL when it is neither, -EBADF when no
 * such descriptor is open, -ENOTSOCK when it is no socket.
 */
int systemd_find_fd(const char *text, struct error **errp);

#endif
