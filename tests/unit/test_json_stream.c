/* SPDX-License-Identifier: MIT */
/*
 * schema/json_stream.[ch]: values and errors from bytes. Every input is fed whole,
 * and then byte by byte: the same must come out.
 */
#include "schema/json_stream.h"

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "schema/json.h"
#include "tests/unit/unit.h"

/* Everything that came out, a line for each: the value, or "! " and the error. */
struct record {
	struct json_writer text;
	unsigned count, limit; /* fn returns false at the limit; 0 for none */
};

static bool on_value(void *arg, json_t *value, const char *error)
{
	struct record *r = arg;

	if (error) {
		json_writer_raw(&r->text, "! ", 2);
		json_writer_raw(&r->text, error, strlen(error));
	} else {
		json_writer_json(&r->text, value);
		json_release(value);
	}
	json_writer_raw(&r->text, "\n", 1);
	return ++r->count != r->limit;
}

static char *run(const char *bytes, size_t length, size_t chunk)
{
	struct record r = {.limit = 0};
	struct json_stream *s = json_stream_new(on_value, &r);

	for (size_t at = 0; at < length; at += chunk) {
		size_t n = MIN(chunk, length - at);

		ck_assert_uint_eq(json_stream_feed(s, bytes + at, n), n);
	}
	json_stream_end(s);
	ck_assert(json_stream_is_idle(s));
	json_stream_free(s);
	return json_writer_take(&r.text);
}

static void check_bytes(const char *bytes, size_t length, const char *expected)
{
	static const size_t chunks[] = {1, 2, 3, 7, 1 << 30};

	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		_cleanup_free_ char *got = run(bytes, length, chunks[i]);

		ck_assert_str_eq(got, expected);
	}
}

static void check(const char *text, const char *expected)
{
	check_bytes(text, strlen(text), expected);
}

START_TEST(values_need_no_separator)
{
	check("{'execute':'a'}{\"execute\":\"b\"}\n[1]", "{\"execute\": \"a\"}\n{\"execute\": \"b\"}\n[1]\n");
	check("5 6 \"a\"\"b\" true[1]null", "5\n6\n\"a\"\n\"b\"\ntrue\n[1]\nnull\n");
	check(" \t\r\n", "");
	check("12", "12\n");
	check("-1.5e+3,", "-1500\n! JSON parse error, expecting value\n");
}
END_TEST

START_TEST(grammar_errors_come_once_the_brackets_match)
{
	check("{\"a\" 1}{}", "! JSON parse error, missing : in object pair\n{}\n");
	check("{\"a\"}", "! JSON parse error, missing : in object pair\n");
	check("{\"a\":}", "! JSON parse error, expecting value\n");
	check("{\"a\":1,}", "! JSON parse error, expecting value\n");
	check("[1,]", "! JSON parse error, expecting value\n");
	check("[1 2]", "! JSON parse error, expected separator in list\n");
	check("{\"a\":1 \"b\":2}", "! JSON parse error, expected separator in dict\n");
	check("{1:2}", "! JSON parse error, key is not a string in object\n");
	check("{[1]:2}", "! JSON parse error, key is not a string in object\n");
	check("{,}", "! JSON parse error, expecting value\n");
	check("{\"a\":[1,{\"b\" 2}],\"c\":[[[]]]}[]",
	      "! JSON parse error, missing : in object pair\n[]\n");
	check("{\"a\":1,\"a\":1}", "! JSON parse error, duplicate key\n");
	check("{\"a\":[],\"b\":2,\"a\":{\"x\":[]}}", "! JSON parse error, duplicate key\n");
	check("{abc:1}", "! JSON parse error, invalid keyword 'abc'\n");
	check("[tru]truefalse ",
	      "! JSON parse error, invalid keyword 'tru'\n"
	      "! JSON parse error, invalid keyword 'truefalse'\n");
}
END_TEST

