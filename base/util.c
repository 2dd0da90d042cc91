/* SPDX-License-Identifier: MIT */
/*
 * Allocation that cannot fail, strings, the search for zeroes, and numbers that
 * look random. Free of state; any thread.
 */
#include "base/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_abort(void *p)
{
	if (!p) {
		fputs("out of memory\n", stderr);
		abort();
	}
	return p;
}

void *xalloc(size_t count, size_t size)
{
	/* calloc() may answer NULL to a request of no bytes. */
	return or_abort(calloc(count ? count : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t count, size_t size)
{
	size_t bytes;
	if (mul_overflows(count, size, &bytes))
		return or_abort(NULL);
	return or_abort(realloc(p, bytes ? bytes : 1));
}

char *xstrdup(const char *s)
{
	return s ? or_abort(strdup(s)) : NULL;
}

void *xmemdup(const void *p, size_t size)
{
	void *copy = xrealloc(NULL, size, 1);
	if (size != 0)
		memcpy(copy, p, size);
	return copy;
}

char *xvasprintf(const char *format, va_list args)
{
	char *s;
	if (vasprintf(&s, format, args) < 0)
		return or_abort(NULL);
	return s;
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	char *s = xvasprintf(format, args);
	va_end(args);
	return s;
}

bool string_equal(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool string_starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

/*
 * Sixteen bytes by hand refuse most data that is not zero; after them the rest
 * equals the part before it, which memcmp() compares at the speed of memory.
 */
bool buffer_is_zero(const void *p, size_t size)
{
	const unsigned char *b = p;
	size_t head = MIN(size, (size_t)16);

	for (size_t i = 0; i < head; i++)
		if (b[i] != 0)
			return false;
	if (size <= head)
		return true;
	/* Guest data often starts with zeroes and differs later: look at the end and the middle. */
	if (b[size - 1] != 0 || b[size / 2] != 0)
		return false;
	return memcmp(b, b + head, size - head) == 0;
}

/* SplitMix64: one addition and a mixing function; passes the usual batteries. */
uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}
