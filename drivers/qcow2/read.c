/* SPDX-License-Identifier: MIT */
/*
 * Reading. Node's loop.
 *
 * 1. Between looking a cluster up and entering the epoch of its I/O nothing
 *    waits, so that the cluster cannot get another owner meanwhile.
 * 2. The file may end inside its last data cluster; what is missing is zero. A
 *    cluster that begins at or behind the end was lost with a part of the file:
 *    -EIO.
 */
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/map.h"
#include "drivers/qcow2/parallel.h"

/* Pieces of one request that are read at the same time. */
#define PIECES_AT_ONCE 8

/* As read_host(), for a range that reaches behind the end of the file. */
static int co_fn read_at_end(struct qcow2 *q, uint64_t host, uint64_t bytes, struct vec v)
{
	uint64_t size = qcow2_file_size(q);

	if (align_down(host + bytes - 1, q->cluster_bytes) >= size)
		return qcow2_signal_damage(
			q, "Data cluster at %#" PRIx64 " lies beyond the end of the file",
			align_down(host + bytes - 1, q->cluster_bytes));
	uint64_t present = host < size ? size - host : 0;

	if (present > 0) {
		unsigned parity = qcow2_epoch_enter(q);
		int r = edge_readv(q->node->file, host, present, v, 0);

		qcow2_epoch_leave(q, parity);
		if (r < 0)
			return r;
	}
	vec_fill(vec_advance(v, present), 0, bytes - present);
	return 0;
}

/* Read data clusters; what lies behind the end of the file in its last cluster is zero. */
static int co_fn read_host(struct qcow2 *q, uint64_t host, uint64_t bytes, struct vec v)
{
	qcow2_event(q, BLKDEBUG_EVENT_READ_AIO);
	if (host + bytes > qcow2_file_size(q))
		return read_at_end(q, host, bytes, v);
	unsigned parity = qcow2_epoch_enter(q);
	int r = edge_readv(q->node->file, host, bytes, v, 0);

	qcow2_epoch_leave(q, parity);
	return r;
}

/* A run that is ours, from @offset on. */
static int co_fn read_run(struct qcow2 *q, uint64_t offset, const struct run *run, struct vec v)
{
	switch (run->type) {
	case CLUSTER_NORMAL:
		return read_host(q, run->host, run->bytes, v);
	case CLUSTER_COMPRESSED:
		return qcow2_read_compressed(q, run->descriptor, qcow2_in_cluster(q, offset),
					     run->bytes, v);
	default:
		vec_fill(v, 0, run->bytes);
		return 0;
	}
}

/* Whether the run shows the backing file. */
static bool is_from_backing(const struct qcow2 *q, const struct run *run)
{
	return run->type == CLUSTER_UNALLOCATED && q->node->backing;
}

struct read_piece {
	struct parallel_part part;
	struct qcow2 *q;
	uint64_t offset, bytes;
	struct vec v;
};

/* Reads what is ours of the piece, which was ours when it was made. */
static int co_fn read_piece(struct parallel_part *part)
{
	struct read_piece *p = container_of(part, struct read_piece, part);

	while (p->bytes > 0) {
		struct run run;
		int r = qcow2_map(p->q, p->offset, p->bytes, &run);

		if (r == 0 && is_from_backing(p->q, &run))
			r = -EAGAIN; /* dropped meanwhile, in which case anything may be read */
		if (r == 0)
			r = read_run(p->q, p->offset, &run, p->v);
		if (r < 0)
			return r;
		p->offset += run.bytes;
		p->bytes -= run.bytes;
		p->v = vec_advance(p->v, run.bytes);
	}
	return 0;
}

/*
 * Read what is ours from @offset on, in several pieces at the same time, of
 * which @first is the first. Sets *bytes to how much that was.
 */
static int co_fn read_pieces(struct qcow2 *q, uint64_t offset, uint64_t *bytes,
			     const struct run *first, struct vec v)
{
	struct parallel parallel;
	struct run run = *first;
	uint64_t done = 0;
	int r = 0;

	qcow2_parallel_init(&parallel, q->loop, PIECES_AT_ONCE);
	for (;;) {
		struct read_piece *p = NEW(struct read_piece);

		*p = (struct read_piece){
			{.run = read_piece}, q, offset + done, run.bytes, vec_advance(v, done)};
		qcow2_parallel_start(&parallel, &p->part);
		done += run.bytes;
		if (done == *bytes || parallel.error < 0)
			break;
		r = qcow2_map(q, offset + done, *bytes - done, &run);
		if (r < 0 || is_from_backing(q, &run))
			break; /* an error comes again when somebody asks for just that part */
	}
	*bytes = done;
	return qcow2_parallel_wait(&parallel);
}

int co_fn qcow2_read_some(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			  unsigned flags)
{
	struct qcow2 *q = n->state;

	for (;;) {
		struct run run;
		int r = qcow2_map(q, offset, *bytes, &run);

		if (r < 0)
			return r;
		if (is_from_backing(q, &run)) {
			*bytes = run.bytes;
			qcow2_event(q, BLKDEBUG_EVENT_READ_BACKING_AIO);
			return READ_FROM_BACKING;
		}
		if (run.bytes == *bytes || (flags & REQUEST_PREFETCH)) {
			*bytes = run.bytes;
			return flags & REQUEST_PREFETCH ? 0 : read_run(q, offset, &run, v);
		}
		r = read_pieces(q, offset, bytes, &run, v);
		if (r != -EAGAIN)
			return r;
	}
}

/* Read from the backing file, behind whose end there are zeroes. */
static int co_fn read_backing(struct qcow2 *q, uint64_t offset, uint64_t bytes, uint8_t *p)
{
	uint64_t size = q->node->backing->child->size;
	uint64_t present = offset < size ? MIN(bytes, size - offset) : 0;

	memset(p + present, 0, bytes - present);
	qcow2_event(q, BLKDEBUG_EVENT_READ_BACKING_AIO);
	return present > 0 ? edge_read(q->node->backing, offset, present, p, 0) : 0;
}

int co_fn qcow2_read_guest(struct qcow2 *q, uint64_t offset, uint64_t bytes, void *p,
			   bool *ret_zero)
{
	*ret_zero = true;
	for (uint64_t done = 0; done < bytes;) {
		uint8_t *to = (uint8_t *)p + done;
		struct iovec storage;
		struct run run;
		int r = qcow2_map(q, offset + done, bytes - done, &run);

		if (r == 0 && *ret_zero && !qcow2_run_is_zero(q, offset + done, &run)) {
			*ret_zero = false;
			memset(p, 0, done);
		}
		if (r == 0 && !*ret_zero)
			r = is_from_backing(q, &run)
				    ? read_backing(q, offset + done, run.bytes, to)
				    : read_run(q, offset + done, &run,
					       vec_flat(&storage, to, run.bytes));
		if (r < 0)
			return r;
		done += run.bytes;
	}
	return 0;
}
