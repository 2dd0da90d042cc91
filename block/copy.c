/* SPDX-License-Identifier: MIT */
/*
 * Copying between nodes. Control thread; coroutines of one loop, so that nothing
 * moves but at waits.
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

#include "base/buffer.h"
#include "base/loop.h"
#include "block/dirty_bitmap.h"
#include "block/graph.h"
#include "block/io.h"
#include "block/node_internal.h"

/* A zero piece costs no buffer, but a pause point should not be far away. */
#define ZERO_PIECE_MAX (UINT64_C(64) << 20)
/* Pieces that take less time grow, those that take more shrink. */
#define PIECE_SHORT_NS UINT64_C(10000000)
#define PIECE_LONG_NS UINT64_C(200000000)

/*
 * Urgent copies that take longer than this wait for the pieces of sweeps: these get
 * less room then, and more again after so long without a slow one.
 */
#define URGENT_SLOW_NS UINT64_C(10000000)
#define URGENT_MEMORY_NS UINT64_C(1000000000)
/* Pieces of one urgent copy that are in flight at a time. */
#define URGENT_PIECES 8

/* What a sweep may have in flight while users are at work, and how long its pieces are then. */
#define CONSIDERATE_ROOM (UINT64_C(1) << 20)
#define CONSIDERATE_PIECE (CONSIDERATE_ROOM / 4)

enum piece_kind { PIECE_DATA, PIECE_ZERO, PIECE_UNKNOWN, PIECE_UP };

/* A call of copy_urgently(), on its stack. */
struct urgent {
	unsigned pieces; /* in flight */
	int result;
};

struct piece {
	struct list link; /* in copy.in_flight or copy.failed */
	struct copy *copy;
	uint64_t offset, bytes;
	enum piece_kind kind;
	struct dirty_bitmap *bitmap; /* is dirty there again if it fails; NULL: it is tried again */
	bool is_urgent;
	struct urgent *urgent; /* the call that waits for it; NULL when that has given up */
	bool forgiven; /* a failure is nobody's business */
};

struct copy {
	struct copy_settings settings;
	struct loop *loop;
	struct list in_flight, failed; /* struct piece */
	struct list holds;             /* struct copy_hold, in the order of their coming */
	unsigned swept_count; /* of the pieces in flight, those of a sweep, */
	unsigned urgent_count; /* and the others */
	uint64_t in_flight_bytes, swept_bytes;
	struct co_queue changed; /* a piece or a hold has ended */
	uint64_t piece_bytes, piece_limit; /* of data */
	uint64_t room; /* bytes of sweeps in flight at most, as urgent copies need it */
	uint64_t room_changed_ns;
	bool is_considerate; /* users are at work */
	uint64_t data_end; /* what copy_dirty() finds dirty up to there is data */
	struct dirty_bitmap *bitmap; /* that copy_dirty() sweeps; else NULL */
	bool is_up;                  /* copy_up() is under way: */
	uint64_t given, reported;    /* so far pieces have been given out, and is all done */
	struct piece *in_hand;       /* waits to be started; NULL for none */
	int result;

	/* What copy_allocated() and copy_up() know of the range before extent_end. */
	uint64_t extent_end;
	bool extent_allocated;
	enum piece_kind extent_kind;
};

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
}

void co_fn copy_wait_idle(struct copy *c)
{
	while (c->swept_count > 0)
		co_queue_wait(&c->changed);
}

/* --- One piece --------------------------------------------------------------- */

static int co_fn copy_data(struct copy *c, uint64_t offset, uint64_t bytes, bool *ret_is_read)
{
	void *buffer = buffer_get(c->loop, bytes);
	if (!buffer)
		return -ENOMEM;
	*ret_is_read = true;
	int r = edge_read(c->settings.source, offset, bytes, buffer, 0);
	if (r >= 0) {
		*ret_is_read = false;
		r = edge_write(c->settings.target, offset, bytes, buffer, c->settings.write_flags);
	}
	buffer_put(c->loop, buffer, bytes);
	return r;
}

