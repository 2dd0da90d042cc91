/* SPDX-License-Identifier: MIT */
/*
 * The options of the negotiation: what each asks for and what it is answered. The machine
 * around them is in handshake.c, with the invariants that hold here, too. The caller's
 * thread; nothing here waits.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "protocol/nbd/context.h"
#include "protocol/nbd/handshake_internal.h"

/* Error sentences to clients, with names cut short. */
#define MESSAGE_MAX 256

/* Begin a reply to the current option; returns where its @length bytes of data go. */
static uint8_t *put_reply(struct nbd_handshake *h, uint32_t type, uint32_t length)
{
	uint8_t *p = nbd_handshake_reserve(h, NBD_OPTION_REPLY_BYTES + length);
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

void nbd_option_error(struct nbd_handshake *h, uint32_t type, const char *format, ...)
{
	char text[MESSAGE_MAX];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(text, sizeof(text), format, args);
	va_end(args);

	uint32_t length = n < 0 ? 0 : MIN((size_t)n, sizeof(text) - 1);
	memcpy(put_reply(h, type, length), text, length);
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
	nbd_option_error(h, NBD_REP_ERR_INVALID, "Inconsistent lengths in option %s",
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
		nbd_option_error(h, NBD_REP_ERR_INVALID, "Invalid name length: %u", length);
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
	nbd_option_error(h, NBD_REP_ERR_UNKNOWN, "export '%.80s%s' not present", name,
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
	/* The export may have been removed meanwhile, and another one have got its name. */
	bool is_same = string_equal(h->selected_export, info->name) &&
		       h->selected_serial == info->serial;
	h->contexts = is_same ? h->selected : 0;
	h->state = NBD_HANDSHAKE_DONE;
}

/* It has no error reply: whatever is wrong ends the connection. */
static void option_export_name(struct nbd_handshake *h)
{
	struct reader r = {h->data, h->data + h->option.length, false};
	char *name = read_text(&r, h->option.length);
	struct nbd_export_info info;

	if (!name) {
		nbd_handshake_close(h, "Invalid export name");
	} else if (!h->directory->find(h->directory_arg, name, &info)) {
		nbd_handshake_close(h, "Export not present");
	} else {
		size_t zeroes = h->no_zeroes ? 0 : NBD_EXPORT_NAME_ZEROES;
		uint8_t *p = nbd_handshake_reserve(h, 8 + 2 + zeroes);
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
		nbd_option_error(h, NBD_REP_ERR_POLICY, "TLS not configured");
		break;
	case NBD_TLS_BEGUN:
		nbd_option_error(h, NBD_REP_ERR_INVALID, "TLS already enabled");
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
		nbd_option_error(h, NBD_REP_ERR_INVALID, "structured reply already negotiated");
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
		nbd_option_error(h, NBD_REP_ERR_INVALID,
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
				h->selected_serial = info.serial;
				h->selected = mask;
			}
		}
	}
	free(name);
}

static const struct nbd_option_handler option_handlers[] = {
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

const struct nbd_option_handler *nbd_option_handler_find(uint32_t option)
{
	for (size_t i = 0; i < ARRAY_SIZE(option_handlers); i++)
		if (option_handlers[i].option == option)
			return &option_handlers[i];
	return NULL;
}
