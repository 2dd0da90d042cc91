/* SPDX-License-Identifier: MIT */
/*
 * schema/schema.[ch], decode.c, encode.c and json_name.[ch]: objects from input,
 * back to text, copied, compared and freed. Leaks are the sanitizers' to find.
 */
#include "schema/schema.h"

#include <pthread.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "schema/json.h"
#include "schema/json_name.h"
#include "schema/tables.h"
#include "tests/unit/unit.h"

static int decode(const struct schema_type *t, const char *text, void **ret, struct error **errp)
{
	json_t *json;
	int r;

	ck_assert_int_eq(json_text_parse(text, strlen(text), &json, NULL), 0);
	r = schema_decode(t, json, NULL, ret, errp);
	json_release(json);
	return r;
}

static const struct schema_type *args_of(const char *command)
{
	for (size_t i = 0; i < SCHEMA_COMMAND_COUNT; i++)
		if (strcmp(schema_commands[i].name, command) == 0)
			return schema_commands[i].args;
	ck_abort_msg("no command %s", command);
}

/* Decode the arguments and check what comes back: the same text, or "! " and the error. */
static void check(const char *command, const char *text, const char *expected)
{
	_cleanup_error_ struct error *e = NULL;
	const struct schema_type *t = args_of(command);
	void *object = NULL;
	json_t *json;

	if (decode(t, text, &object, &e) < 0) {
		ck_assert_ptr_null(object);
		ck_assert(strncmp(expected, "! ", 2) == 0);
		ck_assert_str_eq(e->message, expected + 2);
		return;
	}
	_cleanup_free_ char *got = schema_encode_json_text(t, object);
	ck_assert_str_eq(got, expected);

	/* The tree says the same as the text, and a copy the same as the original. */
	json = schema_encode(t, object);
	void *again = NULL, *copy = schema_clone(t, object);
	ck_assert_int_eq(schema_decode(t, json, NULL, &again, NULL), 0);
	ck_assert(schema_equal(t, object, again));
	ck_assert(schema_equal(t, object, copy));
	json_release(json);
	schema_free(t, object);
	_cleanup_free_ char *of_copy = schema_encode_json_text(t, copy);
	ck_assert_str_eq(of_copy, expected);
	schema_free(t, again);
	schema_free(t, copy);
}

START_TEST(all_shapes_survive_the_round)
{
	check("blockdev-add", "{\"driver\":\"null-co\",\"node-name\":\"a\"}",
	      "{\"node-name\": \"a\", \"driver\": \"null-co\"}");
	check("blockdev-add",
	      "{\"driver\":\"qcow2\",\"file\":\"f\",\"backing\":null,\"cache\":{\"direct\":true},"
	      "\"overlap-check\":{\"template\":\"all\",\"main-header\":false}}",
	      "{\"backing\": null, \"driver\": \"qcow2\", \"overlap-check\": {\"main-header\": "
	      "false, \"template\": \"all\"}, \"cache\": {\"direct\": true}, \"file\": \"f\"}");
	check("blockdev-add",
	      "{\"overlap-check\":\"none\",\"backing\":{\"driver\":\"raw\",\"file\":\"x\"},"
	      "\"file\":{\"driver\":\"file\",\"filename\":\"a\\u0000b\\u00e9\"},"
	      "\"driver\":\"qcow2\",\"detect-zeroes\":\"unmap\"}",
	      "{\"detect-zeroes\": \"unmap\", \"backing\": {\"driver\": \"raw\", \"file\": "
	      "\"x\"}, \"driver\": \"qcow2\", \"overlap-check\": \"none\", \"file\": "
	      "{\"driver\": \"file\", \"filename\": \"a\\u0000b\\u00E9\"}}");
	check("transaction",
	      "{\"actions\":[{\"type\":\"abort\",\"data\":{}},{\"type\":\"blockdev-snapshot\","
	      "\"data\":{\"node\":\"a\",\"overlay\":\"b\"}}],\"properties\":{}}",
	      "{\"actions\": [{\"type\": \"abort\", \"data\": {}}, {\"type\": "
	      "\"blockdev-snapshot\", \"data\": {\"node\": \"a\", \"overlay\": \"b\"}}], "
	      "\"properties\": {}}");
	check("transaction", "{\"actions\":[]}", "{\"actions\": []}");
	check("qmp_capabilities", "{\"enable\":[\"oob\",\"oob\",\"oob\"]}",
	      "{\"enable\": [\"oob\", \"oob\", \"oob\"]}");
	check("qmp_capabilities", "{\"enable\":[]}", "{\"enable\": []}");
	check("qmp_capabilities", "{}", "{}");
	check("nbd-server-start",
	      "{\"addr\":{\"type\":\"inet\",\"data\":{\"host\":\"h\",\"port\":\"0\",\"to\":65535}},"
	      "\"max-connections\":4294967295}",
	      "{\"max-connections\": 4294967295, \"addr\": {\"type\": \"inet\", \"data\": "
	      "{\"port\": \"0\", \"host\": \"h\", \"to\": 65535}}}");
}
END_TEST

