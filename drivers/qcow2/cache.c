/* SPDX-License-Identifier: MIT */
/*
 * The slices of on-disk tables in memory: finding, loading, evicting. How they
 * are written stands in cache_write.c. Node's loop.
 *
 * 1. An offset is in the hash at most once, in state LOADING or READY. What failed
 *    to load or was forgotten is out of the hash and lives until its last pin, and
 *    until it has been written if that has begun.
 * 2. A slice that is dirty, frozen or pinned is not evicted.
 * 3. At most @max slices exist, except while more than that are pinned or
 *    cannot be made clean.
 */
#include "drivers/qcow2/cache.h"

#include "drivers/qcow2/image.h"

/* Every slice is bounded by the cluster size; large ones come from the loop's pool. */
static uint8_t *slice_memory_get(struct qcow2_cache *c)
{
	if (c->slice_bytes >= BUFFER_ALIGNMENT)
		return buffer_get(c->q->loop, c->slice_bytes);
	return aligned_alloc(c->slice_bytes, c->slice_bytes);
}

void qcow2_slice_memory_put(struct qcow2_cache *c, uint8_t *p)
{
	if (c->slice_bytes >= BUFFER_ALIGNMENT)
		buffer_put(c->q->loop, p, c->slice_bytes);
	else
		free(p);
}

static void hash_add(struct qcow2_cache *c, struct slice *s)
{
	struct slice **bucket = &c->buckets[qcow2_cache_bucket(c, s->offset)];

	s->next = *bucket;
	*bucket = s;
}

static void buckets_resize(struct qcow2_cache *c, unsigned bits)
{
	free(c->buckets);
	c->buckets = xalloc(UINT64_C(1) << bits, sizeof(struct slice *));
	c->bucket_shift = 64 - bits;
	for (unsigned i = 0; i < c->count; i++) {
		struct slice *s = c->slices[i];

		if (s->state != SLICE_FAILED && !s->forgotten)
			hash_add(c, s);
	}
}

static void hash_remove(struct qcow2_cache *c, struct slice *s)
{
	struct slice **p = &c->buckets[qcow2_cache_bucket(c, s->offset)];

	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
}

static struct slice *hash_find(struct qcow2_cache *c, uint64_t offset)
{
	struct slice *s = c->buckets[qcow2_cache_bucket(c, offset)];

	while (s && s->offset != offset)
		s = s->next;
	return s;
}

static unsigned slices_in(const struct qcow2_cache *c, uint64_t bytes)
{
	return MIN(MAX(bytes / c->slice_bytes, 2), UINT32_MAX / 2);
}

void qcow2_cache_init(struct qcow2_cache *c, struct qcow2 *q, unsigned kind, uint32_t slice_bytes,
		      uint64_t bytes, int co_fn (*make_clean)(struct qcow2 *q))
{
	*c = (struct qcow2_cache){
		.q = q,
		.kind = kind,
		.slice_bytes = slice_bytes,
		.make_clean = make_clean,
		.tick = 1,
	};
	c->max = slices_in(c, bytes);
	list_init(&c->dirty);
	co_mutex_init(&c->write_lock);
	buckets_resize(c, 4);
}

/* Take @s out of the array and free it; it is in no hash chain and on no list. */
static void slice_free(struct qcow2_cache *c, struct slice *s)
{
	struct slice *last = c->slices[--c->count];

	c->slices[s->index] = last;
	last->index = s->index;
	if (c->hand >= c->count)
		c->hand = 0;
	if (s->frozen && s->frozen != s->data)
		qcow2_slice_memory_put(c, s->frozen);
	qcow2_slice_memory_put(c, s->data);
	free(s);
}

void qcow2_cache_finish(struct qcow2_cache *c)
{
	while (c->count > 0)
		slice_free(c, c->slices[c->count - 1]);
	free(c->slices);
	free(c->buckets);
	*c = (struct qcow2_cache){0};
}

static bool slice_is_idle(const struct slice *s)
{
	return !s->dirty && !s->frozen && s->pins == 0;
}

static void slice_drop(struct qcow2_cache *c, struct slice *s)
{
	hash_remove(c, s);
	slice_free(c, s);
}

/* One slice that may go, by second chance; NULL when there is none. */
static struct slice *find_victim(struct qcow2_cache *c)
{
	for (unsigned i = 0; i < 2 * c->count; i++) {
		struct slice *s = c->slices[c->hand];

		c->hand = c->hand + 1 < c->count ? c->hand + 1 : 0;
		if (!slice_is_idle(s))
			continue;
		if (!s->used)
			return s;
		s->used = false;
	}
	return NULL;
}

/* Make a slice for @offset, which is in the hash in state LOADING, pinned. */
static struct slice *slice_new(struct qcow2_cache *c, uint64_t offset)
{
	uint8_t *data = slice_memory_get(c);

	if (!data)
		return NULL;
	struct slice *s = NEW(struct slice);

	s->data = data;
	s->offset = offset;
	s->tick = c->tick;
	s->used = true;
	s->state = SLICE_LOADING;
	s->pins = 1;
	list_init(&s->link);
	co_queue_init(&s->waiters);
	if (c->count == c->capacity) {
		c->capacity = c->capacity ? 2 * c->capacity : 16;
		c->slices = xrealloc(c->slices, c->capacity, sizeof(struct slice *));
	}
	s->index = c->count;
	c->slices[c->count++] = s;
	if (c->count > UINT64_C(1) << (64 - c->bucket_shift))
		buckets_resize(c, 64 - c->bucket_shift + 2); /* includes @s */
	else
		hash_add(c, s);
	return s;
}

