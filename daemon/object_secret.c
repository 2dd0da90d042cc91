/* SPDX-License-Identifier: MIT */
/*
 * Objects of type secret. Control thread.
 */
#include <jansson.h>
#include <string.h>

#include "block/objects.h"
#include "block/secret.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"

static const struct object_property properties[] = {
	{"format", "QCryptoSecretFormat"},
	{"keyid", "string"},
	{"iv", "string"},
	{"file", "string"},
	{"data", "string"},
	{0},
};

static int co_fn create(struct object *o, struct error **errp)
{
	struct secret *secret;
	int r = secret_make(the_daemon.graph, o->options->id, &o->options->u.secret, &secret, errp);
	if (r >= 0)
		o->engine = secret;
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
	if (strcmp(property, "keyid") == 0)
		return string_or_null(p->keyid);
	if (strcmp(property, "iv") == 0)
		return string_or_null(p->iv);
	return string_or_null(strcmp(property, "file") == 0 ? p->file : p->data);
}

const struct object_class secret_class = {
	.parent = "secret_common",
	.type = OBJECT_TYPE_SECRET,
	.properties = properties,
	.create = create,
	.delete = delete,
	.get = get,
};
