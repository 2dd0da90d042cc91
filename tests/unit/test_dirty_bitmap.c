/* SPDX-License-Identifier: MIT */
/* block/dirty_bitmap.c: against a plain array of bools, at sizes around each level's edges. */
#include "block/dirty_bitmap.h"

#include "base/util.h"
#include "tests/unit/unit.h"

#define G 512 /* granularity in these tests */

static uint64_t random_state;

static uint64_t random_below(uint64_t n)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return (random_state >> 20) % n;
}

/* Compare everything that can be asked with @model, one bool for each granule. */
static void check(const struct dirty_bitmap *b, const bool *model, uint64_t granules, uint64_t size)
{
	uint64_t bytes = 0;
	for (uint64_t i = 0; i < granules; i++) {
		ck_assert_int_eq(dirty_bitmap_get(b, i * G), model[i]);
		if (model[i])
			bytes += MIN(G, size - i * G);
	}
	ck_assert_uint_eq(dirty_bitmap_count(b), bytes);

	/* Areas without a limit are the runs. */
	uint64_t offset = 0, start, length;
	for (uint64_t i = 0; i < granules;) {
		if (!model[i]) {
			i++;
			continue;
		}
		uint64_t end = i;
		while (end < granules && model[end])
			end++;
		ck_assert(dirty_bitmap_next_area(b, offset, UINT64_MAX, &start, &length));
		ck_assert_uint_eq(start, i * G);
		ck_assert_uint_eq(start + length, MIN(end * G, size));
		offset = start + length;
		i = end;
	}
	ck_assert(!dirty_bitmap_next_area(b, offset, UINT64_MAX, &start, &length));
}

static void model_change(bool *model, uint64_t size, uint64_t offset, uint64_t bytes, bool dirty)
{
	uint64_t end = MIN(offset + bytes, size);
	for (uint64_t i = 0; i * G < size; i++) {
		uint64_t granule_end = MIN((i + 1) * G, size);
		if (dirty ? offset < granule_end && i * G < end
			  : offset <= i * G && granule_end <= end && offset < end)
			model[i] = dirty;
	}
}

static void try_size(uint64_t size)
{
	struct dirty_bitmap *b = dirty_bitmap_create(size, G);
	uint64_t granules = div_round_up(size, G);
	bool *model = xalloc(granules + 1, sizeof(bool));
	check(b, model, granules, size);
	for (int i = 0; i < 60; i++) {
		uint64_t offset = random_below(size + 1), bytes = random_below(size + 700);
		if (random_below(2))
			bytes = random_below(3 * G);
		bool dirty = random_below(3) > 0;
		if (dirty)
			dirty_bitmap_set(b, offset, bytes);
		else
			dirty_bitmap_clear(b, offset, bytes);
		if (bytes > 0)
			model_change(model, size, offset, bytes, dirty);
		check(b, model, granules, size);
	}
	free(model);
	dirty_bitmap_destroy(b);
}

START_TEST(equals_an_array_of_bools)
{
	static const uint64_t granules[] = {1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 5000};
	random_state = 7;
	for (unsigned i = 0; i < ARRAY_SIZE(granules); i++) {
		try_size(granules[i] * G);
		try_size(granules[i] * G - 1);
		try_size(granules[i] * G - 511);
	}
}
END_TEST

START_TEST(empty_map_is_clean)
{
	struct dirty_bitmap *b = dirty_bitmap_create(0, G);
	uint64_t offset, bytes;
	dirty_bitmap_set(b, 0, 100);
	dirty_bitmap_clear(b, 0, 100);
	ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	ck_assert(!dirty_bitmap_get(b, 0));
	ck_assert(!dirty_bitmap_next_area(b, 0, 100, &offset, &bytes));
	dirty_bitmap_destroy(b);
	dirty_bitmap_destroy(NULL);
}
END_TEST

