/* SPDX-License-Identifier: MIT */
/*
 * The negotiation of the NBD server: whatever a client says, and in whatever
 * pieces it arrives, the answers are well-formed, the same, and bounded; and the
 * checks of requests never let a range beyond the end through.
 */
#include <string.h>

#include "protocol/nbd/context.h"
#include "protocol/nbd/handshake.h"
#include "protocol/nbd/request.h"
#include "tests/fuzz/fuzz.h"

#define OUTPUT_MAX (64 << 10)

static const struct nbd_context contexts[] = {{.name = "base:allocation"}, {.name = "test:x"}};

static const struct nbd_export_info exports[] = {
	{.name = "disk", .description = "text", .size = 1 << 20, .flags = 0x6d,
	 .minimum_block = 512, .preferred_block = 4096, .maximum_block = NBD_DATA_MAX,
	 .contexts = contexts, .context_count = 2},
	{.name = "", .size = 4096, .flags = 3, .contexts = contexts, .context_count = 1},
};

static bool find(void *arg, const char *name, struct nbd_export_info *ret)
{
	for (unsigned i = 0; i < ARRAY_SIZE(exports); i++) {
		if (!strcmp(exports[i].name, name)) {
			*ret = exports[i];
			return true;
		}
	}
	return false;
}

static void for_each(void *arg, void (*fn)(void *fn_arg, const struct nbd_export_info *info),
		     void *fn_arg)
{
	for (unsigned i = 0; i < ARRAY_SIZE(exports); i++)
		fn(fn_arg, &exports[i]);
}

static const struct nbd_directory directory = {.find = find, .for_each = for_each};

/* What a session came to. */
struct result {
	enum nbd_handshake_state state;
	size_t used;
	uint8_t *output;
	size_t output_bytes;
	uint32_t contexts;
	bool structured;
};

static struct result run(const uint8_t *data, size_t size, size_t piece)
{
	struct result r = {.output = malloc(OUTPUT_MAX)};
	struct nbd_handshake h;
	nbd_handshake_init(&h, &directory, NULL);
	for (;;) {
		if (r.output_bytes + h.output_bytes <= OUTPUT_MAX)
			memcpy(r.output + r.output_bytes, h.output, h.output_bytes);
		r.output_bytes = MIN(r.output_bytes + h.output_bytes, OUTPUT_MAX);
		nbd_handshake_sent(&h);
		if (r.used == size || h.state >= NBD_HANDSHAKE_DONE)
			break;
		size_t n = MIN(piece, size - r.used);
		uint8_t *copy = xmemdup(data + r.used, n); /* so that reads beyond are noticed */
		size_t used = nbd_handshake_feed(&h, copy, n);
		free(copy);
		FUZZ_CHECK(used > 0 && used <= n);
		r.used += used;
		FUZZ_CHECK(h.data_capacity <= 65536);
	}
	r.state = h.state;
	r.contexts = h.contexts;
	r.structured = h.structured;
	nbd_handshake_finish(&h);
	return r;
}

/* All output after the greeting is replies, but for what EXPORT_NAME answers at the end. */
static void check_output(const struct result *r)
{
	size_t at = NBD_GREETING_BYTES;
	while (at + NBD_OPTION_REPLY_BYTES <= r->output_bytes) {
		struct nbd_option_reply reply;
		if (nbd_get_option_reply(r->output + at, &reply) < 0)
			break;
		at += NBD_OPTION_REPLY_BYTES + reply.length;
	}
	size_t left = r->output_bytes - at;
	FUZZ_CHECK(at <= r->output_bytes || r->output_bytes == OUTPUT_MAX);
	if (r->output_bytes < OUTPUT_MAX)
		FUZZ_CHECK(left == 0 || (r->state == NBD_HANDSHAKE_DONE &&
					 (left == 10 || left == 10 + NBD_EXPORT_NAME_ZEROES)));
}

static void check_request(const uint8_t *data)
{
	struct nbd_request q;
	uint8_t bytes[NBD_REQUEST_BYTES];
	memcpy(bytes, data, sizeof(bytes));
	nbd_put32(bytes, NBD_REQUEST_MAGIC);
	FUZZ_CHECK(nbd_get_request(bytes, &q) == 0);
	for (unsigned i = 0; i < 8; i++) {
		struct nbd_session s = {
			.size = nbd_get64(data) >> (data[9] & 63),
			.flags = i & 1 ? NBD_FLAG_READ_ONLY : 0,
			.structured = i & 2,
			.contexts = i >> 2,
		};
		char complaint[NBD_COMPLAINT_MAX] = "";
		int r = nbd_request_check(&q, &s, complaint);
		FUZZ_CHECK((r == 0) == (complaint[0] == '\0'));
		if (r == 0 && q.type != NBD_CMD_FLUSH)
			FUZZ_CHECK(q.offset <= s.size && q.length <= s.size - q.offset);
		if (r == 0)
			FUZZ_CHECK(nbd_request_memory(&q) <= NBD_DATA_MAX);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole = run(data, size, SIZE_MAX), pieces = run(data, size, 1 + size % 7);

	check_output(&whole);
	FUZZ_CHECK(whole.state == pieces.state && whole.used == pieces.used);
	FUZZ_CHECK(whole.contexts == pieces.contexts && whole.structured == pieces.structured);
	FUZZ_CHECK(whole.output_bytes == pieces.output_bytes);
	FUZZ_CHECK(memcmp(whole.output, pieces.output, whole.output_bytes) == 0);
	free(whole.output);
	free(pieces.output);
	if (size >= NBD_REQUEST_BYTES)
		check_request(data);
	return 0;
}
