/* SPDX-License-Identifier: MIT */
/*
 * Asking for TLS. The sentences are those that users of other clients know. Any thread.
 */
#include "drivers/nbd/starttls.h"

#include <errno.h>
#include <inttypes.h>

#include "base/cleanup.h"

int starttls_check_greeting(const uint8_t greeting[NBD_GREETING_BYTES], uint16_t *ret_flags,
			    struct error **errp)
{
	uint64_t magic = nbd_get64(greeting);
	if (magic != NBD_MAGIC)
		return error_set(errp, -EINVAL, "Bad initial magic received: 0x%016" PRIx64, magic);
	/* What is not of the new style has no options at all. */
	uint16_t flags = nbd_get16(greeting + 16);
	if (nbd_get64(greeting + 8) != NBD_OPTION_MAGIC || !(flags & NBD_FLAG_FIXED_NEWSTYLE))
		return error_set(errp, -ENOTSUP, "Server does not support STARTTLS");
	*ret_flags = flags & (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
	return 0;
}

void starttls_put_greeting(uint8_t greeting[NBD_GREETING_BYTES], uint16_t flags)
{
	uint8_t *p = nbd_put64(greeting, NBD_MAGIC);
	p = nbd_put64(p, NBD_OPTION_MAGIC);
	nbd_put16(p, flags);
}

void starttls_put_request(uint8_t request[STARTTLS_REQUEST_BYTES], uint16_t flags)
{
	/* The client's flags have the values of the server's. */
	uint8_t *p = nbd_put32(request, flags);
	p = nbd_put64(p, NBD_OPTION_MAGIC);
	p = nbd_put32(p, NBD_OPT_STARTTLS);
	nbd_put32(p, 0);
}

int starttls_check_reply(const uint8_t reply[NBD_OPTION_REPLY_BYTES], uint32_t *ret_message_bytes,
			 struct error **errp)
{
	uint32_t option = nbd_get32(reply + 8), type = nbd_get32(reply + 12);
	uint32_t length = nbd_get32(reply + 16);
	if (nbd_get64(reply) != NBD_OPTION_REPLY_MAGIC)
		return error_set(errp, -EINVAL, "Unexpected option reply magic");
	if (option != NBD_OPT_STARTTLS)
		return error_set(errp, -EINVAL,
				 "Unexpected option type %" PRIu32 ", expected 5 (starttls)", option);
	if (type == NBD_REP_ACK && length != 0)
		return error_set(errp, -EINVAL, "Option 5 ('starttls') response length is %" PRIu32
						" (it should be zero)", length);
	if (type == NBD_REP_ACK)
		return 0;
	if (!(type & NBD_REP_ERROR(0)))
		return error_set(errp, -EINVAL,
				 "Server answered option 5 (starttls) with unexpected reply %" PRIx32,
				 type);
	if (length > NBD_STRING_MAX)
		return error_set(errp, -EINVAL, "server error %" PRIu32 " message is too long", type);
	*ret_message_bytes = length;
	return 1;
}

/* @message as a word in a sentence: no byte that a terminal or JSON would not take. */
static char *printable(const char *message, size_t bytes)
{
	char *text = xalloc(1, bytes + 1);
	for (size_t i = 0; i < bytes; i++)
		text[i] = message[i] < ' ' || message[i] > '~' ? '?' : message[i];
	text[bytes] = '\0';
	return text;
}

int starttls_refused(const uint8_t reply[NBD_OPTION_REPLY_BYTES], const char *message,
		     size_t bytes, struct error **errp)
{
	int code;
	switch (nbd_get32(reply + 12)) {
	case NBD_REP_ERR_UNSUP:
		code = error_set(errp, -ENOTSUP, "Server don't support STARTTLS option");
		break;
	case NBD_REP_ERR_POLICY:
		code = error_set(errp, -EACCES, "Denied by server for option 5 (starttls)");
		break;
	case NBD_REP_ERR_SHUTDOWN:
		code = error_set(errp, -ESHUTDOWN,
				 "Server shutting down before option 5 (starttls)");
		break;
	default:
		code = error_set(errp, -EINVAL,
				 "Unknown error code when asking for option 5 (starttls)");
		break;
	}
	char *text _cleanup_free_ = printable(message, bytes);
	if (bytes > 0)
		error_detail(errp, "server reported: %s", text);
	return code;
}