static int co_fn copy_kind(struct copy *c, enum piece_kind kind, uint64_t offset, uint64_t bytes,
			   bool *ret_is_read)
{
	const struct copy_hooks *hooks = c->settings.hooks;
	if (hooks && hooks->transfer)
		return hooks->transfer(c->settings.arg, offset, bytes, kind != PIECE_DATA,
				       ret_is_read);
	if (kind == PIECE_DATA)
		return copy_data(c, offset, bytes, ret_is_read);
	*ret_is_read = kind == PIECE_UP;
	if (kind == PIECE_UP)
		return edge_readv(c->settings.source, offset, bytes, (struct vec){0},
				  REQUEST_COPY_ON_READ | REQUEST_PREFETCH);
	return edge_zero(c->settings.target, offset, bytes,
			 c->settings.allocates_zeroes ? 0 : REQUEST_MAY_UNMAP);
}

/*
 * How much of an extent to copy at once: whole clusters, of which those that are
 * zero only in part are data.
 */
static uint64_t choose_step(const struct copy *c, const struct extent *x, uint64_t bytes,
			    bool *ret_is_zero)
{
	uint64_t cluster = c->settings.cluster;
	*ret_is_zero = (x->flags & EXTENT_ZERO) && (x->bytes >= MIN(cluster, bytes));
	if (*ret_is_zero)
		return x->bytes == bytes ? bytes : x->bytes - x->bytes % cluster;
	/* A granule of a bitmap may be larger than a buffer should be. */
	uint64_t max = MAX(COPY_PIECE_MAX, cluster);
	return MIN(MIN(align_up(x->bytes, cluster), max), bytes);
}

/* Ask first what the range, which begins at a cluster, holds, part by part. */
static int co_fn copy_unknown(struct copy *c, uint64_t offset, uint64_t bytes, bool *ret_is_read)
{
	while (bytes > 0) {
		struct extent x;
		*ret_is_read = true;
		int r = node_status(c->settings.source->child, offset, bytes, &x);
		if (r >= 0 && x.bytes == 0)
			r = -EIO; /* the source has become shorter */
		if (r < 0)
			return r;
		bool is_zero;
		uint64_t step = choose_step(c, &x, bytes, &is_zero);
		r = copy_kind(c, is_zero ? PIECE_ZERO : PIECE_DATA, offset, step, ret_is_read);
		if (r < 0)
			return r;
		offset += step;
		bytes -= step;
	}
	return 0;
}

/* Let the size of data pieces follow the time that a full one took. */
static void adapt(struct copy *c, const struct piece *p, uint64_t took_ns)
{
	if (took_ns > PIECE_LONG_NS)
		c->piece_bytes = MAX(c->piece_bytes / 2, COPY_PIECE_MIN);
	else if (took_ns < PIECE_SHORT_NS && p->bytes >= c->piece_bytes)
		c->piece_bytes = MIN(c->piece_bytes * 2, COPY_PIECE_MAX);
}

/* What a failure means for the copying. 0 when the piece counts as done, else @error. */
static int judge(struct copy *c, bool is_read, int error)
{
	enum copy_verdict verdict = c->settings.hooks->failed(c->settings.arg, is_read, error);
	if (verdict == COPY_LEAVE_OUT && c->is_up)
		return 0;
	if (verdict == COPY_GIVE_UP && c->result == 0)
		c->result = error;
	return error;
}

/* Returns 0 when the piece counts as done, else its error. */
static int end_swept(struct piece *p, int r, bool is_read)
{
	struct copy *c = p->copy;
	consumer_leave(c->settings.consumer);
	if (r < 0 && !p->forgiven)
		r = judge(c, is_read, r);
	c->swept_count--;
	c->swept_bytes -= p->bytes;
	return r;
}

/* Sweeps get half of the room while urgent copies are slow. */
static void adapt_room(struct copy *c, uint64_t took_ns)
{
	if (took_ns <= URGENT_SLOW_NS)
		return;
	c->room = MIN(c->room, c->settings.workers * COPY_PIECE_MAX);
	c->room = MAX(c->room / 2, COPY_PIECE_MIN);
	c->room_changed_ns = loop_now_ns(c->loop);
}

