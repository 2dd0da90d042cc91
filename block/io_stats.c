/* SPDX-License-Identifier: MIT */
/*
 * Counting what consumers ask for, and how far writes reach. Node's loop.
 *
 * Only requests of consumers are counted, and at the node that they use: what
 * one request causes further down is not another one.
 */
#include <assert.h>

#include "base/loop.h"
#include "block/consumer.h"
#include "block/graph.h"
#include "block/io_internal.h"

void io_check_threshold(struct node *n, uint64_t end)
{
	uint64_t threshold = n->write_threshold;
	if (end <= threshold)
		return;
	n->write_threshold = 0;
	if (n->graph->observer->threshold_exceeded)
		n->graph->observer->threshold_exceeded(n, end - threshold, threshold);
}

uint64_t io_count_begin(const struct edge *e)
{
	/* What is outside of an operation would not be waited for by a drain. */
	assert(e->consumer->operations > 0);
	return loop_now_ns(e->child->loop);
}

void io_count_end(const struct edge *e, enum stats_kind kind, uint64_t bytes, uint64_t begin_ns,
		  int result)
{
	struct node_stats *s = &e->child->stats;
	uint64_t now_ns = loop_now_ns(e->child->loop);
	s->last_access_ns = now_ns;
	if (result < 0) {
		s->failed[kind]++;
	} else {
		s->operations[kind]++;
		s->bytes[kind] += bytes;
	}
	s->total_ns[kind] += now_ns - begin_ns;
}

void io_count_invalid(const struct edge *e, enum stats_kind kind)
{
	if (!io_is_counted(e))
		return;
	e->child->stats.invalid[kind]++;
	e->child->stats.last_access_ns = loop_now_ns(e->child->loop);
}
