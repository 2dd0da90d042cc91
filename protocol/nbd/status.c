/* SPDX-License-Identifier: MIT */
/*
 * The answer to BLOCK_STATUS: one chunk for each context that the client has
 * selected. The loop's thread, in a transaction's coroutine.
 *
 * All chunks lie in the transaction's extra memory, one after the other, and
 * each context may fill an equal part of it. A client that wants to know more
 * asks again from where the answer ends.
 */
#include "block/node.h"
#include "protocol/nbd/internal.h"

#define EXTENT_BYTES 8

/* Extents that are being put together at @p. */
struct extents {
	uint8_t *p; /* where the next one goes */
	unsigned left; /* how many more fit */
	struct nbd_extent last; /* not written yet; bytes 0: none */
};

static void put_last(struct extents *x)
{
	if (x->last.bytes == 0)
		return;
	x->p = nbd_put32(x->p, x->last.bytes);
	x->p = nbd_put32(x->p, x->last.flags);
	x->left--;
	x->last.bytes = 0;
}

/* Append, joining what is of one kind. False: it does not fit any more. */
static bool add_extent(struct extents *x, const struct nbd_extent *e)
{
	if (x->last.bytes > 0 && x->last.flags == e->flags) {
		x->last.bytes += e->bytes; /* the sum is within the request's 32 bits */
		return true;
	}
	if (x->last.bytes > 0 && x->left == 1)
		return false;
	put_last(x);
	x->last = *e;
	return true;
}

/* Ask @c about the request's range until all is known or @x is full. */
static int co_fn collect(const struct nbd_transaction *t, const struct nbd_context *c,
			 struct extents *x)
{
	struct node *n = t->connection->export->export->edge->child;
	uint64_t offset = t->request.offset, end = offset + t->request.length;

	while (offset < end) {
		struct nbd_extent e;
		int r = c->status(c, n, offset, end - offset, &e);
		if (r < 0)
			return r;
		if (!add_extent(x, &e))
			break;
		offset += e.bytes;
	}
	put_last(x);
	return 0;
}

/* Write the chunk of one context to @p, in at most @room bytes. Returns its end in *ret. */
static int co_fn put_context(struct nbd_transaction *t, unsigned id, uint8_t *p, size_t room,
			     bool is_last, uint8_t **ret)
{
	uint8_t *payload = p + NBD_CHUNK_BYTES;
	struct extents x = {
		.p = nbd_put32(payload, id),
		.left = t->request.flags & NBD_CMD_FLAG_REQ_ONE
				? 1
				: (room - NBD_CHUNK_BYTES - 4) / EXTENT_BYTES,
	};
	int r = collect(t, &t->connection->export->contexts[id], &x);
	if (r < 0)
		return r;
	nbd_put_chunk(p, &(struct nbd_chunk){
		.flags = is_last ? NBD_REPLY_FLAG_DONE : 0,
		.type = NBD_REPLY_TYPE_BLOCK_STATUS,
		.cookie = t->request.cookie,
		.length = x.p - payload,
	});
	*ret = x.p;
	return 0;
}

int nbd_block_status(struct nbd_transaction *t)
{
	uint32_t selected = t->connection->session.contexts;
	size_t room = NBD_EXTRA_BYTES / (unsigned)__builtin_popcount(selected);
	uint8_t *begin = nbd_reply_extra(t);
	if (!begin)
		return -ENOMEM;

	uint8_t *p = begin;
	while (selected) {
		unsigned id = (unsigned)__builtin_ctz(selected);
		selected &= selected - 1;
		int r = put_context(t, id, p, room, selected == 0, &p);
		if (r < 0)
			return r;
	}
	nbd_reply_extra_only(t, p - begin);
	return 0;
}
