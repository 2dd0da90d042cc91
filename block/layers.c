/* SPDX-License-Identifier: MIT */
/*
 * The map of a backing chain. Node's loop.
 *
 * The top's disk is divided into granules, no larger than the smallest unit that a
 * layer allocates. For each granule a number says that so many layers at the top
 * certainly have nothing in it, or that nothing is known yet. Numbers are learned
 * by asking the layers for their status, and kept in pages, of which the graph has
 * a bounded number; the oldest page makes room for a new one.
 *
 * Invariants:
 * 1. A number may be too small, never too large: what a layer has is never skipped.
 * 2. A request that allocates lowers the numbers before it is answered. So whoever
 *    begins to read after that finds what was written.
 * 3. What was being learned while such a request ended, or the chain changed, is
 *    not kept where the two overlap.
 * 4. The chain that a map has in mind is the real one, or the map is stale: it is
 *    marked so by the change, before any node goes away.
 */
#include "block/layers.h"

#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/node_internal.h"

#define GRANULE_BITS_MIN 12
#define GRANULE_BITS_MAX 16
/* Granules that one page holds, and that are learned together at most. */
#define PAGE_GRANULES 2048
#define WINDOW_GRANULES 32
/* Most pages that one map holds at a time, a power of two. */
#define SLOTS_MAX 4096

/* What is known of a granule: 0 for nothing, or 1 more than the layers to skip. */
typedef uint16_t known;

struct page {
	struct list link; /* in graph.layer_pages, oldest first */
	struct layer_map *map;
	uint64_t index;
	known granules[PAGE_GRANULES];
};

/* Somebody who learns, on its stack. */
struct learner {
	struct list link;
	uint64_t first, end; /* granules */
	bool is_spoiled;
};

struct layer_map {
	struct list link; /* in graph.layer_maps */
	struct node *top;
	struct node **chain; /* the top first */
	unsigned count;
	bool is_stale;
	unsigned granule_bits;
	struct list learners;
	struct page **slots; /* page i is in slot i % slot_count, if anywhere */
	uint64_t slot_count; /* a power of two */
};

/* --- Pages ------------------------------------------------------------------------ */

static struct page **slot_of(const struct layer_map *m, uint64_t index)
{
	return &m->slots[index & (m->slot_count - 1)];
}

static void page_drop(struct page *p)
{
	*slot_of(p->map, p->index) = NULL;
	list_del_init(&p->link);
	p->map->top->graph->layer_page_count--;
	free(p);
}

static void drop_pages(struct layer_map *m)
{
	for (uint64_t i = 0; i < m->slot_count; i++) {
		if (m->slots[i])
			page_drop(m->slots[i]);
	}
}

static struct page *page_get(struct layer_map *m, uint64_t index)
{
	struct page **slot = slot_of(m, index);
	if (*slot && (*slot)->index == index)
		return *slot;
	if (*slot)
		page_drop(*slot);
	struct graph *g = m->top->graph;
	if (g->layer_page_count >= LAYERS_PAGES_MAX)
		page_drop(list_first(&g->layer_pages, struct page, link));
	struct page *p = NEW(struct page);
	p->map = m;
	p->index = index;
	list_add_tail(&g->layer_pages, &p->link);
	g->layer_page_count++;
	*slot = p;
	return p;
}

/* What is known of a granule; NULL when no page has it. */
static known *find_known(const struct layer_map *m, uint64_t granule)
{
	struct page *p = *slot_of(m, granule / PAGE_GRANULES);
	return p && p->index == granule / PAGE_GRANULES ? &p->granules[granule % PAGE_GRANULES]
							: NULL;
}

size_t graph_drop_caches(struct graph *g)
{
	size_t bytes = g->layer_page_count * sizeof(struct page);
	struct page *p;
	while ((p = list_first(&g->layer_pages, struct page, link)))
		page_drop(p);
	return bytes;
}

/* --- The chain --------------------------------------------------------------------- */

