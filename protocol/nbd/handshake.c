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
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/nbd/context.h"

/* Longest data of an option that is kept; room for a name and some hundred short queries. */
#define OPTION_KEPT_MAX (UINT32_C(64) << 10)
/* Longer options are not even skipped: their sender is taken for broken. */
#define OPTION_MAX (UINT32_C(32) << 20)
/* Error sentences to clients, with names cut short. */
#define MESSAGE_MAX 256

static uint8_t *output_reserve(struct nbd_handshake *h, size_t bytes)
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

/* Begin a reply to the current option; returns where its @length bytes of data go. */
static uint8_t *put_reply(struct nbd_handshake *h, uint32_t type, uint32_t length)
{
	uint8_t *p = output_reserve(h, NBD_OPTION_REPLY_BYTES + length);
	return nbd_put_option_reply(p, &(struct nbd_option_reply){
		.option = h->option.option,
		.type = type,
		.length = length,
	});
}

static void put_ack(struct nbd_handshake *h)
{
	put_reply(h, NBD_REP_ACK, 0);
}

static void __attribute__((format(printf, 3, 4)))
put_error(struct nbd_handshake *h, uint32_t type, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	uint32_t length = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);
	memcpy(put_reply(h, type, length), text, length);
}

static void close_because(struct nbd_handshake *h, const char *reason)
{
	h->state = NBD_HANDSHAKE_CLOSE;
	h->reason = reason;
}

/* A reader of an option's data, which remembers that it ran out. */
struct reader {
	const uint8_t *p, *end;
	bool failed;
};

static const uint8_t *read_bytes(struct reader *r, size_t bytes)
{
	static const uint8_t none[4];
	if (r->failed || (size_t)(r->end - r->p) < bytes) {
		r->failed = true;
		return none; /* for the integers; strings look at failed */
	}
	const uint8_t *p = r->p;
	r->p += bytes;
	return p;
}

static uint16_t read16(struct reader *r)
{
	return nbd_get16(read_bytes(r, 2));
}

static uint32_t read32(struct reader *r)
{
	return nbd_get32(read_bytes(r, 4));
}

static void put_inconsistent(struct nbd_handshake *h)
{
	put_error(h, NBD_REP_ERR_INVALID, "Inconsistent lengths in option %s",
		  nbd_option_name(h->option.option));
}

/*
 * Read a string of @length bytes as C text. NULL when it is longer than the
 * protocol allows, runs past the data or holds a NUL. Free with free().
 */
static char *read_text(struct reader *r, uint32_t length)
{
	if (length > NBD_STRING_MAX)
		return NULL;
	const uint8_t *p = read_bytes(r, length);
	if (r->failed || (length > 0 && memchr(p, '\0', length)))
		return NULL;
	char *text = xalloc(length + 1, 1);
	if (length > 0)
		memcpy(text, p, length);
	return text;
}

/* Read the name of an export. NULL: an error was put out. */
static char *read_name(struct nbd_handshake *h, struct reader *r)
{
	uint32_t length = read32(r);
	if (!r->failed && length > NBD_STRING_MAX && length <= h->option.length) {
		put_error(h, NBD_REP_ERR_INVALID, "Invalid name length: %u", length);
		return NULL;
	}
	char *name = read_text(r, length);
	if (!name)
		put_inconsistent(h);
	return name;
}

/* Find the export called @name. False: an error was put out. */
static bool find_export(struct nbd_handshake *h, const char *name, struct nbd_export_info *ret)
{
	if (h->directory->find(h->directory_arg, name, ret))
		return true;
	put_error(h, NBD_REP_ERR_UNKNOWN, "export '%.80s%s' not present", name,
		  strlen(name) > 80 ? "..." : "");
	return false;
}

static uint16_t transmission_flags(const struct nbd_handshake *h,
				   const struct nbd_export_info *info)
{
	return info->flags | (h->structured ? NBD_FLAG_SEND_DF : 0);
}

/* The client chose: from here on the transmission. */
static void enter_transmission(struct nbd_handshake *h, const struct nbd_export_info *info)
{
	h->chosen = *info;
	h->contexts = string_equal(h->selected_export, info->name) ? h->selected : 0;
	h->state = NBD_HANDSHAKE_DONE;
}

/* It has no error reply: whatever is wrong ends the connection. */
static void option_export_name(struct nbd_handshake *h)
{
	struct reader r = {h->data, h->data + h->option.length, false};
	char *name = read_text(&r, h->option.length);
	struct nbd_export_info info;

	if (!name) {
		close_because(h, "Invalid export name");
	} else if (!h->directory->find(h->directory_arg, name, &info)) {
		close_because(h, "Export not present");
	} else {
		size_t zeroes = h->no_zeroes ? 0 : NBD_EXPORT_NAME_ZEROES;
		uint8_t *p = output_reserve(h, 8 + 2 + zeroes);
		p = nbd_put64(p, info.size);
		p = nbd_put16(p, transmission_flags(h, &info));
		memset(p, 0, zeroes);
		enter_transmission(h, &info);
	}
	free(name);
}

