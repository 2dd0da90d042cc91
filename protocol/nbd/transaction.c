/* SPDX-License-Identifier: MIT */
/*
 * Transactions: one request of a client, served in a coroutine of its own,
 * inside an operation of the export's consumer. The loop's thread.
 *
 * A drain holds transactions up where they enter the operation. They wait there
 * with their payload, and nothing is lost.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/io.h"
#include "protocol/nbd/internal.h"

struct nbd_transaction *nbd_transaction_begin(struct nbd_connection *c,
					      const struct nbd_request *r)
{
	struct nbd_server *s = c->server;
	struct nbd_transaction *t = list_first(&s->pool, struct nbd_transaction, link);
	if (t) {
		list_del_init(&t->link);
		s->pool_count--;
	} else {
		t = NEW(struct nbd_transaction);
		list_init(&t->link);
	}
	t->connection = c;
	t->request = *r;
	t->data = NULL;
	t->segment = NULL;
	t->extra = NULL;

	c->in_flight++;
	c->buffered += nbd_request_memory(r);
	return t;
}

/* Free the data; it is sent or written. */
static void release_data(struct nbd_transaction *t)
{
	struct loop *loop = t->connection->server->loop;
	if (t->segment)
		nbd_segment_unref(loop, TAKE(t->segment));
	else if (t->data)
		buffer_put(loop, t->data, t->request.length);
	t->data = NULL;
}

void nbd_transaction_end(struct nbd_transaction *t)
{
	struct nbd_connection *c = t->connection;
	struct nbd_server *s = c->server;

	release_data(t);
	if (t->extra)
		buffer_put(s->loop, TAKE(t->extra), NBD_EXTRA_BYTES);

	assert(c->in_flight > 0);
	c->in_flight--;
	c->buffered -= nbd_request_memory(&t->request);
	co_queue_wake_one(&c->room);
	if (c->in_flight == 0)
		co_queue_wake_all(&c->idle);

	list_del_init(&t->link);
	if (s->pool_count >= NBD_POOL_MAX) {
		free(t);
		return;
	}
	list_add_head(&s->pool, &t->link);
	s->pool_count++;
}

void nbd_transaction_pool_clear(struct nbd_server *s)
{
	struct nbd_transaction *t;
	while ((t = list_first(&s->pool, struct nbd_transaction, link))) {
		list_del_init(&t->link);
		free(t);
	}
	s->pool_count = 0;
}

void nbd_transaction_fail(struct nbd_transaction *t, int code, const char *message)
{
	release_data(t);
	nbd_reply_error(t, code, message);
	nbd_send_reply(t);
}

static struct edge *edge_of(const struct nbd_transaction *t)
{
	return t->connection->export->export->edge;
}

/* Flags for a request that writes. */
static unsigned write_flags(const struct nbd_transaction *t)
{
	bool durable = t->request.flags & NBD_CMD_FLAG_FUA ||
		       t->connection->export->export->writethrough;
	return durable ? REQUEST_FUA : 0;
}

static int co_fn run_write(struct nbd_transaction *t)
{
	const struct nbd_request *r = &t->request;
	int error = edge_write(edge_of(t), r->offset, r->length, t->data, write_flags(t));
	release_data(t);
	if (error == 0)
		nbd_reply_done(t);
	return error;
}

static int co_fn run_flush(struct nbd_transaction *t)
{
	int error = edge_flush(edge_of(t));
	if (error == 0)
		nbd_reply_done(t);
	return error;
}

static int co_fn run_trim(struct nbd_transaction *t)
{
	const struct nbd_request *r = &t->request;
	int error = edge_discard(edge_of(t), r->offset, r->length);
	if (error == 0 && write_flags(t) & REQUEST_FUA)
		error = edge_flush(edge_of(t));
	if (error == 0)
		nbd_reply_done(t);
	return error;
}

static int co_fn run_cache(struct nbd_transaction *t)
{
	uint64_t offset = t->request.offset, end = offset + t->request.length;
	while (offset < end) {
		uint64_t bytes = MIN(end - offset, REQUEST_MAX / 2);
		int error = edge_readv(edge_of(t), offset, bytes, (struct vec){0},
				       REQUEST_PREFETCH);
		if (error < 0)
			return error;
		offset += bytes;
	}
	nbd_reply_done(t);
	return 0;
}

static int co_fn run_write_zeroes(struct nbd_transaction *t)
{
	const struct nbd_request *r = &t->request;
	unsigned flags = write_flags(t);
	if (!(r->flags & NBD_CMD_FLAG_NO_HOLE))
		flags |= REQUEST_MAY_UNMAP;
	if (r->flags & NBD_CMD_FLAG_FAST_ZERO)
		flags |= REQUEST_NO_FALLBACK;
	int error = edge_zero(edge_of(t), r->offset, r->length, flags);
	if (error == 0)
		nbd_reply_done(t);
	return error;
}

/* Each puts together the reply, or returns a negative errno. */
static int co_fn (*const runs[NBD_CMD__COUNT])(struct nbd_transaction *t) = {
	[NBD_CMD_READ] = nbd_read,
	[NBD_CMD_WRITE] = run_write,
	[NBD_CMD_FLUSH] = run_flush,
	[NBD_CMD_TRIM] = run_trim,
	[NBD_CMD_CACHE] = run_cache,
	[NBD_CMD_WRITE_ZEROES] = run_write_zeroes,
	[NBD_CMD_BLOCK_STATUS] = nbd_block_status,
};

static bool is_read(const struct nbd_request *r)
{
	return r->type == NBD_CMD_READ || r->type == NBD_CMD_CACHE ||
	       r->type == NBD_CMD_BLOCK_STATUS;
}

void nbd_transaction_run(void *arg)
{
	struct nbd_transaction *t = arg;
	struct consumer *consumer = &t->connection->export->export->consumer;

	consumer_enter(consumer);
	if (!edge_of(t)->child->active && t->request.type != NBD_CMD_READ) {
		consumer_leave(consumer);
		nbd_transaction_fail(t, -EPERM, "export is inactive");
		return;
	}
	int error = runs[t->request.type](t);
	consumer_leave(consumer);
	if (error == 0) {
		nbd_send_reply(t);
		return;
	}
	export_report_failure(t->connection->export->export, is_read(&t->request), error);
	nbd_transaction_fail(t, error, NULL);
}
