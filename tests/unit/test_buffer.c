/* SPDX-License-Identifier: MIT */
/*
 * The pool of aligned buffers: alignment, reuse, its bound, odd sizes.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/loop.h"

static struct loop *loop;

static void set_up(void)
{
	loop = loop_new_sim(1);
}

static void tear_down(void)
{
	loop_free(loop);
}

START_TEST(every_size_is_aligned_and_writable)
{
	static const size_t sizes[] = {1, 511, 4095, 4096, 4097, 65536, 65537, 1 << 20,
				       (4 << 20) - 1, 4 << 20, (4 << 20) + 1, 9 << 20,
				       32 << 20, (32 << 20) + 1, 40 << 20};
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *p = buffer_get(loop, sizes[i]);
		ck_assert_ptr_nonnull(p);
		ck_assert_uint_eq((uintptr_t)p % BUFFER_ALIGNMENT, 0);
		memset(p, 0x5a, sizes[i]);
		buffer_put(loop, p, sizes[i]);
	}
}
END_TEST

START_TEST(a_freed_buffer_serves_the_next_of_its_class)
{
	void *a = buffer_get(loop, 5000);
	void *b = buffer_get(loop, 5000);
	ck_assert_ptr_ne(a, b);
	buffer_put(loop, a, 5000);
	/* 8192 rounds to the same class, 4096 does not. */
	void *other = buffer_get(loop, 4096);
	ck_assert_ptr_ne(other, a);
	ck_assert_ptr_eq(buffer_get(loop, 8192), a);
	buffer_put(loop, a, 8192);
	buffer_put(loop, b, 5000);
	buffer_put(loop, other, 4096);
}
END_TEST

START_TEST(the_pool_keeps_a_bounded_amount)
{
	enum { COUNT = 80, KEPT = 64, BYTES = 1 << 20 };
	void *p[COUNT];
	for (int i = 0; i < COUNT; i++)
		p[i] = buffer_get(loop, BYTES);
	for (int i = 0; i < COUNT; i++)
		buffer_put(loop, p[i], BYTES);
	/* Those that fit into 64 MiB come back, the last first; the rest is the system's. */
	int kept = 0;
	void *again[KEPT];
	for (int i = 0; i < KEPT; i++) {
		again[i] = buffer_get(loop, BYTES);
		kept += again[i] == p[KEPT - 1 - i];
	}
	ck_assert_int_eq(kept, KEPT);
	for (int i = 0; i < KEPT; i++)
		buffer_put(loop, again[i], BYTES);
}
END_TEST

/* In an order that empties and fills the pieces of many slabs; each buffer has its own bytes. */
START_TEST(many_buffers_do_not_touch_each_other)
{
	enum { COUNT = 3000 };
	static unsigned char *p[COUNT];
	static size_t sizes[COUNT];
	unsigned state = 1;
	for (int step = 0; step < 20000; step++) {
		state = state * 1103515245 + 12345;
		int i = (int)(state >> 16) % COUNT;
		if (p[i]) {
			ck_assert_uint_eq(p[i][0], i & 255);
			ck_assert_uint_eq(p[i][sizes[i] - 1], i >> 8);
			buffer_put(loop, p[i], sizes[i]);
			p[i] = NULL;
			continue;
		}
		sizes[i] = (size_t)2 << (state >> 8) % 18;
		p[i] = buffer_get(loop, sizes[i]);
		ck_assert_ptr_nonnull(p[i]);
		p[i][0] = i & 255;
		p[i][sizes[i] - 1] = i >> 8;
	}
	for (int i = 0; i < COUNT; i++)
		buffer_put(loop, p[i], sizes[i]);
}
END_TEST

START_TEST(null_may_be_put)
{
	buffer_put(loop, NULL, 1);
}
END_TEST

START_TEST(absurd_sizes_give_null)
{
	ck_assert_ptr_null(buffer_get(loop, SIZE_MAX / 2));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("buffer");
	TCase *tc = tcase_create("pool");
	tcase_add_checked_fixture(tc, set_up, tear_down);
	tcase_add_test(tc, every_size_is_aligned_and_writable);
	tcase_add_test(tc, a_freed_buffer_serves_the_next_of_its_class);
	tcase_add_test(tc, the_pool_keeps_a_bounded_amount);
	tcase_add_test(tc, many_buffers_do_not_touch_each_other);
	tcase_add_test(tc, null_may_be_put);
	tcase_add_test(tc, absurd_sizes_give_null);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
