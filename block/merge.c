/* SPDX-License-Identifier: MIT */
#include "block/merge.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"

/* A transfer on its coroutine's stack. */
struct member {
	struct list link; /* in q->waiting; then, but for the leader, in its run */
	const struct transfer *t;
	struct coroutine *waiter;
	bool is_done;
	int64_t result; /* when done */

	/* Of a leader, whose coroutine does the work for all. */
	struct list run; /* the others, in the order of their offsets */
	unsigned count, iovecs;
	uint64_t end;
};

static bool crosses(const struct merge_queue *q, uint64_t begin, uint64_t end)
{
	return q->boundary > 0 && begin / q->boundary != (end - 1) / q->boundary;
}

static unsigned max_count(const struct merge_queue *q, const struct member *leader)
{
	return q->outstanding / (leader->t->is_write ? q->write_part : q->read_part);
}

static bool may_join(const struct merge_queue *q, const struct member *leader,
		     const struct transfer *t)
{
	const struct transfer *first = leader->t;
	return first->is_write == t->is_write && leader->end == t->offset &&
	       t->bytes <= q->max_bytes && leader->end - first->offset <= q->max_bytes - t->bytes &&
	       t->v.count <= q->max_iovecs && leader->iovecs <= q->max_iovecs - t->v.count &&
	       !crosses(q, first->offset, t->offset + t->bytes);
}

static void settle(struct loop_deferred *d)
{
	struct merge_queue *q = container_of(d, struct merge_queue, settle);
	struct member *m, *leader = NULL;

	while ((m = list_first(&q->waiting, struct member, link))) {
		list_del_init(&m->link);
		if (leader && leader->count < max_count(q, leader) && may_join(q, leader, m->t)) {
			list_add_tail(&leader->run, &m->link);
			leader->count++;
			leader->iovecs += m->t->v.count;
			leader->end += m->t->bytes;
		} else {
			leader = m;
			co_wake(m->waiter);
		}
	}
}

void merge_queue_init(struct merge_queue *q, struct loop *loop)
{
	q->loop = loop;
	q->outstanding = 0;
	list_init(&q->waiting);
	loop_deferred_init(&q->settle, settle);
}

/* What the run's @result means for the part of it that begins @skip bytes into it. */
static int64_t share(const struct transfer *t, int64_t result, uint64_t skip)
{
	if (t->is_write || result < 0)
		return result;
	return (int64_t)MIN((uint64_t)result > skip ? (uint64_t)result - skip : 0, t->bytes);
}

static void co_fn run_together(struct merge_queue *q, struct member *leader)
{
	const struct transfer *first = leader->t;
	struct iovec *iov _cleanup_free_ = xalloc(leader->iovecs, sizeof(*iov));
	unsigned count = (unsigned)vec_to_iovecs(first->v, first->bytes, iov, leader->iovecs);
	struct member *m;

	list_for_each (m, &leader->run, link)
		count += (unsigned)vec_to_iovecs(m->t->v, m->t->bytes, iov + count,
						 leader->iovecs - count);
	int64_t result = q->run(q->arg, &(struct transfer){
		.is_write = first->is_write,
		.offset = first->offset,
		.bytes = leader->end - first->offset,
		.v = {.iov = iov, .count = count},
	});
	/* One bad spot must not spoil what lies beside it. */
	bool is_done = result >= 0 || first->is_write || result == -ETIMEDOUT;
	leader->is_done = is_done;
	leader->result = share(first, result, 0);
	while ((m = list_first(&leader->run, struct member, link))) {
		list_del_init(&m->link);
		m->is_done = is_done;
		m->result = share(m->t, result, m->t->offset - first->offset);
		co_wake(m->waiter);
	}
}

int64_t co_fn merge_transfer(struct merge_queue *q, const struct transfer *t)
{
	struct member m = {
		.t = t,
		.waiter = co_self(),
		.count = 1,
		.iovecs = t->v.count,
		.end = t->offset + t->bytes,
	};
	list_init(&m.run);
	list_add_tail(&q->waiting, &m.link);
	q->outstanding++;
	loop_defer(q->loop, &q->settle);
	co_yield();
	if (m.count > 1)
		run_together(q, &m);
	int64_t r = m.is_done ? m.result : q->run(q->arg, t);
	q->outstanding--;
	return r;
}
