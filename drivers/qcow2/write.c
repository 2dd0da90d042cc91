/* SPDX-License-Identifier: MIT */
/*
 * Writing. Node's loop.
 *
 * A request is cut into pieces, each of which either overwrites clusters in
 * place or gets new clusters and table entries; pieces of one request go on at
 * the same time.
 *
 * 1. In place only where the entry says that the cluster's refcount is one, its
 *    L2 table's as well, and the data is not known as zero.
 * 2. Otherwise the piece holds an exclusive task: entries are changed (linked)
 *    after the data, with what was copied around it, has been written.
 * 3. A piece that fails before linking gives its new clusters back.
 */
#include <stdalign.h>

#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/parallel.h"
#include "drivers/qcow2/task.h"

#define PIECES_AT_ONCE 8
/* Repetitions of the zeroes in one write. */
#define ZERO_IOVECS 16

struct piece {
	struct parallel_part part;
	struct qcow2 *q;
	struct task task;
	uint64_t offset, bytes; /* of the guest */
	struct vec v;
	uint64_t host;          /* where @offset goes */
	bool links;             /* not in place: the rest is valid */
	struct slice *slice;    /* pinned */
	struct cow cow;
	struct allocation new;  /* count 0: clusters kept for zeroes are reused */
};

/* Never written to: it stays the kernel's zero page. */
static alignas(BUFFER_ALIGNMENT) uint8_t zeroes[ZEROES_BYTES];

const uint8_t *qcow2_zeroes(void)
{
	return zeroes;
}

static uint64_t cluster_of(const struct qcow2 *q, uint64_t offset)
{
	return offset >> q->cluster_bits;
}

/* Whether @bytes at @offset, in one cluster, can be overwritten in place. */
static bool is_in_place(const struct qcow2 *q, struct l2_entry entry, uint64_t offset,
			uint64_t bytes)
{
	uint64_t granule = qcow2_granule_bytes(q);

	if (!qcow2_l2_is_ours(entry) || !qcow2_l2_is_possible(q, entry))
		return false;
	for (uint64_t at = align_down(offset, granule); at < offset + bytes; at += granule) {
		if (qcow2_l2_type(q, entry, at) != CLUSTER_NORMAL)
			return false;
	}
	return true;
}

/* How much of @bytes at @offset lies in the same cluster. */
static uint64_t in_same_cluster(const struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	return MIN(bytes, q->cluster_bytes - qcow2_in_cluster(q, offset));
}

/* How much of @bytes at @offset, all in one slice, can be overwritten in one go at *ret_host. */
static uint64_t in_place_run(const struct qcow2 *q, const struct slice *slice, uint64_t offset,
			     uint64_t bytes, uint64_t *ret_host)
{
	uint64_t done = 0;

	*ret_host = 0;
	while (done < bytes) {
		uint64_t at = offset + done, n = in_same_cluster(q, at, bytes - done);
		struct l2_entry entry = qcow2_l2_load(q, slice, at);
		uint64_t host = (entry.descriptor & ENTRY_OFFSET) + qcow2_in_cluster(q, at);

		if (!is_in_place(q, entry, at, n))
			break;
		if (done == 0)
			*ret_host = host;
		else if (host != *ret_host + done)
			break;
		done += n;
	}
	return done;
}

/* 1 when the piece shall overwrite in place, 0 when it cannot, -EAGAIN after waiting. */
static int co_fn try_in_place(struct qcow2 *q, struct piece *p)
{
	uint64_t index = qcow2_l1_index(q, p->offset), table;

	if (index >= q->l1.count || !(q->l1.entries[index] & ENTRY_COPIED))
		return 0;
	int r = qcow2_l1_entry(q, index, &table);

	if (r < 0 || table == 0)
		return r;
	uint64_t at = qcow2_l2_slice_offset(q, table, p->offset);
	struct slice *slice = qcow2_cache_find(&q->l2_cache, at);

	if (!slice) {
		r = qcow2_cache_get(&q->l2_cache, at, &slice);
		if (r < 0)
			return r;
		qcow2_cache_put(&q->l2_cache, slice);
		return -EAGAIN; /* it waited: begin again with what is true now */
	}
	uint64_t bytes = in_place_run(q, slice, p->offset, p->bytes, &p->host);

	if (bytes == 0)
		return 0;
	r = qcow2_task_in_place(q, &p->task, cluster_of(q, p->offset),
				cluster_of(q, p->offset + bytes - 1));
	if (r < 0)
		return r;
	p->bytes = bytes;
	p->links = false;
	return 1;
}

