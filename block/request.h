/* SPDX-License-Identifier: MIT */
/*
 * Requests in flight on a node, and how they wait for each other. Only block/
 * includes it. Node's loop, in a coroutine.
 *
 * Requests stand in the node's list in the order of their arrival. Two that
 * overlap exclude each other when at least one of them serialises; the one that
 * came later waits. Since nobody waits for a later one, the waiting ends.
 */
#ifndef BLOCK_REQUEST_H
#define BLOCK_REQUEST_H

#include "block/io.h"

/* On the coroutine's stack. */
struct request {
	struct list link; /* in node.requests */
	struct node *node;
	uint64_t number; /* of those of the node that have come */
	uint64_t start, end; /* the bytes that it touches, widened to blocks if it serialises */
	bool serialising;
};

/* Wait until no earlier request excludes @rq. */
void co_fn request_wait(struct request *rq);
/* True when an earlier request excludes @rq. */
bool request_is_excluded(const struct request *rq);

/* Enter a plain request for [@offset, @offset + @bytes). */
static inline void co_fn request_begin(struct request *rq, struct node *n, uint64_t offset,
				       uint64_t bytes)
{
	rq->node = n;
	rq->number = n->begun++;
	rq->start = offset;
	rq->end = offset + bytes;
	rq->serialising = false;
	list_add_tail(&n->requests, &rq->link);
	if (n->serialising > 0)
		request_wait(rq);
}

/*
 * Enter a serialising request for the blocks of @align bytes (a power of two)
 * that the range touches. Returns 0, or -EBUSY, without entering, when it would
 * have to wait and @flags hold REQUEST_NO_WAIT.
 */
int co_fn request_begin_serialising(struct request *rq, struct node *n, uint64_t offset,
				    uint64_t bytes, uint64_t align, unsigned flags);

/* Leave, and let those go on that have waited. */
static inline void request_end(struct request *rq)
{
	struct node *n = rq->node;
	n->serialising -= rq->serialising;
	n->answers++;
	list_del_init(&rq->link);
	if (!list_is_empty(&n->conflicts.waiters))
		co_queue_wake_all(&n->conflicts);
}

#endif
