/* SPDX-License-Identifier: MIT */
/*
 * Looking at certificates before any peer does. The sentences are those that users know.
 */
#include "tls/sanity.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* Longest name of a purpose that is looked at: an object identifier. */
#define PURPOSE_MAX 128

struct certificates {
	gnutls_x509_crt_t *list;
	unsigned count;
};

/* One that is looked at. */
struct subject {
	gnutls_x509_crt_t certificate;
	const char *path;
	const char *role; /* "server" or "client"; NULL for an authority */
};

static void certificates_free(struct certificates *c)
{
	for (unsigned i = 0; i < c->count; i++)
		gnutls_x509_crt_deinit(c->list[i]);
	gnutls_free(c->list);
}

static int read_certificates(const char *path, struct certificates *c)
{
	gnutls_datum_t data;
	int r = gnutls_load_file(path, &data);
	if (r < 0)
		return r;
	r = gnutls_x509_crt_list_import2(&c->list, &c->count, &data, GNUTLS_X509_FMT_PEM, 0);
	gnutls_free(data.data);
	return r;
}

static int check_times(const struct subject *s, struct error **errp)
{
	const char *role = s->role ? s->role : "CA";
	time_t now = time(NULL);
	if (gnutls_x509_crt_get_expiration_time(s->certificate) < now)
		return error_set(errp, -EINVAL, "The %s certificate %s has expired", role, s->path);
	if (gnutls_x509_crt_get_activation_time(s->certificate) > now)
		return error_set(errp, -EINVAL, "The %s certificate %s is not yet active", role,
				 s->path);
	return 0;
}

static int check_constraints(const struct subject *s, struct error **errp)
{
	int status = gnutls_x509_crt_get_ca_status(s->certificate, NULL);
	if (status > 0 && s->role)
		return error_set(errp, -EINVAL,
				 "The certificate %s basic constraints show a CA, but we need one "
				 "for a %s", s->path, s->role);
	if (status == 0 && !s->role)
		return error_set(errp, -EINVAL,
				 "The certificate %s basic constraints do not show a CA", s->path);
	if (status == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return s->role ? 0
			       : error_set(errp, -EINVAL,
					   "The certificate %s is missing basic constraints for a CA",
					   s->path);
	if (status < 0)
		return error_set(errp, -EINVAL,
				 "Unable to query certificate %s basic constraints: %s", s->path,
				 gnutls_strerror(status));
	return 0;
}

/* What is not critical is advice. */
static int check_usage(const struct subject *s, struct error **errp)
{
	unsigned usage, is_critical;
	int r = gnutls_x509_crt_get_key_usage(s->certificate, &usage, &is_critical);
	if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
		return 0;
	if (r < 0)
		return error_set(errp, -EINVAL, "Unable to query certificate %s key usage: %s",
				 s->path, gnutls_strerror(r));
	if (is_critical && !(usage & (s->role ? GNUTLS_KEY_DIGITAL_SIGNATURE : GNUTLS_KEY_KEY_CERT_SIGN)))
		return error_set(errp, -EINVAL, "Certificate %s usage does not permit %s", s->path,
				 s->role ? "digital signature" : "certificate signing");
	return 0;
}

static int check_purpose(const struct subject *s, struct error **errp)
{
	const char *wanted = strcmp(s->role, "server") == 0 ? GNUTLS_KP_TLS_WWW_SERVER
							     : GNUTLS_KP_TLS_WWW_CLIENT;
	unsigned is_critical = 0;
	for (unsigned i = 0;; i++) {
		char purpose[PURPOSE_MAX];
		size_t bytes = sizeof(purpose);
		int r = gnutls_x509_crt_get_key_purpose_oid(s->certificate, i, purpose, &bytes,
							    &is_critical);
		if (r == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
			break;
		if (r < 0)
			return error_set(errp, -EINVAL,
					 "Unable to query certificate %s key purpose: %s", s->path,
					 gnutls_strerror(r));
		if (strcmp(purpose, wanted) == 0 || strcmp(purpose, GNUTLS_KP_ANY) == 0)
			return 0;
	}
	return is_critical ? error_set(errp, -EINVAL,
				       "Certificate %s purpose does not allow use with a TLS %s",
				       s->path, s->role)
			   : 0;
}

static int check(const struct subject *s, struct error **errp)
{
	int r = check_times(s, errp);
	if (r >= 0)
		r = check_constraints(s, errp);
	if (r >= 0)
		r = check_usage(s, errp);
	return r >= 0 && s->role ? check_purpose(s, errp) : r;
}

const char *tls_why_untrusted(unsigned status)
{
	if (status & GNUTLS_CERT_REVOKED)
		return "The certificate has been revoked";
	if (status & GNUTLS_CERT_EXPIRED)
		return "The certificate has expired";
	if (status & GNUTLS_CERT_SIGNER_NOT_FOUND)
		return "The certificate hasn't got a known issuer";
	if (status & GNUTLS_CERT_INSECURE_ALGORITHM)
		return "The certificate uses an insecure algorithm";
	return "The certificate is not trusted";
}

static int check_signature(const struct certificates *own, const char *own_path,
			   const struct certificates *authorities, const char *authorities_path,
			   struct error **errp)
{
	unsigned status;
	int r = gnutls_x509_crt_list_verify(own->list, (int)own->count, authorities->list,
					    (int)authorities->count, NULL, 0, 0, &status);
	if (r < 0)
		return error_set(errp, -EINVAL, "Unable to verify certificate %s against %s: %s",
				 own_path, authorities_path, gnutls_strerror(r));
	if (status != 0)
		return error_set(errp, -EINVAL,
				 "Our own certificate %s failed validation against %s: %s", own_path,
				 authorities_path, tls_why_untrusted(status));
	return 0;
}

/* Our own, which comes first in its file; those of authorities between may follow. */
static int check_own(struct certificates *own, const char *path, const char *role,
		     struct error **errp)
{
	int r = read_certificates(path, own);
	if (r < 0)
		return error_set(errp, -EINVAL, "Unable to import %s certificate %s: %s", role,
				 path, gnutls_strerror(r));
	return check(&(struct subject){own->list[0], path, role}, errp);
}

static int check_authorities(struct certificates *authorities, const char *path,
			     struct error **errp)
{
	if (read_certificates(path, authorities) < 0)
		return error_set(errp, -EINVAL, "Unable to import CA certificate list %s", path);
	int r = 0;
	for (unsigned i = 0; r >= 0 && i < authorities->count; i++)
		r = check(&(struct subject){authorities->list[i], path, NULL}, errp);
	return r;
}

int tls_sanity_check(const struct tls_creds *creds, struct error **errp)
{
	const char *role = creds->is_server ? "server" : "client";
	char *own_path _cleanup_free_ = xasprintf("%s/%s-cert.pem", creds->dir, role);
	char *authorities_path _cleanup_free_ = xasprintf("%s/ca-cert.pem", creds->dir);
	struct certificates own = {0}, authorities = {0};
	/* A client may have none. */
	bool shows_one = creds->is_server || access(own_path, F_OK) == 0;
	int r = shows_one ? check_own(&own, own_path, role, errp) : 0;
	if (r >= 0)
		r = check_authorities(&authorities, authorities_path, errp);
	if (r >= 0 && shows_one)
		r = check_signature(&own, own_path, &authorities, authorities_path, errp);
	certificates_free(&own);
	certificates_free(&authorities);
	return r;
}