START_TEST(area_is_cut_to_the_limit)
{
	struct dirty_bitmap *b = dirty_bitmap_create(1 << 20, 65536);
	uint64_t offset, bytes;
	dirty_bitmap_set(b, 100000, 500000);
	ck_assert(dirty_bitmap_next_area(b, 0, 131072, &offset, &bytes));
	ck_assert_uint_eq(offset, 65536);
	ck_assert_uint_eq(bytes, 131072);
	/* A limit below a granule gives a whole one; an offset inside an area cuts it. */
	ck_assert(dirty_bitmap_next_area(b, 196608 + 5, 1, &offset, &bytes));
	ck_assert_uint_eq(offset, 196608 + 5);
	ck_assert_uint_eq(bytes, 65536 - 5);
	dirty_bitmap_destroy(b);
}
END_TEST

START_TEST(huge_map_is_fast)
{
	/* 8 TiB at 64 KiB: 128 Mi bits. */
	const uint64_t size = UINT64_C(8) << 40;
	struct dirty_bitmap *b = dirty_bitmap_create(size, 65536);
	uint64_t offset = 0, start, bytes;
	for (uint64_t i = 0; i < 1000; i++)
		dirty_bitmap_set(b, i * (size / 1000), 1);
	ck_assert_uint_eq(dirty_bitmap_count(b), 1000 * 65536);
	for (int round = 0; round < 1000; round++) {
		unsigned found = 0;
		for (offset = 0; dirty_bitmap_next_area(b, offset, 65536, &start, &bytes);
		     offset = start + bytes)
			found++;
		ck_assert_uint_eq(found, 1000);
	}
	struct dirty_bitmap *other = dirty_bitmap_create(size, 65536);
	dirty_bitmap_set(other, size / 2, size);
	for (int round = 0; round < 20; round++) {
		dirty_bitmap_merge(b, other);
		dirty_bitmap_merge(other, b);
	}
	ck_assert_uint_eq(dirty_bitmap_count(b), size / 2 + 501 * 65536);
	ck_assert_uint_eq(dirty_bitmap_count(other), dirty_bitmap_count(b));
	dirty_bitmap_destroy(other);
	dirty_bitmap_set(b, 0, UINT64_MAX);
	ck_assert_uint_eq(dirty_bitmap_count(b), size);
	dirty_bitmap_clear(b, 0, UINT64_MAX);
	ck_assert_uint_eq(dirty_bitmap_count(b), 0);
	ck_assert(!dirty_bitmap_next_area(b, 0, 1, &start, &bytes));
	dirty_bitmap_destroy(b);
}
END_TEST

START_TEST(resize_keeps_what_fits)
{
	random_state = 11;
	for (int i = 0; i < 200; i++) {
		uint64_t size = 1 + random_below(300 * G), other = 1 + random_below(300 * G);
		uint64_t granules = div_round_up(size, G);
		struct dirty_bitmap *b = dirty_bitmap_create(size, G);
		bool *model = xalloc(2 * 300, sizeof(bool));
		for (int n = 0; n < 8; n++) {
			uint64_t offset = random_below(size);
			uint64_t bytes = 1 + random_below(20 * G);
			dirty_bitmap_set(b, offset, bytes);
			model_change(model, size, offset, bytes, true);
		}
		check(b, model, granules, size);
		ck_assert_int_eq(dirty_bitmap_resize(b, other), 0);
		ck_assert_uint_eq(dirty_bitmap_size(b), other);
		ck_assert_uint_eq(dirty_bitmap_granularity(b), G);
		check(b, model, div_round_up(other, G), other);
		free(model);
		dirty_bitmap_destroy(b);
	}
}
END_TEST

/* A map of @size bytes with random runs in it. */
static struct dirty_bitmap *random_map(uint64_t size, uint32_t granularity)
{
	struct dirty_bitmap *b = dirty_bitmap_create(size, granularity);
	for (uint64_t n = random_below(12); n > 0; n--)
		dirty_bitmap_set(b, random_below(size), 1 + random_below(size / 8));
	return b;
}

