/* SPDX-License-Identifier: MIT */
/* block/io_copy_on_read.c: reading pulls data up, and never over a guest's write. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

static struct node *co_fn open_pair(struct fixture *f, uint64_t size, struct disk **ret_base)
{
	disk_format_cow(disk_new(f, "top", 0), size, "base", "raw");
	*ret_base = disk_new(f, "base", size);
	memset((*ret_base)->data, 0xbb, size);
	return open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
}

static int co_fn pull(struct user *u, uint64_t offset, uint64_t bytes, void *p)
{
	consumer_enter(&u->consumer);
	int r = p ? edge_read(u->edge, offset, bytes, p, REQUEST_COPY_ON_READ)
		  : edge_readv(u->edge, offset, bytes, (struct vec){0},
			       REQUEST_COPY_ON_READ | REQUEST_PREFETCH);
	consumer_leave(&u->consumer);
	return r;
}

static bool co_fn is_allocated(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct extent x;
	ck_assert_int_eq(node_status_above(n, node_backing(n), offset, bytes, &x, NULL), 0);
	return (x.flags & EXTENT_ALLOCATED) && x.bytes == bytes;
}

FIXTURE_TEST(whole_clusters_are_pulled_up)
{
	enum { C = COW_CLUSTER, SIZE = 8 * C + 100 };
	struct disk *base;
	struct node *n = open_pair(f, SIZE, &base);
	memset(base->data + 4 * C, 0, C);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED, PERM_ALL,
				   NULL),
			 0);
	unsigned char buffer[2 * C];
	ck_assert_int_eq(pull(&u, C + 10, C, buffer), 0);
	ck_assert(all_bytes(buffer, C, 0xbb));
	ck_assert(is_allocated(n, C, 2 * C));
	ck_assert(!is_allocated(n, 0, C));
	ck_assert(!is_allocated(n, 3 * C, C));
	/* Without a buffer, over parts that are there and parts that are not, to the very end. */
	ck_assert_int_eq(pull(&u, 0, SIZE, NULL), 0);
	struct extent x;
	for (uint64_t offset = 0; offset < SIZE; offset += x.bytes) {
		ck_assert_int_eq(node_status_above(n, node_backing(n), offset, SIZE - offset, &x,
						   NULL),
				 0);
		ck_assert(x.flags & EXTENT_ALLOCATED);
		/* Zeroes are stored as such. */
		if (offset == 4 * C)
			ck_assert(x.flags & EXTENT_ZERO);
	}
	memset(base->data, 0, SIZE);
	ck_assert(user_sees(&u, 0, 4 * C, 0xbb));
	ck_assert(user_sees(&u, 4 * C, C, 0));
	ck_assert(user_sees(&u, 5 * C, SIZE - 5 * C, 0xbb));
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(full_disk_stops_no_reader)
{
	enum { C = COW_CLUSTER, SIZE = 8 * C };
	struct disk *top = disk_new(f, "top", 0), *base = disk_new(f, "base", SIZE);
	disk_format_cow(top, SIZE, "base", "raw");
	memset(base->data, 0xbb, SIZE);
	memset(base->data + 4 * C, 0, C);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED, PERM_ALL,
				   NULL),
			 0);
	top->write_error = top->zero_error = -ENOSPC;
	unsigned char buffer[3 * C];
	ck_assert_int_eq(pull(&u, 3 * C + 10, 2 * C, buffer), 0);
	ck_assert(all_bytes(buffer, C - 10, 0xbb));
	ck_assert(all_bytes(buffer + C - 10, C, 0));
	ck_assert(all_bytes(buffer + 2 * C - 10, 10, 0xbb));
	ck_assert(!is_allocated(n, 3 * C, C));
	/* Who is after the copy hears of it. */
	ck_assert_int_eq(pull(&u, 3 * C, C, NULL), -ENOSPC);
	top->write_error = top->zero_error = 0;
	ck_assert_int_eq(pull(&u, 3 * C, C, NULL), 0);
	ck_assert(is_allocated(n, 3 * C, C));
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(permission_is_required)
{
	struct disk *base;
	struct node *n = open_pair(f, 4096, &base);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
	ck_assert_int_eq(pull(&u, 0, 512, NULL), -EPERM);
	user_finish(&u);
	node_unref(n);
}

