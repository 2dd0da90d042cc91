/* SPDX-License-Identifier: MIT */
/*
 * The NBD protocol's messages as bytes; see wire.h. No state, any thread.
 */
#include "protocol/nbd/wire.h"

#include <errno.h>

uint8_t *nbd_put_request(uint8_t *p, const struct nbd_request *request)
{
	p = nbd_put32(p, NBD_REQUEST_MAGIC);
	p = nbd_put16(p, request->flags);
	p = nbd_put16(p, request->type);
	p = nbd_put64(p, request->cookie);
	p = nbd_put64(p, request->offset);
	return nbd_put32(p, request->length);
}

int nbd_get_request(const uint8_t *p, struct nbd_request *ret)
{
	if (nbd_get32(p) != NBD_REQUEST_MAGIC)
		return -EINVAL;
	*ret = (struct nbd_request){
		.flags = nbd_get16(p + 4),
		.type = nbd_get16(p + 6),
		.cookie = nbd_get64(p + 8),
		.offset = nbd_get64(p + 16),
		.length = nbd_get32(p + 24),
	};
	return 0;
}

uint8_t *nbd_put_simple_reply(uint8_t *p, const struct nbd_simple_reply *reply)
{
	p = nbd_put32(p, NBD_SIMPLE_REPLY_MAGIC);
	p = nbd_put32(p, reply->error);
	return nbd_put64(p, reply->cookie);
}

int nbd_get_simple_reply(const uint8_t *p, struct nbd_simple_reply *ret)
{
	if (nbd_get32(p) != NBD_SIMPLE_REPLY_MAGIC)
		return -EINVAL;
	*ret = (struct nbd_simple_reply){
		.error = nbd_get32(p + 4),
		.cookie = nbd_get64(p + 8),
	};
	return 0;
}

uint8_t *nbd_put_chunk(uint8_t *p, const struct nbd_chunk *chunk)
{
	p = nbd_put32(p, NBD_CHUNK_MAGIC);
	p = nbd_put16(p, chunk->flags);
	p = nbd_put16(p, chunk->type);
	p = nbd_put64(p, chunk->cookie);
	return nbd_put32(p, chunk->length);
}

int nbd_get_chunk(const uint8_t *p, struct nbd_chunk *ret)
{
	if (nbd_get32(p) != NBD_CHUNK_MAGIC)
		return -EINVAL;
	*ret = (struct nbd_chunk){
		.flags = nbd_get16(p + 4),
		.type = nbd_get16(p + 6),
		.cookie = nbd_get64(p + 8),
		.length = nbd_get32(p + 16),
	};
	return 0;
}

uint8_t *nbd_put_option(uint8_t *p, const struct nbd_option_header *option)
{
	p = nbd_put64(p, NBD_OPTION_MAGIC);
	p = nbd_put32(p, option->option);
	return nbd_put32(p, option->length);
}

int nbd_get_option(const uint8_t *p, struct nbd_option_header *ret)
{
	if (nbd_get64(p) != NBD_OPTION_MAGIC)
		return -EINVAL;
	*ret = (struct nbd_option_header){
		.option = nbd_get32(p + 8),
		.length = nbd_get32(p + 12),
	};
	return 0;
}

uint8_t *nbd_put_option_reply(uint8_t *p, const struct nbd_option_reply *reply)
{
	p = nbd_put64(p, NBD_OPTION_REPLY_MAGIC);
	p = nbd_put32(p, reply->option);
	p = nbd_put32(p, reply->type);
	return nbd_put32(p, reply->length);
}

int nbd_get_option_reply(const uint8_t *p, struct nbd_option_reply *ret)
{
	if (nbd_get64(p) != NBD_OPTION_REPLY_MAGIC)
		return -EINVAL;
	*ret = (struct nbd_option_reply){
		.option = nbd_get32(p + 8),
		.type = nbd_get32(p + 12),
		.length = nbd_get32(p + 16),
	};
	return 0;
}

uint32_t nbd_error_from_errno(int code)
{
	switch (-code) {
	case 0:
		return NBD_SUCCESS;
	case EPERM:
	case EACCES:
	case EROFS:
		return NBD_EPERM;
	case ENOMEM:
		return NBD_ENOMEM;
	case EINVAL:
		return NBD_EINVAL;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return NBD_ENOSPC;
	case EOVERFLOW:
		return NBD_EOVERFLOW;
	case ENOTSUP:
		return NBD_ENOTSUP;
	case ESHUTDOWN:
		return NBD_ESHUTDOWN;
	default:
		return NBD_EIO;
	}
}

int nbd_error_to_errno(uint32_t error)
{
	switch (error) {
	case NBD_SUCCESS:
		return 0;
	case NBD_EPERM:
		return -EPERM;
	case NBD_ENOMEM:
		return -ENOMEM;
	case NBD_EINVAL:
		return -EINVAL;
	case NBD_ENOSPC:
		return -ENOSPC;
	case NBD_EOVERFLOW:
		return -EOVERFLOW;
	case NBD_ENOTSUP:
		return -ENOTSUP;
	case NBD_ESHUTDOWN:
		return -ESHUTDOWN;
	default:
		return -EIO;
	}
}

const char *nbd_command_name(uint16_t type)
{
	static const char *const names[NBD_CMD__COUNT] = {
		[NBD_CMD_READ] = "read",
		[NBD_CMD_WRITE] = "write",
		[NBD_CMD_DISC] = "disconnect",
		[NBD_CMD_FLUSH] = "flush",
		[NBD_CMD_TRIM] = "trim",
		[NBD_CMD_CACHE] = "cache",
		[NBD_CMD_WRITE_ZEROES] = "write zeroes",
		[NBD_CMD_BLOCK_STATUS] = "block status",
	};
	return type < NBD_CMD__COUNT ? names[type] : "<unknown>";
}

const char *nbd_option_name(uint32_t option)
{
	switch (option) {
	case NBD_OPT_EXPORT_NAME:
		return "export name";
	case NBD_OPT_ABORT:
		return "abort";
	case NBD_OPT_LIST:
		return "list";
	case NBD_OPT_STARTTLS:
		return "starttls";
	case NBD_OPT_INFO:
		return "info";
	case NBD_OPT_GO:
		return "go";
	case NBD_OPT_STRUCTURED_REPLY:
		return "structured reply";
	case NBD_OPT_LIST_META_CONTEXT:
		return "list meta context";
	case NBD_OPT_SET_META_CONTEXT:
		return "set meta context";
	default:
		return "<unknown>";
	}
}
