/* SPDX-License-Identifier: MIT */
/*
 * Objects of types tls-creds-x509 and tls-creds-psk. Control thread; what is called
 * ..._blocking() runs on a worker.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/tls_creds.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"

#define DEFAULT_USERNAME "qemu"
/* Longest line of a file of keys. */
#define KEY_LINE_MAX 4096

/* What is looked for in the folder. */
struct look {
	const struct tls_creds *creds;
	struct error *error;
};

/* True when the file is there; an error unless it may be missing. */
static int need_file(struct look *l, const char *name, bool is_optional)
{
	char *path _cleanup_free_ = xasprintf("%s/%s", l->creds->dir, name);
	if (access(path, R_OK) == 0)
		return 1;
	if (is_optional && errno == ENOENT)
		return 0;
	return error_set_errno(&l->error, -errno, "Unable to access credentials %s", path);
}

static int look_for_certificates_blocking(void *arg)
{
	struct look *l = arg;
	bool is_server = l->creds->is_server;
	const char *certificate = is_server ? "server-cert.pem" : "client-cert.pem";
	const char *key = is_server ? "server-key.pem" : "client-key.pem";
	/* A client that nobody asks who it is needs no certificate; half of one is a mistake. */
	int r = need_file(l, "ca-cert.pem", false);
	if (r >= 0)
		r = need_file(l, certificate, !is_server);
	if (r >= 0)
		r = need_file(l, key, r == 0);
	return r < 0 ? r : 0;
}

static bool line_is_of(const char *line, const char *username)
{
	size_t length = strlen(username);
	return line[0] != '#' && strncmp(line, username, length) == 0 && line[length] == ':';
}

static int look_for_user(struct look *l, const char *path)
{
	FILE *f = fopen(path, "re");
	if (!f)
		return error_set_errno(&l->error, -errno, "Unable to access credentials %s", path);
	char line[KEY_LINE_MAX];
	bool found = false;
	while (!found && fgets(line, sizeof(line), f))
		found = line_is_of(line, l->creds->username);
	fclose(f);
	explicit_bzero(line, sizeof(line));
	return found ? 0 : error_set(&l->error, -ENOENT, "Username %s not found in PSK file %s",
				     l->creds->username, path);
}

static int look_for_keys_blocking(void *arg)
{
	struct look *l = arg;
	int r = need_file(l, "keys.psk", false);
	if (r < 0 || l->creds->is_server)
		return r < 0 ? r : 0;
	char *path _cleanup_free_ = xasprintf("%s/keys.psk", l->creds->dir);
	return look_for_user(l, path);
}

static int co_fn create(struct object *o, const struct tls_creds *c,
			int (*look_blocking)(void *arg), struct error **errp)
{
	if (!c->dir)
		return error_set(errp, -EINVAL, "Missing 'dir' property value");
	struct look l = {.creds = c};
	if (co_blocking(look_blocking, &l) < 0)
		return error_move(errp, l.error);
	o->engine = tls_creds_create(the_daemon.graph, c);
	return 0;
}

static int co_fn x509_create(struct object *o, struct error **errp)
{
	const struct tls_creds_x509_properties *p = &o->options->u.tls_creds_x509;
	return create(o, &(struct tls_creds){
		.id = o->options->id,
		.kind = TLS_CREDS_X509,
		.is_server = p->endpoint == Q_CRYPTO_TLS_CREDS_ENDPOINT_SERVER,
		.verify_peer = p->verify_peer,
		.dir = p->dir,
	}, look_for_certificates_blocking, errp);
}

static int co_fn psk_create(struct object *o, struct error **errp)
{
	const struct tls_creds_psk_properties *p = &o->options->u.tls_creds_psk;
	bool is_server = p->endpoint == Q_CRYPTO_TLS_CREDS_ENDPOINT_SERVER;
	if (is_server && p->username)
		return error_set(errp, -EINVAL, "username should not be set when endpoint=server");
	return create(o, &(struct tls_creds){
		.id = o->options->id,
		.kind = TLS_CREDS_PSK,
		.is_server = is_server,
		.verify_peer = p->verify_peer,
		.dir = p->dir,
		.username = is_server ? NULL : p->username ? p->username : (char *)DEFAULT_USERNAME,
	}, look_for_keys_blocking, errp);
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
	const char *s = strcmp(property, "dir") == 0 ? c->dir : c->username;
	return s ? json_string(s) : json_null();
}

static int set(struct object *o, const char *property, struct json_t *value, struct error **errp)
{
	return error_set(errp, -EPERM, "Property cannot be set after initialization");
}

#define COMMON_PROPERTIES                                                                          \
	{"endpoint", "QCryptoTLSCredsEndpoint"}, {"dir", "string"}, {"verify-peer", "bool"}

static const struct object_property x509_properties[] = {COMMON_PROPERTIES, {0}};
static const struct object_property psk_properties[] = {
	COMMON_PROPERTIES, {"username", "string"}, {0}};

const struct object_class tls_creds_x509_class = {
	.parent = "tls-creds",
	.type = OBJECT_TYPE_TLS_CREDS_X509,
	.properties = x509_properties,
	.create = x509_create,
	.delete = delete,
	.get = get,
	.set = set,
};

const struct object_class tls_creds_psk_class = {
	.parent = "tls-creds",
	.type = OBJECT_TYPE_TLS_CREDS_PSK,
	.properties = psk_properties,
	.create = psk_create,
	.delete = delete,
	.get = get,
	.set = set,
};
