/* SPDX-License-Identifier: MIT */
/* schema/introspect.[ch]: the description is complete and consistent in itself. */
#include "schema/introspect.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "schema/json.h"
#include "schema/tables.h"
#include "tests/unit/unit.h"

static json_t *entries;

static json_t *entry(const char *name)
{
	json_t *e;
	size_t i;

	json_array_foreach(entries, i, e)
		if (strcmp(json_string_value(json_object_get(e, "name")), name) == 0)
			return e;
	ck_abort_msg("%s is not described", name);
}

static const char *text(json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* The member of an entry's argument, or of its branch; aborts without it. */
static json_t *member(json_t *object_entry, const char *name)
{
	json_t *m;
	size_t i;

	json_array_foreach(json_object_get(object_entry, "members"), i, m)
		if (strcmp(text(m, "name"), name) == 0)
			return m;
	ck_abort_msg("no member %s", name);
}

static json_t *variant(json_t *object_entry, const char *name)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(object_entry, "variants"), i, v)
		if (strcmp(text(v, "case"), name) == 0)
			return entry(text(v, "type"));
	ck_abort_msg("no variant %s", name);
}

static void load(void)
{
	struct schema_info_list list;

	schema_introspect(&list);
	entries = schema_encode(&schema_info_list_type, &list);
	schema_finish(&schema_info_list_type, &list);
}

START_TEST(names_are_unique_and_all_that_is_mentioned_exists)
{
	static const char *const references[] = {"arg-type", "ret-type", "element-type"};
	json_t *e, *m;
	json_t *names = json_object();
	size_t i, j;

	load();
	json_array_foreach(entries, i, e) {
		for (j = 0; j < ARRAY_SIZE(references); j++)
			if (json_object_get(e, references[j]))
				entry(text(e, references[j]));
		json_array_foreach(json_object_get(e, "members"), j, m)
			if (json_object_get(m, "type"))
				entry(text(m, "type"));
		json_array_foreach(json_object_get(e, "variants"), j, m)
			entry(text(m, "type"));
		json_object_set(names, text(e, "name"), e);
	}
	ck_assert_uint_eq(json_object_size(names), json_array_size(entries));
	json_decref(names);
	json_release(entries);
}
END_TEST

START_TEST(every_command_and_event_is_described)
{
	load();
	for (size_t i = 0; i < SCHEMA_COMMAND_COUNT; i++)
		ck_assert_str_eq(text(entry(schema_commands[i].name), "meta-type"), "command");
	for (size_t i = 0; i < SCHEMA_EVENT__COUNT; i++)
		ck_assert_str_eq(text(entry(schema_events[i].name), "meta-type"), "event");
	json_release(entries);
}
END_TEST

START_TEST(shapes_are_those_of_qmp)
{
	json_t *object, *m;

	load();
	object = entry(text(entry("block-commit"), "arg-type"));
	ck_assert(json_is_null(json_object_get(member(object, "speed"), "default")));
	ck_assert_str_eq(text(member(object, "speed"), "type"), "int");
	ck_assert_ptr_null(json_object_get(member(object, "device"), "default"));
	m = json_object_get(member(object, "top"), "features");
	ck_assert_str_eq(json_string_value(json_array_get(m, 0)), "deprecated");

	object = entry(text(entry("blockdev-add"), "arg-type"));
	ck_assert_str_eq(text(object, "tag"), "driver");
	m = json_object_get(variant(object, "file"), "features");
	ck_assert_str_eq(json_string_value(json_array_get(m, 0)), "dynamic-auto-read-only");
	m = entry(text(member(variant(object, "qcow2"), "backing"), "type"));
	ck_assert_str_eq(text(m, "meta-type"), "alternate");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "members")), 3);
	ck_assert_str_eq(text(member(variant(object, "null-co"), "latency-ns"), "type"), "int");

	m = entry(text(member(object, "detect-zeroes"), "type"));
	ck_assert_str_eq(text(m, "meta-type"), "enum");
	ck_assert_uint_eq(json_array_size(json_object_get(m, "values")), 3);
	ck_assert_str_eq(text(json_array_get(json_object_get(m, "members"), 2), "name"), "unmap");

	ck_assert_str_eq(text(entry("quit"), "arg-type"), text(entry("quit"), "ret-type"));
	ck_assert_ptr_null(json_object_get(entry("quit"), "allow-oob"));
	m = entry(text(entry("query-jobs"), "ret-type"));
	ck_assert_str_eq(text(m, "meta-type"), "array");
	ck_assert_int_eq(text(m, "name")[0], '[');
	ck_assert_str_eq(text(entry("any"), "json-type"), "value");
	json_release(entries);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(names_are_unique_and_all_that_is_mentioned_exists),
	UNIT_TEST(every_command_and_event_is_described),
	UNIT_TEST(shapes_are_those_of_qmp),
};

UNIT_MAIN("schema_introspect", tests)
