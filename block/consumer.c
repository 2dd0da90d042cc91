/* SPDX-License-Identifier: MIT */
/*
 * Consumers and their operations. Loop's thread.
 */
#include "block/consumer.h"

#include <assert.h>

#include "base/cleanup.h"
#include "block/drain.h"
#include "block/graph.h"
#include "block/iothread.h"

void consumer_init(struct consumer *c, struct graph *g, const struct consumer_ops *ops)
{
	*c = (struct consumer){.graph = g, .ops = ops};
	list_init(&c->edges);
	list_add_tail(&g->consumers, &c->link);
	co_queue_init(&c->waiting);
	co_queue_init(&c->draining);
}

void consumer_finish(struct consumer *c)
{
	assert(list_is_empty(&c->edges));
	assert(c->operations == 0);
	assert(co_queue_is_empty(&c->waiting));
	drain_forget_consumer(c);
	iothread_unref(TAKE(c->home));
	list_del_init(&c->link);
}

void co_fn consumer_enter(struct consumer *c)
{
	while (c->quiesced > 0)
		co_queue_wait(&c->waiting);
	c->operations++;
}

void consumer_join(struct consumer *c)
{
	c->operations++;
}

void consumer_leave(struct consumer *c)
{
	assert(c->operations > 0);
	c->operations--;
	if (c->operations == 0 && c->quiesced > 0)
		co_queue_wake_all(&c->draining);
}
