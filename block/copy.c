/* SPDX-License-Identifier: MIT */
/*
 * Copying between nodes. Control thread; coroutines of one loop, so that nothing
 * moves but at waits. Here is what finds the pieces; what becomes of them is in
 * copy_piece.c.
 *
 * Invariants:
 * 1. Of two pieces or holds that overlap, the later one begins after the earlier
 *    has ended: old data never lands on top of new.
 * 2. A piece that failed is in the failed list, or dirty again, before it leaves
 *    the list of those in flight. So it is never forgotten.
 * 3. A piece in flight is inside an operation: of the consumer, or of the user
 *    who copies urgently. So it never waits for a drain, and a user's operation may
 *    wait for it. Only after a timeout does it become work of the edges' node.
 * 4. What a bitmap has dirty is cleared in it exactly when a piece begins, and set
 *    again before a failed one ends: a dirty granule is never in flight.
 */
#include "block/copy.h"

#include <assert.h>
#include <stdlib.h>

#include "block/copy_internal.h"
#include "block/dirty_bitmap.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/node_internal.h"

/* A zero piece costs no buffer, but a pause point should not be far away. */
#define ZERO_PIECE_MAX (UINT64_C(64) << 20)
/* Pieces of one urgent copy that are in flight at a time. */
#define URGENT_PIECES 8

struct copy *copy_create(const struct copy_settings *s)
{
	struct copy *c = NEW(struct copy);
	c->settings.source = s->source;
	c->settings.target = s->target;
	copy_configure(c, s);
	c->loop = s->source->child->graph->loop;
	list_init(&c->in_flight);
	list_init(&c->failed);
	list_init(&c->holds);
	co_queue_init(&c->changed);
	c->piece_bytes = COPY_PIECE_MAX / 4;
	c->piece_limit = COPY_PIECE_MAX;
	c->room = UINT64_MAX;
	return c;
}

void copy_configure(struct copy *c, const struct copy_settings *s)
{
	struct edge *source = c->settings.source, *target = c->settings.target;
	assert(c->swept_count == 0);
	c->settings = *s;
	c->settings.source = source;
	c->settings.target = target;
	if (c->settings.workers == 0)
		c->settings.workers = COPY_WORKERS_DEFAULT;
	if (c->settings.piece_max == 0)
		c->settings.piece_max = COPY_PIECE_MAX;
	c->settings.cluster = MAX(c->settings.cluster, 1);
}

static void free_failed(struct copy *c)
{
	struct piece *p;
	while ((p = list_first(&c->failed, struct piece, link))) {
		list_del_init(&p->link);
		free(p);
	}
}

void copy_destroy(struct copy *c)
{
	if (!c)
		return;
	assert(list_is_empty(&c->in_flight) && list_is_empty(&c->holds));
	free_failed(c);
	free(c);
}

void copy_limit_piece(struct copy *c, uint64_t bytes)
{
	bytes = align_down(bytes, COPY_PIECE_MIN);
	c->piece_limit = MIN(MAX(bytes, COPY_PIECE_MIN), COPY_PIECE_MAX);
}

void copy_fix_piece(struct copy *c, uint64_t bytes)
{
	c->piece_fixed = bytes;
}

void copy_set_considerate(struct copy *c, bool is_considerate)
{
	c->is_considerate = is_considerate;
}

uint64_t copy_bytes_in_flight(const struct copy *c)
{
	return c->in_flight_bytes;
}

void copy_forgive_in_flight(struct copy *c)
{
	struct piece *p;
	list_for_each (p, &c->in_flight, link)
		p->forgiven = true;
	c->is_stopped = true;
}

void co_fn copy_wait_idle(struct copy *c)
{
	while (c->swept_count > 0)
		co_queue_wait(&c->changed);
}

/* Ask for permission to go on. False when the copying is over. */
static bool co_fn admit(struct copy *c, uint64_t bytes)
{
	int r = c->settings.hooks->admit(c->settings.arg, bytes);
	c->is_stopped = false;
	if (r < 0 && c->result == 0)
		c->result = r;
	return c->result == 0;
}

/* --- What is allocated ---------------------------------------------------------- */

/* The extent ends with a cluster; one that is zero or absent only in part is data. */
static void round_extent(struct copy *c, uint64_t offset, uint64_t end)
{
	uint64_t cluster = c->settings.cluster;
	bool is_data = c->extent_allocated && c->extent_kind == PIECE_DATA;
	if (c->extent_end == end || cluster <= 1)
		return;
	if (!is_data && align_down(c->extent_end, cluster) > offset) {
		c->extent_end = align_down(c->extent_end, cluster);
		return;
	}
	c->extent_end = MIN(align_up(c->extent_end, cluster), end);
	c->extent_allocated = true;
	c->extent_kind = PIECE_DATA;
}

