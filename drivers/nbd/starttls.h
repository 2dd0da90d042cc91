/* SPDX-License-Identifier: MIT */
/*
 * How a client asks an NBD server for TLS: what is sent and what must come back,
 * as bytes. Pure functions; any thread.
 */
#ifndef DRIVERS_NBD_STARTTLS_H
#define DRIVERS_NBD_STARTTLS_H

#include "base/error.h"
#include "protocol/nbd/wire.h"

#define STARTTLS_REQUEST_BYTES (NBD_CLIENT_FLAGS_BYTES + NBD_OPTION_BYTES)

/*
 * Read a server's @greeting. *ret_flags are those handshake flags of it that clients
 * know. -EINVAL, or -ENOTSUP when it cannot speak TLS.
 */
int starttls_check_greeting(const uint8_t greeting[NBD_GREETING_BYTES], uint16_t *ret_flags,
			    struct error **errp);
/* The same greeting, as it would have been with nothing but @flags. */
void starttls_put_greeting(uint8_t greeting[NBD_GREETING_BYTES], uint16_t flags);
/* The client's flags, which accept @flags, and the option. */
void starttls_put_request(uint8_t request[STARTTLS_REQUEST_BYTES], uint16_t flags);
/*
 * Read the header of the @reply. 0: TLS begins. 1: the server says no, in a message of
 * *ret_message_bytes, at most NBD_STRING_MAX, that follows. -EINVAL: it is no reply.
 */
int starttls_check_reply(const uint8_t reply[NBD_OPTION_REPLY_BYTES], uint32_t *ret_message_bytes,
			 struct error **errp);
/* The error of a server that said no in @reply, with @bytes of @message, which may be anything. */
int starttls_refused(const uint8_t reply[NBD_OPTION_REPLY_BYTES], const char *message,
		     size_t bytes, struct error **errp);

#endif
