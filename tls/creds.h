/* SPDX-License-Identifier: MIT */
/*
 * Credentials from the properties that users give. Loop's thread.
 */
#ifndef TLS_CREDS_H
#define TLS_CREDS_H

#include "base/coroutine.h"
#include "block/tls_creds.h"
#include "schema/types.h"

/*
 * Make credentials whose files can be read and, unless that is not wanted, would be taken by a
 * peer. The ID is well-formed and not taken; *ret belongs to the graph until it is destroyed. Waits
 * for the files and the module. -ENOTSUP when that cannot be had, -ENOENT for what is missing, or
 * another errno.
 */
int co_fn tls_creds_make_x509(struct graph *g, const char *id,
			      const struct tls_creds_x509_properties *p, struct tls_creds **ret,
			      struct error **errp);
int co_fn tls_creds_make_psk(struct graph *g, const char *id,
			     const struct tls_creds_psk_properties *p, struct tls_creds **ret,
			     struct error **errp);

#endif
