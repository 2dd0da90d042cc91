/* SPDX-License-Identifier: MIT */
/* protocol/nbd/wire.c: every header byte by byte, there and back, and bad magics. */
#include "protocol/nbd/wire.h"

#include <errno.h>

#include "tests/unit/unit.h"

START_TEST(a_request_looks_as_specified)
{
	static const uint8_t expected[NBD_REQUEST_BYTES] = {
		0x25, 0x60, 0x95, 0x13, 0x00, 0x01, 0x00, 0x06,
		0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
		0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x02, 0x80, 0x00, 0x00, 0x01,
	};
	struct nbd_request in = {
		.flags = NBD_CMD_FLAG_FUA,
		.type = NBD_CMD_WRITE_ZEROES,
		.cookie = 0x0102030405060708,
		.offset = (UINT64_C(1) << 40) + 2,
		.length = 0x80000001,
	}, out;
	uint8_t bytes[NBD_REQUEST_BYTES];
	ck_assert_ptr_eq(nbd_put_request(bytes, &in), bytes + sizeof(bytes));
	ck_assert_mem_eq(bytes, expected, sizeof(bytes));
	ck_assert_int_eq(nbd_get_request(bytes, &out), 0);
	ck_assert_uint_eq(out.flags, in.flags);
	ck_assert_uint_eq(out.type, in.type);
	ck_assert_uint_eq(out.cookie, in.cookie);
	ck_assert_uint_eq(out.offset, in.offset);
	ck_assert_uint_eq(out.length, in.length);
}
END_TEST

START_TEST(a_simple_reply_looks_as_specified)
{
	static const uint8_t expected[NBD_SIMPLE_REPLY_BYTES] = {
		0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28, 0xff, 0, 0, 0, 0, 0, 0, 0xfe,
	};
	struct nbd_simple_reply in = {.error = NBD_ENOSPC, .cookie = 0xff000000000000fe}, out;
	uint8_t bytes[NBD_SIMPLE_REPLY_BYTES];
	ck_assert_ptr_eq(nbd_put_simple_reply(bytes, &in), bytes + sizeof(bytes));
	ck_assert_mem_eq(bytes, expected, sizeof(bytes));
	ck_assert_int_eq(nbd_get_simple_reply(bytes, &out), 0);
	ck_assert_uint_eq(out.error, in.error);
	ck_assert_uint_eq(out.cookie, in.cookie);
}
END_TEST

START_TEST(a_chunk_looks_as_specified)
{
	static const uint8_t expected[NBD_CHUNK_BYTES] = {
		0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 0x01, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1, 0, 0,
	};
	struct nbd_chunk in = {NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, 9, 65536}, out;
	uint8_t bytes[NBD_CHUNK_BYTES];
	ck_assert_ptr_eq(nbd_put_chunk(bytes, &in), bytes + sizeof(bytes));
	ck_assert_mem_eq(bytes, expected, sizeof(bytes));
	ck_assert_int_eq(nbd_get_chunk(bytes, &out), 0);
	ck_assert_uint_eq(out.flags, in.flags);
	ck_assert_uint_eq(out.type, in.type);
	ck_assert_uint_eq(out.cookie, in.cookie);
	ck_assert_uint_eq(out.length, in.length);
}
END_TEST

START_TEST(options_look_as_specified)
{
	uint8_t bytes[NBD_OPTION_REPLY_BYTES];
	struct nbd_option_header option = {NBD_OPT_GO, 7}, option_out;
	ck_assert_ptr_eq(nbd_put_option(bytes, &option), bytes + NBD_OPTION_BYTES);
	ck_assert_mem_eq(bytes, "IHAVEOPT\0\0\0\7\0\0\0\7", NBD_OPTION_BYTES);
	ck_assert_int_eq(nbd_get_option(bytes, &option_out), 0);
	ck_assert_uint_eq(option_out.option, option.option);
	ck_assert_uint_eq(option_out.length, option.length);

	struct nbd_option_reply reply = {NBD_OPT_LIST, NBD_REP_ERR_UNSUP, 2}, reply_out;
	ck_assert_ptr_eq(nbd_put_option_reply(bytes, &reply), bytes + NBD_OPTION_REPLY_BYTES);
	ck_assert_mem_eq(bytes, "\x00\x03\xe8\x89\x04\x55\x65\xa9\0\0\0\3\x80\0\0\1\0\0\0\2",
			 NBD_OPTION_REPLY_BYTES);
	ck_assert_int_eq(nbd_get_option_reply(bytes, &reply_out), 0);
	ck_assert_uint_eq(reply_out.option, reply.option);
	ck_assert_uint_eq(reply_out.type, reply.type);
	ck_assert_uint_eq(reply_out.length, reply.length);
}
END_TEST

START_TEST(other_magics_are_refused)
{
	uint8_t bytes[NBD_REQUEST_BYTES] = {0};
	struct nbd_request request;
	struct nbd_simple_reply reply;
	struct nbd_chunk chunk;
	struct nbd_option_header option;
	struct nbd_option_reply option_reply;
	ck_assert_int_eq(nbd_get_request(bytes, &request), -EINVAL);
	ck_assert_int_eq(nbd_get_simple_reply(bytes, &reply), -EINVAL);
	ck_assert_int_eq(nbd_get_chunk(bytes, &chunk), -EINVAL);
	ck_assert_int_eq(nbd_get_option(bytes, &option), -EINVAL);
	ck_assert_int_eq(nbd_get_option_reply(bytes, &option_reply), -EINVAL);
	nbd_put_request(bytes, &(struct nbd_request){0});
	bytes[3] ^= 1;
	ck_assert_int_eq(nbd_get_request(bytes, &request), -EINVAL);
}
END_TEST

START_TEST(errors_translate_there_and_back)
{
	static const int same[] = {0, -EPERM, -EIO, -ENOMEM, -EINVAL, -ENOSPC, -EOVERFLOW,
				   -ENOTSUP, -ESHUTDOWN};
	for (unsigned i = 0; i < ARRAY_SIZE(same); i++)
		ck_assert_int_eq(nbd_error_to_errno(nbd_error_from_errno(same[i])), same[i]);
	ck_assert_uint_eq(nbd_error_from_errno(-EROFS), NBD_EPERM);
	ck_assert_uint_eq(nbd_error_from_errno(-EDQUOT), NBD_ENOSPC);
	ck_assert_uint_eq(nbd_error_from_errno(-EFBIG), NBD_ENOSPC);
	ck_assert_uint_eq(nbd_error_from_errno(-ETIMEDOUT), NBD_EIO);
	ck_assert_int_eq(nbd_error_to_errno(12345), -EIO);
}
END_TEST

START_TEST(unknown_numbers_have_a_name)
{
	ck_assert_str_eq(nbd_command_name(NBD_CMD_BLOCK_STATUS), "block status");
	ck_assert_str_eq(nbd_command_name(NBD_CMD__COUNT), "<unknown>");
	ck_assert_str_eq(nbd_command_name(UINT16_MAX), "<unknown>");
	ck_assert_str_eq(nbd_option_name(NBD_OPT_SET_META_CONTEXT), "set meta context");
	ck_assert_str_eq(nbd_option_name(4), "<unknown>");
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(a_request_looks_as_specified),
	UNIT_TEST(a_simple_reply_looks_as_specified),
	UNIT_TEST(a_chunk_looks_as_specified),
	UNIT_TEST(options_look_as_specified),
	UNIT_TEST(other_magics_are_refused),
	UNIT_TEST(errors_translate_there_and_back),
	UNIT_TEST(unknown_numbers_have_a_name),
};

UNIT_MAIN("nbd_wire", tests)
