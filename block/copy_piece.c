/* SPDX-License-Identifier: MIT */
/*
 * The pieces of a copy: how one is copied, how many are in flight, and who keeps out
 * of whose way. Control thread. The invariants are those of copy.c.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "block/copy_internal.h"
#include "block/dirty_bitmap.h"
#include "block/io.h"
#include "block/node_internal.h"

/* Pieces that take less time grow, those that take more shrink. */
#define PIECE_SHORT_NS UINT64_C(10000000)
#define PIECE_LONG_NS UINT64_C(200000000)

/*
 * Urgent copies that take longer than this wait for the pieces of sweeps: these get
 * less room then, and more again after so long without a slow one.
 */
#define URGENT_SLOW_NS UINT64_C(10000000)
#define URGENT_MEMORY_NS UINT64_C(1000000000)
/* What a sweep may have in flight while users are at work, and how long its pieces are then. */
#define CONSIDERATE_ROOM (UINT64_C(1) << 20)
#define CONSIDERATE_PIECE (CONSIDERATE_ROOM / 8)

static int co_fn copy_data(struct copy *c, uint64_t offset, uint64_t bytes, bool *ret_is_read)
{
	/* A failure shows below again, with the side that it is on. */
	if (c->settings.offloads && c->settings.write_flags == 0 &&
	    edge_copy(c->settings.source, c->settings.target, offset, bytes) >= 0)
		return 0;
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
int copy_judge(struct copy *c, bool is_read, int error)
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
		r = copy_judge(c, is_read, r);
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
void copy_report_up(struct copy *c)
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
		copy_report_up(c);
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

bool copy_meets_piece(const struct copy *c, uint64_t offset, uint64_t bytes)
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
	while (copy_meets_piece(c, offset, bytes) || meets_hold(c, offset, bytes, h))
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

bool co_fn copy_enter(struct copy *c, uint64_t offset, uint64_t bytes)
{
	consumer_enter(c->settings.consumer);
	while (c->result == 0 && (!has_room(c, bytes) || copy_meets_piece(c, offset, bytes) ||
				  meets_hold(c, offset, bytes, NULL)))
		co_queue_wait(&c->changed);
	if (c->result == 0)
		return true;
	consumer_leave(c->settings.consumer);
	return false;
}

void copy_start_piece(struct copy *c, struct piece *p)
{
	list_add_tail(&c->in_flight, &p->link);
	c->in_flight_bytes += p->bytes;
	co_start(c->loop, piece_main, p);
}

void copy_start_swept(struct copy *c, struct piece *p)
{
	c->swept_count++;
	c->swept_bytes += p->bytes;
	/* It was under way when the others were forgiven, if it has waited for room since. */
	p->forgiven = c->is_stopped;
	copy_start_piece(c, p);
}

struct piece *copy_piece_new(struct copy *c, uint64_t offset, uint64_t bytes,
			       enum piece_kind kind)
{
	struct piece *p = NEW(struct piece);
	*p = (struct piece){.copy = c, .offset = offset, .bytes = bytes, .kind = kind};
	list_init(&p->link);
	return p;
}

uint64_t copy_data_piece_max(const struct copy *c)
{
	uint64_t max = c->piece_fixed ? c->piece_fixed : MIN(c->piece_bytes, c->piece_limit);
	max = MIN(max, c->settings.piece_max);
	if (c->is_considerate)
		max = MIN(max, CONSIDERATE_PIECE);
	/* Two pieces at least share what room there is. */
	return MIN(max, MAX(c->room / 2, COPY_PIECE_MIN));
}
