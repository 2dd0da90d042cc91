/* SPDX-License-Identifier: MIT */
/*
 * A consumer uses nodes and is none itself: an export, a job, a command.
 *
 * All I/O starts at consumers, in operations: consumer_enter() waits while the
 * consumer is quiesced, and a drain waits until every operation has left. I/O
 * inside an operation never waits for a drain, so that one request may depend
 * on another without a deadlock.
 */
#ifndef BLOCK_CONSUMER_H
#define BLOCK_CONSUMER_H

#include "base/coroutine.h"

struct consumer;
struct graph;
struct iothread;
struct node;

struct consumer_ops {
	/* What an error message calls it, such as "block job 'j1'" or "NBD server". Free with free(). */
	char *(*describe)(const struct consumer *c);
	/* Optional: a node below changed its size. Must not wait. */
	void (*resized)(struct consumer *c);
	/* Optional: a drain begins or has ended. Must not wait; wakes whoever it delays. */
	void (*quiesce)(struct consumer *c);
	void (*resume)(struct consumer *c);
	/* Optional: no operation is left in a drain. Must not wait. Again for each drain. */
	void (*drained)(struct consumer *c);
};

struct consumer {
	struct list link;  /* in graph.consumers */
	struct list edges; /* struct edge.parent_link */
	struct graph *graph;
	const struct consumer_ops *ops;
	/* Users of this node may join operations; NULL for none. A drain that holds one holds both. */
	struct node *joined_from;
	struct iothread *home; /* where its requests would run, referenced; NULL: the loop itself */
	bool is_home_fixed;    /* it cannot be given another; see iothread.h */
	bool bears_inactive; /* sees to it that inactive nodes are only read; see active.h */
	unsigned operations;
	unsigned quiesced; /* drains that hold it */
	struct co_queue waiting;  /* to enter */
	struct co_queue draining; /* for operations to become 0 */
	uint64_t walk_epoch;      /* see walk.h */
};

/* In the caller's memory. */
void consumer_init(struct consumer *c, struct graph *g, const struct consumer_ops *ops);
/* No edge and no operation may be left. A drain that holds it forgets it. */
void consumer_finish(struct consumer *c);

/* Begin an operation; waits while a drain holds the consumer. Operations of one consumer may overlap. */
void co_fn consumer_enter(struct consumer *c);
/* End an operation that was entered or joined. */
void consumer_leave(struct consumer *c);
/*
 * Begin an operation of @c inside one of another consumer whose edges lead to the
 * same nodes, or to c->joined_from. Never waits: every drain that holds @c waits for the
 * other, too.
 */
void consumer_join(struct consumer *c);

#endif
