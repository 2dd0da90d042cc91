/* SPDX-License-Identifier: MIT */
/*
 * What can be done with an object of a described type without looking at JSON:
 * freeing, copying, comparing; the builtin types; enums. Any thread.
 */
#include "schema/schema.h"

#include <assert.h>

#include "base/error.h"
#include "schema/json.h"
#include "schema/walk.h"

const struct schema_type null_type = {.name = "null", .kind = SCHEMA_NULL};
const struct schema_type bool_type = {.name = "bool", .kind = SCHEMA_BOOL, .size = sizeof(bool)};
const struct schema_type size_type = {.name = "size", .kind = SCHEMA_SIZE, .size = 8};
const struct schema_type number_type = {
	.name = "number", .kind = SCHEMA_NUMBER, .size = sizeof(double)};
const struct schema_type str_type = {.name = "str", .kind = SCHEMA_STR, .size = sizeof(char *)};
const struct schema_type any_type = {.name = "any", .kind = SCHEMA_ANY, .size = sizeof(json_t *)};

#define INT_TYPE(c, text, bytes, sign)                                                             \
	const struct schema_type c = {                                                             \
		.name = text, .kind = SCHEMA_INT, .size = bytes, .is_signed = sign}
INT_TYPE(int_type, "int", 8, true);
INT_TYPE(int8_type, "int8", 1, true);
INT_TYPE(int16_type, "int16", 2, true);
INT_TYPE(int32_type, "int32", 4, true);
INT_TYPE(int64_type, "int64", 8, true);
INT_TYPE(uint8_type, "uint8", 1, false);
INT_TYPE(uint16_type, "uint16", 2, false);
INT_TYPE(uint32_type, "uint32", 4, false);
INT_TYPE(uint64_type, "uint64", 8, false);

int64_t schema_load_int(const struct schema_type *t, const void *slot)
{
	switch (t->size) {
	case 1:
		return t->is_signed ? *(const int8_t *)slot : *(const uint8_t *)slot;
	case 2:
		return t->is_signed ? *(const int16_t *)slot : *(const uint16_t *)slot;
	case 4:
		return t->is_signed ? *(const int32_t *)slot : (int64_t)*(const uint32_t *)slot;
	default:
		return *(const int64_t *)slot;
	}
}

void schema_store_int(const struct schema_type *t, void *slot, int64_t value)
{
	switch (t->size) {
	case 1:
		*(int8_t *)slot = (int8_t)value;
		break;
	case 2:
		*(int16_t *)slot = (int16_t)value;
		break;
	case 4:
		*(int32_t *)slot = (int32_t)value;
		break;
	default:
		*(int64_t *)slot = value;
	}
}

/* A value whose content is still to be freed; its own memory too when owned. */
struct free_work {
	const struct schema_type *type;
	void *object;
	bool owned;
};

static void free_later(struct worklist *l, const struct schema_type *t, void *object, bool owned)
{
	*(struct free_work *)worklist_push(l) = (struct free_work){t, object, owned};
}

static void free_slot(struct worklist *l, const struct schema_type *t, char *slot)
{
	void *pointer;

	if (t->kind == SCHEMA_LIST) {
		struct schema_list *list = (struct schema_list *)slot;
		size_t stride = schema_item_size(t->element);

		if (schema_is_pointer(t->element))
			for (size_t i = 0; i < list->count; i++)
				free_slot(l, t->element, (char *)list->items + i * stride);
		free(list->items);
		return;
	}
	if (!schema_is_pointer(t))
		return;
	pointer = *(void **)slot;
	if (!pointer)
		return;
	if (t->kind == SCHEMA_STR)
		free(pointer);
	else if (t->kind == SCHEMA_ANY)
		json_release(pointer);
	else
		free_later(l, t, pointer, true);
}

static void free_content(struct worklist *l, const struct schema_type *t, void *object)
{
	struct schema_cursor c = schema_cursor_at(t, object);
	const struct schema_member *m;
	char *slot;

	while ((m = schema_cursor_next(&c, &slot)))
		free_slot(l, m->type, slot);
}

static void free_all(const struct schema_type *t, void *object, bool owned)
{
	struct free_work storage[16], *work;
	struct worklist l = WORKLIST(storage);

	if (schema_is_compound(t)) {
		free_later(&l, t, object, owned);
	} else if (t->kind == SCHEMA_LIST) {
		free_slot(&l, t, object);
		if (owned)
			free(object);
	} else if (owned) {
		free_slot(&l, t, (char *)&object);
	} else {
		free_slot(&l, t, object);
	}
	while ((work = worklist_pop(&l))) {
		struct free_work w = *work;

		free_content(&l, w.type, w.object);
		if (w.owned)
			free(w.object);
	}
	worklist_finish(&l);
}

void schema_free(const struct schema_type *t, void *object)
{
	if (!object)
		return;
	if (t->kind < SCHEMA_STR || t->kind == SCHEMA_ENUM)
		free(object);
	else
		free_all(t, object, true);
}

void schema_finish(const struct schema_type *t, void *object)
{
	free_all(t, object, false);
	memset(object, 0, schema_is_pointer(t) && !schema_is_compound(t) ? sizeof(void *) : t->size);
}

/* A copied object whose pointers still are those of the original. */
struct clone_work {
	const struct schema_type *type;
	char *copy;
};

