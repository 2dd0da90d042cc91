/* SPDX-License-Identifier: MIT */
/*
 * TLS between a stream and its socket. The loop's thread; steps of the handshake run
 * on a worker while the coroutine that does it waits.
 *
 * The library never sees the socket: it takes what has come from one piece of memory
 * and leaves what is to be sent in another.
 *
 * Invariants:
 *  1. What is in @out is sent before anything else is encrypted, so that the memory for
 *     it is limited.
 *  2. Plain bytes count as written only when all that came of them has left: those
 *     that have not are @held, and the caller, who offers them again, does not have
 *     them encrypted twice.
 *  3. Memory is held only while something is in it.
 */
#include "tls/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/util.h"

/* What is received at a time; more than the longest record, which is to fit. */
#define IN_BYTES ((size_t)64 << 10)
/* What is sent at a time. One more record, and what the library says by itself, fit, too. */
#define SEND_BYTES ((size_t)128 << 10)
/* The most plain bytes in one record. */
#define RECORD_BYTES ((size_t)16 << 10)

struct tls_stream {
	struct socket_filter filter;
	struct loop *loop;
	struct socket_stream *stream;
	const struct tls_library *library;
	struct tls_session *session;

	uint8_t *in; /* IN_BYTES of buffer_get(), NULL while it is empty */
	size_t in_begin, in_end;
	bool at_end;   /* the socket has nothing more */
	bool has_more; /* the last read was ended by its own size */

	uint8_t *out;
	size_t out_begin, out_end, out_capacity;
	size_t held;    /* plain bytes whose records are in out */
	uint8_t *stage; /* RECORD_BYTES of buffer_get(), for records of several pieces */
};

/* The library's side. During the handshake on a worker's thread. */

static int64_t pull(void *arg, void *p, size_t bytes)
{
	struct tls_stream *t = arg;
	size_t n = MIN(bytes, t->in_end - t->in_begin);
	if (n == 0)
		return t->at_end ? 0 : -EAGAIN;
	memcpy(p, t->in + t->in_begin, n);
	t->in_begin += n;
	return (int64_t)n;
}

static void push(void *arg, const void *p, size_t bytes)
{
	struct tls_stream *t = arg;
	if (t->out_end + bytes > t->out_capacity) {
		t->out_capacity = MAX(t->out_end + bytes, 2 * t->out_capacity);
		t->out = xrealloc(t->out, t->out_capacity, 1);
	}
	memcpy(t->out + t->out_end, p, bytes);
	t->out_end += bytes;
}

/* The socket's side. */

