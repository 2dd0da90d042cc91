/* SPDX-License-Identifier: MIT */
/*
 * block/merge.c: which transfers go together, and what each of them gets of the result.
 */
#include "block/merge.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/unit.h"

#define PIECE 4096
#define MEDIUM_PIECES 64
#define BOUNDARY (32 * PIECE)
#define MAX_TRANSFERS 40

/* A medium that writes down what it is asked for. */
static struct {
	struct merge_queue queue;
	struct co_group group;
	unsigned char content[MEDIUM_PIECES]; /* a byte says what fills the piece */
	uint64_t end;                         /* bytes; nothing is there to read beyond */
	uint64_t bad;                         /* its piece fails with @bad_error */
	int bad_error;
	unsigned asked;
	struct transfer seen[MAX_TRANSFERS];
} medium;

static int64_t co_fn on_run(void *arg, const struct transfer *t)
{
	ck_assert_uint_lt(medium.asked, MAX_TRANSFERS);
	medium.seen[medium.asked++] = *t;
	co_sleep_ns(1000);
	if (medium.bad_error && t->offset <= medium.bad && medium.bad < t->offset + t->bytes)
		return medium.bad_error;
	uint64_t bytes = t->offset < medium.end ? MIN(t->bytes, medium.end - t->offset) : 0;
	struct vec v = t->v;
	for (uint64_t i = 0; i < (t->is_write ? t->bytes : bytes); i += PIECE) {
		unsigned char *content = &medium.content[(t->offset + i) / PIECE];
		if (t->is_write)
			vec_to_buffer(v, content, 1);
		else
			vec_fill(v, *content, MIN(PIECE, bytes - i));
		v = vec_advance(v, PIECE);
	}
	return t->is_write ? 0 : (int64_t)bytes;
}

/* A client's request. */
struct client {
	bool is_write;
	unsigned piece, pieces;
	unsigned char memory[16 * PIECE];
	int64_t result;
};

static void co_fn client_run(void *arg)
{
	struct client *c = arg;
	struct iovec storage;
	if (c->is_write)
		memset(c->memory, (int)c->piece + 1, sizeof(c->memory));
	c->result = merge_transfer(&medium.queue, &(struct transfer){
		.is_write = c->is_write,
		.offset = (uint64_t)c->piece * PIECE,
		.bytes = (uint64_t)c->pieces * PIECE,
		.v = vec_flat(&storage, c->memory, sizeof(c->memory)),
	});
	co_group_done(&medium.group);
}

/* Have @clients begin in one turn, and wait until all have ended. */
static void co_fn run_clients(struct client *clients, unsigned count)
{
	medium.asked = 0;
	for (unsigned i = 0; i < count; i++) {
		co_group_add(&medium.group);
		co_start(loop_current(), client_run, &clients[i]);
	}
	co_group_wait(&medium.group);
	ck_assert_uint_eq(medium.queue.outstanding, 0);
}

struct run {
	unsigned piece, pieces;
};

/* The medium was asked for these runs, one after the other, and no others. */
static void ck_asked_for(const struct run *runs, unsigned count)
{
	ck_assert_uint_eq(medium.asked, count);
	for (unsigned i = 0; i < count; i++) {
		ck_assert_uint_eq(medium.seen[i].offset, (uint64_t)runs[i].piece * PIECE);
		ck_assert_uint_eq(medium.seen[i].bytes, (uint64_t)runs[i].pieces * PIECE);
	}
}

#define CK_ASKED_FOR(...)                                                                          \
	ck_asked_for((const struct run[]){__VA_ARGS__},                                            \
		     ARRAY_SIZE(((const struct run[]){__VA_ARGS__})))

/* Not on a simulated loop, whose seed would decide who comes first. */
static void run_on_medium(co_entry *entry)
{
	memset(&medium, 0, sizeof(medium));
	struct error *error = NULL;
	struct loop *loop = loop_new_uv(&error);
	ck_assert(loop);
	medium.end = sizeof(medium.content) * PIECE;
	for (unsigned i = 0; i < sizeof(medium.content); i++)
		medium.content[i] = (unsigned char)(i + 100);
	co_group_init(&medium.group);
	medium.queue = (struct merge_queue){
		.run = on_run,
		.max_bytes = 8 * PIECE,
		.max_iovecs = 6,
		.boundary = BOUNDARY,
		.read_part = 2,
		.write_part = 2,
	};
	merge_queue_init(&medium.queue, loop);
	loop_run_coroutine(loop, entry, NULL);
	loop_free(loop);
}

/* Reads of one piece each, from @piece on. */
static void fill_in(struct client *clients, unsigned count, unsigned piece)
{
	memset(clients, 0, count * sizeof(*clients));
	for (unsigned i = 0; i < count; i++)
		clients[i] = (struct client){.piece = piece + i, .pieces = 1};
}

static void ck_read(const struct client *c)
{
	ck_assert_int_eq(c->result, (int64_t)c->pieces * PIECE);
	for (unsigned i = 0; i < c->pieces; i++) {
		ck_assert_uint_eq(c->memory[i * PIECE], c->piece + i + 100);
		ck_assert_uint_eq(c->memory[(i + 1) * PIECE - 1], c->piece + i + 100);
	}
}

static struct client clients[20];

static void co_fn read_in_halves(void *arg)
{
	fill_in(clients, 8, 3);
	run_clients(clients, 8);
	CK_ASKED_FOR({3, 4}, {7, 4});
	for (unsigned i = 0; i < 8; i++)
		ck_read(&clients[i]);
}

