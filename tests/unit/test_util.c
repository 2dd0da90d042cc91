/* SPDX-License-Identifier: MIT */
/* base/util.[ch], list.h and cleanup.h: arithmetic, allocation, strings, lists. */
#include "base/util.h"

#include "base/cleanup.h"
#include "base/list.h"
#include "tests/unit/unit.h"

START_TEST(rounding_to_powers_of_two)
{
	ck_assert_uint_eq(align_down(4097, 4096), 4096);
	ck_assert_uint_eq(align_down(4095, 4096), 0);
	ck_assert_uint_eq(align_up(1, 512), 512);
	ck_assert_uint_eq(align_up(512, 512), 512);
	ck_assert_uint_eq(align_up(0, 512), 0);
	ck_assert(is_aligned(0, 4096));
	ck_assert(!is_aligned(4095, 4096));
	ck_assert(is_power_of_2(UINT64_C(1) << 63));
	ck_assert(!is_power_of_2(0));
	ck_assert(!is_power_of_2(12));
	ck_assert_uint_eq(div_round_up(0, 3), 0);
	ck_assert_uint_eq(div_round_up(4, 3), 2);
	ck_assert_uint_eq(div_round_up(UINT64_MAX, 1), UINT64_MAX);
}
END_TEST

START_TEST(overflow_is_seen_in_the_type_of_the_result)
{
	uint64_t wide;
	uint32_t narrow;
	ck_assert(add_overflows(UINT64_MAX, 1, &wide));
	ck_assert(!add_overflows(UINT64_MAX - 1, 1, &wide));
	ck_assert(mul_overflows(UINT64_C(1) << 32, UINT64_C(1) << 32, &wide));
	ck_assert(mul_overflows(65536, 65536, &narrow));
	ck_assert(!mul_overflows(65536, 65535, &narrow));
}
END_TEST

START_TEST(allocation_is_zeroed_and_checked)
{
	unsigned char *p = xalloc(100, 10);
	ck_assert(buffer_is_zero(p, 1000));
	p = xrealloc(p, 10, 10);
	free(p);
	free(xalloc(0, 8));
	free(xrealloc(NULL, 0, 8));
}
END_TEST

START_TEST(a_product_that_overflows_aborts)
{
	free(xrealloc(NULL, SIZE_MAX / 2, 3));
}
END_TEST

START_TEST(copies_and_formatted_strings)
{
	ck_assert_ptr_null(xstrdup(NULL));
	_cleanup_free_ char *s = xstrdup("text");
	ck_assert_str_eq(s, "text");
	_cleanup_free_ char *f = xasprintf("%s-%d", s, 5);
	ck_assert_str_eq(f, "text-5");
	_cleanup_free_ char *m = xmemdup("ab", 3);
	ck_assert_str_eq(m, "ab");
	free(xmemdup(NULL, 0));

	char *given = xstrdup("given");
	char *taken = TAKE(given);
	ck_assert_ptr_null(given);
	free(taken);
}
END_TEST

START_TEST(strings_compare_with_null)
{
	ck_assert(string_equal(NULL, NULL));
	ck_assert(!string_equal(NULL, ""));
	ck_assert(!string_equal("a", NULL));
	ck_assert(string_equal("a", "a"));
	ck_assert(!string_equal("a", "b"));
	ck_assert(string_starts_with("json:{}", "json:"));
	ck_assert(string_starts_with("x", ""));
	ck_assert(!string_starts_with("js", "json:"));
}
END_TEST

START_TEST(one_bit_anywhere_is_not_zero)
{
	static unsigned char buffer[300];
	ck_assert(buffer_is_zero(buffer, 0));
	for (size_t size = 1; size <= 70; size++) {
		for (size_t start = 0; start < 9; start++) {
			ck_assert(buffer_is_zero(buffer + start, size));
			for (size_t i = 0; i < size; i++) {
				buffer[start + i] = 0x80;
				ck_assert(!buffer_is_zero(buffer + start, size));
				buffer[start + i] = 0;
			}
			/* Bytes outside do not count. */
			buffer[start + size] = 1;
			ck_assert(buffer_is_zero(buffer + start, size));
			buffer[start + size] = 0;
		}
	}
}
END_TEST

struct item {
	int n;
	struct list link;
};

START_TEST(lists_keep_order)
{
	struct list a = LIST_INIT(a), b = LIST_INIT(b);
	struct item items[4];
	for (int i = 0; i < 4; i++) {
		items[i].n = i;
		list_init(&items[i].link);
		ck_assert(!list_is_linked(&items[i].link));
	}
	ck_assert_ptr_null(list_first(&a, struct item, link));
	list_add_tail(&a, &items[1].link);
	list_add_head(&a, &items[0].link);
	list_add_tail(&b, &items[2].link);
	list_add_tail(&b, &items[3].link);
	list_splice_tail(&a, &b);
	ck_assert(list_is_empty(&b));
	list_splice_tail(&a, &b);

	int n = 0;
	struct item *item, *following;
	list_for_each(item, &a, link)
		ck_assert_int_eq(item->n, n++);
	ck_assert_int_eq(n, 4);
	ck_assert_int_eq(list_last(&a, struct item, link)->n, 3);

	list_for_each_safe(item, following, &a, link) {
		list_del_init(&item->link);
		list_del_init(&item->link);
	}
	ck_assert(list_is_empty(&a));
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(rounding_to_powers_of_two),
	UNIT_TEST(overflow_is_seen_in_the_type_of_the_result),
	UNIT_TEST(allocation_is_zeroed_and_checked),
	UNIT_TEST_ABORTS(a_product_that_overflows_aborts),
	UNIT_TEST(copies_and_formatted_strings),
	UNIT_TEST(strings_compare_with_null),
	UNIT_TEST(one_bit_anywhere_is_not_zero),
	UNIT_TEST(lists_keep_order),
};

UNIT_MAIN("util", tests)
