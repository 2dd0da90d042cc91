/* SPDX-License-Identifier: MIT */
/*
 * Alignment of ranges and memory, and a supply of zeroes. Any loop's thread.
 */
#include "base/buffer.h"
#include "block/io_internal.h"

/* Never written: all pages of it are one page of the kernel's. */
static unsigned char zero_block[64 * 1024] __attribute__((aligned(BUFFER_ALIGNMENT)));

#define Z {zero_block, sizeof(zero_block)}
static const struct iovec zero_iovecs[IO_CHUNK_MAX / sizeof(zero_block)] = {
	Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z, Z,
};
#undef Z

struct vec io_zeroes(void)
{
	return (struct vec){.iov = zero_iovecs, .count = ARRAY_SIZE(zero_iovecs)};
}

static unsigned iovecs_covering(struct vec v, uint64_t bytes)
{
	unsigned count = 0;
	v = vec_advance(v, 0);
	for (uint64_t covered = 0; count < v.count && covered < v.skip + bytes; count++)
		covered += v.iov[count].iov_len;
	return count;
}

bool io_is_memory_fit(const struct node *n, struct vec v, uint64_t bytes)
{
	const struct node_limits *l = &n->limits;
	if (l->memory_alignment > 1 && !vec_is_aligned(v, bytes, l->memory_alignment))
		return false;
	return l->max_iovecs == 0 || v.count <= l->max_iovecs ||
	       iovecs_covering(v, bytes) <= l->max_iovecs;
}

uint64_t io_bounce_span(const struct node *n, uint64_t offset, uint64_t bytes)
{
	uint64_t align = n->limits.request_alignment;
	uint64_t max = MAX(IO_CHUNK_MAX, align);
	if (n->limits.max_transfer != 0)
		max = MIN(max, n->limits.max_transfer);
	return MIN(align_up(offset + bytes, align) - align_down(offset, align), max);
}

uint64_t io_first_piece(const struct node *n, uint64_t offset, uint64_t bytes, uint64_t alignment,
			uint64_t max)
{
	uint64_t unit = MAX(alignment, n->limits.request_alignment);
	uint64_t piece = bytes;
	if (offset % unit != 0)
		piece = MIN(piece, unit - offset % unit);
	else if (bytes > unit)
		piece = bytes - bytes % unit;
	return max != 0 ? MIN(piece, MAX(max - max % unit, unit)) : piece;
}
