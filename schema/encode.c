/* SPDX-License-Identifier: MIT */
/*
 * From a C object to a JSON tree or straight to text. Any thread.
 *
 * The tree is built level by level from a queue; text is written depth first
 * with a stack of cursors on the heap.
 */
#include <assert.h>
#include <stdlib.h>

#include "schema/json.h"
#include "schema/walk.h"

static json_t *scalar_json(const struct schema_type *t, const char *slot)
{
	switch (t->kind) {
	case SCHEMA_BOOL:
		return json_boolean(*(const bool *)slot);
	case SCHEMA_INT:
	case SCHEMA_SIZE:
		return json_integer(schema_load_int(t, slot));
	case SCHEMA_NUMBER:
		return json_real(*(const double *)slot);
	case SCHEMA_STR:
		return json_string_nocheck(*(char *const *)slot);
	case SCHEMA_ANY:
		return json_incref(*(json_t *const *)slot);
	case SCHEMA_ENUM:
		return json_string_nocheck(schema_enum_name(t, *(const int *)slot));
	default:
		return json_null();
	}
}

/* An object or list of the result that is still empty. */
struct encode_work {
	const struct schema_type *type;
	const char *object; /* for a list: struct schema_list */
	json_t *json;       /* borrowed: its parent holds it */
};

/* What the value at @slot becomes: a scalar, or a container that is queued. New reference. */
static json_t *value_json(struct worklist *l, const struct schema_type *t, const char *slot)
{
	struct encode_work *w;
	json_t *json;

	while (t->kind == SCHEMA_ALTERNATE) {
		struct schema_cursor c = schema_cursor_at(t, *(void *const *)slot);
		char *inner = NULL;

		t = schema_cursor_next(&c, &inner)->type;
		slot = inner;
	}
	if (t->kind != SCHEMA_LIST && !schema_is_compound(t))
		return scalar_json(t, slot);
	json = t->kind == SCHEMA_LIST ? json_array() : json_object();
	w = worklist_push(l);
	*w = (struct encode_work){t, t->kind == SCHEMA_LIST ? slot : *(char *const *)slot, json};
	return json;
}

static void fill_list(struct worklist *l, struct encode_work w)
{
	const struct schema_list *list = (const struct schema_list *)w.object;
	size_t stride = schema_item_size(w.type->element);

	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(w.json, value_json(l, w.type->element,
							 (char *)list->items + i * stride));
}

static void fill_object(struct worklist *l, struct encode_work w)
{
	unsigned count = schema_member_count(w.type, w.object);

	for (unsigned i = 0; i < count; i++) {
		char *slot;
		const struct schema_member *m = schema_written_member(w.type, w.object, i, &slot);
		bool present = schema_member_is_present(m, slot);

		assert(present || m->optional);
		if (present)
			json_object_set_new_nocheck(w.json, m->name, value_json(l, m->type, slot));
	}
}

/* The place from which a root value is read: roots held by pointer are passed as that pointer. */
static const char *root_slot(const struct schema_type *t, const void *const *object)
{
	return schema_is_pointer(t) ? (const char *)object : *(const char *const *)object;
}

struct json_t *schema_encode(const struct schema_type *t, const void *object)
{
	struct encode_work storage[16];
	struct worklist l = WORKLIST(storage);
	json_t *root = value_json(&l, t, root_slot(t, &object));

	for (size_t i = 0; i < l.count; i++) {
		struct encode_work w = ((struct encode_work *)l.items)[i];

		if (w.type->kind == SCHEMA_LIST)
			fill_list(&l, w);
		else
			fill_object(&l, w);
	}
	worklist_finish(&l);
	return root;
}

static void write_scalar(struct json_writer *w, const struct schema_type *t, const char *slot)
{
	switch (t->kind) {
	case SCHEMA_BOOL:
		json_writer_bool(w, *(const bool *)slot);
		break;
	case SCHEMA_INT:
		if (t->is_signed) {
			json_writer_int(w, schema_load_int(t, slot));
			break;
		}
		/* fall through */
	case SCHEMA_SIZE:
		json_writer_uint(w, (uint64_t)schema_load_int(t, slot));
		break;
	case SCHEMA_NUMBER:
		json_writer_real(w, *(const double *)slot);
		break;
	case SCHEMA_STR:
		json_writer_str(w, *(char *const *)slot);
		break;
	case SCHEMA_ANY:
		json_writer_json(w, *(json_t *const *)slot);
		break;
	case SCHEMA_ENUM:
		json_writer_str(w, schema_enum_name(t, *(const int *)slot));
		break;
	default:
		json_writer_null(w);
	}
}

/* An open object or list of the text. */
struct write_frame {
	const struct schema_type *type;
	const void *object; /* for a list: struct schema_list */
	size_t index, count; /* of the next member or item; how many there are */
};

/* Write the value at @slot, or its opening bracket and push what follows. */
static void write_value(struct json_writer *w, struct worklist *l, const struct schema_type *t,
			const char *slot)
{
	struct write_frame *f;

	while (t->kind == SCHEMA_ALTERNATE) {
		struct schema_cursor c = schema_cursor_at(t, *(void *const *)slot);
		char *inner = NULL;

		t = schema_cursor_next(&c, &inner)->type;
		slot = inner;
	}
	if (t->kind == SCHEMA_LIST) {
		json_writer_begin_list(w);
		f = worklist_push(l);
		*f = (struct write_frame){t, slot, 0, ((const struct schema_list *)slot)->count};
	} else if (schema_is_compound(t)) {
		const void *object = *(void *const *)slot;

		json_writer_begin_object(w);
		f = worklist_push(l);
		*f = (struct write_frame){t, object, 0, schema_member_count(t, object)};
	} else {
		write_scalar(w, t, slot);
	}
}

static void write_next_item(struct json_writer *w, struct worklist *l, const struct write_frame *f)
{
	const struct schema_type *t = f->type->element;
	const struct schema_list *list = f->object;

	write_value(w, l, t, (char *)list->items + f->index * schema_item_size(t));
}

static void write_next_member(struct json_writer *w, struct worklist *l,
			      const struct write_frame *f)
{
	char *slot;
	const struct schema_member *m =
		schema_written_member(f->type, f->object, (unsigned)f->index, &slot);

	if (!schema_member_is_present(m, slot)) {
		assert(m->optional);
		return;
	}
	json_writer_key(w, m->name);
	write_value(w, l, m->type, slot);
}

void schema_write(struct json_writer *w, const struct schema_type *t, const void *object)
{
	struct write_frame storage[8];
	struct worklist l = WORKLIST(storage);

	write_value(w, &l, t, root_slot(t, &object));
	while (l.count > 0) {
		struct write_frame *top = &((struct write_frame *)l.items)[l.count - 1];
		struct write_frame f = *top; /* writing a value may move the frames */
		bool is_list = f.type->kind == SCHEMA_LIST;

		if (f.index < f.count) {
			top->index++;
			if (is_list)
				write_next_item(w, &l, &f);
			else
				write_next_member(w, &l, &f);
			continue;
		}
		if (is_list)
			json_writer_end_list(w);
		else
			json_writer_end_object(w);
		l.count--;
	}
	worklist_finish(&l);
}

char *schema_encode_json_text(const struct schema_type *t, const void *object)
{
	struct json_writer w = {0};

	schema_write(&w, t, object);
	return json_writer_take(&w);
}
