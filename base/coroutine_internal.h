/* SPDX-License-Identifier: MIT */
/*
 * What coroutine.c, its pool of stacks and the loop share. Only base/ includes it.
 */
#ifndef BASE_COROUTINE_INTERNAL_H
#define BASE_COROUTINE_INTERNAL_H

#include "base/coroutine.h"
#include "base/coroutine_switch.h"
#include "base/loop.h"

#if defined(__SANITIZE_ADDRESS__)
#define CO_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define CO_TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CO_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define CO_TSAN 1
#endif
#endif

/* Instrumented frames are several times larger. */
#if defined(CO_ASAN) || defined(CO_TSAN)
#define CO_STACK_BYTES ((size_t)256 << 10)
#else
#define CO_STACK_BYTES ((size_t)64 << 10)
#endif

#define CO_GUARD_BYTES ((size_t)4096)

/* Idle stacks of a loop that stay for good. */
#define CO_POOL_IDLE_KEPT 256

enum co_state {
	CO_IDLE,      /* in the pool; link is in co_pool.idle */
	CO_READY,     /* link is in loop.ready */
	CO_RUNNING,   /* is loop.current */
	CO_SUSPENDED, /* in co_yield(); link is unlinked, or in a co_queue */
	CO_FINISHED,  /* entry has returned; about to go to the pool */
};

/* Lives at the upper end of its own stack. */
struct coroutine {
	struct co_context context; /* where it goes on, unless it is running */
	struct list link;
	struct loop *loop;
	enum co_state state;
	co_entry *entry;
	void *arg;
	struct list pool_link; /* in co_pool.all, for the debugger and for the end */
	char *mapping;         /* the guard page, and the stack above it */
#ifdef CO_ASAN
	void *fake_stack;
#endif
#ifdef CO_TSAN
	void *fiber;
#endif
	unsigned valgrind_stack_id;
};

/* The stacks of one loop and the place where the loop itself waits while a coroutine runs. */
struct co_pool {
	struct list idle; /* last used first */
	unsigned idle_count;
	unsigned idle_least; /* since the last trim; what was never needed may go */
	struct loop_timer trim;
	struct list all;
	unsigned count;
	struct co_context loop_context;
#ifdef CO_ASAN
	void *loop_fake_stack;
	const void *loop_stack;
	size_t loop_stack_bytes;
#endif
#ifdef CO_TSAN
	void *loop_fiber;
#endif
};

void co_pool_init(struct loop *loop, struct co_pool *pool);
/* Unmap all stacks. No coroutine is alive. */
void co_pool_finish(struct co_pool *pool);
/* A new stack that begins in @entry. Aborts when there is no memory. */
struct coroutine *co_pool_map(struct loop *loop, void (*entry)(void *co));
/* As co_pool_put() when many are idle already: some will have to go. */
void co_pool_put_many(struct co_pool *pool, struct coroutine *co);

/* An idle stack, unlinked, or NULL. */
static inline struct coroutine *co_pool_get(struct co_pool *pool)
{
	struct coroutine *co = list_first(&pool->idle, struct coroutine, link);
	if (co) {
		list_del_init(&co->link);
		pool->idle_count--;
		pool->idle_least = MIN(pool->idle_least, pool->idle_count);
	}
	return co;
}

/* Give back @co, which has ended and is unlinked. Last used, first reused: it is in the cache. */
static inline void co_pool_put(struct co_pool *pool, struct coroutine *co)
{
	if (pool->idle_count >= CO_POOL_IDLE_KEPT) {
		co_pool_put_many(pool, co);
		return;
	}
	co->state = CO_IDLE;
	list_add_head(&pool->idle, &co->link);
	pool->idle_count++;
}

/*
 * Run ready coroutines, each until it suspends or ends, until none is ready or
 * @max have run. Returns how many. Loop's stack only.
 */
unsigned co_run_ready(struct loop *loop, unsigned max);

#endif
