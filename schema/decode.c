/* SPDX-License-Identifier: MIT */
/*
 * From a JSON tree to a C object. Any thread.
 *
 * Each object of the input is one entry of a queue: its scalars are decoded
 * where it stands, objects inside it are allocated, hung into their place and
 * queued. An entry remembers its parent, from which an error message builds the
 * path. On failure the whole tree, hung together as it is, is freed.
 */
#include <math.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "schema/json.h"
#include "schema/keyval.h"
#include "schema/walk.h"

#define NO_PARENT ((size_t)-1)
#define NO_INDEX ((size_t)-1)

/* An object to be filled in, and where it is in the input. */
struct decode_entry {
	const struct schema_type *type;
	json_t *json;
	char *object;
	size_t parent;    /* index of the entry around it */
	const char *name; /* of the member there; NULL for the root without a name */
	size_t index;     /* in that member's list, or NO_INDEX */
	unsigned depth;
};

struct decode {
	struct worklist queue;
	enum schema_input input;
	struct error **errp;
};

/* One value of an entry: what error messages and new entries need to know. */
struct place {
	size_t parent;
	const char *name;
	size_t index;
	unsigned depth;
};

static struct decode_entry *entry_at(struct decode *d, size_t i)
{
	return (struct decode_entry *)d->queue.items + i;
}

/* How JSON calls the type, for messages. */
static const char *expected(const struct schema_type *t)
{
	switch (t->kind) {
	case SCHEMA_NULL:
		return "null";
	case SCHEMA_BOOL:
		return "boolean";
	case SCHEMA_INT:
	case SCHEMA_SIZE:
		return "integer";
	case SCHEMA_NUMBER:
		return "number";
	case SCHEMA_STR:
	case SCHEMA_ENUM:
		return "string";
	case SCHEMA_LIST:
		return "array";
	case SCHEMA_ALTERNATE:
		return t->name;
	default:
		return "object";
	}
}

/* "actions[0].data.x", written from its end backwards; free with free(). */
static char *path_of(struct decode *d, struct place p)
{
	char *path = xstrdup("");

	for (;;) {
		_cleanup_free_ char *tail = path;
		const char *dot = *tail ? "." : "";

		if (p.index != NO_INDEX)
			path = xasprintf("%s[%zu]%s%s", p.name ? p.name : "", p.index, dot, tail);
		else
			path = xasprintf("%s%s%s", p.name ? p.name : "", p.name ? dot : "", tail);
		if (p.parent == NO_PARENT)
			return path;
		p = (struct place){entry_at(d, p.parent)->parent, entry_at(d, p.parent)->name,
				   entry_at(d, p.parent)->index, 0};
	}
}

static int fail_type(struct decode *d, struct place p, const struct schema_type *t)
{
	_cleanup_free_ char *path = path_of(d, p);

	return error_set(d->errp, -EINVAL, "Invalid parameter type for '%s', expected: %s",
			 *path ? path : "arguments", expected(t));
}

static int fail_expects(struct decode *d, struct place p, const char *what)
{
	_cleanup_free_ char *path = path_of(d, p);

	return error_set(d->errp, -ERANGE, "Parameter '%s' expects %s", path, what);
}

static int fail_is(struct decode *d, struct place p, const char *what)
{
	_cleanup_free_ char *path = path_of(d, p);

	return error_set(d->errp, -EINVAL, "Parameter '%s' is %s", path, what);
}

/* key=value text has dotted keys where none may be. */
static int fail_group(struct decode *d, struct place p)
{
	_cleanup_free_ char *path = path_of(d, p);

	return error_set(d->errp, -EINVAL, "Parameters '%s.*' are unexpected", path);
}

/* Of 64 bits without a sign, negative numbers are those at the upper end. */
static int store_int(struct decode *d, struct place p, const struct schema_type *t, int64_t value,
		     char *slot)
{
	_cleanup_free_ char *range = NULL;

	if (t->kind == SCHEMA_INT) {
		unsigned bits = t->size * 8 - (t->is_signed ? 1 : 0);
		bool fits = t->is_signed ? bits == 63 || value >> bits == 0 || value >> bits == -1
					 : bits == 64 || (value >= 0 && value >> bits == 0);

		if (!fits) {
			range = xasprintf("%s_t", t->name);
			return fail_expects(d, p, range);
		}
	}
	schema_store_int(t, slot, value);
	return 0;
}

