/* SPDX-License-Identifier: MIT */
/*
 * protocol/nbd/handshake.c: sessions fed in one piece and byte by byte, with
 * every option, wrong lengths and broken clients.
 */
#include "protocol/nbd/handshake.h"

#include <stdio.h>

#include "protocol/nbd/context.h"
#include "tests/unit/unit.h"

static const struct nbd_context contexts[] = {
	{.name = "base:allocation"},
	{.name = "test:one"},
	{.name = "test:two"},
};

static char long_name[NBD_STRING_MAX + 1];

static struct nbd_export_info exports[] = {
	{.name = "disk", .description = "the disk", .size = 1 << 20, .flags = 0x6d,
	 .minimum_block = 512, .preferred_block = 4096, .maximum_block = NBD_DATA_MAX,
	 .contexts = contexts, .context_count = 3, .export = &exports[0]},
	{.name = "", .size = 77, .flags = 3, .minimum_block = 1, .preferred_block = 4096,
	 .maximum_block = NBD_DATA_MAX, .contexts = contexts, .context_count = 1,
	 .export = &exports[1]},
	{.name = long_name, .export = &exports[2]},
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

/* A session: what the client says, what the server has said. */
struct session {
	struct nbd_handshake h;
	uint8_t in[200000];
	size_t in_bytes;
	uint8_t out[20000];
	size_t out_bytes, out_at;
	size_t piece; /* bytes fed at a time */
};

static struct session *s;

static void drain(void)
{
	ck_assert_uint_le(s->out_bytes + s->h.output_bytes, sizeof(s->out));
	memcpy(s->out + s->out_bytes, s->h.output, s->h.output_bytes);
	s->out_bytes += s->h.output_bytes;
	nbd_handshake_sent(&s->h);
}

/* Feed what the client has said since; expect nothing to be left unless the session has ended. */
static void run(void)
{
	size_t at = 0;
	while (at < s->in_bytes && s->h.state < NBD_HANDSHAKE_DONE) {
		size_t n = MIN(s->piece, s->in_bytes - at);
		/* Exactly as much memory as is fed, so that a sanitizer sees reads beyond. */
		uint8_t *copy = xmemdup(s->in + at, n);
		size_t used = nbd_handshake_feed(&s->h, copy, n);
		free(copy);
		ck_assert_uint_gt(used, 0);
		at += used;
		drain();
	}
	memmove(s->in, s->in + at, s->in_bytes - at);
	s->in_bytes -= at;
}

static void say(const void *p, size_t bytes)
{
	ck_assert_uint_le(s->in_bytes + bytes, sizeof(s->in));
	memcpy(s->in + s->in_bytes, p, bytes);
	s->in_bytes += bytes;
}

static void say32(uint32_t n)
{
	uint8_t bytes[4];
	nbd_put32(bytes, n);
	say(bytes, 4);
}

static void say_option(uint32_t option, const void *data, uint32_t length)
{
	uint8_t bytes[NBD_OPTION_BYTES];
	nbd_put_option(bytes, &(struct nbd_option_header){option, length});
	say(bytes, sizeof(bytes));
	if (data)
		say(data, length);
}

/* Data of INFO and GO. */
static void say_go(uint32_t option, const char *name, unsigned count, const uint16_t *infos)
{
	uint8_t data[8192], *p = nbd_put32(data, strlen(name));
	memcpy(p, name, strlen(name));
	p = nbd_put16(p + strlen(name), count);
	for (unsigned i = 0; i < count; i++)
		p = nbd_put16(p, infos[i]);
	say_option(option, data, p - data);
}

static void say_contexts(uint32_t option, const char *name, unsigned count, const char **queries)
{
	uint8_t data[16384], *p = nbd_put32(data, strlen(name));
	memcpy(p, name, strlen(name));
	p = nbd_put32(p + strlen(name), count);
	for (unsigned i = 0; i < count; i++) {
		p = nbd_put32(p, strlen(queries[i]));
		memcpy(p, queries[i], strlen(queries[i]));
		p += strlen(queries[i]);
	}
	say_option(option, data, p - data);
}

/* Begin a session whose client has the given flags. */
static void begin(size_t piece, uint32_t client_flags)
{
	s = xalloc(1, sizeof(*s));
	s->piece = piece;
	memset(long_name, 'x', NBD_STRING_MAX);
	nbd_handshake_init(&s->h, &directory, NULL);
	drain();
	say32(client_flags);
	run();
	ck_assert_uint_eq(s->out_bytes, NBD_GREETING_BYTES);
	ck_assert_mem_eq(s->out, "NBDMAGICIHAVEOPT\0\3", NBD_GREETING_BYTES);
	s->out_at = NBD_GREETING_BYTES;
}

static void end(void)
{
	ck_assert_uint_eq(s->out_at, s->out_bytes);
	nbd_handshake_finish(&s->h);
	free(s);
}

/* The next reply is of this type; returns its payload. */
static const uint8_t *expect(uint32_t option, uint32_t type, uint32_t *ret_length)
{
	struct nbd_option_reply reply;
	ck_assert_uint_le(s->out_at + NBD_OPTION_REPLY_BYTES, s->out_bytes);
	ck_assert_int_eq(nbd_get_option_reply(s->out + s->out_at, &reply), 0);
	s->out_at += NBD_OPTION_REPLY_BYTES;
	ck_assert_uint_eq(reply.option, option);
	ck_assert_uint_eq(reply.type, type);
	ck_assert_uint_le(s->out_at + reply.length, s->out_bytes);
	const uint8_t *payload = s->out + s->out_at;
	s->out_at += reply.length;
	if (ret_length)
		*ret_length = reply.length;
	return payload;
}

static void expect_payload(uint32_t option, uint32_t type, const void *wanted, size_t bytes)
{
	uint32_t length;
	const uint8_t *p = expect(option, type, &length);
	ck_assert_uint_eq(length, bytes);
	ck_assert_mem_eq(p, wanted, bytes);
}

static void expect_ack(uint32_t option)
{
	expect_payload(option, NBD_REP_ACK, "", 0);
}

static void expect_error(uint32_t option, uint32_t type, const char *text)
{
	run();
	expect_payload(option, type, text, strlen(text));
}

static void expect_closed(void)
{
	run();
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_CLOSE);
	ck_assert_ptr_nonnull(s->h.reason);
}

