/* SPDX-License-Identifier: MIT */
/*
 * The NBD protocol's numbers, and how its messages look as bytes.
 *
 * Follows the public specification of the protocol (doc/proto.md of the NBD
 * project). Pure functions without state, for any thread; the server, the
 * client driver and the tools share them. Everything on the wire is big-endian.
 */
#ifndef PROTOCOL_NBD_WIRE_H
#define PROTOCOL_NBD_WIRE_H

#include <endian.h>
#include <string.h>

#include "base/util.h"

/* Negotiation. */
#define NBD_MAGIC UINT64_C(0x4e42444d41474943)        /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x0003e889045565a9)

#define NBD_GREETING_BYTES 18      /* two magics and the handshake flags */
#define NBD_CLIENT_FLAGS_BYTES 4
#define NBD_OPTION_BYTES 16        /* an option's header */
#define NBD_OPTION_REPLY_BYTES 20  /* an option reply's header */
#define NBD_EXPORT_NAME_ZEROES 124 /* at the end of the answer to EXPORT_NAME */

/* Longest string: names of exports and contexts, descriptions, error messages. */
#define NBD_STRING_MAX 4096

enum nbd_handshake_flags {
	NBD_FLAG_FIXED_NEWSTYLE = 1 << 0,
	NBD_FLAG_NO_ZEROES = 1 << 1,
};

enum nbd_client_flags {
	NBD_FLAG_C_FIXED_NEWSTYLE = 1 << 0,
	NBD_FLAG_C_NO_ZEROES = 1 << 1,
};

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR(n) (UINT32_C(1) << 31 | (n))

enum nbd_option_reply_type {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
};

#define NBD_REP_ERR_UNSUP NBD_REP_ERROR(1)
#define NBD_REP_ERR_POLICY NBD_REP_ERROR(2)
#define NBD_REP_ERR_INVALID NBD_REP_ERROR(3)
#define NBD_REP_ERR_PLATFORM NBD_REP_ERROR(4)
#define NBD_REP_ERR_TLS_REQD NBD_REP_ERROR(5)
#define NBD_REP_ERR_UNKNOWN NBD_REP_ERROR(6)
#define NBD_REP_ERR_SHUTDOWN NBD_REP_ERROR(7)
#define NBD_REP_ERR_BLOCK_SIZE_REQD NBD_REP_ERROR(8)
#define NBD_REP_ERR_TOO_BIG NBD_REP_ERROR(9)

enum nbd_info_type {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_DESCRIPTION = 2,
	NBD_INFO_BLOCK_SIZE = 3,
};

/* What an export can do and a client may use. */
enum nbd_transmission_flags {
	NBD_FLAG_HAS_FLAGS = 1 << 0,
	NBD_FLAG_READ_ONLY = 1 << 1,
	NBD_FLAG_SEND_FLUSH = 1 << 2,
	NBD_FLAG_SEND_FUA = 1 << 3,
	NBD_FLAG_ROTATIONAL = 1 << 4,
	NBD_FLAG_SEND_TRIM = 1 << 5,
	NBD_FLAG_SEND_WRITE_ZEROES = 1 << 6,
	NBD_FLAG_SEND_DF = 1 << 7,
	NBD_FLAG_CAN_MULTI_CONN = 1 << 8,
	NBD_FLAG_SEND_RESIZE = 1 << 9,
	NBD_FLAG_SEND_CACHE = 1 << 10,
	NBD_FLAG_SEND_FAST_ZERO = 1 << 11,
};

/* Transmission. */
#define NBD_REQUEST_MAGIC UINT32_C(0x25609513)
#define NBD_SIMPLE_REPLY_MAGIC UINT32_C(0x67446698)
#define NBD_CHUNK_MAGIC UINT32_C(0x668e33ef)

#define NBD_REQUEST_BYTES 28
#define NBD_SIMPLE_REPLY_BYTES 16
#define NBD_CHUNK_BYTES 20 /* a chunk's header */
#define NBD_OFFSET_BYTES 8 /* before the data of an OFFSET_DATA chunk */

/* Longest data of one request. */
#define NBD_DATA_MAX (UINT32_C(32) << 20)

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
	NBD_CMD__COUNT
};

enum nbd_command_flags {
	NBD_CMD_FLAG_FUA = 1 << 0,
	NBD_CMD_FLAG_NO_HOLE = 1 << 1,
	NBD_CMD_FLAG_DF = 1 << 2,
	NBD_CMD_FLAG_REQ_ONE = 1 << 3,
	NBD_CMD_FLAG_FAST_ZERO = 1 << 4,
};

