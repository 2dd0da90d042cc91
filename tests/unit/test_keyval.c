/* SPDX-License-Identifier: MIT */
/* schema/keyval.[ch]: key=value text to a tree, dotted keys, scalars in text. */
#include "schema/keyval.h"

#include <pthread.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "schema/json.h"
#include "tests/unit/unit.h"

typedef int parse_fn(const char *text, const char *implied_key, json_t **ret, struct error **errp);

static void check_with(parse_fn *parse, const char *text, const char *implied, const char *expected)
{
	_cleanup_error_ struct error *e = NULL;
	struct json_writer w = {0};
	json_t *json = NULL;
	int r = parse(text, implied, &json, &e);

	if (r < 0) {
		ck_assert_int_eq(r, -EINVAL);
		ck_assert_str_eq(e->message, expected);
		return;
	}
	json_writer_json(&w, json);
	_cleanup_free_ char *got = json_writer_take(&w);
	ck_assert_str_eq(got, expected);
	json_release(json);
}

static void check(const char *text, const char *expected)
{
	check_with(keyval_parse, text, "first", expected);
}

START_TEST(pairs_and_commas)
{
	check("", "{}");
	check("a=1", "{\"a\": \"1\"}");
	check("a=1,", "{\"a\": \"1\"}");
	check("a=1,b=,c==", "{\"a\": \"1\", \"b\": \"\", \"c\": \"=\"}");
	check("a=1,,2,b=,,", "{\"a\": \"1,2\", \"b\": \",\"}");
	check("a=1,a=2", "{\"a\": \"2\"}");
	check("a=,,,,", "{\"a\": \",,\"}");
	check("a=,,,b=2", "{\"a\": \",\", \"b\": \"2\"}");
}
END_TEST

START_TEST(the_implied_key)
{
	check("x", "{\"first\": \"x\"}");
	check("x,a=1", "{\"first\": \"x\", \"a\": \"1\"}");
	check("x,,y,a=1", "{\"first\": \"x,y\", \"a\": \"1\"}");
	check("a=1,x", "Expected '=' after parameter 'x'");
	check(",a=1", "Invalid parameter ''");
	check_with(keyval_parse, "x", NULL, "Expected '=' after parameter 'x'");
}
END_TEST

START_TEST(dots_lead_into_objects)
{
	check("a.b.c=1,a.b.d=2,a.e=3",
	      "{\"a\": {\"e\": \"3\", \"b\": {\"c\": \"1\", \"d\": \"2\"}}}");
	check("a=1,a.b=2", "Parameters 'a.*' used inconsistently");
	check("a.b=1,a=2", "Parameters 'a.*' used inconsistently");
	check("x.a.b=1,x.a=2", "Parameters 'x.a.*' used inconsistently");
}
END_TEST

START_TEST(numbers_make_lists)
{
	check("a.0=x,a.1=y", "{\"a\": [\"x\", \"y\"]}");
	check("a.1.b=x,a.0.b=y", "{\"a\": [{\"b\": \"y\"}, {\"b\": \"x\"}]}");
	check("a.0.0=x", "{\"a\": [[\"x\"]]}");
	check("a.1=x", "Parameter 'a.0' missing");
	check("a.b.0=x,a.b.2=y", "Parameter 'a.b.1' missing");
	check("a.0.b.1=x", "Parameter 'a.0.b.0' missing");
	check("a.0=x,a.b=y", "Parameters 'a.*' used inconsistently");
	check("a.0=x,a.00=y", "Parameters 'a.*' used inconsistently");
	check("0=x,a=y", "Parameters '*' used inconsistently");
	check("a.4294967296=x", "{\"a\": {\"4294967296\": \"x\"}}");
}
END_TEST

START_TEST(malformed_keys)
{
	char text[4096];

	check("=1", "Invalid parameter ''");
	check(".a=1", "Invalid parameter '.a'");
	check("a.=1", "Invalid parameter 'a.'");
	check("a..b=1", "Invalid parameter 'a..b'");
	check("a!b=1", "Invalid parameter 'a!b'");
	check("-a=1", "Invalid parameter '-a'");
	check("a b=1", "Invalid parameter 'a b'");
	memset(text, 'a', 127);
	strcpy(text + 127, "=1");
	_cleanup_free_ char *ok = xasprintf("{\"%.127s\": \"1\"}", text);
	check(text, ok);
	memset(text, 'a', 128);
	strcpy(text + 128, "=1");
	_cleanup_free_ char *bad = xasprintf("Invalid parameter '%.128s'", text);
	check(text, bad);
	for (int i = 0; i < 65; i++)
		memcpy(text + 2 * i, "a.", 2);
	strcpy(text + 129, "=1");
	_cleanup_free_ char *deep = xasprintf("Invalid parameter '%.129s'", text);
	check(text, deep);
}
END_TEST

/* Expand the tree of a JSON text, as file names need it. */
static int expand(const char *text, json_t **ret, struct error **errp)
{
	int r = json_text_parse(text, strlen(text), ret, errp);

	if (r == 0)
		r = keyval_expand(ret, errp);
	if (r < 0)
		json_release(*ret);
	return r;
}

static int expand_as_parse(const char *text, const char *implied_key, json_t **ret,
			   struct error **errp)
{
	return expand(text, ret, errp);
}

static void check_expand(const char *text, const char *expected)
{
	check_with(expand_as_parse, text, NULL, expected);
}