static void choose_granules(struct layer_map *m)
{
	uint64_t smallest = UINT64_C(1) << GRANULE_BITS_MAX;
	for (unsigned i = 0; i < m->count; i++) {
		uint64_t unit = m->chain[i]->limits.zero_alignment;
		if (is_power_of_2(unit))
			smallest = MIN(smallest, unit);
	}
	m->granule_bits = GRANULE_BITS_MIN;
	while (m->granule_bits < GRANULE_BITS_MAX && UINT64_C(2) << m->granule_bits <= smallest)
		m->granule_bits++;
	uint64_t pages = (m->top->size >> m->granule_bits) / PAGE_GRANULES + 1;
	for (m->slot_count = 1; m->slot_count < MIN(pages, (uint64_t)SLOTS_MAX);)
		m->slot_count *= 2;
	m->slots = xalloc(m->slot_count, sizeof(m->slots[0]));
}

static void build(struct layer_map *m)
{
	m->count = node_chain_length(m->top);
	m->chain = xalloc(m->count, sizeof(m->chain[0]));
	m->count = 0;
	for (struct node *n = m->top; n; n = node_chain_next(n)) {
		m->chain[m->count++] = n;
		n->layer_uses++;
	}
	choose_granules(m);
	m->is_stale = false;
}

static void spoil_learners(struct layer_map *m, uint64_t first, uint64_t end)
{
	struct learner *l;
	list_for_each (l, &m->learners, link) {
		if (l->first < end && first < l->end)
			l->is_spoiled = true;
	}
}

static void make_stale(struct layer_map *m)
{
	if (m->is_stale)
		return;
	spoil_learners(m, 0, UINT64_MAX);
	drop_pages(m);
	for (unsigned i = 0; i < m->count; i++)
		m->chain[i]->layer_uses--;
	free(TAKE(m->slots));
	free(TAKE(m->chain));
	m->count = 0;
	m->slot_count = 0;
	m->is_stale = true;
}

void layers_create(struct node *top)
{
	if (top->layers)
		return;
	struct layer_map *m = NEW(struct layer_map);
	m->top = top;
	m->is_stale = true;
	list_init(&m->learners);
	list_add_tail(&top->graph->layer_maps, &m->link);
	top->layers = m;
}

void layers_destroy(struct node *n)
{
	struct layer_map *m = TAKE(n->layers);
	if (!m)
		return;
	assert(list_is_empty(&m->learners));
	make_stale(m);
	list_del_init(&m->link);
	free(m);
}

/* --- Changes ----------------------------------------------------------------------- */

static void lower(struct layer_map *m, unsigned level, uint64_t first, uint64_t end)
{
	for (uint64_t i = 0; i < m->slot_count; i++) {
		struct page *p = m->slots[i];
		if (!p)
			continue;
		uint64_t start = p->index * PAGE_GRANULES;
		uint64_t from = MAX(first, start), to = MIN(end, start + PAGE_GRANULES);
		for (uint64_t g = from; g < to; g++)
			p->granules[g - start] = MIN(p->granules[g - start], level + 1);
	}
}

/* The same for few granules, without looking at all pages. */
static void lower_few(struct layer_map *m, unsigned level, uint64_t first, uint64_t end)
{
	for (uint64_t g = first; g < end; g++) {
		known *k = find_known(m, g);
		if (k)
			*k = MIN(*k, level + 1);
	}
}

static void invalidate(struct layer_map *m, unsigned level, uint64_t offset, uint64_t bytes)
{
	if (m->is_stale)
		return;
	uint64_t granule = UINT64_C(1) << m->granule_bits;
	uint64_t first = offset >> m->granule_bits;
	uint64_t end = bytes > UINT64_MAX - granule - offset ? UINT64_MAX
							     : (offset + bytes + granule - 1) >>
								       m->granule_bits;
	if (end - first <= WINDOW_GRANULES)
		lower_few(m, level, first, end);
	else
		lower(m, level, first, end);
	spoil_learners(m, first, end);
}

void layers_invalidate(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct layer_map *m;
	if (n->layers)
		invalidate(n->layers, 0, offset, bytes);
	if (n->layer_uses <= (n->layers && !n->layers->is_stale))
		return;
	list_for_each (m, &n->graph->layer_maps, link) {
		for (unsigned i = 1; i < m->count; i++) {
			if (m->chain[i] == n)
				invalidate(m, i, offset, bytes);
		}
	}
}