static void option_abort(struct nbd_handshake *h)
{
	put_ack(h);
	h->state = NBD_HANDSHAKE_CLOSE;
}

static void put_server(void *arg, const struct nbd_export_info *info)
{
	struct nbd_handshake *h = arg;
	size_t name_length = strlen(info->name);
	size_t description_length = info->description ? strlen(info->description) : 0;
	uint8_t *p = put_reply(h, NBD_REP_SERVER, 4 + name_length + description_length);

	p = nbd_put32(p, name_length);
	memcpy(p, info->name, name_length);
	if (info->description)
		memcpy(p + name_length, info->description, description_length);
}

static void option_list(struct nbd_handshake *h)
{
	h->directory->for_each(h->directory_arg, put_server, h);
	put_ack(h);
}

static void option_starttls(struct nbd_handshake *h)
{
	switch (h->tls) {
	case NBD_TLS_REFUSED:
		put_error(h, NBD_REP_ERR_POLICY, "TLS not configured");
		break;
	case NBD_TLS_BEGUN:
		put_error(h, NBD_REP_ERR_INVALID, "TLS already enabled");
		break;
	case NBD_TLS_REQUIRED:
		put_ack(h);
		h->state = NBD_HANDSHAKE_TLS;
		break;
	}
}

static void put_info_string(struct nbd_handshake *h, enum nbd_info_type type, const char *text)
{
	size_t length = strlen(text);
	uint8_t *p = put_reply(h, NBD_REP_INFO, 2 + length);
	p = nbd_put16(p, type);
	memcpy(p, text, length);
}

/*
 * Tell of an export. @asked is a mask of enum nbd_info_type. A client that asks
 * for block sizes promises to keep to them; another one is told that it may use
 * single bytes, which is true as well.
 */
static void put_infos(struct nbd_handshake *h, const struct nbd_export_info *info, unsigned asked)
{
	if (asked & 1 << NBD_INFO_NAME)
		put_info_string(h, NBD_INFO_NAME, info->name);
	if (info->description)
		put_info_string(h, NBD_INFO_DESCRIPTION, info->description);

	uint8_t *p = put_reply(h, NBD_REP_INFO, 2 + 3 * 4);
	p = nbd_put16(p, NBD_INFO_BLOCK_SIZE);
	p = nbd_put32(p, asked & 1 << NBD_INFO_BLOCK_SIZE ? info->minimum_block : 1);
	p = nbd_put32(p, info->preferred_block);
	nbd_put32(p, info->maximum_block);

	p = put_reply(h, NBD_REP_INFO, 2 + 8 + 2);
	p = nbd_put16(p, NBD_INFO_EXPORT);
	p = nbd_put64(p, info->size);
	nbd_put16(p, transmission_flags(h, info));
}

static void option_info_or_go(struct nbd_handshake *h)
{
	struct reader r = {h->data, h->data + h->option.length, false};
	char *name = read_name(h, &r);
	if (!name)
		return;

	unsigned asked = 0;
	for (unsigned n = read16(&r); n > 0 && !r.failed; n--) {
		uint16_t type = read16(&r);
		if (type <= NBD_INFO_BLOCK_SIZE)
			asked |= 1u << type;
	}
	struct nbd_export_info info;
	if (r.failed || r.p != r.end) {
		put_inconsistent(h);
	} else if (find_export(h, name, &info)) {
		put_infos(h, &info, asked);
		put_ack(h);
		if (h->option.option == NBD_OPT_GO)
			enter_transmission(h, &info);
	}
	free(name);
}

static void option_structured_reply(struct nbd_handshake *h)
{
	if (h->structured) {
		put_error(h, NBD_REP_ERR_INVALID, "structured reply already negotiated");
		return;
	}
	h->structured = true;
	put_ack(h);
}

/* The contexts that one query selects. A namespace alone lists all of it, but sets nothing. */
static uint32_t match_contexts(const struct nbd_export_info *info, const char *query, bool listing)
{
	size_t length = strlen(query);
	bool prefix = listing && length > 0 && query[length - 1] == ':';
	uint32_t mask = 0;
	for (unsigned i = 0; i < info->context_count; i++) {
		const char *name = info->contexts[i].name;
		if (prefix ? string_starts_with(name, query) : string_equal(name, query))
			mask |= UINT32_C(1) << i;
	}
	return mask;
}

static uint32_t all_contexts(const struct nbd_export_info *info)
{
	return info->context_count ? UINT32_MAX >> (32 - info->context_count) : 0;
}

/* Read all queries into a mask. False: the data is not well-formed. */
static bool read_queries(struct nbd_handshake *h, struct reader *r,
			 const struct nbd_export_info *info, bool listing, uint32_t *ret)
{
	uint32_t count = read32(r);
	uint32_t mask = listing && count == 0 ? all_contexts(info) : 0;

	/* Each query takes four bytes at least, so that a huge count soon ends. */
	for (; count > 0 && !r->failed; count--) {
		uint32_t length = read32(r);
		if (length > NBD_STRING_MAX) { /* no context has such a name */
			read_bytes(r, length);
			continue;
		}
		char *query = read_text(r, length);
		if (query)
			mask |= match_contexts(info, query, listing);
		free(query);
	}
	*ret = mask;
	return !r->failed && r->p == r->end;
}

