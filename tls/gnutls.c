/* SPDX-License-Identifier: MIT */
/*
 * The module cairn-tls.so: TLS by GnuTLS; see library.h for the threads.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "tls/library.h"
#include "tls/sanity.h"

/*
 * Nothing older than TLS 1.2 is talked to. The server chooses: with a key that both
 * know, clients of this library would have ChaCha20, which takes several times as long
 * as AES does where the processor has it.
 */
#define PRIORITY                                                                                   \
	"NORMAL:%SERVER_PRECEDENCE:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:"               \
	"+AES-128-GCM:+AES-256-GCM:+CHACHA20-POLY1305:+AES-128-CCM:+AES-256-CCM"
#define PRIORITY_PSK ":+ECDHE-PSK:+DHE-PSK:+PSK" /* behind that, or what the user says */

struct tls_context {
	bool is_server;
	bool verify_peer;
	gnutls_certificate_credentials_t certificates; /* one of the three is not NULL */
	gnutls_psk_server_credentials_t keys;
	gnutls_psk_client_credentials_t key;
	gnutls_priority_t priority;
};

struct tls_session {
	gnutls_session_t gnutls;
	bool is_server;
	struct tls_transport transport;
	char *server_name; /* of a client that checks it */
	char *peer_name;
};

/* Credentials. */

static int load_authorities(struct tls_context *c, const char *dir, struct error **errp)
{
	char *path _cleanup_free_ = xasprintf("%s/ca-cert.pem", dir);
	int r = gnutls_certificate_set_x509_trust_file(c->certificates, path, GNUTLS_X509_FMT_PEM);
	if (r < 0)
		return error_set(errp, -EINVAL, "Cannot load CA certificate '%s': %s", path,
				 gnutls_strerror(r));
	char *revoked _cleanup_free_ = xasprintf("%s/ca-crl.pem", dir);
	if (access(revoked, F_OK) < 0 && errno == ENOENT)
		return 0;
	r = gnutls_certificate_set_x509_crl_file(c->certificates, revoked, GNUTLS_X509_FMT_PEM);
	if (r < 0)
		return error_set(errp, -EINVAL, "Cannot load CRL '%s': %s", revoked,
				 gnutls_strerror(r));
	return 0;
}

static int load_own_certificate(struct tls_context *c, const struct tls_creds *creds,
				struct error **errp)
{
	const char *role = creds->is_server ? "server" : "client";
	char *certificate _cleanup_free_ = xasprintf("%s/%s-cert.pem", creds->dir, role);
	char *key _cleanup_free_ = xasprintf("%s/%s-key.pem", creds->dir, role);
	/* A client may have none, and show none. */
	if (!c->is_server && access(certificate, F_OK) < 0 && errno == ENOENT)
		return 0;
	int r = gnutls_certificate_set_x509_key_file2(c->certificates, certificate, key,
						      GNUTLS_X509_FMT_PEM, creds->password, 0);
	if (r < 0)
		return error_set(errp, -EINVAL, "Cannot load certificate '%s' & key '%s': %s",
				 certificate, key, gnutls_strerror(r));
	return 0;
}

static int load_certificates(struct tls_context *c, const struct tls_creds *creds,
			     struct error **errp)
{
	if (gnutls_certificate_allocate_credentials(&c->certificates) < 0)
		return error_set(errp, -ENOMEM, "No memory for certificates");
	int r = load_authorities(c, creds->dir, errp);
	if (r >= 0)
		r = load_own_certificate(c, creds, errp);
	if (r >= 0 && c->is_server)
		gnutls_certificate_set_known_dh_params(c->certificates, GNUTLS_SEC_PARAM_MEDIUM);
	return r;
}

/* The library reads the file at each handshake: users come and go without a restart. */
static int load_keys(struct tls_context *c, const char *dir, struct error **errp)
{
	char *path _cleanup_free_ = xasprintf("%s/keys.psk", dir);
	if (access(path, R_OK) < 0)
		return error_set_errno(errp, -errno, "Unable to access credentials %s", path);
	int r = gnutls_psk_allocate_server_credentials(&c->keys);
	if (r >= 0)
		r = gnutls_psk_set_server_credentials_file(c->keys, path);
	if (r >= 0)
		r = gnutls_psk_set_server_known_dh_params(c->keys, GNUTLS_SEC_PARAM_MEDIUM);
	if (r < 0)
		return error_set(errp, -EINVAL, "Cannot load PSK server credentials '%s': %s", path,
				 gnutls_strerror(r));
	return 0;
}

