/* SPDX-License-Identifier: MIT */
/*
 * Receiving requests. The loop's thread; one coroutine per connection.
 *
 * One receive brings as many requests as are there. Each becomes a coroutine,
 * and they run only when the receiver waits, so that all that came together is
 * submitted together. A small payload stays where it was received, if the
 * node's memory alignment allows, or is copied to an aligned buffer; the part
 * of a payload that has not come yet is received right into its buffer.
 *
 * Invariants:
 *  1. segment->begin..end is what has not been looked at; filling and skip say
 *     what those bytes belong to first. Not both are set.
 *  2. A payload that a transaction uses in place keeps its segment alive.
 *  3. Whatever is refused, the next header is found where the protocol puts it.
 */
#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/node.h"
#include "protocol/nbd/internal.h"

/* Receive into another segment when this one has less room. */
#define ROOM_MIN (NBD_SEGMENT_BYTES / 4)

static uint32_t segment_capacity(void)
{
	return NBD_SEGMENT_BYTES - sizeof(struct nbd_segment);
}

void nbd_segment_unref(struct loop *loop, struct nbd_segment *segment)
{
	if (segment && --segment->references == 0)
		buffer_put(loop, segment, NBD_SEGMENT_BYTES);
}

static uint32_t available(const struct nbd_connection *c)
{
	return c->segment ? c->segment->end - c->segment->begin : 0;
}

static struct nbd_segment *segment_new(struct loop *loop)
{
	struct nbd_segment *segment = buffer_get(loop, NBD_SEGMENT_BYTES);
	if (segment)
		*segment = (struct nbd_segment){.references = 1};
	return segment;
}

/* Make sure that there is a segment with room, keeping the bytes not looked at yet. */
static int make_room(struct nbd_connection *c)
{
	struct nbd_segment *old = c->segment;
	uint32_t left = available(c);

	if (old && old->references == 1) {
		/* Nobody else uses it. What is left is at most an incomplete header. */
		if (left > 0)
			memmove(old->data, old->data + old->begin, left);
		old->begin = 0;
		old->end = left;
		return 0;
	}
	if (old && segment_capacity() - old->end >= ROOM_MIN)
		return 0;

	c->segment = segment_new(c->server->loop);
	if (!c->segment) {
		c->segment = old;
		return -ENOMEM;
	}
	if (left > 0)
		memcpy(c->segment->data, old->data + old->begin, left);
	c->segment->end = left;
	nbd_segment_unref(c->server->loop, old);
	return 0;
}

/* One receive without waiting. */
static int64_t receive_some(struct nbd_connection *c)
{
	int r = make_room(c);
	if (r < 0)
		return r;

	struct nbd_segment *s = c->segment;
	struct iovec iov[2];
	unsigned count = 0;
	uint32_t wanted = c->filling ? c->filling->request.length - c->filled : 0;
	if (wanted > 0)
		iov[count++] = (struct iovec){c->filling->data + c->filled, wanted};
	iov[count++] = (struct iovec){s->data + s->end, segment_capacity() - s->end};

	int64_t n = socket_try_readv(c->stream, iov, count);
	if (n <= 0)
		return n;
	uint32_t part = MIN((uint64_t)n, wanted);
	c->filled += part;
	s->end += n - part;
	return n;
}

int64_t nbd_receive(struct nbd_connection *c)
{
	for (;;) {
		/* A client that is silent for long should cost no memory. */
		if (available(c) == 0) {
			nbd_segment_unref(c->server->loop, c->segment);
			c->segment = NULL;
		}
		/* The user may have changed it. */
		if (c->export)
			socket_stream_look_for(c->stream, export_look_ns(c->export->export));
		int r = socket_wait(c->stream, LOOP_FD_READ);
		if (r < 0)
			return r;
		int64_t n = receive_some(c);
		if (n != -EAGAIN)
			return n;
	}
}

static void co_fn wait_for_room(struct nbd_connection *c, const struct nbd_request *r)
{
	while (!c->broken &&
	       (c->in_flight >= NBD_IN_FLIGHT_MAX ||
		(c->in_flight > 0 && c->buffered + nbd_request_memory(r) > NBD_BUFFERED_MAX)))
		co_queue_wait(&c->room);
}

