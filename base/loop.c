/* SPDX-License-Identifier: MIT */
/*
 * The part of the loop that both worlds share: the turn, posts, deferred calls
 * and timers. The loop's thread only, except loop_post().
 */
#include "base/loop.h"

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/loop_internal.h"
#include "base/workers.h"

/*
 * A turn ends after so many rounds of submission or so many resumed coroutines,
 * so that sockets, timers and signals are looked at however busy the data path
 * is. Two rounds serve a read that completes while it is submitted, and its
 * reply.
 */
#define ROUNDS_MAX 4
#define RESUMES_MAX 1024

/* Threads of co_blocking(). They wait for libraries rather than compute. */
#define BLOCKING_THREADS_MAX 16

__thread struct loop *loop_of_thread;

/* All loops of the process; the debugger's way to the coroutines. */
struct list loop_list = LIST_INIT(loop_list);
static pthread_mutex_t loop_list_lock = PTHREAD_MUTEX_INITIALIZER;

void loop_init(struct loop *loop, const struct loop_world *world, uint64_t seed)
{
	assert(!loop_of_thread);
	loop->world = world;
	loop->random_state = seed;
	list_init(&loop->ready);
	list_init(&loop->deferred);
	co_pool_init(loop, &loop->coroutines);
	atomic_init(&loop->posts, NULL);
	atomic_init(&loop->posters, 0);
	atomic_init(&loop->sleeping, false);
	loop_of_thread = loop;

	pthread_mutex_lock(&loop_list_lock);
	list_add_tail(&loop_list, &loop->all_link);
	pthread_mutex_unlock(&loop_list_lock);
}

void loop_finish(struct loop *loop)
{
	assert(loop == loop_of_thread && !loop->current);
	assert(list_is_empty(&loop->ready) && list_is_empty(&loop->deferred));
	if (loop->engine)
		loop->engine->ops->destroy(loop->engine);
	buffer_pool_destroy(loop->buffer_pool);
	workers_destroy(loop->workers);
	assert(!atomic_load(&loop->posts));
	co_pool_finish(&loop->coroutines);
	timer_heap_finish(&loop->timers);
	loop_of_thread = NULL;

	pthread_mutex_lock(&loop_list_lock);
	list_del_init(&loop->all_link);
	pthread_mutex_unlock(&loop_list_lock);
}

void loop_free(struct loop *loop)
{
	/* A thread that nobody joins may have posted, and not looked yet whether to interrupt. */
	while (atomic_load(&loop->posters) > 0)
		sched_yield();
	loop->world->free(loop);
}

struct loop *loop_current(void)
{
	return loop_of_thread;
}

bool loop_has_posts(struct loop *loop)
{
	return atomic_load_explicit(&loop->posts, memory_order_relaxed);
}