static int load_key(struct tls_context *c, const struct tls_creds *creds, struct error **errp)
{
	char *key;
	int r = tls_creds_read_key(creds, &key, errp);
	if (r < 0)
		return r;
	r = gnutls_psk_allocate_client_credentials(&c->key);
	if (r >= 0)
		r = gnutls_psk_set_client_credentials(
			c->key, creds->username,
			&(gnutls_datum_t){(unsigned char *)key, (unsigned)strlen(key)},
			GNUTLS_PSK_KEY_HEX);
	explicit_bzero(key, strlen(key));
	free(key);
	return r < 0 ? error_set(errp, -EINVAL, "Cannot set PSK client credentials: %s",
				 gnutls_strerror(r))
		     : 0;
}

static int load_priority(struct tls_context *c, const struct tls_creds *creds, struct error **errp)
{
	const char *wanted = creds->priority ? creds->priority : PRIORITY;
	char *priority _cleanup_free_ =
		xasprintf("%s%s", wanted, creds->kind == TLS_CREDS_PSK ? PRIORITY_PSK : "");
	int r = gnutls_priority_init(&c->priority, priority, NULL);
	return r < 0 ? error_set(errp, -EINVAL, "Unable to set TLS session priority %s: %s", wanted,
				 gnutls_strerror(r))
		     : 0;
}

static void context_destroy(struct tls_context *c)
{
	if (!c)
		return;
	if (c->certificates)
		gnutls_certificate_free_credentials(c->certificates);
	if (c->keys)
		gnutls_psk_free_server_credentials(c->keys);
	if (c->key)
		gnutls_psk_free_client_credentials(c->key);
	if (c->priority)
		gnutls_priority_deinit(c->priority);
	free(c);
}

static int context_create(const struct tls_creds *creds, struct tls_context **ret,
			  struct error **errp)
{
	struct tls_context *c = NEW(struct tls_context);
	c->is_server = creds->is_server;
	/* Who knows a key has shown with it who it is. */
	c->verify_peer = creds->verify_peer && creds->kind == TLS_CREDS_X509;
	int r = creds->kind == TLS_CREDS_X509 ? load_certificates(c, creds, errp)
		: creds->is_server	      ? load_keys(c, creds->dir, errp)
					      : load_key(c, creds, errp);
	if (r >= 0)
		r = load_priority(c, creds, errp);
	if (r < 0) {
		context_destroy(c);
		return r;
	}
	*ret = c;
	return 0;
}

static int check(const struct tls_creds *creds, struct error **errp)
{
	struct tls_context *c = NULL;
	int r = creds->kind == TLS_CREDS_X509 && creds->sanity_check ? tls_sanity_check(creds, errp)
								     : 0;
	if (r >= 0)
		r = context_create(creds, &c, errp);
	context_destroy(c);
	return r;
}

/* Sessions. */

static ssize_t pull(gnutls_transport_ptr_t arg, void *p, size_t bytes)
{
	struct tls_session *s = arg;
	int64_t n = s->transport.pull(s->transport.arg, p, bytes);
	if (n < 0) {
		gnutls_transport_set_errno(s->gnutls, (int)-n);
		return -1;
	}
	return (ssize_t)n;
}

static ssize_t push(gnutls_transport_ptr_t arg, const void *p, size_t bytes)
{
	struct tls_session *s = arg;
	s->transport.push(s->transport.arg, p, bytes);
	return (ssize_t)bytes;
}

static void session_destroy(struct tls_session *s)
{
	if (s->gnutls)
		gnutls_deinit(s->gnutls);
	gnutls_free(s->peer_name);
	free(s->server_name);
	free(s);
}

/*
 * Have the peer show a certificate, and check it during the handshake, which fails with
 * a stranger, so that it is told so.
 */
static void ask_for_certificate(struct tls_session *s, const struct tls_context *c)
{
	if (c->is_server)
		gnutls_certificate_server_set_request(
			s->gnutls, c->verify_peer ? GNUTLS_CERT_REQUIRE : GNUTLS_CERT_IGNORE);
	if (c->verify_peer)
		gnutls_session_set_verify_cert(s->gnutls, s->server_name, 0);
}

/* Tell a server of several names which of them is meant. Addresses are not told. */
static int tell_server_name(struct tls_session *s)
{
	struct in6_addr address;
	const char *name = s->server_name;
	if (!name || !*name || inet_pton(AF_INET, name, &address) == 1 || strchr(name, ':'))
		return 0;
	return gnutls_server_name_set(s->gnutls, GNUTLS_NAME_DNS, name, strlen(name));
}