struct puller {
	struct user *user;
	unsigned left;
};

static void co_fn pull_all(void *arg)
{
	struct puller *p = arg;
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(pull(p->user, i * COW_CLUSTER, COW_CLUSTER, NULL), 0);
	p->left--;
}

static void co_fn write_some(void *arg)
{
	struct puller *p = arg;
	for (unsigned i = 0; i < 8; i++) {
		co_sleep_ns(loop_random(loop_current()) % 3000);
		ck_assert_int_eq(user_fill(p->user, i * COW_CLUSTER + 100, 50, 0x10 + (int)i), 0);
	}
	p->left--;
}

static void co_fn writes_survive(struct fixture *f)
{
	struct disk *base;
	struct node *n = open_pair(f, 8 * COW_CLUSTER, &base);
	base->delay_ns = 2000;
	struct disk *top = *(struct disk **)n->file->child->state;
	top->delay_ns = 1000;
	struct user u;
	user_init_ok(&u, n);
	struct puller p = {.user = &u, .left = 2};
	co_start(f->loop, pull_all, &p);
	co_start(f->loop, write_some, &p);
	while (p.left > 0)
		co_sleep_ns(1000);
	for (unsigned i = 0; i < 8; i++) {
		ck_assert(user_sees(&u, i * COW_CLUSTER, 100, 0xbb));
		ck_assert(user_sees(&u, i * COW_CLUSTER + 100, 50, 0x10 + (int)i));
	}
	user_finish(&u);
	node_unref(n);
}

START_TEST(test_writes_survive)
{
	for (uint64_t seed = 1; seed <= 20; seed++)
		fixture_run_seed(seed, writes_survive);
}
END_TEST

struct late {
	struct user *user;
	enum { LATE_WRITE, LATE_TRUNCATE, LATE_PULL } kind;
	int result;
	bool done;
};

static void co_fn run_late(void *arg)
{
	struct late *l = arg;
	char data[512];
	memset(data, 1, sizeof(data));
	consumer_enter(&l->user->consumer);
	l->result = l->kind == LATE_WRITE ? edge_write(l->user->edge, 3072, 512, data, 0)
		    : l->kind == LATE_TRUNCATE
			    ? edge_truncate(l->user->edge, 2048, PREALLOCATION_OFF, NULL)
			    : edge_read(l->user->edge, 3584, 512, data, REQUEST_COPY_ON_READ);
	consumer_leave(&l->user->consumer);
	l->done = true;
}

/* The read waits for the truncate, and the truncate for the write. */
FIXTURE_TEST(what_is_cut_off_is_not_pulled_up)
{
	struct disk *base;
	struct node *n = open_pair(f, 4096, &base);
	struct user u;
	struct late late[3];
	ck_assert_int_eq(user_init(&u, "u", n, PERM_ALL, PERM_ALL, NULL), 0);
	base->delay_ns = 100000;
	((struct disk *)*(void **)n->file->child->state)->delay_ns = 100000;
	for (unsigned i = 0; i < 3; i++) {
		late[i] = (struct late){.user = &u, .kind = i};
		co_start(f->loop, run_late, &late[i]);
		co_sleep_ns(10);
	}
	ck_assert(!late[0].done && !late[1].done && !late[2].done);
	co_sleep_ns(10000000);
	ck_assert(late[0].done && late[1].done && late[2].done);
	ck_assert_int_eq(late[1].result, 0);
	ck_assert_int_eq(late[2].result, -EIO);
	ck_assert_uint_eq(n->size, 2048);
	user_finish(&u);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(what_is_cut_off_is_not_pulled_up),
	FIXTURE_ROW(whole_clusters_are_pulled_up),
	FIXTURE_ROW(full_disk_stops_no_reader),
	FIXTURE_ROW(permission_is_required),
	FIXTURE_ROW(writes_survive),
};

UNIT_MAIN("io_copy_on_read", tests)
