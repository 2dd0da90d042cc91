/* SPDX-License-Identifier: MIT */
/* drivers/rbd/early.c: who waits for a change that was answered early, and hears of its failure. */
#include "drivers/rbd/early.h"

#include <errno.h>

#include "base/util.h"
#include "tests/unit/unit.h"

#define MAX_BYTES (24 * MiB)
#define NS_PER_MS UINT64_C(1000000)

static struct early early;

static void run(co_entry *entry)
{
	struct loop *loop = loop_new_sim(1);
	early_init(&early, loop);
	early_configure(&early, MAX_BYTES, true);
	loop_run_coroutine(loop, entry, NULL);
	ck_assert(!early_is_busy(&early));
	loop_free(loop);
}

static void begin(struct early_change *c, uint64_t start, uint64_t end)
{
	*c = (struct early_change){.start = start, .end = end};
	ck_assert(early_has_room(&early, end - start));
	early_begin(&early, c);
}

/* Somebody who waits for a range, or, without one, for all. */
struct waiter {
	uint64_t offset, bytes;
	bool is_done;
	int result;
};

static void co_fn wait_in_background(void *arg)
{
	struct waiter *w = arg;
	if (w->bytes > 0)
		early_wait_range(&early, w->offset, w->bytes);
	else
		w->result = early_wait(&early);
	w->is_done = true;
}

static void co_fn start(struct waiter *w)
{
	co_start(early.loop, wait_in_background, w);
	co_sleep_ns(1);
}

static void co_fn end(struct early_change *c, int r)
{
	early_end(&early, c, r);
	co_sleep_ns(1);
}

static void co_fn touch(void *arg)
{
	struct early_change a, b;
	struct waiter before = {.offset = 0, .bytes = 4096}, behind = {.offset = 12288, .bytes = 1},
		      first = {.offset = 0, .bytes = 4097}, last = {.offset = 12287, .bytes = 4096},
		      inner = {.offset = 6000, .bytes = 10};
	begin(&a, 4096, 8192);
	begin(&b, 8192, 12288);
	start(&before);
	start(&behind);
	ck_assert(before.is_done && behind.is_done);
	start(&first);
	start(&last);
	start(&inner);
	ck_assert(!first.is_done && !last.is_done && !inner.is_done);
	end(&b, 0);
	ck_assert(!first.is_done && last.is_done && !inner.is_done);
	/* Whoever comes meanwhile is waited for, too. */
	begin(&b, 0, 8192);
	end(&a, 0);
	ck_assert(!first.is_done && !inner.is_done);
	end(&b, 0);
	ck_assert(first.is_done && inner.is_done);
}

START_TEST(who_touches_the_same_bytes_waits)
{
	run(touch);
}
END_TEST

static void co_fn flush(void *arg)
{
	struct early_change a, b, c;
	struct waiter w = {0}, late = {0};
	ck_assert_int_eq(early_wait(&early), 0);
	begin(&a, 0, 1);
	begin(&b, 1, 2);
	start(&w);
	begin(&c, 2, 3);
	end(&b, 0);
	ck_assert(!w.is_done);
	end(&a, 0);
	ck_assert(w.is_done);
	ck_assert_int_eq(w.result, 0);
	start(&late);
	ck_assert(!late.is_done);
	end(&c, 0);
	ck_assert(late.is_done);
}

START_TEST(a_flush_waits_for_older_changes_only)
{
	run(flush);
}
END_TEST

/* The order in which they end makes no difference; librbd would tell nobody of this one. */
static void co_fn fail_beside_a_slow_one(void *arg)
{
	struct early_change slow, bad;
	struct waiter w = {0};
	begin(&slow, 0, 1);
	begin(&bad, 1, 2);
	end(&bad, -EIO);
	ck_assert(!early_has_room(&early, 1));
	start(&w);
	ck_assert(!w.is_done);
	end(&slow, 0);
	ck_assert(w.is_done);
	ck_assert_int_eq(w.result, -EIO);
	/* And for ever, by the first error; nor is anything answered early again. */
	early_resume(&early);
	ck_assert(!early_has_room(&early, 1));
	ck_assert_int_eq(early_wait(&early), -EIO);
}

START_TEST(a_failure_is_told_to_every_flush)
{
	run(fail_beside_a_slow_one);
}
END_TEST

static void co_fn switch_on_and_off(void *arg)
{
	early_configure(&early, MAX_BYTES, false);
	ck_assert(!early_has_room(&early, 1));
	early_resume(&early);
	ck_assert(early_has_room(&early, 1));
	early_pause(&early);
	ck_assert(!early_has_room(&early, 1));
	/* Where it is switched off, no flush switches it on. */
	early_configure(&early, 0, true);
	ck_assert(!early_has_room(&early, 0));
	early_resume(&early);
	ck_assert(!early_has_room(&early, 0));
}

START_TEST(answers_are_early_from_the_first_flush_on)
{
	run(switch_on_and_off);
}
END_TEST

static void co_fn fill(void *arg)
{
	static struct early_change many[64];
	struct early_change a, b;
	ck_assert(!early_has_room(&early, UINT64_MAX));
	begin(&a, 0, 2 * MiB - 1);
	ck_assert(early_has_room(&early, 1));
	ck_assert(!early_has_room(&early, 2));
	/* Where storage is slow it may be more, up to the limit. */
	co_sleep_ns(11 * NS_PER_MS);
	begin(&b, 2 * MiB, MAX_BYTES - 1);
	ck_assert(early_has_room(&early, 2));
	ck_assert(!early_has_room(&early, 3));
	end(&a, 0);
	end(&b, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		begin(&many[i], i, i + 1);
	ck_assert(!early_has_room(&early, 1));
	co_sleep_ns(11 * NS_PER_MS);
	ck_assert(early_has_room(&early, 1));
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		end(&many[i], 0);
}

START_TEST(slow_storage_has_more_under_way)
{
	run(fill);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(who_touches_the_same_bytes_waits),
	UNIT_TEST(a_flush_waits_for_older_changes_only),
	UNIT_TEST(a_failure_is_told_to_every_flush),
	UNIT_TEST(answers_are_early_from_the_first_flush_on),
	UNIT_TEST(slow_storage_has_more_under_way),
};

UNIT_MAIN("rbd_early", tests)
