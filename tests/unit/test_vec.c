/* SPDX-License-Identifier: MIT */
/* base/vec.c: views over scattered memory, with empty pieces and every way to split them. */
#include "base/vec.h"

#include <errno.h>

#include "tests/unit/unit.h"

#define BYTES 40

/* Pieces of 7, 0, 1, 16, 0 and 16 bytes that lie apart in memory. */
static struct iovec pieces[6];
static unsigned char memory[128], flat[BYTES];

static struct vec scattered(void)
{
	static const size_t sizes[] = {7, 0, 1, 16, 0, 16};
	size_t at = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
		pieces[i] = (struct iovec){memory + at, sizes[i]};
		at += sizes[i] + 5;
	}
	memset(memory, 0xee, sizeof(memory));
	for (unsigned i = 0; i < BYTES; i++)
		flat[i] = i + 1;
	return (struct vec){.iov = pieces, .count = ARRAY_SIZE(sizes)};
}

START_TEST(a_view_of_one_piece)
{
	struct iovec storage;
	char text[] = "hello";
	struct vec v = vec_flat(&storage, text, 5);
	ck_assert_ptr_eq(vec_contiguous(v, 5), text);
	ck_assert_ptr_null(vec_contiguous(v, 6));
	v = vec_advance(v, 2);
	ck_assert_ptr_eq(vec_contiguous(v, 3), text + 2);
	ck_assert_ptr_null(vec_contiguous(v, 4));
}
END_TEST

START_TEST(copies_split_at_every_byte)
{
	struct vec v = scattered();
	for (size_t split = 0; split <= BYTES; split++) {
		unsigned char back[BYTES] = {0};
		vec_fill(v, 0, BYTES);
		vec_from_buffer(v, flat, split);
		vec_from_buffer(vec_advance(v, split), flat + split, BYTES - split);
		vec_to_buffer(v, back, split);
		vec_to_buffer(vec_advance(v, split), back + split, BYTES - split);
		ck_assert_mem_eq(back, flat, BYTES);
	}
	/* The gaps between the pieces are untouched. */
	ck_assert_uint_eq(memory[0], 0xee);
	ck_assert_uint_eq(memory[8], 0xee);
	ck_assert_uint_eq(memory[12], 0xee);
}
END_TEST

START_TEST(advancing_in_steps_equals_one_step)
{
	struct vec v = scattered();
	vec_from_buffer(v, flat, BYTES);
	struct vec step = v;
	for (size_t i = 0; i < BYTES; i++) {
		unsigned char a, b;
		vec_to_buffer(step, &a, 1);
		vec_to_buffer(vec_advance(v, i), &b, 1);
		ck_assert_uint_eq(a, i + 1);
		ck_assert_uint_eq(b, i + 1);
		step = vec_advance(step, 1);
	}
}
END_TEST

START_TEST(zero_is_told_from_nonzero_to_the_byte)
{
	struct vec v = scattered();
	vec_fill(v, 0, BYTES);
	ck_assert(vec_is_zero(v, BYTES));
	ck_assert(vec_is_zero(v, 0));
	vec_fill(vec_advance(v, 25), 1, 1);
	ck_assert(!vec_is_zero(v, 26));
	ck_assert(vec_is_zero(v, 25));
	ck_assert(vec_is_zero(vec_advance(v, 26), BYTES - 26));
}
END_TEST

START_TEST(alignment_counts_addresses_and_lengths)
{
	static _Alignas(64) char aligned[256];
	struct iovec iov[] = {{aligned, 64}, {aligned + 128, 64}};
	struct vec v = {.iov = iov, .count = 2};
	ck_assert(vec_is_aligned(v, 128, 64));
	ck_assert(!vec_is_aligned(v, 100, 64));
	ck_assert(!vec_is_aligned(vec_advance(v, 32), 96, 64));
	ck_assert(vec_is_aligned(vec_advance(v, 32), 96, 32));
	iov[1].iov_base = aligned + 129;
	ck_assert(!vec_is_aligned(v, 128, 64));
	ck_assert(vec_is_aligned(v, 64, 64));
}
END_TEST

START_TEST(plain_iovecs_without_empty_ones)
{
	struct vec v = scattered();
	struct iovec out[4];
	ck_assert_int_eq(vec_to_iovecs(v, BYTES, out, 4), 4);
	ck_assert_uint_eq(out[0].iov_len, 7);
	ck_assert_uint_eq(out[1].iov_len, 1);
	ck_assert_ptr_eq(out[2].iov_base, pieces[3].iov_base);
	ck_assert_int_eq(vec_to_iovecs(v, BYTES, out, 3), -EINVAL);
	ck_assert_int_eq(vec_to_iovecs(v, 0, out, 0), 0);
	ck_assert_int_eq(vec_to_iovecs(vec_advance(v, 5), 3, out, 4), 2);
	ck_assert_uint_eq(out[0].iov_len, 2);
	ck_assert_uint_eq(out[1].iov_len, 1);
	/* A skip that reaches over several pieces without vec_advance(). */
	v.skip = 24;
	ck_assert_int_eq(vec_to_iovecs(v, 16, out, 4), 1);
	ck_assert_ptr_eq(out[0].iov_base, pieces[5].iov_base);
}
END_TEST

START_TEST(a_view_that_is_too_short_aborts)
{
	struct vec v = scattered();
	vec_fill(v, 0, BYTES + 1);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(a_view_of_one_piece),
	UNIT_TEST(copies_split_at_every_byte),
	UNIT_TEST(advancing_in_steps_equals_one_step),
	UNIT_TEST(zero_is_told_from_nonzero_to_the_byte),
	UNIT_TEST(alignment_counts_addresses_and_lengths),
	UNIT_TEST(plain_iovecs_without_empty_ones),
	UNIT_TEST_ABORTS(a_view_that_is_too_short_aborts),
};

UNIT_MAIN("vec", tests)
