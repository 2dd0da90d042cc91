/* SPDX-License-Identifier: MIT */
/*
 * What query-blockstats tells. Control thread.
 */
#include "daemon/query_stats.h"

#include "base/loop.h"
#include "block/driver.h"
#include "block/node.h"

static struct block_device_stats *counters(const struct node *n)
{
	const struct node_stats *s = &n->stats;
	struct block_device_stats *ret = NEW(struct block_device_stats);

	ret->rd_bytes = (int64_t)s->bytes[STATS_READ];
	ret->wr_bytes = (int64_t)s->bytes[STATS_WRITE];
	ret->unmap_bytes = (int64_t)s->bytes[STATS_UNMAP];
	ret->rd_operations = (int64_t)s->operations[STATS_READ];
	ret->wr_operations = (int64_t)s->operations[STATS_WRITE];
	ret->flush_operations = (int64_t)s->operations[STATS_FLUSH];
	ret->unmap_operations = (int64_t)s->operations[STATS_UNMAP];
	ret->rd_total_time_ns = (int64_t)s->total_ns[STATS_READ];
	ret->wr_total_time_ns = (int64_t)s->total_ns[STATS_WRITE];
	ret->flush_total_time_ns = (int64_t)s->total_ns[STATS_FLUSH];
	ret->unmap_total_time_ns = (int64_t)s->total_ns[STATS_UNMAP];
	ret->failed_rd_operations = (int64_t)s->failed[STATS_READ];
	ret->failed_wr_operations = (int64_t)s->failed[STATS_WRITE];
	ret->failed_flush_operations = (int64_t)s->failed[STATS_FLUSH];
	ret->failed_unmap_operations = (int64_t)s->failed[STATS_UNMAP];
	ret->invalid_rd_operations = (int64_t)s->invalid[STATS_READ];
	ret->invalid_wr_operations = (int64_t)s->invalid[STATS_WRITE];
	ret->invalid_flush_operations = (int64_t)s->invalid[STATS_FLUSH];
	ret->invalid_unmap_operations = (int64_t)s->invalid[STATS_UNMAP];
	ret->wr_highest_offset = (int64_t)s->highest_written;
	if (s->last_access_ns) {
		ret->has_idle_time_ns = true;
		ret->idle_time_ns = (int64_t)(loop_now_ns(n->loop) - s->last_access_ns);
	}
	/* The data path counts the time of failed and invalid requests as well. */
	ret->account_failed = true;
	ret->account_invalid = true;
	return ret;
}

struct block_stats *query_node_stats(struct node *n)
{
	struct block_stats *first = NULL;

	for (struct block_stats **next = &first; n; n = n->file ? n->file->child : NULL) {
		struct block_stats *s = NEW(struct block_stats);
		s->node_name = xstrdup(n->name);
		s->stats = counters(n);
		if (n->driver->specific_stats)
			s->driver_specific = n->driver->specific_stats(n);
		*next = s;
		next = &s->parent;
	}
	return first;
}
