/* SPDX-License-Identifier: MIT */
/* schema/dispatch.[ch]: commands are found, arguments reach handlers, results come back. */
#include "schema/dispatch.h"

#include "base/cleanup.h"
#include "base/error.h"
#include "base/util.h"
#include "schema/json.h"
#include "tests/unit/unit.h"

static int calls;

static int co_fn set_speed(const void *p, void *ret, struct error **errp)
{
	const struct block_job_set_speed_args *args = p;

	calls++;
	ck_assert_str_eq(args->device, "d");
	if (args->speed < 0)
		return error_set_class(errp, ERROR_DEVICE_NOT_ACTIVE, -EINVAL, "too slow");
	return 0;
}

static int co_fn list_commands(const void *p, void *ret, struct error **errp)
{
	struct command_info *info = NEW(struct command_info);

	ck_assert_ptr_null(p);
	info->name = xstrdup("quit");
	command_info_list_append(ret, info);
	return 0;
}

static int co_fn version(const void *p, void *ret, struct error **errp)
{
	struct version_info *info = NEW(struct version_info);

	info->qemu = NEW(struct version_triple);
	info->qemu->major = 11;
	info->package = xstrdup("p");
	*(struct version_info **)ret = info;
	return 0;
}

static int co_fn capabilities(const void *p, void *ret, struct error **errp)
{
	const struct qmp_capabilities_args *args = p;

	ck_assert_ptr_nonnull(args);
	ck_assert(!args->has_enable);
	calls++;
	return 0;
}

/* Call and check the reply, or "! " and the error. */
static void check(const char *name, schema_handler *handler, const char *arguments,
		  const char *expected)
{
	_cleanup_error_ struct error *e = NULL;
	struct json_writer w = {0};
	json_t *json = NULL;

	if (arguments)
		ck_assert_int_eq(json_text_parse(arguments, strlen(arguments), &json, NULL), 0);
	if (schema_call(schema_command_find(name), handler, json, &w, &e) < 0) {
		ck_assert_uint_eq(w.length, 0);
		ck_assert_str_eq(e->message, expected);
	}
	_cleanup_free_ char *got = json_writer_take(&w);
	if (!e)
		ck_assert_str_eq(got, expected);
	json_release(json);
}

START_TEST(commands_are_found_by_name)
{
	for (size_t i = 0; i < SCHEMA_COMMAND_COUNT; i++)
		ck_assert_ptr_eq(schema_command_find(schema_commands[i].name), &schema_commands[i]);
	ck_assert_ptr_null(schema_command_find(""));
	ck_assert_ptr_null(schema_command_find("quit2"));
	ck_assert_ptr_null(schema_command_find("QUIT"));
	ck_assert_ptr_null(schema_command_find("zzz"));
}
END_TEST

START_TEST(arguments_and_results_pass)
{
	check("block-job-set-speed", set_speed, "{\"device\":\"d\",\"speed\":1}", "{}");
	check("query-commands", list_commands, NULL, "[{\"name\": \"quit\"}]");
	check("query-commands", list_commands, "{}", "[{\"name\": \"quit\"}]");
	check("query-version", version, NULL,
	      "{\"qemu\": {\"micro\": 0, \"minor\": 0, \"major\": 11}, \"package\": \"p\"}");
	check("qmp_capabilities", capabilities, NULL, "{}");
	check("qmp_capabilities", capabilities, "{}", "{}");
	ck_assert_int_eq(calls, 3);
}
END_TEST

START_TEST(what_does_not_fit_reaches_no_handler)
{
	check("block-job-set-speed", set_speed, NULL, "Parameter 'device' is missing");
	check("block-job-set-speed", set_speed, "{\"device\":\"d\"}", "Parameter 'speed' is missing");
	check("query-commands", list_commands, "{\"a\":1}", "Parameter 'a' is unexpected");
	ck_assert_int_eq(calls, 0);
	check("block-job-set-speed", set_speed, "{\"device\":\"d\",\"speed\":-1}", "too slow");
	ck_assert_int_eq(calls, 1);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(commands_are_found_by_name),
	UNIT_TEST(arguments_and_results_pass),
	UNIT_TEST(what_does_not_fit_reaches_no_handler),
};

UNIT_MAIN("schema_dispatch", tests)