void loop_run_posts(struct loop *loop)
{
	if (!loop_has_posts(loop))
		return;

	struct loop_post *newest = atomic_exchange(&loop->posts, NULL);
	struct loop_post *oldest = NULL;
	while (newest) {
		struct loop_post *next = newest->next;
		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	while (oldest) {
		struct loop_post *next = oldest->next;
		oldest->fn(oldest); /* may free it, or post it again */
		oldest = next;
	}
}

static void run_deferred(struct loop *loop)
{
	/* What is deferred from here on belongs to the next round. */
	struct list now;
	list_init(&now);
	list_splice_tail(&now, &loop->deferred);

	struct loop_deferred *d;
	while ((d = list_first(&now, struct loop_deferred, link))) {
		list_del_init(&d->link);
		d->fn(d);
	}
}

static bool has_work(struct loop *loop)
{
	return !list_is_empty(&loop->ready) || !list_is_empty(&loop->deferred) ||
	       atomic_load_explicit(&loop->posts, memory_order_relaxed);
}

bool loop_turn(struct loop *loop)
{
	unsigned resumes = 0;
	for (unsigned round = 0; round < ROUNDS_MAX && resumes < RESUMES_MAX; round++) {
		loop_run_posts(loop);
		resumes += co_run_ready(loop, RESUMES_MAX - resumes);
		run_deferred(loop);
		loop->engine->ops->submit(loop->engine);
		if (!has_work(loop))
			return false;
	}
	return true;
}

bool loop_prepare_sleep(struct loop *loop)
{
	/*
	 * Pairs with loop_post(): of our store and load, and its push and load,
	 * at least one load sees the other side's write.
	 */
	atomic_store(&loop->sleeping, true);
	if (!atomic_load(&loop->posts))
		return true;
	loop_end_sleep(loop);
	return false;
}

void loop_end_sleep(struct loop *loop)
{
	atomic_store_explicit(&loop->sleeping, false, memory_order_relaxed);
}

void loop_run(struct loop *loop)
{
	assert(loop == loop_of_thread && !loop->current);
	loop->world->run(loop);
	loop->stop_requested = false;
}

void loop_stop(struct loop *loop)
{
	assert(loop == loop_of_thread);
	loop->stop_requested = true;
}

struct run_until {
	struct loop *loop;
	co_entry *fn;
	void *arg;
	bool done;
};

static void co_fn run_until_entry(void *arg)
{
	struct run_until *u = arg;
	u->fn(u->arg);
	u->done = true;
	loop_stop(u->loop);
}

void loop_run_coroutine(struct loop *loop, co_entry *fn, void *arg)
{
	struct run_until u = {.loop = loop, .fn = fn, .arg = arg};
	co_start(loop, run_until_entry, &u);
	loop_run(loop);
	/* Somebody else's loop_stop() does not end the wait, and an idle simulation never will. */
	while (!u.done) {
		if (loop->world->simulated && !has_work(loop)) {
			fputs("simulated loop is idle, but its coroutine waits\n", stderr);
			abort();
		}
		loop_run(loop);
	}
}

uint64_t loop_now_ns(struct loop *loop)
{
	return loop->world->now_ns(loop);
}

uint64_t loop_realtime_us(struct loop *loop)
{
	return loop->world->realtime_us(loop);
}

uint64_t loop_random(struct loop *loop)
{
	return random_next(&loop->random_state);
}

struct aio_engine *loop_engine(struct loop *loop)
{
	return loop->engine;
}

bool loop_is_simulated(struct loop *loop)
{
	return loop->world->simulated;
}

struct buffer_pool **loop_buffer_pool(struct loop *loop)
{
	return &loop->buffer_pool;
}

struct workers *loop_workers(struct loop *loop)
{
	if (!loop->workers)
		loop->workers = workers_create(loop, BLOCKING_THREADS_MAX);
	return loop->workers;
}

void loop_deferred_init(struct loop_deferred *d, void (*fn)(struct loop_deferred *d))
{
	list_init(&d->link);
	d->fn = fn;
}

void loop_defer(struct loop *loop, struct loop_deferred *d)
{
	if (!list_is_linked(&d->link))
		list_add_tail(&loop->deferred, &d->link);
}

void loop_deferred_cancel(struct loop_deferred *d)
{
	list_del_init(&d->link);
}

void loop_post(struct loop *loop, struct loop_post *post)
{
	atomic_fetch_add(&loop->posters, 1);
	struct loop_post *newest = atomic_load_explicit(&loop->posts, memory_order_relaxed);
	do {
		post->next = newest;
	} while (!atomic_compare_exchange_weak(&loop->posts, &newest, post));

	/* Who found the stack empty interrupts; later posts ride along. */
	if (!newest && atomic_load(&loop->sleeping))
		loop->world->interrupt(loop);
	atomic_fetch_sub(&loop->posters, 1);
}

void loop_timer_init(struct loop *loop, struct loop_timer *t, void (*fn)(struct loop_timer *t))
{
	*t = (struct loop_timer){.loop = loop, .fn = fn};
}

void loop_timer_set(struct loop_timer *t, uint64_t deadline_ns)
{
	assert(t->loop == loop_of_thread);
	t->deadline_ns = deadline_ns;
	timer_heap_set(&t->loop->timers, t);
}

void loop_timer_cancel(struct loop_timer *t)
{
	assert(!loop_timer_is_set(t) || t->loop == loop_of_thread);
	timer_heap_remove(&t->loop->timers, t);
}

bool loop_timer_is_set(const struct loop_timer *t)
{
	return t->heap_index != 0;
}

void loop_run_timers(struct loop *loop, uint64_t now_ns)
{
	/* A timer that sets itself to a time that has passed must not hold up the turn. */
	unsigned armed = loop->timers.count;
	struct loop_timer *t;

	while (armed-- > 0 && (t = timer_heap_first(&loop->timers)) && t->deadline_ns <= now_ns) {
		timer_heap_remove(&loop->timers, t);
		t->fn(t);
	}
}
