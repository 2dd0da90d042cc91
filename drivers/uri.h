/* SPDX-License-Identifier: MIT */
/*
 * Pieces of URIs, for drivers whose file names are such. Free of state; any
 * thread. Results are freed with free().
 */
#ifndef DRIVERS_URI_H
#define DRIVERS_URI_H

#include <stddef.h>

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
