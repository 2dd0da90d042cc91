/* SPDX-License-Identifier: MIT */
/*
 * base/co_sync.c: queues, mutexes, readers and writers, groups. Every test runs
 * on simulated loops with many seeds, hence under many schedules.
 */
#include "base/coroutine.h"

#include "base/loop.h"
#include "tests/unit/unit.h"

#define SEEDS 50

static void run_with_seeds(co_entry *entry)
{
	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct loop *loop = loop_new_sim(seed);
		loop_run_coroutine(loop, entry, NULL);
		loop_free(loop);
	}
}

static void co_fn pause_at_random(void)
{
	struct loop *loop = loop_current();
	switch (loop_random(loop) % 3) {
	case 0:
		co_reschedule();
		break;
	case 1:
		co_sleep_ns(loop_random(loop) % 1000);
		break;
	}
}

struct queueing {
	struct co_queue queue;
	struct co_group group;
	unsigned next, arrived[10];
};

static void co_fn queue_up(void *arg)
{
	struct queueing *q = arg;
	unsigned place = q->next++;
	co_queue_wait(&q->queue);
	q->arrived[place] = true;
	co_group_done(&q->group);
}

static void co_fn wake_in_order(void *arg)
{
	struct queueing q = {0};
	co_queue_init(&q.queue);
	co_group_init(&q.group);
	ck_assert(!co_queue_wake_one(&q.queue));
	for (unsigned i = 0; i < 10; i++) {
		co_group_add(&q.group);
		co_start(loop_current(), queue_up, &q);
	}
	co_sleep_ns(1);
	ck_assert(!co_queue_is_empty(&q.queue));
	for (unsigned i = 0; i < 5; i++) {
		ck_assert(co_queue_wake_one(&q.queue));
		co_sleep_ns(1);
		for (unsigned j = 0; j < 10; j++)
			ck_assert_uint_eq(q.arrived[j], j <= i);
	}
	co_queue_wake_all(&q.queue);
	ck_assert(co_queue_is_empty(&q.queue));
	co_group_wait(&q.group);
	for (unsigned j = 0; j < 10; j++)
		ck_assert(q.arrived[j]);
}

START_TEST(first_come_first_woken)
{
	run_with_seeds(wake_in_order);
}
END_TEST

struct excluding {
	struct co_mutex mutex;
	struct co_group group;
	unsigned inside, entries;
};

static void co_fn enter_often(void *arg)
{
	struct excluding *e = arg;
	for (unsigned i = 0; i < 20; i++) {
		pause_at_random();
		co_mutex_lock(&e->mutex);
		ck_assert_uint_eq(e->inside++, 0);
		pause_at_random();
		e->entries++;
		e->inside--;
		co_mutex_unlock(&e->mutex);
	}
	co_group_done(&e->group);
}

static void co_fn exclude(void *arg)
{
	struct excluding e = {0};
	co_mutex_init(&e.mutex);
	co_group_init(&e.group);
	for (unsigned i = 0; i < 10; i++) {
		co_group_add(&e.group);
		co_start(loop_current(), enter_often, &e);
	}
	co_group_wait(&e.group);
	ck_assert_uint_eq(e.entries, 200);
	ck_assert_ptr_null(e.mutex.owner);
}

START_TEST(one_at_a_time_in_a_mutex)
{
	run_with_seeds(exclude);
}
END_TEST

struct fairness {
	struct co_mutex mutex;
	bool other_was_in;
};

static void co_fn wait_for_turn(void *arg)
{
	struct fairness *f = arg;
	co_mutex_lock(&f->mutex);
	f->other_was_in = true;
	co_mutex_unlock(&f->mutex);
}

static void co_fn try_to_overtake(void *arg)
{
	struct fairness f = {0};
	co_mutex_init(&f.mutex);
	co_mutex_lock(&f.mutex);
	co_start(loop_current(), wait_for_turn, &f);
	co_sleep_ns(1);
	co_mutex_unlock(&f.mutex);
	co_mutex_lock(&f.mutex); /* at once: but the other waits longer */
	ck_assert(f.other_was_in);
	co_mutex_unlock(&f.mutex);
}

START_TEST(nobody_overtakes_in_a_mutex)
{
	run_with_seeds(try_to_overtake);
}
END_TEST

static void co_fn lock_twice(void *arg)
{
	struct co_mutex m;
	co_mutex_init(&m);
	co_mutex_lock(&m);
	co_mutex_lock(&m);
}

START_TEST(locking_a_mutex_twice_aborts)
{
	loop_run_coroutine(loop_new_sim(0), lock_twice, NULL);
}
END_TEST