static void whole_session(size_t piece)
{
	static const uint16_t infos[] = {NBD_INFO_NAME, NBD_INFO_BLOCK_SIZE, 99};
	static const char *queries[] = {"test:two", "base:allocation", "x-other:y"};

	begin(piece, NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
	say_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	run();
	expect_ack(NBD_OPT_STRUCTURED_REPLY);

	say_contexts(NBD_OPT_SET_META_CONTEXT, "disk", 3, queries);
	run();
	expect_payload(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\0base:allocation", 19);
	expect_payload(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, "\0\0\0\2test:two", 12);
	expect_ack(NBD_OPT_SET_META_CONTEXT);

	say_go(NBD_OPT_GO, "disk", 3, infos);
	say("after", 5); /* belongs to the transmission already */
	run();
	expect_payload(NBD_OPT_GO, NBD_REP_INFO, "\0\1disk", 6);
	expect_payload(NBD_OPT_GO, NBD_REP_INFO, "\0\2the disk", 10);
	expect_payload(NBD_OPT_GO, NBD_REP_INFO, "\0\3\0\0\2\0\0\0\x10\0\2\0\0\0", 14);
	expect_payload(NBD_OPT_GO, NBD_REP_INFO, "\0\0\0\0\0\0\0\x10\0\0\0\xed", 12);
	expect_ack(NBD_OPT_GO);
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_DONE);
	ck_assert_ptr_eq(s->h.chosen.export, &exports[0]);
	ck_assert(s->h.structured);
	ck_assert_uint_eq(s->h.contexts, 1 << 0 | 1 << 2);
	ck_assert_uint_eq(s->in_bytes, 5);
	ck_assert_uint_eq(nbd_handshake_feed(&s->h, s->in, 5), 0);
	end();
}

START_TEST(a_whole_session_in_one_piece)
{
	whole_session(SIZE_MAX);
}
END_TEST

START_TEST(a_whole_session_in_small_pieces)
{
	for (size_t piece = 1; piece < 20; piece++)
		whole_session(piece);
}
END_TEST

START_TEST(export_name_leads_to_transmission)
{
	begin(3, NBD_FLAG_C_FIXED_NEWSTYLE);
	say_option(NBD_OPT_EXPORT_NAME, "disk", 4);
	run();
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_DONE);
	ck_assert_mem_eq(s->out + s->out_at, "\0\0\0\0\0\x10\0\0\0\x6d", 10);
	ck_assert_uint_eq(s->out_bytes, s->out_at + 10 + NBD_EXPORT_NAME_ZEROES);
	s->out_at = s->out_bytes;
	end();

	/* The default export, for a client that wants no zeroes and knows nothing else. */
	begin(100, NBD_FLAG_C_NO_ZEROES);
	say_option(NBD_OPT_EXPORT_NAME, NULL, 0);
	run();
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_DONE);
	ck_assert_ptr_eq(s->h.chosen.export, &exports[1]);
	ck_assert_mem_eq(s->out + s->out_at, "\0\0\0\0\0\0\0\x4d\0\3", 10);
	s->out_at += 10;
	end();
}
END_TEST

