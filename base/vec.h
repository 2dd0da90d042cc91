/* SPDX-License-Identifier: MIT */
/*
 * A view of scattered memory: some iovecs, starting @skip bytes into them.
 *
 * A vec owns nothing and is passed by value. Splitting a request costs one
 * addition; only the engine at the bottom turns a view into a plain array.
 */
#ifndef BASE_VEC_H
#define BASE_VEC_H

#include <sys/uio.h>

#include "base/util.h"

struct vec {
	const struct iovec *iov;
	unsigned count;
	size_t skip; /* bytes to pass over; may reach beyond the first iovec */
};

/* A view of one flat piece. @storage is the caller's and must outlive the view. */
static inline struct vec vec_flat(struct iovec *storage, const void *p, size_t bytes)
{
	*storage = (struct iovec){.iov_base = (void *)p, .iov_len = bytes};
	return (struct vec){.iov = storage, .count = 1};
}

/* The same view, @bytes further on. */
static inline struct vec vec_advance(struct vec v, size_t bytes)
{
	v.skip += bytes;
	while (v.count > 1 && v.skip >= v.iov->iov_len) {
		v.skip -= v.iov->iov_len;
		v.iov++;
		v.count--;
	}
	return v;
}

/* The start of the view's first @bytes when they are contiguous in memory, else NULL. */
static inline void *vec_contiguous(struct vec v, size_t bytes)
{
	v = vec_advance(v, 0);
	if (v.count == 0 || v.iov->iov_len - v.skip < bytes)
		return NULL;
	return (char *)v.iov->iov_base + v.skip;
}

/* Copy between the view's first @bytes and flat memory. The view is that long. */
void vec_to_buffer(struct vec v, void *p, size_t bytes);
void vec_from_buffer(struct vec v, const void *p, size_t bytes);
/* Set the view's first @bytes to @byte. */
void vec_fill(struct vec v, int byte, size_t bytes);
/* True when the first @bytes of the view are all zero. */
bool vec_is_zero(struct vec v, size_t bytes);
/* True when every piece of the first @bytes starts and ends on @align (a power of two). */
bool vec_is_aligned(struct vec v, size_t bytes, size_t align);
/*
 * Write the first @bytes of the view as at most @max plain iovecs to @ret.
 * Returns how many, or -EINVAL when more would be needed.
 */
int vec_to_iovecs(struct vec v, size_t bytes, struct iovec *ret, unsigned max);

#endif
