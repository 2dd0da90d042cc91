/* SPDX-License-Identifier: MIT */
/*
 * The steps of the data path below the edges. Only block/ includes it. Node's
 * loop, in a coroutine.
 */
#ifndef BLOCK_IO_INTERNAL_H
#define BLOCK_IO_INTERNAL_H

#include "block/io.h"

/* Most bytes that one bounce buffer holds, or one write of zeroes covers. */
#define IO_CHUNK_MAX (UINT64_C(1) << 20)

/* One byte past the highest that any node may have. */
#define IO_END_MAX (UINT64_C(1) << 62)

/* True when the driver of @n can take the range as it is. */
static inline bool io_is_aligned(const struct node *n, uint64_t offset, uint64_t bytes)
{
	return ((offset | bytes) & (n->limits.request_alignment - 1)) == 0;
}

/* True when the driver of @n can take the view as it is. */
bool io_is_memory_fit(const struct node *n, struct vec v, uint64_t bytes);

/* Bytes of the blocks around @offset that one bounce buffer can take, from the aligned start on. */
uint64_t io_bounce_span(const struct node *n, uint64_t offset, uint64_t bytes);

/*
 * The first piece of a range to zero or to discard that suits the driver: up to a boundary
 * of its units of @alignment bytes (0 for none), then whole units up to @max bytes (0: no
 * limit), then the rest. Not 0 unless @bytes is.
 */
uint64_t io_first_piece(const struct node *n, uint64_t offset, uint64_t bytes, uint64_t alignment,
			uint64_t max);

/*
 * Read what @n shows, through its backing chain, without tracking it on @n. The
 * range may be unaligned, and reads as zeroes beyond the end.
 */
int co_fn io_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);

/*
 * Read the first part of the range from this layer alone, setting *bytes to its
 * length. Returns 0, READ_FROM_BACKING or a negative errno.
 */
int co_fn io_read_layer(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			unsigned flags);

/* As io_read(), allocating in @n what comes from below. Tracks the request. */
int co_fn io_copy_on_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags);

/*
 * Write inside a request that the caller tracks: through a bounce buffer where
 * the alignment of the range (then serialising) or of the memory asks for it.
 */
int co_fn io_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);

/* Write zeroes in the same way, by the driver's means or as data. */
int co_fn io_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);

/* A whole request for zeroes, checked already: tracked, and durable if @flags ask for it. */
int co_fn io_zero_edge(struct edge *e, uint64_t offset, uint64_t bytes, unsigned flags);

/* A write up to @end is about to begin: tell when it passes the node's threshold, which is set. */
void io_check_threshold(struct node *n, uint64_t end);

/* Note that [@offset, @offset + @bytes), which lies in the node by now, has been written. */
void io_note_write(struct node *n, uint64_t offset, uint64_t bytes);

/* Make @n, which a format uses as storage, at least @end bytes long. */
int co_fn io_grow(struct node *n, uint64_t end);

/* A view of zeroes, IO_CHUNK_MAX bytes long and as aligned as buffers are. */
struct vec io_zeroes(void);

/* True when the range reaches behind the end, where only a format that owns the size may write. */
bool io_is_beyond(const struct edge *e, uint64_t offset, uint64_t bytes);

/*
 * Check a request to write or discard on @e: the permission, then the range.
 * Returns 0 or a negative errno.
 */
int io_check_write(const struct edge *e, uint64_t offset, uint64_t bytes, unsigned flags);

/* Flags that the driver of @n takes with writes and zeroing, out of @flags. */
unsigned io_driver_flags(const struct node *n, unsigned flags);

/* True when REQUEST_FUA in @flags must be kept by a flush afterwards. */
bool io_needs_flush(const struct node *n, unsigned flags);

/* Counting for consumers: begin gives the start time. */
static inline bool io_is_counted(const struct edge *e)
{
	return e->consumer;
}
uint64_t io_count_begin(const struct edge *e);
void io_count_end(const struct edge *e, enum stats_kind kind, uint64_t bytes, uint64_t begin_ns,
		  int result);
void io_count_invalid(const struct edge *e, enum stats_kind kind);

#endif
