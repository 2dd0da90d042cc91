/* SPDX-License-Identifier: MIT */
/*
 * The characters of JSON strings, one way and the other. For schema/, and whoever checks text.
 */
#ifndef SCHEMA_JSON_STRING_H
#define SCHEMA_JSON_STRING_H

#include <stddef.h>
#include <stdint.h>

/*
 * Decode the inside of a quoted string to @out, which has room for @length
 * bytes. Returns the length of the result, or -1 with a message in @error, which
 * has room for @error_size bytes.
 */
ptrdiff_t json_string_decode(const char *in, size_t length, char *out, char *error,
			     size_t error_size);

/*
 * The code point that begins at *in, which is advanced by it, or by one byte and
 * the result is -1 when it is not UTF-8. @end is beyond *in. C0 80 counts as 0.
 * Surrogates and noncharacters are not UTF-8.
 */
int32_t json_utf8_next(const char **in, const char *end);

#endif
