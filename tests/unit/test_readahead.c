/* SPDX-License-Identifier: MIT */
/*
 * block/readahead.c: what a reader in order makes of the medium's requests, and that nobody is given
 * what a change has made old.
 */
#include "block/readahead.h"

#include <errno.h>

#include "base/loop.h"
#include "tests/unit/unit.h"

#define PIECE (64 * KiB)
#define PIECES 64
#define CHUNK (8 * PIECE)
#define MAX_READS 200

/* A medium that writes down what it is asked for. */
static struct {
	struct readahead ahead;
	struct co_group group;
	unsigned working; /* reads that nobody waits for */
	unsigned char content[PIECES]; /* a byte says what fills the piece */
	uint64_t end;                  /* in bytes; there is nothing to read beyond */
	int bad_piece, bad_error;      /* reads of it fail; none when the error is 0 */
	uint64_t delay_ns;
	unsigned asked;
	struct run {
		unsigned piece, pieces;
	} seen[MAX_READS];
} medium;

static int64_t co_fn on_read(void *arg, uint64_t offset, uint64_t bytes, struct vec v)
{
	struct run *run = &medium.seen[medium.asked++];
	ck_assert_uint_le(medium.asked, MAX_READS);
	*run = (struct run){(unsigned)(offset / PIECE), (unsigned)(bytes / PIECE)};
	/* As it is now: a change during the read is not seen. */
	for (uint64_t i = 0; i < bytes; i += PIECE)
		vec_fill(vec_advance(v, i), medium.content[(offset + i) / PIECE],
			 MIN(PIECE, bytes - i));
	co_sleep_ns(medium.delay_ns);
	if (medium.bad_error < 0 && (int)run->piece <= medium.bad_piece &&
	    medium.bad_piece < (int)(run->piece + run->pieces))
		return medium.bad_error;
	return (int64_t)(offset < medium.end ? MIN(bytes, medium.end - offset) : 0);
}

/* The size that readers believe in is that of the whole medium, whatever its end. */
static int64_t co_fn read_into(unsigned char *memory, unsigned piece, unsigned pieces)
{
	struct iovec storage;
	uint64_t bytes = (uint64_t)pieces * PIECE;
	return readahead_read(&medium.ahead, (uint64_t)piece * PIECE, bytes,
			      vec_flat(&storage, memory, bytes), (uint64_t)PIECES * PIECE);
}

static unsigned char memory[PIECES * PIECE];

/* Read, and find what is there now. */
static void co_fn ck_read(unsigned piece, unsigned pieces)
{
	ck_assert_int_eq(read_into(memory, piece, pieces), (int64_t)pieces * PIECE);
	for (unsigned i = 0; i < pieces; i++) {
		ck_assert_uint_eq(memory[i * PIECE], medium.content[piece + i]);
		ck_assert_uint_eq(memory[(i + 1) * PIECE - 1], medium.content[piece + i]);
	}
}

static void co_fn ck_read_in_order(unsigned from, unsigned to)
{
	for (unsigned i = from; i < to; i++)
		ck_read(i, 1);
}

/* The medium was asked for these runs since the last time, one after the other. */
static void ck_asked_for(const struct run *runs, unsigned count)
{
	ck_assert_uint_eq(medium.asked, count);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_uint_eq(medium.seen[i].piece, runs[i].piece);
		ck_assert_uint_eq(medium.seen[i].pieces, runs[i].pieces);
	}
	medium.asked = 0;
}

#define CK_ASKED_FOR(...)                                                                          \
	ck_asked_for((const struct run[]){__VA_ARGS__},                                            \
		     ARRAY_SIZE(((const struct run[]){__VA_ARGS__})))

static void co_fn run_and_finish(void *arg)
{
	co_entry *const *entry = arg;
	(*entry)(NULL);
	readahead_finish(&medium.ahead);
}

static void run_on_medium(co_entry *entry)
{
	memset(&medium, 0, sizeof(medium));
	struct loop *loop = loop_new_sim(1);
	medium.end = (uint64_t)PIECES * PIECE;
	medium.delay_ns = 1000000;
	for (unsigned i = 0; i < PIECES; i++)
		medium.content[i] = (unsigned char)(i + 100);
	co_group_init(&medium.group);
	medium.ahead = (struct readahead){.read = on_read, .chunk_bytes = CHUNK};
	readahead_init(&medium.ahead, loop);
	loop_run_coroutine(loop, run_and_finish, &entry);
	loop_free(loop);
}