START_TEST(errors_name_the_member_by_its_path)
{
	check("blockdev-add", "{}", "! Parameter 'driver' is missing");
	check("blockdev-add", "{\"driver\":\"foo\"}", "! Parameter 'driver' does not accept value 'foo'");
	check("blockdev-add", "{\"driver\":3}", "! Invalid parameter type for 'driver', expected: string");
	check("blockdev-add", "{\"driver\":\"null-co\",\"foo\":1}", "! Parameter 'foo' is unexpected");
	check("blockdev-add", "{\"driver\":\"null-co\",\"filename\":\"x\"}",
	      "! Parameter 'filename' is unexpected");
	check("blockdev-add", "{\"driver\":\"raw\",\"file\":1}",
	      "! Invalid parameter type for 'file', expected: BlockdevRef");
	check("blockdev-add", "{\"driver\":\"raw\",\"file\":null}",
	      "! Invalid parameter type for 'file', expected: BlockdevRef");
	check("blockdev-add", "{\"driver\":\"raw\",\"file\":{\"driver\":\"file\"}}",
	      "! Parameter 'file.filename' is missing");
	check("blockdev-add", "{\"driver\":\"raw\",\"file\":{\"driver\":\"raw\",\"file\":"
			      "{\"driver\":\"file\",\"filename\":\"x\",\"bar\":1}}}",
	      "! Parameter 'file.file.bar' is unexpected");
	check("blockdev-add", "{\"driver\":\"qcow2\",\"file\":\"x\",\"overlap-check\":\"foo\"}",
	      "! Parameter 'overlap-check' does not accept value 'foo'");
	check("transaction", "{\"actions\":{}}", "! Invalid parameter type for 'actions', expected: array");
	check("transaction", "{\"actions\":[3]}",
	      "! Invalid parameter type for 'actions[0]', expected: object");
	check("transaction", "{\"actions\":[{\"type\":\"abort\",\"data\":{}},{\"data\":{}}]}",
	      "! Parameter 'actions[1].type' is missing");
	check("transaction", "{\"actions\":[{\"type\":\"abort\",\"data\":{\"x\":1}}]}",
	      "! Parameter 'actions[0].data.x' is unexpected");
	check("qmp_capabilities", "{\"enable\":[\"oob\",\"x\"]}",
	      "! Parameter 'enable[1]' does not accept value 'x'");
	check("nbd-server-start", "{\"addr\":{\"type\":\"foo\"}}",
	      "! Parameter 'type' does not accept value 'foo'");
	check("qmp_capabilities", "[]", "! Invalid parameter type for 'arguments', expected: object");
	check("block-job-set-speed", "{\"speed\":\"a\",\"device\":\"d\"}",
	      "! Invalid parameter type for 'speed', expected: integer");
	check("block-job-cancel", "{\"device\":\"d\",\"force\":1}",
	      "! Invalid parameter type for 'force', expected: boolean");
}
END_TEST

START_TEST(numbers_have_ranges)
{
	static const char *const inet =
		"{\"addr\":{\"type\":\"inet\",\"data\":{\"host\":\"h\",\"port\":\"0\",\"to\":%s}}}";
	static const char *const to[] = {"65536", "-1", "9223372036854775807"};

	for (size_t i = 0; i < ARRAY_SIZE(to); i++) {
		_cleanup_free_ char *text = xasprintf(inet, to[i]);

		check("nbd-server-start", text, "! Parameter 'addr.data.to' expects uint16_t");
	}
	check("nbd-server-start", "{\"max-connections\":4294967296,\"addr\":null}",
	      "! Parameter 'max-connections' expects uint32_t");
	/* Fractions: of what cannot be negative the range is told, of others the kind. */
	check("nbd-server-start", "{\"max-connections\":1.5,\"addr\":null}",
	      "! Parameter 'max-connections' expects uint64");
	check("blockdev-add", "{\"driver\":\"null-co\",\"latency-ns\":1.5}",
	      "! Parameter 'latency-ns' expects uint64");
	check("block-set-write-threshold", "{\"node-name\":\"n\",\"write-threshold\":-1}",
	      "{\"node-name\": \"n\", \"write-threshold\": 18446744073709551615}");
	check("block_resize", "{\"size\":-9223372036854775808}", "{\"size\": -9223372036854775808}");
	check("block_resize", "{\"size\":9223372036854775808}",
	      "! Invalid parameter type for 'size', expected: integer");
	check("block_resize", "{\"size\":1.0}", "! Invalid parameter type for 'size', expected: integer");
}
END_TEST

