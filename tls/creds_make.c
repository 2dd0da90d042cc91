/* SPDX-License-Identifier: MIT */
/*
 * Credentials for TLS from the properties that users give. Loop's thread; what is called
 * ..._blocking() runs on a worker.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/secret.h"
#include "tls/creds.h"
#include "tls/library.h"

#define DEFAULT_USERNAME "qemu"

/* What is looked for in the folder. */
struct look {
	const struct tls_creds *creds;
	const struct tls_library *library;
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

static int look_for_certificates(struct look *l)
{
	bool is_server = l->creds->is_server;
	const char *certificate = is_server ? "server-cert.pem" : "client-cert.pem";
	const char *key = is_server ? "server-key.pem" : "client-key.pem";
	/* A client that nobody asks who it is needs no certificate; half of one is a mistake. */
	int r = need_file(l, "ca-cert.pem", false);
	if (r >= 0)
		r = need_file(l, certificate, !is_server);
	return r < 0 ? r : need_file(l, key, r == 0);
}

static int look_blocking(void *arg)
{
	struct look *l = arg;
	int r = l->creds->kind == TLS_CREDS_X509 ? look_for_certificates(l)
						 : need_file(l, "keys.psk", false);
	return r < 0 ? r : l->library->check(l->creds, &l->error);
}

static int co_fn make(struct graph *g, const struct tls_creds *c, struct tls_creds **ret,
		      struct error **errp)
{
	if (!c->dir)
		return error_set(errp, -EINVAL, "Missing 'dir' property value");
	struct look l = {.creds = c, .library = tls_library_load(errp)};
	if (!l.library)
		return -ENOTSUP;
	if (co_blocking(look_blocking, &l) < 0)
		return error_move(errp, l.error);
	*ret = tls_creds_create(g, c);
	return 0;
}

int co_fn tls_creds_make_x509(struct graph *g, const char *id,
			      const struct tls_creds_x509_properties *p, struct tls_creds **ret,
			      struct error **errp)
{
	/* A copy: the secret may go while the files are read. */
	char *password = p->passwordid ? xstrdup(secret_find_text(g, p->passwordid, errp)) : NULL;
	if (p->passwordid && !password)
		return -EINVAL;
	int r = make(g, &(struct tls_creds){
		.id = (char *)id,
		.kind = TLS_CREDS_X509,
		.is_server = p->endpoint == Q_CRYPTO_TLS_CREDS_ENDPOINT_SERVER,
		.verify_peer = p->verify_peer,
		.dir = p->dir,
		.priority = p->priority,
		.password = password,
		.passwordid = p->passwordid,
		.sanity_check = p->sanity_check,
	}, ret, errp);
	if (password)
		explicit_bzero(password, strlen(password));
	free(password);
	return r;
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
		.priority = p->priority,
	}, ret, errp);
}
