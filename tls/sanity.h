/* SPDX-License-Identifier: MIT */
/*
 * Certificates that could be read, but that no peer would take. Part of the module
 * cairn-tls.so; any thread.
 */
#ifndef TLS_SANITY_H
#define TLS_SANITY_H

#include "block/tls_creds.h"

/*
 * Whether the certificates in the files of @creds are in force, are for what they are used for, and
 * belong together (RFC 5280, sections 4.1.2.5, 4.2.1.3, 4.2.1.9, 4.2.1.12). Reads files. -EINVAL
 * says what is wrong with which.
 */
int tls_sanity_check(const struct tls_creds *creds, struct error **errp);
/* Why a certificate with this status of GnuTLS is not taken: a sentence. */
const char *tls_why_untrusted(unsigned status);

#endif
