/* SPDX-License-Identifier: MIT */
/*
 * Walking views of scattered memory. Free of state; any thread.
 */
#include "base/vec.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 * Take the next piece, at most @bytes long, off the front of @v. Empty iovecs
 * are passed over. The view must hold at least @bytes.
 */
static struct iovec next_piece(struct vec *v, size_t bytes)
{
	while (v->skip >= v->iov->iov_len) {
		assert(v->count > 1);
		v->skip -= v->iov->iov_len;
		v->iov++;
		v->count--;
	}
	struct iovec piece = {
		.iov_base = (char *)v->iov->iov_base + v->skip,
		.iov_len = MIN(bytes, v->iov->iov_len - v->skip),
	};
	v->skip += piece.iov_len;
	return piece;
}

void vec_to_buffer(struct vec v, void *p, size_t bytes)
{
	char *to = p;
	while (bytes > 0) {
		struct iovec piece = next_piece(&v, bytes);
		memcpy(to, piece.iov_base, piece.iov_len);
		to += piece.iov_len;
		bytes -= piece.iov_len;
	}
}

void vec_from_buffer(struct vec v, const void *p, size_t bytes)
{
	const char *from = p;
	while (bytes > 0) {
		struct iovec piece = next_piece(&v, bytes);
		memcpy(piece.iov_base, from, piece.iov_len);
		from += piece.iov_len;
		bytes -= piece.iov_len;
	}
}

void vec_fill(struct vec v, int byte, size_t bytes)
{
	while (bytes > 0) {
		struct iovec piece = next_piece(&v, bytes);
		memset(piece.iov_base, byte, piece.iov_len);
		bytes -= piece.iov_len;
	}
}

bool vec_is_zero(struct vec v, size_t bytes)
{
	while (bytes > 0) {
		struct iovec piece = next_piece(&v, bytes);
		if (!buffer_is_zero(piece.iov_base, piece.iov_len))
			return false;
		bytes -= piece.iov_len;
	}
	return true;
}

bool vec_is_aligned(struct vec v, size_t bytes, size_t align)
{
	while (bytes > 0) {
		struct iovec piece = next_piece(&v, bytes);
		if (!is_aligned((uintptr_t)piece.iov_base, align) ||
		    !is_aligned(piece.iov_len, align))
			return false;
		bytes -= piece.iov_len;
	}
	return true;
}

int vec_to_iovecs(struct vec v, size_t bytes, struct iovec *ret, unsigned max)
{
	unsigned n = 0;
	while (bytes > 0) {
		if (n == max)
			return -EINVAL;
		ret[n] = next_piece(&v, bytes);
		bytes -= ret[n].iov_len;
		n++;
	}
	return n;
}