START_TEST(negative_sizes_are_too_large)
{
	void *object;

	ck_assert_int_eq(decode(&blockdev_create_options_file_type,
				"{\"filename\":\"x\",\"size\":-1}", &object, NULL), 0);
	ck_assert_uint_eq(((struct blockdev_create_options_file *)object)->size, UINT64_MAX);
	schema_free(&blockdev_create_options_file_type, object);
}
END_TEST

START_TEST(defaults_stand_in_for_what_is_absent)
{
	void *object;
	struct blockdev_options *o;

	ck_assert_int_eq(decode(&blockdev_options_type, "{\"driver\":\"null-co\"}", &object, NULL), 0);
	o = object;
	ck_assert_int_eq(o->driver, BLOCKDEV_DRIVER_NULL_CO);
	ck_assert(!o->u.null_co.has_size);
	ck_assert_int_eq(o->u.null_co.size, 1073741824);
	ck_assert(!o->has_discard);
	ck_assert_ptr_null(o->node_name);
	ck_assert_ptr_null(o->cache);
	blockdev_options_free(o);

	ck_assert_int_eq(decode(&blockdev_options_type,
				"{\"driver\":\"file\",\"filename\":\"x\",\"drop-cache\":false}",
				&object, NULL), 0);
	o = object;
	ck_assert(o->u.file.has_drop_cache && !o->u.file.drop_cache);
	ck_assert(!o->u.file.has_locking);
	ck_assert_int_eq(o->u.file.locking, ON_OFF_AUTO_AUTO);
	blockdev_options_free(o);

	ck_assert_int_eq(schema_decode_keyval(&blockdev_create_options_type,
					      "qcow2,file=f,size=1.5G", "driver", &object, NULL), 0);
	struct blockdev_create_options *c = object;
	ck_assert_uint_eq(c->u.qcow2.size, 3 * GiB / 2);
	ck_assert_int_eq(c->u.qcow2.version, BLOCKDEV_QCOW2_VERSION_V3);
	ck_assert_uint_eq(c->u.qcow2.cluster_size, 65536);
	blockdev_create_options_free(c);
}
END_TEST

