/* SPDX-License-Identifier: MIT */
/*
 * Base64. Free of state.
 */
#include "base/base64.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static int value_of(char c)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c ? strchr(alphabet, c) : NULL;
	return at ? (int)(at - alphabet) : -1;
}

int base64_decode(const char *text, uint8_t **ret, size_t *ret_bytes, struct error **errp)
{
	uint8_t *data = xalloc(1, strlen(text) / 4 * 3 + 4);
	size_t bytes = 0;
	unsigned bits = 0, bit_count = 0;
	const char *p = text;
	for (; *p && *p != '='; p++) {
		if (isspace((unsigned char)*p))
			continue;
		int value = value_of(*p);
		if (value < 0)
			break;
		bits = (bits << 6 | (unsigned)value) & 0xffff;
		bit_count += 6;
		if (bit_count >= 8) {
			bit_count -= 8;
			data[bytes++] = (uint8_t)(bits >> bit_count);
		}
	}
	/* Nothing but padding may follow, and no character may be all by itself. */
	p += strspn(p, "= \t\r\n");
	if (*p || bit_count == 6) {
		free(data);
		return error_set(errp, -EINVAL, "Base64 data contains invalid characters");
	}
	data[bytes] = 0;
	*ret = data;
	*ret_bytes = bytes;
	return 0;
}
