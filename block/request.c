/* SPDX-License-Identifier: MIT */
/*
 * Waiting among requests. Node's loop.
 */
#include "block/request.h"

bool request_is_excluded(const struct request *rq)
{
	const struct request *other;
	list_for_each (other, &rq->node->requests, link) {
		if (other == rq)
			return false;
		if ((other->serialising || rq->serialising) && other->start < rq->end &&
		    rq->start < other->end)
			return true;
	}
	return false;
}

void co_fn request_wait(struct request *rq)
{
	while (request_is_excluded(rq))
		co_queue_wait(&rq->node->conflicts);
}

int co_fn request_begin_serialising(struct request *rq, struct node *n, uint64_t offset,
				    uint64_t bytes, uint64_t align, unsigned flags)
{
	*rq = (struct request){
		.node = n,
		.number = n->begun++,
		.start = align_down(offset, align),
		.end = align_up(offset + bytes, align),
		.serialising = true,
	};
	list_add_tail(&n->requests, &rq->link);
	if (request_is_excluded(rq) && (flags & REQUEST_NO_WAIT)) {
		list_del_init(&rq->link);
		return -EBUSY;
	}
	n->serialising++;
	request_wait(rq);
	return 0;
}
