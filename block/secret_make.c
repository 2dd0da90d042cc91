/* SPDX-License-Identifier: MIT */
/*
 * Secrets from the properties that users give. Loop's thread; read_file() runs on a worker.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/aes256.h"
#include "base/base64.h"
#include "base/cleanup.h"
#include "base/util.h"
#include "block/objects.h"
#include "block/secret.h"

/* Longest file of a secret. */
#define FILE_BYTES_MAX ((size_t)1 << 20)

struct content {
	const char *path;
	uint8_t *data; /* with a NUL behind it */
	size_t bytes;
};

static void content_finish(struct content *c)
{
	if (c->data)
		explicit_bzero(c->data, c->bytes);
	free(c->data);
}

/* On a worker thread. */
static int read_file(void *arg)
{
	struct content *c = arg;
	FILE *f = fopen(c->path, "re");
	if (!f)
		return -errno;
	c->data = xalloc(1, FILE_BYTES_MAX + 1);
	c->bytes = fread(c->data, 1, FILE_BYTES_MAX, f);
	int r = ferror(f) ? -EIO : c->bytes == FILE_BYTES_MAX ? -EFBIG : 0;
	fclose(f);
	c->data[c->bytes] = 0;
	return r;
}

static int co_fn read_content(const struct secret_properties *p, struct content *ret,
			      struct error **errp)
{
	if (p->file && p->data)
		return error_set(errp, -EINVAL, "'file' and 'data' are mutually exclusive");
	if (!p->file && !p->data)
		return error_set(errp, -EINVAL, "Either 'file' or 'data' must be provided");
	if (p->data) {
		ret->bytes = strlen(p->data);
		ret->data = xmemdup(p->data, ret->bytes + 1);
		return 0;
	}
	ret->path = p->file;
	int r = co_blocking(read_file, ret);
	return r < 0 ? error_set_errno(errp, r, "Unable to read %s: Failed to open file “%s”",
				       p->file, p->file) : 0;
}

static int decode(const struct secret_properties *p, struct content *c, struct error **errp)
{
	if (p->format != Q_CRYPTO_SECRET_FORMAT_BASE64)
		return 0;
	if (memchr(c->data, 0, c->bytes))
		return error_set(errp, -EINVAL, "Base64 data contains invalid characters");
	struct content decoded = {0};
	int r = base64_decode((const char *)c->data, &decoded.data, &decoded.bytes, errp);
	if (r < 0)
		return r;
	content_finish(c);
	*c = decoded;
	return 0;
}

/* What another secret and the initialisation vector are, for decrypting. */
static int find_key(const struct graph *g, const struct secret_properties *p,
		    const struct secret **ret_key, uint8_t **ret_iv, struct error **errp)
{
	size_t iv_bytes;
	const struct secret *key = secret_find(g, p->keyid, errp);
	if (!key)
		return -ENOENT;
	if (key->bytes != AES256_KEY_BYTES)
		return error_set(errp, -EINVAL, "Key should be %d bytes in length",
				 AES256_KEY_BYTES);
	if (!p->iv)
		return error_set(errp, -EINVAL, "IV is required to decrypt secret");
	int r = base64_decode(p->iv, ret_iv, &iv_bytes, errp);
	if (r >= 0 && iv_bytes != AES256_BLOCK_BYTES)
		r = error_set(errp, -EINVAL, "IV should be %d bytes in length not %zu",
			      AES256_BLOCK_BYTES, iv_bytes);
	*ret_key = key;
	return r;
}

/* Take the padding from decrypted data: so many bytes of that value. */
static int strip_padding(struct content *c, struct error **errp)
{
	if (c->bytes == 0)
		return 0;
	uint8_t padding = c->data[c->bytes - 1];
	if (padding == 0 || padding > AES256_BLOCK_BYTES)
		return error_set(errp, -EINVAL, "Incorrect number of padding bytes (%u) found on "
				 "decrypted data", padding);
	c->bytes -= padding;
	c->data[c->bytes] = 0;
	return 0;
}

static int decrypt(const struct graph *g, const struct secret_properties *p, struct content *c,
		   struct error **errp)
{
	const struct secret *key = NULL;
	uint8_t *iv _cleanup_free_ = NULL;
	int r = find_key(g, p, &key, &iv, errp);
	if (r >= 0)
		r = decode(p, c, errp);
	if (r >= 0 && c->bytes % AES256_BLOCK_BYTES != 0)
		r = error_set(errp, -EINVAL, "Length %zu must be a multiple of block size %d",
			      c->bytes, AES256_BLOCK_BYTES);
	if (r < 0)
		return r;
	aes256_cbc_decrypt(key->data, iv, c->data, c->bytes);
	return strip_padding(c, errp);
}

int co_fn secret_make(struct graph *g, const char *id, const struct secret_properties *p,
		      struct secret **ret, struct error **errp)
{
	struct content c = {0};
	int r = read_content(p, &c, errp);
	if (r >= 0)
		r = p->keyid ? decrypt(g, p, &c, errp) : decode(p, &c, errp);
	if (r >= 0)
		*ret = secret_create(g, id, c.data, c.bytes);
	content_finish(&c);
	return r;
}
