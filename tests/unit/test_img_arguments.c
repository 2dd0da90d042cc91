/* SPDX-License-Identifier: MIT */
/* tools/img/arguments.c, creation.c and say.c: arguments, sizes, cache modes. */
#include "tools/img/arguments.h"

#include "base/util.h"
#include "tests/unit/unit.h"
#include "tools/img/creation.h"
#include "tools/img/img.h"

struct values {
	bool flag, other, json;
	const char *text;
	char *words;
	int64_t size, count;
	struct img_cache cache;
	struct img_steps steps;
};

/* Read @arguments, up to a NULL, after the name of a command. */
static int read_arguments(struct values *v, bool last_is_word, char **arguments, char ***ret_words,
			  int *ret_count)
{
	const struct img_argument table[] = {
		IMG_FLAG("flag", 'x', &v->flag),
		IMG_FLAG(NULL, 'y', &v->other),
		IMG_TEXT("text", 't', &v->text),
		IMG_WORDS("words", 'o', &v->words),
		IMG_OUTPUT("output", 0, &v->json),
		IMG_SIZE("size", 's', &v->size, "size"),
		IMG_COUNT("count", 'c', &v->count, "count"),
		IMG_CACHE("cache", 'T', &v->cache, "cache"),
		IMG_STEP("add", &v->steps),
		IMG_STEP_ON("merge", &v->steps),
		IMG_ARGUMENTS_END,
	};
	char *argv[24] = {"create"};
	int argc = 1;

	while (arguments[argc - 1]) {
		argv[argc] = arguments[argc - 1];
		argc++;
	}
	/* getopt_long(3) sorts what it is given. */
	static char *sorted[24];
	memcpy(sorted, argv, sizeof(sorted));
	return img_arguments(argc, sorted, table, last_is_word, ret_words, ret_count);
}

#define READ(v, ...) read_arguments(v, false, (char *[]){__VA_ARGS__, NULL}, &words, &count)

START_TEST(values_go_where_the_table_says)
{
	struct values v = {0};
	char **words;
	int count;

	ck_assert_int_eq(READ(&v, "-xy", "file", "--text=a", "-t", "b", "-o", "k=1", "-o", "l=2",
			      "--output", "json", "-s", "1.5k", "-c", "7", "-T", "directsync"), 0);
	ck_assert(v.flag && v.other && v.json);
	ck_assert_str_eq(v.text, "b");
	ck_assert_str_eq(v.words, "k=1,l=2");
	ck_assert_int_eq(v.size, 1536);
	ck_assert_int_eq(v.count, 7);
	ck_assert(v.cache.direct && v.cache.writethrough && !v.cache.no_flush);
	ck_assert_int_eq(count, 1);
	ck_assert_str_eq(words[0], "file");
	free(v.words);
}
END_TEST

START_TEST(steps_keep_their_order)
{
	struct values v = {0};
	char **words;
	int count;

	ck_assert_int_eq(READ(&v, "--merge", "a", "--add", "--merge=b", "name"), 0);
	ck_assert_uint_eq(v.steps.count, 3);
	ck_assert_str_eq(v.steps.items[0].name, "merge");
	ck_assert_str_eq(v.steps.items[0].value, "a");
	ck_assert_str_eq(v.steps.items[1].name, "add");
	ck_assert_ptr_null(v.steps.items[1].value);
	ck_assert_str_eq(v.steps.items[2].value, "b");
}
END_TEST

START_TEST(wrong_arguments_are_refused)
{
	static char *const cases[][2] = {
		{"--nonsense", NULL}, {"-z", NULL}, {"--text", NULL}, {"-s", "x"}, {"-s", "-1"},
		{"-s", "16E"}, {"-c", "x"}, {"-c", "-1"}, {"-T", "x"}, {"--output", "xml"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct values v = {.size = 5};
		char **words;
		int count;

		ck_assert_int_eq(READ(&v, cases[i][0], cases[i][1]), 1);
		ck_assert_int_eq(v.size, 5);
	}
}
END_TEST

START_TEST(a_last_word_may_look_like_an_option)
{
	struct values v = {0};
	char **words;
	int count;

	ck_assert_int_eq(read_arguments(&v, true, (char *[]){"-x", "file", "-1M", NULL}, &words,
					&count), 0);
	ck_assert_int_eq(count, 2);
	ck_assert_str_eq(words[1], "-1M");
	ck_assert_int_eq(read_arguments(&v, false, (char *[]){"file", "-1M", NULL}, &words,
					&count), 1);
}
END_TEST

START_TEST(sizes_are_told_in_three_digits)
{
	static const struct {
		uint64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0 B"}, {1, "1 B"}, {999, "999 B"}, {1000, "0.977 KiB"}, {1024, "1 KiB"},
		{1536, "1.5 KiB"}, {200704, "196 KiB"}, {10 * MiB, "10 MiB"},
		{1000 * MiB, "0.977 GiB"}, {8 * TiB, "8 TiB"}, {INT64_MAX, "8 EiB"},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char text[IMG_SIZE_CHARS];

		ck_assert_str_eq(img_human_size(cases[i].bytes, text), cases[i].text);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(values_go_where_the_table_says),
	UNIT_TEST(steps_keep_their_order),
	UNIT_TEST(wrong_arguments_are_refused),
	UNIT_TEST(a_last_word_may_look_like_an_option),
	UNIT_TEST(sizes_are_told_in_three_digits),
};

UNIT_MAIN("img_arguments", tests)
