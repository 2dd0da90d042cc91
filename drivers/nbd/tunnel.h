/* SPDX-License-Identifier: MIT */
/*
 * TLS between libnbd and a server. libnbd can check a certificate only against the
 * host that it connected to itself; this checks it against any name.
 *
 * The tunnel begins the handshake of NBD in libnbd's place, up to TLS and through it.
 * Then it greets libnbd, as the server did, at one end of a pair of sockets, and from
 * there on carries what is said, decrypted and encrypted. Node's loop.
 */
#ifndef DRIVERS_NBD_TUNNEL_H
#define DRIVERS_NBD_TUNNEL_H

#include "base/loop.h"
#include "block/tls_creds.h"

struct nbd_tunnel;

/*
 * A tunnel to the server at the connected socket @fd, which becomes the tunnel's.
 * @running counts what of it still runs after tunnel_close().
 */
struct nbd_tunnel *tunnel_new(struct loop *loop, int fd, struct co_group *running);
/*
 * Have the server speak TLS, as who @creds, which are certificates, say that we are. Its
 * certificate must be of @server_name. *ret_fd is a socket for libnbd without TLS, and
 * the caller's. Errors: -ETIMEDOUT after @deadline_ns, -ECANCELED after tunnel_cancel(),
 * the socket's, -EACCES when one of the two does not trust the other, -ENOTSUP without
 * TLS at either end. To be called once.
 */
int co_fn tunnel_open(struct nbd_tunnel *t, const struct tls_creds *creds, const char *server_name,
		      uint64_t deadline_ns, int *ret_fd, struct error **errp);
/* Cut the connection: libnbd sees its end, and tunnel_open() fails soon. */
void tunnel_cancel(struct nbd_tunnel *t);
/* Why the connection broke: a negative errno; -EACCES when the server ended TLS by an alert. 0: unknown. */
int tunnel_failure(const struct nbd_tunnel *t);
/* Cut it and forget it, not while tunnel_open() runs. NULL is allowed. */
void tunnel_close(struct nbd_tunnel *t);

#endif