static void co_fn read_all(void *arg)
{
	ck_read_in_order(0, PIECES);
	/* As much again as was read before, then chunks. */
	CK_ASKED_FOR({0, 1}, {1, 1}, {2, 3}, {5, 3}, {8, 8}, {16, 8}, {24, 8}, {32, 8}, {40, 8},
		     {48, 8}, {56, 8});
}

START_TEST(reads_in_order_become_longer)
{
	run_on_medium(read_all);
}
END_TEST

static void co_fn read_here_and_there(void *arg)
{
	for (unsigned i = 0; i < 30; i++) {
		unsigned piece = i * 7 % PIECES;
		ck_read(piece, 1);
		CK_ASKED_FOR({piece, 1});
	}
	/* Two at a time are no order yet. */
	for (unsigned i = 0; i < 40; i += 4) {
		ck_read(i, 1);
		ck_read(i + 1, 1);
		CK_ASKED_FOR({i, 1}, {i + 1, 1});
	}
}

START_TEST(reads_without_order_stay_as_they_are)
{
	run_on_medium(read_here_and_there);
}
END_TEST

static void co_fn read_in_two_places(void *arg)
{
	for (unsigned i = 0; i < 16; i++) {
		ck_read(i, 1);
		ck_read(32 + i, 1);
	}
	CK_ASKED_FOR({0, 1}, {32, 1}, {1, 1}, {33, 1}, {2, 3}, {34, 3}, {5, 3}, {37, 3}, {8, 8},
		     {40, 8});
}

START_TEST(several_readers_are_told_apart)
{
	run_on_medium(read_in_two_places);
}
END_TEST

static void co_fn read_much(void *arg)
{
	for (unsigned i = 0; i + 8 <= PIECES; i += 8) {
		ck_read(i, 8);
		CK_ASKED_FOR({i, 8});
	}
	/* What lies in two chunks is read as it is. */
	ck_read(0, 3);
	ck_read(3, 3);
	CK_ASKED_FOR({0, 3}, {3, 5});
	ck_read(6, 3);
	ck_read(9, 3);
	ck_read(12, 3);
	CK_ASKED_FOR({6, 3}, {9, 7});
}

START_TEST(long_reads_are_long_enough)
{
	run_on_medium(read_much);
}
END_TEST

/* Readers that begin in one turn. */
struct reader {
	unsigned piece;
	bool has_begun;
	unsigned char memory[PIECE];
	int64_t result;
};

static struct reader readers[READAHEAD_CHUNKS + 1];

static void co_fn reader_run(void *arg)
{
	struct reader *r = arg;
	r->has_begun = true;
	r->result = read_into(r->memory, r->piece, 1);
	co_group_done(&medium.group);
}

/* Returns when it waits. */
static void co_fn start_reader(unsigned i, unsigned piece)
{
	readers[i].piece = piece;
	co_group_add(&medium.group);
	co_start(loop_current(), reader_run, &readers[i]);
	while (!readers[i].has_begun)
		co_reschedule();
}

static void co_fn read_together(void *arg)
{
	ck_read_in_order(0, 8);
	medium.asked = 0;
	for (unsigned i = 0; i < 8; i++)
		start_reader(i, 8 + i);
	co_group_wait(&medium.group);
	CK_ASKED_FOR({8, 8});
	for (unsigned i = 0; i < 8; i++) {
		ck_assert_int_eq(readers[i].result, PIECE);
		ck_assert_uint_eq(readers[i].memory[0], medium.content[8 + i]);
		ck_assert_uint_eq(readers[i].memory[PIECE - 1], medium.content[8 + i]);
	}
}

START_TEST(who_comes_meanwhile_waits_for_it)
{
	run_on_medium(read_together);
}
END_TEST

/* Change a piece, which takes time. */
static void co_fn change(unsigned piece)
{
	readahead_drop(&medium.ahead);
	co_sleep_ns(500000);
	medium.content[piece]++;
	readahead_drop(&medium.ahead);
}

