/* SPDX-License-Identifier: MIT */
/*
 * A client of one export: its connections, and commands that outlive them.
 *
 * There is one connection, or several where the server allows it. When the last
 * one breaks, a coroutine in the background connects again until it succeeds.
 * Commands wait for that, and are then sent anew, during the first
 * reconnect_delay_ns; after that they fail. Node's loop.
 */
#ifndef DRIVERS_NBD_CLIENT_H
#define DRIVERS_NBD_CLIENT_H

#include "drivers/nbd/connection.h"

/* Connections to a server that allows several. */
#define NBD_CONNECTIONS_MAX 4

struct nbd_client_config {
	const struct socket_address *server; /* must outlive the client */
	const char *export_name;             /* likewise */
	const char *context;                 /* metadata context; likewise */
	bool needs_context;                  /* a server without it is refused when it comes back */
	const struct tls_creds *tls;         /* likewise; NULL for none */
	const char *tls_hostname;            /* of the server's certificate, if it is checked; likewise */
	uint64_t open_timeout_ns;            /* 0: one attempt */
	uint64_t reconnect_delay_ns;
};

struct nbd_client {
	struct loop *loop;
	struct nbd_client_config config;
	struct nbd_address address;
	struct nbd_export export; /* of the first connection; later ones must match it */
	bool must_write;          /* a server that has become read-only is refused */
	bool has_warned;          /* of a server that is refused, since the last one was not */

	struct nbd_connection connections[NBD_CONNECTIONS_MAX];
	unsigned up, wanted;
	uint64_t breaks;          /* how often the last of them broke */
	bool is_closing;
	bool may_wait;            /* within the delay after the last connection broke */
	struct loop_timer delay_over;
	struct co_queue waiters;  /* commands without a connection */

	struct co_group background;
	bool is_connecting;       /* the background coroutine is there */
	uint64_t pause_ns;        /* before its next attempt */
	struct nbd_connection *attempt; /* what it connects just now */
	struct coroutine *sleeper;      /* it, between attempts */
	struct loop_timer nap;
};

/* Connect. *@ret is the caller's memory and stays where it is; after a failure it is closed. */
int co_fn nbd_client_open(struct nbd_client *ret, struct loop *loop,
			  const struct nbd_client_config *config, struct error **errp);
/* Disconnect, in bounded time. No command may be under way. */
void co_fn nbd_client_close(struct nbd_client *client);

/*
 * Run a command within the export. Returns 0 or a negative errno; -EIO without a
 * connection, and for a command that has broken connections for the whole delay. Only
 * where cmd->is_answered is the result the server's.
 */
int co_fn nbd_client_run(struct nbd_client *client, struct nbd_command *cmd);

#endif
