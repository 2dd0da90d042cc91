/* SPDX-License-Identifier: MIT */
/*
 * The NBD server: listens at one address and serves all exports of type nbd.
 *
 * It exists as long as the daemon and is started and stopped. Everything runs
 * on the loop's thread.
 */
#ifndef PROTOCOL_NBD_SERVER_H
#define PROTOCOL_NBD_SERVER_H

#include "base/socket.h"
#include "protocol/export.h"

struct nbd_server;

struct nbd_server_config {
	struct socket_endpoint address;
	unsigned max_connections; /* 0: no limit. More wait in the backlog */
	unsigned handshake_max_s; /* seconds; 0: no limit */
	const char *tls_creds;    /* ID of credentials, without which no client gets in; NULL: none */
	const char *tls_authz;    /* ID of an object that decides by clients' names; NULL: none */
};

/*
 * Make a server that does not listen yet, and serve the exports of @exports with it.
 * Credentials are objects of @graph.
 */
struct nbd_server *nbd_server_create(struct loop *loop, struct graph *graph,
				     struct export_registry *exports);
/* It must be stopped. NULL is allowed. */
void nbd_server_free(struct nbd_server *s);

bool nbd_server_is_running(const struct nbd_server *s);
/*
 * Listen. -EBUSY when it does already; -ENOENT and -EINVAL for unfit credentials, and
 * -ENOTSUP where the library for TLS is missing. They are in use until it stops.
 */
int co_fn nbd_server_start(struct nbd_server *s, const struct nbd_server_config *config,
			   struct error **errp);
/* Disconnect all clients, remove all NBD exports and stop listening. -ENOTCONN when it does not run. */
int co_fn nbd_server_stop(struct nbd_server *s, struct error **errp);
/*
 * Have a nbd_server_stop() that waits return, with clients left, whose requests have no
 * answer. Only before the end of the process. False when none waits.
 */
bool nbd_server_abandon(struct nbd_server *s);
/* Listen no more, and remove the socket's file. Clients stay. May be repeated. */
void nbd_server_close_listener(struct nbd_server *s);

#endif