/* The node below @limit, or @limit itself, is where the layers to copy from end. */
static struct node *end_of_layers(const struct copy *c, struct node *limit)
{
	return c->is_up ? node_chain_next(limit) : limit;
}

/* Learn what is at @offset. False when that failed; then either all is over or it is tried again. */
static bool co_fn look_up(struct copy *c, struct node *limit, uint64_t offset, uint64_t bytes)
{
	struct extent x;
	unsigned depth = 0;
	consumer_enter(c->settings.consumer);
	int r = node_status_above(c->settings.source->child, end_of_layers(c, limit), offset, bytes,
				  &x, &depth);
	consumer_leave(c->settings.consumer);
	if (r >= 0 && x.bytes == 0)
		r = -EIO; /* the source has become shorter */
	if (r < 0) {
		if (copy_judge(c, true, r) < 0)
			return false;
		x = (struct extent){.bytes = MIN(bytes, copy_data_piece_max(c))};
	}
	c->extent_end = offset + x.bytes;
	c->extent_allocated = (x.flags & EXTENT_ALLOCATED) || (!limit && c->settings.copies_holes);
	c->extent_kind = (x.flags & EXTENT_ZERO) || !(x.flags & EXTENT_ALLOCATED) ? PIECE_ZERO
										  : PIECE_DATA;
	round_extent(c, offset, offset + bytes);
	/* What a copy upwards finds in the source itself is where it belongs. */
	if (c->is_up && depth < 2)
		c->extent_allocated = false;
	return true;
}

/* The next piece at *offset, which moves behind it; NULL when there is none yet or no more. */
static struct piece *co_fn next_allocated(struct copy *c, struct node *limit, uint64_t *offset,
					  uint64_t end)
{
	if (*offset >= c->extent_end && !look_up(c, limit, *offset, end - *offset))
		return NULL;
	uint64_t start = *offset, bytes = c->extent_end - start;
	if (!c->extent_allocated) {
		*offset = c->extent_end;
		if (!c->is_up)
			c->settings.hooks->advanced(c->settings.arg, bytes);
		return NULL;
	}
	/* Pieces end at multiples of their size, so that they match the clusters below. */
	uint64_t max = c->extent_kind == PIECE_DATA ? copy_data_piece_max(c) : ZERO_PIECE_MAX;
	uint64_t unit = COPY_PIECE_MIN;
	if (c->settings.cluster > 1) {
		unit = MAX(unit, c->settings.cluster);
		max = MAX(align_down(max, unit), unit);
	}
	bytes = MIN(bytes, max - start % unit);
	*offset = start + bytes;
	return copy_piece_new(c, start, bytes, c->is_up ? PIECE_UP : c->extent_kind);
}

static struct piece *take_failed(struct copy *c)
{
	struct piece *p = list_first(&c->failed, struct piece, link);
	if (p)
		list_del_init(&p->link);
	return p;
}

static int co_fn copy_layers(struct copy *c, struct node *limit, uint64_t bytes)
{
	uint64_t offset = 0;
	c->result = 0;
	c->bitmap = NULL;
	c->extent_end = c->given = c->reported = 0;
	free_failed(c);
	while (admit(c, 0)) {
		struct piece *p = take_failed(c);
		if (!p && offset < bytes)
			p = next_allocated(c, limit, &offset, bytes);
		c->in_hand = p;
		c->given = offset;
		if (c->is_up)
			copy_report_up(c);
		if (p) {
			if (!admit(c, p->bytes) || !copy_enter(c, p->offset, p->bytes)) {
				c->given = MIN(c->given, p->offset);
				c->in_hand = NULL;
				free(p);
				break;
			}
			c->in_hand = NULL;
			copy_start_swept(c, p);
		} else if (offset >= bytes && c->swept_count > 0) {
			/* Those under way may fail and come back. */
			co_queue_wait(&c->changed);
		} else if (offset >= bytes && list_is_empty(&c->failed)) {
			break;
		}
	}
	copy_wait_idle(c);
	return c->result;
}

int co_fn copy_allocated(struct copy *c, struct node *base, uint64_t bytes)
{
	c->is_up = false;
	return copy_layers(c, base, bytes);
}

int co_fn copy_up(struct copy *c, struct node *bottom, uint64_t bytes)
{
	c->is_up = true;
	return copy_layers(c, bottom, bytes);
}

/* --- What is dirty ---------------------------------------------------------------- */

static struct piece *take_dirty(struct copy *c, struct dirty_bitmap *b, uint64_t offset,
				uint64_t bytes)
{
	struct piece *p = copy_piece_new(c, offset, bytes, PIECE_UNKNOWN);
	p->bitmap = b;
	dirty_bitmap_clear(b, offset, bytes);
	return p;
}

/*
 * How much of the dirty area to take as one piece: a long one only where all of it
 * reads as zeroes now. The piece looks again when it has begun.
 */
