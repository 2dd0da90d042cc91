/* SPDX-License-Identifier: MIT */
/*
 * The server's side of the negotiation; see handshake.h. The caller's thread.
 *
 * Invariants:
 *  1. Nothing that the client sends is believed before it is checked: lengths
 *     inside an option never reach beyond its data.
 *  2. Memory grows with what has arrived, never with what was announced.
 *  3. Each option but EXPORT_NAME gets exactly one final reply.
 *  4. Contexts are in force only for the export for which they were set.
 *  5. Where TLS is required, nothing that came before it has any effect after it: nothing
 *     but it can be agreed on before.
 */
#include "protocol/nbd/handshake.h"

#include <assert.h>
#include <stdlib.h>

#include "protocol/nbd/handshake_internal.h"

/* Longest data of an option that is kept; room for a name and some hundred short queries. */
#define OPTION_KEPT_MAX (UINT32_C(64) << 10)
/* Longer options are not even skipped: their sender is taken for broken. */
#define OPTION_MAX (UINT32_C(32) << 20)

uint8_t *nbd_handshake_reserve(struct nbd_handshake *h, size_t bytes)
{
	size_t needed = h->output_bytes + bytes;
	if (needed > h->output_capacity) {
		h->output_capacity = MAX(needed, 2 * h->output_capacity);
		h->output = xrealloc(h->output, h->output_capacity, 1);
	}
	uint8_t *p = h->output + h->output_bytes;
	h->output_bytes = needed;
	return p;
}

void nbd_handshake_close(struct nbd_handshake *h, const char *reason)
{
	h->state = NBD_HANDSHAKE_CLOSE;
	h->reason = reason;
}

static void next_option(struct nbd_handshake *h)
{
	h->state = NBD_HANDSHAKE_OPTION;
	h->received = 0;
}

static void refuse(struct nbd_handshake *h)
{
	next_option(h);
	switch (h->refusal) {
	case NBD_REP_ERR_INVALID:
		nbd_option_error(h, h->refusal, "option '%s' has unexpected length",
				 nbd_option_name(h->option.option));
		break;
	case NBD_REP_ERR_TOO_BIG:
		nbd_option_error(h, h->refusal, "option '%s' with %u bytes is longer than %u",
				 nbd_option_name(h->option.option), h->option.length, OPTION_KEPT_MAX);
		break;
	case NBD_REP_ERR_TLS_REQD:
		nbd_option_error(h, h->refusal, "Option 0x%x not permitted before TLS",
				 h->option.option);
		break;
	default:
		nbd_option_error(h, h->refusal, "Unsupported option %u (%s)", h->option.option,
				 nbd_option_name(h->option.option));
		break;
	}
}

static void handle_option(struct nbd_handshake *h)
{
	next_option(h);
	nbd_option_handler_find(h->option.option)->handle(h);
	if (h->option.length > 0) {
		free(h->data);
		h->data = NULL;
		h->data_capacity = 0;
	}
}

/* Before TLS, where it is required, a client may begin it or leave. */
static bool is_too_early(const struct nbd_handshake *h)
{
	return h->tls == NBD_TLS_REQUIRED && h->option.option != NBD_OPT_STARTTLS &&
	       h->option.option != NBD_OPT_ABORT;
}

/* An option's header is complete: decide what becomes of its data. */
static void begin_option(struct nbd_handshake *h)
{
	if (nbd_get_option(h->header, &h->option) < 0) {
		nbd_handshake_close(h, "Bad magic received");
		return;
	}
	const struct nbd_option_handler *handler = nbd_option_handler_find(h->option.option);
	if (h->option.length > OPTION_MAX) {
		nbd_handshake_close(h, "Option is too long");
		return;
	}
	if (!h->fixed && h->option.option != NBD_OPT_EXPORT_NAME) {
		nbd_handshake_close(h, "Option needs fixed newstyle, which the client does not know");
		return;
	}
	h->received = 0;
	h->refusal = is_too_early(h) ? NBD_REP_ERR_TLS_REQD
		     : !handler ? NBD_REP_ERR_UNSUP
		     : !handler->has_data && h->option.length > 0 ? NBD_REP_ERR_INVALID
		     : h->option.length > OPTION_KEPT_MAX ? NBD_REP_ERR_TOO_BIG
							  : 0;
	if (h->refusal && h->option.option == NBD_OPT_EXPORT_NAME)
		nbd_handshake_close(h, is_too_early(h) ? "Option not permitted before TLS"
				    : "Invalid export name");
	else
		h->state = h->refusal ? NBD_HANDSHAKE_OPTION_SKIP : NBD_HANDSHAKE_OPTION_DATA;
}

