/* SPDX-License-Identifier: MIT */
/*
 * A bounded cache of equal pieces ("slices") of on-disk tables, by host offset.
 *
 * Looking up a cached slice costs a hash and one or two cache lines, takes no
 * lock and never waits. Memory comes with the slices and goes when nobody has
 * used them for two ticks of qcow2_cache_clean(), or when the cache is full
 * (second chance, clean slices only).
 *
 * A flush freezes the dirty slices: it writes them as they are at that moment,
 * while everybody else goes on changing them. Who changes a frozen slice gets
 * new memory for it, so that the write under way keeps the old content.
 */
#ifndef DRIVERS_QCOW2_CACHE_H
#define DRIVERS_QCOW2_CACHE_H

#include "base/coroutine.h"
#include "base/util.h"

struct qcow2;

enum slice_state {
	SLICE_LOADING, /* being read; waiters sleep on @waiters */
	SLICE_READY,   /* @data is valid */
	SLICE_FAILED,  /* could not be read: @error; no longer in the hash */
};

struct slice {
	struct slice *next; /* in its hash chain */
	uint64_t offset;    /* in the file */
	uint8_t *data;
	uint8_t *frozen;    /* what a flush is writing: @data or older memory; else NULL */
	uint32_t tick;      /* of the last use */
	bool used;          /* since the clock's hand passed */
	bool dirty;         /* changed since it was frozen or loaded */
	bool forgotten;     /* no longer in the hash; freed with the last pin */
	uint8_t state;      /* enum slice_state */
	int error;
	unsigned pins;      /* users across a wait */
	unsigned index;     /* in qcow2_cache.slices */
	struct list link;   /* in qcow2_cache.dirty or in a frozen set */
	struct co_queue waiters;
};

struct qcow2_cache {
	struct qcow2 *q;
	unsigned kind;          /* enum metadata_kind of what is cached */
	uint32_t slice_bytes;
	unsigned max;           /* slices to keep */
	unsigned count, capacity;
	struct slice **slices;  /* all, for the hand */
	unsigned hand;
	struct slice **buckets; /* power of two */
	unsigned bucket_shift;  /* 64 - log2 of their number */
	uint32_t tick;
	struct list dirty;      /* struct slice.link */
	struct co_mutex write_lock; /* one frozen set at a time where it matters */
	/* Make slices clean, as the cache is full of dirty ones. May wait. */
	int co_fn (*make_clean)(struct qcow2 *q);
};

/* In the caller's memory; @bytes of slices of @slice_bytes each, at least two slices. */
void qcow2_cache_init(struct qcow2_cache *c, struct qcow2 *q, unsigned kind, uint32_t slice_bytes,
		      uint64_t bytes, int co_fn (*make_clean)(struct qcow2 *q));
/* Drops everything, dirty or not. Nobody uses the cache any more. */
void qcow2_cache_finish(struct qcow2_cache *c);

static inline unsigned qcow2_cache_bucket(const struct qcow2_cache *c, uint64_t offset)
{
	return (offset * UINT64_C(0x9e3779b97f4a7c15)) >> c->bucket_shift;
}

/* The slice at @offset when it is cached, else NULL. Not pinned: valid until the caller waits. */
static inline struct slice *qcow2_cache_find(struct qcow2_cache *c, uint64_t offset)
{
	struct slice *s = c->buckets[qcow2_cache_bucket(c, offset)];

	while (s && s->offset != offset)
		s = s->next;
	if (!s || s->state != SLICE_READY)
		return NULL;
	s->tick = c->tick;
	s->used = true;
	return s;
}

/*
 * The slice at @offset, pinned until qcow2_cache_put(), read from the file if it is not
 * cached. What reading returns; -EIO, after signalling corruption, when it does not lie
 * wholly inside the file; or -ENOMEM. The L2 cache may flush metadata to make room: its
 * callers hold neither flush_lock nor lock of struct qcow2.
 */
int co_fn qcow2_cache_get(struct qcow2_cache *c, uint64_t offset, struct slice **ret);
/* As qcow2_cache_get(), for a slice whose place in the file was just filled with zeroes. */
int co_fn qcow2_cache_get_zeroed(struct qcow2_cache *c, uint64_t offset, struct slice **ret);
void qcow2_cache_put(struct qcow2_cache *c, struct slice *s);

/* The memory of @s, to be changed now, without waiting in between. Makes it dirty. */
uint8_t *qcow2_cache_modify(struct qcow2_cache *c, struct slice *s);

/* Move all dirty slices to @set, frozen. */
void qcow2_cache_freeze(struct qcow2_cache *c, struct list *set);
/*
 * Write the frozen @set to the file and release it. On failure every slice
 * stays, or is again, dirty, and the first error is returned.
 */
int co_fn qcow2_cache_write_set(struct qcow2_cache *c, struct list *set);
/* Release a frozen set without writing: its slices are dirty again. */
void qcow2_cache_thaw(struct qcow2_cache *c, struct list *set);
/* Freeze and write, one caller at a time. */
int co_fn qcow2_cache_write_dirty(struct qcow2_cache *c);

/*
 * Forget the slices in the range. Changes are lost, but what is being written already
 * gets there: the caller sees to it that this is over before the place has a new owner.
 */
void qcow2_cache_forget(struct qcow2_cache *c, uint64_t offset, uint64_t bytes);
/* Forget clean slices that were not used since the call before last. Does not wait. */
void qcow2_cache_clean(struct qcow2_cache *c);
/* Keep at most @bytes from now on. */
void qcow2_cache_resize(struct qcow2_cache *c, uint64_t bytes);

/* For cache_write.c: free a slice that is in no hash chain unless somebody still uses it. */
void qcow2_slice_let_go(struct qcow2_cache *c, struct slice *s);
/* For cache_write.c: give back the memory of a slice. */
void qcow2_slice_memory_put(struct qcow2_cache *c, uint8_t *p);

#endif
