/* SPDX-License-Identifier: MIT */
/*
 * JSON text out, whole texts in, and letting go of deep trees. Any thread.
 */
#include "schema/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "schema/json_stream.h"
#include "schema/json_string.h"
#include "schema/walk.h"

/* What json_text_parse() has received so far. */
struct whole_text {
	json_t *value;
	char *error;
	unsigned count;
};

static bool take_value(void *arg, json_t *value, const char *error)
{
	struct whole_text *t = arg;

	if (t->count++ > 0)
		json_release(value);
	else if (error)
		t->error = xstrdup(error);
	else
		t->value = value;
	return !t->error && t->count < 2;
}

int json_text_parse(const char *text, size_t bytes, json_t **ret, struct error **errp)
{
	struct whole_text t = {NULL, NULL, 0};
	struct json_stream *s = json_stream_new(take_value, &t);
	int r = 0;

	if (json_stream_feed(s, text, bytes) == bytes && !t.error && t.count < 2)
		json_stream_end(s);
	json_stream_free(s);
	if (t.error)
		r = error_set(errp, -EINVAL, "%s", t.error);
	else if (t.count == 0)
		r = error_set(errp, -EINVAL, "Expecting a JSON value");
	else if (t.count > 1)
		r = error_set(errp, -EINVAL, "Expecting at most one JSON value");
	free(t.error);
	if (r < 0)
		json_release(t.value);
	else
		*ret = t.value;
	return r;
}

static bool is_container(const json_t *json)
{
	return json_is_object(json) || json_is_array(json);
}

/* Keep @child alive for later when it may have a depth of its own. */
static void release_later(struct worklist *l, json_t *child)
{
	if (is_container(child))
		*(json_t **)worklist_push(l) = json_incref(child);
}

void json_release(json_t *json)
{
	json_t *storage[32], **next;
	struct worklist l = WORKLIST(storage);

	if (!json)
		return;
	*(json_t **)worklist_push(&l) = json;
	while ((next = worklist_pop(&l))) {
		json_t *v = *next, *child;
		const char *key;
		size_t i;

		if (json_is_object(v) && v->refcount == 1)
			json_object_foreach(v, key, child)
				release_later(&l, child);
		else if (json_is_array(v) && v->refcount == 1)
			json_array_foreach(v, i, child)
				release_later(&l, child);
		json_decref(v);
	}
	worklist_finish(&l);
}

/* Room for @bytes more; returns where they go. The caller adds to w->length. */
static char *room(struct json_writer *w, size_t bytes)
{
	if (w->capacity - w->length < bytes) {
		w->capacity = MAX(w->capacity * 2, w->length + bytes);
		w->capacity = MAX(w->capacity, 256);
		w->text = xrealloc(w->text, w->capacity, 1);
	}
	return w->text + w->length;
}

static void put(struct json_writer *w, const char *bytes, size_t n)
{
	memcpy(room(w, n), bytes, n);
	w->length += n;
}

static void new_line(struct json_writer *w)
{
	size_t indent = (size_t)w->depth * 4;
	char *p = room(w, indent + 1);

	*p = '\n';
	memset(p + 1, ' ', indent);
	w->length += indent + 1;
}

/* What stands between the last thing and the next. */
static void separate(struct json_writer *w)
{
	if (w->has_key) {
		w->has_key = false;
		return;
	}
	if (w->depth == 0)
		return;
	if (w->has_item)
		put(w, ", ", w->pretty ? 1 : 2);
	if (w->pretty)
		new_line(w);
	w->has_item = true;
}

static void begin(struct json_writer *w, const char *bracket)
{
	separate(w);
	put(w, bracket, 1);
	w->depth++;
	w->has_item = false;
}

static void end(struct json_writer *w, const char *bracket)
{
	w->depth--;
	if (w->pretty)
		new_line(w);
	put(w, bracket, 1);
	w->has_item = true;
}

void json_writer_begin_object(struct json_writer *w)
{
	begin(w, "{");
}

void json_writer_end_object(struct json_writer *w)
{
	end(w, "}");
}

void json_writer_begin_list(struct json_writer *w)
{
	begin(w, "[");
}

void json_writer_end_list(struct json_writer *w)
{
	end(w, "]");
}

void json_writer_key(struct json_writer *w, const char *key)
{
	size_t length = strlen(key);
	char *p;

	separate(w);
	p = room(w, length + 4);
	*p++ = '"';
	memcpy(p, key, length);
	memcpy(p + length, "\": ", 3);
	w->length += length + 4;
	w->has_key = true;
}

static void put_value(struct json_writer *w, const char *text, size_t length)
{
	separate(w);
	put(w, text, length);
}

void json_writer_null(struct json_writer *w)
{
	put_value(w, "null", 4);
}

void json_writer_bool(struct json_writer *w, bool value)
{
	put_value(w, value ? "true" : "false", value ? 4 : 5);
}

static void put_number(struct json_writer *w, uint64_t magnitude, bool is_negative)
{
	char digits[24], *p = digits + sizeof(digits);

	do {
		*--p = (char)('0' + magnitude % 10);
		magnitude /= 10;
	} while (magnitude > 0);
	if (is_negative)
		*--p = '-';
	put_value(w, p, (size_t)(digits + sizeof(digits) - p));
}