START_TEST(a_run_takes_half_of_what_is_under_way)
{
	run_on_medium(read_in_halves);
}
END_TEST

static void co_fn read_one_and_two(void *arg)
{
	fill_in(clients, 1, 0);
	run_clients(clients, 1);
	CK_ASKED_FOR({0, 1});
	ck_read(&clients[0]);
	fill_in(clients, 2, 0);
	run_clients(clients, 2);
	CK_ASKED_FOR({0, 1}, {1, 1});
}

START_TEST(one_or_two_stay_alone)
{
	run_on_medium(read_one_and_two);
}
END_TEST

static void co_fn keep_the_limits(void *arg)
{
	/* Memory: six pieces of it at most. */
	fill_in(clients, 14, 0);
	run_clients(clients, 14);
	CK_ASKED_FOR({0, 6}, {6, 6}, {12, 2});
	/* Bytes: eight pieces of the medium. */
	fill_in(clients, 6, 0);
	for (unsigned i = 0; i < 6; i++)
		clients[i] = (struct client){.piece = i * 3, .pieces = 3};
	run_clients(clients, 6);
	CK_ASKED_FOR({0, 6}, {6, 6}, {12, 6});
	for (unsigned i = 0; i < 6; i++)
		ck_read(&clients[i]);
	/* The boundary lies before piece 32. */
	fill_in(clients, 8, 30);
	run_clients(clients, 8);
	CK_ASKED_FOR({30, 2}, {32, 4}, {36, 2});
	/* One that is too long by itself goes as it is. */
	fill_in(clients, 4, 0);
	clients[0].pieces = 12;
	clients[1].piece = 12;
	run_clients(clients, 4);
	CK_ASKED_FOR({0, 12}, {12, 1}, {2, 2});
}

START_TEST(limits_are_kept)
{
	run_on_medium(keep_the_limits);
}
END_TEST

static void co_fn mix(void *arg)
{
	/* Gaps, steps back, and other kinds end a run. */
	fill_in(clients, 8, 0);
	clients[2].piece = 10;
	clients[3].piece = 11;
	clients[4].piece = 9;
	clients[5].piece = 20;
	clients[6].piece = 21;
	clients[6].is_write = true;
	clients[7].piece = 22;
	clients[7].is_write = true;
	run_clients(clients, 8);
	CK_ASKED_FOR({0, 2}, {10, 2}, {9, 1}, {20, 1}, {21, 2});
	ck_assert(medium.seen[4].is_write);
	for (unsigned i = 0; i < 6; i++)
		ck_read(&clients[i]);
	ck_assert_int_eq(clients[6].result, 0);
	ck_assert_int_eq(clients[7].result, 0);
	ck_assert_uint_eq(medium.content[21], 22);
	ck_assert_uint_eq(medium.content[22], 23);
}

START_TEST(only_what_follows_goes_together)
{
	run_on_medium(mix);
}
END_TEST

static void co_fn read_at_the_end(void *arg)
{
	medium.end = 61 * PIECE + 100;
	fill_in(clients, 4, 60);
	run_clients(clients, 4);
	ck_assert_uint_eq(medium.asked, 2);
	ck_read(&clients[0]);
	ck_assert_int_eq(clients[1].result, 100);
	ck_assert_int_eq(clients[2].result, 0);
	ck_assert_int_eq(clients[3].result, 0);
}

START_TEST(the_end_is_everybodys_own)
{
	run_on_medium(read_at_the_end);
}
END_TEST

static void co_fn read_bad_spot(void *arg)
{
	medium.bad = 5 * PIECE;
	medium.bad_error = -EIO;
	fill_in(clients, 8, 4);
	run_clients(clients, 8);
	ck_assert_uint_eq(medium.asked, 6);
	ck_assert_int_eq(clients[1].result, -EIO);
	for (unsigned i = 0; i < 8; i++) {
		if (i != 1)
			ck_read(&clients[i]);
	}
	/* Who waits for an answer that does not come shall not wait twice. */
	medium.bad_error = -ETIMEDOUT;
	fill_in(clients, 8, 4);
	run_clients(clients, 8);
	ck_assert_uint_eq(medium.asked, 2);
	ck_assert_int_eq(clients[0].result, -ETIMEDOUT);
	ck_assert_int_eq(clients[3].result, -ETIMEDOUT);
	ck_read(&clients[4]);
}

START_TEST(a_bad_spot_is_not_its_neighbours)
{
	run_on_medium(read_bad_spot);
}
END_TEST

static void co_fn write_bad_spot(void *arg)
{
	medium.bad = 5 * PIECE;
	medium.bad_error = -ENOSPC;
	fill_in(clients, 8, 4);
	for (unsigned i = 0; i < 8; i++)
		clients[i].is_write = true;
	run_clients(clients, 8);
	ck_assert_uint_eq(medium.asked, 2);
	for (unsigned i = 0; i < 8; i++)
		ck_assert_int_eq(clients[i].result, i < 4 ? -ENOSPC : 0);
}

START_TEST(writes_fail_together)
{
	run_on_medium(write_bad_spot);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(a_run_takes_half_of_what_is_under_way),
	UNIT_TEST(one_or_two_stay_alone),
	UNIT_TEST(limits_are_kept),
	UNIT_TEST(only_what_follows_goes_together),
	UNIT_TEST(the_end_is_everybodys_own),
	UNIT_TEST(a_bad_spot_is_not_its_neighbours),
	UNIT_TEST(writes_fail_together),
};

UNIT_MAIN("merge", tests)
