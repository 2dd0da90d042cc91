/* SPDX-License-Identifier: MIT */
/*
 * The pool of aligned buffers of one loop.
 *
 * Sizes are rounded up to a power of two; a freed buffer goes to the list of its
 * class as long as the pool keeps less than POOL_BYTES_MAX altogether. While
 * anything is kept a timer gives back, every TRIM_INTERVAL_NS, what nobody has
 * needed since it last ran. Everything runs on the loop's thread.
 */
#include "base/buffer.h"

#include <assert.h>
#include <stdlib.h>

#include "base/aio_engine.h"
#include "base/buffer_memory.h"
#include "base/loop.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISONS 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISONS 1
#endif
#endif

#ifdef POISONS
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

#define CLASS_BITS_MIN 12 /* BUFFER_ALIGNMENT */
#define CLASS_BITS_MAX 25 /* 32 MiB; larger buffers are not kept */
#define CLASSES (CLASS_BITS_MAX - CLASS_BITS_MIN + 1)

/* Some clients with many long requests each must not make the pool go to the system all the time. */
#define POOL_BYTES_MAX (64 * MiB)
/* No request needs more; beyond it a computation has gone wrong. */
#define BUFFER_BYTES_MAX (16 * GiB)
#define TRIM_INTERVAL_NS UINT64_C(5000000000)

/* At the start of a kept buffer. */
struct kept {
	struct kept *next;
};

struct class {
	struct kept *first; /* the one that was used last */
	unsigned count;
	unsigned idle; /* least count since the last trim: so many were not needed */
};

struct buffer_pool {
	struct class classes[CLASSES];
	size_t kept_bytes;
	struct buffer_memory memory;
	struct loop *loop;
	struct loop_timer trim;
};

static unsigned class_of(size_t bytes)
{
	if (bytes <= BUFFER_ALIGNMENT)
		return 0;
	return (unsigned)(64 - __builtin_clzll(bytes - 1)) - CLASS_BITS_MIN;
}

static size_t class_bytes(unsigned class)
{
	return (size_t)1 << (class + CLASS_BITS_MIN);
}

/* How long the memory of a buffer for @bytes really is. */
static size_t rounded_up(size_t bytes)
{
	unsigned class = class_of(bytes);
	return class < CLASSES ? class_bytes(class) : align_up(bytes, BUFFER_ALIGNMENT);
}

static void *take_kept(struct buffer_pool *pool, unsigned class)
{
	struct class *c = &pool->classes[class];
	struct kept *k = c->first;
	if (!k)
		return NULL;
	ASAN_UNPOISON_MEMORY_REGION(k, class_bytes(class));
	c->first = k->next;
	c->count--;
	c->idle = MIN(c->idle, c->count);
	pool->kept_bytes -= class_bytes(class);
	return k;
}

static void trim_due(struct loop_timer *t)
{
	struct buffer_pool *pool = container_of(t, struct buffer_pool, trim);
	for (unsigned class = 0; class < CLASSES; class++) {
		struct class *c = &pool->classes[class];
		for (unsigned n = c->idle; n > 0; n--)
			buffer_memory_put(&pool->memory, take_kept(pool, class),
					  class_bytes(class));
		c->idle = c->count;
	}
	if (pool->kept_bytes != 0)
		loop_timer_set(t, loop_now_ns(pool->loop) + TRIM_INTERVAL_NS);
}

static struct buffer_pool *pool_of(struct loop *loop)
{
	struct buffer_pool **slot = loop_buffer_pool(loop);
	if (!*slot) {
		*slot = NEW(struct buffer_pool);
		(*slot)->loop = loop;
		buffer_memory_init(&(*slot)->memory);
		loop_timer_init(loop, &(*slot)->trim, trim_due);
	}
	return *slot;
}

void *buffer_get(struct loop *loop, size_t bytes)
{
	assert(bytes > 0);
	if (bytes > BUFFER_BYTES_MAX)
		return NULL;
	struct buffer_pool *pool = pool_of(loop);
	unsigned class = class_of(bytes);
	void *p = class < CLASSES ? take_kept(pool, class) : NULL;
	return p ? p : buffer_memory_get(&pool->memory, rounded_up(bytes));
}

void buffer_put(struct loop *loop, void *p, size_t bytes)
{
	if (!p)
		return;
	unsigned class = class_of(bytes);
	struct buffer_pool *pool = pool_of(loop);
	if (class >= CLASSES || pool->kept_bytes + class_bytes(class) > POOL_BYTES_MAX) {
		buffer_memory_put(&pool->memory, p, rounded_up(bytes));
		return;
	}
	struct class *c = &pool->classes[class];
	struct kept *k = p;
	k->next = c->first;
	c->first = k;
	c->count++;
	pool->kept_bytes += class_bytes(class);
	ASAN_POISON_MEMORY_REGION(k + 1, class_bytes(class) - sizeof(*k));
	/* Memory is no part of a simulation: its timer would keep the world from ending. */
	if (!loop_timer_is_set(&pool->trim) && !loop_is_simulated(loop))
		loop_timer_set(&pool->trim, loop_now_ns(loop) + TRIM_INTERVAL_NS);
}

void buffer_pool_destroy(struct buffer_pool *pool)
{
	if (!pool)
		return;
	loop_timer_cancel(&pool->trim);
	for (unsigned class = 0; class < CLASSES; class++) {
		void *p;
		while ((p = take_kept(pool, class)))
			buffer_memory_put(&pool->memory, p, class_bytes(class));
	}
	free(pool);
}
