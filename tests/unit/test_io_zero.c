/* SPDX-License-Identifier: MIT */
/* block/io_zero.c and io_discard.c: zeroing and discarding by the driver's means or without. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

static int co_fn user_zero(struct user *u, uint64_t offset, uint64_t bytes, unsigned flags)
{
	consumer_enter(&u->consumer);
	int r = edge_zero(u->edge, offset, bytes, flags);
	consumer_leave(&u->consumer);
	return r;
}

static int co_fn user_discard(struct user *u, uint64_t offset, uint64_t bytes)
{
	consumer_enter(&u->consumer);
	int r = edge_discard(u->edge, offset, bytes);
	consumer_leave(&u->consumer);
	return r;
}

static void co_fn check_all_ranges(struct fixture *f, const struct driver *driver)
{
	enum { BYTES = 65536 };
	struct disk *d = disk_new(f, "d", BYTES);
	d->limits = (struct node_limits){.request_alignment = 512, .max_transfer = 4096,
					 .max_zero = 10000, .zero_alignment = 2048};
	struct node *n = disk_open(f, d, driver);
	struct user u;
	user_init_ok(&u, n);
	unsigned char *model _cleanup_free_ = xalloc(1, BYTES);
	for (unsigned i = 0; i < 400; i++) {
		memset(d->data, 0xab, BYTES);
		memset(model, 0xab, BYTES);
		uint64_t offset = loop_random(f->loop) % BYTES;
		uint64_t bytes = 1 + loop_random(f->loop) % (i % 2 ? 1500 : BYTES);
		bytes = MIN(bytes, BYTES - offset);
		memset(model + offset, 0, bytes);
		ck_assert_int_eq(user_zero(&u, offset, bytes, 0), 0);
		ck_assert_msg(memcmp(d->data, model, BYTES) == 0, "%llu+%llu",
			      (unsigned long long)offset, (unsigned long long)bytes);
	}
	ck_assert_uint_le(d->longest_zero, 8192); /* the limit, in whole units */
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(any_range_is_zeroed_by_driver)
{
	check_all_ranges(f, &disk_driver);
}

FIXTURE_TEST(any_range_is_zeroed_by_writing)
{
	check_all_ranges(f, &plain_disk_driver);
}

FIXTURE_TEST(large_zeroing_is_written_in_pieces)
{
	struct disk *d = disk_new(f, "d", 3 << 20);
	memset(d->data, 1, 3 << 20);
	struct node *n = disk_open(f, d, &plain_disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_zero(&u, 5, (3 << 20) - 10, 0), 0);
	ck_assert(all_bytes(d->data, 5, 1));
	ck_assert(all_bytes(d->data + 5, (3 << 20) - 10, 0));
	ck_assert(all_bytes(d->data + (3 << 20) - 5, 5, 1));
	ck_assert_uint_eq(d->writes, 3);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(fallback_may_be_forbidden)
{
	struct disk *d = disk_new(f, "d", 4096);
	memset(d->data, 1, 4096);
	d->limits.request_alignment = 512;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_zero(&u, 0, 512, REQUEST_NO_FALLBACK), 0);
	ck_assert_int_eq(user_zero(&u, 1, 512, REQUEST_NO_FALLBACK), -ENOTSUP);
	d->zero_error = -ENOTSUP;
	ck_assert_int_eq(user_zero(&u, 512, 512, REQUEST_NO_FALLBACK), -ENOTSUP);
	ck_assert_uint_eq(d->writes, 0);
	ck_assert_int_eq(user_zero(&u, 512, 512, 0), 0);
	ck_assert_uint_eq(d->writes, 1);
	ck_assert(all_bytes(d->data, 1024, 0));
	ck_assert(all_bytes(d->data + 1024, 1024, 1));
	/* Any other failure is one. */
	d->zero_error = -ENOSPC;
	ck_assert_int_eq(user_zero(&u, 512, 512, 0), -ENOSPC);
	ck_assert_uint_eq(d->writes, 1);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(unmapping_needs_the_option)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_zero(&u, 0, 512, REQUEST_MAY_UNMAP), 0);
	ck_assert_uint_eq(d->unmaps, 1);
	n->discard_unmap = false;
	ck_assert_int_eq(user_zero(&u, 0, 512, REQUEST_MAY_UNMAP), 0);
	ck_assert_uint_eq(d->unmaps, 1);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(zeroing_is_durable_if_asked)
{
	struct disk *d = disk_new(f, "d", 4096);
	memset(d->durable, 1, 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_zero(&u, 0, 4096, REQUEST_FUA), 0);
	ck_assert(all_bytes(d->durable, 4096, 0));
	ck_assert_int_eq(user_zero(&u, 4000, 97, 0), -EIO);
	ck_assert_int_eq(user_zero(&u, 4096, 0, 0), 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(whole_blocks_are_discarded)
{
	struct disk *d = disk_new(f, "d", 4000);
	memset(d->data, 1, 4000);
	d->limits = (struct node_limits){
		.request_alignment = 512, .max_discard = 1500, .discard_alignment = 1024};
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_discard(&u, 1, 510), 0);
	ck_assert_uint_eq(d->discards, 0);
	ck_assert_int_eq(user_discard(&u, 1, 3000), 0);
	ck_assert(all_bytes(d->data, 512, 1));
	ck_assert(all_bytes(d->data + 512, 2048, 0));
	ck_assert(all_bytes(d->data + 2560, 1440, 1));
	/* The short block at the end is a whole one. */
	ck_assert_int_eq(user_discard(&u, 2560, 1440), 0);
	ck_assert(all_bytes(d->data + 2560, 1440, 0));
	ck_assert_int_eq(user_discard(&u, 3999, 2), -EIO);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(discard_is_advice)
{
	struct disk *d = disk_new(f, "d", 4096);
	memset(d->data, 1, 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	d->discard_error = -ENOTSUP;
	ck_assert_int_eq(user_discard(&u, 0, 4096), 0);
	d->discard_error = -EIO;
	ck_assert_int_eq(user_discard(&u, 0, 4096), -EIO);
	d->discard_error = 0;
	n->discard_unmap = false;
	ck_assert_int_eq(user_discard(&u, 0, 4096), 0);
	ck_assert(all_bytes(d->data, 4096, 1));
	ck_assert_int_eq(edge_set_permissions(u.edge, 0, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_discard(&u, 0, 4096), -EPERM);
	user_finish(&u);
	node_unref(n);

	d = disk_new(f, "plain", 4096);
	n = disk_open(f, d, &plain_disk_driver);
	user_init_ok(&u, n);
	ck_assert_int_eq(user_discard(&u, 0, 4096), 0);
	user_finish(&u);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(any_range_is_zeroed_by_driver),
	FIXTURE_ROW(any_range_is_zeroed_by_writing),
	FIXTURE_ROW(large_zeroing_is_written_in_pieces),
	FIXTURE_ROW(fallback_may_be_forbidden),
	FIXTURE_ROW(unmapping_needs_the_option),
	FIXTURE_ROW(zeroing_is_durable_if_asked),
	FIXTURE_ROW(whole_blocks_are_discarded),
	FIXTURE_ROW(discard_is_advice),
};

UNIT_MAIN("io_zero", tests)
