/* SPDX-License-Identifier: MIT */
/*
 * Base64, RFC 4648 with the standard alphabet. Any thread.
 */
#ifndef BASE_BASE64_H
#define BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/*
 * Decode @text. White space is skipped and padding may be missing. *ret, *ret_bytes
 * long with a NUL behind it, is freed with free(). -EINVAL for other characters.
 */
int base64_decode(const char *text, uint8_t **ret, size_t *ret_bytes, struct error **errp);

#endif
