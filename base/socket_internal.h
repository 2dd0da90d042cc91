/* SPDX-License-Identifier: MIT */
/*
 * What the files of socket.h share. Only base/ includes it.
 */
#ifndef BASE_SOCKET_INTERNAL_H
#define BASE_SOCKET_INTERNAL_H

#include <sys/socket.h>
#include <sys/un.h>

#include "base/socket.h"

struct addrinfo;

/* Fill @ret from a unix @address. Returns the length for bind(2), or a negative errno. */
int socket_unix_address(const struct socket_endpoint *address, struct sockaddr_un *ret,
			struct error **errp);

/*
 * Look up an inet @address on a worker thread; @passive for listening. *ret is
 * freed with freeaddrinfo().
 */
int co_fn socket_look_up(const struct socket_endpoint *address, bool passive,
			 struct addrinfo **ret, struct error **errp);

/* Open a non-blocking, close-on-exec stream socket. Returns the fd or a negative errno. */
int socket_open(int family, struct error **errp);

/* Check that @fd is a stream socket and make it non-blocking and close-on-exec. 0 or error. */
int socket_adopt(int fd, struct error **errp);

/* What a TCP connection wants: no delay, keep-alive on request. Other families: nothing. */
void socket_tune(int fd, bool keep_alive);

#endif