enum nbd_chunk_flags { NBD_REPLY_FLAG_DONE = 1 << 0 };

enum nbd_chunk_type {
	NBD_REPLY_TYPE_NONE = 0,
	NBD_REPLY_TYPE_OFFSET_DATA = 1,
	NBD_REPLY_TYPE_OFFSET_HOLE = 2,
	NBD_REPLY_TYPE_BLOCK_STATUS = 5,
	NBD_REPLY_TYPE_ERROR = (1 << 15) + 1,
	NBD_REPLY_TYPE_ERROR_OFFSET = (1 << 15) + 2,
};

/* The flag of extents in the contexts qemu:dirty-bitmap:NAME. */
#define NBD_STATE_DIRTY 1u

/* Flags of extents in the context base:allocation. */
enum nbd_state { NBD_STATE_HOLE = 1 << 0, NBD_STATE_ZERO = 1 << 1 };

enum nbd_error {
	NBD_SUCCESS = 0,
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

struct nbd_request {
	uint16_t flags, type;
	uint64_t cookie; /* the client's name for it, repeated in the reply */
	uint64_t offset;
	uint32_t length;
};

struct nbd_simple_reply {
	uint32_t error; /* enum nbd_error */
	uint64_t cookie;
};

struct nbd_chunk {
	uint16_t flags, type;
	uint64_t cookie;
	uint32_t length; /* of the payload */
};

struct nbd_option_header {
	uint32_t option;
	uint32_t length;
};

struct nbd_option_reply {
	uint32_t option;
	uint32_t type;
	uint32_t length;
};

static inline uint16_t nbd_get16(const uint8_t *p)
{
	uint16_t n;
	memcpy(&n, p, sizeof(n));
	return be16toh(n);
}

static inline uint32_t nbd_get32(const uint8_t *p)
{
	uint32_t n;
	memcpy(&n, p, sizeof(n));
	return be32toh(n);
}

static inline uint64_t nbd_get64(const uint8_t *p)
{
	uint64_t n;
	memcpy(&n, p, sizeof(n));
	return be64toh(n);
}

/* These return where the next field goes. */
static inline uint8_t *nbd_put16(uint8_t *p, uint16_t n)
{
	n = htobe16(n);
	memcpy(p, &n, sizeof(n));
	return p + sizeof(n);
}

static inline uint8_t *nbd_put32(uint8_t *p, uint32_t n)
{
	n = htobe32(n);
	memcpy(p, &n, sizeof(n));
	return p + sizeof(n);
}

static inline uint8_t *nbd_put64(uint8_t *p, uint64_t n)
{
	n = htobe64(n);
	memcpy(p, &n, sizeof(n));
	return p + sizeof(n);
}

/*
 * Write a message's header at @p, which has room for its NBD_*_BYTES. Returns
 * the end of what was written.
 */
uint8_t *nbd_put_request(uint8_t *p, const struct nbd_request *request);
uint8_t *nbd_put_simple_reply(uint8_t *p, const struct nbd_simple_reply *reply);
uint8_t *nbd_put_chunk(uint8_t *p, const struct nbd_chunk *chunk);
uint8_t *nbd_put_option(uint8_t *p, const struct nbd_option_header *option);
uint8_t *nbd_put_option_reply(uint8_t *p, const struct nbd_option_reply *reply);

/* Read a header of NBD_*_BYTES at @p. 0, or -EINVAL when the magic is another. */
int nbd_get_request(const uint8_t *p, struct nbd_request *ret);
int nbd_get_simple_reply(const uint8_t *p, struct nbd_simple_reply *ret);
int nbd_get_chunk(const uint8_t *p, struct nbd_chunk *ret);
int nbd_get_option(const uint8_t *p, struct nbd_option_header *ret);
int nbd_get_option_reply(const uint8_t *p, struct nbd_option_reply *ret);

/* The protocol's number for @code, 0 or a negative errno; EIO for what it cannot say. */
uint32_t nbd_error_from_errno(int code);
/* A negative errno, or 0, for the number that a peer sent. */
int nbd_error_to_errno(uint32_t error);

/* "read", "write zeroes", ..., or "<unknown>". */
const char *nbd_command_name(uint16_t type);
/* "go", "list", ..., or "<unknown>". */
const char *nbd_option_name(uint32_t option);

#endif
