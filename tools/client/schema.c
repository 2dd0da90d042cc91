/* SPDX-License-Identifier: MIT */
/*
 * The daemon's own description of its commands, as query-qmp-schema tells it.
 */
#include <string.h>

#include "tools/client/client.h"

int schema_get(struct session *s, struct schema *ret, struct error **errp)
{
	*ret = (struct schema){0};
	int r = session_execute(s, "query-qmp-schema", NULL, &ret->entities, errp);
	if (r < 0)
		return r;
	ret->by_name = json_object();
	size_t i;
	json_t *entity;
	json_array_foreach (ret->entities, i, entity) {
		const char *name = schema_text(entity, "name");
		if (name)
			json_object_set(ret->by_name, name, entity);
	}
	return 0;
}

void schema_finish(struct schema *schema)
{
	json_release(schema->by_name);
	json_release(schema->entities);
	*schema = (struct schema){0};
}

json_t *schema_find(const struct schema *schema, const char *name)
{
	return name ? json_object_get(schema->by_name, name) : NULL;
}

const char *schema_text(const json_t *json, const char *key)
{
	return json_string_value(json_object_get(json, key));
}

json_t *schema_arguments(const struct schema *schema, const char *command)
{
	const json_t *entity = schema_find(schema, command);
	const char *meta = schema_text(entity, "meta-type");
	if (!meta || strcmp(meta, "command") != 0)
		return NULL;
	return schema_find(schema, schema_text(entity, "arg-type"));
}

json_t *schema_type_of(const struct schema *schema, const json_t *member)
{
	return schema_find(schema, schema_text(member, "type"));
}

/* The type of what the tag's value in @values brings; NULL for nothing. */
static const json_t *variant(const struct schema *schema, const json_t *type, const json_t *values)
{
	const char *tag = schema_text(type, "tag");
	const char *value = tag ? schema_text(values, tag) : NULL;
	size_t i;
	json_t *v;
	json_array_foreach (json_object_get(type, "variants"), i, v) {
		if (string_equal(schema_text(v, "case"), value))
			return schema_type_of(schema, v);
	}
	return NULL;
}

void schema_each_member(const struct schema *schema, const json_t *type, const json_t *values,
			bool (*fn)(void *arg, const json_t *member), void *arg)
{
	for (; type; type = variant(schema, type, values)) {
		size_t i;
		json_t *member;
		json_array_foreach (json_object_get(type, "members"), i, member) {
			if (!fn(arg, member))
				return;
		}
	}
}

struct search {
	const char *key;
	size_t length;
	const json_t *found;
};

static bool compare(void *arg, const json_t *member)
{
	struct search *s = arg;
	const char *name = schema_text(member, "name");
	if (name && strlen(name) == s->length && strncmp(name, s->key, s->length) == 0)
		s->found = member;
	return !s->found;
}

const json_t *schema_member(const struct schema *schema, const json_t *type, const json_t *values,
			    const char *key, size_t length)
{
	struct search s = {.key = key, .length = length};
	schema_each_member(schema, type, values, compare, &s);
	return s.found;
}

static void each_value(const json_t *entity, void (*fn)(void *arg, const char *word), void *arg)
{
	size_t i;
	json_t *value;
	json_array_foreach (json_object_get(entity, "values"), i, value)
		fn(arg, json_string_value(value));
}

void schema_each_word(const struct schema *schema, const json_t *type,
		      void (*fn)(void *arg, const char *word), void *arg)
{
	const char *meta = schema_text(type, "meta-type"), *kind = schema_text(type, "json-type");
	size_t i;
	json_t *member;
	if (string_equal(meta, "enum")) {
		each_value(type, fn, arg);
	} else if (string_equal(kind, "boolean")) {
		fn(arg, "on");
		fn(arg, "off");
	} else if (string_equal(meta, "alternate")) {
		json_array_foreach (json_object_get(type, "members"), i, member)
			schema_each_word(schema, schema_type_of(schema, member), fn, arg);
	} else {
		fn(arg, NULL);
	}
}
