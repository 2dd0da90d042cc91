/* SPDX-License-Identifier: MIT */
/*
 * A tunnel has two coroutines, one for each direction, that take a piece and send it
 * before they take the next: whoever reads slowly is not sent more. Node's loop.
 *
 * Invariants:
 *  1. Before TLS not one byte is received that was not asked for, so that nothing that
 *     came unprotected is taken for something that was protected.
 *  2. What ends one direction with an error ends both. libnbd's shutdown of its own
 *     direction, which follows its goodbye, leaves the server's.
 *  3. The coroutines and the connection share the tunnel; the last one frees it.
 */
#include "drivers/nbd/tunnel.h"

#include <assert.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/socket.h"
#include "drivers/nbd/starttls.h"
#include "tls/stream.h"

/* What is copied at a time. */
#define PIECE_BYTES ((size_t)128 << 10)
/* What libnbd may send ahead. */
#define CLIENT_BUFFER_BYTES (1 << 20)

struct nbd_tunnel {
	struct loop *loop;
	struct co_group *running;
	unsigned users;
	struct socket_stream *server;  /* through TLS, once that has begun */
	struct socket_stream *client;  /* our end of libnbd's connection; NULL before */
	struct tls_identity *identity; /* as long as the server's stream uses it */
	uint16_t flags;                /* handshake flags that both ends have */
	struct loop_timer deadline;
	bool is_late;
	int failure;
};

static void on_deadline(struct loop_timer *timer)
{
	struct nbd_tunnel *t = container_of(timer, struct nbd_tunnel, deadline);
	t->is_late = true;
	tunnel_cancel(t);
}

struct nbd_tunnel *tunnel_new(struct loop *loop, int fd, struct co_group *running)
{
	struct nbd_tunnel *t = NEW(struct nbd_tunnel);
	t->loop = loop;
	t->running = running;
	t->users = 1;
	t->server = socket_stream_new(loop, fd);
	loop_timer_init(loop, &t->deadline, on_deadline);
	return t;
}

void tunnel_cancel(struct nbd_tunnel *t)
{
	socket_stream_shutdown(t->server);
	if (t->client)
		socket_stream_shutdown(t->client);
}

int tunnel_failure(const struct nbd_tunnel *t)
{
	return t->failure;
}

static void unref(struct nbd_tunnel *t)
{
	if (--t->users > 0)
		return;
	loop_timer_cancel(&t->deadline);
	socket_stream_free(t->client);
	socket_stream_free(t->server);
	tls_identity_destroy(t->identity);
	free(t);
}

void tunnel_close(struct nbd_tunnel *t)
{
	if (!t)
		return;
	tunnel_cancel(t);
	unref(t);
}

/* Receive exactly @bytes. */
static int co_fn receive(struct socket_stream *s, void *p, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		int64_t n = socket_read(s, (uint8_t *)p + done, bytes - done);
		if (n <= 0)
			return n < 0 ? (int)n : -ECONNRESET;
		done += (size_t)n;
	}
	return 0;
}

static int co_fn send_all(struct socket_stream *s, void *p, size_t bytes)
{
	return socket_writev(s, &(struct iovec){p, bytes}, 1);
}

/* The handshake. */

static int co_fn receive_refusal(struct nbd_tunnel *t, const uint8_t *reply, uint32_t bytes,
				 struct error **errp)
{
	char *message _cleanup_free_ = xalloc(1, bytes + 1);
	/* The server says no, whether it says why or not. */
	if (receive(t->server, message, bytes) < 0)
		bytes = 0;
	return starttls_refused(reply, message, bytes, errp);
}

