/* SPDX-License-Identifier: MIT */
/*
 * Dirty bitmaps. Invariants:
 *
 * 1. Bit i of level 0 stands for the granule i; bit i of level n + 1 is set
 *    exactly when word i of level n is not 0.
 * 2. Bits from granules on, in the last word of level 0, are 0.
 * 3. dirty_granules is the number of bits set in level 0.
 */
#include "block/dirty_bitmap.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define WORD_BITS 64
#define WORD_SHIFT 6
/* 64^11 > 2^63 granules. */
#define LEVELS_MAX 11

struct dirty_bitmap {
	uint64_t size; /* bytes */
	unsigned shift; /* of the granularity */
	uint64_t granules;
	uint64_t dirty_granules;
	unsigned level_count;
	uint64_t *levels[LEVELS_MAX]; /* [0] is the bits; the last has one word */
	uint64_t words[LEVELS_MAX];
};

static void free_levels(uint64_t **levels)
{
	for (unsigned i = 0; i < LEVELS_MAX; i++)
		free(levels[i]);
}

/* Zeroed levels for @granules bits; 0 or -ENOMEM. */
static int make_levels(uint64_t granules, uint64_t **levels, uint64_t *words, unsigned *ret_count)
{
	memset(levels, 0, LEVELS_MAX * sizeof(levels[0]));
	memset(words, 0, LEVELS_MAX * sizeof(words[0]));
	uint64_t bits = MAX(granules, 1);
	unsigned count = 0;
	do {
		words[count] = div_round_up(bits, WORD_BITS);
		levels[count] = calloc(words[count], sizeof(uint64_t));
		if (!levels[count]) {
			free_levels(levels);
			return -ENOMEM;
		}
		bits = words[count++];
	} while (bits > 1);
	*ret_count = count;
	return 0;
}

struct dirty_bitmap *dirty_bitmap_create(uint64_t size, uint32_t granularity)
{
	assert(is_power_of_2(granularity) && granularity >= DIRTY_BITMAP_GRANULARITY_MIN &&
	       granularity <= DIRTY_BITMAP_GRANULARITY_MAX);
	struct dirty_bitmap *b = NEW(struct dirty_bitmap);
	b->shift = (unsigned)__builtin_ctz(granularity);
	b->size = size;
	b->granules = div_round_up(size, granularity);
	if (make_levels(b->granules, b->levels, b->words, &b->level_count) < 0) {
		free(b);
		return NULL;
	}
	return b;
}

struct dirty_bitmap *dirty_bitmap_clone(const struct dirty_bitmap *b)
{
	struct dirty_bitmap *clone = dirty_bitmap_create(b->size, UINT32_C(1) << b->shift);
	if (clone)
		dirty_bitmap_merge(clone, b);
	return clone;
}

void dirty_bitmap_destroy(struct dirty_bitmap *b)
{
	if (!b)
		return;
	free_levels(b->levels);
	free(b);
}

uint64_t dirty_bitmap_size(const struct dirty_bitmap *b)
{
	return b->size;
}

uint32_t dirty_bitmap_granularity(const struct dirty_bitmap *b)
{
	return UINT32_C(1) << b->shift;
}

static bool granule_is_dirty(const struct dirty_bitmap *b, uint64_t granule)
{
	return b->levels[0][granule >> WORD_SHIFT] >> (granule % WORD_BITS) & 1;
}

uint64_t dirty_bitmap_count(const struct dirty_bitmap *b)
{
	uint64_t bytes = b->dirty_granules << b->shift;
	if (b->granules > 0 && granule_is_dirty(b, b->granules - 1))
		bytes -= (b->granules << b->shift) - b->size;
	return bytes;
}

/* Bits first to last of a word, both included. */
static uint64_t word_mask(unsigned first, unsigned last)
{
	return ~UINT64_C(0) >> (WORD_BITS - 1 - last) & ~UINT64_C(0) << first;
}

/* Make the summaries of the words first to last of level 0 true again. */
static void update_summaries(struct dirty_bitmap *b, uint64_t first, uint64_t last)
{
	for (unsigned level = 1; level < b->level_count; level++) {
		const uint64_t *below = b->levels[level - 1];
		uint64_t *above = b->levels[level];
		for (uint64_t i = first; i <= last; i++) {
			uint64_t bit = UINT64_C(1) << (i % WORD_BITS);
			if (below[i] != 0)
				above[i >> WORD_SHIFT] |= bit;
			else
				above[i >> WORD_SHIFT] &= ~bit;
		}
		first >>= WORD_SHIFT;
		last >>= WORD_SHIFT;
	}
}