static void co_fn unlock_foreign(void *arg)
{
	struct co_mutex m;
	co_mutex_init(&m);
	co_mutex_unlock(&m);
}

START_TEST(unlocking_a_free_mutex_aborts)
{
	loop_run_coroutine(loop_new_sim(0), unlock_foreign, NULL);
}
END_TEST

struct sharing {
	struct co_rwlock lock;
	struct co_group group;
	unsigned readers, writers, most_readers, writes;
};

static void co_fn read_often(void *arg)
{
	struct sharing *s = arg;
	for (unsigned i = 0; i < 20; i++) {
		pause_at_random();
		co_rwlock_read(&s->lock);
		s->readers++;
		s->most_readers = MAX(s->most_readers, s->readers);
		ck_assert_uint_eq(s->writers, 0);
		pause_at_random();
		ck_assert_uint_eq(s->writers, 0);
		s->readers--;
		co_rwlock_read_unlock(&s->lock);
	}
	co_group_done(&s->group);
}

static void co_fn write_often(void *arg)
{
	struct sharing *s = arg;
	for (unsigned i = 0; i < 20; i++) {
		pause_at_random();
		co_rwlock_write(&s->lock);
		ck_assert_uint_eq(s->writers++, 0);
		ck_assert_uint_eq(s->readers, 0);
		pause_at_random();
		ck_assert_uint_eq(s->readers, 0);
		s->writers--;
		s->writes++;
		co_rwlock_write_unlock(&s->lock);
	}
	co_group_done(&s->group);
}

static void co_fn share(void *arg)
{
	struct sharing s = {0};
	co_rwlock_init(&s.lock);
	co_group_init(&s.group);
	for (unsigned i = 0; i < 12; i++) {
		co_group_add(&s.group);
		co_start(loop_current(), i % 4 == 0 ? write_often : read_often, &s);
	}
	co_group_wait(&s.group);
	ck_assert_uint_eq(s.writes, 60);
	ck_assert_uint_gt(s.most_readers, 1);
}

START_TEST(many_readers_or_one_writer)
{
	run_with_seeds(share);
}
END_TEST

struct barging {
	struct co_rwlock lock;
	struct co_group group;
	char trace[8];
	unsigned length;
};

static void co_fn write_once(void *arg)
{
	struct barging *b = arg;
	co_rwlock_write(&b->lock);
	b->trace[b->length++] = 'w';
	co_rwlock_write_unlock(&b->lock);
	co_group_done(&b->group);
}

static void co_fn read_once(void *arg)
{
	struct barging *b = arg;
	co_rwlock_read(&b->lock);
	b->trace[b->length++] = 'r';
	co_rwlock_read_unlock(&b->lock);
	co_group_done(&b->group);
}

static void co_fn start_and_wait(struct barging *b, co_entry *entry)
{
	co_group_add(&b->group);
	co_start(loop_current(), entry, b);
	co_sleep_ns(1);
}

static void co_fn barge(void *arg)
{
	struct barging b = {0};
	co_rwlock_init(&b.lock);
	co_group_init(&b.group);
	co_rwlock_read(&b.lock);
	start_and_wait(&b, write_once);
	start_and_wait(&b, read_once); /* behind the writer */
	start_and_wait(&b, write_once);
	ck_assert_str_eq(b.trace, "");
	co_rwlock_read_unlock(&b.lock);
	co_group_wait(&b.group);
	ck_assert_str_eq(b.trace, "wrw"); /* neither side starves the other */
}

START_TEST(a_waiting_writer_holds_back_readers)
{
	run_with_seeds(barge);
}
END_TEST

static void co_fn wait_for_nobody(void *arg)
{
	struct co_group g;
	co_group_init(&g);
	co_group_wait(&g);
	co_group_add(&g);
	co_group_done(&g);
	co_group_wait(&g);
}

START_TEST(an_empty_group_does_not_wait)
{
	run_with_seeds(wait_for_nobody);
}
END_TEST

START_TEST(ending_more_than_began_aborts)
{
	struct co_group g;
	co_group_init(&g);
	co_group_done(&g);
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(first_come_first_woken),
	UNIT_TEST(one_at_a_time_in_a_mutex),
	UNIT_TEST(nobody_overtakes_in_a_mutex),
	UNIT_TEST_ABORTS(locking_a_mutex_twice_aborts),
	UNIT_TEST_ABORTS(unlocking_a_free_mutex_aborts),
	UNIT_TEST(many_readers_or_one_writer),
	UNIT_TEST(a_waiting_writer_holds_back_readers),
	UNIT_TEST(an_empty_group_does_not_wait),
	UNIT_TEST_ABORTS(ending_more_than_began_aborts),
};

UNIT_MAIN("co_sync", tests)