START_TEST(brackets_that_cannot_match_end_the_value_at_once)
{
	check("}]:,", "! JSON parse error, expecting value\n! JSON parse error, expecting value\n"
		      "! JSON parse error, expecting value\n! JSON parse error, expecting value\n");
	check("{][}", "! JSON parse error, expecting value\n! JSON parse error, expecting value\n");
	check("[1}{}", "! JSON parse error, expected separator in list\n{}\n");
	check("{\"a\":1]{}", "! JSON parse error, expected separator in dict\n{}\n");
}
END_TEST

START_TEST(stray_bytes_drop_what_is_under_way)
{
	check("{\"a\": [1, \xff {\"b\":1}", "! JSON parse error, stray '\xff'\n{\"b\": 1}\n");
	check("{\"a\":@ \"x\" true\n\"y\" {}", "! JSON parse error, stray '@'\n\"y\"\n{}\n");
	check("\"a\x01" "b\",1 ", "! JSON parse error, stray '\"a\x01'\n"
				  "! JSON parse error, expecting value\n1\n");
	check("'a\\\n{}", "! JSON parse error, stray ''a\\\n'\n{}\n");
	check("01,", "! JSON parse error, stray '01'\n! JSON parse error, expecting value\n");
	check("-,5\n", "! JSON parse error, stray '-,'\n");
	check("1.x {}", "! JSON parse error, stray '1.x'\n{}\n");
	check("1e+}{}", "! JSON parse error, stray '1e+}'\n{}\n");
	check("+5\n.5\n%d\nTrue\n", "! JSON parse error, stray '+'\n! JSON parse error, stray '.'\n"
				   "! JSON parse error, stray '%'\n! JSON parse error, stray 'T'\n");
}
END_TEST

START_TEST(strings_are_checked)
{
	check("\"\\q\"", "! JSON parse error, invalid escape sequence in string\n");
	check("\"\\u12\"", "! JSON parse error, \\u12\" is not a valid Unicode character\n");
	check("\"\\uzzzz\"", "! JSON parse error, \\uzzzz is not a valid Unicode character\n");
	check("\"\\ud83dx\"", "! JSON parse error, \\ud83d is not a valid Unicode character\n");
	check("\"\\ud83d\\u0041\"", "! JSON parse error, \\ud83d is not a valid Unicode character\n");
	check("\"\\udc00\"", "! JSON parse error, \\udc00 is not a valid Unicode character\n");
	check("\"\\uffff\"", "! JSON parse error, \\uffff is not a valid Unicode character\n");
	check("\"\xed\xa0\x80\"", "! JSON parse error, invalid UTF-8 sequence in string\n");
	check("\"\x80\"{\"\xc3\":1}", "! JSON parse error, invalid UTF-8 sequence in string\n"
				      "! JSON parse error, invalid UTF-8 sequence in string\n");
	check("{\"\\q\":1}[\"\\q\",{]", "! JSON parse error, invalid escape sequence in string\n"
					"! JSON parse error, invalid escape sequence in string\n");
	check("\"\\u0000\\u00ff\\u20ac\\ud83d\\ude00\"", "\"\\u0000\\u00FF\\u20AC\\uD83D\\uDE00\"\n");
	check("{\"\\u0061\\n\":'\\''}", "{\"a\\n\": \"'\"}\n");
}
END_TEST

START_TEST(numbers_that_are_too_large)
{
	check("[12345678901234567890123]", "[1.2345678901234568e+22]\n");
	check("[1e999]", "! JSON parse error, number out of range\n");
	check("1000000000000000000000000000000000000000000000000000000000000 ", "9.9999999999999995e+59\n");
}
END_TEST

START_TEST(the_end_completes_or_reports)
{
	check("{\"a\":[1", "! JSON parse error, premature EOI\n");
	check("'abc", "! JSON parse error, premature EOI\n");
	check("-", "! JSON parse error, premature EOI\n");
	check("nul", "! JSON parse error, invalid keyword 'nul'\n");
	check("\xff", "! JSON parse error, stray '\xff'\n");
}
END_TEST