/* In file names, 64-bit integers may be written as sizes: many of them are. */
static int parse_int_text(struct decode *d, const struct schema_type *t, const char *text,
			  int64_t *ret)
{
	uint64_t size;
	int r = keyval_parse_int(text, ret);

	if (r == 0 || d->input != SCHEMA_INPUT_EITHER || t->size < 8)
		return r;
	r = keyval_parse_size(text, &size);
	if (r < 0 || size > INT64_MAX)
		return -EINVAL;
	*ret = (int64_t)size;
	return 0;
}

/* A scalar as text. */
static int decode_text(struct decode *d, struct place p, const struct schema_type *t,
		       const char *text, char *slot)
{
	int64_t number;
	uint64_t size;

	switch (t->kind) {
	case SCHEMA_BOOL:
		if (keyval_parse_bool(text, (bool *)slot) < 0)
			return fail_expects(d, p, "'on' or 'off'");
		return 0;
	case SCHEMA_INT:
		if (parse_int_text(d, t, text, &number) < 0)
			return fail_expects(d, p, "integer");
		return store_int(d, p, t, number, slot);
	case SCHEMA_SIZE:
		if (keyval_parse_size(text, &size) < 0)
			return fail_expects(d, p, "a size value representible as a 64-bit number; "
						  "a suffix may be k, M, G, T, P or E");
		memcpy(slot, &size, sizeof(size));
		return 0;
	case SCHEMA_NUMBER:
		if (keyval_parse_number(text, (double *)slot) < 0)
			return fail_expects(d, p, "a number");
		return 0;
	default:
		return fail_type(d, p, t);
	}
}

static int decode_enum(struct decode *d, struct place p, const struct schema_type *t,
		       json_t *json, char *slot)
{
	_cleanup_free_ char *path = NULL;
	const char *text = json_string_value(json);
	int value;

	if (!text)
		return fail_type(d, p, t);
	if (schema_enum_from_name(t, text, &value) == 0) {
		memcpy(slot, &value, sizeof(value));
		return 0;
	}
	/* Clients know the member's own name here, not the way to it. */
	path = p.name && p.index == NO_INDEX ? xstrdup(p.name) : path_of(d, p);
	return error_set(d->errp, -EINVAL, "Parameter '%s' does not accept value '%s'", path, text);
}

static int decode_str(struct decode *d, struct place p, const struct schema_type *t, json_t *json,
		      char *slot)
{
	const char *text = json_string_value(json);

	if (text)
		*(char **)slot = xstrdup(text);
	/* In file names, ports and the like may be written as numbers. */
	else if (d->input == SCHEMA_INPUT_EITHER && json_is_integer(json))
		*(char **)slot = xasprintf("%" JSON_INTEGER_FORMAT, json_integer_value(json));
	else
		return fail_type(d, p, t);
	return 0;
}

static int decode_scalar(struct decode *d, struct place p, const struct schema_type *t,
			 json_t *json, char *slot)
{
	if (d->input == SCHEMA_INPUT_TEXT && !json_is_string(json) && t->kind != SCHEMA_ANY)
		return fail_group(d, p);
	if (t->kind == SCHEMA_ENUM)
		return decode_enum(d, p, t, json, slot);
	if (t->kind == SCHEMA_STR)
		return decode_str(d, p, t, json, slot);
	if (t->kind == SCHEMA_ANY) {
		*(json_t **)slot = json_incref(json);
		return 0;
	}
	if (d->input != SCHEMA_INPUT_STRICT && json_is_string(json))
		return decode_text(d, p, t, json_string_value(json), slot);
	if (t->kind == SCHEMA_NULL && json_is_null(json))
		return 0;
	if (t->kind == SCHEMA_BOOL && json_is_boolean(json)) {
		*(bool *)slot = json_is_true(json);
		return 0;
	}
	if ((t->kind == SCHEMA_INT || t->kind == SCHEMA_SIZE) && json_is_integer(json))
		return store_int(d, p, t, json_integer_value(json), slot);
	if (t->kind == SCHEMA_NUMBER && json_is_number(json)) {
		*(double *)slot = json_number_value(json);
		return 0;
	}
	if (t->kind == SCHEMA_SIZE || (t->kind == SCHEMA_INT && !t->is_signed))
		return fail_expects(d, p, "uint64");
	return fail_type(d, p, t);
}