START_TEST(export_name_that_cannot_be_closes)
{
	begin(100, 3);
	say_option(NBD_OPT_EXPORT_NAME, "nope", 4);
	expect_closed();
	end();
	begin(100, 3);
	say_option(NBD_OPT_EXPORT_NAME, "di\0k", 4);
	expect_closed();
	end();
	for (uint32_t bytes = NBD_STRING_MAX + 1; bytes < 140000; bytes += 100000) {
		begin(1000, 3);
		uint8_t *name = xalloc(bytes, 1);
		memset(name, 'x', bytes);
		say_option(NBD_OPT_EXPORT_NAME, name, bytes);
		free(name);
		expect_closed();
		end();
	}
}
END_TEST

START_TEST(the_longest_name_works)
{
	begin(1000, 3);
	say_go(NBD_OPT_INFO, long_name, 0, NULL);
	run();
	expect(NBD_OPT_INFO, NBD_REP_INFO, NULL);
	expect(NBD_OPT_INFO, NBD_REP_INFO, NULL);
	expect_ack(NBD_OPT_INFO);
	say_option(NBD_OPT_EXPORT_NAME, long_name, NBD_STRING_MAX);
	run();
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_DONE);
	s->out_at += 10;
	end();
}
END_TEST

START_TEST(list_shows_names_and_descriptions)
{
	uint32_t length;
	begin(7, 3);
	say_option(NBD_OPT_LIST, NULL, 0);
	run();
	expect_payload(NBD_OPT_LIST, NBD_REP_SERVER, "\0\0\0\4diskthe disk", 16);
	expect_payload(NBD_OPT_LIST, NBD_REP_SERVER, "\0\0\0\0", 4);
	expect(NBD_OPT_LIST, NBD_REP_SERVER, &length);
	ck_assert_uint_eq(length, 4 + NBD_STRING_MAX);
	expect_ack(NBD_OPT_LIST);

	say_option(NBD_OPT_LIST, "x", 1);
	expect_error(NBD_OPT_LIST, NBD_REP_ERR_INVALID, "option 'list' has unexpected length");
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_OPTION);
	end();
}
END_TEST

START_TEST(info_does_not_choose)
{
	static const uint16_t none[1];
	begin(1, 3);
	say_go(NBD_OPT_INFO, "disk", 0, none);
	run();
	expect_payload(NBD_OPT_INFO, NBD_REP_INFO, "\0\2the disk", 10);
	/* Who does not ask for block sizes is told of the smallest. */
	expect_payload(NBD_OPT_INFO, NBD_REP_INFO, "\0\3\0\0\0\1\0\0\x10\0\2\0\0\0", 14);
	/* And of no DF without structured replies. */
	expect_payload(NBD_OPT_INFO, NBD_REP_INFO, "\0\0\0\0\0\0\0\x10\0\0\0\x6d", 12);
	expect_ack(NBD_OPT_INFO);
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_OPTION);
	end();
}
END_TEST