static void take_client_flags(struct nbd_handshake *h)
{
	uint32_t flags = nbd_get32(h->header);
	if (flags & ~(uint32_t)(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) {
		nbd_handshake_close(h, "Unknown client flags received");
		return;
	}
	h->fixed = flags & NBD_FLAG_C_FIXED_NEWSTYLE;
	h->no_zeroes = flags & NBD_FLAG_C_NO_ZEROES;
	next_option(h);
}

/* Gather @wanted bytes of header. True when they are there. */
static bool take_header(struct nbd_handshake *h, const uint8_t **p, const uint8_t *end,
			uint32_t wanted)
{
	uint32_t n = MIN((size_t)(end - *p), wanted - h->received);
	memcpy(h->header + h->received, *p, n);
	h->received += n;
	*p += n;
	return h->received == wanted;
}

static bool take_data(struct nbd_handshake *h, const uint8_t **p, const uint8_t *end)
{
	uint32_t n = MIN((size_t)(end - *p), h->option.length - h->received);
	if (h->received + n > h->data_capacity) {
		h->data_capacity = MAX(h->received + n, MIN(2 * h->data_capacity,
							    h->option.length));
		h->data = xrealloc(h->data, h->data_capacity, 1);
	}
	if (n > 0)
		memcpy(h->data + h->received, *p, n);
	h->received += n;
	*p += n;
	return h->received == h->option.length;
}

static bool skip_data(struct nbd_handshake *h, const uint8_t **p, const uint8_t *end)
{
	uint32_t n = MIN((size_t)(end - *p), h->option.length - h->received);
	h->received += n;
	*p += n;
	return h->received == h->option.length;
}

/* Use as much of the input as one state takes. True: go on with the next. */
static bool step(struct nbd_handshake *h, const uint8_t **p, const uint8_t *end)
{
	switch (h->state) {
	case NBD_HANDSHAKE_CLIENT_FLAGS:
		if (!take_header(h, p, end, NBD_CLIENT_FLAGS_BYTES))
			return false;
		take_client_flags(h);
		return true;
	case NBD_HANDSHAKE_OPTION:
		if (!take_header(h, p, end, NBD_OPTION_BYTES))
			return false;
		begin_option(h);
		return true;
	case NBD_HANDSHAKE_OPTION_DATA:
		if (take_data(h, p, end))
			handle_option(h);
		return false;
	case NBD_HANDSHAKE_OPTION_SKIP:
		if (skip_data(h, p, end))
			refuse(h);
		return false;
	case NBD_HANDSHAKE_TLS:
	case NBD_HANDSHAKE_DONE:
	case NBD_HANDSHAKE_CLOSE:
		return false;
	}
	assert(false);
	return false;
}

void nbd_handshake_init(struct nbd_handshake *h, const struct nbd_directory *directory,
			void *directory_arg)
{
	*h = (struct nbd_handshake){
		.state = NBD_HANDSHAKE_CLIENT_FLAGS,
		.directory = directory,
		.directory_arg = directory_arg,
	};
	uint8_t *p = nbd_handshake_reserve(h, NBD_GREETING_BYTES);
	p = nbd_put64(p, NBD_MAGIC);
	p = nbd_put64(p, NBD_OPTION_MAGIC);
	nbd_put16(p, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

void nbd_handshake_require_tls(struct nbd_handshake *h)
{
	h->tls = NBD_TLS_REQUIRED;
}

void nbd_handshake_tls_begun(struct nbd_handshake *h)
{
	assert(h->state == NBD_HANDSHAKE_TLS);
	h->tls = NBD_TLS_BEGUN;
	next_option(h);
}

void nbd_handshake_finish(struct nbd_handshake *h)
{
	free(h->selected_export);
	free(h->data);
	free(h->output);
	*h = (struct nbd_handshake){.state = NBD_HANDSHAKE_CLOSE};
}

size_t nbd_handshake_feed(struct nbd_handshake *h, const uint8_t *p, size_t bytes)
{
	const uint8_t *begin = p, *end = p + bytes;
	while (step(h, &p, end))
		;
	return (size_t)(p - begin);
}

void nbd_handshake_sent(struct nbd_handshake *h)
{
	h->output_bytes = 0;
}
