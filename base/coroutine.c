/* SPDX-License-Identifier: MIT */
/*
 * Coroutines: starting, running, suspending and waking them.
 *
 * The loop's thread only. The loop runs on the thread's own stack and enters
 * one coroutine after the other; a coroutine that suspends or ends goes back to
 * the loop's stack, never straight to another coroutine. That costs one switch
 * more and keeps everything that is not a coroutine off the small stacks.
 */
#include "base/coroutine.h"

#include <assert.h>

#include "base/coroutine_internal.h"
#include "base/loop_internal.h"
#include "base/workers.h"

#ifdef CO_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CO_TSAN
#include <sanitizer/tsan_interface.h>
#endif

static inline void before_enter(struct co_pool *pool, struct coroutine *co)
{
#ifdef CO_ASAN
	__sanitizer_start_switch_fiber(&pool->loop_fake_stack, co->mapping + CO_GUARD_BYTES,
				       CO_STACK_BYTES);
#endif
#ifdef CO_TSAN
	__tsan_switch_to_fiber(co->fiber, 0);
#endif
}

static inline void after_enter(struct co_pool *pool)
{
#ifdef CO_ASAN
	__sanitizer_finish_switch_fiber(pool->loop_fake_stack, NULL, NULL);
#endif
}

/* A stack that is @done gives back its record of frames. */
static inline void before_leave(struct co_pool *pool, struct coroutine *co, bool done)
{
#ifdef CO_ASAN
	if (done)
		co->fake_stack = NULL;
	__sanitizer_start_switch_fiber(done ? NULL : &co->fake_stack, pool->loop_stack,
				       pool->loop_stack_bytes);
#endif
#ifdef CO_TSAN
	__tsan_switch_to_fiber(pool->loop_fiber, 0);
#endif
}

/* The coroutine's side of co_enter(); learns where the loop's stack is. */
static inline void after_leave(struct co_pool *pool, struct coroutine *co)
{
#ifdef CO_ASAN
	__sanitizer_finish_switch_fiber(co->fake_stack, &pool->loop_stack, &pool->loop_stack_bytes);
#endif
}

/* The whole life of a stack: one coroutine after the other. Has no frame that ASan could move. */
__attribute__((no_sanitize("address"))) static void stack_main(void *arg)
{
	struct coroutine *co = arg;
	struct co_pool *pool = &co->loop->coroutines;

	after_leave(pool, co);
	for (;;) {
		co->entry(co->arg);
		co->state = CO_FINISHED;
		before_leave(pool, co, true);
		co_context_switch(&co->context, &pool->loop_context);
		after_leave(pool, co);
	}
}

static inline struct coroutine *take_ready(struct loop *loop)
{
	if (loop->world->pick_ready)
		return loop->world->pick_ready(loop);
	struct coroutine *co = container_of(loop->ready.next, struct coroutine, link);
	list_del_init(&co->link);
	return co;
}

unsigned co_run_ready(struct loop *loop, unsigned max)
{
	struct co_pool *pool = &loop->coroutines;
	unsigned n = 0;

	/*
	 * No function returns between one switch and the next: its ret would be
	 * mispredicted, as the processor's stack of return addresses has not
	 * switched with ours.
	 */
	for (; n < max && !list_is_empty(&loop->ready); n++) {
		struct coroutine *co = take_ready(loop);
		co->state = CO_RUNNING;
		loop->current = co;
		before_enter(pool, co);
		co_context_switch(&pool->loop_context, &co->context);
		after_enter(pool);
		loop->current = NULL;
		if (co->state == CO_FINISHED)
			co_pool_put(pool, co);
	}
	return n;
}

struct coroutine *co_start(struct loop *loop, co_entry *entry, void *arg)
{
	assert(loop == loop_of_thread);
	struct coroutine *co = co_pool_get(&loop->coroutines);
	if (!co)
		co = co_pool_map(loop, stack_main);
	co->entry = entry;
	co->arg = arg;
	co->state = CO_READY;
	list_add_tail(&loop->ready, &co->link);
	return co;
}

struct coroutine *co_self(void)
{
	return loop_of_thread ? loop_of_thread->current : NULL;
}

void co_yield(void)
{
	struct coroutine *co = co_self();
	assert(co && co->state == CO_RUNNING);
	struct co_pool *pool = &co->loop->coroutines;

	co->state = CO_SUSPENDED;
	before_leave(pool, co, false);
	co_context_switch(&co->context, &pool->loop_context);
	after_leave(pool, co);
}

void co_wake(struct coroutine *co)
{
	assert(co->loop == loop_of_thread);
	assert(co->state == CO_SUSPENDED);   /* neither running nor woken already */
	assert(!list_is_linked(&co->link));  /* who waits in a queue is woken by the queue */
	co->state = CO_READY;
	list_add_tail(&co->loop->ready, &co->link);
}

void co_reschedule(void)
{
	struct coroutine *co = co_self();
	assert(co && co->state == CO_RUNNING);
	struct co_pool *pool = &co->loop->coroutines;

	co->state = CO_READY;
	list_add_tail(&co->loop->ready, &co->link);
	before_leave(pool, co, false);
	co_context_switch(&co->context, &pool->loop_context);
	after_leave(pool, co);
}

struct sleeper {
	struct loop_timer timer;
	struct coroutine *co;
};

static void sleeper_is_due(struct loop_timer *t)
{
	co_wake(container_of(t, struct sleeper, timer)->co);
}

void co_sleep_ns(uint64_t ns)
{
	struct sleeper s = {.co = co_self()};
	assert(s.co);
	uint64_t deadline_ns;

	loop_timer_init(s.co->loop, &s.timer, sleeper_is_due);
	if (add_overflows(loop_now_ns(s.co->loop), ns, &deadline_ns))
		deadline_ns = UINT64_MAX;
	loop_timer_set(&s.timer, deadline_ns);
	co_yield();
}

struct blocking_call {
	struct worker_job job;
	int (*fn)(void *arg);
	void *arg;
	int result;
	struct coroutine *co;
};

static void blocking_run(struct worker_job *job)
{
	struct blocking_call *b = container_of(job, struct blocking_call, job);
	b->result = b->fn(b->arg);
}

static void blocking_done(struct worker_job *job)
{
	co_wake(container_of(job, struct blocking_call, job)->co);
}

int co_blocking(int (*fn)(void *arg), void *arg)
{
	struct coroutine *co = co_self();
	assert(co);
	if (co->loop->world->simulated)
		return fn(arg);

	struct blocking_call b = {.fn = fn, .arg = arg, .co = co};
	b.job.run = blocking_run;
	b.job.done = blocking_done;
	workers_submit(loop_workers(co->loop), &b.job);
	co_yield();
	return b.result;
}