static int co_fn ask_for_tls(struct nbd_tunnel *t, struct error **errp)
{
	uint8_t greeting[NBD_GREETING_BYTES], request[STARTTLS_REQUEST_BYTES];
	uint8_t reply[NBD_OPTION_REPLY_BYTES];
	int r = receive(t->server, greeting, sizeof(greeting));
	if (r < 0)
		return error_set_errno(errp, r, "Failed to read the greeting");
	r = starttls_check_greeting(greeting, &t->flags, errp);
	if (r < 0)
		return r;
	starttls_put_request(request, t->flags);
	r = send_all(t->server, request, sizeof(request));
	if (r >= 0)
		r = receive(t->server, reply, sizeof(reply));
	if (r < 0)
		return error_set_errno(errp, r, "Failed to read option reply");
	uint32_t bytes;
	r = starttls_check_reply(reply, &bytes, errp);
	return r > 0 ? receive_refusal(t, reply, bytes, errp) : r;
}

static int co_fn begin_tls(struct nbd_tunnel *t, const struct tls_creds *creds,
			   const char *server_name, struct error **errp)
{
	int r = tls_identity_create(creds, &t->identity, errp);
	if (r >= 0)
		r = ask_for_tls(t, errp);
	const char *peer;
	return r < 0 ? r
		     : tls_stream_start(t->loop, t->server, t->identity, server_name, &peer, errp);
}

/* Afterwards. */

static int co_fn copy(struct nbd_tunnel *t, struct socket_stream *from, struct socket_stream *to)
{
	uint8_t *piece = buffer_get(t->loop, PIECE_BYTES);
	if (!piece)
		return -ENOMEM;
	int64_t n;
	do {
		n = socket_read(from, piece, PIECE_BYTES);
		if (n > 0) {
			int r = send_all(to, piece, (size_t)n);
			n = r < 0 ? r : n;
		}
	} while (n > 0);
	buffer_put(t->loop, piece, PIECE_BYTES);
	return (int)n;
}

static void end(struct nbd_tunnel *t, int r, bool is_whole)
{
	struct co_group *running = t->running;
	if (t->failure == 0 && r != -ECANCELED)
		t->failure = r < 0 ? r : is_whole ? -ECONNRESET : 0;
	if (r < 0 || is_whole)
		tunnel_cancel(t);
	unref(t);
	co_group_done(running);
}

static void co_fn carry_to_client(void *arg)
{
	struct nbd_tunnel *t = arg;
	uint8_t greeting[NBD_GREETING_BYTES];
	starttls_put_greeting(greeting, t->flags);
	int r = send_all(t->client, greeting, sizeof(greeting));
	if (r >= 0)
		r = copy(t, t->server, t->client);
	end(t, r, true);
}

static void co_fn carry_to_server(void *arg)
{
	struct nbd_tunnel *t = arg;
	/* The server has had its client's flags. */
	uint8_t flags[NBD_CLIENT_FLAGS_BYTES];
	int r = receive(t->client, flags, sizeof(flags));
	if (r >= 0)
		r = copy(t, t->client, t->server);
	end(t, r, false);
}

static void start(struct nbd_tunnel *t, co_entry *carry)
{
	t->users++;
	co_group_add(t->running);
	co_start(t->loop, carry, t);
}

int co_fn tunnel_open(struct nbd_tunnel *t, const struct tls_creds *creds, const char *server_name,
		      uint64_t deadline_ns, int *ret_fd, struct error **errp)
{
	struct error *error = NULL;
	loop_timer_set(&t->deadline, deadline_ns);
	int r = begin_tls(t, creds, server_name, &error);
	loop_timer_cancel(&t->deadline);
	if (t->is_late) {
		error_free(error);
		return error_set_errno(errp, -ETIMEDOUT, "TLS has not begun");
	}
	if (r < 0)
		return error_move(errp, error);

	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return error_set_errno(errp, -errno, "Failed to create a pair of sockets");
	/* As much room as our end gets: the kernel doubles it, and may cut it. */
	int room = CLIENT_BUFFER_BYTES;
	(void)setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	t->client = socket_stream_new(t->loop, ends[0]);
	start(t, carry_to_client);
	start(t, carry_to_server);
	*ret_fd = ends[1];
	return 0;
}
