/* SPDX-License-Identifier: MIT */
#include "block/readahead.h"

#include <errno.h>

#include "base/buffer.h"

static void release(struct readahead *a, struct readahead_chunk *c)
{
	if (c->data && !c->is_current && c->users == 0) {
		buffer_put(a->loop, c->data, c->end - c->start);
		c->data = NULL;
		c->begun_ns = 0;
	}
}

static void forget(struct readahead *a, struct readahead_chunk *c)
{
	c->is_current = false;
	release(a, c);
}

static void forget_older(struct readahead *a, uint64_t ns)
{
	for (unsigned i = 0; i < READAHEAD_CHUNKS; i++) {
		struct readahead_chunk *c = &a->chunks[i];
		if (c->is_current && c->begun_ns + READAHEAD_LIFE_NS <= ns)
			forget(a, c);
	}
}

static void set_expiry(struct readahead *a)
{
	uint64_t oldest = UINT64_MAX;
	for (unsigned i = 0; i < READAHEAD_CHUNKS; i++) {
		if (a->chunks[i].is_current)
			oldest = MIN(oldest, a->chunks[i].begun_ns);
	}
	if (oldest != UINT64_MAX)
		loop_timer_set(&a->expiry, oldest + READAHEAD_LIFE_NS);
}

static void on_expiry(struct loop_timer *t)
{
	struct readahead *a = container_of(t, struct readahead, expiry);
	forget_older(a, loop_now_ns(a->loop));
	set_expiry(a);
}

void readahead_init(struct readahead *a, struct loop *loop)
{
	a->loop = loop;
	co_group_init(&a->working);
	loop_timer_init(loop, &a->expiry, on_expiry);
}

void readahead_drop(struct readahead *a)
{
	for (unsigned i = 0; i < READAHEAD_CHUNKS; i++)
		forget(a, &a->chunks[i]);
}

void co_fn readahead_finish(struct readahead *a)
{
	co_group_wait(&a->working);
	readahead_drop(a);
	loop_timer_cancel(&a->expiry);
}

/* How much was read in order before the read of @bytes at @offset. */
static uint64_t note_read(struct readahead *a, uint64_t offset, uint64_t bytes)
{
	struct readahead_stream *s = &a->streams[0];
	for (unsigned i = 0; i < READAHEAD_STREAMS; i++) {
		struct readahead_stream *other = &a->streams[i];
		if (other->next == offset && other->in_order > 0) {
			s = other;
			break;
		}
		if (other->used < s->used)
			s = other;
	}
	uint64_t before = s->next == offset ? s->in_order : 0;
	*s = (struct readahead_stream){
		.next = offset + bytes,
		.in_order = before + bytes,
		.used = ++a->reads,
	};
	return before;
}

static struct readahead_chunk *find(struct readahead *a, uint64_t offset, uint64_t bytes)
{
	for (unsigned i = 0; i < READAHEAD_CHUNKS; i++) {
		struct readahead_chunk *c = &a->chunks[i];
		if (c->is_current && c->start <= offset && offset + bytes <= c->end)
			return c;
	}
	return NULL;
}

/* NULL when all are in use, or there is no memory. */
static struct readahead_chunk *begin_chunk(struct readahead *a, uint64_t start, uint64_t end)
{
	struct readahead_chunk *c = NULL;
	for (unsigned i = 0; i < READAHEAD_CHUNKS; i++) {
		struct readahead_chunk *other = &a->chunks[i];
		if (other->users == 0 && (!c || other->begun_ns < c->begun_ns))
			c = other;
	}
	if (!c)
		return NULL;
	forget(a, c);
	void *data = buffer_get(a->loop, end - start);
	if (!data)
		return NULL;
	*c = (struct readahead_chunk){
		.ahead = a,
		.start = start,
		.end = end,
		.data = data,
		.begun_ns = loop_now_ns(a->loop),
		.is_current = true,
		.is_loading = true,
	};
	co_queue_init(&c->loaded);
	if (!loop_timer_is_set(&a->expiry))
		set_expiry(a);
	return c;
}

static void co_fn load(struct readahead_chunk *c)
{
	struct readahead *a = c->ahead;
	struct iovec storage;
	uint64_t bytes = c->end - c->start;
	c->result = a->read(a->arg, c->start, bytes, vec_flat(&storage, c->data, bytes));
	c->is_loading = false;
	if (c->result < 0)
		c->is_current = false;
	co_queue_wake_all(&c->loaded);
}

static void co_fn work(void *arg)
{
	struct readahead_chunk *c = arg;
	struct readahead *a = c->ahead;
	load(c);
	c->users--;
	release(a, c);
	a->work_end(a->arg);
	co_group_done(&a->working);
}

/* Have @count chunks from @start on read, as far as they are not there, while nobody waits. */
static void begin_next(struct readahead *a, uint64_t start, uint64_t count, uint64_t size)
{
	for (; count > 0 && start < size; count--) {
		uint64_t end = MIN(align_down(start, a->chunk_bytes) + a->chunk_bytes, size);
		struct readahead_chunk *c = find(a, start, 1) ? NULL : begin_chunk(a, start, end);
		start = end;
		if (!c)
			continue;
		c->users++;
		a->work_begin(a->arg);
		co_group_add(&a->working);
		co_start(a->loop, work, c);
	}
}

/* Give a read its part of @c, which is loaded. */
static int64_t take(struct readahead_chunk *c, uint64_t offset, uint64_t bytes, struct vec v)
{
	uint64_t skip = offset - c->start;
	uint64_t there = (uint64_t)c->result > skip ? MIN((uint64_t)c->result - skip, bytes) : 0;
	if (there > 0)
		vec_from_buffer(v, (const char *)c->data + skip, there);
	/* Who reads in order does not come back. */
	c->taken += bytes;
	if (c->taken >= c->end - c->start)
		c->is_current = false;
	return (int64_t)there;
}

int64_t co_fn readahead_read(struct readahead *a, uint64_t offset, uint64_t bytes, struct vec v,
			     uint64_t size)
{
	if (bytes >= a->chunk_bytes || offset >= size || bytes > size - offset)
		return a->read(a->arg, offset, bytes, v);
	uint64_t before = note_read(a, offset, bytes);
	forget_older(a, loop_now_ns(a->loop));
	struct readahead_chunk *c = find(a, offset, bytes);
	bool is_first = !c;
	if (!c && before >= READAHEAD_BEGIN) {
		uint64_t end = MIN(align_down(offset, a->chunk_bytes) + a->chunk_bytes, size);
		end = MIN(end, offset + bytes + before);
		if (end > offset + bytes)
			c = begin_chunk(a, offset, end);
	}
	if (!c)
		return a->read(a->arg, offset, bytes, v);
	c->users++;
	if (a->work_begin)
		begin_next(a, c->end, MIN((before + bytes) / a->chunk_bytes, READAHEAD_DISTANCE),
			   size);
	if (is_first)
		load(c);
	while (c->is_loading)
		co_queue_wait(&c->loaded);
	int64_t r = c->result < 0 ? c->result : take(c, offset, bytes, v);
	c->users--;
	release(a, c);
	/* What was not asked for may have been at fault. */
	return r < 0 && r != -ETIMEDOUT ? a->read(a->arg, offset, bytes, v) : r;
}
