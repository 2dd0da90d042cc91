/* SPDX-License-Identifier: MIT */
/*
 * Reads. The loop's thread, in a transaction's coroutine.
 *
 * A long read of a client with structured replies is divided into data and
 * holes first: what reads as zeroes is neither read nor sent. For a short one
 * asking costs more than sending zeroes, and so it does where storage is remote.
 */
#include "base/buffer.h"
#include "block/io.h"
#include "protocol/nbd/internal.h"

/* Reads from this length on look for holes. */
#define SPARSE_MIN 65536u
/* Shorter holes are read as data. */
#define HOLE_MIN 4096u
/* The rest after so many pieces is read as data. */
#define PIECES_MAX 64u

struct piece {
	uint32_t bytes;
	bool is_hole;
};

/* A reply of several chunks, in the transaction's extra memory. */
struct sparse {
	struct piece pieces[PIECES_MAX];
	unsigned count;
	struct iovec iov[2 * PIECES_MAX];
	uint8_t headers[PIECES_MAX][NBD_CHUNK_BYTES + NBD_OFFSET_BYTES + 4];
};

_Static_assert(sizeof(struct sparse) <= NBD_EXTRA_BYTES, "the pieces do not fit");

static struct edge *edge_of(const struct nbd_transaction *t)
{
	return t->connection->export->export->edge;
}

static void add_piece(struct sparse *s, uint32_t bytes, bool is_hole)
{
	is_hole = is_hole && bytes >= HOLE_MIN;
	struct piece *last = s->count > 0 ? &s->pieces[s->count - 1] : NULL;
	if (last && last->is_hole == is_hole)
		last->bytes += bytes;
	else
		s->pieces[s->count++] = (struct piece){bytes, is_hole};
}

/* Divide the range; what cannot be told is data. */
static void co_fn find_pieces(const struct nbd_transaction *t, struct sparse *s)
{
	uint64_t offset = t->request.offset, end = offset + t->request.length;
	s->count = 0;
	while (offset < end) {
		struct extent x = {.bytes = end - offset};
		if (s->count < PIECES_MAX - 1 &&
		    node_status(edge_of(t)->child, offset, end - offset, &x) < 0)
			x = (struct extent){.bytes = end - offset};
		if (x.bytes == 0) /* the node has become shorter: reading the rest fails */
			x = (struct extent){.bytes = end - offset};
		add_piece(s, x.bytes, x.flags & EXTENT_ZERO);
		offset += x.bytes;
	}
}

/* Append the chunk of piece @i, whose data, if it has any, is at @data. */
static void put_piece(struct nbd_transaction *t, struct sparse *s, unsigned i, uint64_t offset,
		      uint8_t *data)
{
	const struct piece *piece = &s->pieces[i];
	uint8_t *p = nbd_put_chunk(s->headers[i], &(struct nbd_chunk){
		.flags = i == s->count - 1 ? NBD_REPLY_FLAG_DONE : 0,
		.type = piece->is_hole ? NBD_REPLY_TYPE_OFFSET_HOLE : NBD_REPLY_TYPE_OFFSET_DATA,
		.cookie = t->request.cookie,
		.length = NBD_OFFSET_BYTES + (piece->is_hole ? 4 : piece->bytes),
	});
	p = nbd_put64(p, offset);
	if (piece->is_hole)
		p = nbd_put32(p, piece->bytes);
	size_t header_bytes = p - s->headers[i];
	s->iov[t->iov_count++] = (struct iovec){s->headers[i], header_bytes};
	t->reply_bytes += header_bytes;
	if (!piece->is_hole) {
		s->iov[t->iov_count++] = (struct iovec){data, piece->bytes};
		t->reply_bytes += piece->bytes;
	}
}

/* Memory for the data of a read, freed with the transaction. */
static int get_buffer(struct nbd_transaction *t)
{
	t->data = buffer_get(t->connection->server->loop, t->request.length);
	return t->data ? 0 : -ENOMEM;
}

/* Read the pieces with data, each to its place, and put together the reply. */
static int co_fn read_pieces(struct nbd_transaction *t, struct sparse *s)
{
	uint32_t at = 0;
	int r = 0;

	t->iov = s->iov;
	t->iov_count = 0;
	t->reply_bytes = 0;
	for (unsigned i = 0; i < s->count; i++) {
		uint64_t offset = t->request.offset + at;
		const struct piece *piece = &s->pieces[i];
		if (!piece->is_hole) {
			if (!t->data)
				r = get_buffer(t);
			if (r == 0)
				r = edge_read(edge_of(t), offset, piece->bytes, t->data + at, 0);
			if (r < 0)
				return r;
		}
		put_piece(t, s, i, offset, piece->is_hole ? NULL : t->data + at);
		at += piece->bytes;
	}
	return 0;
}

static int co_fn read_whole(struct nbd_transaction *t)
{
	int r = get_buffer(t);
	if (r == 0)
		r = edge_read(edge_of(t), t->request.offset, t->request.length, t->data, 0);
	if (r == 0)
		nbd_reply_data(t);
	return r;
}

int nbd_read(struct nbd_transaction *t)
{
	const struct nbd_request *r = &t->request;
	if (r->length == 0) {
		nbd_reply_done(t);
		return 0;
	}
	if (r->length < SPARSE_MIN || !t->connection->session.structured ||
	    r->flags & NBD_CMD_FLAG_DF || node_status_is_costly(edge_of(t)->child))
		return read_whole(t);

	struct sparse *s = (struct sparse *)nbd_reply_extra(t);
	if (!s)
		return read_whole(t);
	find_pieces(t, s);
	if (s->count == 1 && !s->pieces[0].is_hole)
		return read_whole(t);
	return read_pieces(t, s);
}
