/* SPDX-License-Identifier: MIT */
/*
 * Writing data into clusters that the tables do not show yet, together with the
 * old data around it. Node's loop, inside an exclusive task.
 *
 * 1. Old data is read as the guest would see it: the tables still show the old
 *    clusters, and the task keeps them from changing.
 * 2. Head, data and tail go out as one write wherever that is no waste. Zeroes
 *    are not written to clusters that were never written before.
 */
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/overlap.h"

/* More zeroes than that are left to the file's own way of zeroing. */
#define ZEROES_IN_WRITE_MAX ZEROES_BYTES
/* With its zeroes, head and tail; more take memory. */
#define IOVECS_ON_STACK 16

/* Old data on one side of the write. */
struct side {
	uint64_t guest, host, bytes;
	uint8_t *data; /* NULL when it is all zero */
	bool skipped;  /* needs no write */
};

static int co_fn side_read(struct qcow2 *q, struct side *s, bool fresh)
{
	bool is_zero = true;

	if (s->bytes == 0)
		return 0;
	uint8_t *data = buffer_get(q->loop, s->bytes);

	if (!data)
		return -ENOMEM;
	qcow2_event(q, BLKDEBUG_EVENT_COW_READ);
	int r = qcow2_read_guest(q, s->guest, s->bytes, data, &is_zero);

	if (r == 0 && !is_zero) {
		s->data = data;
		return 0;
	}
	buffer_put(q->loop, data, s->bytes);
	s->skipped = is_zero && fresh;
	return r;
}

/* Zeroes too long to be carried in the write are written apart, first. */
static int co_fn side_zero(struct qcow2 *q, struct side *s)
{
	if (s->bytes == 0 || s->data || s->skipped || s->bytes <= ZEROES_IN_WRITE_MAX)
		return 0;
	s->skipped = true;
	qcow2_event(q, BLKDEBUG_EVENT_CLUSTER_ALLOC_SPACE);
	return qcow2_zero_host(q, s->host, s->bytes);
}

static unsigned side_iovec(const struct side *s, struct iovec *ret)
{
	if (s->bytes == 0 || s->skipped)
		return 0;
	*ret = (struct iovec){s->data ? s->data : (void *)qcow2_zeroes(), s->bytes};
	return 1;
}

static int co_fn write_merged(struct qcow2 *q, const struct cow *c, const struct side *head,
			      const struct side *tail, struct vec v)
{
	struct iovec on_stack[IOVECS_ON_STACK], *iov = on_stack;
	uint64_t offset = c->host, bytes = c->bytes;

	if (v.count + 2 > IOVECS_ON_STACK)
		iov = xalloc(v.count + 2, sizeof(struct iovec));
	unsigned n = side_iovec(head, iov);

	if (n > 0) {
		offset -= head->bytes;
		bytes += head->bytes;
	}
	qcow2_event(q, BLKDEBUG_EVENT_COW_WRITE);
	qcow2_event(q, BLKDEBUG_EVENT_WRITE_AIO);
	int middle = vec_to_iovecs(v, c->bytes, iov + n, v.count);

	n += middle;
	if (side_iovec(tail, iov + n)) {
		n++;
		bytes += tail->bytes;
	}
	int r = middle < 0 ? middle
			   : edge_writev(q->node->file, offset, bytes,
					 (struct vec){.iov = iov, .count = n}, 0);

	if (iov != on_stack)
		free(iov);
	return r;
}

int co_fn qcow2_cow_write(struct qcow2 *q, const struct cow *c, struct vec v)
{
	struct side head = {c->guest - c->head, c->host - c->head, c->head, NULL, false};
	struct side tail = {c->guest + c->bytes, c->host + c->bytes, c->tail, NULL, false};
	int r = qcow2_overlap_check(q, head.host, head.bytes + c->bytes + tail.bytes, 0);

	if (r < 0)
		return r;
	if (head.bytes == 0 && tail.bytes == 0) {
		qcow2_event(q, BLKDEBUG_EVENT_WRITE_AIO);
		return edge_writev(q->node->file, c->host, c->bytes, v, 0);
	}
	r = side_read(q, &head, c->fresh);
	if (r == 0)
		r = side_read(q, &tail, c->fresh);
	if (r == 0)
		r = side_zero(q, &head);
	if (r == 0)
		r = side_zero(q, &tail);
	if (r == 0)
		r = write_merged(q, c, &head, &tail, v);
	if (head.data)
		buffer_put(q->loop, head.data, head.bytes);
	if (tail.data)
		buffer_put(q->loop, tail.data, tail.bytes);
	return r;
}
