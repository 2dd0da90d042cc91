/* SPDX-License-Identifier: MIT */
/*
 * query-qmp-schema, made from the tables that decoding uses. Any thread.
 *
 * Commands and events come first, then types in the order in which they are
 * first mentioned, breadth first. A type without storage of its own in JSON is
 * masked: integers of every width are "int", objects and enums are numbered.
 */
#include "schema/introspect.h"

#include <stdlib.h>

#include "schema/json.h"
#include "schema/tables.h"
#include "schema/walk.h"

/* No arguments, no result, no branch: all the same object without members. */
static const struct schema_type empty_type = {.name = "", .kind = SCHEMA_STRUCT};

struct introspect {
	struct schema_info_list *list;
	struct worklist queue;              /* const struct schema_type *, in order of mention */
	uint16_t numbers[SCHEMA_TYPE_COUNT]; /* by type id; 0: not mentioned yet, else number + 1 */
	bool has_builtin[SCHEMA_ANY + 1];
	unsigned next_number;
};

static struct str_list feature_list(const char *const *features, bool *ret_has)
{
	struct str_list list = {0, NULL};

	for (; features && *features; features++)
		str_list_append(&list, xstrdup(*features));
	*ret_has = list.count > 0;
	return list;
}

static struct schema_info *add_info(struct introspect *in, char *name, enum schema_meta_type meta,
				    const char *const *features)
{
	struct schema_info *info = NEW(struct schema_info);

	info->name = name;
	info->meta_type = meta;
	info->features = feature_list(features, &info->has_features);
	schema_info_list_append(in->list, info);
	return info;
}

static void queue_type(struct introspect *in, const struct schema_type *t)
{
	*(const struct schema_type **)worklist_push(&in->queue) = t;
}

/* How a builtin type is called: sizes and integers of all widths are one. */
static const char *builtin_name(const struct schema_type *t)
{
	return t->kind == SCHEMA_INT || t->kind == SCHEMA_SIZE ? "int" : t->name;
}

static bool is_builtin(const struct schema_type *t)
{
	return t->kind <= SCHEMA_ANY;
}

static void queue_builtin(struct introspect *in, const struct schema_type *t)
{
	int kind = t->kind == SCHEMA_SIZE ? SCHEMA_INT : t->kind;

	if (!in->has_builtin[kind])
		queue_type(in, t);
	in->has_builtin[kind] = true;
}

/*
 * The name under which @t is referred to; queues it when it is new. The empty
 * object has id 0. A list is called "[name]" of its element and comes before it.
 * Free with free().
 */
static char *mention(struct introspect *in, const struct schema_type *t)
{
	const struct schema_type *element = t->kind == SCHEMA_LIST ? t->element : NULL;
	bool is_new = in->numbers[t->id] == 0;

	if (is_builtin(t)) {
		queue_builtin(in, t);
		return xstrdup(builtin_name(t));
	}
	if (element) {
		char *name, *inner;

		in->numbers[t->id] = 1;
		if (is_new)
			queue_type(in, t);
		inner = mention(in, element);
		name = xasprintf("[%s]", inner);
		free(inner);
		return name;
	}
	if (is_new) {
		in->numbers[t->id] = (uint16_t)++in->next_number;
		queue_type(in, t);
	}
	return xasprintf("%u", in->numbers[t->id] - 1u);
}

static struct schema_info_object_member *object_member(struct introspect *in,
						       const struct schema_member *m)
{
	struct schema_info_object_member *info = NEW(struct schema_info_object_member);

	info->name = xstrdup(m->name);
	info->type = mention(in, m->type);
	if (m->optional)
		info->default_ = json_null();
	info->features = feature_list(m->features, &info->has_features);
	return info;
}

static void add_variants(struct introspect *in, const struct schema_type *t,
			 struct schema_info_object *info)
{
	const struct schema_member *tag = &t->members[t->tag];

	info->tag = xstrdup(tag->name);
	info->has_variants = true;
	for (int value = 0; value < tag->type->count; value++) {
		const struct schema_type *branch = t->branches[value];
		struct schema_info_object_variant *v = NEW(struct schema_info_object_variant);

		v->case_ = xstrdup(tag->type->values[value]);
		v->type = mention(in, branch ? branch : &empty_type);
		schema_info_object_variant_list_append(&info->variants, v);
	}
}

