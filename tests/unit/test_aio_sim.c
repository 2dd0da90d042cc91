/* SPDX-License-Identifier: MIT */
/*
 * Simulated disks: what a running program sees of them, their faults, and what
 * a crash at each point may and may not leave. Method: short programs on one
 * disk, then replays of their record with many seeds.
 */
#include <inttypes.h>
#include <linux/falloc.h>
#include <string.h>

#include "base/aio.h"
#include "base/aio_sim.h"
#include "base/loop.h"
#include "tests/unit/unit.h"

static struct loop *loop;
static struct sim_store *store;
static struct sim_disk *disk;
static int fd;

static void run_seed(uint64_t seed, co_entry *fn)
{
	loop = loop_new_sim(seed);
	store = sim_store_create();
	disk = sim_store_add(store, "d");
	sim_store_settle(store);
	fd = aio_sim_open(loop, disk);
	loop_run_coroutine(loop, fn, NULL);
	aio_sim_close(loop, fd);
	loop_free(loop);
}

static void run(co_entry *fn)
{
	run_seed(1, fn);
}

static void finish(void)
{
	sim_store_destroy(store);
}

/* Sectors that hold their letter throughout. */
static int co_fn put(uint64_t sector, unsigned count, char letter, unsigned flags)
{
	static char buffers[64][16 * SIM_SECTOR]; /* requests may overlap */
	static unsigned next;
	char *p = buffers[next++ % 64];
	memset(p, letter, count * SIM_SECTOR);
	struct iovec iov;
	return aio_write(loop, fd, sector * SIM_SECTOR, count * SIM_SECTOR,
			 vec_flat(&iov, p, count * SIM_SECTOR), flags);
}

/* The letter of a whole sector; '?' when it is torn, '0' when it is zero. */
static char letter_of(const struct sim_disk *d, uint64_t sector)
{
	char p[SIM_SECTOR];
	sim_disk_peek(d, sector * SIM_SECTOR, p, sizeof(p));
	for (size_t i = 1; i < sizeof(p); i++) {
		if (p[i] != p[0])
			return '?';
	}
	return p[0] ? p[0] : '0';
}

/* Count what @sector holds after crashes at @position with many seeds, by letter. */
static void crash_letters(uint64_t position, uint64_t sector, unsigned *counts)
{
	memset(counts, 0, 256 * sizeof(*counts));
	struct sim_replay *replay = sim_replay_create(store);
	sim_replay_to(replay, position);
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim_store *left = sim_replay_crash(replay, seed);
		counts[(unsigned char)letter_of(sim_store_find(left, "d"), sector)]++;
		sim_store_destroy(left);
	}
	sim_replay_destroy(replay);
}

static uint64_t positions[16];

static void co_fn overwrite_and_flush(void *arg)
{
	positions[0] = sim_store_position(store);
	ck_assert_int_eq(put(3, 1, 'a', 0), 0);
	positions[1] = sim_store_position(store);
	ck_assert_int_eq(aio_flush(loop, fd), 0);
	positions[2] = sim_store_position(store);
	ck_assert_int_eq(put(3, 1, 'b', 0), 0);
	positions[3] = sim_store_position(store);
	ck_assert_int_eq(put(3, 1, 'c', AIO_WRITE_FUA), 0);
	positions[4] = sim_store_position(store);
}

START_TEST(only_what_was_flushed_is_certain)
{
	unsigned n[256];
	run(overwrite_and_flush);
	crash_letters(positions[0], 3, n);
	ck_assert_uint_eq(n['0'], 300);
	crash_letters(positions[1], 3, n);
	ck_assert_uint_gt(n['0'], 0);
	ck_assert_uint_gt(n['a'], 0);
	ck_assert_uint_eq(n['0'] + n['a'], 300);
	crash_letters(positions[2], 3, n);
	ck_assert_uint_eq(n['a'], 300);
	crash_letters(positions[3], 3, n);
	ck_assert_uint_gt(n['a'], 0);
	ck_assert_uint_gt(n['b'], 0);
	ck_assert_uint_eq(n['a'] + n['b'], 300);
	/* A durable write is not undone by an older one. */
	crash_letters(positions[4], 3, n);
	ck_assert_uint_eq(n['c'], 300);
	finish();
}
END_TEST

static void co_fn long_write(void *arg)
{
	ck_assert_int_eq(put(0, 16, 'x', 0), 0);
}