START_TEST(merge_is_the_union)
{
	random_state = 5;
	for (int i = 0; i < 300; i++) {
		uint64_t size = 8 + random_below(i % 3 == 0 ? 100 * G : 10000 * G);
		uint32_t granularity = (uint32_t)G << random_below(8);
		uint32_t other = i % 2 == 0 ? granularity : (uint32_t)G << random_below(8);
		struct dirty_bitmap *target = random_map(size, granularity);
		struct dirty_bitmap *source = random_map(size, other);
		struct dirty_bitmap *old = dirty_bitmap_clone(target);
		dirty_bitmap_merge(target, source);
		uint64_t count = 0;
		for (uint64_t offset = 0; offset < size; offset += granularity) {
			uint64_t end = MIN(offset + granularity, size), start, bytes;
			bool dirty = dirty_bitmap_get(old, offset) ||
				     (dirty_bitmap_next_area(source, offset, UINT64_MAX, &start,
							     &bytes) &&
				      start < end);
			ck_assert_int_eq(dirty_bitmap_get(target, offset), dirty);
			count += dirty ? end - offset : 0;
		}
		ck_assert_uint_eq(dirty_bitmap_count(target), count);
		/* The summaries are true: what is there is found, and cleared it is gone. */
		uint64_t offset = 0, bytes, found = 0;
		while (dirty_bitmap_next_area(target, offset, UINT64_MAX, &offset, &bytes)) {
			found += bytes;
			dirty_bitmap_clear(target, offset, bytes);
			offset += bytes;
		}
		ck_assert_uint_eq(found, count);
		ck_assert_uint_eq(dirty_bitmap_count(target), 0);
		dirty_bitmap_destroy(target);
		dirty_bitmap_destroy(source);
		dirty_bitmap_destroy(old);
	}
}
END_TEST

START_TEST(words_are_the_bits)
{
	struct dirty_bitmap *b = dirty_bitmap_create(100 * G, G);
	uint64_t count;
	dirty_bitmap_set(b, 0, 1);
	dirty_bitmap_set(b, 65 * G, 2 * G);
	const uint64_t *words = dirty_bitmap_words(b, &count);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(words[0], 1);
	ck_assert_uint_eq(words[1], 6);
	dirty_bitmap_merge(b, b);
	ck_assert_uint_eq(dirty_bitmap_count(b), 3 * G);
	dirty_bitmap_destroy(b);
}
END_TEST

START_TEST(bytes_are_the_bits_and_no_more)
{
	random_state = 3;
	for (int i = 0; i < 200; i++) {
		uint64_t size = 1 + random_below(2000 * G);
		struct dirty_bitmap *b = random_map(size, G);
		struct dirty_bitmap *copy = dirty_bitmap_create(size, G);
		unsigned char bytes[64];
		for (uint64_t first = 0; first * 8 * G < size; first += sizeof(bytes)) {
			dirty_bitmap_save(b, first, bytes, sizeof(bytes));
			for (uint64_t bit = 0; bit < sizeof(bytes) * 8; bit++)
				ck_assert_int_eq(bytes[bit / 8] >> (bit % 8) & 1,
						 dirty_bitmap_get(b, (first * 8 + bit) * G));
			dirty_bitmap_load(copy, first, bytes, sizeof(bytes));
		}
		ck_assert_uint_eq(dirty_bitmap_count(copy), dirty_bitmap_count(b));
		/* The summaries of the loaded one are true, and what lies behind is ignored. */
		memset(bytes, 0xff, sizeof(bytes));
		dirty_bitmap_load(copy, align_down(size / G / 8, 8), bytes, sizeof(bytes));
		ck_assert(dirty_bitmap_get(copy, size - 1));
		uint64_t offset = 0, length, found = 0;
		while (dirty_bitmap_next_area(copy, offset, UINT64_MAX, &offset, &length)) {
			found += length;
			offset += length;
		}
		ck_assert_uint_eq(found, dirty_bitmap_count(copy));
		dirty_bitmap_destroy(b);
		dirty_bitmap_destroy(copy);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(equals_an_array_of_bools),
	UNIT_TEST(empty_map_is_clean),
	UNIT_TEST(area_is_cut_to_the_limit),
	UNIT_TEST(huge_map_is_fast),
	UNIT_TEST(resize_keeps_what_fits),
	UNIT_TEST(merge_is_the_union),
	UNIT_TEST(words_are_the_bits),
	UNIT_TEST(bytes_are_the_bits_and_no_more),
};

UNIT_MAIN("dirty_bitmap", tests)
