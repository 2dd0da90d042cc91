/* SPDX-License-Identifier: MIT */
/*
 * Credentials for TLS, that nodes refer to by name. What the files hold is for
 * whoever speaks TLS to read. Loop's thread.
 */
#ifndef BLOCK_TLS_CREDS_H
#define BLOCK_TLS_CREDS_H

#include <stdbool.h>

#include "base/error.h"
#include "base/list.h"

struct graph;

enum tls_creds_kind {
	TLS_CREDS_X509, /* certificates: ca-cert.pem, client-cert.pem, client-key.pem, ... in dir */
	TLS_CREDS_PSK,  /* keys by user name: keys.psk in dir */
};

struct tls_creds {
	struct list link; /* in graph.tls_creds */
	char *id;
	enum tls_creds_kind kind;
	bool is_server;
	bool verify_peer; /* take only who can show that it is who it claims to be */
	char *dir;
	char *username; /* of a PSK client */
	char *priority; /* what GnuTLS is to choose from, in its words; NULL for our choice */
	char *password; /* of the key of a certificate; NULL when it is not encrypted */
	char *passwordid;   /* the secret that @password came from */
	bool sanity_check;  /* whether certificates that no peer would take are refused */
	unsigned users;
};

/* Make credentials as @c describes; strings are copied. The ID is not taken. */
struct tls_creds *tls_creds_create(struct graph *g, const struct tls_creds *c);
/* Forget them. -EBUSY while somebody holds them. */
int tls_creds_destroy(struct tls_creds *c);
/*
 * The credentials called @id, held until tls_creds_release(). NULL and *errp when there
 * are none, or they are for the other end.
 */
struct tls_creds *tls_creds_hold(struct graph *g, const char *id, bool is_server,
				 struct error **errp);
/* NULL is allowed. */
void tls_creds_release(struct tls_creds *c);
/*
 * The key of the user of a PSK client, in the digits of the file, to be overwritten and freed by the
 * caller. -ENOENT when the file does not name the user, or what reading returns. Reads a file; any
 * thread.
 */
int tls_creds_read_key(const struct tls_creds *c, char **ret, struct error **errp);

#endif
