/* SPDX-License-Identifier: MIT */
/*
 * TLS for a connected stream, at either end. The stream's loop.
 */
#ifndef TLS_STREAM_H
#define TLS_STREAM_H

#include "base/socket.h"
#include "tls/library.h"

/* Who we are and whom we trust: the library, and the credentials as they were read. */
struct tls_identity {
	const struct tls_library *library;
	struct tls_context *context;
};

/* Load the library and the files of @creds, of which nothing is kept. *ret is the caller's. */
int co_fn tls_identity_create(const struct tls_creds *creds, struct tls_identity **ret,
			      struct error **errp);
/* No stream uses it any more. NULL is allowed. */
void tls_identity_destroy(struct tls_identity *identity);

/*
 * Do the handshake with whoever is at the other end of @stream, of which nothing has
 * been received that was not used; nobody else uses it meanwhile. From then on the
 * stream's bytes are protected.
 *
 * @server_name is a client's: whom the server's certificate must be of. *ret_peer is the
 * name that the peer's certificate is of, or NULL; it is valid as long as the stream.
 * Errors: -ECANCELED after socket_stream_shutdown(), that of the socket, and -EACCES
 * when the two cannot agree.
 */
int co_fn tls_stream_start(struct loop *loop, struct socket_stream *stream,
			   const struct tls_identity *identity, const char *server_name,
			   const char **ret_peer, struct error **errp);

#endif