static uint64_t co_fn piece_of_area(struct copy *c, struct dirty_bitmap *b, uint64_t offset,
				    uint64_t bytes)
{
	/* Bits are cleared for whole granules only. */
	uint64_t data = MAX(copy_data_piece_max(c), dirty_bitmap_granularity(b));
	if (bytes <= data || offset < c->data_end)
		return MIN(bytes, data);
	struct extent x;
	consumer_enter(c->settings.consumer);
	int r = node_status(c->settings.source->child, offset, bytes, &x);
	consumer_leave(c->settings.consumer);
	if (r < 0)
		return data;
	if (!(x.flags & EXTENT_ZERO)) {
		c->data_end = offset + x.bytes;
		return data;
	}
	if (x.bytes == bytes)
		return bytes;
	uint64_t end = align_down(offset + x.bytes, dirty_bitmap_granularity(b));
	return end > offset + data ? end - offset : data;
}

int co_fn copy_dirty(struct copy *c, struct dirty_bitmap *b)
{
	uint64_t cursor = 0, offset, bytes;
	c->result = 0;
	c->bitmap = b;
	c->is_up = false;
	c->data_end = 0;
	while (admit(c, 0) && dirty_bitmap_next_area(b, cursor, ZERO_PIECE_MAX, &offset, &bytes)) {
		bytes = piece_of_area(c, b, offset, bytes);
		uint64_t end = offset + bytes;
		if (!admit(c, bytes) || !copy_enter(c, offset, bytes))
			break;
		/* An urgent copy may have taken a part of it over both waits, or all. */
		if (dirty_bitmap_next_area(b, offset, bytes, &offset, &bytes) && offset < end) {
			bytes = MIN(bytes, end - offset);
			copy_start_swept(c, take_dirty(c, b, offset, bytes));
			cursor = offset + bytes;
		} else {
			consumer_leave(c->settings.consumer);
			cursor = end;
		}
	}
	copy_wait_idle(c);
	return c->result;
}

/* --- What users are about to overwrite ------------------------------------------------ */

/* Begin to copy what is dirty in the range, as far as the call may. */
static void start_urgent(struct copy *c, struct dirty_bitmap *b, uint64_t offset, uint64_t end,
			 struct urgent *u)
{
	uint64_t bytes;
	while (u->pieces < URGENT_PIECES &&
	       dirty_bitmap_next_area(b, offset, MIN(end - offset, COPY_PIECE_MAX), &offset,
				      &bytes) &&
	       offset < end) {
		bytes = MIN(bytes, end - offset);
		struct piece *p = take_dirty(c, b, offset, bytes);
		p->is_urgent = true;
		p->urgent = u;
		u->pieces++;
		c->urgent_count++;
		copy_start_piece(c, p);
		offset += bytes;
	}
}

/* Nobody waits for the pieces of @u any more. */
static void abandon(struct copy *c, struct urgent *u)
{
	struct piece *p;
	list_for_each (p, &c->in_flight, link) {
		if (p->urgent != u || !p->is_urgent)
			continue;
		p->urgent = NULL;
		node_work_begin(c->settings.source->parent);
	}
}

struct alarm {
	struct loop_timer timer;
	struct copy *copy;
	bool rang;
};

static void alarm_fired(struct loop_timer *t)
{
	struct alarm *a = container_of(t, struct alarm, timer);
	a->rang = true;
	co_queue_wake_all(&a->copy->changed);
}

static int co_fn copy_urgently_until(struct copy *c, struct dirty_bitmap *b, uint64_t offset,
				     uint64_t end, const struct alarm *alarm)
{
	struct urgent u = {0};
	for (;;) {
		if (u.result == 0)
			start_urgent(c, b, offset, end, &u);
		if (u.pieces == 0 && (u.result < 0 || !copy_meets_piece(c, offset, end - offset)))
			return u.result;
		if (alarm->rang) {
			abandon(c, &u);
			return -ETIMEDOUT;
		}
		co_queue_wait(&c->changed);
	}
}

int co_fn copy_urgently(struct copy *c, struct dirty_bitmap *b, uint64_t offset, uint64_t bytes,
			uint64_t timeout_ns)
{
	uint64_t granularity = dirty_bitmap_granularity(b);
	uint64_t start = align_down(offset, granularity);
	uint64_t end = align_up(offset + bytes, granularity);
	struct alarm alarm = {.copy = c};
	loop_timer_init(c->loop, &alarm.timer, alarm_fired);
	if (timeout_ns > 0)
		loop_timer_set(&alarm.timer, loop_now_ns(c->loop) + timeout_ns);
	int r = copy_urgently_until(c, b, start, end, &alarm);
	loop_timer_cancel(&alarm.timer);
	return r;
}

void co_fn copy_wait_range(struct copy *c, uint64_t offset, uint64_t bytes)
{
	while (copy_meets_piece(c, offset, bytes))
		co_queue_wait(&c->changed);
}
