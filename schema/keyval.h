/* SPDX-License-Identifier: MIT */
/*
 * The text of command line options: key=value pairs with commas between.
 *
 *   driver=qcow2,file.driver=file,file.filename=a,,b.qcow2
 *
 * A comma in a value is doubled. Dots in a key lead into nested objects; parts
 * that are numbers index lists from 0. The last of equal keys counts. A first
 * value without a key belongs to the implied key, if there is one. An empty text
 * is an empty object. Scalars become strings; schema_decode_input() reads them
 * with SCHEMA_INPUT_TEXT.
 *
 * Keys begin with a letter, digit or underscore and consist of these, '-' and
 * '_'; a key part has at most 127 characters, a key at most 64 parts, a list
 * index is below 1000. Any thread.
 */
#ifndef SCHEMA_KEYVAL_H
#define SCHEMA_KEYVAL_H

#include <stdbool.h>
#include <stdint.h>

struct error;
struct json_t;

/* Parse @text to a new tree. Returns 0 or -EINVAL. */
int keyval_parse(const char *text, const char *implied_key, struct json_t **ret,
		 struct error **errp);

/*
 * Turn dotted keys of the objects in *json into nested objects, and objects
 * whose keys are all numbers into lists. Changes the tree, which nobody else
 * may hold, and may replace the root. Returns 0 or -EINVAL; the tree is valid,
 * with undefined content, after a failure.
 */
int keyval_expand(struct json_t **json, struct error **errp);

/* on, yes, true, y; off, no, false, n. Returns 0 or -EINVAL. */
int keyval_parse_bool(const char *text, bool *ret);
/* Decimal, 0x hexadecimal or 0 octal. Returns 0, -EINVAL or -ERANGE. */
int keyval_parse_int(const char *text, int64_t *ret);
/*
 * Bytes, with an optional suffix of b, k, M, G, T, P, E (powers of 1024, either
 * case) and before a suffix a fraction. Space and a plus before them do not matter. Returns 0, -EINVAL or -ERANGE.
 */
int keyval_parse_size(const char *text, uint64_t *ret);
/* A finite floating point number. Returns 0 or -EINVAL. */
int keyval_parse_number(const char *text, double *ret);

#endif
