/* SPDX-License-Identifier: MIT */
/*
 * What the files of the NBD server share: its objects and who owns what.
 *
 * The server owns its connections and the free transactions; an export of the
 * registry owns its struct nbd_export; a connection in transmission is a user
 * of its export, so that the export stays until the connection has ended. Only
 * the loop's thread touches any of it.
 */
#ifndef PROTOCOL_NBD_INTERNAL_H
#define PROTOCOL_NBD_INTERNAL_H

#include "base/loop.h"
#include "base/socket.h"
#include "protocol/export.h"
#include "protocol/nbd/context.h"
#include "protocol/nbd/handshake.h"
#include "protocol/nbd/request.h"
#include "tls/stream.h"

/*
 * What one connection may have under way before it is read no further: requests,
 * and bytes of their data. One request of any size is always let in.
 */
#define NBD_IN_FLIGHT_MAX 256u
#define NBD_BUFFERED_MAX (UINT32_C(64) << 20)

/* What a connection receives at a time. */
#define NBD_SEGMENT_BYTES (UINT32_C(256) << 10)

/*
 * So many ready replies leave before the round ends: the client has something to do while we
 * go on with its other requests.
 */
#define NBD_SEND_EARLY 64u

/* iovecs in one sendmsg(). */
#define NBD_SEND_IOVECS 1024

/* Memory of a reply that does not fit into the transaction: headers, extents, a message. */
#define NBD_EXTRA_BYTES 8192u

/* Free transactions that are kept. */
#define NBD_POOL_MAX 1024u

struct nbd_server {
	struct loop *loop;
	struct export_registry *registry;
	struct socket_listener *listener; /* NULL while stopped */
	unsigned max_connections, handshake_max_s;
	struct graph *graph;      /* that the objects belong to */
	struct tls_creds *creds;  /* held while it runs; NULL without TLS */
	struct tls_identity *tls;   /* what was read of them */
	char *authz;              /* ID of what decides on clients; NULL: nothing */
	bool starting, stopping; /* a coroutine is about it */
	bool is_abandoned;       /* nobody waits for the end of connections */
	struct list exports;     /* struct nbd_export.link */
	uint64_t last_serial;    /* of an export */
	struct list connections; /* struct nbd_connection.link */
	unsigned connection_count;
	struct co_queue connections_gone;
	struct list pool; /* struct nbd_transaction.link */
	unsigned pool_count;
	struct iovec iov[NBD_SEND_IOVECS]; /* while a sendmsg() is put together */
};

struct nbd_export {
	struct list link; /* in server->exports */
	struct nbd_server *server;
	struct export *export;
	char *name;
	char *description;       /* NULL without one */
	uint64_t serial;         /* unique in the server */
	struct list connections; /* struct nbd_connection.export_link, in transmission */
	struct nbd_context contexts[NBD_CONTEXTS_MAX];
	unsigned context_count;
};

/* Received bytes, in a buffer of NBD_SEGMENT_BYTES. Freed with the last reference. */
struct nbd_segment {
	unsigned references; /* the connection's, and of each write whose payload lies here */
	uint32_t begin, end; /* not looked at yet */
	uint8_t data[];
};

struct nbd_connection {
	struct list link;        /* in server->connections */
	struct list export_link; /* in export->connections */
	struct nbd_server *server;
	struct nbd_export *export; /* NULL during the negotiation */
	struct socket_stream *stream;
	struct loop_timer handshake_limit;
	struct nbd_session session; /* session.size is kept up to date */
	const char *reason; /* why it ends, for the log */

	struct nbd_segment *segment;        /* NULL while nothing is received */
	struct nbd_transaction *filling;    /* a write whose payload is coming in */
	uint32_t filled;                    /* bytes of it */
	uint32_t skip;                      /* payload of a refused write, to be dropped */

	unsigned in_flight; /* transactions, until their replies are sent */
	uint64_t buffered;  /* bytes of their data */
	struct co_queue room; /* the receiver, while there is too much of these */