static void launch(struct nbd_transaction *t)
{
	co_start(t->connection->server->loop, nbd_transaction_run, t);
}

static void refuse(struct nbd_connection *c, struct nbd_transaction *t, int code,
		   const char *complaint)
{
	c->skip = nbd_request_payload(&t->request);
	nbd_transaction_fail(t, code, complaint);
}

/* True when the node takes the payload at @p as it lies. */
static bool is_usable_in_place(const struct nbd_connection *c, const uint8_t *p)
{
	uint32_t alignment = c->export->export->edge->child->limits.memory_alignment;
	return alignment <= 1 || is_aligned((uintptr_t)p, alignment);
}

/* A write's header has been taken; find a place for its payload, or use it as it lies. */
static void take_payload(struct nbd_connection *c, struct nbd_transaction *t)
{
	struct nbd_segment *s = c->segment;
	uint32_t length = t->request.length;
	uint32_t here = MIN(available(c), length);
	uint8_t *p = s->data + s->begin;

	if (here == length && is_usable_in_place(c, p)) {
		s->begin += length;
		s->references++;
		t->segment = s;
		t->data = p;
		launch(t);
		return;
	}
	t->data = buffer_get(c->server->loop, length);
	if (!t->data) {
		refuse(c, t, -ENOMEM, NULL);
		return;
	}
	memcpy(t->data, p, here);
	s->begin += here;
	c->filling = t;
	c->filled = here;
}

static void begin_request(struct nbd_connection *c, const struct nbd_request *r)
{
	c->session.size = c->export->export->edge->child->size;
	char complaint[NBD_COMPLAINT_MAX];
	int code = nbd_request_check(r, &c->session, complaint);

	struct nbd_transaction *t = nbd_transaction_begin(c, r);
	if (code < 0)
		refuse(c, t, code, complaint);
	else if (nbd_request_payload(r) > 0)
		take_payload(c, t);
	else
		launch(t);
}

/* Finish a payload that is coming in. True when nothing is missing. */
static bool co_fn finish_payload(struct nbd_connection *c)
{
	if (c->skip > 0) {
		uint32_t n = MIN(available(c), c->skip);
		c->segment->begin += n;
		c->skip -= n;
		return c->skip == 0;
	}
	if (!c->filling)
		return true;
	if (c->filled < c->filling->request.length)
		return false;
	launch(TAKE(c->filling));
	/*
	 * A long payload takes the time of a request to receive, and the next one is on its
	 * way: what is not submitted at the end of the round anyway begins now.
	 */
	co_reschedule();
	return true;
}

enum progress { NEEDS_MORE, MUST_END };

/* Take all requests that have been received. */
static enum progress co_fn take_requests(struct nbd_connection *c)
{
	while (finish_payload(c) && available(c) >= NBD_REQUEST_BYTES) {
		struct nbd_request r;
		if (nbd_get_request(c->segment->data + c->segment->begin, &r) < 0) {
			c->reason = "invalid magic in a request";
			return MUST_END;
		}
		if (r.type == NBD_CMD_DISC) {
			c->reason = "the client said good-bye";
			return MUST_END;
		}
		wait_for_room(c, &r);
		if (c->broken)
			return MUST_END;
		c->segment->begin += NBD_REQUEST_BYTES;
		begin_request(c, &r);
	}
	return NEEDS_MORE;
}

void nbd_receive_requests(struct nbd_connection *c)
{
	while (take_requests(c) == NEEDS_MORE) {
		/*
		 * What was started runs while this waits. Asking the socket
		 * first would be in vain most of the time: more comes after
		 * the answers. The rest of a payload, however, is on its way.
		 */
		int64_t n = c->filling ? receive_some(c) : -EAGAIN;
		if (n == -EAGAIN)
			n = nbd_receive(c);
		if (n <= 0) {
			c->reason = n == 0 ? "the client closed the connection" : "disconnected";
			break;
		}
	}
	/* A write without its payload never began. */
	if (c->filling)
		nbd_transaction_end(TAKE(c->filling));
}