static void co_fn change_kept(void *arg)
{
	ck_read_in_order(0, 9);
	change(12);
	medium.asked = 0;
	ck_read_in_order(9, 16);
	CK_ASKED_FOR({9, 7});
}

START_TEST(a_change_makes_what_is_kept_old)
{
	run_on_medium(change_kept);
}
END_TEST

static void co_fn change_during_read(void *arg)
{
	ck_read_in_order(0, 8);
	medium.asked = 0;
	start_reader(0, 8); /* reads 8 to 15 */
	start_reader(1, 9);
	change(12);
	/* That read is still under way, and has seen the old piece. */
	ck_assert_int_eq(read_into(memory, 12, 1), PIECE);
	ck_assert_uint_eq(memory[0], medium.content[12]);
	co_group_wait(&medium.group);
	/* Who waited had begun before. */
	ck_assert_int_eq(readers[1].result, PIECE);
	CK_ASKED_FOR({8, 8}, {12, 1});
	ck_read(13, 1);
	ck_read(10, 1);
	CK_ASKED_FOR({13, 1}, {10, 6});
}

START_TEST(a_change_makes_what_is_being_read_old)
{
	run_on_medium(change_during_read);
}
END_TEST

/* A read that begins while a change is under way may see what was there before it. */
static void co_fn read_during_change(void *arg)
{
	ck_read_in_order(0, 8);
	medium.asked = 0;
	readahead_drop(&medium.ahead);
	ck_read(8, 1);
	medium.content[12]++;
	readahead_drop(&medium.ahead);
	ck_read_in_order(9, 16);
	CK_ASKED_FOR({8, 8}, {9, 7});
}

START_TEST(what_was_read_during_a_change_is_old)
{
	run_on_medium(read_during_change);
}
END_TEST

static void co_fn change_by_others(void *arg)
{
	ck_read_in_order(0, 9);
	medium.content[12]++;
	co_sleep_ns(READAHEAD_LIFE_NS);
	for (unsigned i = 0; i < READAHEAD_CHUNKS; i++)
		ck_assert_ptr_null(medium.ahead.chunks[i].data);
	ck_read_in_order(9, 16);
}

START_TEST(what_is_kept_has_a_short_life)
{
	run_on_medium(change_by_others);
}
END_TEST

static void co_fn read_at_the_end(void *arg)
{
	medium.end = 61 * PIECE + 100;
	ck_read_in_order(48, 61);
	medium.asked = 0;
	ck_assert_int_eq(read_into(memory, 61, 1), 100);
	ck_assert_int_eq(read_into(memory, 62, 1), 0);
	ck_assert_int_eq(read_into(memory, 63, 1), 0);
	ck_assert_uint_eq(medium.asked, 0);
	/* Beyond what is known to be there nothing is taken for granted. */
	ck_assert_int_eq(read_into(memory, PIECES - 1, 1), 0);
	ck_assert_int_eq(readahead_read(&medium.ahead, (uint64_t)(PIECES - 1) * PIECE, PIECE,
					vec_flat(&(struct iovec){0}, memory, PIECE),
					(uint64_t)(PIECES - 1) * PIECE), 0);
	CK_ASKED_FOR({63, 1}, {63, 1});
}

START_TEST(the_end_is_where_it_is)
{
	run_on_medium(read_at_the_end);
}
END_TEST

static void co_fn read_bad_spot(void *arg)
{
	medium.bad_piece = 12;
	medium.bad_error = -EIO;
	ck_read_in_order(0, 12);
	CK_ASKED_FOR({0, 1}, {1, 1}, {2, 3}, {5, 3}, {8, 8}, {8, 1}, {9, 7}, {9, 1}, {10, 6},
		     {10, 1}, {11, 5}, {11, 1});
	ck_assert_int_eq(read_into(memory, 12, 1), -EIO);
	ck_read_in_order(13, 16);
}

START_TEST(a_bad_spot_is_not_its_neighbours)
{
	run_on_medium(read_bad_spot);
}
END_TEST

static void co_fn read_without_answer(void *arg)
{
	ck_read_in_order(0, 8);
	medium.asked = 0;
	medium.bad_piece = 12;
	medium.bad_error = -ETIMEDOUT;
	start_reader(0, 8);
	start_reader(1, 9);
	co_group_wait(&medium.group);
	/* Nobody waits twice. */
	ck_assert_int_eq(readers[0].result, -ETIMEDOUT);
	ck_assert_int_eq(readers[1].result, -ETIMEDOUT);
	CK_ASKED_FOR({8, 8});
}

