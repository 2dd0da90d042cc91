/* SPDX-License-Identifier: MIT */
/*
 * The life of one client's connection. The loop's thread.
 *
 * A coroutine negotiates, receives requests, waits until the last of them is
 * answered and takes the connection apart. Whoever wants to end it shuts down
 * its socket, which makes every wait return.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/log.h"
#include "block/authz.h"
#include "protocol/nbd/internal.h"

#define NS_PER_S UINT64_C(1000000000)

static void on_handshake_limit(struct loop_timer *timer)
{
	struct nbd_connection *c = container_of(timer, struct nbd_connection, handshake_limit);
	c->reason = "the client did not finish its handshake in time";
	nbd_connection_disconnect(c);
}

void nbd_connection_disconnect(struct nbd_connection *c)
{
	socket_stream_shutdown(c->stream);
}

static int co_fn send_output(struct nbd_connection *c, struct nbd_handshake *h)
{
	if (h->output_bytes == 0)
		return 0;
	struct iovec iov = {h->output, h->output_bytes};
	int r = socket_writev(c->stream, &iov, 1);
	nbd_handshake_sent(h);
	return r;
}

/* The client has chosen: use the export from now on. Nothing was waited for since. */
static void enter_export(struct nbd_connection *c, const struct nbd_handshake *h)
{
	c->export = h->chosen.export;
	export_enter(c->export->export);
	list_add_tail(&c->export->connections, &c->export_link);
	c->session = (struct nbd_session){
		.size = h->chosen.size,
		.flags = h->chosen.flags,
		.structured = h->structured,
		.contexts = h->contexts,
	};
}

static int co_fn feed_handshake(struct nbd_connection *c, struct nbd_handshake *h)
{
	struct nbd_segment *s = c->segment;
	while (h->state < NBD_HANDSHAKE_TLS && s->begin < s->end) {
		s->begin += nbd_handshake_feed(h, s->data + s->begin, s->end - s->begin);
		if (h->state == NBD_HANDSHAKE_DONE)
			enter_export(c, h);
		int r = send_output(c, h);
		if (r < 0)
			return r;
	}
	return 0;
}

/* The client's ACK is out. */
static int co_fn start_tls(struct nbd_connection *c, struct nbd_handshake *h)
{
	struct nbd_server *s = c->server;
	/* It came without protection: somebody may have put it there. */
	if (c->segment->begin < c->segment->end) {
		c->reason = "more bytes before TLS has begun";
		return -EPROTO;
	}
	const char *peer;
	struct error *error = NULL;
	int r = tls_stream_start(s->loop, c->stream, s->tls, NULL, &peer, &error);
	if (r < 0) {
		log_debug("NBD client: %s", error->message);
		error_free(error);
		if (!c->reason) /* it may have taken too long */
			c->reason = "TLS could not begin";
		return r;
	}
	if (s->authz && (!peer || !authz_allows(s->graph, s->authz, peer))) {
		log_debug("NBD client: TLS x509 authz check for %s is denied", peer ? peer : "");
		c->reason = "the client is not allowed in";
		return -EACCES;
	}
	nbd_handshake_tls_begun(h);
	return 0;
}

static int co_fn run_handshake(struct nbd_connection *c, struct nbd_handshake *h)
{
	int r = send_output(c, h); /* the greeting */
	while (r == 0 && h->state < NBD_HANDSHAKE_DONE) {
		int64_t n = nbd_receive(c);
		if (n < 0)
			return n;
		if (n == 0)
			return -ECONNRESET;
		r = feed_handshake(c, h);
		if (r == 0 && h->state == NBD_HANDSHAKE_TLS)
			r = start_tls(c, h);
	}
	if (h->reason)
		c->reason = h->reason;
	return r < 0 ? r : h->state == NBD_HANDSHAKE_DONE ? 0 : -ECONNABORTED;
}

/* 0: c->export is what the client wants to use. It may be set on failure, too. */
static int co_fn negotiate(struct nbd_connection *c)
{
	struct nbd_handshake h;
	nbd_handshake_init(&h, &nbd_server_directory, c->server);
	if (c->server->tls)
		nbd_handshake_require_tls(&h);

	unsigned limit_s = c->server->handshake_max_s;
	if (limit_s > 0)
		loop_timer_set(&c->handshake_limit,
			       loop_now_ns(c->server->loop) + limit_s * NS_PER_S);
	int r = run_handshake(c, &h);
	loop_timer_cancel(&c->handshake_limit);
	nbd_handshake_finish(&h);
	return r;
}

/* Nothing of it is under way any more: leave the export and the server, and free it. */
static void connection_free(struct nbd_connection *c)
{
	struct nbd_server *s = c->server;

	assert(c->in_flight == 0 && c->buffered == 0 && list_is_empty(&c->replies));
	loop_deferred_cancel(&c->flush);
	nbd_segment_unref(s->loop, c->segment);
	socket_stream_free(c->stream);
	if (c->export) {
		list_del_init(&c->export_link);
		export_leave(c->export->export);
	}
	list_del_init(&c->link);
	free(c);

	s->connection_count--;
	if (s->listener)
		socket_listener_set_accepting(s->listener, true);
	if (s->connection_count == 0)
		co_queue_wake_all(&s->connections_gone);
}

static void co_fn run_connection(void *arg)
{
	struct nbd_connection *c = arg;

	if (negotiate(c) == 0)
		nbd_receive_requests(c);
	/* A client that only says no more still gets the answers. */
	while (c->in_flight > 0 || c->is_sending)
		co_queue_wait(&c->idle);
	log_debug("NBD client of '%s' ends: %s", c->export ? c->export->name : "",
		  c->reason ? c->reason : "negotiation aborted");
	connection_free(c);
}

void nbd_connection_start(struct nbd_server *s, int fd)
{
	struct nbd_connection *c = NEW(struct nbd_connection);
	c->server = s;
	c->stream = socket_stream_new(s->loop, fd);
	list_init(&c->export_link);
	list_init(&c->replies);
	co_queue_init(&c->room);
	co_queue_init(&c->idle);
	loop_timer_init(s->loop, &c->handshake_limit, on_handshake_limit);
	loop_deferred_init(&c->flush, nbd_send_deferred);
	list_add_tail(&s->connections, &c->link);

	s->connection_count++;
	if (s->max_connections > 0 && s->connection_count >= s->max_connections)
		socket_listener_set_accepting(s->listener, false);
	co_start(s->loop, run_connection, c);
}
