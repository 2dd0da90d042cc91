/* SPDX-License-Identifier: MIT */
/*
 * What must hold for file I/O whichever engine stands behind it; included by
 * the test program of each engine that works on real files.
 */
#ifndef TESTS_UNIT_AIO_CASES_H
#define TESTS_UNIT_AIO_CASES_H

#include <check.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/aio.h"
#include "base/buffer.h"
#include "base/loop.h"

static struct loop *loop;
static int fd;

static void open_file(const char *engine)
{
	setenv("CAIRN_AIO_ENGINE", engine, 1);
	loop = loop_new_uv(NULL);
	ck_assert_ptr_nonnull(loop);
	char name[] = "/var/tmp/test-aio-XXXXXX";
	fd = mkstemp(name);
	ck_assert_int_ge(fd, 0);
	unlink(name);
}

static void close_file(void)
{
	close(fd);
	loop_free(loop);
}

static void fill_pattern(uint8_t *p, size_t bytes, unsigned seed)
{
	for (size_t i = 0; i < bytes; i++)
		p[i] = (uint8_t)((i * 7 + i / 251 + seed) & 0xff);
}

static int co_fn write_flat(uint64_t offset, const void *p, size_t bytes, unsigned flags)
{
	struct iovec iov;
	return aio_write(loop, fd, offset, bytes, vec_flat(&iov, p, bytes), flags);
}

static int64_t co_fn read_flat(uint64_t offset, void *p, size_t bytes)
{
	struct iovec iov;
	return aio_read(loop, fd, offset, bytes, vec_flat(&iov, p, bytes));
}

static void co_fn round_trip(void *arg)
{
	static uint8_t out[100000], in[100000];
	fill_pattern(out, sizeof(out), 1);
	ck_assert_int_eq(write_flat(12345, out, sizeof(out), 0), 0);
	ck_assert_int_eq(read_flat(12345, in, sizeof(in)), sizeof(in));
	ck_assert_mem_eq(in, out, sizeof(in));
	ck_assert_int_eq(aio_flush(loop, fd), 0);
	ck_assert_int_eq(write_flat(0, "durable", 7, AIO_WRITE_FUA), 0);
	ck_assert_int_eq(read_flat(0, in, 7), 7);
	ck_assert_mem_eq(in, "durable", 7);
}

START_TEST(what_is_written_is_read)
{
	loop_run_coroutine(loop, round_trip, NULL);
}
END_TEST

static void co_fn reads_at_the_end(void *arg)
{
	char p[100] = {0};
	ck_assert_int_eq(write_flat(0, "0123456789", 10, 0), 0);
	ck_assert_int_eq(read_flat(4, p, sizeof(p)), 6);
	ck_assert_mem_eq(p, "456789", 6);
	ck_assert_int_eq(read_flat(10, p, sizeof(p)), 0);
	ck_assert_int_eq(read_flat(1000, p, sizeof(p)), 0);
	ck_assert_int_eq(read_flat(0, p, 0), 0);
}

START_TEST(a_read_ends_short_only_at_the_end)
{
	loop_run_coroutine(loop, reads_at_the_end, NULL);
}
END_TEST

/* Pieces of different lengths, entered in the middle, up to more than one request takes. */
static void co_fn scattered(void *arg)
{
	enum { PIECES = AIO_IOV_MAX + 300, PIECE = 3 };
	static uint8_t out[PIECES * PIECE], in[PIECES * PIECE];
	static struct iovec write_iov[PIECES], read_iov[PIECES];
	fill_pattern(out, sizeof(out), 5);
	for (size_t i = 0; i < PIECES; i++) {
		write_iov[i] = (struct iovec){out + i * PIECE, PIECE};
		read_iov[i] = (struct iovec){in + i * PIECE, PIECE};
	}
	static const unsigned counts[] = {1, 2, 15, 16, 17, 100, AIO_IOV_MAX, PIECES};
	for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
		uint64_t skip = i % PIECE, bytes = counts[i] * PIECE - skip - i % 2;
		struct vec w = vec_advance((struct vec){write_iov, counts[i], 0}, skip);
		struct vec r = vec_advance((struct vec){read_iov, counts[i], 0}, skip);
		memset(in, 0, sizeof(in));
		ck_assert_int_eq(aio_write(loop, fd, 1 << 20, bytes, w, 0), 0);
		ck_assert_int_eq(aio_read(loop, fd, 1 << 20, bytes, r), bytes);
		ck_assert_mem_eq(in + skip, out + skip, bytes);
		/* Nothing beyond was touched. */
		ck_assert(buffer_is_zero(in + skip + bytes, sizeof(in) - skip - bytes));
	}
}

