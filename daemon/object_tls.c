/* SPDX-License-Identifier: MIT */
/*
 * Objects of types tls-creds-x509 and tls-creds-psk. Control thread.
 */
#include <jansson.h>
#include <string.h>

#include "daemon/daemon.h"
#include "daemon/object_internal.h"
#include "tls/creds.h"

static int co_fn x509_create(struct object *o, struct error **errp)
{
	struct tls_creds *creds;
	int r = tls_creds_make_x509(the_daemon.graph, o->options->id, &o->options->u.tls_creds_x509,
				    &creds, errp);
	if (r >= 0)
		o->engine = creds;
	return r;
}

static int co_fn psk_create(struct object *o, struct error **errp)
{
	struct tls_creds *creds;
	int r = tls_creds_make_psk(the_daemon.graph, o->options->id, &o->options->u.tls_creds_psk,
				   &creds, errp);
	if (r >= 0)
		o->engine = creds;
	return r;
}

static int delete(struct object *o)
{
	return tls_creds_destroy(o->engine);
}

static struct json_t *get(const struct object *o, const char *property)
{
	const struct tls_creds *c = o->engine;
	if (strcmp(property, "endpoint") == 0)
		return json_string(c->is_server ? "server" : "client");
	if (strcmp(property, "verify-peer") == 0)
		return json_boolean(c->verify_peer);
	if (strcmp(property, "sanity-check") == 0)
		return json_boolean(c->sanity_check);
	const char *s = strcmp(property, "dir") == 0 ? c->dir
			: strcmp(property, "username") == 0 ? c->username
			: strcmp(property, "priority") == 0 ? c->priority
							    : c->passwordid;
	return json_string(s ? s : "");
}

#define COMMON_PROPERTIES                                                                          \
	{"endpoint", "QCryptoTLSCredsEndpoint"}, {"dir", "string"}, {"verify-peer", "bool"},       \
		{"priority", "string"}

static const struct object_property x509_properties[] = {
	COMMON_PROPERTIES, {"sanity-check", "bool"}, {"passwordid", "string"}, {0}};
static const struct object_property psk_properties[] = {
	COMMON_PROPERTIES, {"username", "string"}, {0}};

const struct object_class tls_creds_x509_class = {
	.parent = "tls-creds",
	.type = OBJECT_TYPE_TLS_CREDS_X509,
	.properties = x509_properties,
	.create = x509_create,
	.delete = delete,
	.get = get,
};

const struct object_class tls_creds_psk_class = {
	.parent = "tls-creds",
	.type = OBJECT_TYPE_TLS_CREDS_PSK,
	.properties = psk_properties,
	.create = psk_create,
	.delete = delete,
	.get = get,
};
