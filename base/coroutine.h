/* SPDX-License-Identifier: MIT */
/*
 * Stackful coroutines and the ways in which they wait for each other.
 *
 * A coroutine belongs to the loop that started it and never leaves it. Waking
 * one puts it at the end of its loop's ready list; it never runs inside the
 * waker. A function that may wait is marked co_fn and is called from a
 * coroutine only. Nothing here may be called from another thread: that is what
 * loop_post() is for.
 *
 * Stacks are 64 KiB with a guard page and come from a pool.
 */
#ifndef BASE_COROUTINE_H
#define BASE_COROUTINE_H

#include "base/list.h"

struct loop;
struct coroutine;

/* Marks a function that may wait. */
#define co_fn

typedef void co_fn co_entry(void *arg);

/*
 * Make a coroutine that will run @entry(@arg), and queue it on @loop, which is
 * the calling thread's. It frees itself when @entry returns. Aborts when no
 * memory for a stack is left.
 */
struct coroutine *co_start(struct loop *loop, co_entry *entry, void *arg);

/* The running coroutine, or NULL outside of any. */
struct coroutine *co_self(void);

/*
 * Suspend the running coroutine until somebody calls co_wake() on it. Each
 * yield is answered by exactly one wake; who waits for a condition that several
 * may signal uses a co_queue.
 */
void co_fn co_yield(void);

/* Queue @co, which is suspended in co_yield(), on its loop. Never switches. */
void co_wake(struct coroutine *co);

/* Let everything that is ready run first. */
void co_fn co_reschedule(void);

/* Suspend for at least @ns nanoseconds of the loop's clock. */
void co_fn co_sleep_ns(uint64_t ns);

/*
 * Run fn(arg) on a worker thread and wait for it; returns its result. @fn must
 * not touch anything that belongs to a loop. In a simulated loop it runs at
 * once, in place.
 */
int co_fn co_blocking(int (*fn)(void *arg), void *arg);

/* Coroutines that wait, first come first served. */
struct co_queue {
	struct list waiters;
};

void co_queue_init(struct co_queue *q);
/* Wait until woken. The condition must be looked at again afterwards. */
void co_fn co_queue_wait(struct co_queue *q);
/* Wake the first waiter, or all that are waiting now. False: nobody waited. */
bool co_queue_wake_one(struct co_queue *q);
void co_queue_wake_all(struct co_queue *q);
bool co_queue_is_empty(const struct co_queue *q);

/* Mutual exclusion between coroutines of one loop; fair; not recursive. */
struct co_mutex {
	struct coroutine *owner;
	struct co_queue waiters;
};

void co_mutex_init(struct co_mutex *m);
void co_fn co_mutex_lock(struct co_mutex *m);
void co_mutex_unlock(struct co_mutex *m);

/* Many readers or one writer; a waiting writer holds back new readers. */
struct co_rwlock {
	unsigned readers;
	bool has_writer;
	unsigned waiting_writers;
	struct co_queue read_waiters, write_waiters;
};

void co_rwlock_init(struct co_rwlock *l);
void co_fn co_rwlock_read(struct co_rwlock *l);
void co_fn co_rwlock_write(struct co_rwlock *l);
void co_rwlock_read_unlock(struct co_rwlock *l);
void co_rwlock_write_unlock(struct co_rwlock *l);

/* A count of things under way, and a place to wait until there are none. */
struct co_group {
	unsigned count;
	struct co_queue waiters;
};

void co_group_init(struct co_group *g);
void co_group_add(struct co_group *g);
void co_group_done(struct co_group *g);
void co_fn co_group_wait(struct co_group *g);

#endif