START_TEST(scattered_memory_is_transferred_whole)
{
	loop_run_coroutine(loop, scattered, NULL);
}
END_TEST

static void co_fn fails(void *arg)
{
	char c = 0;
	struct iovec iov;
	struct vec v = vec_flat(&iov, &c, 1);
	ck_assert_int_eq(aio_read(loop, -1, 0, 1, v), -EBADF);
	ck_assert_int_eq(aio_write(loop, -1, 0, 1, v, 0), -EBADF);
	ck_assert_int_eq(aio_flush(loop, -1), -EBADF);
	ck_assert_int_eq(aio_fallocate(loop, -1, 0, 0, 1), -EBADF);
	ck_assert_int_eq(aio_truncate(loop, -1, 1), -EBADF);
	int read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(aio_write(loop, read_only, 0, 1, v, 0), -EBADF);
	close(read_only);
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(aio_write(loop, full, 0, 1, v, 0), -ENOSPC);
	ck_assert_int_eq(aio_write(loop, full, 0, 1, v, AIO_WRITE_CACHED), -ENOSPC);
	close(full);
}

START_TEST(errors_come_as_negative_errno)
{
	loop_run_coroutine(loop, fails, NULL);
}
END_TEST

static void co_fn sizes(void *arg)
{
	struct stat st;
	ck_assert_int_eq(aio_truncate(loop, fd, 1 << 20), 0);
	fstat(fd, &st);
	ck_assert_int_eq(st.st_size, 1 << 20);
	ck_assert_int_eq(aio_fallocate(loop, fd, 0, 0, 2 << 20), 0);
	fstat(fd, &st);
	ck_assert_int_eq(st.st_size, 2 << 20);
	ck_assert_int_ge(st.st_blocks * 512, 2 << 20);
	int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	ck_assert_int_eq(aio_fallocate(loop, fd, mode, 0, 1 << 20), 0);
	fstat(fd, &st);
	ck_assert_int_lt(st.st_blocks * 512, 2 << 20);
}

START_TEST(fallocate_and_truncate_change_the_file)
{
	loop_run_coroutine(loop, sizes, NULL);
}
END_TEST

/* More requests than the ring has places, all at once. */
enum { CROWD = 6000 };

static struct co_group crowd;
static unsigned crowd_failures;

static void co_fn crowd_member(void *arg)
{
	uint32_t number = (uint32_t)(uintptr_t)arg, back = 0;
	if (write_flat((uint64_t)number * 4, &number, 4, number % 2 ? AIO_WRITE_CACHED : 0) != 0)
		crowd_failures++;
	if (read_flat((uint64_t)number * 4, &back, 4) != 4 || back != number)
		crowd_failures++;
	co_group_done(&crowd);
}

static void co_fn crowd_gathers(void *arg)
{
	co_group_init(&crowd);
	for (uintptr_t i = 0; i < CROWD; i++) {
		co_group_add(&crowd);
		co_start(loop, crowd_member, (void *)i);
	}
	co_group_wait(&crowd);
}

START_TEST(more_requests_than_places_are_all_served)
{
	crowd_failures = 0;
	loop_run_coroutine(loop, crowd_gathers, NULL);
	ck_assert_uint_eq(crowd_failures, 0);
}
END_TEST

