/* SPDX-License-Identifier: MIT */
/*
 * Small things that every room uses: extents of arrays, rounding, checked
 * arithmetic, allocation that cannot fail, strings, and numbers that look random.
 *
 * xalloc() and its kin abort when memory is exhausted: they are for objects of
 * bounded size. Buffers whose size comes from outside use buffer_get() or
 * malloc() and report -ENOMEM.
 */
#ifndef BASE_UTIL_H
#define BASE_UTIL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p) - offsetof(type, member)))
#ifndef MIN /* <sys/param.h>, which <uv.h> includes, has them too */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif
#define KiB (UINT64_C(1) << 10)
#define MiB (UINT64_C(1) << 20)
#define GiB (UINT64_C(1) << 30)
#define TiB (UINT64_C(1) << 40)

/* Rounding to a power of two. @align must be one. */
static inline uint64_t align_down(uint64_t n, uint64_t align)
{
	return n & ~(align - 1);
}

/* The caller has made sure that n + align does not overflow. */
static inline uint64_t align_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) & ~(align - 1);
}

static inline bool is_aligned(uint64_t n, uint64_t align)
{
	return (n & (align - 1)) == 0;
}

static inline bool is_power_of_2(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

static inline uint64_t div_round_up(uint64_t n, uint64_t d)
{
	return n / d + (n % d != 0);
}

/* Sum and product of sizes; true when the result does not fit. */
#define add_overflows(a, b, ret_sum) __builtin_add_overflow(a, b, ret_sum)
#define mul_overflows(a, b, ret_product) __builtin_mul_overflow(a, b, ret_product)

/* Zeroed memory for @count objects of @size bytes; aborts when there is none. Free with free(). */
void *xalloc(size_t count, size_t size);
/* Grow or shrink; new bytes are not cleared. Aborts when there is no memory. */
void *xrealloc(void *p, size_t count, size_t size);
/* Copies; a NULL string gives NULL. */
char *xstrdup(const char *s);
void *xmemdup(const void *p, size_t size);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *xvasprintf(const char *format, va_list args);
#define NEW(type) ((type *)xalloc(1, sizeof(type)))

/* Both NULL, or the same text. */
bool string_equal(const char *a, const char *b);
bool string_starts_with(const char *s, const char *prefix);

/* True when all @size bytes are zero. @size may be anything. */
bool buffer_is_zero(const void *p, size_t size);

/* 64 random bits that follow from *state alone, which moves on; any value is a good seed. No secrets. */
uint64_t random_next(uint64_t *state);

#endif
