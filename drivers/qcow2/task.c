/* SPDX-License-Identifier: MIT */
/*
 * Writes under way, by guest cluster, so that those that change table entries
 * and those that rely on them keep out of each other's way. Node's loop.
 *
 * 1. Two tasks touch a common cluster only if both are in place.
 * 2. Whoever holds a task never waits for another, so that there is no cycle.
 * Looking for conflicts is linear in the requests under way, of which there are
 * some dozens; overwriting allocated clusters looks at exclusive tasks only.
 */
#include "drivers/qcow2/task.h"

static struct task *find_conflict(const struct list *tasks, uint64_t first, uint64_t last)
{
	struct task *t;

	list_for_each(t, tasks, link) {
		if (t->first <= last && first <= t->last)
			return t;
	}
	return NULL;
}

static void begin(struct list *tasks, struct task *t, uint64_t first, uint64_t last)
{
	t->first = first;
	t->last = last;
	co_queue_init(&t->waiters);
	list_add_tail(tasks, &t->link);
}

int co_fn qcow2_task_in_place(struct qcow2 *q, struct task *t, uint64_t first, uint64_t last)
{
	struct task *other = find_conflict(&q->exclusive, first, last);

	if (other) {
		co_queue_wait(&other->waiters);
		return -EAGAIN;
	}
	begin(&q->in_place, t, first, last);
	return 0;
}

int co_fn qcow2_task_exclusive(struct qcow2 *q, struct task *t, uint64_t first, uint64_t last)
{
	struct task *other;

	while ((other = find_conflict(&q->exclusive, first, last)) ||
	       (other = find_conflict(&q->in_place, first, last))) {
		if (other->first <= first) {
			co_queue_wait(&other->waiters);
			return -EAGAIN;
		}
		last = other->first - 1;
	}
	begin(&q->exclusive, t, first, last);
	return 0;
}

void qcow2_task_shorten(struct task *t, uint64_t last)
{
	if (last == t->last)
		return;
	t->last = last;
	co_queue_wake_all(&t->waiters);
}

void qcow2_task_end(struct task *t)
{
	list_del_init(&t->link);
	co_queue_wake_all(&t->waiters);
}