static void put_contexts(struct nbd_handshake *h, const struct nbd_export_info *info,
			 uint32_t mask, bool listing)
{
	for (unsigned i = 0; i < info->context_count; i++) {
		if (!(mask & UINT32_C(1) << i))
			continue;
		size_t length = strlen(info->contexts[i].name);
		uint8_t *p = put_reply(h, NBD_REP_META_CONTEXT, 4 + length);
		p = nbd_put32(p, listing ? 0 : i);
		memcpy(p, info->contexts[i].name, length);
	}
	put_ack(h);
}

static void option_meta_context(struct nbd_handshake *h)
{
	bool listing = h->option.option == NBD_OPT_LIST_META_CONTEXT;
	if (!h->structured) {
		put_error(h, NBD_REP_ERR_INVALID,
			  "request option '%s' when structured reply is not negotiated",
			  nbd_option_name(h->option.option));
		return;
	}
	if (!listing) { /* whatever comes of it, the earlier selection is gone */
		free(h->selected_export);
		h->selected_export = NULL;
		h->selected = 0;
	}

	struct reader r = {h->data, h->data + h->option.length, false};
	char *name = read_name(h, &r);
	if (!name)
		return;
	struct nbd_export_info info;
	if (find_export(h, name, &info)) {
		uint32_t mask;
		if (!read_queries(h, &r, &info, listing, &mask)) {
			put_inconsistent(h);
		} else {
			put_contexts(h, &info, mask, listing);
			if (!listing) {
				h->selected_export = xstrdup(info.name);
				h->selected = mask;
			}
		}
	}
	free(name);
}

struct option_handler {
	uint32_t option;
	bool has_data;
	void (*handle)(struct nbd_handshake *h);
};

static const struct option_handler option_handlers[] = {
	{NBD_OPT_EXPORT_NAME, true, option_export_name},
	{NBD_OPT_ABORT, true, option_abort}, /* whatever data: it ends */
	{NBD_OPT_LIST, false, option_list},
	{NBD_OPT_STARTTLS, false, option_starttls},
	{NBD_OPT_INFO, true, option_info_or_go},
	{NBD_OPT_GO, true, option_info_or_go},
	{NBD_OPT_STRUCTURED_REPLY, false, option_structured_reply},
	{NBD_OPT_LIST_META_CONTEXT, true, option_meta_context},
	{NBD_OPT_SET_META_CONTEXT, true, option_meta_context},
};

static const struct option_handler *find_handler(uint32_t option)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_handlers); i++)
		if (option_handlers[i].option == option)
			return &option_handlers[i];
	return NULL;
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
		put_error(h, h->refusal, "option '%s' has unexpected length",
			  nbd_option_name(h->option.option));
		break;
	case NBD_REP_ERR_TOO_BIG:
		put_error(h, h->refusal, "option '%s' with %u bytes is longer than %u",
			  nbd_option_name(h->option.option), h->option.length, OPTION_KEPT_MAX);
		break;
	case NBD_REP_ERR_TLS_REQD:
		put_error(h, h->refusal, "Option 0x%x not permitted before TLS", h->option.option);
		break;
	default:
		put_error(h, h->refusal, "Unsupported option %u (%s)", h->option.option,
			  nbd_option_name(h->option.option));
		break;
	}
}

static void handle_option(struct nbd_handshake *h)
{
	next_option(h);
	find_handler(h->option.option)->handle(h);
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
		close_because(h, "Bad magic received");
		return;
	}
	const struct option_handler *handler = find_handler(h->option.option);
	if (h->option.length > OPTION_MAX) {
		close_because(h, "Option is too long");
		return;
	}
	if (!h->fixed && h->option.option != NBD_OPT_EXPORT_NAME) {
		close_because(h, "Option needs fixed newstyle, which the client does not know");
		return;
	}
	h->received = 0;
	h->refusal = is_too_early(h) ? NBD_REP_ERR_TLS_REQD
		     : !handler ? NBD_REP_ERR_UNSUP
		     : !handler->has_data && h->option.length > 0 ? NBD_REP_ERR_INVALID
		     : h->option.length > OPTION_KEPT_MAX ? NBD_REP_ERR_TOO_BIG
							  : 0;
	if (h->refusal && h->option.option == NBD_OPT_EXPORT_NAME)
		close_because(h, is_too_early(h) ? "Option not permitted before TLS"
						 : "Invalid export name");
	else
		h->state = h->refusal ? NBD_HANDSHAKE_OPTION_SKIP : NBD_HANDSHAKE_OPTION_DATA;
}

static void take_client_flags(struct nbd_handshake *h)
{
	uint32_t flags = nbd_get32(h->header);
	if (flags & ~(uint32_t)(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) {
		close_because(h, "Unknown client flags received");
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
	uint8_t *p = output_reserve(h, NBD_GREETING_BYTES);
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
