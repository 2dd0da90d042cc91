/* SPDX-License-Identifier: MIT */
/*
 * One connection to an NBD server, on a handle of libnbd: connecting, commands,
 * disconnecting. libnbd is driven by the loop's watch of its socket and never
 * waits. Node's loop.
 */
#ifndef DRIVERS_NBD_CONNECTION_H
#define DRIVERS_NBD_CONNECTION_H

#include "base/loop.h"
#include "block/tls_creds.h"
#include "drivers/nbd/address.h"

struct nbd_handle;
struct nbd_tunnel;

/* What the server says of an export. */
struct nbd_export {
	uint64_t size;       /* bytes */
	uint32_t min_block;  /* of requests, a power of two; 0: not told */
	uint64_t max_block;  /* bytes in one read or write; 0: not told */
	uint64_t preferred_block; /* 0: not told */
	bool read_only;
	bool can_flush, can_fua, can_trim, can_zero, can_fast_zero, can_status;
	bool can_multi_conn; /* a flush on one connection covers all */
};

enum nbd_op { NBD_READ, NBD_WRITE, NBD_FLUSH, NBD_TRIM, NBD_ZERO, NBD_STATUS };

/* Where a connection shall lead; the caller's memory. */
struct nbd_goal {
	struct nbd_address *address;
	const char *name;            /* of the export */
	const char *context;         /* the metadata context to ask for */
	const struct tls_creds *tls; /* NULL: without TLS */
	const char *tls_hostname;    /* that the server's certificate must be of, if it is checked */
};

/* One command: the caller's memory, filled in up to the blank line. */
struct nbd_command {
	enum nbd_op op;
	uint64_t offset, bytes;
	uint32_t flags; /* LIBNBD_CMD_FLAG_* */
	void *buffer;   /* of reads and writes */
	uint32_t status, status_bytes; /* answer of NBD_STATUS: flags, and how far they hold */
	uint64_t read_bytes;           /* answer of NBD_READ: how much of it has come */
	bool is_answered;              /* by nbd_client_run(): the result is the server's */
	uint64_t breaks;               /* likewise: client.breaks when that server was there */

	struct list link; /* in connection.commands */
	struct nbd_connection *connection;
	struct coroutine *waiter;
	bool is_done;
	int result;
};

/* What connection_run() returns for a command whose fate is unknown. */
enum { NBD_LOST = 1 };

struct nbd_connection {
	struct loop *loop;
	/* Called when it has been up and breaks; not after connection_close(). Must not wait. */
	void (*on_lost)(struct nbd_connection *c);
	void *owner;

	struct nbd_handle *handle; /* NULL when not connected */
	int fd;                    /* a duplicate of libnbd's socket, which it closes by itself */
	struct loop_fd *watch;
	struct nbd_tunnel *tunnel; /* in front of the handle; NULL when there is none */
	struct co_group running;   /* what tunnels, this one and former ones, have running */
	bool is_up;                /* takes commands */
	bool has_served;           /* has answered a command, since it is up */
	uint64_t up_since_ns;
	bool is_cancelled;
	uint64_t generation;       /* counts handles */
	unsigned in_flight;
	struct list commands;
	struct coroutine *waiter;  /* who connects or disconnects */
	struct loop_timer timer;
	int failure;               /* the last call of libnbd that failed: negative errno, */
	char *failure_text;        /* and its sentence */
	struct nbd_export export;
};

void connection_init(struct nbd_connection *c, struct loop *loop,
		     void (*on_lost)(struct nbd_connection *c), void *owner);
/* It must be closed. */
void connection_finish(struct nbd_connection *c);

/*
 * Connect and choose the export, before @deadline_ns. Errors: that of the socket,
 * -ENOENT when there is no such export, -ETIMEDOUT, -ECANCELED, and others of the
 * handshake.
 */
int co_fn connection_open(struct nbd_connection *c, const struct nbd_goal *goal,
			  uint64_t deadline_ns, struct error **errp);
/* Have a connection_open() that is under way fail soon with -ECANCELED. */
void connection_cancel(struct nbd_connection *c);

/* Say goodbye to the server, waiting for it up to @deadline_ns, and close. */
void co_fn connection_close(struct nbd_connection *c, uint64_t deadline_ns);

/*
 * Run @cmd, which is within the export and suits it. Returns 0, the server's
 * error, or NBD_LOST when the connection broke before an answer came.
 */
int co_fn connection_run(struct nbd_connection *c, struct nbd_command *cmd);

#endif