/* Receive into memory: 1 or more, 0 at the end, or a negative errno. */
static int64_t fill(struct tls_stream *t)
{
	if (!t->in)
		t->in = buffer_get(t->loop, IN_BYTES);
	if (!t->in)
		return -ENOMEM;
	if (t->in_begin > 0) {
		memmove(t->in, t->in + t->in_begin, t->in_end - t->in_begin);
		t->in_end -= t->in_begin;
		t->in_begin = 0;
	}
	if (t->in_end == IN_BYTES)
		return -EPROTO; /* no record is that long */
	ssize_t n;
	do
		n = recv(socket_stream_fd(t->stream), t->in + t->in_end, IN_BYTES - t->in_end,
			 MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	t->in_end += (size_t)n;
	t->at_end = n == 0;
	return n;
}

static void drop_empty_input(struct tls_stream *t)
{
	if (t->in && t->in_begin == t->in_end) {
		buffer_put(t->loop, t->in, IN_BYTES);
		t->in = NULL;
		t->in_begin = t->in_end = 0;
	}
}

/* Send what is in memory. 0, -EAGAIN when the socket takes no more, or another errno. */
static int flush(struct tls_stream *t)
{
	while (t->out_begin < t->out_end) {
		ssize_t n = send(socket_stream_fd(t->stream), t->out + t->out_begin,
				 t->out_end - t->out_begin, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return -errno;
		t->out_begin += n > 0 ? (size_t)n : 0;
	}
	t->out_begin = t->out_end = 0;
	return 0;
}

/* The stream's side. */

static int64_t try_readv(struct socket_filter *filter, const struct iovec *iov, unsigned count)
{
	struct tls_stream *t = container_of(filter, struct tls_stream, filter);
	int64_t total = 0, n = 1;
	for (unsigned i = 0; n > 0 && i < count; i++) {
		for (size_t done = 0; n > 0 && done < iov[i].iov_len;) {
			n = t->library->receive(t->session, (uint8_t *)iov[i].iov_base + done,
						iov[i].iov_len - done);
			if (n > 0) {
				done += (size_t)n;
				total += n;
			} else if (n == -EAGAIN && !t->at_end) {
				n = fill(t);
				n = n == 0 ? 1 : n; /* the library shall see the end */
			}
		}
	}
	t->has_more = n > 0;
	t->at_end |= n == 0;
	drop_empty_input(t);
	/* The library may have answered by itself; if not now, it goes out with what is written next. */
	(void)flush(t);
	return total > 0 ? total : n;
}

/* Where a write is in its pieces. */
struct position {
	const struct iovec *iov;
	unsigned count;
	size_t offset; /* in the first piece */
};

static void advance(struct position *p, size_t bytes)
{
	for (;;) {
		size_t part = p->count > 0 ? MIN(bytes, p->iov->iov_len - p->offset) : 0;
		p->offset += part;
		bytes -= part;
		if (p->count == 0 || p->offset < p->iov->iov_len)
			return;
		p->iov++;
		p->count--;
		p->offset = 0;
	}
}

/* The next bytes for one record, in one piece: as they lie, or put together. */
static const uint8_t *next_record(struct tls_stream *t, const struct position *p, size_t *ret_bytes)
{
	size_t here = p->iov->iov_len - p->offset;
	if (here >= RECORD_BYTES || p->count == 1) {
		*ret_bytes = MIN(here, RECORD_BYTES);
		return (uint8_t *)p->iov->iov_base + p->offset;
	}
	struct position at = *p;
	size_t bytes = 0;
	while (at.count > 0 && bytes < RECORD_BYTES) {
		size_t part = MIN(at.iov->iov_len - at.offset, RECORD_BYTES - bytes);
		memcpy(t->stage + bytes, (uint8_t *)at.iov->iov_base + at.offset, part);
		bytes += part;
		advance(&at, part);
	}
	*ret_bytes = bytes;
	return t->stage;
}

static int64_t write_records(struct tls_stream *t, struct position p, size_t done)
{
	while (p.count > 0) {
		size_t bytes;
		const uint8_t *record = next_record(t, &p, &bytes);
		int64_t n = t->library->send(t->session, record, bytes);
		if (n < 0)
			return n;
		advance(&p, (size_t)n);
		t->held += (size_t)n;
		if (p.count > 0 && t->out_end < SEND_BYTES)
			continue;
		int r = flush(t);
		if (r == -EAGAIN && done > 0)
			break;
		if (r < 0)
			return r;
		done += t->held;
		t->held = 0;
	}
	return (int64_t)done;
}

static int64_t try_writev(struct socket_filter *filter, const struct iovec *iov, unsigned count)
{
	struct tls_stream *t = container_of(filter, struct tls_stream, filter);
	int r = flush(t);
	if (r < 0)
		return r;
	size_t done = t->held;
	t->held = 0;
	struct position p = {iov, count, 0};
	advance(&p, done);
	if (!t->stage)
		t->stage = buffer_get(t->loop, RECORD_BYTES);
	if (!t->stage)
		return -ENOMEM;
	int64_t n = write_records(t, p, done);
	if (t->out_begin == t->out_end) {
		buffer_put(t->loop, TAKE(t->stage), RECORD_BYTES);
		free(TAKE(t->out));
		t->out_capacity = 0;
	}
	return n;
}

static bool has_input(const struct socket_filter *filter)
{
	const struct tls_stream *t = container_of(filter, struct tls_stream, filter);
	return t->has_more || t->at_end;
}

static void stream_free(struct tls_stream *t)
{
	t->library->session_destroy(t->session);
	if (t->in)
		buffer_put(t->loop, t->in, IN_BYTES);
	if (t->stage)
		buffer_put(t->loop, t->stage, RECORD_BYTES);
	free(t->out);
	free(t);
}

static void finish(struct socket_filter *filter)
{
	struct tls_stream *t = container_of(filter, struct tls_stream, filter);
	if (t->out_begin == t->out_end) {
		t->library->say_goodbye(t->session);
		(void)flush(t);
	}
	stream_free(t);
}

/* The handshake. */

struct step {
	struct tls_stream *stream;
	struct error *error;
};

static int step_blocking(void *arg)
{
	struct step *s = arg;
	return s->stream->library->handshake(s->stream->session, &s->error);
}

static int co_fn flush_all(struct tls_stream *t)
{
	int r;
	while ((r = flush(t)) == -EAGAIN) {
		r = socket_wait(t->stream, LOOP_FD_WRITE);
		if (r < 0)
			break;
	}
	return r;
}

static int co_fn fill_some(struct tls_stream *t)
{
	int64_t n;
	while ((n = fill(t)) == -EAGAIN) {
		int r = socket_wait(t->stream, LOOP_FD_READ);
		if (r < 0)
			return r;
	}
	return n < 0 ? (int)n : n == 0 ? -ECONNRESET : 0;
}

static int co_fn do_handshake(struct tls_stream *t, struct error **errp)
{
	for (;;) {
		struct step s = {.stream = t};
		int r = co_blocking(step_blocking, &s);
		/* A peer that is refused is told why, if it listens. */
		int sent = r == 0 || r == -EAGAIN ? flush_all(t) : flush(t);
		if (r < 0 && r != -EAGAIN)
			return error_move(errp, s.error);
		if (sent == 0 && r == 0)
			return 0;
		int code = sent < 0 ? sent : fill_some(t);
		if (code < 0)
			return error_set_errno(errp, code, "TLS handshake failed");
	}
}

int co_fn tls_stream_start(struct loop *loop, struct socket_stream *stream,
			   const struct tls_identity *identity, const char *server_name,
			   const char **ret_peer, struct error **errp)
{
	const struct tls_library *library = identity->library;
	struct tls_stream *t = NEW(struct tls_stream);
	*t = (struct tls_stream){
		.filter = {try_readv, try_writev, has_input, finish},
		.loop = loop,
		.stream = stream,
		.library = library,
	};
	const struct tls_transport transport = {.pull = pull, .push = push, .arg = t};
	t->session = library->session_create(identity->context, server_name, &transport);
	if (!t->session) {
		free(t);
		return error_set(errp, -ENOMEM, "No memory for a TLS session");
	}
	int r = do_handshake(t, errp);
	t->has_more = true; /* what came behind the handshake is there without the socket */
	drop_empty_input(t);
	if (r < 0) {
		stream_free(t);
		return r;
	}
	*ret_peer = library->peer_name(t->session);
	socket_stream_set_filter(stream, &t->filter);
	return 0;
}

/* Credentials. */

struct loading {
	struct tls_identity *identity;
	const struct tls_creds *creds;
	struct error *error;
};

static int load_blocking(void *arg)
{
	struct loading *l = arg;
	return l->identity->library->context_create(l->creds, &l->identity->context, &l->error);
}

int co_fn tls_identity_create(const struct tls_creds *creds, struct tls_identity **ret,
			      struct error **errp)
{
	const struct tls_library *library = tls_library_load(errp);
	if (!library)
		return -ENOTSUP;
	struct tls_identity *identity = NEW(struct tls_identity);
	identity->library = library;
	struct loading l = {.identity = identity, .creds = creds};
	if (co_blocking(load_blocking, &l) < 0) {
		free(identity);
		return error_move(errp, l.error);
	}
	*ret = identity;
	return 0;
}

void tls_identity_destroy(struct tls_identity *identity)
{
	if (!identity)
		return;
	identity->library->context_destroy(identity->context);
	free(identity);
}