static void clone_slot(struct worklist *l, const struct schema_type *t, char *slot)
{
	void **pointer = (void **)slot;

	if (t->kind == SCHEMA_LIST) {
		struct schema_list *list = (struct schema_list *)slot;
		size_t stride = schema_item_size(t->element);

		if (list->count == 0) {
			list->items = NULL;
			return;
		}
		list->items = memcpy(schema_list_room(list->count, stride), list->items,
				     list->count * stride);
		if (schema_is_pointer(t->element))
			for (size_t i = 0; i < list->count; i++)
				clone_slot(l, t->element, (char *)list->items + i * stride);
		return;
	}
	if (!schema_is_pointer(t) || !*pointer)
		return;
	if (t->kind == SCHEMA_STR) {
		*pointer = xstrdup(*pointer);
	} else if (t->kind == SCHEMA_ANY) {
		json_incref(*pointer);
	} else {
		*pointer = xmemdup(*pointer, t->size);
		*(struct clone_work *)worklist_push(l) = (struct clone_work){t, *pointer};
	}
}

void *schema_clone(const struct schema_type *t, const void *object)
{
	struct clone_work storage[16], *work;
	struct worklist l = WORKLIST(storage);
	void *copy = (void *)object;

	if (!object)
		return NULL;
	if (schema_is_pointer(t)) {
		clone_slot(&l, t, (char *)&copy);
	} else {
		copy = xmemdup(object, t->size);
		clone_slot(&l, t, copy);
	}
	while ((work = worklist_pop(&l))) {
		struct schema_cursor c = schema_cursor_at(work->type, work->copy);
		const struct schema_member *m;
		char *slot;

		while ((m = schema_cursor_next(&c, &slot)))
			clone_slot(&l, m->type, slot);
	}
	worklist_finish(&l);
	return copy;
}

/* Two objects of one type that are still to be compared. */
struct equal_work {
	const struct schema_type *type;
	const char *a, *b;
};

static bool equal_slot(struct worklist *l, const struct schema_type *t, const char *a,
		       const char *b);

static bool equal_list(struct worklist *l, const struct schema_type *t, const char *a,
		       const char *b)
{
	const struct schema_list *la = (const struct schema_list *)a;
	const struct schema_list *lb = (const struct schema_list *)b;
	size_t stride = schema_item_size(t->element);

	if (la->count != lb->count)
		return false;
	for (size_t i = 0; i < la->count; i++)
		if (!equal_slot(l, t->element, (char *)la->items + i * stride,
				(char *)lb->items + i * stride))
			return false;
	return true;
}

static bool equal_slot(struct worklist *l, const struct schema_type *t, const char *a,
		       const char *b)
{
	void *pa, *pb;

	if (t->kind == SCHEMA_LIST)
		return equal_list(l, t, a, b);
	if (!schema_is_pointer(t))
		return memcmp(a, b, t->size) == 0;
	pa = *(void *const *)a;
	pb = *(void *const *)b;
	if (!pa || !pb)
		return pa == pb;
	if (t->kind == SCHEMA_STR)
		return strcmp(pa, pb) == 0;
	if (t->kind == SCHEMA_ANY)
		return json_equal(pa, pb);
	*(struct equal_work *)worklist_push(l) = (struct equal_work){t, pa, pb};
	return true;
}

/*
 * A step of both cursors. They stay in step because a tag or kind that differs
 * ends the comparison before the branches are entered.
 */
static bool equal_content(struct worklist *l, const struct equal_work *work)
{
	struct schema_cursor ca = schema_cursor_at(work->type, work->a);
	struct schema_cursor cb = schema_cursor_at(work->type, work->b);
	const struct schema_member *m, *n;
	char *a, *b;

	while ((m = schema_cursor_next(&ca, &a))) {
		bool present = schema_member_is_present(m, a);

		n = schema_cursor_next(&cb, &b);
		if (n != m || present != schema_member_is_present(m, b))
			return false;
		if (present && !equal_slot(l, m->type, a, b))
			return false;
	}
	return true;
}

bool schema_equal(const struct schema_type *t, const void *a, const void *b)
{
	struct equal_work storage[16], *work;
	struct worklist l = WORKLIST(storage);
	bool equal;

	if (schema_is_pointer(t))
		equal = equal_slot(&l, t, (const char *)&a, (const char *)&b);
	else
		equal = a && b ? equal_slot(&l, t, a, b) : a == b;
	while (equal && (work = worklist_pop(&l))) {
		struct equal_work w = *work;

		equal = equal_content(&l, &w);
	}
	worklist_finish(&l);
	return equal;
}

const char *schema_enum_name(const struct schema_type *t, int value)
{
	assert(value >= 0 && value < t->count);
	return t->values[value];
}

int schema_enum_from_name(const struct schema_type *t, const char *name, int *ret)
{
	for (int i = 0; i < t->count; i++) {
		if (strcmp(t->values[i], name) == 0) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

void *schema_list_room(size_t count, size_t item_size)
{
	size_t room = 1;

	while (room < count)
		room *= 2;
	return xalloc(room, item_size);
}

void *schema_list_grow(void *list, size_t item_size)
{
	struct schema_list *l = list;
	char *item;

	if ((l->count & (l->count - 1)) == 0)
		l->items = xrealloc(l->items, l->count ? l->count * 2 : 1, item_size);
	item = (char *)l->items + l->count++ * item_size;
	memset(item, 0, item_size);
	return item;
}