/* The number of clusters, from the piece's first on, that can be treated alike. */
static int co_fn count_alike(struct qcow2 *q, struct piece *p, uint64_t *ret_count)
{
	uint64_t max = p->task.last - p->task.first + 1, count = 0;
	struct l2_entry first = qcow2_l2_load(q, p->slice, p->offset);

	for (; count < max; count++) {
		uint64_t start = (p->task.first + count) << q->cluster_bits;
		uint64_t at = MAX(start, p->offset);
		uint64_t bytes = in_same_cluster(q, at, p->offset + p->bytes - at);
		struct l2_entry entry = qcow2_l2_load(q, p->slice, at);

		if (!qcow2_l2_is_possible(q, entry)) {
			if (count == 0)
				return qcow2_l2_corrupt(q, entry, at);
			break;
		}
		if (qcow2_l2_is_ours(entry) != qcow2_l2_is_ours(first) || is_in_place(q, entry, at, bytes))
			break;
		if (qcow2_l2_is_ours(entry) &&
		    (entry.descriptor & ENTRY_OFFSET) !=
			    (first.descriptor & ENTRY_OFFSET) + (count << q->cluster_bits))
			break;
	}
	/* Somebody may have filled just the first cluster while we waited: then all over again. */
	*ret_count = count;
	return count == 0 ? -EAGAIN : 0;
}

/* What has to be copied around a write to the cluster that @entry describes. */
static uint64_t cow_unit(const struct qcow2 *q, struct l2_entry entry)
{
	bool moves = !qcow2_l2_is_ours(entry) &&
		     (entry.descriptor & (ENTRY_OFFSET | ENTRY_COMPRESSED));

	return moves ? q->cluster_bytes : qcow2_granule_bytes(q);
}

static void plan_cow(struct qcow2 *q, struct piece *p)
{
	uint64_t end = p->offset + p->bytes;
	uint64_t head_unit = cow_unit(q, qcow2_l2_load(q, p->slice, p->offset));
	uint64_t tail_unit = cow_unit(q, qcow2_l2_load(q, p->slice, end - 1));

	p->cow = (struct cow){
		.guest = p->offset,
		.bytes = p->bytes,
		.host = p->host,
		.head = p->offset & (head_unit - 1),
		.tail = align_up(end, tail_unit) - end,
		.fresh = p->new.count > 0 && p->new.fresh,
	};
}

/* With the exclusive task held: get a slice and clusters. */
static int co_fn prepare_link(struct qcow2 *q, struct piece *p)
{
	uint64_t count = 0;
	int r = qcow2_l2_slice_for_write(q, p->offset, &p->slice);

	if (r < 0)
		return r;
	r = count_alike(q, p, &count);
	struct l2_entry first = qcow2_l2_load(q, p->slice, p->offset);

	uint64_t host = first.descriptor & ENTRY_OFFSET;

	p->new = (struct allocation){0};
	if (r == 0 && !qcow2_l2_is_ours(first)) {
		r = qcow2_allocate(q, count, &p->new);
		host = p->new.offset;
		count = p->new.count;
	}
	if (r < 0) {
		qcow2_cache_put(&q->l2_cache, p->slice);
		return r;
	}
	qcow2_task_shorten(&p->task, p->task.first + count - 1);
	p->host = host + qcow2_in_cluster(q, p->offset);
	p->bytes = MIN(p->bytes, ((p->task.last + 1) << q->cluster_bits) - p->offset);
	p->links = true;
	plan_cow(q, p);
	return 0;
}

/*
 * 0 when the piece, perhaps shortened, holds its task and knows where to write; -EAGAIN after
 * waiting, when all must be looked up again; or an error.
 */
static int co_fn try_prepare(struct qcow2 *q, struct piece *p)
{
	uint64_t span = qcow2_slice_span(q);

	p->bytes = MIN(p->bytes, span - (p->offset & (span - 1)));
	int r = try_in_place(q, p);

	if (r != 0)
		return MIN(r, 0);
	r = qcow2_task_exclusive(q, &p->task, cluster_of(q, p->offset),
				 cluster_of(q, p->offset + p->bytes - 1));
	if (r < 0)
		return r;
	p->bytes = MIN(p->bytes, ((p->task.last + 1) << q->cluster_bits) - p->offset);
	r = prepare_link(q, p);
	if (r < 0)
		qcow2_task_end(&p->task);
	return r;
}

/* The subclusters that hold data of the piece in the cluster at @start. */
static uint32_t written_subclusters(const struct qcow2 *q, const struct cow *c, uint64_t start)
{
	uint64_t from = MAX(c->guest - c->head, start);
	uint64_t to = MIN(c->guest + c->bytes + c->tail, start + q->cluster_bytes);
	unsigned first = (from - start) >> q->granule_bits;
	unsigned end = (to - start) >> q->granule_bits;

	return ((UINT64_C(1) << end) - 1) & ~((UINT64_C(1) << first) - 1);
}

/* Let the tables show what has been written. Does not wait. */
static void link_piece(struct qcow2 *q, struct piece *p)
{
	uint64_t host = p->host - qcow2_in_cluster(q, p->offset);

	for (uint64_t cluster = p->task.first; cluster <= p->task.last; cluster++) {
		uint64_t start = cluster << q->cluster_bits;
		struct l2_entry old = qcow2_l2_load(q, p->slice, start);
		struct l2_entry new = {.descriptor = host | ENTRY_COPIED};

		if (q->extended_l2 && cow_unit(q, old) == q->cluster_bytes) {
			new.bitmap = UINT32_MAX;
		} else if (q->extended_l2) {
			uint64_t written = written_subclusters(q, &p->cow, start);

			new.bitmap = (old.bitmap | written) & ~(written << 32);
		}
		if (p->new.count > 0)
			qcow2_l2_free(q, old, FREE_OTHER);
		qcow2_l2_store(q, p->slice, start, new);
		host += q->cluster_bytes;
	}
}