/* Deeper than the limit: an error at once, and then each leftover bracket is one, too. */
START_TEST(depth_is_limited)
{
	struct record r = {.limit = 0};
	struct json_stream *s = json_stream_new(on_value, &r);

	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		json_stream_feed(s, "[", 1);
	ck_assert_uint_eq(r.count, 0);
	ck_assert(!json_stream_is_idle(s));
	json_stream_feed(s, "[", 1);
	ck_assert_uint_eq(r.count, 1);
	json_stream_feed(s, "{}", 2);
	ck_assert_uint_eq(r.count, 2);
	json_stream_free(s);
	_cleanup_free_ char *text = json_writer_take(&r.text);
	ck_assert_str_eq(text, "! JSON nesting depth limit exceeded\n{}\n");
}
END_TEST

START_TEST(count_of_tokens_is_limited)
{
	struct record r = {.limit = 0};
	struct json_stream *s = json_stream_new(on_value, &r);

	json_stream_feed(s, "[[", 2);
	for (size_t i = 2; i + 1 < JSON_TOKEN_COUNT_MAX; i += 2)
		json_stream_feed(s, "1,", 2);
	ck_assert_uint_eq(r.count, 0);
	json_stream_feed(s, "1 ", 2);
	ck_assert_uint_eq(r.count, 1);
	json_stream_free(s);
	_cleanup_free_ char *text = json_writer_take(&r.text);
	ck_assert_str_eq(text, "! JSON token count limit exceeded\n");
}
END_TEST

START_TEST(size_of_tokens_is_limited)
{
	struct record r = {.limit = 0};
	struct json_stream *s = json_stream_new(on_value, &r);
	_cleanup_free_ char *megabyte = xalloc(1, MiB);

	memset(megabyte, 'a', MiB);
	json_stream_feed(s, "{\"a\":\"", 6);
	for (size_t i = 0; i < JSON_SIZE_MAX / MiB - 1; i++)
		json_stream_feed(s, megabyte, MiB);
	ck_assert_uint_eq(r.count, 0);
	json_stream_feed(s, megabyte, MiB);
	ck_assert_uint_eq(r.count, 1);
	json_stream_feed(s, "\n[]", 3);
	json_stream_free(s);
	_cleanup_free_ char *text = json_writer_take(&r.text);
	ck_assert_str_eq(text, "! JSON token size limit exceeded\n[]\n");
}
END_TEST

START_TEST(the_consumer_may_stop)
{
	struct record r = {.limit = 2};
	struct json_stream *s = json_stream_new(on_value, &r);
	const char *text = "{}[]1 {\"a\":2}";

	ck_assert_uint_eq(json_stream_feed(s, text, strlen(text)), 4);
	ck_assert_uint_eq(r.count, 2);
	ck_assert_uint_eq(json_stream_feed(s, text + 4, strlen(text) - 4), strlen(text) - 4);
	ck_assert_uint_eq(r.count, 4);
	json_stream_free(s);
	json_writer_finish(&r.text);
	json_stream_free(NULL);
}
END_TEST

START_TEST(freed_in_the_middle)
{
	struct record r = {.limit = 0};
	struct json_stream *s = json_stream_new(on_value, &r);

	json_stream_feed(s, "{\"a\":[{\"b\":\"c", 13);
	json_stream_free(s);
	ck_assert_uint_eq(r.count, 0);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(values_need_no_separator),
	UNIT_TEST(grammar_errors_come_once_the_brackets_match),
	UNIT_TEST(brackets_that_cannot_match_end_the_value_at_once),
	UNIT_TEST(stray_bytes_drop_what_is_under_way),
	UNIT_TEST(strings_are_checked),
	UNIT_TEST(numbers_that_are_too_large),
	UNIT_TEST(the_end_completes_or_reports),
	UNIT_TEST(depth_is_limited),
	UNIT_TEST(count_of_tokens_is_limited),
	UNIT_TEST(size_of_tokens_is_limited),
	UNIT_TEST(the_consumer_may_stop),
	UNIT_TEST(freed_in_the_middle),
};

UNIT_MAIN("json_stream", tests)
