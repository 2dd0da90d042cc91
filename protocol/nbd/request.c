/* SPDX-License-Identifier: MIT */
/*
 * The rules for requests; see request.h. No state, any thread.
 */
#include "protocol/nbd/request.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

struct rule {
	bool known;
	bool writes;        /* not on a read-only export */
	bool has_data;      /* the length is limited */
	bool has_range;     /* offset and length must lie within the export */
	int beyond_end;     /* the error when they do not */
	uint16_t flags;     /* besides FUA, which is allowed everywhere */
};

static const struct rule rules[NBD_CMD__COUNT] = {
	[NBD_CMD_READ] = {.known = true, .has_data = true, .has_range = true,
			  .beyond_end = -EINVAL, .flags = NBD_CMD_FLAG_DF},
	[NBD_CMD_WRITE] = {.known = true, .writes = true, .has_data = true, .has_range = true,
			   .beyond_end = -ENOSPC},
	[NBD_CMD_FLUSH] = {.known = true},
	[NBD_CMD_TRIM] = {.known = true, .writes = true, .has_range = true,
			  .beyond_end = -EINVAL}, /* it takes no space */
	[NBD_CMD_CACHE] = {.known = true, .has_range = true, .beyond_end = -EINVAL},
	[NBD_CMD_WRITE_ZEROES] = {.known = true, .writes = true, .has_range = true,
				  .beyond_end = -ENOSPC,
				  .flags = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO},
	[NBD_CMD_BLOCK_STATUS] = {.known = true, .has_range = true, .beyond_end = -EINVAL,
				  .flags = NBD_CMD_FLAG_REQ_ONE},
};

static int __attribute__((format(printf, 3, 4)))
complain(char *complaint, int code, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(complaint, NBD_COMPLAINT_MAX, format, args);
	va_end(args);
	return code;
}

static int check_block_status(const struct nbd_request *r, const struct nbd_session *s,
			      char *complaint)
{
	if (s->contexts == 0)
		return complain(complaint, -EINVAL, "CMD_BLOCK_STATUS not negotiated");
	if (r->length == 0)
		return complain(complaint, -EINVAL, "need non-zero length");
	return 0;
}

static int check_flags(const struct nbd_request *r, const struct nbd_session *s,
		       const struct rule *rule, char *complaint)
{
	uint16_t allowed = rule->flags | NBD_CMD_FLAG_FUA;
	if (!s->structured)
		allowed &= ~NBD_CMD_FLAG_DF;
	if (r->flags & ~allowed)
		return complain(complaint, -EINVAL, "unsupported flags for command %s (got 0x%x)",
				nbd_command_name(r->type), r->flags);
	return 0;
}

int nbd_request_check(const struct nbd_request *r, const struct nbd_session *s, char *complaint)
{
	const struct rule *rule = r->type < NBD_CMD__COUNT ? &rules[r->type] : NULL;

	if (!rule || !rule->known)
		return complain(complaint, -EINVAL, "invalid request type (%u) received", r->type);
	if (rule->writes && s->flags & NBD_FLAG_READ_ONLY)
		return complain(complaint, -EPERM, "Export is read-only");
	if (r->type == NBD_CMD_BLOCK_STATUS) {
		int error = check_block_status(r, s, complaint);
		if (error < 0)
			return error;
	}
	if (rule->has_data && r->length > NBD_DATA_MAX)
		return complain(complaint, -EINVAL, "len (%" PRIu32 ") is larger than max len (%"
				PRIu32 ")", r->length, NBD_DATA_MAX);
	if (rule->has_range && (r->offset > s->size || r->length > s->size - r->offset))
		return complain(complaint, rule->beyond_end,
				"operation past EOF; From: %" PRIu64 ", Len: %" PRIu32
				", Size: %" PRIu64, r->offset, r->length, s->size);
	return check_flags(r, s, rule, complaint);
}