static void describe_object(struct introspect *in, const struct schema_type *t, char *name)
{
	struct schema_info *info = add_info(in, name, SCHEMA_META_TYPE_OBJECT, t->features);

	for (int i = 0; i < t->count; i++)
		schema_info_object_member_list_append(&info->u.object.members,
						      object_member(in, &t->members[i]));
	if (t->kind == SCHEMA_UNION)
		add_variants(in, t, &info->u.object);
}

static void describe_enum(struct introspect *in, const struct schema_type *t, char *name)
{
	struct schema_info *info = add_info(in, name, SCHEMA_META_TYPE_ENUM, t->features);

	for (int i = 0; i < t->count; i++) {
		struct schema_info_enum_member *m = NEW(struct schema_info_enum_member);

		m->name = xstrdup(t->values[i]);
		m->features = feature_list(t->value_features ? t->value_features[i] : NULL,
					   &m->has_features);
		schema_info_enum_member_list_append(&info->u.enum_.members, m);
		str_list_append(&info->u.enum_.values, xstrdup(t->values[i]));
	}
}

static void describe_alternate(struct introspect *in, const struct schema_type *t, char *name)
{
	struct schema_info *info = add_info(in, name, SCHEMA_META_TYPE_ALTERNATE, t->features);

	for (int i = 0; i < t->count; i++) {
		struct schema_info_alternate_member *m = NEW(struct schema_info_alternate_member);

		m->type = mention(in, t->members[i].type);
		schema_info_alternate_member_list_append(&info->u.alternate.members, m);
	}
}

static void describe_builtin(struct introspect *in, const struct schema_type *t, char *name)
{
	static const enum json_type types[] = {
		[SCHEMA_NULL] = JSON_TYPE_NULL,   [SCHEMA_BOOL] = JSON_TYPE_BOOLEAN,
		[SCHEMA_INT] = JSON_TYPE_INT,     [SCHEMA_SIZE] = JSON_TYPE_INT,
		[SCHEMA_NUMBER] = JSON_TYPE_NUMBER, [SCHEMA_STR] = JSON_TYPE_STRING,
		[SCHEMA_ANY] = JSON_TYPE_VALUE,
	};

	add_info(in, name, SCHEMA_META_TYPE_BUILTIN, NULL)->u.builtin.json_type = types[t->kind];
}

static void describe_type(struct introspect *in, const struct schema_type *t)
{
	char *name = mention(in, t);

	if (t->kind == SCHEMA_LIST)
		add_info(in, name, SCHEMA_META_TYPE_ARRAY, NULL)->u.array.element_type =
			mention(in, t->element);
	else if (t->kind == SCHEMA_ENUM)
		describe_enum(in, t, name);
	else if (t->kind == SCHEMA_ALTERNATE)
		describe_alternate(in, t, name);
	else if (is_builtin(t))
		describe_builtin(in, t, name);
	else
		describe_object(in, t, name);
}

static void describe_command(struct introspect *in, const struct schema_command *c)
{
	struct schema_info *info =
		add_info(in, xstrdup(c->name), SCHEMA_META_TYPE_COMMAND, c->features);

	info->u.command.arg_type = mention(in, c->args ? c->args : &empty_type);
	info->u.command.ret_type = mention(in, c->ret ? c->ret : &empty_type);
	info->u.command.has_allow_oob = info->u.command.allow_oob = c->oob;
}

static void describe_event(struct introspect *in, const struct schema_event_info *e)
{
	struct schema_info *info =
		add_info(in, xstrdup(e->name), SCHEMA_META_TYPE_EVENT, e->features);

	info->u.event.arg_type = mention(in, e->type ? e->type : &empty_type);
}

void schema_introspect(struct schema_info_list *ret)
{
	const struct schema_type *storage[64];
	struct introspect in = {.list = ret, .queue = WORKLIST(storage)};

	*ret = (struct schema_info_list){0, NULL};
	for (size_t i = 0; i < SCHEMA_COMMAND_COUNT; i++)
		describe_command(&in, &schema_commands[i]);
	for (size_t i = 0; i < SCHEMA_EVENT__COUNT; i++)
		describe_event(&in, &schema_events[i]);
	for (size_t i = 0; i < in.queue.count; i++)
		describe_type(&in, ((const struct schema_type **)in.queue.items)[i]);
	worklist_finish(&in.queue);
}