/* Set or clear the granules first to last, both included. */
static void change(struct dirty_bitmap *b, uint64_t first, uint64_t last, bool dirty)
{
	uint64_t first_word = first >> WORD_SHIFT, last_word = last >> WORD_SHIFT;
	bool changed = false;
	for (uint64_t i = first_word; i <= last_word; i++) {
		uint64_t mask = word_mask(i == first_word ? first % WORD_BITS : 0,
					  i == last_word ? last % WORD_BITS : WORD_BITS - 1);
		uint64_t old = b->levels[0][i];
		uint64_t new = dirty ? old | mask : old & ~mask;
		if (new == old)
			continue;
		b->levels[0][i] = new;
		b->dirty_granules += (uint64_t)__builtin_popcountll(new);
		b->dirty_granules -= (uint64_t)__builtin_popcountll(old);
		changed = true;
	}
	if (changed)
		update_summaries(b, first_word, last_word);
}

/* The end of the range, cut off at the map's size. */
static uint64_t range_end(const struct dirty_bitmap *b, uint64_t offset, uint64_t bytes)
{
	uint64_t end;
	return add_overflows(offset, bytes, &end) ? b->size : MIN(end, b->size);
}

void dirty_bitmap_set(struct dirty_bitmap *b, uint64_t offset, uint64_t bytes)
{
	uint64_t end = range_end(b, offset, bytes);
	if (offset < end)
		change(b, offset >> b->shift, (end - 1) >> b->shift, true);
}

void dirty_bitmap_clear(struct dirty_bitmap *b, uint64_t offset, uint64_t bytes)
{
	uint64_t end = range_end(b, offset, bytes);
	if (offset >= end)
		return;
	uint64_t first = (offset + (UINT64_C(1) << b->shift) - 1) >> b->shift;
	uint64_t behind = end == b->size ? b->granules : end >> b->shift;
	if (first < behind)
		change(b, first, behind - 1, false);
}

bool dirty_bitmap_get(const struct dirty_bitmap *b, uint64_t offset)
{
	return offset < b->size && granule_is_dirty(b, offset >> b->shift);
}

/* The first dirty granule from @granule on, or b->granules. */
static uint64_t next_dirty(const struct dirty_bitmap *b, uint64_t granule)
{
	uint64_t index = granule;
	unsigned level = 0;
	for (;;) {
		uint64_t word = index >> WORD_SHIFT;
		if (word >= b->words[level])
			return b->granules;
		uint64_t rest = b->levels[level][word] & ~UINT64_C(0) << (index % WORD_BITS);
		if (rest != 0) {
			index = (word << WORD_SHIFT) + (uint64_t)__builtin_ctzll(rest);
			break;
		}
		if (++level == b->level_count)
			return b->granules;
		index = word + 1;
	}
	while (level-- > 0)
		index = (index << WORD_SHIFT) + (uint64_t)__builtin_ctzll(b->levels[level][index]);
	return index;
}

/* The first clean granule from @granule on, but not beyond @limit. */
static uint64_t next_clean(const struct dirty_bitmap *b, uint64_t granule, uint64_t limit)
{
	while (granule < limit) {
		uint64_t rest = ~b->levels[0][granule >> WORD_SHIFT] & ~UINT64_C(0)
								       << (granule % WORD_BITS);
		granule = align_down(granule, WORD_BITS);
		if (rest != 0)
			return MIN(granule + (uint64_t)__builtin_ctzll(rest), limit);
		granule += WORD_BITS;
	}
	return limit;
}

bool dirty_bitmap_next_area(const struct dirty_bitmap *b, uint64_t offset, uint64_t bytes_max,
			    uint64_t *ret_offset, uint64_t *ret_bytes)
{
	if (offset >= b->size || b->dirty_granules == 0)
		return false;
	uint64_t first = next_dirty(b, offset >> b->shift);
	if (first >= b->granules)
		return false;
	uint64_t count = MAX(bytes_max >> b->shift, 1);
	uint64_t behind = next_clean(b, first, count < b->granules - first ? first + count : b->granules);
	*ret_offset = MAX(offset, first << b->shift);
	*ret_bytes = MIN(behind << b->shift, b->size) - *ret_offset;
	return true;
}