/* A direct read over an end that is no multiple of the sector. */
static void co_fn direct(void *arg)
{
	int flags = fcntl(fd, F_GETFL);
	uint8_t *p = buffer_get(loop, 8192);
	memset(p, 0xaa, 8192);
	ck_assert_int_eq(write_flat(0, p, 5000, 0), 0);
	ck_assert_int_eq(aio_flush(loop, fd), 0);
	if (fcntl(fd, F_SETFL, flags | O_DIRECT) == 0) {
		memset(p, 0, 8192);
		ck_assert_int_eq(read_flat(0, p, 8192), 5000);
		ck_assert_int_eq(p[4999], 0xaa);
		ck_assert_int_eq(p[5000], 0);
	}
	buffer_put(loop, p, 8192);
}

START_TEST(a_direct_read_stops_at_an_unaligned_end)
{
	loop_run_coroutine(loop, direct, NULL);
}
END_TEST

/* Writes into the page cache of many files at once, each file's in order. */
enum { FILES = 40, FILE_WRITES = 50 };

static int files[FILES];

static void co_fn file_writer(void *arg)
{
	uintptr_t n = (uintptr_t)arg;
	struct iovec iov;
	unsigned value = (unsigned)n;
	for (uint64_t i = 0; i < FILE_WRITES; i++) {
		int r = aio_write(loop, files[n % FILES], n / FILES * 1000 + i * 4, 4,
				  vec_flat(&iov, &value, 4), AIO_WRITE_CACHED);
		crowd_failures += r != 0;
	}
	co_group_done(&crowd);
}

static void co_fn many_files(void *arg)
{
	co_group_init(&crowd);
	for (int i = 0; i < FILES; i++) {
		char name[] = "/var/tmp/test-aio-XXXXXX";
		files[i] = mkstemp(name);
		ck_assert_int_ge(files[i], 0);
		unlink(name);
	}
	for (uintptr_t i = 0; i < 3 * FILES; i++) {
		co_group_add(&crowd);
		co_start(loop, file_writer, (void *)i);
	}
	co_group_wait(&crowd);
	for (uintptr_t i = 0; i < 3 * FILES; i++) {
		unsigned value;
		for (uint64_t at = 0; at < FILE_WRITES; at++) {
			off_t offset = (off_t)(i / FILES * 1000 + at * 4);
			ck_assert_int_eq(pread(files[i % FILES], &value, 4, offset), 4);
			ck_assert_uint_eq(value, i);
		}
	}
	for (int i = 0; i < FILES; i++)
		close(files[i]);
}

START_TEST(cached_writes_to_many_files_all_arrive)
{
	crowd_failures = 0;
	loop_run_coroutine(loop, many_files, NULL);
	ck_assert_uint_eq(crowd_failures, 0);
}
END_TEST

static void co_fn write_cached(void *arg)
{
	ck_assert_int_eq(write_flat(0, "x", 1, AIO_WRITE_CACHED), 0);
}

/* On one processor the writer wakes before the thread that wrote for it is quite done. */
START_TEST(a_loop_may_end_right_after_a_cached_write)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	sched_setaffinity(0, sizeof(one), &one);
	for (int i = 0; i < 200; i++) {
		loop_run_coroutine(loop, write_cached, NULL);
		loop_free(loop);
		loop = loop_new_uv(NULL);
	}
}
END_TEST

static int run_cases(const char *engine, void (*set_up)(void))
{
	Suite *suite = suite_create(engine);
	TCase *tc = tcase_create("files");
	tcase_add_checked_fixture(tc, set_up, close_file);
	tcase_add_test(tc, what_is_written_is_read);
	tcase_add_test(tc, a_read_ends_short_only_at_the_end);
	tcase_add_test(tc, scattered_memory_is_transferred_whole);
	tcase_add_test(tc, errors_come_as_negative_errno);
	tcase_add_test(tc, fallocate_and_truncate_change_the_file);
	tcase_add_test(tc, more_requests_than_places_are_all_served);
	tcase_add_test(tc, cached_writes_to_many_files_all_arrive);
	tcase_add_test(tc, a_loop_may_end_right_after_a_cached_write);
	tcase_add_test(tc, a_direct_read_stops_at_an_unaligned_end);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(suite, tc);
	SRunner *runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	int failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
