/* SPDX-License-Identifier: MIT */
/*
 * Comparing contents.
 */
#include "tools/img/contents.h"

#include <string.h>

/* Read what @image shows; beyond its end, and without one, zeroes. */
static int co_fn read_padded(struct image *image, uint64_t offset, uint64_t bytes, char *p)
{
	uint64_t size = image ? image->node->size : 0;
	uint64_t there = offset < size ? MIN(bytes, size - offset) : 0;
	int r = there > 0 ? edge_read(image->edge, offset, there, p, 0) : 0;

	if (r >= 0)
		memset(p + there, 0, bytes - there);
	return r;
}

static bool is_zero_by_status(struct image *image, const struct extent *x)
{
	return !image || (x->flags & EXTENT_ZERO);
}

static int co_fn find_status(struct image *image, uint64_t offset, uint64_t bytes,
			     struct extent *ret, const struct image **ret_failed)
{
	if (!image) {
		*ret = (struct extent){.flags = EXTENT_ZERO, .bytes = bytes};
		return 0;
	}
	*ret_failed = image;
	return image_status(image, offset, bytes, ret);
}

static uint64_t first_difference(const char *a, const char *b, uint64_t offset, uint64_t bytes)
{
	if (memcmp(a, b, bytes) == 0)
		return UINT64_MAX;
	for (uint64_t at = 0;; at += CONTENTS_SECTOR) {
		if (memcmp(a + at, b + at, MIN(CONTENTS_SECTOR, bytes - at)) != 0)
			return offset + at;
	}
}

int co_fn contents_differ(struct image *a, struct image *b, uint64_t offset, uint64_t bytes,
			  char *buffer_a, char *buffer_b, uint64_t *ret_at,
			  const struct image **ret_failed)
{
	*ret_at = UINT64_MAX;
	while (bytes > 0 && *ret_at == UINT64_MAX) {
		struct extent xa, xb;
		int r = find_status(a, offset, bytes, &xa, ret_failed);

		if (r >= 0)
			r = find_status(b, offset, bytes, &xb, ret_failed);
		if (r < 0)
			return r;
		uint64_t n = MIN(bytes, MIN(xa.bytes, xb.bytes));

		if (!is_zero_by_status(a, &xa) || !is_zero_by_status(b, &xb)) {
			*ret_failed = a;
			r = read_padded(a, offset, n, buffer_a);
			if (r >= 0) {
				*ret_failed = b;
				r = read_padded(b, offset, n, buffer_b);
			}
			if (r < 0)
				return r;
			*ret_at = first_difference(buffer_a, buffer_b, offset, n);
		}
		offset += n;
		bytes -= n;
	}
	return 0;
}
