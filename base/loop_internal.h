/* SPDX-License-Identifier: MIT */
/*
 * Inside the loop: what its two worlds (libuv, simulation) share. Only base/
 * includes it.
 *
 * Everything belongs to the loop's thread, except posts, posters and sleeping.
 */
#ifndef BASE_LOOP_INTERNAL_H
#define BASE_LOOP_INTERNAL_H

#include <stdatomic.h>

#include "base/aio_engine.h"
#include "base/coroutine_internal.h"
#include "base/loop.h"
#include "base/timer_heap.h"

struct workers;

/* What differs between the worlds. */
struct loop_world {
	/* Run turns until loop->stop_requested. */
	void (*run)(struct loop *loop);
	uint64_t (*now_ns)(struct loop *loop);
	uint64_t (*realtime_us)(struct loop *loop);
	/* Choose and unlink one of the ready coroutines; there are some. NULL: the first. */
	struct coroutine *(*pick_ready)(struct loop *loop);
	/* Interrupt the thread's sleep. Thread-safe. */
	void (*interrupt)(struct loop *loop);
	/* Free what the world holds, and the loop's memory. */
	void (*free)(struct loop *loop);
	bool simulated;
};

struct loop {
	const struct loop_world *world;
	struct list ready;
	struct coroutine *current;
	struct co_pool coroutines;
	struct list deferred;
	struct timer_heap timers;
	struct aio_engine *engine;
	struct buffer_pool *buffer_pool;
	struct workers *workers; /* for co_blocking(); made when first needed */
	uint64_t random_state;
	bool stop_requested;

	/* Newest first; taken over as a whole. */
	_Alignas(64) _Atomic(struct loop_post *) posts;
	/* Threads inside loop_post(): what they post may be dealt with before they leave it. */
	atomic_uint posters;
	/* The thread has looked at posts for the last time before it sleeps. */
	atomic_bool sleeping;

	struct list all_link; /* in the list that the debugger walks */
};

extern __thread struct loop *loop_of_thread __attribute__((tls_model("initial-exec")));

/* Set up the shared part and make @loop the calling thread's. */
void loop_init(struct loop *loop, const struct loop_world *world, uint64_t seed);
/* Undo loop_init() and free engine, buffers, threads and stacks. */
void loop_finish(struct loop *loop);

/*
 * One turn: posts, ready coroutines, deferred calls, submission; repeated while
 * that makes more coroutines ready, but not without end. True when work is left
 * that must not wait for an event.
 */
bool loop_turn(struct loop *loop);

/* Announce sleep. False: a post has come in, there is work. */
bool loop_prepare_sleep(struct loop *loop);
/* Whether something has been posted that has not been run. */
bool loop_has_posts(struct loop *loop);
/* Run what has been posted until now, as each turn does: when no thread posts any more, the last. */
void loop_run_posts(struct loop *loop);
void loop_end_sleep(struct loop *loop);

/* Call the timers that are due at @now_ns. */
void loop_run_timers(struct loop *loop, uint64_t now_ns);

/* The threads of co_blocking(). */
struct workers *loop_workers(struct loop *loop);

#endif
