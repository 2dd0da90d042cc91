/* SPDX-License-Identifier: MIT */
/*
 * What the machine of the negotiation and its options share. Only their files include it. The
 * caller's thread.
 */
#ifndef PROTOCOL_NBD_HANDSHAKE_INTERNAL_H
#define PROTOCOL_NBD_HANDSHAKE_INTERNAL_H

#include "protocol/nbd/handshake.h"

struct nbd_option_handler {
	uint32_t option; /* enum nbd_option */
	bool has_data;   /* else the client must send none */
	/* Answer h->option, whose data is complete, and change h->state where that is due. */
	void (*handle)(struct nbd_handshake *h);
};

/* The handler of @option; NULL for one that is not known. */
const struct nbd_option_handler *nbd_option_handler_find(uint32_t option);

/* Room for @bytes at the end of the output, to be filled in at once. */
uint8_t *nbd_handshake_reserve(struct nbd_handshake *h, size_t bytes);
/* Answer the current option with an error, NBD_REP_ERR_*, and a sentence. */
void nbd_option_error(struct nbd_handshake *h, uint32_t type, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* End the connection after the output. @reason is constant, for the log. */
void nbd_handshake_close(struct nbd_handshake *h, const char *reason);

#endif