START_TEST(a_write_may_be_torn_between_sectors_only)
{
	run(long_write);
	unsigned torn = 0, whole = 0, none = 0;
	struct sim_replay *replay = sim_replay_create(store);
	/* After its beginning, before its end. */
	sim_replay_to(replay, 1);
	for (uint64_t seed = 0; seed < 300; seed++) {
		struct sim_store *left = sim_replay_crash(replay, seed);
		unsigned survived = 0;
		for (unsigned i = 0; i < 16; i++) {
			char c = letter_of(sim_store_find(left, "d"), i);
			ck_assert(c == 'x' || c == '0');
			survived += c == 'x';
		}
		torn += survived > 0 && survived < 16;
		whole += survived == 16;
		none += survived == 0;
		sim_store_destroy(left);
	}
	sim_replay_destroy(replay);
	ck_assert_uint_gt(torn, 0);
	ck_assert_uint_gt(whole, 0);
	ck_assert_uint_gt(none, 0);
	finish();
}
END_TEST

static void co_fn flush_that_fails(void *arg)
{
	struct sim_fault fault = {.operations = 1 << AIO_FLUSH, .strikes = 1, .error = -EIO};
	sim_disk_add_fault(disk, &fault);
	ck_assert_int_eq(put(0, 1, 'a', 0), 0);
	ck_assert_int_eq(aio_flush(loop, fd), -EIO);
	ck_assert_int_eq(put(1, 1, 'b', 0), 0);
	ck_assert_int_eq(aio_flush(loop, fd), 0);
	positions[0] = sim_store_position(store);
}

START_TEST(what_a_failed_flush_covered_is_never_certain_again)
{
	unsigned n[256];
	run(flush_that_fails);
	crash_letters(positions[0], 0, n);
	ck_assert_uint_gt(n['0'], 0);
	crash_letters(positions[0], 1, n);
	ck_assert_uint_eq(n['b'], 300);
	finish();
}
END_TEST

static void co_fn meets_faults(void *arg)
{
	struct sim_fault once = {.operations = 1 << AIO_WRITE, .pass = 1, .strikes = 1,
				 .error = -EIO};
	sim_disk_add_fault(disk, &once);
	ck_assert_int_eq(put(0, 1, 'a', 0), 0);
	ck_assert_int_eq(put(0, 1, 'b', 0), -EIO);
	ck_assert_int_eq(put(0, 1, 'c', 0), 0);
	ck_assert_int_eq(letter_of(disk, 0), 'c');

	struct sim_fault bad_spot = {.operations = 1 << AIO_READ, .offset = 4 * SIM_SECTOR,
				     .bytes = SIM_SECTOR, .strikes = UINT64_MAX, .error = -EIO};
	sim_disk_add_fault(disk, &bad_spot);
	ck_assert_int_eq(put(3, 3, 'd', 0), 0);
	char p[8 * SIM_SECTOR];
	struct iovec iov;
	for (int i = 0; i < 3; i++) {
		struct vec v = vec_flat(&iov, p, sizeof(p));
		ck_assert_int_eq(aio_read(loop, fd, 4 * SIM_SECTOR, SIM_SECTOR, v), -EIO);
		ck_assert_int_eq(aio_read(loop, fd, 3 * SIM_SECTOR, SIM_SECTOR, v), SIM_SECTOR);
		ck_assert_int_eq(aio_read(loop, fd, 5 * SIM_SECTOR, SIM_SECTOR, v), SIM_SECTOR);
	}
	sim_disk_clear_faults(disk);
	struct vec v = vec_flat(&iov, p, sizeof(p));
	ck_assert_int_eq(aio_read(loop, fd, 4 * SIM_SECTOR, SIM_SECTOR, v), SIM_SECTOR);

	sim_disk_limit(disk, 8 * SIM_SECTOR);
	ck_assert_int_eq(put(7, 1, 'e', 0), 0);
	ck_assert_int_eq(put(8, 1, 'f', 0), -ENOSPC);
	ck_assert_int_eq(aio_truncate(loop, fd, 9 * SIM_SECTOR), -ENOSPC);
	ck_assert_uint_eq(sim_disk_size(disk), 8 * SIM_SECTOR);

	struct sim_fault stuck = {.operations = 1 << AIO_WRITE, .strikes = 1,
				  .delay_ns = UINT64_C(30000000000)};
	sim_disk_add_fault(disk, &stuck);
	uint64_t begin_ns = loop_now_ns(loop);
	ck_assert_int_eq(put(0, 1, 'g', 0), 0);
	ck_assert_uint_ge(loop_now_ns(loop) - begin_ns, UINT64_C(30000000000));

	ck_assert_int_eq(aio_write(loop, fd, 100, SIM_SECTOR, v, 0), -EINVAL);
	ck_assert_int_eq(aio_flush(loop, 12345), -EBADF);
}

