/* SPDX-License-Identifier: MIT */
/*
 * Objects of type secret. Control thread.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/util.h"
#include "block/secret.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"

/* Longest file of a secret. */
#define FILE_BYTES_MAX ((size_t)1 << 20)

static const struct object_property properties[] = {
	{"format", "QCryptoSecretFormat"},
	{"file", "string"},
	{"data", "string"},
	{0},
};

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
	return r < 0 ? error_set_errno(errp, r, "Unable to read %s", p->file) : 0;
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

static int co_fn create(struct object *o, struct error **errp)
{
	const struct secret_properties *p = &o->options->u.secret;
	struct content c = {0};
	int r = read_content(p, &c, errp);
	if (r >= 0)
		r = decode(p, &c, errp);
	if (r >= 0)
		o->engine = secret_create(the_daemon.graph, o->options->id, c.data, c.bytes);
	content_finish(&c);
	return r;
}

/* Whoever needs a secret looks it up and keeps what it has been told. */
static int delete(struct object *o)
{
	secret_destroy(o->engine);
	return 0;
}

static struct json_t *string_or_null(const char *s)
{
	return s ? json_string(s) : json_null();
}

static struct json_t *get(const struct object *o, const char *property)
{
	const struct secret_properties *p = &o->options->u.secret;
	if (strcmp(property, "format") == 0)
		return json_string(q_crypto_secret_format_name(p->format));
	return string_or_null(strcmp(property, "file") == 0 ? p->file : p->data);
}

static int set(struct object *o, const char *property, struct json_t *value, struct error **errp)
{
	return error_set(errp, -EPERM, "Property cannot be set after initialization");
}

const struct object_class secret_class = {
	.parent = "secret_common",
	.type = OBJECT_TYPE_SECRET,
	.properties = properties,
	.create = create,
	.delete = delete,
	.get = get,
	.set = set,
};