static void end_urgent(struct piece *p, int r)
{
	struct copy *c = p->copy;
	c->urgent_count--;
	if (!p->urgent) {
		node_work_end(c->settings.source->parent);
		return;
	}
	p->urgent->pieces--;
	if (r < 0 && p->urgent->result == 0)
		p->urgent->result = r;
}

/* Users of copy_up() see how far all is done, as if it went from the start to the end. */
static void report_up(struct copy *c)
{
	uint64_t done = c->in_hand ? MIN(c->given, c->in_hand->offset) : c->given;
	const struct piece *p;
	list_for_each (p, &c->in_flight, link)
		done = MIN(done, p->offset);
	list_for_each (p, &c->failed, link)
		done = MIN(done, p->offset);
	if (done > c->reported)
		c->settings.hooks->advanced(c->settings.arg, done - c->reported);
	c->reported = MAX(c->reported, done);
}

static void end_piece(struct piece *p, int r, bool is_read)
{
	struct copy *c = p->copy;
	if (r < 0 && p->bitmap)
		dirty_bitmap_set(p->bitmap, p->offset, p->bytes);
	if (p->is_urgent)
		end_urgent(p, r);
	else
		r = end_swept(p, r, is_read);

	list_del_init(&p->link);
	c->in_flight_bytes -= p->bytes;
	if (r >= 0 && c->settings.hooks && !c->is_up)
		c->settings.hooks->advanced(c->settings.arg, p->bytes);
	if (r < 0 && !p->bitmap)
		list_add_tail(&c->failed, &p->link);
	else
		free(p);
	if (c->is_up)
		report_up(c);
	co_queue_wake_all(&c->changed);
}

static void co_fn piece_main(void *arg)
{
	struct piece *p = arg;
	struct copy *c = p->copy;
	bool is_read = false;
	uint64_t begin_ns = loop_now_ns(c->loop);
	int r = p->kind == PIECE_UNKNOWN
			? copy_unknown(c, p->offset, p->bytes, &is_read)
			: copy_kind(c, p->kind, p->offset, p->bytes, &is_read);
	uint64_t took_ns = loop_now_ns(c->loop) - begin_ns;
	if (r >= 0 && c->settings.discards_source)
		edge_discard(c->settings.source, p->offset, p->bytes);
	if (p->is_urgent)
		adapt_room(c, took_ns);
	else if (p->kind != PIECE_ZERO)
		adapt(c, p, took_ns);
	end_piece(p, r, is_read);
}

static bool meets(uint64_t offset, uint64_t bytes, uint64_t other, uint64_t other_bytes)
{
	return offset < other + other_bytes && other < offset + bytes;
}

static bool meets_piece(const struct copy *c, uint64_t offset, uint64_t bytes)
{
	const struct piece *p;
	list_for_each (p, &c->in_flight, link) {
		if (meets(offset, bytes, p->offset, p->bytes))
			return true;
	}
	return false;
}

/* A hold that came before @before, or any hold when that is NULL. */
static bool meets_hold(const struct copy *c, uint64_t offset, uint64_t bytes,
		       const struct copy_hold *before)
{
	const struct copy_hold *h;
	list_for_each (h, &c->holds, link) {
		if (h == before)
			return false;
		if (meets(offset, bytes, h->offset, h->bytes))
			return true;
	}
	return false;
}

void co_fn copy_hold(struct copy *c, struct copy_hold *h, uint64_t offset, uint64_t bytes)
{
	*h = (struct copy_hold){.offset = offset, .bytes = bytes};
	list_add_tail(&c->holds, &h->link);
	while (meets_piece(c, offset, bytes) || meets_hold(c, offset, bytes, h))
		co_queue_wait(&c->changed);
}

void copy_release(struct copy *c, struct copy_hold *h)
{
	list_del_init(&h->link);
	co_queue_wake_all(&c->changed);
}

/* Give sweeps more room again when urgent copies have not been slow for a while. */
static uint64_t room_now(struct copy *c)
{
	uint64_t now_ns = loop_now_ns(c->loop);
	if (c->room < c->settings.workers * COPY_PIECE_MAX &&
	    now_ns - c->room_changed_ns > URGENT_MEMORY_NS) {
		c->room *= 2;
		c->room_changed_ns = now_ns;
	}
	return c->is_considerate ? MIN(c->room, CONSIDERATE_ROOM) : c->room;
}

