/* SPDX-License-Identifier: MIT */
/*
 * Credentials for TLS from the properties that users give. Loop's thread; what is called
 * ..._blocking() runs on a worker.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/objects.h"
#include "block/tls_creds.h"

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

static int co_fn make(struct graph *g, const struct tls_creds *c, int (*look_blocking)(void *arg),
		      struct tls_creds **ret, struct error **errp)
{
	if (!c->dir)
		return error_set(errp, -EINVAL, "Missing 'dir' property value");
	struct look l = {.creds = c};
	if (co_blocking(look_blocking, &l) < 0)
		return error_move(errp, l.error);
	*ret = tls_creds_create(g, c);
	return 0;
}

int co_fn tls_creds_make_x509(struct graph *g, const char *id,
			      const struct tls_creds_x509_properties *p, struct tls_creds **ret,
			      struct error **errp)
{
	return make(g, &(struct tls_creds){
		.id = (char *)id,
		.kind = TLS_CREDS_X509,
		.is_server = p->endpoint == Q_CRYPTO_TLS_CREDS_ENDPOINT_SERVER,
		.verify_peer = p->verify_peer,
		.dir = p->dir,
	}, look_for_certificates_blocking, ret, errp);
}

int co_fn tls_creds_make_psk(struct graph *g, const char *id,
			     const struct tls_creds_psk_properties *p, struct tls_creds **ret,
			     struct error **errp)
{
	bool is_server = p->endpoint == Q_CRYPTO_TLS_CREDS_ENDPOINT_SERVER;
	if (is_server && p->username)
		return error_set(errp, -EINVAL, "username should not be set when endpoint=server");
	return make(g, &(struct tls_creds){
		.id = (char *)id,
		.kind = TLS_CREDS_PSK,
		.is_server = is_server,
		.verify_peer = p->verify_peer,
		.dir = p->dir,
		.username = is_server ? NULL : p->username ? p->username : (char *)DEFAULT_USERNAME,
	}, look_for_keys_blocking, ret, errp);
}
