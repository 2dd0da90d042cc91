/* SPDX-License-Identifier: MIT */
/*
 * What coroutine.c and the loop share. Only base/ includes it.
 */
#ifndef BASE_COROUTINE_INTERNAL_H
#define BASE_COROUTINE_INTERNAL_H

#include "base/coroutine.h"
#include "base/coroutine_switch.h"

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

/* Stacks without a coroutine that a loop keeps; the rest goes back to the system. */
#define CO_POOL_IDLE_MAX 512

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
	struct list idle;
	unsigned idle_count;
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

void co_pool_init(struct co_pool *pool);
/* Unmap all stacks. No coroutine is alive. */
void co_pool_finish(struct co_pool *pool);

/*
 * Run ready coroutines, each until it suspends or ends, until none is ready or
 * @max have run. Returns how many. Loop's stack only.
 */
unsigned co_run_ready(struct loop *loop, unsigned max);

#endif