static int set_up(struct tls_session *s, struct tls_context *c)
{
	int r = gnutls_init(&s->gnutls, (c->is_server ? GNUTLS_SERVER : GNUTLS_CLIENT) |
						GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	if (r >= 0)
		r = gnutls_priority_set(s->gnutls, c->priority);
	if (r >= 0 && c->keys)
		r = gnutls_credentials_set(s->gnutls, GNUTLS_CRD_PSK, c->keys);
	if (r >= 0 && c->key)
		r = gnutls_credentials_set(s->gnutls, GNUTLS_CRD_PSK, c->key);
	if (r >= 0 && c->certificates)
		r = gnutls_credentials_set(s->gnutls, GNUTLS_CRD_CERTIFICATE, c->certificates);
	if (r >= 0)
		r = tell_server_name(s);
	if (r < 0)
		return r;
	if (c->certificates)
		ask_for_certificate(s, c);
	gnutls_transport_set_ptr(s->gnutls, s);
	gnutls_transport_set_pull_function(s->gnutls, pull);
	gnutls_transport_set_push_function(s->gnutls, push);
	return 0;
}

static struct tls_session *session_create(struct tls_context *c, const char *server_name,
					  const struct tls_transport *transport)
{
	assert(c->is_server || !c->verify_peer || server_name);
	struct tls_session *s = NEW(struct tls_session);
	s->is_server = c->is_server;
	s->transport = *transport;
	s->server_name = server_name && c->verify_peer ? xstrdup(server_name) : NULL;
	if (set_up(s, c) >= 0)
		return s;
	session_destroy(s);
	return NULL;
}

static int read_peer_name(struct tls_session *s)
{
	unsigned count;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(s->gnutls, &count);
	if (!chain || count == 0)
		return 0;
	gnutls_x509_crt_t certificate;
	int r = gnutls_x509_crt_init(&certificate);
	if (r < 0)
		return r;
	gnutls_datum_t name = {0};
	r = gnutls_x509_crt_import(certificate, &chain[0], GNUTLS_X509_FMT_DER);
	/* The compatible form, whose order is that of the certificate, is what rules are written for. */
	if (r >= 0)
		r = gnutls_x509_crt_get_dn3(certificate, &name, GNUTLS_X509_DN_FLAG_COMPAT);
	if (r >= 0)
		s->peer_name = (char *)name.data;
	gnutls_x509_crt_deinit(certificate);
	return r;
}

/* Why the peer's certificate is not taken. */
static int report_certificate(struct tls_session *s, struct error **errp)
{
	unsigned status = gnutls_session_get_verify_cert_status(s->gnutls);
	/* Somebody else's is told as such when nothing else is wrong with it. */
	if ((status & ~(unsigned)GNUTLS_CERT_INVALID) == GNUTLS_CERT_UNEXPECTED_OWNER && s->server_name)
		return error_set(errp, -EACCES, "Certificate does not match the hostname %s",
				 s->server_name);
	return error_set(errp, -EACCES, "%s", tls_why_untrusted(status));
}

static int report(struct tls_session *s, int r, struct error **errp)
{
	if (r == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return error_set(errp, -EACCES, "TLS handshake failed: the %s says: %s",
				 s->is_server ? "client" : "server",
				 gnutls_alert_get_name(gnutls_alert_get(s->gnutls)));
	(void)gnutls_alert_send_appropriate(s->gnutls, r);
	if (r == GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR && !s->is_server)
		return report_certificate(s, errp);
	return error_set(errp, -EACCES, "TLS handshake failed: %s", gnutls_strerror(r));
}

static int handshake(struct tls_session *s, struct error **errp)
{
	int r;
	do
		r = gnutls_handshake(s->gnutls);
	while (r < 0 && r != GNUTLS_E_AGAIN && !gnutls_error_is_fatal(r));
	if (r == GNUTLS_E_AGAIN)
		return -EAGAIN;
	if (r >= 0)
		r = read_peer_name(s);
	return r < 0 ? report(s, r, errp) : 0;
}

static const char *peer_name(const struct tls_session *s)
{
	return s->peer_name;
}

static int64_t receive_plain(struct tls_session *s, void *p, size_t bytes)
{
	ssize_t n;
	do
		n = gnutls_record_recv(s->gnutls, p, bytes);
	while (n == GNUTLS_E_INTERRUPTED);
	if (n >= 0)
		return n;
	if (n == GNUTLS_E_AGAIN)
		return -EAGAIN;
	if (n == GNUTLS_E_FATAL_ALERT_RECEIVED)
		return -EACCES;
	/* Who just hangs up has nothing more to say either; requests tell themselves where they end. */
	return n == GNUTLS_E_PREMATURE_TERMINATION ? 0 : -EPROTO;
}

static int64_t send_plain(struct tls_session *s, const void *p, size_t bytes)
{
	ssize_t n = gnutls_record_send(s->gnutls, p, bytes);
	return n > 0 ? n : -EPROTO;
}

static void say_goodbye(struct tls_session *s)
{
	(void)gnutls_bye(s->gnutls, GNUTLS_SHUT_WR);
}

extern const struct tls_library cairn_tls_library;
const struct tls_library cairn_tls_library = {
	.version = CAIRN_VERSION,
	.check = check,
	.context_create = context_create,
	.context_destroy = context_destroy,
	.session_create = session_create,
	.session_destroy = session_destroy,
	.handshake = handshake,
	.peer_name = peer_name,
	.receive = receive_plain,
	.send = send_plain,
	.say_goodbye = say_goodbye,
};
