/* SPDX-License-Identifier: MIT */
/*
 * A loop is one thread's world: a ready list of coroutines, timers, posts from
 * other threads, watched file descriptors and one I/O engine (aio.h).
 *
 * One turn of the loop: posts and fd events arrive; ready coroutines run until
 * none is ready; deferred calls run once (which may make coroutines ready
 * again); the engine submits what was queued, all at once, and completions that
 * are already there are reaped; only then does the thread sleep.
 *
 * Two worlds stand below: libuv (loop_new_uv) and the simulation (loop_new_sim)
 * with virtual time and seeded randomness. Code in block/, drivers/qcow2 and
 * blockjobs/ takes time, randomness and I/O from the loop only.
 *
 * Every function is for the loop's own thread, except loop_post().
 */
#ifndef BASE_LOOP_H
#define BASE_LOOP_H

#include "base/coroutine.h"
#include "base/error.h"

struct loop;
struct aio_engine;
struct uv_loop_s;

/*
 * Make the calling thread's loop on libuv, with the io_uring engine, or worker
 * threads where the kernel refuses io_uring or the environment has
 * CAIRN_AIO_ENGINE=threads. NULL and *errp on failure. The thread must be the
 * one that will run it: in a daemon, made after the last fork.
 */
struct loop *loop_new_uv(struct error **errp);

/*
 * Make a simulated loop for the calling thread: time stands still while
 * anything is ready and jumps to the next timer otherwise; the order in which
 * ready coroutines run follows from @seed. The engine is aio_sim.
 */
struct loop *loop_new_sim(uint64_t seed);

/*
 * Free a loop that nothing uses any more: no coroutine, timer, watch, request or
 * libuv handle of others; aborts when there is one.
 */
void loop_free(struct loop *loop);

/* The calling thread's loop; NULL when it has none. */
struct loop *loop_current(void);

/*
 * Run until loop_stop(); the turn under way is finished. A simulated loop also
 * returns when nothing is ready and no timer or request is pending.
 */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Run until @fn(@arg), started as a coroutine, has returned. For main() and tests only. */
void loop_run_coroutine(struct loop *loop, co_entry *fn, void *arg);

/* Nanoseconds of a clock that only goes forward; read afresh on each call. */
uint64_t loop_now_ns(struct loop *loop);
/* Microseconds since 1970 UTC. */
uint64_t loop_realtime_us(struct loop *loop);
/* 64 random bits; not for secrets. */
uint64_t loop_random(struct loop *loop);

/* The engine that serves aio_*() on this loop. */
struct aio_engine *loop_engine(struct loop *loop);
bool loop_is_simulated(struct loop *loop);
/* The libuv loop below, for signals and the like in daemon/; NULL in a simulation. */
struct uv_loop_s *loop_uv(struct loop *loop);

/* One call at the end of the current turn, before the engine submits. Repeating has no effect. */
struct loop_deferred {
	struct list link;
	void (*fn)(struct loop_deferred *d);
};

void loop_deferred_init(struct loop_deferred *d, void (*fn)(struct loop_deferred *d));
void loop_defer(struct loop *loop, struct loop_deferred *d);
void loop_deferred_cancel(struct loop_deferred *d);

/* A message from any thread: fn(post) runs on the loop's thread, outside any coroutine. */
struct loop_post {
	struct loop_post *next;
	void (*fn)(struct loop_post *post);
};

/* Hand @post to @loop. The caller's memory, until @fn runs. The one call that is thread-safe. */
void loop_post(struct loop *loop, struct loop_post *post);

/* A timer: fn runs outside any coroutine, on the loop's thread. */
struct loop_timer {
	struct loop *loop;
	uint64_t deadline_ns;
	unsigned heap_index; /* place in the loop's heap; 0 when not armed */
	void (*fn)(struct loop_timer *t);
};

void loop_timer_init(struct loop *loop, struct loop_timer *t, void (*fn)(struct loop_timer *t));
/* Arm, or move, to the absolute time @deadline_ns of loop_now_ns(). */
void loop_timer_set(struct loop_timer *t, uint64_t deadline_ns);
void loop_timer_cancel(struct loop_timer *t);
bool loop_timer_is_set(const struct loop_timer *t);

/* A watched file descriptor. fn runs outside any coroutine with the events that came. */
enum loop_fd_events { LOOP_FD_READ = 1, LOOP_FD_WRITE = 2 };
struct loop_fd;

/*
 * Watch @fd, level-triggered, and make it non-blocking. What cannot be polled (a
 * regular file, /dev/null) counts as always ready. Nothing is reported until
 * loop_fd_set_events(). The fd stays the caller's, must stay open until
 * loop_fd_free(), and has one watch at most. Not in a simulation.
 */
struct loop_fd *loop_fd_new(struct loop *loop, int fd,
			    void (*fn)(void *arg, unsigned events), void *arg);
/*
 * Of the data path: when its events have been following each other closely, the loop
 * looks for the next one for a moment before it sleeps (base/lookout.h), for @most_ns at
 * most; 0: it does not. Cheap to call often.
 */
void loop_fd_look_for(struct loop_fd *w, uint64_t most_ns);
/* LOOP_FD_* to report from now on; 0 for none. Cheap to call often. */
void loop_fd_set_events(struct loop_fd *w, unsigned events);
/* Stop watching; @fn will not run again. May be called from @fn itself. NULL is allowed. */
void loop_fd_free(struct loop_fd *w);

#endif