START_TEST(info_and_go_check_their_lengths)
{
	static const struct {
		const char *data;
		uint32_t length;
	} bad[] = {
		{"", 0}, {"zz", 2}, {"\0\0\0\4disk", 8}, {"\0\0\0\4disk\0", 9},
		{"\0\0\0\4disk\0\1", 10}, {"\0\0\0\4disk\0\1\0", 11}, {"\0\0\0\4disk\0\0z", 11},
		{"\0\0\0\5disk\0\0", 10}, {"\0\0\0\4disk\xff\xff\0\0", 12},
		{"\0\0\x0f\xff" "disk\0\0", 10}, {"\0\0\0\4d\0sk\0\0", 10},
	};
	begin(2, 3);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		say_option(NBD_OPT_GO, bad[i].data, bad[i].length);
		expect_error(NBD_OPT_GO, NBD_REP_ERR_INVALID, "Inconsistent lengths in option go");
	}
	say_go(NBD_OPT_GO, "nope", 0, NULL);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "export 'nope' not present");

	uint8_t name[NBD_STRING_MAX + 7] = {0};
	nbd_put32(name, NBD_STRING_MAX + 1);
	say_option(NBD_OPT_INFO, name, sizeof(name));
	expect_error(NBD_OPT_INFO, NBD_REP_ERR_INVALID, "Invalid name length: 4097");
	end();
}
END_TEST

START_TEST(unknown_names_are_shown_shortened)
{
	char name[200], expected[256];
	memset(name, 'y', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(expected, sizeof(expected), "export '%.80s...' not present", name);
	begin(50, 3);
	say_go(NBD_OPT_INFO, name, 0, NULL);
	expect_error(NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN, expected);
	end();
}
END_TEST

START_TEST(unknown_options_are_skipped)
{
	uint8_t *data = xalloc(100000, 1);
	begin(777, 3);
	say_option(99, data, 100000);
	expect_error(99, NBD_REP_ERR_UNSUP, "Unsupported option 99 (<unknown>)");
	say_option(4, NULL, 0);
	expect_error(4, NBD_REP_ERR_UNSUP, "Unsupported option 4 (<unknown>)");
	/* Known, but longer than anybody needs. */
	say_option(NBD_OPT_GO, data, 100000);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_TOO_BIG,
		     "option 'go' with 100000 bytes is longer than 65536");
	say_option(NBD_OPT_STARTTLS, NULL, 0);
	expect_error(NBD_OPT_STARTTLS, NBD_REP_ERR_POLICY, "TLS not configured");
	end();
	free(data);
}
END_TEST

START_TEST(an_absurdly_long_option_closes)
{
	begin(16, 3);
	say_option(99, NULL, (32 << 20) + 1);
	expect_closed();
	end();
}
END_TEST

START_TEST(memory_grows_with_what_came)
{
	begin(16, 3);
	say_option(NBD_OPT_GO, NULL, 60000); /* announced, and then nothing */
	say("12345678", 8);
	run();
	ck_assert_uint_le(s->h.data_capacity, 16);
	end();
}
END_TEST

START_TEST(abort_is_acknowledged)
{
	begin(5, 3);
	say_option(NBD_OPT_ABORT, NULL, 0);
	run();
	expect_ack(NBD_OPT_ABORT);
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_CLOSE);
	ck_assert_ptr_null(s->h.reason);
	end();
}
END_TEST

START_TEST(structured_replies_are_agreed_on_once)
{
	begin(5, 3);
	say_contexts(NBD_OPT_LIST_META_CONTEXT, "disk", 0, NULL);
	expect_error(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_INVALID,
		     "request option 'list meta context' when structured reply is not negotiated");
	say_option(NBD_OPT_STRUCTURED_REPLY, "x", 1);
	expect_error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID,
		     "option 'structured reply' has unexpected length");
	ck_assert(!s->h.structured);
	say_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	run();
	expect_ack(NBD_OPT_STRUCTURED_REPLY);
	say_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_INVALID,
		     "structured reply already negotiated");
	end();
}
END_TEST

static void begin_structured(void)
{
	begin(64, 3);
	say_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	run();
	expect_ack(NBD_OPT_STRUCTURED_REPLY);
}

