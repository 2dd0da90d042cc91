/* SPDX-License-Identifier: MIT */
/*
 * Pieces of URIs, for drivers whose file names are such. Free of state; any
 * thread. Results are freed with free().
 */
#ifndef DRIVERS_URI_H
#define DRIVERS_URI_H

#include <stdbool.h>
#include <stddef.h>

/*
 * What follows "scheme:" in a URI, taken apart and not yet decoded. No part ends
 * with NUL. A user before the host and a fragment at the end are left out: they
 * say nothing to us.
 */
struct uri {
	const char *host, *path, *query; /* host: with its port; query: after the '?' */
	size_t host_length, path_length, query_length;
};

/* @rest begins with "//" and a host, or is a path without one. */
void uri_take_apart(const char *rest, struct uri *ret);

/* Whether there is no query but for its separators. */
bool uri_query_is_empty(const struct uri *u);

/*
 * The length of the value of "socket=", the only parameter of the query, at *ret;
 * *ret is NULL when there is another, or none.
 */
size_t uri_query_socket(const struct uri *u, const char **ret);

/*
 * The first @length characters at @s, each %XX as its byte. -EINVAL where two
 * digits do not follow, or they are 00.
 */
int uri_decode(const char *s, size_t length, char **ret);

/* @s with spaces, control characters, '%' and what is in @special as %XX. */
char *uri_encode(const char *s, const char *special);

/* @s as a value in key=value text: with its commas doubled. */
char *uri_value(const char *s);

#endif
