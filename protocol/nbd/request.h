/* SPDX-License-Identifier: MIT */
/*
 * Whether a client may ask what it asks: the rules of the transmission, as a
 * function of the request and of what was negotiated. No state, no I/O.
 */
#ifndef PROTOCOL_NBD_REQUEST_H
#define PROTOCOL_NBD_REQUEST_H

#include "protocol/nbd/wire.h"

/* What was negotiated, and the size as it is now. */
struct nbd_session {
	uint64_t size;
	uint16_t flags; /* enum nbd_transmission_flags */
	bool structured;
	uint32_t contexts; /* mask of those selected */
};

/* Room for the sentence of nbd_request_check(). */
#define NBD_COMPLAINT_MAX 128

/*
 * 0, or a negative errno for the client with a sentence in @complaint, which
 * has room for NBD_COMPLAINT_MAX bytes. DISC is none of its business. A refused
 * write's payload must still be taken in, see nbd_request_payload().
 */
int nbd_request_check(const struct nbd_request *r, const struct nbd_session *s, char *complaint);

/* Bytes of data that follow the request's header on the wire. */
static inline uint32_t nbd_request_payload(const struct nbd_request *r)
{
	return r->type == NBD_CMD_WRITE ? r->length : 0;
}

/* Bytes of memory that serving the request takes, other than for small things. */
static inline uint32_t nbd_request_memory(const struct nbd_request *r)
{
	return r->type == NBD_CMD_READ || r->type == NBD_CMD_WRITE ? r->length : 0;
}

#endif
