/* SPDX-License-Identifier: MIT */
/*
 * Giving host clusters back. Node's loop.
 *
 * 1. A refcount falls only after the tables without the reference are durable:
 *    until then, what was freed waits on qcow2.freed, as if still in use. A crash
 *    leaks it.
 * 2. A cluster whose refcount falls to 0 is not given out before all data I/O
 *    that was looked up earlier has ended: it may still go to that cluster.
 * 3. A cluster is discarded in the file before its refcount falls, so that the
 *    discard cannot hit a new owner's data.
 */
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/refcount.h"

/* How much may wait before a request that frees more stops to reclaim it. */
#define RECLAIM_BYTES (64 * MiB)
#define RECLAIM_RANGES 16384
/* Clusters looked at in one go. */
#define LOOK_AT 4096

static void append(struct freed_list *l, uint64_t cluster, uint32_t count, uint8_t reason)
{
	struct freed_range *last = l->count > 0 ? &l->ranges[l->count - 1] : NULL;

	l->clusters += count;
	if (last && last->cluster + last->count == cluster && last->reason == reason &&
	    count <= UINT32_MAX - last->count) {
		last->count += count;
		return;
	}
	if (l->count == l->capacity) {
		l->capacity = l->capacity ? 2 * l->capacity : 16;
		l->ranges = xrealloc(l->ranges, l->capacity, sizeof(struct freed_range));
	}
	l->ranges[l->count++] = (struct freed_range){cluster, count, reason};
}

void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum free_reason reason)
{
	uint64_t first = offset >> q->cluster_bits;
	uint64_t last = (offset + bytes - 1) >> q->cluster_bits;

	append(&q->freed, first, last - first + 1, reason);
}

void qcow2_freed_list_append(struct freed_list *to, struct freed_list *from)
{
	for (unsigned i = 0; i < from->count; i++)
		append(to, from->ranges[i].cluster, from->ranges[i].count, from->ranges[i].reason);
	qcow2_freed_list_finish(from);
}

void qcow2_freed_list_finish(struct freed_list *list)
{
	free(list->ranges);
	*list = (struct freed_list){0};
}

/* Wait for the data I/O of epochs before now. */
static void co_fn epoch_wait(struct qcow2 *q)
{
	unsigned old = q->epoch++ & 1;

	while (q->in_flight[old] > 0)
		co_queue_wait(&q->epoch_waiters);
}

/* Length of the part of @range, from its start, whose clusters all have one reference, or all not. */
static int co_fn last_references(struct qcow2 *q, const struct freed_range *range, uint64_t done,
				 bool *ret_last, uint32_t *ret_count)
{
	*ret_count = 0;
	while (done + *ret_count < range->count && *ret_count < LOOK_AT) {
		uint64_t refcount;
		int r = qcow2_refcount_get(q, range->cluster + done + *ret_count, &refcount);

		if (r < 0)
			return r;
		if (*ret_count == 0)
			*ret_last = refcount == 1;
		else if (*ret_last != (refcount == 1))
			break;
		++*ret_count;
	}
	return 0;
}

/* Let no more compressed data go to clusters that are about to be discarded. */
static void stop_filling(struct qcow2 *q, uint64_t first, uint64_t count)
{
	uint64_t cluster = q->compressed_next >> q->cluster_bits;

	if (first <= cluster && cluster < first + count)
		q->compressed_next = 0;
}

/*
 * Discard in the file what loses its last reference. Failures do not matter.
 * Nobody else lowers refcounts meanwhile, as we hold reclaim_lock.
 */
static void co_fn discard_in_file(struct qcow2 *q, const struct freed_range *range)
{
	if (!q->settings.discards[range->reason])
		return;
	for (uint64_t done = 0; done < range->count;) {
		bool is_last = false;
		uint32_t count;

		co_mutex_lock(&q->lock);
		int r = last_references(q, range, done, &is_last, &count);

		if (r == 0 && is_last)
			stop_filling(q, range->cluster + done, count);
		co_mutex_unlock(&q->lock);
		if (r < 0)
			return;
		uint64_t offset = (range->cluster + done) << q->cluster_bits;
		uint64_t size = qcow2_file_size(q);

		if (is_last && offset < size)
			(void)edge_discard(q->node->file, offset,
					   MIN((uint64_t)count << q->cluster_bits, size - offset));
		done += count;
	}
}

int co_fn qcow2_reclaim(struct qcow2 *q, struct freed_list *list)
{
	int result = 0;

	co_mutex_lock(&q->reclaim_lock);
	epoch_wait(q);
	for (unsigned i = 0; i < list->count; i++)
		discard_in_file(q, &list->ranges[i]);
	qcow2_event(q, BLKDEBUG_EVENT_CLUSTER_FREE);
	co_mutex_lock(&q->lock);
	for (unsigned i = 0; i < list->count; i++) {
		int r = qcow2_refcount_decrement(q, list->ranges[i].cluster,
						 list->ranges[i].count);

		if (r < 0 && result == 0)
			result = r;
	}
	co_mutex_unlock(&q->lock);
	co_mutex_unlock(&q->reclaim_lock);
	qcow2_freed_list_finish(list);
	return result;
}

int co_fn qcow2_reclaim_some(struct qcow2 *q, bool for_space)
{
	if (q->freed.count < RECLAIM_RANGES &&
	    (!for_space || q->freed.clusters << q->cluster_bits < RECLAIM_BYTES))
		return 0;
	return qcow2_flush_metadata(q, FLUSH_RECLAIM);
}
