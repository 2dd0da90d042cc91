/* SPDX-License-Identifier: MIT */
/*
 * Memory for buffers; see buffer_memory.h. The loop's thread.
 *
 * From 16 KiB to 1 MiB buffers are pieces of one size of a slab, which is one
 * huge page and goes back to the system when its last piece does. Longer buffers
 * are mappings of their own that begin at a huge page. The kernel is only asked
 * for huge pages and may give small ones. Below a sanitizer everything comes
 * from malloc(), which notices an overrun.
 */
#include "base/buffer_memory.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <uthash.h>

#include "base/buffer.h"

#define HUGE_BYTES ((size_t)2 << 20)
#define PIECE_BITS_MIN 14 /* 16 KiB */
#define PIECE_BITS_MAX 20 /* 1 MiB */
#define PIECES_MAX (HUGE_BYTES >> PIECE_BITS_MIN)
#define WORD_BITS 64

#if defined(__SANITIZE_ADDRESS__)
#define HUGE_PAGES false
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HUGE_PAGES false
#endif
#endif
#ifndef HUGE_PAGES
#define HUGE_PAGES true
#endif

struct buffer_slab {
	UT_hash_handle by_base;
	struct list link; /* in partial, while a piece is free */
	char *base;
	unsigned bits; /* of a piece's size */
	unsigned used; /* pieces */
	uint64_t free_pieces[PIECES_MAX / WORD_BITS];
};

_Static_assert(PIECE_BITS_MAX - PIECE_BITS_MIN < ARRAY_SIZE(((struct buffer_memory *)0)->partial),
	       "a size has no list");

/* Map @bytes, beginning at a huge page. NULL when there is no memory. */
static void *map_huge(size_t bytes)
{
	char *p = mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	char *begin = (char *)align_up((uintptr_t)p, HUGE_BYTES);
	size_t before = begin - p, after = HUGE_BYTES - before;
	if (before > 0)
		munmap(p, before);
	if (after > 0)
		munmap(begin + bytes, after);
	(void)madvise(begin, bytes, MADV_HUGEPAGE);
	return begin;
}

static unsigned pieces_of(const struct buffer_slab *s)
{
	return (unsigned)(HUGE_BYTES >> s->bits);
}

static struct buffer_slab *slab_new(struct buffer_memory *m, unsigned bits)
{
	char *base = map_huge(HUGE_BYTES);
	if (!base)
		return NULL;
	struct buffer_slab *s = NEW(struct buffer_slab);
	s->base = base;
	s->bits = bits;
	for (unsigned i = 0; i < pieces_of(s); i++)
		s->free_pieces[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
	HASH_ADD_KEYPTR(by_base, m->slabs, &s->base, sizeof(s->base), s);
	list_add_head(&m->partial[bits - PIECE_BITS_MIN], &s->link);
	return s;
}

static void slab_free(struct buffer_memory *m, struct buffer_slab *s)
{
	HASH_DELETE(by_base, m->slabs, s);
	list_del_init(&s->link);
	munmap(s->base, HUGE_BYTES);
	free(s);
}

static void *take_piece(struct buffer_memory *m, unsigned bits)
{
	struct buffer_slab *s = list_first(&m->partial[bits - PIECE_BITS_MIN], struct buffer_slab,
					   link);
	if (!s)
		s = slab_new(m, bits);
	if (!s)
		return NULL;

	unsigned word = 0;
	while (s->free_pieces[word] == 0)
		word++;
	unsigned bit = (unsigned)__builtin_ctzll(s->free_pieces[word]);
	s->free_pieces[word] &= s->free_pieces[word] - 1;
	if (++s->used == pieces_of(s))
		list_del_init(&s->link);
	return s->base + ((size_t)(word * WORD_BITS + bit) << bits);
}

static void put_piece(struct buffer_memory *m, char *p)
{
	char *base = (char *)align_down((uintptr_t)p, HUGE_BYTES);
	struct buffer_slab *s;
	HASH_FIND(by_base, m->slabs, &base, sizeof(base), s);
	assert(s);

	unsigned piece = (unsigned)((size_t)(p - base) >> s->bits);
	uint64_t bit = UINT64_C(1) << piece % WORD_BITS;
	assert(!(s->free_pieces[piece / WORD_BITS] & bit));
	s->free_pieces[piece / WORD_BITS] |= bit;
	if (s->used-- == pieces_of(s))
		list_add_tail(&m->partial[s->bits - PIECE_BITS_MIN], &s->link);
	if (s->used == 0)
		slab_free(m, s);
}

void buffer_memory_init(struct buffer_memory *m)
{
	m->slabs = NULL;
	for (unsigned i = 0; i < ARRAY_SIZE(m->partial); i++)
		list_init(&m->partial[i]);
}

void *buffer_memory_get(struct buffer_memory *m, size_t bytes)
{
	if (!HUGE_PAGES || bytes < (size_t)1 << PIECE_BITS_MIN)
		return aligned_alloc(BUFFER_ALIGNMENT, bytes);
	if (bytes > (size_t)1 << PIECE_BITS_MAX)
		return map_huge(bytes);
	assert(is_power_of_2(bytes));
	return take_piece(m, (unsigned)__builtin_ctzll(bytes));
}

void buffer_memory_put(struct buffer_memory *m, void *p, size_t bytes)
{
	if (!p)
		return;
	if (!HUGE_PAGES || bytes < (size_t)1 << PIECE_BITS_MIN)
		free(p);
	else if (bytes > (size_t)1 << PIECE_BITS_MAX)
		munmap(p, bytes);
	else
		put_piece(m, p);
}