static void merge_word(struct dirty_bitmap *target, const struct dirty_bitmap *source, uint64_t i)
{
	uint64_t added = source->levels[0][i] & ~target->levels[0][i];
	target->levels[0][i] |= added;
	target->dirty_granules += (uint64_t)__builtin_popcountll(added);
}

static void merge_alike(struct dirty_bitmap *target, const struct dirty_bitmap *source)
{
	if (source->level_count == 1) {
		merge_word(target, source, 0);
		return;
	}
	/* Only words that have something, so that the cost is that of what is dirty. */
	for (uint64_t i = 0; i < source->words[1]; i++) {
		for (uint64_t left = source->levels[1][i]; left != 0; left &= left - 1)
			merge_word(target, source,
				   (i << WORD_SHIFT) + (uint64_t)__builtin_ctzll(left));
	}
	/* What is set in either is set in both together. */
	for (unsigned level = 1; level < source->level_count; level++) {
		for (uint64_t i = 0; i < source->words[level]; i++)
			target->levels[level][i] |= source->levels[level][i];
	}
}

void dirty_bitmap_merge(struct dirty_bitmap *target, const struct dirty_bitmap *source)
{
	assert(target->size == source->size);
	if (target == source)
		return;
	if (target->shift == source->shift) {
		merge_alike(target, source);
		return;
	}
	uint64_t offset = 0, bytes;
	while (dirty_bitmap_next_area(source, offset, UINT64_MAX, &offset, &bytes)) {
		dirty_bitmap_set(target, offset, bytes);
		offset += bytes;
	}
}

const uint64_t *dirty_bitmap_words(const struct dirty_bitmap *b, uint64_t *ret_count)
{
	*ret_count = b->words[0];
	return b->levels[0];
}

/* The bits of word @i that stand for granules. */
static uint64_t word_bits(const struct dirty_bitmap *b, uint64_t i)
{
	uint64_t left = b->granules - i * WORD_BITS;
	return left >= WORD_BITS ? ~UINT64_C(0) : (UINT64_C(1) << left) - 1;
}

void dirty_bitmap_load(struct dirty_bitmap *b, uint64_t first, const void *data, uint64_t bytes)
{
	uint64_t first_word = first / sizeof(uint64_t);
	uint64_t end = MIN(first_word + bytes / sizeof(uint64_t),
			   div_round_up(b->granules, WORD_BITS));
	if (first_word >= end)
		return;
	for (uint64_t i = first_word; i < end; i++) {
		uint64_t word;
		memcpy(&word, (const char *)data + (i - first_word) * sizeof(word), sizeof(word));
		uint64_t added = le64toh(word) & word_bits(b, i) & ~b->levels[0][i];
		b->levels[0][i] |= added;
		b->dirty_granules += (uint64_t)__builtin_popcountll(added);
	}
	update_summaries(b, first_word, end - 1);
}

void dirty_bitmap_save(const struct dirty_bitmap *b, uint64_t first, void *ret, uint64_t bytes)
{
	uint64_t first_word = first / sizeof(uint64_t);
	for (uint64_t i = 0; i < bytes / sizeof(uint64_t); i++) {
		uint64_t word = first_word + i < b->words[0] ? b->levels[0][first_word + i] : 0;
		word = htole64(word);
		memcpy((char *)ret + i * sizeof(word), &word, sizeof(word));
	}
}

int dirty_bitmap_resize(struct dirty_bitmap *b, uint64_t size)
{
	struct dirty_bitmap new = {.size = size, .shift = b->shift};
	new.granules = div_round_up(size, UINT64_C(1) << b->shift);
	if (make_levels(new.granules, new.levels, new.words, &new.level_count) < 0)
		return -ENOMEM;
	uint64_t keep = MIN(b->granules, new.granules);
	for (uint64_t first = next_dirty(b, 0); first < keep;) {
		uint64_t behind = next_clean(b, first, keep);
		change(&new, first, behind - 1, true);
		first = behind < b->granules ? next_dirty(b, behind) : keep;
	}
	free_levels(b->levels);
	*b = new;
	return 0;
}