void layers_forget(struct node *n)
{
	if (n->layers)
		make_stale(n->layers);
	if (n->layer_uses == 0)
		return;
	struct layer_map *m;
	list_for_each (m, &n->graph->layer_maps, link) {
		for (unsigned i = 0; i < m->count; i++) {
			if (m->chain[i] == n) {
				make_stale(m);
				break;
			}
		}
	}
}

static bool chain_is_real(const struct layer_map *m)
{
	const struct node *n = m->top;
	unsigned i = 0;
	while (n && i < m->count && n == m->chain[i]) {
		n = node_chain_next(n);
		i++;
	}
	return !n && i == m->count;
}

void layers_check(struct graph *g)
{
	struct layer_map *m;
	list_for_each (m, &g->layer_maps, link) {
		if (!m->is_stale && !chain_is_real(m))
			make_stale(m);
	}
}

/* --- Learning ---------------------------------------------------------------------- */

/* A filter that reads as its child does has nothing of its own. */
static bool is_transparent(const struct node *n)
{
	return n->driver->is_filter && n->file && !n->driver->read && !n->driver->read_some;
}

/*
 * Ask layer @i of the chain whether it has nothing in the first of the range's
 * granules. Cuts *end, in bytes, to the granules for which that is so.
 */
static bool co_fn is_empty(const struct layer_map *m, unsigned i, uint64_t start, uint64_t *end)
{
	struct node *n = m->chain[i];
	if (is_transparent(n))
		return true;
	/* What is shorter hides what is below its end. */
	if (n->size < *end)
		*end = align_down(n->size, UINT64_C(1) << m->granule_bits);
	if (!n->driver->read_some || *end <= start)
		return false;
	struct extent x;
	if (node_layer_status(n, start, *end - start, &x) < 0 || (x.flags & EXTENT_ALLOCATED))
		return false;
	if (start + x.bytes < *end) {
		*end = align_down(start + x.bytes, UINT64_C(1) << m->granule_bits);
		return *end > start;
	}
	return true;
}

/* Learn about the granule at @start and those that follow, up to the end of its window. */
static void co_fn learn(struct layer_map *m, uint64_t granule)
{
	uint64_t start = granule << m->granule_bits;
	uint64_t end = (granule / WINDOW_GRANULES + 1) * WINDOW_GRANULES << m->granule_bits;
	end = MIN(end, m->top->size);
	struct learner l = {
		.first = granule,
		.end = (end + (UINT64_C(1) << m->granule_bits) - 1) >> m->granule_bits,
	};
	list_add_tail(&m->learners, &l.link);
	unsigned skip = 0;
	uint64_t known_end = end;
	/* Nobody needs to be asked for the last one. A stale map has no layers. */
	while (!l.is_spoiled && skip + 1 < m->count && is_empty(m, skip, start, &end)) {
		known_end = end;
		skip++;
	}
	list_del_init(&l.link);
	if (l.is_spoiled)
		return;
	uint64_t granules = (known_end - start + (UINT64_C(1) << m->granule_bits) - 1) >>
			    m->granule_bits;
	for (uint64_t g = granule; g < granule + granules; g++)
		page_get(m, g / PAGE_GRANULES)->granules[g % PAGE_GRANULES] = (known)(skip + 1);
}

struct node *co_fn layers_find(struct node *top, uint64_t offset, uint64_t *bytes)
{
	struct layer_map *m = top->layers;
	if (m->is_stale) {
		if (!list_is_empty(&m->learners))
			return top;
		build(m);
	}
	uint64_t granule = offset >> m->granule_bits;
	known *k = find_known(m, granule);
	if (!k || *k == 0) {
		learn(m, granule);
		if (m->is_stale)
			return top;
		k = find_known(m, granule);
	}
	if (!k || *k == 0)
		return top;
	known value = *k;
	uint64_t end = (granule + 1) << m->granule_bits;
	while (end - offset < *bytes && (k = find_known(m, end >> m->granule_bits)) && *k == value)
		end += UINT64_C(1) << m->granule_bits;
	*bytes = MIN(*bytes, end - offset);
	return m->chain[value - 1];
}