START_TEST(dotted_keys_mix_with_objects)
{
	check_expand("{\"a\":{\"b\":1},\"a.c\":2}", "{\"a\": {\"b\": 1, \"c\": 2}}");
	check_expand("{\"a.c\":2,\"a\":{\"b\":1}}", "{\"a\": {\"b\": 1, \"c\": 2}}");
	check_expand("{\"a\":{\"b.c\":1},\"a.b.d\":2}", "{\"a\": {\"b\": {\"c\": 1, \"d\": 2}}}");
	check_expand("{\"l\":[{\"a.b\":1}]}", "{\"l\": [{\"a\": {\"b\": 1}}]}");
	check_expand("{\"l.1\":5,\"l.0\":{\"x.y\":null}}", "{\"l\": [{\"x\": {\"y\": null}}, 5]}");
	check_expand("{\"a\":{\"b\":1},\"a.b\":2}", "Parameters 'a.*' used inconsistently");
	check_expand("{\"l\":[1],\"l.0\":2}", "Parameters 'l.*' used inconsistently");
	check_expand("{\"l\":[{\"a\":1,\"a.b\":2}]}", "Parameters 'l.0.a.*' used inconsistently");
	check_expand("{\"a..b\":1}", "Invalid parameter '.b'");
	check_expand("{\".\":1}", "Invalid parameter '.'");
	check_expand("{\"0\":1,\"1\":2}", "[1, 2]");
	check_expand("{}", "{}");
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

static void *deep_expand(void *unused)
{
	size_t length = 3 * 1000;
	_cleanup_free_ char *key = xalloc(length + 16, 1);
	_cleanup_error_ struct error *e = NULL;
	json_t *json;

	memcpy(key, "{\"", 2);
	for (size_t i = 0; i < 1500; i++)
		memcpy(key + 2 + 2 * i, "a.", 2);
	strcpy(key + 2 + length, "b\":1}");
	ck_assert_int_eq(expand(key, &json, &e), 0);
	json_release(json);
	return NULL;
}

START_TEST(depth_of_dots_costs_no_stack)
{
	on_small_stack(deep_expand);
}
END_TEST

START_TEST(words_for_truth)
{
	static const char *const yes[] = {"on", "yes", "true", "y"};
	static const char *const no[] = {"off", "no", "false", "n"};
	bool value;

	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(keyval_parse_bool(yes[i], &value), 0);
		ck_assert(value);
		ck_assert_int_eq(keyval_parse_bool(no[i], &value), 0);
		ck_assert(!value);
	}
	ck_assert_int_eq(keyval_parse_bool("On", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_bool("", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_bool("1", &value), -EINVAL);
}
END_TEST

START_TEST(integers_in_text)
{
	int64_t value;

	ck_assert_int_eq(keyval_parse_int("-12", &value), 0);
	ck_assert_int_eq(value, -12);
	ck_assert_int_eq(keyval_parse_int("0x10", &value), 0);
	ck_assert_int_eq(value, 16);
	ck_assert_int_eq(keyval_parse_int("9223372036854775807", &value), 0);
	ck_assert_int_eq(value, INT64_MAX);
	ck_assert_int_eq(keyval_parse_int("9223372036854775808", &value), -ERANGE);
	ck_assert_int_eq(keyval_parse_int("", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_int(" 1", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_int("1k", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_int("1.5", &value), -EINVAL);
}
END_TEST

START_TEST(sizes_in_text)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{"0", 0}, {"010", 10}, {"0x10", 16}, {"1b", 1}, {"1B", 1}, {"3k", 3072},
		{"3K", 3072}, {"1.5k", 1536}, {"1M", MiB}, {"2G", 2 * GiB}, {"1T", TiB},
		{"1P", TiB << 10}, {"15E", UINT64_C(15) << 60}, {"0.5G", GiB / 2}, {"1.k", 1024},
		{"+1", 1}, {" 1", 1}, {" +1.5k", 1536},
		{"18446744073709551615", UINT64_MAX},
	};
	static const char *const bad[] = {"", "k", "-1", "+-1", "++1", "1 ", "1kk", "1.5", "0x10k", "1X",
					  "1 k", ".5k", "1.5.5k", "nan", "0x", "1.5b"};
	static const char *const large[] = {"18446744073709551616", "16E", "16.0E", "99999999999P"};
	uint64_t value;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(keyval_parse_size(good[i].text, &value) == 0, "%s", good[i].text);
		ck_assert_uint_eq(value, good[i].value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(keyval_parse_size(bad[i], &value) == -EINVAL, "%s", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(large); i++)
		ck_assert_msg(keyval_parse_size(large[i], &value) == -ERANGE, "%s", large[i]);
}
END_TEST

START_TEST(floating_point_in_text)
{
	double value;

	ck_assert_int_eq(keyval_parse_number("1.5e3", &value), 0);
	ck_assert(value == 1500);
	ck_assert_int_eq(keyval_parse_number("inf", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_number("nan", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_number("", &value), -EINVAL);
	ck_assert_int_eq(keyval_parse_number("1x", &value), -EINVAL);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(pairs_and_commas),
	UNIT_TEST(the_implied_key),
	UNIT_TEST(dots_lead_into_objects),
	UNIT_TEST(numbers_make_lists),
	UNIT_TEST(malformed_keys),
	UNIT_TEST(dotted_keys_mix_with_objects),
	UNIT_TEST(depth_of_dots_costs_no_stack),
	UNIT_TEST(words_for_truth),
	UNIT_TEST(integers_in_text),
	UNIT_TEST(sizes_in_text),
	UNIT_TEST(floating_point_in_text),
};

UNIT_MAIN("keyval", tests)