START_TEST(objects_differ_by_any_value)
{
	static const char *const texts[] = {
		"{\"driver\":\"null-co\"}",
		"{\"driver\":\"null-aio\"}",
		"{\"driver\":\"null-co\",\"size\":1073741824}",
		"{\"driver\":\"null-co\",\"size\":1}",
		"{\"driver\":\"null-co\",\"node-name\":\"a\"}",
		"{\"driver\":\"null-co\",\"node-name\":\"b\"}",
		"{\"driver\":\"null-co\",\"cache\":{}}",
		"{\"driver\":\"null-co\",\"cache\":{\"direct\":true}}",
		"{\"driver\":\"raw\",\"file\":\"a\"}",
		"{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\"}}",
		"{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\",\"size\":2}}",
		"{\"driver\":\"qcow2\",\"file\":\"a\",\"backing\":null}",
		"{\"driver\":\"qcow2\",\"file\":\"a\"}",
	};
	void *objects[ARRAY_SIZE(texts)];

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		ck_assert_int_eq(decode(&blockdev_options_type, texts[i], &objects[i], NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (size_t j = 0; j < ARRAY_SIZE(texts); j++)
			ck_assert_int_eq(schema_equal(&blockdev_options_type, objects[i], objects[j]),
					 i == j);
	ck_assert(!schema_equal(&blockdev_options_type, objects[0], NULL));
	ck_assert(schema_equal(&blockdev_options_type, NULL, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		schema_free(&blockdev_options_type, objects[i]);
	ck_assert_ptr_null(schema_clone(&blockdev_options_type, NULL));
	schema_free(&blockdev_options_type, NULL);
}
END_TEST

START_TEST(lists_grow_also_when_decoded_or_copied)
{
	void *object;
	struct str_list *list, *copy;

	ck_assert_int_eq(decode(&str_list_type, "[\"a\",\"b\",\"c\"]", &object, NULL), 0);
	list = object;
	copy = schema_clone(&str_list_type, list);
	for (int i = 0; i < 100; i++) {
		str_list_append(list, xstrdup("x"));
		str_list_append(copy, xstrdup("x"));
	}
	ck_assert_uint_eq(copy->count, 103);
	ck_assert_str_eq(copy->items[2], "c");
	ck_assert(schema_equal(&str_list_type, list, copy));
	str_list_append(copy, xstrdup("y"));
	ck_assert(!schema_equal(&str_list_type, list, copy));
	schema_finish(&str_list_type, copy);
	ck_assert_uint_eq(copy->count, 0);
	schema_free(&str_list_type, copy);
	schema_free(&str_list_type, list);
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
	enum { LEVELS = 1000 };
	struct json_writer w = {0};
	void *object, *copy;

	for (int i = 0; i < LEVELS; i++) {
		json_writer_begin_object(&w);
		json_writer_key(&w, "driver");
		json_writer_str(&w, "raw");
		json_writer_key(&w, "file");
	}
	json_writer_str(&w, "end");
	for (int i = 0; i < LEVELS; i++)
		json_writer_end_object(&w);
	_cleanup_free_ char *text = json_writer_take(&w);

	ck_assert_int_eq(decode(&blockdev_options_type, text, &object, NULL), 0);
	_cleanup_free_ char *again = schema_encode_json_text(&blockdev_options_type, object);
	ck_assert_str_eq(again, text);
	copy = schema_clone(&blockdev_options_type, object);
	ck_assert(schema_equal(&blockdev_options_type, object, copy));
	schema_free(&blockdev_options_type, copy);
	schema_free(&blockdev_options_type, object);
	return NULL;
}

/* As deep as the parser permits; the walker keeps its place on the heap. */
START_TEST(depth_costs_no_stack)
{
	on_small_stack(deep_round);
}
END_TEST

START_TEST(enums_have_names)
{
	enum job_status status = JOB_STATUS_UNDEFINED;

	ck_assert_str_eq(job_status_name(JOB_STATUS_NULL), "null");
	ck_assert_int_eq(job_status_from_name("standby", &status), 0);
	ck_assert_int_eq(status, JOB_STATUS_STANDBY);
	ck_assert_int_eq(job_status_from_name("Standby", &status), -EINVAL);
	ck_assert_int_eq(status, JOB_STATUS_STANDBY);
}
END_TEST

START_TEST(a_value_out_of_an_enum_is_a_bug)
{
	job_status_name(JOB_STATUS__COUNT);
}
END_TEST

START_TEST(a_required_pointer_left_unset_is_a_bug)
{
	struct command_info info = {NULL};

	free(schema_encode_json_text(&command_info_type, &info));
}
END_TEST

static void check_keyval(const char *text, const char *expected)
{
	_cleanup_error_ struct error *e = NULL;
	void *object;

	if (schema_decode_keyval(&blockdev_options_type, text, "driver", &object, &e) < 0) {
		ck_assert_str_eq(e->message, expected);
		return;
	}
	_cleanup_free_ char *got = schema_encode_json_text(&blockdev_options_type, object);
	ck_assert_str_eq(got, expected);
	schema_free(&blockdev_options_type, object);
}

START_TEST(options_come_as_text_or_json)
{
	check_keyval("null-co,size=5,read-zeroes=on",
		     "{\"read-zeroes\": true, \"driver\": \"null-co\", \"size\": 5}");
	check_keyval("driver=qcow2,file.driver=file,file.filename=a,,b,backing=",
		     "{\"backing\": \"\", \"driver\": \"qcow2\", \"file\": {\"driver\": "
		     "\"file\", \"filename\": \"a,b\"}}");
	check_keyval("{\"driver\":\"null-co\",\"size\":5}", "{\"driver\": \"null-co\", \"size\": 5}");
	check_keyval("{\"driver\":\"null-co\",\"size\":\"5\"}",
		     "Invalid parameter type for 'size', expected: integer");
	check_keyval("{\"driver\":\"null-co\"", "JSON parse error, premature EOI");
	check_keyval("{} x", "Expecting at most one JSON value");
	check_keyval("", "Parameter 'driver' is missing");
	check_keyval("null-co,size=1M", "Parameter 'size' expects integer");
	check_keyval("null-co,size=9223372036854775808", "Parameter 'size' expects integer");
	check_keyval("null-co,read-zeroes=maybe", "Parameter 'read-zeroes' expects 'on' or 'off'");
	check_keyval("null-co,size.x=1", "Parameters 'size.*' are unexpected");
	check_keyval("null-co,foo.x=1", "Parameters 'foo.*' are unexpected");
	check_keyval("null-co,node-name.x=1", "Parameters 'node-name.*' are unexpected");
	check_keyval("driver.x=1", "Parameters 'driver.*' are unexpected");
	check_keyval("raw,file.0=x", "Invalid parameter type for 'file', expected: BlockdevRef");
	check_keyval("null-co,cache=x", "Invalid parameter type for 'cache', expected: object");
}
END_TEST

static void check_name(const char *name, const char *expected)
{
	_cleanup_error_ struct error *e = NULL;
	struct blockdev_options *o = NULL;

	if (json_name_decode(name, NULL, NULL, &o, &e) < 0) {
		ck_assert_str_eq(e->message, expected);
		return;
	}
	_cleanup_free_ char *got = json_name_encode(o);
	ck_assert_str_eq(got, expected);
	blockdev_options_free(o);
}

START_TEST(file_names_may_be_json)
{
	ck_assert(json_name_is("json:{}"));
	ck_assert(!json_name_is("/json:{}"));
	check_name("json:{\"driver\":\"raw\",\"file.filename\":\"/x\"}",
		   "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"file\", \"filename\": \"/x\"}}");
	check_name("json:{'driver':'raw','file.driver':'null-co','file.size':'1M','offset':'0x200'}",
		   "json:{\"offset\": 512, \"driver\": \"raw\", \"file\": {\"driver\": "
		   "\"null-co\", \"size\": 1048576}}");
	check_name("json:{\"driver\":\"raw\",\"file\":{\"driver\":\"null-co\"},\"file.size\":5}",
		   "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"null-co\", \"size\": 5}}");
	check_name("json:{\"driver\":\"null-co\",\"read-zeroes\":\"on\"}",
		   "json:{\"read-zeroes\": true, \"driver\": \"null-co\"}");
	check_name("json:{\"driver\":\"file\",\"filename\":24007}",
		   "json:{\"driver\": \"file\", \"filename\": \"24007\"}");
	check_name("json:{\"driver\":\"file\",\"filename\":[1]}",
		   "Invalid parameter type for 'filename', expected: string");
	check_name("json:{\"driver\":\"null-co\",\"size\":\"9E\"}", "Parameter 'size' expects integer");
	check_name("json:{\"driver\":\"raw\",\"file\":\"x\",\"file.size\":5}",
		   "Parameters 'file.*' used inconsistently");
	check_name("json:[1]", "Invalid JSON object given");
	check_name("json:{\"0\":1}", "Invalid JSON object given");
	check_name("json:{", "Could not parse the JSON options: JSON parse error, premature EOI");
	check_name("json:", "Could not parse the JSON options: Expecting a JSON value");
	check_name("json:{\"file\":\"x\"}", "Parameter 'driver' is missing");
}
END_TEST

START_TEST(a_file_name_may_leave_the_driver_to_the_caller)
{
	struct blockdev_options *o;

	ck_assert_int_eq(json_name_decode("json:{\"file\":\"x\"}", "qcow2", NULL, &o, NULL), 0);
	ck_assert_int_eq(o->driver, BLOCKDEV_DRIVER_QCOW2);
	blockdev_options_free(o);
	ck_assert_int_eq(json_name_decode_below("json:{\"filename\":\"x\"}", "qcow2", NULL, &o,
						NULL), 0);
	ck_assert_int_eq(o->driver, BLOCKDEV_DRIVER_QCOW2);
	ck_assert_int_eq(o->u.qcow2.file->u.definition->driver, BLOCKDEV_DRIVER_FILE);
	blockdev_options_free(o);
	ck_assert_int_eq(json_name_decode("json:{\"driver\":\"raw\",\"file\":\"x\"}", "qcow2", NULL,
					  &o, NULL), 0);
	ck_assert_int_eq(o->driver, BLOCKDEV_DRIVER_QCOW2);
	blockdev_options_free(o);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(all_shapes_survive_the_round),
	UNIT_TEST(errors_name_the_member_by_its_path),
	UNIT_TEST(numbers_have_ranges),
	UNIT_TEST(negative_sizes_are_too_large),
	UNIT_TEST(defaults_stand_in_for_what_is_absent),
	UNIT_TEST(objects_differ_by_any_value),
	UNIT_TEST(lists_grow_also_when_decoded_or_copied),
	UNIT_TEST(depth_costs_no_stack),
	UNIT_TEST(enums_have_names),
	UNIT_TEST_ABORTS(a_value_out_of_an_enum_is_a_bug),
	UNIT_TEST_ABORTS(a_required_pointer_left_unset_is_a_bug),
	UNIT_TEST(options_come_as_text_or_json),
	UNIT_TEST(file_names_may_be_json),
	UNIT_TEST(a_file_name_may_leave_the_driver_to_the_caller),
};

UNIT_MAIN("schema", tests)
