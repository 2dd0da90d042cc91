/* SPDX-License-Identifier: MIT */
/*
 * Aim: asking a server for TLS says what the protocol wants, and takes no other answer.
 * Method: greetings and replies, right and wrong, as bytes.
 */
#include "drivers/nbd/starttls.h"

#include "unit.h"

static const uint8_t new_style[NBD_GREETING_BYTES] = "NBDMAGICIHAVEOPT\0\3";

static void put_reply(uint8_t p[NBD_OPTION_REPLY_BYTES], uint32_t type, uint32_t length)
{
	uint8_t *at = nbd_put64(p, NBD_OPTION_REPLY_MAGIC);
	at = nbd_put32(at, NBD_OPT_STARTTLS);
	at = nbd_put32(at, type);
	nbd_put32(at, length);
}

START_TEST(flags_that_nobody_knows_are_left_out)
{
	uint8_t greeting[NBD_GREETING_BYTES], again[NBD_GREETING_BYTES];
	memcpy(greeting, new_style, sizeof(greeting));
	for (unsigned known = 0; known < 4; known++) {
		nbd_put16(greeting + 16, (uint16_t)(0xfffc | known));
		uint16_t flags = 99;
		int r = starttls_check_greeting(greeting, &flags, NULL);
		/* Without options there is no TLS. */
		ck_assert_int_eq(r, known & NBD_FLAG_FIXED_NEWSTYLE ? 0 : -ENOTSUP);
		if (r < 0)
			continue;
		ck_assert_uint_eq(flags, known);
		starttls_put_greeting(again, flags);
		ck_assert_mem_eq(again, new_style, 16);
		ck_assert_uint_eq(nbd_get16(again + 16), known);
	}
}
END_TEST

START_TEST(every_byte_of_the_magics_counts)
{
	for (unsigned i = 0; i < 16; i++) {
		uint8_t greeting[NBD_GREETING_BYTES];
		memcpy(greeting, new_style, sizeof(greeting));
		greeting[i] ^= 0x20;
		uint16_t flags;
		struct error *error = NULL;
		ck_assert_int_eq(starttls_check_greeting(greeting, &flags, &error),
				 i < 8 ? -EINVAL : -ENOTSUP);
		error_free(error);
	}
}
END_TEST

START_TEST(the_request_accepts_the_flags_and_asks_for_tls)
{
	static const uint8_t expected[] = "\0\0\0\1IHAVEOPT\0\0\0\5\0\0\0\0";
	uint8_t request[STARTTLS_REQUEST_BYTES];
	starttls_put_request(request, NBD_FLAG_FIXED_NEWSTYLE);
	ck_assert_uint_eq(sizeof(expected) - 1, sizeof(request));
	ck_assert_mem_eq(request, expected, sizeof(request));
}
END_TEST

START_TEST(only_a_bare_ack_begins_tls)
{
	const struct {
		uint32_t type, length;
		int expected;
	} cases[] = {
		{NBD_REP_ACK, 0, 0},
		{NBD_REP_ACK, 1, -EINVAL},
		{NBD_REP_SERVER, 0, -EINVAL},
		{0, 0, -EINVAL},
		{NBD_REP_ERR_POLICY, 0, 1},
		{NBD_REP_ERR_POLICY, NBD_STRING_MAX, 1},
		{NBD_REP_ERR_POLICY, NBD_STRING_MAX + 1, -EINVAL},
		{NBD_REP_ERR_UNSUP, UINT32_MAX, -EINVAL},
		{UINT32_MAX, 3, 1},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t reply[NBD_OPTION_REPLY_BYTES];
		put_reply(reply, cases[i].type, cases[i].length);
		uint32_t bytes = 77;
		struct error *error = NULL;
		ck_assert_int_eq(starttls_check_reply(reply, &bytes, &error), cases[i].expected);
		ck_assert_int_eq(!!error, cases[i].expected < 0);
		ck_assert_uint_eq(bytes, cases[i].expected == 1 ? cases[i].length : 77);
		error_free(error);
	}
}
END_TEST

START_TEST(every_byte_of_the_reply_counts)
{
	/* The magic and the option; the type is looked at above. */
	for (unsigned i = 0; i < 12; i++) {
		uint8_t reply[NBD_OPTION_REPLY_BYTES];
		put_reply(reply, NBD_REP_ACK, 0);
		reply[i] ^= 1;
		uint32_t bytes;
		ck_assert_int_eq(starttls_check_reply(reply, &bytes, NULL), -EINVAL);
	}
}
END_TEST

START_TEST(a_refusal_is_an_error_whatever_it_says)
{
	const struct {
		uint32_t type;
		int code;
		const char *sentence;
	} cases[] = {
		{NBD_REP_ERR_UNSUP, -ENOTSUP, "Server don't support STARTTLS option"},
		{NBD_REP_ERR_POLICY, -EACCES, "Denied by server for option 5 (starttls)"},
		{NBD_REP_ERR_SHUTDOWN, -ESHUTDOWN, "Server shutting down before option 5 (starttls)"},
		{UINT32_MAX, -EINVAL, "Unknown error code when asking for option 5 (starttls)"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t reply[NBD_OPTION_REPLY_BYTES];
		put_reply(reply, cases[i].type, 0);
		struct error *error = NULL;
		ck_assert_int_eq(starttls_refused(reply, "a\0\n\x7f\xff z", 7, &error), cases[i].code);
		ck_assert_str_eq(error->message, cases[i].sentence);
		ck_assert_str_eq(error->detail, "server reported: a???? z");
		error_free(error);
		ck_assert_int_eq(starttls_refused(reply, "", 0, NULL), cases[i].code);
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(flags_that_nobody_knows_are_left_out),
	UNIT_TEST(every_byte_of_the_magics_counts),
	UNIT_TEST(the_request_accepts_the_flags_and_asks_for_tls),
	UNIT_TEST(only_a_bare_ack_begins_tls),
	UNIT_TEST(every_byte_of_the_reply_counts),
	UNIT_TEST(a_refusal_is_an_error_whatever_it_says),
};

UNIT_MAIN("nbd_starttls", tests)
