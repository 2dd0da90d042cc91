/* SPDX-License-Identifier: MIT */
/* schema/json.[ch] and json_string.[ch]: text out, whole texts in, deep trees. */
#include "schema/json.h"

#include <math.h>
#include <pthread.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "tests/unit/unit.h"

static json_t *parse(const char *text)
{
	json_t *json;

	ck_assert_int_eq(json_text_parse(text, strlen(text), &json, NULL), 0);
	return json;
}

/* Parse and write again. */
static void check_round(const char *in, const char *out)
{
	json_t *json = parse(in);
	struct json_writer w = {0};

	json_writer_json(&w, json);
	_cleanup_free_ char *text = json_writer_take(&w);
	ck_assert_str_eq(text, out);
	json_release(json);
}

static void check_error(const char *in, const char *message)
{
	_cleanup_error_ struct error *e = NULL;
	json_t *json;

	ck_assert_int_eq(json_text_parse(in, strlen(in), &json, &e), -EINVAL);
	ck_assert_str_eq(e->message, message);
}

START_TEST(values_come_back_in_the_style_of_qmp)
{
	check_round("{}", "{}");
	check_round("[]", "[]");
	check_round(" [1,2 , {\"a\":null}] ", "[1, 2, {\"a\": null}]");
	check_round("{\"b\":{\"x\":[[]]},\"a\":true}", "{\"b\": {\"x\": [[]]}, \"a\": true}");
	check_round("0.1", "0.10000000000000001");
	check_round("[1e5,-0.0,-0,1.0,1e-2]", "[100000, -0, 0, 1, 0.01]");
	check_round("-9223372036854775808", "-9223372036854775808");
	check_round("9223372036854775807", "9223372036854775807");
	check_round("-9223372036854775809", "-9.2233720368547758e+18");
}
END_TEST

START_TEST(strings_are_escaped_to_ascii)
{
	check_round("\"\\u00e9\\ud83d\\ude00\"", "\"\\u00E9\\uD83D\\uDE00\"");
	check_round("\"\xc3\xa9\xf0\x9f\x98\x80\"", "\"\\u00E9\\uD83D\\uDE00\"");
	check_round("\"\\/\\b\\f\\n\\r\\t\\\"\\\\\\'\"", "\"/\\b\\f\\n\\r\\t\\\"\\\\'\"");
	check_round("\"\\u0000\\u0001\x7f\"", "\"\\u0000\\u0001\\u007F\"");
	check_round("'a\"b\\'c'", "\"a\\\"b'c\"");
	check_round("{\"k\\u00e9\\\"y\": 1}", "{\"k\\u00E9\\\"y\": 1}");
}
END_TEST

START_TEST(bytes_that_are_not_utf8_are_replaced_on_the_way_out)
{
	static const char *const bad[] = {"\x80", "\xc1\x80", "\xe0\x80\x80", "\xed\xa0\x80",
					  "\xf4\x90\x80\x80", "\xff", "\xc3", "\xef\xbf\xbf"};
	struct json_writer w = {0};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		json_writer_str(&w, bad[i]);
		ck_assert_uint_ge(w.length, 8);
		ck_assert(memcmp(w.text, "\"\\uFFFD", 7) == 0);
		json_writer_finish(&w);
	}
	json_writer_str(&w, NULL);
	ck_assert_uint_eq(w.length, 2);
	json_writer_finish(&w);
}
END_TEST

START_TEST(pretty_text_has_a_line_for_each_thing)
{
	json_t *json = parse("{\"a\":[],\"b\":{},\"c\":[1,[2]]}");
	struct json_writer w = {.pretty = true};

	json_writer_json(&w, json);
	_cleanup_free_ char *text = json_writer_take(&w);
	ck_assert_str_eq(text, "{\n    \"a\": [\n    ],\n    \"b\": {\n    },\n    \"c\": [\n"
			       "        1,\n        [\n            2\n        ]\n    ]\n}");
	ck_assert(w.pretty);
	json_release(json);
}
END_TEST

START_TEST(a_writer_takes_values_one_by_one)
{
	struct json_writer w = {0};

	json_writer_begin_object(&w);
	json_writer_key(&w, "least");
	json_writer_int(&w, INT64_MIN);
	json_writer_key(&w, "most");
	json_writer_uint(&w, UINT64_MAX);
	json_writer_key(&w, "list");
	json_writer_begin_list(&w);
	json_writer_bool(&w, false);
	json_writer_null(&w);
	json_writer_real(&w, INFINITY);
	json_writer_strn(&w, "abc", 2);
	json_writer_end_list(&w);
	json_writer_key(&w, "zero");
	json_writer_int(&w, 0);
	json_writer_end_object(&w);
	_cleanup_free_ char *text = json_writer_take(&w);
	ck_assert_str_eq(text, "{\"least\": -9223372036854775808, \"most\": 18446744073709551615, "
			       "\"list\": [false, null, null, \"ab\"], \"zero\": 0}");
	ck_assert_ptr_null(w.text);
}
END_TEST

START_TEST(a_text_holds_exactly_one_value)
{
	check_error("", "Expecting a JSON value");
	check_error(" \n", "Expecting a JSON value");
	check_error("{} x", "Expecting at most one JSON value");
	check_error("1 2", "Expecting at most one JSON value");
	check_error("{\"a\":1", "JSON parse error, premature EOI");
	check_error("\"abc", "JSON parse error, premature EOI");
	check_error("1.", "JSON parse error, premature EOI");
	check_error("{\"a\":1,\"a\":2}", "JSON parse error, duplicate key");
	check_error("1e999", "JSON parse error, number out of range");
	check_round("true", "true");
	check_round("12", "12");
}
END_TEST

/* Run @fn on a stack as small as a coroutine's; sanitizers need some room of their own. */
static void on_small_stack(void *(*fn)(void *))
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 64 * KiB);
	ck_assert_int_eq(pthread_create(&thread, &attributes, fn, NULL), 0);
	pthread_join(thread, NULL);
	pthread_attr_destroy(&attributes);
}

static void *deep_round(void *unused)
{
	char text[2 * 1024 + 1];
	json_t *json;

	memset(text, '[', 1024);
	memset(text + 1024, ']', 1024);
	text[2048] = '\0';
	check_round(text, text);
	json = json_array();
	for (int i = 0; i < 1000000; i++) {
		json_t *outer = json_array();

		json_array_append_new(outer, json);
		json = outer;
	}
	json_release(json);
	json_release(NULL);
	return NULL;
}

START_TEST(depth_costs_no_stack)
{
	on_small_stack(deep_round);
}
END_TEST

START_TEST(releasing_keeps_what_others_hold)
{
	json_t *json = parse("{\"a\":[1,{\"b\":2}]}");
	json_t *held = json_incref(json_object_get(json, "a"));

	json_incref(json);
	json_release(json);
	ck_assert_uint_eq(json_object_size(json), 1);
	json_release(json);
	ck_assert_uint_eq(json_array_size(held), 2);
	json_release(held);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(values_come_back_in_the_style_of_qmp),
	UNIT_TEST(strings_are_escaped_to_ascii),
	UNIT_TEST(bytes_that_are_not_utf8_are_replaced_on_the_way_out),
	UNIT_TEST(pretty_text_has_a_line_for_each_thing),
	UNIT_TEST(a_writer_takes_values_one_by_one),
	UNIT_TEST(a_text_holds_exactly_one_value),
	UNIT_TEST(depth_costs_no_stack),
	UNIT_TEST(releasing_keeps_what_others_hold),
};

UNIT_MAIN("json", tests)