START_TEST(faults_strike_when_and_where_they_should)
{
	run(meets_faults);
	finish();
}
END_TEST

static void co_fn resize(void *arg)
{
	ck_assert_int_eq(put(0, 4, 'a', 0), 0);
	ck_assert_int_eq(aio_flush(loop, fd), 0);
	ck_assert_int_eq(aio_truncate(loop, fd, 2 * SIM_SECTOR), 0);
	ck_assert_uint_eq(sim_disk_size(disk), 2 * SIM_SECTOR);
	positions[0] = sim_store_position(store);
	ck_assert_int_eq(aio_truncate(loop, fd, 4 * SIM_SECTOR), 0);
	ck_assert_int_eq(letter_of(disk, 3), '0');
	ck_assert_int_eq(aio_flush(loop, fd), 0);
	positions[1] = sim_store_position(store);
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	ck_assert_int_eq(aio_fallocate(loop, fd, mode, 0, SIM_SECTOR), 0);
	ck_assert_int_eq(letter_of(disk, 0), '0');
	ck_assert_int_eq(letter_of(disk, 1), 'a');
	ck_assert_int_eq(aio_fallocate(loop, fd, mode, 0, 64 * SIM_SECTOR), 0);
	ck_assert_uint_eq(sim_disk_size(disk), 4 * SIM_SECTOR);
	ck_assert_int_eq(aio_fallocate(loop, fd, 0, 0, 64 * SIM_SECTOR), 0);
	ck_assert_uint_eq(sim_disk_size(disk), 64 * SIM_SECTOR);
}

START_TEST(sizes_and_holes_are_volatile_too)
{
	unsigned n[256];
	run(resize);
	crash_letters(positions[0], 3, n);
	ck_assert_uint_gt(n['a'], 0);
	ck_assert_uint_gt(n['0'], 0);
	/* Cut off and flushed: nothing comes back. */
	crash_letters(positions[1], 3, n);
	ck_assert_uint_eq(n['0'], 300);
	finish();
}
END_TEST

enum { WRITERS = 20 };
static struct co_group writers;
static char order[WRITERS + 1];
static unsigned order_length;

static void co_fn one_writer(void *arg)
{
	uintptr_t i = (uintptr_t)arg;
	ck_assert_int_eq(put(i, 1, (char)('a' + i), 0), 0);
	order[order_length++] = (char)('a' + i);
	co_group_done(&writers);
}

static void co_fn race(void *arg)
{
	co_group_init(&writers);
	order_length = 0;
	for (uintptr_t i = 0; i < WRITERS; i++) {
		co_group_add(&writers);
		co_start(loop, one_writer, (void *)i);
	}
	co_group_wait(&writers);
}

START_TEST(the_same_seed_gives_the_same_order)
{
	char first[WRITERS + 1];
	run_seed(7, race);
	memcpy(first, order, sizeof(first));
	finish();
	run_seed(7, race);
	ck_assert_str_eq(order, first);
	finish();
	run_seed(8, race);
	ck_assert_str_ne(order, first);
	finish();
}
END_TEST

START_TEST(a_crash_at_the_end_may_be_followed_by_another)
{
	run(overwrite_and_flush);
	struct sim_replay *replay = sim_replay_create(store);
	sim_replay_to(replay, positions[4]);
	struct sim_store *left = sim_replay_crash(replay, 5);
	sim_replay_destroy(replay);
	ck_assert_uint_eq(sim_store_position(left), 0);
	struct sim_replay *again = sim_replay_create(left);
	struct sim_store *left_again = sim_replay_crash(again, 6);
	ck_assert_int_eq(letter_of(sim_store_find(left_again, "d"), 3), 'c');
	sim_replay_destroy(again);
	sim_store_destroy(left_again);
	sim_store_destroy(left);

	char text[200];
	sim_store_describe(store, 0, text, sizeof(text));
	ck_assert_ptr_nonnull(strstr(text, "write 0 of 512 at 1536"));
	finish();
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(only_what_was_flushed_is_certain),
	UNIT_TEST(a_write_may_be_torn_between_sectors_only),
	UNIT_TEST(what_a_failed_flush_covered_is_never_certain_again),
	UNIT_TEST(faults_strike_when_and_where_they_should),
	UNIT_TEST(sizes_and_holes_are_volatile_too),
	UNIT_TEST(the_same_seed_gives_the_same_order),
	UNIT_TEST(a_crash_at_the_end_may_be_followed_by_another),
};

UNIT_MAIN("aio_sim", tests)
