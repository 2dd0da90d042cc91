/* SPDX-License-Identifier: MIT */
/*
 * Sending replies: all that are ready at the end of a round of the loop leave
 * in one sendmsg(), and a good number of them earlier. The loop's thread.
 *
 * When the socket takes no more, a coroutine waits for it and the replies queue
 * up; how many can do so is limited by what the receiver lets in.
 */
#include "protocol/nbd/internal.h"

/* The socket takes nothing any more: forget the replies and end the connection. */
static void break_connection(struct nbd_connection *c, const char *reason)
{
	c->broken = true;
	c->reason = reason;
	struct nbd_transaction *t;
	while ((t = list_first(&c->replies, struct nbd_transaction, link)))
		nbd_transaction_end(t);
	c->sent = 0;
	nbd_connection_disconnect(c);
}

/* The unsent replies as iovecs of the server, as many as fit. Returns their number. */
static unsigned gather(struct nbd_connection *c, size_t *ret_bytes)
{
	struct iovec *iov = c->server->iov;
	unsigned count = 0;
	size_t bytes = 0, skip = c->sent;

	struct nbd_transaction *t;
	list_for_each(t, &c->replies, link) {
		if (count + t->iov_count > NBD_SEND_IOVECS)
			break;
		memcpy(iov + count, t->iov, t->iov_count * sizeof(*iov));
		count += t->iov_count;
		bytes += t->reply_bytes;
	}
	/* Only the first reply can have been sent in part. */
	for (unsigned i = 0; skip > 0; i++) {
		size_t part = MIN(skip, iov[i].iov_len);
		iov[i].iov_base = (char *)iov[i].iov_base + part;
		iov[i].iov_len -= part;
		skip -= part;
	}
	*ret_bytes = bytes - c->sent;
	return count;
}

/* Free the replies that @bytes more have completed. */
static void retire(struct nbd_connection *c, size_t bytes)
{
	bytes += c->sent;
	struct nbd_transaction *t;
	while ((t = list_first(&c->replies, struct nbd_transaction, link)) &&
	       t->reply_bytes <= bytes) {
		bytes -= t->reply_bytes;
		nbd_transaction_end(t);
	}
	c->sent = bytes;
}

/* Send what there is. True when the socket is full and something is left. */
static bool send_some(struct nbd_connection *c)
{
	c->fresh_replies = 0;
	while (!list_is_empty(&c->replies)) {
		size_t bytes;
		unsigned count = gather(c, &bytes);
		int64_t n = socket_try_writev(c->stream, c->server->iov, count);
		if (n == -EAGAIN)
			return true;
		if (n < 0) {
			break_connection(c, "the client takes no replies");
			return false;
		}
		retire(c, n);
		/* A socket that took a part has no room for the rest; asking it again is in vain. */
		if ((size_t)n < bytes)
			return true;
	}
	return false;
}

static void co_fn keep_sending(void *arg)
{
	struct nbd_connection *c = arg;
	do {
		if (socket_wait(c->stream, LOOP_FD_WRITE) < 0) {
			break_connection(c, "disconnected");
			break;
		}
	} while (send_some(c));
	c->is_sending = false;
	if (c->in_flight == 0)
		co_queue_wake_all(&c->idle);
}

static void send_ready(struct nbd_connection *c)
{
	if (c->is_sending || !send_some(c))
		return;
	c->is_sending = true;
	co_start(c->server->loop, keep_sending, c);
}

void nbd_send_deferred(struct loop_deferred *d)
{
	send_ready(container_of(d, struct nbd_connection, flush));
}

void nbd_send_reply(struct nbd_transaction *t)
{
	struct nbd_connection *c = t->connection;
	if (c->broken) {
		nbd_transaction_end(t);
		return;
	}
	list_add_tail(&c->replies, &t->link);
	if (++c->fresh_replies >= NBD_SEND_EARLY)
		send_ready(c);
	else if (!c->is_sending)
		loop_defer(c->server->loop, &c->flush);
}
