/* SPDX-License-Identifier: MIT */
/*
 * Where an NBD server is: from the schema's SocketAddress to socket addresses.
 */
#ifndef DRIVERS_NBD_ADDRESS_H
#define DRIVERS_NBD_ADDRESS_H

#include <sys/socket.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct nbd_address {
	const struct socket_address *options; /* the node's */
	char *text; /* for messages */
	int fd;     /* a connected socket that is used once; -1: connect by address */
};

/* One address to connect to. */
struct nbd_target {
	struct sockaddr_storage address;
	socklen_t length;
};

#define NBD_TARGETS_MAX 8

/* Check @options, which must outlive @ret, and take over a descriptor that they name. */
int nbd_address_init(struct nbd_address *ret, const struct socket_address *options,
		     struct error **errp);
void nbd_address_finish(struct nbd_address *a);

/*
 * Look the address up, off the loop. Fills @ret and returns how many there are, at
 * least one, or a negative errno. Not for descriptors.
 */
int co_fn nbd_address_look_up(const struct nbd_address *a, struct nbd_target ret[NBD_TARGETS_MAX],
			      struct error **errp);

#endif