void json_writer_int(struct json_writer *w, int64_t value)
{
	put_number(w, value < 0 ? -(uint64_t)value : (uint64_t)value, value < 0);
}

void json_writer_uint(struct json_writer *w, uint64_t value)
{
	put_number(w, value, false);
}

/* JSON has no infinities; what has no value is null. */
void json_writer_real(struct json_writer *w, double value)
{
	char text[40];

	if (!isfinite(value))
		json_writer_null(w);
	else
		put_value(w, text, (size_t)snprintf(text, sizeof(text), "%.17g", value));
}

/* Append the escape of one code point, -1 for a byte that is none. */
static void put_escape(struct json_writer *w, int32_t c)
{
	static const char letters[] = "bfnrt\"\\", meaning[] = "\b\f\n\r\t\"\\";
	const char *letter = c > 0 && c < 128 ? strchr(meaning, c) : NULL;
	char *p = room(w, 16);

	if (letter)
		w->length += (size_t)sprintf(p, "\\%c", letters[letter - meaning]);
	else if (c < 0x10000)
		w->length += (size_t)sprintf(p, "\\u%04X", c < 0 ? 0xfffd : (unsigned)c);
	else
		w->length += (size_t)sprintf(p, "\\u%04X\\u%04X", 0xd800 + ((c - 0x10000) >> 10),
					     0xdc00 + (c & 0x3ff));
}

static bool is_plain(char c)
{
	return c >= ' ' && c < 127 && c != '"' && c != '\\';
}

void json_writer_strn(struct json_writer *w, const char *s, size_t length)
{
	const char *end_ = s + length;

	separate(w);
	put(w, "\"", 1);
	while (s < end_) {
		const char *from = s;

		while (s < end_ && is_plain(*s))
			s++;
		put(w, from, (size_t)(s - from));
		if (s < end_)
			put_escape(w, json_utf8_next(&s, end_));
	}
	put(w, "\"", 1);
}

void json_writer_str(struct json_writer *w, const char *s)
{
	json_writer_strn(w, s ? s : "", s ? strlen(s) : 0);
}

void json_writer_raw(struct json_writer *w, const char *bytes, size_t length)
{
	put(w, bytes, length);
}

static void write_leaf(struct json_writer *w, json_t *json)
{
	switch (json_typeof(json)) {
	case JSON_STRING:
		json_writer_strn(w, json_string_value(json), json_string_length(json));
		break;
	case JSON_INTEGER:
		json_writer_int(w, json_integer_value(json));
		break;
	case JSON_REAL:
		json_writer_real(w, json_real_value(json));
		break;
	case JSON_NULL:
		json_writer_null(w);
		break;
	default:
		json_writer_bool(w, json_is_true(json));
	}
}

/* An open container of a tree that is being written. */
struct tree_frame {
	json_t *json;
	void *iterator; /* objects: the next member */
	size_t index;   /* lists: the next item */
};

/* Write a leaf, or the opening bracket of a container, which is then the innermost frame. */
static void write_node(struct json_writer *w, struct worklist *l, json_t *json)
{
	struct tree_frame *f;

	if (!is_container(json)) {
		write_leaf(w, json);
		return;
	}
	if (json_is_object(json))
		json_writer_begin_object(w);
	else
		json_writer_begin_list(w);
	f = worklist_push(l);
	*f = (struct tree_frame){json, json_object_iter(json), 0};
}

/* A key from outside, which may need escapes. */
static void write_outside_key(struct json_writer *w, const char *key, size_t length)
{
	json_writer_strn(w, key, length);
	put(w, ": ", 2);
	w->has_key = true;
}

/* Write the next child of the innermost frame, or close it. */
static void write_step(struct json_writer *w, struct worklist *l)
{
	struct tree_frame *f = &((struct tree_frame *)l->items)[l->count - 1];
	json_t *child = NULL;

	if (json_is_object(f->json)) {
		if (f->iterator) {
			write_outside_key(w, json_object_iter_key(f->iterator),
					  json_object_iter_key_len(f->iterator));
			child = json_object_iter_value(f->iterator);
			f->iterator = json_object_iter_next(f->json, f->iterator);
		}
	} else if (f->index < json_array_size(f->json)) {
		child = json_array_get(f->json, f->index++);
	}
	if (child) {
		write_node(w, l, child);
		return;
	}
	end(w, json_is_object(f->json) ? "}" : "]");
	l->count--;
}

void json_writer_json(struct json_writer *w, json_t *json)
{
	struct tree_frame storage[16];
	struct worklist l = WORKLIST(storage);

	write_node(w, &l, json);
	while (l.count > 0)
		write_step(w, &l);
	worklist_finish(&l);
}

void json_writer_finish(struct json_writer *w)
{
	free(w->text);
	*w = (struct json_writer){.pretty = w->pretty};
}

char *json_writer_take(struct json_writer *w)
{
	char *text;

	put(w, "", 1);
	text = w->text;
	w->text = NULL;
	json_writer_finish(w);
	return text;
}
