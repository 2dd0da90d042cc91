/* SPDX-License-Identifier: MIT */
/*
 * Calls that may hang, on threads of their own.
 *
 * A call belongs to its thread and to the coroutine that waits. Who changes its
 * state from CALL_RUNNING decides: the thread, which then posts the result and
 * leaves the call to the coroutine; or the coroutine's timer, which leaves it to
 * the thread.
 */
#include "base/detached.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/loop.h"
#include "base/util.h"

enum call_state { CALL_RUNNING, CALL_FINISHED, CALL_ABANDONED };

struct call {
	int (*fn)(void *arg);
	void *arg;
	void (*release)(void *arg);
	int result;
	atomic_int state; /* enum call_state */
	struct loop *loop;
	struct loop_post post;
	struct call_wait *wait; /* the loop's thread only */
};

static atomic_bool any_abandoned;

/* The coroutine's side. */
struct call_wait {
	struct call *call;
	struct coroutine *waiter;
	struct loop_timer limit;
	bool timed_out;
};

/* True for the first of the two that asks. */
static bool call_decide(struct call *call, enum call_state state)
{
	int expected = CALL_RUNNING;
	return atomic_compare_exchange_strong(&call->state, &expected, state);
}

static void on_finished(struct loop_post *post)
{
	struct call *call = container_of(post, struct call, post);
	co_wake(call->wait->waiter);
}

static void on_limit(struct loop_timer *t)
{
	struct call_wait *wait = container_of(t, struct call_wait, limit);
	/* A result that is on its way is taken. */
	if (!call_decide(wait->call, CALL_ABANDONED))
		return;
	atomic_store(&any_abandoned, true);
	wait->timed_out = true;
	co_wake(wait->waiter);
}

static void run_call(void *arg)
{
	struct call *call = arg;
	call->result = call->fn(call->arg);
	if (call_decide(call, CALL_FINISHED)) {
		loop_post(call->loop, &call->post);
		return;
	}
	call->release(call->arg);
	free(call);
}

struct thread_start {
	void (*fn)(void *arg);
	void *arg;
};

static void *thread_main(void *arg)
{
	struct thread_start start = *(struct thread_start *)arg;
	free(arg);
	(void)pthread_setname_np(pthread_self(), "detached");
	start.fn(start.arg);
	return NULL;
}

int detached_start(void (*fn)(void *arg), void *arg)
{
	struct thread_start *start = NEW(struct thread_start);
	*start = (struct thread_start){.fn = fn, .arg = arg};
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);

	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_t thread;
	int r = pthread_create(&thread, &attr, thread_main, start);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r != 0) {
		free(start);
		return -EAGAIN;
	}
	return 0;
}

int co_fn co_detached(int (*fn)(void *arg), void *arg, void (*release)(void *arg),
		      uint64_t limit_ns)
{
	struct loop *loop = loop_current();
	if (loop_is_simulated(loop))
		return fn(arg);

	struct call *call = NEW(struct call);
	struct call_wait wait = {.call = call, .waiter = co_self()};
	*call = (struct call){.fn = fn, .arg = arg, .release = release, .loop = loop,
			      .post = {.fn = on_finished}, .wait = &wait};
	atomic_init(&call->state, CALL_RUNNING);
	if (detached_start(run_call, call) < 0) {
		free(call);
		return -EAGAIN;
	}
	loop_timer_init(loop, &wait.limit, on_limit);
	if (limit_ns != 0)
		loop_timer_set(&wait.limit, loop_now_ns(loop) + limit_ns);
	co_yield();
	loop_timer_cancel(&wait.limit);
	if (wait.timed_out)
		return DETACHED_ABANDONED;
	int r = call->result;
	free(call);
	return r;
}

_Noreturn void detached_exit(int status)
{
	if (!atomic_load(&any_abandoned))
		exit(status);
	/* Handlers and destructors would free what the libraries' threads still use. */
	fflush(NULL);
	_exit(status);
}
