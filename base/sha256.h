/* SPDX-License-Identifier: MIT */
/*
 * The hash function SHA-256 (FIPS 180-4), for comparing, not for secrets.
 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

/* Hash @size bytes at @data. */
void sha256(const void *data, size_t size, uint8_t ret[SHA256_BYTES]);
/* The same as 64 lower-case hexadecimal digits and a NUL. */
void sha256_hex(const void *data, size_t size, char ret[2 * SHA256_BYTES + 1]);

#endif