static int co_fn run_link(struct qcow2 *q, struct piece *p)
{
	int r = qcow2_cow_write(q, &p->cow, p->v);

	if (r == 0)
		link_piece(q, p);
	qcow2_cache_put(&q->l2_cache, p->slice);
	qcow2_task_end(&p->task);
	if (r < 0 && p->new.count > 0)
		qcow2_unallocate(q, p->new.offset, p->new.count);
	return r < 0 ? r : qcow2_reclaim_some(q, false);
}

static int co_fn run_in_place(struct qcow2 *q, struct piece *p)
{
	unsigned parity = qcow2_epoch_enter(q);
	int r = qcow2_overlap_check(q, p->host, p->bytes, 0);

	qcow2_event(q, BLKDEBUG_EVENT_WRITE_AIO);
	if (r == 0)
		r = edge_writev(q->node->file, p->host, p->bytes, p->v, 0);
	qcow2_epoch_leave(q, parity);
	qcow2_task_end(&p->task);
	return r;
}

static int co_fn run_piece(struct qcow2 *q, struct piece *p)
{
	return p->links ? run_link(q, p) : run_in_place(q, p);
}

static int co_fn run_part(struct parallel_part *part)
{
	struct piece *p = container_of(part, struct piece, part);

	return run_piece(p->q, p);
}

static int co_fn prepare(struct qcow2 *q, struct piece *p, uint64_t offset, uint64_t bytes,
			 struct vec v)
{
	int r;

	do {
		*p = (struct piece){.q = q, .offset = offset, .bytes = bytes, .v = v};
		r = q->node->corrupt ? -EIO : try_prepare(q, p);
	} while (r == -EAGAIN);
	return r;
}

/* The rest of a request whose first piece, @first, does not cover it. */
static int co_fn write_pieces(struct qcow2 *q, struct piece *first, uint64_t offset,
			      uint64_t bytes, struct vec v)
{
	struct parallel parallel;
	struct piece *p = NEW(struct piece);
	int r = 0;

	qcow2_parallel_init(&parallel, q->loop, PIECES_AT_ONCE);
	*p = *first;
	/* Tasks are on a list by their address; who waits for one finds the other. */
	list_insert_between(&p->task.link, first->task.link.prev, first->task.link.next);
	co_queue_init(&p->task.waiters);
	co_queue_wake_all(&first->task.waiters);
	for (;;) {
		offset += p->bytes;
		bytes -= p->bytes;
		v = vec_advance(v, p->bytes);
		p->part.run = run_part;
		qcow2_parallel_start(&parallel, &p->part);
		if (bytes == 0 || parallel.error < 0)
			break;
		p = NEW(struct piece);
		r = prepare(q, p, offset, bytes, v);
		if (r < 0) {
			free(p);
			break;
		}
	}
	int result = qcow2_parallel_wait(&parallel);

	return result < 0 ? result : r;
}

static int co_fn write_data(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct vec v)
{
	struct piece p;
	int r = prepare(q, &p, offset, bytes, v);

	if (r < 0)
		return r;
	return p.bytes == bytes ? run_piece(q, &p) : write_pieces(q, &p, offset, bytes, v);
}

int co_fn qcow2_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
		      unsigned flags)
{
	struct qcow2 *q = n->state;

	if (bytes == 0)
		return 0;
	if (!q->writing) {
		int r = qcow2_begin_writing(q, NULL);

		if (r < 0)
			return r;
	}
	if (flags & REQUEST_COMPRESSED)
		return qcow2_write_compressed(q, offset, bytes, v);
	return write_data(q, offset, bytes, v);
}

/* A view of at most ZERO_IOVECS times ZEROES_BYTES zeroes. */
static struct vec zeroes_vec(struct iovec *iov, uint64_t bytes)
{
	unsigned n = 0;

	for (uint64_t left = bytes; left > 0; left -= iov[n++].iov_len)
		iov[n] = (struct iovec){zeroes, MIN(left, ZEROES_BYTES)};
	return (struct vec){.iov = iov, .count = n};
}

int co_fn qcow2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	struct iovec iov[ZERO_IOVECS];
	int r = 0;

	while (bytes > 0 && r == 0) {
		uint64_t n = MIN(bytes, ZERO_IOVECS * ZEROES_BYTES);

		r = write_data(q, offset, n, zeroes_vec(iov, n));
		offset += n;
		bytes -= n;
	}
	return r;
}

int co_fn qcow2_zero_host(struct qcow2 *q, uint64_t offset, uint64_t bytes)
{
	struct iovec iov[ZERO_IOVECS];
	int r = 0;

	while (bytes > 0 && r == 0) {
		uint64_t n = MIN(bytes, ZERO_IOVECS * ZEROES_BYTES);

		r = edge_writev(q->node->file, offset, n, zeroes_vec(iov, n), 0);
		offset += n;
		bytes -= n;
	}
	return r;
}
