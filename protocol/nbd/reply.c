/* SPDX-License-Identifier: MIT */
/*
 * Putting together replies. No I/O; the loop's thread.
 *
 * With structured replies, reads and errors are chunks; everything else that
 * succeeds is a simple reply, which is shorter. Without them all is simple.
 */
#include <assert.h>
#include <stdio.h>

#include "base/buffer.h"
#include "protocol/nbd/internal.h"

/* The reply is t->own_iov[0..count]. */
static void set_own(struct nbd_transaction *t, size_t header_bytes, size_t data_bytes)
{
	t->own_iov[0] = (struct iovec){t->header, header_bytes};
	t->own_iov[1] = (struct iovec){t->data, data_bytes};
	t->iov = t->own_iov;
	t->iov_count = data_bytes > 0 ? 2 : 1;
	t->reply_bytes = header_bytes + data_bytes;
}

static void set_simple(struct nbd_transaction *t, uint32_t error, size_t data_bytes)
{
	uint8_t *end = nbd_put_simple_reply(t->header, &(struct nbd_simple_reply){
		.error = error,
		.cookie = t->request.cookie,
	});
	set_own(t, end - t->header, data_bytes);
}

/* Begin the chunk at @p. */
static uint8_t *put_chunk(const struct nbd_transaction *t, uint8_t *p, enum nbd_chunk_type type,
			  bool is_last, uint32_t length)
{
	return nbd_put_chunk(p, &(struct nbd_chunk){
		.flags = is_last ? NBD_REPLY_FLAG_DONE : 0,
		.type = type,
		.cookie = t->request.cookie,
		.length = length,
	});
}

void nbd_reply_done(struct nbd_transaction *t)
{
	if (t->connection->session.structured && t->request.type == NBD_CMD_READ) {
		uint8_t *end = put_chunk(t, t->header, NBD_REPLY_TYPE_NONE, true, 0);
		set_own(t, end - t->header, 0);
	} else {
		set_simple(t, NBD_SUCCESS, 0);
	}
}

void nbd_reply_data(struct nbd_transaction *t)
{
	uint32_t length = t->request.length;
	if (!t->connection->session.structured) {
		set_simple(t, NBD_SUCCESS, length);
		return;
	}
	uint8_t *p = put_chunk(t, t->header, NBD_REPLY_TYPE_OFFSET_DATA, true,
			       NBD_OFFSET_BYTES + length);
	p = nbd_put64(p, t->request.offset);
	set_own(t, p - t->header, length);
}

uint8_t *nbd_reply_extra(struct nbd_transaction *t)
{
	if (!t->extra)
		t->extra = buffer_get(t->connection->server->loop, NBD_EXTRA_BYTES);
	return t->extra;
}

void nbd_reply_extra_only(struct nbd_transaction *t, size_t bytes)
{
	t->own_iov[0] = (struct iovec){t->extra, bytes};
	t->iov = t->own_iov;
	t->iov_count = 1;
	t->reply_bytes = bytes;
}

/* An error chunk with a sentence. False: no memory. */
static bool set_error_chunk(struct nbd_transaction *t, uint32_t error, const char *message)
{
	uint8_t *begin = nbd_reply_extra(t);
	if (!begin)
		return false;
	size_t length = strlen(message);
	assert(length <= NBD_EXTRA_BYTES - NBD_CHUNK_BYTES - 6);
	uint8_t *p = put_chunk(t, begin, NBD_REPLY_TYPE_ERROR, true, 4 + 2 + length);
	p = nbd_put32(p, error);
	p = nbd_put16(p, length);
	memcpy(p, message, length);
	nbd_reply_extra_only(t, p + length - begin);
	return true;
}

void nbd_reply_error(struct nbd_transaction *t, int code, const char *message)
{
	uint32_t error = nbd_error_from_errno(code);
	char text[NBD_COMPLAINT_MAX];

	if (!t->connection->session.structured) {
		set_simple(t, error, 0);
		return;
	}
	if (!message) {
		snprintf(text, sizeof(text), "%s failed: %s", nbd_command_name(t->request.type),
			 strerror(-code));
		message = text;
	}
	if (!set_error_chunk(t, error, message)) {
		/* Without memory a chunk without a sentence must do; the header has room for it. */
		uint8_t *p = put_chunk(t, t->header, NBD_REPLY_TYPE_ERROR, true, 4 + 2);
		p = nbd_put32(p, error);
		p = nbd_put16(p, 0);
		set_own(t, p - t->header, 0);
	}
}
