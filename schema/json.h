/* SPDX-License-Identifier: MIT */
/*
 * JSON text: reading a whole one, and writing.
 *
 * This is the one header that brings in jansson, whose json_t is the tree that
 * all of it speaks. Nothing here recurses. Any thread may call it.
 *
 * Strings in the tree may hold NUL bytes. Numbers that are whole and fit are
 * json_integer (int64_t), all others json_real.
 */
#ifndef SCHEMA_JSON_H
#define SCHEMA_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct error;

/*
 * Parse @bytes of text that hold exactly one value. The dialect and the limits
 * are those of schema/json_stream.h. Returns 0 with a new reference in *ret, or
 * -EINVAL with a sentence that begins "JSON parse error".
 */
int json_text_parse(const char *text, size_t bytes, json_t **ret, struct error **errp);

/*
 * Drop a reference as json_decref() does, without recursion however deep the
 * tree is. NULL is allowed.
 */
void json_release(json_t *json);

/*
 * Text under construction. Zero-initialise (set pretty if wanted), add one
 * value, use text and length, then json_writer_finish(). The style is that of
 * QMP: ", " and ": " between things, everything but printable ASCII escaped;
 * pretty breaks lines and indents by four spaces.
 */
struct json_writer {
	char *text; /* not terminated; see json_writer_take() */
	size_t length;
	size_t capacity;
	bool pretty;
	bool has_item; /* the innermost open object or list is not empty */
	bool has_key;  /* a key was written and waits for its value */
	unsigned depth;
};

void json_writer_finish(struct json_writer *w);
/* Give the text away, NUL-terminated; free with free(). The writer is empty then. */
char *json_writer_take(struct json_writer *w);

void json_writer_begin_object(struct json_writer *w);
void json_writer_end_object(struct json_writer *w);
void json_writer_begin_list(struct json_writer *w);
void json_writer_end_list(struct json_writer *w);
/* The key of the next value; must be printable ASCII without quotes, as the schema's are. */
void json_writer_key(struct json_writer *w, const char *key);

void json_writer_null(struct json_writer *w);
void json_writer_bool(struct json_writer *w, bool value);
void json_writer_int(struct json_writer *w, int64_t value);
void json_writer_uint(struct json_writer *w, uint64_t value);
void json_writer_real(struct json_writer *w, double value);
/* @s is UTF-8; bytes that are not become U+FFFD. NULL counts as empty. */
void json_writer_str(struct json_writer *w, const char *s);
void json_writer_strn(struct json_writer *w, const char *s, size_t length);
/* Any tree. */
void json_writer_json(struct json_writer *w, json_t *json);
/* Bytes as they are, between values: a newline after one, for instance. */
void json_writer_raw(struct json_writer *w, const char *bytes, size_t length);

#endif