/* Drop what may go until there is a place for one more. */
static void evict(struct qcow2_cache *c)
{
	struct slice *victim;

	while (c->count >= c->max && (victim = find_victim(c)))
		slice_drop(c, victim);
}

/* Have a place for one more. May wait when everything is dirty. */
static int co_fn make_room(struct qcow2_cache *c)
{
	evict(c);
	if (c->count < c->max || list_is_empty(&c->dirty))
		return 0; /* else all are in use by requests under way, whose number is bounded */
	int r = c->make_clean(c->q);

	evict(c);
	return r;
}

static int co_fn slice_load(struct qcow2_cache *c, struct slice *s)
{
	uint64_t end;

	if (add_overflows(s->offset, (uint64_t)c->slice_bytes, &end) ||
	    end > qcow2_file_size(c->q))
		return qcow2_signal_corruption(
			c->q, "%s at %#" PRIx64 " lies beyond the end of the file",
			c->kind == METADATA_ACTIVE_L2 ? "L2 table" : "Refcount block", s->offset);
	qcow2_event(c->q, c->kind == METADATA_ACTIVE_L2 ? BLKDEBUG_EVENT_L2_LOAD
							: BLKDEBUG_EVENT_REFBLOCK_LOAD);
	return edge_read(c->q->node->file, s->offset, c->slice_bytes, s->data, 0);
}

/* Wait for somebody else's load of @s, which is pinned for the caller. */
static int co_fn slice_wait(struct qcow2_cache *c, struct slice *s)
{
	while (s->state == SLICE_LOADING)
		co_queue_wait(&s->waiters);
	if (s->state == SLICE_READY)
		return 0;
	int r = s->error;

	qcow2_cache_put(c, s);
	return r;
}

static int co_fn get(struct qcow2_cache *c, uint64_t offset, bool zeroed, struct slice **ret)
{
	struct slice *s = hash_find(c, offset);

	if (!s) {
		int r = make_room(c);

		if (r < 0)
			return r;
		s = hash_find(c, offset); /* the world may have moved */
	}
	if (s) {
		s->tick = c->tick;
		s->used = true;
		s->pins++;
		*ret = s;
		return s->state == SLICE_READY ? 0 : slice_wait(c, s);
	}
	s = slice_new(c, offset);
	if (!s)
		return -ENOMEM;
	qcow2_arm_clean_timer(c->q);
	int r = 0;

	if (zeroed)
		memset(s->data, 0, c->slice_bytes);
	else
		r = slice_load(c, s);
	s->state = r < 0 ? SLICE_FAILED : SLICE_READY;
	s->error = r;
	if (r < 0 && !s->forgotten)
		hash_remove(c, s);
	co_queue_wake_all(&s->waiters);
	if (r < 0)
		qcow2_cache_put(c, s);
	else
		*ret = s;
	return r;
}

int co_fn qcow2_cache_get(struct qcow2_cache *c, uint64_t offset, struct slice **ret)
{
	return get(c, offset, false, ret);
}

int co_fn qcow2_cache_get_zeroed(struct qcow2_cache *c, uint64_t offset, struct slice **ret)
{
	return get(c, offset, true, ret);
}

void qcow2_cache_put(struct qcow2_cache *c, struct slice *s)
{
	s->pins--;
	if (s->state == SLICE_FAILED || s->forgotten)
		qcow2_slice_let_go(c, s);
}

void qcow2_slice_let_go(struct qcow2_cache *c, struct slice *s)
{
	if (s->pins == 0 && !s->frozen)
		slice_free(c, s);
}

uint8_t *qcow2_cache_modify(struct qcow2_cache *c, struct slice *s)
{
	if (s->frozen == s->data) {
		uint8_t *copy = slice_memory_get(c);

		if (!copy)
			abort(); /* as xalloc() does; one slice */
		memcpy(copy, s->data, c->slice_bytes);
		s->data = copy;
	}
	if (!s->dirty) {
		s->dirty = true;
		if (!s->frozen)
			list_add_tail(&c->dirty, &s->link);
	}
	return s->data;
}

void qcow2_cache_forget(struct qcow2_cache *c, uint64_t offset, uint64_t bytes)
{
	for (uint64_t at = offset; at < offset + bytes; at += c->slice_bytes) {
		struct slice *s = hash_find(c, at);

		if (!s)
			continue;
		/* One that is being written is still on the list of whoever does that. */
		if (!s->frozen)
			list_del_init(&s->link);
		s->dirty = false;
		s->forgotten = true;
		hash_remove(c, s);
		qcow2_slice_let_go(c, s);
	}
}

void qcow2_cache_clean(struct qcow2_cache *c)
{
	for (unsigned i = c->count; i-- > 0;) {
		struct slice *s = c->slices[i];

		if (slice_is_idle(s) && s->tick != c->tick)
			slice_drop(c, s);
	}
	c->tick++;
}

void qcow2_cache_resize(struct qcow2_cache *c, uint64_t bytes)
{
	c->max = slices_in(c, bytes);
	evict(c);
}