static int decode_value(struct decode *d, struct place p, const struct schema_type *t,
			json_t *json, char *slot);

/* Hang a new, empty object into @slot and queue it. */
static int decode_later(struct decode *d, struct place p, const struct schema_type *t,
			json_t *json, char *slot)
{
	char *object;

	if (t->kind != SCHEMA_ALTERNATE && !json_is_object(json))
		return fail_type(d, p, t);
	if (p.depth >= SCHEMA_DEPTH_MAX)
		return fail_is(d, p, "nested too deeply");
	object = xalloc(1, t->size);
	*(char **)slot = object;
	*(struct decode_entry *)worklist_push(&d->queue) =
		(struct decode_entry){t, json, object, p.parent, p.name, p.index, p.depth};
	return 0;
}

static int decode_list(struct decode *d, struct place p, const struct schema_type *t,
		       json_t *json, char *slot)
{
	struct schema_list *list = (struct schema_list *)slot;
	size_t stride = schema_item_size(t->element);
	size_t count = json_array_size(json);
	int r;

	if (!json_is_array(json))
		return fail_type(d, p, t);
	if (count == 0)
		return 0;
	list->items = schema_list_room(count, stride);
	list->count = count;
	for (size_t i = 0; i < count; i++) {
		p.index = i;
		r = decode_value(d, p, t->element, json_array_get(json, i),
				 (char *)list->items + i * stride);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Lists do not nest in the schema, so the recursion through decode_list() is one deep. */
static int decode_value(struct decode *d, struct place p, const struct schema_type *t,
			json_t *json, char *slot)
{
	if (t->kind == SCHEMA_LIST)
		return decode_list(d, p, t, json, slot);
	if (schema_is_compound(t))
		return decode_later(d, p, t, json, slot);
	return decode_scalar(d, p, t, json, slot);
}

static bool alternate_accepts(const struct decode *d, const struct schema_type *branch,
			      json_t *json)
{
	bool is_text = d->input != SCHEMA_INPUT_STRICT && json_is_string(json);

	switch (branch->kind) {
	case SCHEMA_NULL:
		return json_is_null(json);
	case SCHEMA_BOOL:
		return json_is_boolean(json) || is_text;
	case SCHEMA_INT:
	case SCHEMA_SIZE:
		return json_is_integer(json) || is_text;
	case SCHEMA_NUMBER:
		return json_is_number(json) || is_text;
	case SCHEMA_STR:
	case SCHEMA_ENUM:
		return json_is_string(json);
	case SCHEMA_LIST:
		return json_is_array(json);
	default:
		return json_is_object(json);
	}
}

static int decode_alternate(struct decode *d, const struct decode_entry *e)
{
	struct place p = {e->parent, e->name, e->index, e->depth};

	for (int kind = 0; kind < e->type->count; kind++) {
		const struct schema_member *m = &e->type->members[kind];

		if (!alternate_accepts(d, m->type, e->json))
			continue;
		memcpy(e->object, &kind, sizeof(kind));
		return decode_value(d, p, m->type, e->json, e->object + m->offset);
	}
	return fail_type(d, p, e->type);
}

/*
 * Find a member by name, first at *hint: input that comes in the order of the
 * schema costs one comparison a member.
 */
static int member_index(const struct schema_type *t, const char *name, unsigned *hint)
{
	for (unsigned i = 0; i < t->count; i++) {
		unsigned at = *hint + i < t->count ? *hint + i : *hint + i - t->count;

		if (strcmp(t->members[at].name, name) == 0) {
			*hint = at + 1;
			return (int)at;
		}
	}
	return -1;
}

/* Up to 128 members of one type, as a set. */
struct member_set {
	uint64_t bits[2];
};

static int decode_member(struct decode *d, struct place p, const struct schema_member *m,
			 json_t *json, char *base)
{
	char *slot = base + m->offset;
	int r;

	p.name = m->name;
	r = decode_value(d, p, m->type, json, slot);
	if (r == 0 && m->has_offset >= 0)
		*schema_member_flag(m, slot) = true;
	return r;
}

/* Decode those of the input's members that belong to @t, and count them in *found. */
static int decode_members(struct decode *d, struct place p, const struct schema_type *t,
			  json_t *json, char *base, size_t *found)
{
	struct member_set seen = {{0, 0}};
	unsigned hint = 0;
	const char *key;
	json_t *value;
	int r;

	json_object_foreach(json, key, value) {
		int i = member_index(t, key, &hint);

		if (i < 0)
			continue;
		seen.bits[i / 64] |= UINT64_C(1) << (i % 64);
		(*found)++;
		r = decode_member(d, p, &t->members[i], value, base);
		if (r < 0)
			return r;
	}
	for (unsigned i = 0; i < t->count; i++) {
		const struct schema_member *m = &t->members[i];

		if (seen.bits[i / 64] >> (i % 64) & 1)
			continue;
		p.name = m->name;
		if (!m->optional)
			return fail_is(d, p, "missing");
		if (m->has_initial)
			schema_store_int(m->type, base + m->offset, m->initial);
	}
	return 0;
}

/* Whether @name is a member of @t or of the branch that the object at @base has chosen. */
static bool is_member(const struct schema_type *t, const char *base, const char *name)
{
	unsigned hint = 0;

	while (t) {
		if (member_index(t, name, &hint) >= 0)
			return true;
		if (t->kind != SCHEMA_UNION)
			return false;
		base += t->branch_offset;
		t = schema_branch(t, base - t->branch_offset);
		hint = 0;
	}
	return false;
}

static int fail_unexpected(struct decode *d, struct place p, const struct decode_entry *e)
{
	const char *key;
	json_t *value;

	json_object_foreach(e->json, key, value) {
		if (is_member(e->type, e->object, key))
			continue;
		p.name = key;
		if (d->input == SCHEMA_INPUT_TEXT && !json_is_string(value))
			return fail_group(d, p);
		return fail_is(d, p, "unexpected");
	}
	return 0;
}

/* A struct, or the common members of a union and then those of its branch. */
static int decode_object(struct decode *d, const struct decode_entry *e, size_t self)
{
	struct place p = {.parent = self, .index = NO_INDEX, .depth = e->depth + 1};
	const struct schema_type *t = e->type;
	char *base = e->object;
	size_t found = 0;

	while (t) {
		char *common = base;
		int r = decode_members(d, p, t, e->json, base, &found);

		if (r < 0)
			return r;
		base += t->branch_offset;
		t = t->kind == SCHEMA_UNION ? schema_branch(t, common) : NULL;
	}
	return found == json_object_size(e->json) ? 0 : fail_unexpected(d, p, e);
}

/* The storage of a root that is no object: what schema_free() expects. */
static int decode_root(struct decode *d, struct place p, const struct schema_type *t,
		       json_t *json, void **root)
{
	if (schema_is_pointer(t))
		return decode_value(d, p, t, json, (char *)root);
	*root = xalloc(1, MAX(t->size, 1));
	return decode_value(d, p, t, json, *root);
}

int schema_decode_input(const struct schema_type *t, struct json_t *json, enum schema_input input,
			const char *what, void **ret, struct error **errp)
{
	struct decode_entry storage[8];
	struct decode d = {.queue = WORKLIST(storage), .input = input, .errp = errp};
	struct place p = {NO_PARENT, what, NO_INDEX, 0};
	void *root = NULL;
	int r = decode_root(&d, p, t, json, &root);

	for (size_t i = 0; r == 0 && i < d.queue.count; i++) {
		struct decode_entry e = *entry_at(&d, i);

		if (e.type->kind == SCHEMA_ALTERNATE)
			r = decode_alternate(&d, &e);
		else
			r = decode_object(&d, &e, i);
	}
	worklist_finish(&d.queue);
	if (r < 0)
		schema_free(t, root);
	else
		*ret = root;
	return r;
}

int schema_decode(const struct schema_type *t, struct json_t *json, const char *what, void **ret,
		  struct error **errp)
{
	return schema_decode_input(t, json, SCHEMA_INPUT_STRICT, what, ret, errp);
}

int schema_decode_keyval(const struct schema_type *t, const char *text, const char *implied_key,
			 void **ret, struct error **errp)
{
	json_t *json;
	bool is_json = text[0] == '{';
	int r = is_json ? json_text_parse(text, strlen(text), &json, errp)
			: keyval_parse(text, implied_key, &json, errp);

	if (r < 0)
		return r;
	r = schema_decode_input(t, json, is_json ? SCHEMA_INPUT_STRICT : SCHEMA_INPUT_TEXT, NULL,
				ret, errp);
	json_release(json);
	return r;
}
