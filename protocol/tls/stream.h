/* SPDX-License-Identifier: MIT */
/*
 * TLS for a connection that has come to a server. The stream's loop.
 */
#ifndef PROTOCOL_TLS_STREAM_H
#define PROTOCOL_TLS_STREAM_H

#include "base/socket.h"
#include "protocol/tls/library.h"

/* What connections need: the library, and the credentials as they were read. */
struct tls_server {
	const struct tls_library *library;
	struct tls_context *context;
};

/* Load the library and the files of @creds. *ret belongs to the caller. */
int co_fn tls_server_create(const struct tls_creds *creds, struct tls_server **ret,
			    struct error **errp);
/* No stream uses it any more. NULL is allowed. */
void tls_server_destroy(struct tls_server *s);

/*
 * Do the handshake with the client at @stream, of which nothing has been received that
 * was not used; nobody else uses it meanwhile. From then on the stream's bytes are
 * protected. *ret_peer is the name that the client's certificate is of, or NULL; it is
 * valid as long as the stream. Errors: -ECANCELED after socket_stream_shutdown(), that
 * of the socket, and -EACCES when the two cannot agree.
 */
int co_fn tls_stream_start(struct loop *loop, struct socket_stream *stream,
			   const struct tls_server *server, const char **ret_peer,
			   struct error **errp);

#endif