/* What LIST_META_CONTEXT tells, as a mask. */
static unsigned listed(const char *query)
{
	unsigned mask = 0;
	say_contexts(NBD_OPT_LIST_META_CONTEXT, "disk", query ? 1 : 0, &query);
	run();
	for (;;) {
		struct nbd_option_reply reply;
		ck_assert_int_eq(nbd_get_option_reply(s->out + s->out_at, &reply), 0);
		if (reply.type != NBD_REP_META_CONTEXT)
			break;
		const uint8_t *p = s->out + s->out_at + NBD_OPTION_REPLY_BYTES;
		for (unsigned i = 0; i < ARRAY_SIZE(contexts); i++)
			if (reply.length - 4 == strlen(contexts[i].name) &&
			    !memcmp(p + 4, contexts[i].name, reply.length - 4))
				mask |= 1u << i;
		s->out_at += NBD_OPTION_REPLY_BYTES + reply.length;
	}
	expect_ack(NBD_OPT_LIST_META_CONTEXT);
	return mask;
}

START_TEST(contexts_are_listed_by_name_and_namespace)
{
	begin_structured();
	ck_assert_uint_eq(listed(NULL), 7);
	ck_assert_uint_eq(listed("base:"), 1);
	ck_assert_uint_eq(listed("test:"), 6);
	ck_assert_uint_eq(listed("test:two"), 4);
	ck_assert_uint_eq(listed("test:tw"), 0);
	ck_assert_uint_eq(listed("test"), 0);
	ck_assert_uint_eq(listed(""), 0);
	ck_assert_uint_eq(listed(":"), 0);
	ck_assert_uint_eq(listed("other:"), 0);
	ck_assert_uint_eq(listed(long_name), 0);
	end();
}
END_TEST

START_TEST(namespaces_alone_set_nothing)
{
	static const char *queries[] = {"test:", "", "base:"};
	begin_structured();
	say_contexts(NBD_OPT_SET_META_CONTEXT, "disk", 3, queries);
	run();
	expect_ack(NBD_OPT_SET_META_CONTEXT);
	say_contexts(NBD_OPT_SET_META_CONTEXT, "disk", 0, NULL);
	run();
	expect_ack(NBD_OPT_SET_META_CONTEXT);
	end();
}
END_TEST

START_TEST(contexts_hold_for_their_export_only)
{
	static const char *query = "base:allocation";
	begin_structured();
	say_contexts(NBD_OPT_SET_META_CONTEXT, "disk", 1, &query);
	run();
	expect(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, NULL);
	expect_ack(NBD_OPT_SET_META_CONTEXT);
	say_option(NBD_OPT_EXPORT_NAME, NULL, 0);
	run();
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_DONE);
	ck_assert_uint_eq(s->h.contexts, 0);
	s->out_at = s->out_bytes;
	end();
}
END_TEST

/* Its contexts may be others, or fewer. */
START_TEST(contexts_do_not_hold_for_a_new_export_of_the_name)
{
	static const char *query = "base:allocation";
	begin_structured();
	say_contexts(NBD_OPT_SET_META_CONTEXT, "disk", 1, &query);
	run();
	expect(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, NULL);
	expect_ack(NBD_OPT_SET_META_CONTEXT);
	exports[0].serial++;
	say_option(NBD_OPT_EXPORT_NAME, "disk", 4);
	run();
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_DONE);
	ck_assert_uint_eq(s->h.contexts, 0);
	s->out_at = s->out_bytes;
	end();
}
END_TEST

START_TEST(a_failed_selection_undoes_the_earlier_one)
{
	static const char *query = "base:allocation";
	static const uint8_t bad[] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0, 0, 0, 2, 0, 0, 0, 1, 'x'};
	begin_structured();
	say_contexts(NBD_OPT_SET_META_CONTEXT, "disk", 1, &query);
	run();
	expect(NBD_OPT_SET_META_CONTEXT, NBD_REP_META_CONTEXT, NULL);
	expect_ack(NBD_OPT_SET_META_CONTEXT);
	say_option(NBD_OPT_SET_META_CONTEXT, bad, sizeof(bad));
	expect_error(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_INVALID,
		     "Inconsistent lengths in option set meta context");
	ck_assert_uint_eq(s->h.selected, 0);
	say_contexts(NBD_OPT_SET_META_CONTEXT, "nope", 1, &query);
	expect_error(NBD_OPT_SET_META_CONTEXT, NBD_REP_ERR_UNKNOWN, "export 'nope' not present");
	end();
}
END_TEST

START_TEST(a_huge_count_of_queries_ends_with_the_data)
{
	static const uint8_t bad[] = {0, 0, 0, 4, 'd', 'i', 's', 'k', 0xff, 0xff, 0xff, 0xff};
	begin_structured();
	say_option(NBD_OPT_LIST_META_CONTEXT, bad, sizeof(bad));
	expect_error(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_INVALID,
		     "Inconsistent lengths in option list meta context");
	end();
}
END_TEST

