/* SPDX-License-Identifier: MIT */
/*
 * Escapes and UTF-8 of JSON strings. Any thread.
 */
#include "schema/json_string.h"

#include <stdbool.h>
#include <stdio.h>

#include "base/util.h"

/* Not a character of any text: U+FDD0 to U+FDEF, and the last two of each plane. */
static bool is_noncharacter(int32_t c)
{
	return (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

int32_t json_utf8_next(const char **in, const char *end)
{
	static const int32_t smallest[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char *p = (const unsigned char *)*in;
	int more = *p < 0x80 ? 0 : *p >= 0xc0 && *p < 0xe0 ? 1 : *p >= 0xe0 && *p < 0xf0 ? 2 : 3;
	int32_t c = more == 0 ? *p : *p & (0x3f >> more);

	*in += 1;
	if (more == 0)
		return c;
	if (*p < 0xc0 || *p > 0xf4 || end - (const char *)p <= more)
		return -1;
	for (int i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return -1;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < smallest[more] && !(more == 1 && c == 0))
		return -1;
	if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || is_noncharacter(c))
		return -1;
	*in += more;
	return c;
}

static char *put_utf8(char *out, int32_t c)
{
	int more = c >= 0x10000 ? 3 : c >= 0x800 ? 2 : c >= 0x80 || c == 0 ? 1 : 0;
	static const unsigned char first[] = {0, 0xc0, 0xe0, 0xf0};

	*out++ = (char)(first[more] | c >> (6 * more));
	while (more-- > 0)
		*out++ = (char)(0x80 | (c >> (6 * more) & 0x3f));
	return out;
}

/* Four hexadecimal digits, or -1. */
static int32_t take_hex(const char *p, const char *end)
{
	int32_t value = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		char c = p[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
			    : c >= 'a' && c <= 'f' ? c - 'a' + 10
			    : c >= 'A' && c <= 'F' ? c - 'A' + 10
						   : -1;
		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* The code point of the \u escape at *p, perhaps a pair; -1 when it is none. Advances *p. */
static int32_t take_unicode(const char **p, const char *end)
{
	int32_t c = take_hex(*p + 2, end);
	int32_t low;

	if (c < 0)
		return -1;
	*p += 6;
	if (c >= 0xd800 && c < 0xdc00) {
		low = end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u' ? take_hex(*p + 2, end) : -1;
		if (low < 0xdc00 || low > 0xdfff)
			return -1;
		*p += 6;
		c = 0x10000 + ((c & 0x3ff) << 10 | (low & 0x3ff));
	}
	return (c >= 0xd800 && c < 0xe000) || is_noncharacter(c) ? -1 : c;
}

/* What a backslash and this letter stand for, or 0. */
static char simple_escape(char c)
{
	static const char letters[] = "\"'\\/bfnrt", meaning[] = "\"'\\/\b\f\n\r\t";

	for (int i = 0; letters[i]; i++)
		if (letters[i] == c)
			return meaning[i];
	return 0;
}

ptrdiff_t json_string_decode(const char *in, size_t length, char *out, char *error,
			     size_t error_size)
{
	const char *end = in + length, *p = in, *from;
	char *start = out;
	int32_t c;

	while (p < end) {
		from = p;
		if (*p != '\\') {
			if (json_utf8_next(&p, end) < 0) {
				snprintf(error, error_size, "invalid UTF-8 sequence in string");
				return -1;
			}
			while (from < p)
				*out++ = *from++;
		} else if (p[1] == 'u') {
			c = take_unicode(&p, end);
			if (c < 0) {
				/* The closing quote at @end is there and may be shown. */
				snprintf(error, error_size, "%.*s is not a valid Unicode character",
					 (int)MIN(6, end + 1 - from), from);
				return -1;
			}
			out = put_utf8(out, c);
		} else {
			*out = simple_escape(p[1]);
			if (!*out++) {
				snprintf(error, error_size, "invalid escape sequence in string");
				return -1;
			}
			p += 2;
		}
	}
	return out - start;
}
