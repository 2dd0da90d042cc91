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

#define SOCKET_KEY "socket="

void uri_take_apart(const char *rest, struct uri *ret)
{
	bool has_host = string_starts_with(rest, "//");
	if (has_host)
		rest += 2;
	size_t end = strcspn(rest, "#"), path_end = strcspn(rest, "?#");
	size_t host_end = has_host ? strcspn(rest, "/?#") : 0;
	const char *user_end = memrchr(rest, '@', host_end);
	const char *host = user_end ? user_end + 1 : rest;
	*ret = (struct uri){
		.host = host,
		.host_length = (size_t)(rest + host_end - host),
		.path = rest + host_end,
		.path_length = path_end - host_end,
		.query = rest + MIN(path_end + 1, end),
		.query_length = end - MIN(path_end + 1, end),
	};
}

/* The parameter of the query at or after *at that is not empty, with its length; false at the end. */
static bool next_parameter(const struct uri *u, const char **at, size_t *ret_length)
{
	const char *end = u->query + u->query_length;
	while (*at < end && **at == '&')
		++*at;
	const char *stop = memchr(*at, '&', (size_t)(end - *at));
	*ret_length = (size_t)((stop ? stop : end) - *at);
	return *at < end;
}

bool uri_query_is_empty(const struct uri *u)
{
	const char *at = u->query;
	size_t length;
	return !next_parameter(u, &at, &length);
}

size_t uri_query_socket(const struct uri *u, const char **ret)
{
	const char *at = u->query;
	size_t key = strlen(SOCKET_KEY), length = 0, further;
	*ret = NULL;
	if (!next_parameter(u, &at, &length) || length < key || memcmp(at, SOCKET_KEY, key) != 0)
		return 0;
	const char *next = at + length;
	if (next_parameter(u, &next, &further))
		return 0;
	*ret = at + key;
	return length - key;
}

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