START_TEST(broken_clients_are_left)
{
	begin(100, 3);
	say("IHAVENOT\0\0\0\1\0\0\0\0", 16);
	expect_closed();
	end();

	s = xalloc(1, sizeof(*s));
	s->piece = 4;
	nbd_handshake_init(&s->h, &directory, NULL);
	drain();
	s->out_at = s->out_bytes;
	say32(4); /* a flag that the server did not offer */
	expect_closed();
	end();

	begin(100, 0); /* not fixed newstyle: EXPORT_NAME is all there is */
	say_option(NBD_OPT_LIST, NULL, 0);
	expect_closed();
	end();
}
END_TEST

START_TEST(without_tls_nothing_is_told_where_it_is_required)
{
	begin(7, 3);
	nbd_handshake_require_tls(&s->h);
	say_option(NBD_OPT_LIST, NULL, 0);
	expect_error(NBD_OPT_LIST, NBD_REP_ERR_TLS_REQD, "Option 0x3 not permitted before TLS");
	say_go(NBD_OPT_GO, "disk", 0, NULL);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_TLS_REQD, "Option 0x7 not permitted before TLS");
	say_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	expect_error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_TLS_REQD,
		     "Option 0x8 not permitted before TLS");
	say_option(NBD_OPT_STARTTLS, "x", 1);
	expect_error(NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID,
		     "option 'starttls' has unexpected length");
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_OPTION);
	say_option(NBD_OPT_STARTTLS, NULL, 0);
	run();
	expect_ack(NBD_OPT_STARTTLS);
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_TLS);
	ck_assert(!s->h.structured);
	/* What comes in this state is the owner's. */
	ck_assert_uint_eq(nbd_handshake_feed(&s->h, (const uint8_t *)"x", 1), 0);

	nbd_handshake_tls_begun(&s->h);
	say_option(NBD_OPT_STARTTLS, NULL, 0);
	expect_error(NBD_OPT_STARTTLS, NBD_REP_ERR_INVALID, "TLS already enabled");
	say_option(NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	run();
	expect_ack(NBD_OPT_STRUCTURED_REPLY);
	end();

	begin(100, 3);
	nbd_handshake_require_tls(&s->h);
	say_option(NBD_OPT_EXPORT_NAME, "disk", 4);
	expect_closed();
	end();

	begin(100, 3);
	nbd_handshake_require_tls(&s->h);
	say_option(NBD_OPT_ABORT, NULL, 0);
	run();
	expect_ack(NBD_OPT_ABORT);
	ck_assert_int_eq(s->h.state, NBD_HANDSHAKE_CLOSE);
	end();
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(a_whole_session_in_one_piece),
	UNIT_TEST(a_whole_session_in_small_pieces),
	UNIT_TEST(export_name_leads_to_transmission),
	UNIT_TEST(export_name_that_cannot_be_closes),
	UNIT_TEST(the_longest_name_works),
	UNIT_TEST(list_shows_names_and_descriptions),
	UNIT_TEST(info_does_not_choose),
	UNIT_TEST(info_and_go_check_their_lengths),
	UNIT_TEST(unknown_names_are_shown_shortened),
	UNIT_TEST(unknown_options_are_skipped),
	UNIT_TEST(an_absurdly_long_option_closes),
	UNIT_TEST(memory_grows_with_what_came),
	UNIT_TEST(abort_is_acknowledged),
	UNIT_TEST(without_tls_nothing_is_told_where_it_is_required),
	UNIT_TEST(structured_replies_are_agreed_on_once),
	UNIT_TEST(contexts_are_listed_by_name_and_namespace),
	UNIT_TEST(namespaces_alone_set_nothing),
	UNIT_TEST(contexts_hold_for_their_export_only),
	UNIT_TEST(contexts_do_not_hold_for_a_new_export_of_the_name),
	UNIT_TEST(a_failed_selection_undoes_the_earlier_one),
	UNIT_TEST(a_huge_count_of_queries_ends_with_the_data),
	UNIT_TEST(broken_clients_are_left),
};

UNIT_MAIN("nbd_handshake", tests)
