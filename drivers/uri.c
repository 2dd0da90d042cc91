/* SPDX-License-Identifier: MIT */
/*
 * Pieces of URIs. Any thread.
 */
#include "drivers/uri.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static int hex_digit(char c)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = c ? strchr(digits, c) : NULL;
	return at ? (int)(at - digits) % 16 : -1;
}

int uri_decode(const char *s, size_t length, char **ret)
{
	char *decoded = xalloc(1, length + 1), *out = decoded;
	for (const char *p = s; p < s + length; p++) {
		if (*p != '%') {
			*out++ = *p;
			continue;
		}
		int high = s + length - p > 2 ? hex_digit(p[1]) : -1;
		int low = high >= 0 ? hex_digit(p[2]) : -1;
		if (low < 0 || high * 16 + low == 0) {
			free(decoded);
			return -EINVAL;
		}
		*out++ = (char)(high * 16 + low);
		p += 2;
	}
	*ret = decoded;
	return 0;
}

char *uri_encode(const char *s, const char *special)
{
	char *encoded = xalloc(1, 3 * strlen(s) + 1), *out = encoded;
	for (; *s; s++) {
		if (*s == '%' || (unsigned char)*s <= ' ' || strchr(special, *s))
			out += sprintf(out, "%%%02X", (unsigned char)*s);
		else
			*out++ = *s;
	}
	return encoded;
}

char *uri_value(const char *s)
{
	char *escaped = xalloc(1, 2 * strlen(s) + 1), *out = escaped;
	for (; *s; s++) {
		*out++ = *s;
		if (*s == ',')
			*out++ = ',';
	}
	return escaped;
}
