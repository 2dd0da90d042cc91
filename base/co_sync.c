/* SPDX-License-Identifier: MIT */
/*
 * How coroutines of one loop wait for each other. The loop's thread only.
 *
 * Locks are handed over: who unlocks makes the first waiter the owner before it
 * runs, so that nobody overtakes and a woken waiter need not look again.
 */
#include <assert.h>

#include "base/coroutine.h"
#include "base/coroutine_internal.h"

void co_queue_init(struct co_queue *q)
{
	list_init(&q->waiters);
}

void co_queue_wait(struct co_queue *q)
{
	struct coroutine *co = co_self();
	assert(co);
	list_add_tail(&q->waiters, &co->link);
	co_yield();
}

bool co_queue_wake_one(struct co_queue *q)
{
	struct coroutine *co = list_first(&q->waiters, struct coroutine, link);
	if (!co)
		return false;
	list_del_init(&co->link);
	co_wake(co);
	return true;
}

void co_queue_wake_all(struct co_queue *q)
{
	/* A wake runs nobody, so nobody can join the queue meanwhile. */
	while (co_queue_wake_one(q))
		;
}

bool co_queue_is_empty(const struct co_queue *q)
{
	return list_is_empty(&q->waiters);
}

void co_mutex_init(struct co_mutex *m)
{
	m->owner = NULL;
	co_queue_init(&m->waiters);
}

void co_mutex_lock(struct co_mutex *m)
{
	struct coroutine *self = co_self();
	assert(self && m->owner != self);
	if (!m->owner) {
		m->owner = self;
		return;
	}
	co_queue_wait(&m->waiters);
	assert(m->owner == self);
}

void co_mutex_unlock(struct co_mutex *m)
{
	assert(m->owner && m->owner == co_self());
	m->owner = list_first(&m->waiters.waiters, struct coroutine, link);
	co_queue_wake_one(&m->waiters);
}

void co_rwlock_init(struct co_rwlock *l)
{
	*l = (struct co_rwlock){0};
	co_queue_init(&l->read_waiters);
	co_queue_init(&l->write_waiters);
}

/*
 * Let in whoever may enter a lock that is free or held by readers: one writer
 * when it is free; all waiting readers when no writer waits, or when a writer
 * has just left (@readers_first), so that neither side starves the other.
 */
static void admit(struct co_rwlock *l, bool readers_first)
{
	assert(!l->has_writer);
	if (l->waiting_writers == 0 || readers_first) {
		while (co_queue_wake_one(&l->read_waiters))
			l->readers++;
	}
	if (l->readers == 0 && l->waiting_writers > 0) {
		l->waiting_writers--;
		l->has_writer = true;
		co_queue_wake_one(&l->write_waiters);
	}
}

void co_rwlock_read(struct co_rwlock *l)
{
	if (!l->has_writer && l->waiting_writers == 0) {
		assert(co_self());
		l->readers++;
		return;
	}
	co_queue_wait(&l->read_waiters); /* counted by admit() */
}

void co_rwlock_write(struct co_rwlock *l)
{
	if (!l->has_writer && l->readers == 0) {
		assert(co_self());
		l->has_writer = true;
		return;
	}
	l->waiting_writers++;
	co_queue_wait(&l->write_waiters);
}

void co_rwlock_read_unlock(struct co_rwlock *l)
{
	assert(l->readers > 0);
	l->readers--;
	admit(l, false);
}

void co_rwlock_write_unlock(struct co_rwlock *l)
{
	assert(l->has_writer);
	l->has_writer = false;
	admit(l, true);
}

void co_group_init(struct co_group *g)
{
	g->count = 0;
	co_queue_init(&g->waiters);
}

void co_group_add(struct co_group *g)
{
	g->count++;
}

void co_group_done(struct co_group *g)
{
	assert(g->count > 0);
	g->count--;
	if (g->count == 0)
		co_queue_wake_all(&g->waiters);
}

void co_group_wait(struct co_group *g)
{
	/* More may have been added between the wake and our turn. */
	while (g->count > 0)
		co_queue_wait(&g->waiters);
}