	struct list replies;        /* struct nbd_transaction.link, ready to be sent */
	unsigned fresh_replies;     /* of them, queued since the last sendmsg() */
	size_t sent;                /* bytes of the first one that are sent */
	struct loop_deferred flush; /* sends them at the end of the round */
	bool is_sending;            /* a coroutine waits for the socket to take more */
	bool broken;                /* nothing can be sent any more */
	struct co_queue idle;       /* waits for in_flight == 0 and !is_sending */
};

/* One request and its reply. */
struct nbd_transaction {
	struct list link; /* in server->pool or connection->replies */
	struct nbd_connection *connection;
	struct nbd_request request;
	uint8_t *data;              /* payload, or what was read; NULL without */
	struct nbd_segment *segment;/* data lies in it; NULL: data is from buffer_get(length) */
	uint8_t *extra;             /* NBD_EXTRA_BYTES from buffer_get(); usually NULL */
	struct iovec *iov;          /* the reply: own_iov, or in extra */
	unsigned iov_count;
	size_t reply_bytes;
	struct iovec own_iov[2];
	uint8_t header[NBD_CHUNK_BYTES + NBD_OFFSET_BYTES + 4];
};

/* export.c: the exports of the registry that are of type nbd; @arg of the type is the server. */
extern const struct export_type nbd_export_type;
/* The names, for the negotiation; the argument is the server. */
extern const struct nbd_directory nbd_server_directory;

/* connection.c: serve the client at @fd, which it owns from now on. */
void nbd_connection_start(struct nbd_server *s, int fd);
/* End it; it frees itself some time later. May be repeated. Does not wait. */
void nbd_connection_disconnect(struct nbd_connection *c);

/* receive.c: take requests until the client leaves or must be left. */
void co_fn nbd_receive_requests(struct nbd_connection *c);
/*
 * Wait for bytes and receive some into the connection's segment (and into the
 * payload that is coming in). Returns how many, 0 at the end, or a negative errno.
 */
int64_t co_fn nbd_receive(struct nbd_connection *c);
/* Give back the segment's memory. */
void nbd_segment_unref(struct loop *loop, struct nbd_segment *segment);

/* send.c: queue the reply, which is complete, and send it with its like. */
void nbd_send_reply(struct nbd_transaction *t);
/* The function of connection.flush. */
void nbd_send_deferred(struct loop_deferred *d);

/* transaction.c. Account for one more request of @c. */
struct nbd_transaction *nbd_transaction_begin(struct nbd_connection *c,
					      const struct nbd_request *r);
/* Its reply has been sent or dropped: free it, and wake whoever waits for that. */
void nbd_transaction_end(struct nbd_transaction *t);
/* Do what it asks; @arg is the transaction. */
void co_fn nbd_transaction_run(void *arg);
/* Refuse it at once. */
void nbd_transaction_fail(struct nbd_transaction *t, int code, const char *message);
/* Free what server->pool keeps. */
void nbd_transaction_pool_clear(struct nbd_server *s);

/* reply.c: put together the reply. */
void nbd_reply_done(struct nbd_transaction *t);
/* t->data holds what was read. */
void nbd_reply_data(struct nbd_transaction *t);
/* @message may be NULL. */
void nbd_reply_error(struct nbd_transaction *t, int code, const char *message);
/* t->extra, NBD_EXTRA_BYTES of it; NULL when there is no memory. */
uint8_t *nbd_reply_extra(struct nbd_transaction *t);
/* The reply is the first @bytes of t->extra. */
void nbd_reply_extra_only(struct nbd_transaction *t, size_t bytes);

/* read.c: read, and put together the reply. 0 or a negative errno. */
int co_fn nbd_read(struct nbd_transaction *t);

/* status.c: put together the reply to BLOCK_STATUS. 0 or a negative errno. */
int co_fn nbd_block_status(struct nbd_transaction *t);

#endif
