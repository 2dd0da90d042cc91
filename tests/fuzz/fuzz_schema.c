/* SPDX-License-Identifier: MIT */
/*
 * schema/decode and encode: for the arguments of every command, what is accepted
 * is the same after writing and reading, as a tree, and as a copy; what is not
 * accepted gives an error. The input is used twice: as JSON text, and as a list of
 * decisions by which a tree is grown along the description of a type, so that
 * most of it is right and reaches the depths.
 */
#include <string.h>

#include "base/error.h"
#include "schema/json.h"
#include "schema/tables.h"
#include "tests/fuzz/fuzz.h"

static void check_accepted(const struct schema_type *t, void *object)
{
	void *copy = schema_clone(t, object), *from_tree = NULL, *from_text = NULL;
	json_t *tree = schema_encode(t, object);
	char *text = schema_encode_json_text(t, object);

	FUZZ_CHECK(schema_decode(t, tree, NULL, &from_tree, NULL) == 0);
	json_release(tree);
	FUZZ_CHECK(json_text_parse(text, strlen(text), &tree, NULL) == 0);
	FUZZ_CHECK(schema_decode(t, tree, NULL, &from_text, NULL) == 0);
	FUZZ_CHECK(schema_equal(t, object, copy));
	schema_free(t, object);
	FUZZ_CHECK(schema_equal(t, copy, from_tree));
	FUZZ_CHECK(schema_equal(t, copy, from_text));
	json_release(tree);
	free(text);
	schema_free(t, copy);
	schema_free(t, from_tree);
	schema_free(t, from_text);
}

static void try_type(const struct schema_type *t, json_t *json, enum schema_input input)
{
	struct error *error = NULL;
	void *object = NULL;
	int r = schema_decode_input(t, json, input, NULL, &object, &error);

	FUZZ_CHECK((r < 0) == (error != NULL) && (r < 0) == (object == NULL));
	if (object)
		check_accepted(t, object);
	error_free(error);
}

/* Decisions yet to be taken; all zero after the last. */
struct decisions {
	const uint8_t *data;
	size_t left;
};

static unsigned decide(struct decisions *d, unsigned choices)
{
	if (d->left == 0)
		return 0;
	d->left--;
	return *d->data++ % choices;
}

static json_t *grow(struct decisions *d, const struct schema_type *t, unsigned depth);

static void grow_members(struct decisions *d, const struct schema_type *t, json_t *object,
			 unsigned depth)
{
	for (int i = 0; i < t->count; i++) {
		const struct schema_member *m = &t->members[i];

		/* Now and then a required member is missing. */
		if (decide(d, m->optional ? 3 : 50) == (m->optional ? 0 : 49))
			continue;
		json_object_set_new(object, m->name, grow(d, m->type, depth + 1));
	}
}

static json_t *grow_object(struct decisions *d, const struct schema_type *t, unsigned depth)
{
	json_t *object = json_object();

	grow_members(d, t, object, depth);
	while (t && t->kind == SCHEMA_UNION) {
		const struct schema_member *tag = &t->members[t->tag];
		const char *text = json_string_value(json_object_get(object, tag->name));
		int value;

		if (!text || schema_enum_from_name(tag->type, text, &value) < 0)
			break;
		t = t->branches[value];
		if (t)
			grow_members(d, t, object, depth);
	}
	if (decide(d, 50) == 49)
		json_object_set_new(object, "stranger", json_null());
	return object;
}

static json_t *grow_list(struct decisions *d, const struct schema_type *t, unsigned depth)
{
	json_t *list = json_array();

	for (unsigned n = decide(d, 5); n > 0; n--)
		json_array_append_new(list, grow(d, t->element, depth + 1));
	return list;
}

static json_t *grow_int(struct decisions *d)
{
	static const int64_t numbers[] = {0, 1, -1, 255, 256, 65535, 65536, UINT32_MAX,
					  INT64_C(1) << 32, INT64_MAX, INT64_MIN};

	return json_integer(numbers[decide(d, 11)]);
}

static json_t *grow(struct decisions *d, const struct schema_type *t, unsigned depth)
{
	static const char *const texts[] = {"", "a", "on", "4k", "\xc3\xa9", "null-co"};

	if (depth > 12 || decide(d, 60) == 59)
		return json_null();
	switch (t->kind) {
	case SCHEMA_BOOL:
		return decide(d, 8) == 7 ? json_string("off") : json_boolean(decide(d, 2));
	case SCHEMA_INT:
	case SCHEMA_SIZE:
		return decide(d, 8) == 7 ? json_string(texts[decide(d, 6)]) : grow_int(d);
	case SCHEMA_NUMBER:
		return json_real(decide(d, 256) / 8.0);
	case SCHEMA_STR:
		return json_string(texts[decide(d, 6)]);
	case SCHEMA_ENUM:
		return json_string(t->values[decide(d, t->count)]);
	case SCHEMA_LIST:
		return grow_list(d, t, depth);
	case SCHEMA_STRUCT:
	case SCHEMA_UNION:
		return grow_object(d, t, depth);
	case SCHEMA_ALTERNATE:
		return grow(d, t->members[decide(d, t->count)].type, depth);
	default:
		return json_null();
	}
}

static void grow_and_try(const uint8_t *data, size_t size)
{
	struct decisions d = {data, size};
	const struct schema_command *c = &schema_commands[decide(&d, SCHEMA_COMMAND_COUNT)];
	const struct schema_type *t = c->args ? c->args : c->ret;
	json_t *json;

	if (!t)
		return;
	json = grow(&d, t, 0);
	try_type(t, json, (enum schema_input)decide(&d, 3));
	json_release(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *json;

	grow_and_try(data, size);
	if (json_text_parse((const char *)data, size, &json, NULL) < 0)
		return 0;
	for (size_t i = 0; i < SCHEMA_COMMAND_COUNT; i++)
		if (schema_commands[i].args)
			for (int input = SCHEMA_INPUT_STRICT; input <= SCHEMA_INPUT_EITHER; input++)
				try_type(schema_commands[i].args, json, (enum schema_input)input);
	for (size_t i = 0; i < SCHEMA_EVENT__COUNT; i++)
		try_type(schema_events[i].type, json, SCHEMA_INPUT_STRICT);
	try_type(&schema_info_type, json, SCHEMA_INPUT_STRICT);
	json_release(json);
	return 0;
}
