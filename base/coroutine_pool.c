/* SPDX-License-Identifier: MIT */
/*
 * The stacks of coroutines: mapped when first needed, kept for the next, and
 * given back when they have been idle for a while. The loop's thread only.
 */
#include <assert.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "base/loop_internal.h"

#ifdef CO_ASAN
#include <sanitizer/asan_interface.h>
#endif
#ifdef CO_TSAN
#include <sanitizer/tsan_interface.h>
#endif
#ifdef HAVE_VALGRIND
#include <valgrind/valgrind.h>
#endif

/*
 * The most idle stacks that stay after a burst: mapping one and touching it
 * costs some microseconds, so the next burst shall find enough of them.
 */
#define IDLE_MAX 4096

#define TRIM_INTERVAL_NS UINT64_C(1000000000)

/*
 * All stacks have the same size, so their busiest cache lines would share a few
 * sets of the cache. Each stack begins a little lower than the one before: with
 * 64 coroutines in turn that takes 27 instead of 37 ns for a start, a wait, a
 * wake and an end.
 */
#define COLOURS 16
#define COLOUR_BYTES 256

struct coroutine *co_pool_map(struct loop *loop, void (*entry)(void *co))
{
	struct co_pool *pool = &loop->coroutines;
	size_t bytes = CO_GUARD_BYTES + CO_STACK_BYTES;
	char *mapping = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);
	if (mapping == MAP_FAILED || mprotect(mapping, CO_GUARD_BYTES, PROT_NONE) < 0) {
		fprintf(stderr, "no memory for the stack of a coroutine (%u exist)\n", pool->count);
		abort();
	}

	size_t colour = (size_t)(pool->count % COLOURS) * COLOUR_BYTES;
	size_t place = align_down(bytes - colour - sizeof(struct coroutine), 64);
	struct coroutine *co = (struct coroutine *)(mapping + place);
	*co = (struct coroutine){.loop = loop, .mapping = mapping};
	list_init(&co->link);
	co_context_init(&co->context, mapping + CO_GUARD_BYTES, place - CO_GUARD_BYTES, entry, co);
#ifdef CO_TSAN
	co->fiber = __tsan_create_fiber(0);
#endif
#ifdef HAVE_VALGRIND
	co->valgrind_stack_id = VALGRIND_STACK_REGISTER(mapping + CO_GUARD_BYTES, mapping + place);
#endif
	pool->count++;
	list_add_tail(&pool->all, &co->pool_link);
	return co;
}

static void stack_unmap(struct co_pool *pool, struct coroutine *co)
{
	list_del_init(&co->pool_link);
	pool->count--;
#ifdef HAVE_VALGRIND
	VALGRIND_STACK_DEREGISTER(co->valgrind_stack_id);
#endif
#ifdef CO_TSAN
	__tsan_destroy_fiber(co->fiber);
#endif
#ifdef CO_ASAN
	ASAN_UNPOISON_MEMORY_REGION(co->mapping, CO_GUARD_BYTES + CO_STACK_BYTES);
#endif
	munmap(co->mapping, CO_GUARD_BYTES + CO_STACK_BYTES);
}

/* Unmap the @n stacks that have been idle for longest. */
static void unmap_idle(struct co_pool *pool, unsigned n)
{
	for (; n > 0; n--) {
		struct coroutine *co = list_last(&pool->idle, struct coroutine, link);
		list_del_init(&co->link);
		pool->idle_count--;
		stack_unmap(pool, co);
	}
}

static void schedule_trim(struct co_pool *pool)
{
	pool->idle_least = UINT_MAX;
	loop_timer_set(&pool->trim, loop_now_ns(pool->trim.loop) + TRIM_INTERVAL_NS);
}

static void on_trim(struct loop_timer *t)
{
	struct co_pool *pool = container_of(t, struct co_pool, trim);
	if (pool->idle_count > CO_POOL_IDLE_KEPT)
		unmap_idle(pool, MIN(pool->idle_least, pool->idle_count - CO_POOL_IDLE_KEPT));
	if (pool->idle_count > CO_POOL_IDLE_KEPT)
		schedule_trim(pool);
}

void co_pool_init(struct loop *loop, struct co_pool *pool)
{
	list_init(&pool->idle);
	list_init(&pool->all);
	loop_timer_init(loop, &pool->trim, on_trim);
#ifdef CO_TSAN
	pool->loop_fiber = __tsan_get_current_fiber();
#endif
}

void co_pool_finish(struct co_pool *pool)
{
	loop_timer_cancel(&pool->trim);
	unmap_idle(pool, pool->idle_count);
	assert(pool->count == 0); /* coroutines are still alive */
}

void co_pool_put_many(struct co_pool *pool, struct coroutine *co)
{
	if (pool->idle_count >= IDLE_MAX) {
		stack_unmap(pool, co);
		return;
	}
	co->state = CO_IDLE;
	list_add_head(&pool->idle, &co->link);
	pool->idle_count++;
	/* In a simulation a timer would keep the world from being idle. */
	if (!loop_timer_is_set(&pool->trim) && !loop_is_simulated(pool->trim.loop))
		schedule_trim(pool);
}
