/* SPDX-License-Identifier: MIT */
/* protocol/nbd/request.c: what clients may ask, around the end of the export and at each limit. */
#include "protocol/nbd/request.h"

#include <errno.h>

#include "tests/unit/unit.h"

#define SIZE (10 * MiB)

static struct nbd_session session;
static char complaint[NBD_COMPLAINT_MAX];

static void set_up(void)
{
	session = (struct nbd_session){
		.size = SIZE,
		.flags = NBD_FLAG_HAS_FLAGS,
		.structured = true,
		.contexts = 1,
	};
	strcpy(complaint, "?");
}

static int check(uint16_t type, uint64_t offset, uint32_t length, uint16_t flags)
{
	struct nbd_request r = {.type = type, .offset = offset, .length = length, .flags = flags};
	return nbd_request_check(&r, &session, complaint);
}

static const struct {
	uint16_t type;
	int beyond_end;
} ranged[] = {
	{NBD_CMD_READ, -EINVAL},         {NBD_CMD_WRITE, -ENOSPC},
	{NBD_CMD_TRIM, -EINVAL},         {NBD_CMD_WRITE_ZEROES, -ENOSPC},
	{NBD_CMD_CACHE, -EINVAL},        {NBD_CMD_BLOCK_STATUS, -EINVAL},
};

START_TEST(ranges_end_where_the_export_ends)
{
	set_up();
	for (unsigned i = 0; i < ARRAY_SIZE(ranged); i++) {
		uint16_t type = ranged[i].type;
		ck_assert_int_eq(check(type, 0, 1, 0), 0);
		ck_assert_int_eq(check(type, SIZE - 1, 1, 0), 0);
		ck_assert_int_eq(check(type, SIZE - 1, 2, 0), ranged[i].beyond_end);
		ck_assert_int_eq(check(type, SIZE, 1, 0), ranged[i].beyond_end);
		ck_assert_int_eq(check(type, SIZE + 1, 0, 0),
				 type == NBD_CMD_BLOCK_STATUS ? -EINVAL : ranged[i].beyond_end);
		ck_assert_int_eq(check(type, UINT64_MAX, 2, 0), ranged[i].beyond_end);
	}
	check(NBD_CMD_READ, UINT64_MAX, 100, 0);
	ck_assert_str_eq(complaint, "operation past EOF; From: 18446744073709551615, Len: 100, "
				    "Size: 10485760");
}
END_TEST

START_TEST(empty_requests_are_allowed_up_to_the_end)
{
	set_up();
	ck_assert_int_eq(check(NBD_CMD_READ, SIZE, 0, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_WRITE, SIZE, 0, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_BLOCK_STATUS, 0, 0, 0), -EINVAL);
	session.size = 0;
	ck_assert_int_eq(check(NBD_CMD_READ, 0, 0, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_READ, 0, 1, 0), -EINVAL);
}
END_TEST

START_TEST(data_is_limited_but_ranges_are_not)
{
	set_up();
	session.size = UINT64_C(1) << 40;
	ck_assert_int_eq(check(NBD_CMD_READ, 0, NBD_DATA_MAX, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_READ, 0, NBD_DATA_MAX + 1, 0), -EINVAL);
	ck_assert_int_eq(check(NBD_CMD_WRITE, 0, NBD_DATA_MAX, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_WRITE, 0, NBD_DATA_MAX + 1, 0), -EINVAL);
	ck_assert_int_eq(check(NBD_CMD_TRIM, 0, UINT32_MAX, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_WRITE_ZEROES, 0, UINT32_MAX, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_CACHE, 0, UINT32_MAX, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_BLOCK_STATUS, 0, UINT32_MAX, 0), 0);
}
END_TEST

START_TEST(read_only_exports_refuse_writes)
{
	set_up();
	session.flags |= NBD_FLAG_READ_ONLY;
	ck_assert_int_eq(check(NBD_CMD_WRITE, 0, 0, 0), -EPERM);
	ck_assert_str_eq(complaint, "Export is read-only");
	ck_assert_int_eq(check(NBD_CMD_WRITE, SIZE, 1, 0), -EPERM);
	ck_assert_int_eq(check(NBD_CMD_TRIM, 0, 1, 0), -EPERM);
	ck_assert_int_eq(check(NBD_CMD_WRITE_ZEROES, 0, 1, 0), -EPERM);
	ck_assert_int_eq(check(NBD_CMD_READ, 0, 1, 0), 0);
	ck_assert_int_eq(check(NBD_CMD_FLUSH, 0, 0, 0), 0);
}
END_TEST

START_TEST(each_command_takes_its_flags_only)
{
	static const uint16_t allowed[NBD_CMD__COUNT] = {
		[NBD_CMD_READ] = NBD_CMD_FLAG_DF,
		[NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
		[NBD_CMD_BLOCK_STATUS] = NBD_CMD_FLAG_REQ_ONE,
	};
	set_up();
	for (uint16_t type = 0; type < NBD_CMD__COUNT; type++) {
		if (type == NBD_CMD_DISC)
			continue;
		for (unsigned bit = 0; bit < 16; bit++) {
			uint16_t flag = 1u << bit;
			bool fits = flag & (allowed[type] | NBD_CMD_FLAG_FUA);
			ck_assert_int_eq(check(type, 0, 512, flag), fits ? 0 : -EINVAL);
		}
	}
	session.structured = false;
	ck_assert_int_eq(check(NBD_CMD_READ, 0, 1, NBD_CMD_FLAG_DF), -EINVAL);
	ck_assert_str_eq(complaint, "unsupported flags for command read (got 0x4)");
}
END_TEST

START_TEST(unknown_commands_are_refused)
{
	set_up();
	ck_assert_int_eq(check(NBD_CMD__COUNT, 0, 0, 0), -EINVAL);
	ck_assert_int_eq(check(UINT16_MAX, 0, 0, 0), -EINVAL);
	ck_assert_str_eq(complaint, "invalid request type (65535) received");
	ck_assert_int_eq(check(NBD_CMD_DISC, 0, 0, 0), -EINVAL); /* the receiver's business */
}
END_TEST

START_TEST(block_status_needs_a_context)
{
	set_up();
	session.contexts = 0;
	ck_assert_int_eq(check(NBD_CMD_BLOCK_STATUS, 0, 512, 0), -EINVAL);
	ck_assert_str_eq(complaint, "CMD_BLOCK_STATUS not negotiated");
}
END_TEST

START_TEST(payload_and_memory_follow_from_the_command)
{
	struct nbd_request r = {.type = NBD_CMD_WRITE, .length = 5};
	ck_assert_uint_eq(nbd_request_payload(&r), 5);
	ck_assert_uint_eq(nbd_request_memory(&r), 5);
	r.type = NBD_CMD_READ;
	ck_assert_uint_eq(nbd_request_payload(&r), 0);
	ck_assert_uint_eq(nbd_request_memory(&r), 5);
	r.type = NBD_CMD_WRITE_ZEROES;
	ck_assert_uint_eq(nbd_request_payload(&r), 0);
	ck_assert_uint_eq(nbd_request_memory(&r), 0);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(ranges_end_where_the_export_ends),
	UNIT_TEST(empty_requests_are_allowed_up_to_the_end),
	UNIT_TEST(data_is_limited_but_ranges_are_not),
	UNIT_TEST(read_only_exports_refuse_writes),
	UNIT_TEST(each_command_takes_its_flags_only),
	UNIT_TEST(unknown_commands_are_refused),
	UNIT_TEST(block_status_needs_a_context),
	UNIT_TEST(payload_and_memory_follow_from_the_command),
};

UNIT_MAIN("nbd_request", tests)
