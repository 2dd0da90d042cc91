/* SPDX-License-Identifier: MIT */
/*
 * A bitmap of the parts of a node that were written: one bit for each granule.
 *
 * Above the bits stand levels of summaries, 64 to 1, so that looking for the
 * next set bit costs a few words however empty the map is. Offsets and sizes
 * are in bytes; marking widens a range to whole granules, clearing narrows it.
 * In memory only; the owner's loop.
 */
#ifndef BLOCK_DIRTY_BITMAP_H
#define BLOCK_DIRTY_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define DIRTY_BITMAP_GRANULARITY_MIN 512
#define DIRTY_BITMAP_GRANULARITY_MAX (UINT32_C(1) << 31)

struct dirty_bitmap;

/*
 * A clean map of @size bytes; @granularity is a power of two between the limits
 * above. NULL when there is no memory.
 */
struct dirty_bitmap *dirty_bitmap_create(uint64_t size, uint32_t granularity);
/* A map with the size, granularity and bits of @b. NULL when there is no memory. */
struct dirty_bitmap *dirty_bitmap_clone(const struct dirty_bitmap *b);
/* NULL is allowed. */
void dirty_bitmap_destroy(struct dirty_bitmap *b);

uint64_t dirty_bitmap_size(const struct dirty_bitmap *b);
uint32_t dirty_bitmap_granularity(const struct dirty_bitmap *b);
/* Bytes in dirty granules; the last granule counts up to the map's size. */
uint64_t dirty_bitmap_count(const struct dirty_bitmap *b);

/* Mark every granule that the range touches. The range may reach beyond the map's size. */
void dirty_bitmap_set(struct dirty_bitmap *b, uint64_t offset, uint64_t bytes);
/*
 * Clear every granule that lies inside the range; the last granule lies inside
 * when the range reaches the map's size.
 */
void dirty_bitmap_clear(struct dirty_bitmap *b, uint64_t offset, uint64_t bytes);
bool dirty_bitmap_get(const struct dirty_bitmap *b, uint64_t offset);

/*
 * Find the first dirty area that begins at or reaches over @offset: sets
 * *ret_offset (at least @offset) and *ret_bytes (to the end of a granule, at most
 * @bytes_max from the start of the first, but for one granule at least; not beyond
 * the map's size). False when all is clean from there.
 */
bool dirty_bitmap_next_area(const struct dirty_bitmap *b, uint64_t offset, uint64_t bytes_max,
			    uint64_t *ret_offset, uint64_t *ret_bytes);

/* Set in @target what is set in @source, which is of the same size; granularities may differ. */
void dirty_bitmap_merge(struct dirty_bitmap *target, const struct dirty_bitmap *source);

/* The bits, the first granule's lowest, as *ret_count words. Valid until the map changes its size. */
const uint64_t *dirty_bitmap_words(const struct dirty_bitmap *b, uint64_t *ret_count);

/*
 * The bits as bytes: bit j of byte k stands for granule 8 k + j. Load sets those that are
 * set in the @bytes of @data, for the bytes from @first on; what lies behind the last
 * granule is ignored. Save gives them, and zeroes behind the last. Both @first and
 * @bytes are multiples of 8.
 */
void dirty_bitmap_load(struct dirty_bitmap *b, uint64_t first, const void *data, uint64_t bytes);
void dirty_bitmap_save(const struct dirty_bitmap *b, uint64_t first, void *ret, uint64_t bytes);

/* Change the size; what is new is clean. 0 or -ENOMEM, which changes nothing. */
int dirty_bitmap_resize(struct dirty_bitmap *b, uint64_t size);

#endif