/* True when a piece of a sweep may begin: one may always be in flight. */
static bool has_room(struct copy *c, uint64_t bytes)
{
	if (c->swept_count == 0)
		return true;
	return c->swept_count < c->settings.workers && c->swept_bytes + bytes <= room_now(c);
}

/*
 * Begin an operation in which a worker is free for the range. False, and no
 * operation, when the copying is over.
 */
static bool co_fn enter(struct copy *c, uint64_t offset, uint64_t bytes)
{
	consumer_enter(c->settings.consumer);
	while (c->result == 0 && (!has_room(c, bytes) || meets_piece(c, offset, bytes) ||
				  meets_hold(c, offset, bytes, NULL)))
		co_queue_wait(&c->changed);
	if (c->result == 0)
		return true;
	consumer_leave(c->settings.consumer);
	return false;
}

static void start_piece(struct copy *c, struct piece *p)
{
	list_add_tail(&c->in_flight, &p->link);
	p->forgiven = false;
	c->in_flight_bytes += p->bytes;
	co_start(c->loop, piece_main, p);
}

/* The operation that enter() began becomes the piece's. */
static void start_swept(struct copy *c, struct piece *p)
{
	c->swept_count++;
	c->swept_bytes += p->bytes;
	start_piece(c, p);
}

static struct piece *piece_new(struct copy *c, uint64_t offset, uint64_t bytes,
			       enum piece_kind kind)
{
	struct piece *p = NEW(struct piece);
	*p = (struct piece){.copy = c, .offset = offset, .bytes = bytes, .kind = kind};
	list_init(&p->link);
	return p;
}

/* Ask for permission to go on. False when the copying is over. */
static bool co_fn admit(struct copy *c, uint64_t bytes)
{
	int r = c->settings.hooks->admit(c->settings.arg, bytes);
	if (r < 0 && c->result == 0)
		c->result = r;
	return c->result == 0;
}

static uint64_t data_piece_max(const struct copy *c)
{
	uint64_t max = MIN(MIN(c->piece_bytes, c->piece_limit), c->settings.piece_max);
	if (c->is_considerate)
		max = MIN(max, CONSIDERATE_PIECE);
	/* Two pieces at least share what room there is. */
	return MIN(max, MAX(c->room / 2, COPY_PIECE_MIN));
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
		if (judge(c, true, r) < 0)
			return false;
		x = (struct extent){.bytes = MIN(bytes, data_piece_max(c))};
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
	uint64_t max = c->extent_kind == PIECE_DATA ? data_piece_max(c) : ZERO_PIECE_MAX;
	uint64_t unit = COPY_PIECE_MIN;
	if (c->settings.cluster > 1) {
		unit = MAX(unit, c->settings.cluster);
		max = MAX(align_down(max, unit), unit);
	}
	bytes = MIN(bytes, max - start % unit);
	*offset = start + bytes;
	return piece_new(c, start, bytes, c->is_up ? PIECE_UP : c->extent_kind);
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
			report_up(c);
		if (p) {
			if (!admit(c, p->bytes) || !enter(c, p->offset, p->bytes)) {
				c->given = MIN(c->given, p->offset);
				c->in_hand = NULL;
				free(p);
				break;
			}
			c->in_hand = NULL;
			start_swept(c, p);
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
	struct piece *p = piece_new(c, offset, bytes, PIECE_UNKNOWN);
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
	uint64_t data = MAX(data_piece_max(c), dirty_bitmap_granularity(b));
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
		if (!admit(c, bytes) || !enter(c, offset, bytes))
			break;
		/* An urgent copy may have taken a part of it over both waits, or all. */
		if (dirty_bitmap_next_area(b, offset, bytes, &offset, &bytes) && offset < end) {
			bytes = MIN(bytes, end - offset);
			start_swept(c, take_dirty(c, b, offset, bytes));
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
		start_piece(c, p);
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
		if (u.pieces == 0 && (u.result < 0 || !meets_piece(c, offset, end - offset)))
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
	while (meets_piece(c, offset, bytes))
		co_queue_wait(&c->changed);
}
