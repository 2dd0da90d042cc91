/* SPDX-License-Identifier: MIT */
/* protocol/qmp/output.c: bytes leave in their order, however slowly. */
#include "protocol/qmp/output.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static int near_fd, far_fd;

static void open_pair(void)
{
	int fds[2];
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	near_fd = fds[0];
	far_fd = fds[1];
	signal(SIGPIPE, SIG_IGN);
}

START_TEST(nothing_waits_at_first)
{
	struct qmp_output o = {0};
	ck_assert_uint_eq(qmp_output_waiting(&o), 0);
	ck_assert_int_eq(qmp_output_flush(&o, -1), 0);
	qmp_output_finish(&o);
}
END_TEST

START_TEST(pieces_leave_as_one)
{
	struct qmp_output o = {0};
	char got[32];

	open_pair();
	qmp_output_append(&o, "one", 3);
	qmp_output_append(&o, "", 0);
	qmp_output_append(&o, "two", 3);
	ck_assert_uint_eq(qmp_output_waiting(&o), 6);
	ck_assert_int_eq(qmp_output_flush(&o, near_fd), 0);
	ck_assert_int_eq(read(far_fd, got, sizeof(got)), 6);
	ck_assert(memcmp(got, "onetwo", 6) == 0);
	qmp_output_finish(&o);
}
END_TEST

/* Check that @bytes of @got continue the pattern at @position. */
static void check_pattern(const unsigned char *got, size_t bytes, size_t position)
{
	for (size_t i = 0; i < bytes; i++)
		ck_assert_uint_eq(got[i], (position + i) % 251);
}

START_TEST(slow_reader_gets_every_byte_in_order)
{
	struct qmp_output o = {0};
	unsigned char piece[1009], got[4001];
	size_t sent = 0, received = 0, total = 4 * MiB;
	bool blocked = false;

	open_pair();
	while (received < total) {
		for (unsigned n = 0; n < 20 && sent < total; n++) {
			size_t bytes = MIN(sizeof(piece), total - sent);
			for (size_t i = 0; i < bytes; i++)
				piece[i] = (unsigned char)((sent + i) % 251);
			qmp_output_append(&o, (char *)piece, bytes);
			sent += bytes;
		}
		int r = qmp_output_flush(&o, near_fd);
		ck_assert(r == 0 || r == -EAGAIN);
		blocked |= r == -EAGAIN;
		ssize_t n = read(far_fd, got, sizeof(got));
		ck_assert_int_gt(n, 0);
		check_pattern(got, (size_t)n, received);
		received += (size_t)n;
	}
	ck_assert(blocked);
	ck_assert_uint_eq(qmp_output_waiting(&o), 0);
	qmp_output_finish(&o);
}
END_TEST

START_TEST(memory_is_bounded_by_what_waits)
{
	struct qmp_output o = {0};
	char piece[1000] = {0};

	/* Each time a little is left over, so that the queue never becomes empty. */
	for (unsigned i = 0; i < 10000; i++) {
		qmp_output_append(&o, piece, sizeof(piece));
		if (i > 0)
			o.start += sizeof(piece); /* as a flush that is cut short */
	}
	ck_assert_uint_eq(qmp_output_waiting(&o), sizeof(piece));
	ck_assert_uint_le(o.capacity, 8 * sizeof(piece));
	qmp_output_finish(&o);
}
END_TEST

START_TEST(closed_peer_is_reported)
{
	struct qmp_output o = {0};

	open_pair();
	close(far_fd);
	qmp_output_append(&o, "x", 1);
	ck_assert_int_eq(qmp_output_flush(&o, near_fd), -EPIPE);
	qmp_output_finish(&o);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(nothing_waits_at_first),
	UNIT_TEST(pieces_leave_as_one),
	UNIT_TEST(slow_reader_gets_every_byte_in_order),
	UNIT_TEST(memory_is_bounded_by_what_waits),
	UNIT_TEST(closed_peer_is_reported),
};
UNIT_MAIN("qmp_output", tests)