START_TEST(who_got_no_answer_does_not_ask_again)
{
	run_on_medium(read_without_answer);
}
END_TEST

static void co_fn read_in_many_places(void *arg)
{
	medium.ahead.chunk_bytes = 4 * PIECE;
	for (unsigned i = 0; i <= READAHEAD_CHUNKS; i++) {
		medium.delay_ns = 0;
		ck_read(4 * i, 1);
		ck_read(4 * i + 1, 1);
		medium.asked = 0;
		medium.delay_ns = 1000000;
		start_reader(i, 4 * i + 2);
		/* They are all under way, and there is no room for one more. */
		CK_ASKED_FOR({4 * i + 2, i < READAHEAD_CHUNKS ? 2 : 1});
	}
	co_group_wait(&medium.group);
	ck_read(3, 1);
	ck_assert_uint_eq(medium.asked, 0);
	/* What is kept makes room. */
	ck_read(48, 1);
	ck_read(49, 1);
	ck_read(50, 1);
	CK_ASKED_FOR({48, 1}, {49, 1}, {50, 2});
}

START_TEST(memory_is_bounded)
{
	run_on_medium(read_in_many_places);
}
END_TEST

static void on_work_begin(void *arg)
{
	medium.working++;
}

static void on_work_end(void *arg)
{
	medium.working--;
}

static void co_fn read_while_next_is_read(void *arg)
{
	medium.ahead.work_begin = on_work_begin;
	medium.ahead.work_end = on_work_end;
	ck_read_in_order(0, 7);
	ck_assert_uint_eq(medium.working, 0);
	medium.asked = 0;
	/* A chunk has been read in order, and the next one begins. */
	ck_read(7, 1);
	ck_assert_uint_eq(medium.working, 1);
	ck_read_in_order(8, 10);
	CK_ASKED_FOR({8, 8}, {16, 8});
	/* It comes to nothing when there is a change. */
	change(20);
	ck_read_in_order(10, 15);
	CK_ASKED_FOR({10, 6}, {16, 8});
	/* With two of them behind the reader, there are two before him, up to the medium's end. */
	ck_read_in_order(15, PIECES);
	ck_assert_uint_eq(medium.asked, 5); /* the seed decides in which order */
	ck_assert_uint_eq(medium.working, 0);
}

START_TEST(the_next_chunk_is_read_meanwhile)
{
	run_on_medium(read_while_next_is_read);
}
END_TEST

static void co_fn leave_meanwhile(void *arg)
{
	medium.ahead.work_begin = on_work_begin;
	medium.ahead.work_end = on_work_end;
	ck_read_in_order(0, 8);
	ck_assert_uint_eq(medium.working, 1);
	/* It fails, which is nobody's matter but of who reads that. */
	medium.bad_piece = 12;
	medium.bad_error = -EIO;
}

START_TEST(who_leaves_waits_for_it)
{
	run_on_medium(leave_meanwhile);
	ck_assert_uint_eq(medium.working, 0);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(reads_in_order_become_longer),
	UNIT_TEST(reads_without_order_stay_as_they_are),
	UNIT_TEST(several_readers_are_told_apart),
	UNIT_TEST(long_reads_are_long_enough),
	UNIT_TEST(who_comes_meanwhile_waits_for_it),
	UNIT_TEST(a_change_makes_what_is_kept_old),
	UNIT_TEST(a_change_makes_what_is_being_read_old),
	UNIT_TEST(what_was_read_during_a_change_is_old),
	UNIT_TEST(what_is_kept_has_a_short_life),
	UNIT_TEST(the_end_is_where_it_is),
	UNIT_TEST(a_bad_spot_is_not_its_neighbours),
	UNIT_TEST(who_got_no_answer_does_not_ask_again),
	UNIT_TEST(memory_is_bounded),
	UNIT_TEST(the_next_chunk_is_read_meanwhile),
	UNIT_TEST(who_leaves_waits_for_it),
};

UNIT_MAIN("readahead", tests)
