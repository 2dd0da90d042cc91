/* SPDX-License-Identifier: MIT */
/*
 * A persistent bitmap that records what the simulated guest changes in one life. After
 * a crash it is either known to be useless, or it has every sector that is not as it was.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/bitmap.h"
#include "block/driver.h"
#include "tests/sim/world.h"

void co_fn bitmaps_begin(struct world *w)
{
	struct node *n = w->node;
	uint32_t granularity = UINT32_C(512) << choose(&w->random, 5);
	struct error *error = NULL;
	struct bitmap *b;
	graph_change_begin(w->graph);
	int r = n->driver->can_store_bitmap(n, w->bitmap_name, granularity, &error);
	if (r >= 0)
		r = bitmap_create(n, w->bitmap_name, granularity, &b, &error);
	if (r >= 0)
		b->persistent = true;
	else if (!plan_has_mishaps(w->plan))
		world_fault(w, xasprintf("no bitmap: %s", error->message));
	graph_change_end(w->graph);
	error_free(error);
}

struct reader {
	struct consumer consumer;
	struct edge *edge;
};

static char *describe(const struct consumer *c)
{
	return xstrdup("the judge of bitmaps");
}

static const struct consumer_ops reader_ops = {.describe = describe};

/* Each sector of @n that is not as it was must be in @b. */
static void co_fn compare(struct world *w, struct reader *reader, const struct node *n,
			  const struct bitmap *b, const uint64_t *initial)
{
	uint8_t *p = buffer_get(w->loop, SIM_SECTOR);
	for (uint64_t s = 0; s < n->size / SIM_SECTOR && !w->fault; s++) {
		uint64_t number;
		int r = edge_read(reader->edge, s * SIM_SECTOR, SIM_SECTOR, p, 0);
		if (r < 0)
			world_fault(w, xasprintf("sector %" PRIu64 " below cannot be read", s));
		else if (!oracle_decode(s, p, &number))
			world_fault(w, xasprintf("sector %" PRIu64 " below shows no write's data", s));
		else if (number != initial[s] && !dirty_bitmap_get(b->bits, s * SIM_SECTOR))
			world_fault(w, xasprintf("sector %" PRIu64 " of %s has become %#" PRIx64
						 " from %#" PRIx64 ", and its bitmap is clean",
						 s, n->file->child->filename, number, initial[s]));
	}
	buffer_put(w->loop, p, SIM_SECTOR);
}

static void co_fn judge_node(struct world *w, struct node *n, const struct bitmap *b,
			     const uint64_t *initial)
{
	struct reader reader;
	_cleanup_error_ struct error *error = NULL;
	graph_change_begin(w->graph);
	consumer_init(&reader.consumer, w->graph, &reader_ops);
	int r = edge_attach_consumer(&reader.consumer, "judge", n, PERM_CONSISTENT_READ, PERM_ALL,
				     &reader.edge, &error);
	graph_change_end(w->graph);
	if (r >= 0) {
		consumer_enter(&reader.consumer);
		compare(w, &reader, n, b, initial);
		consumer_leave(&reader.consumer);
	} else {
		world_fault(w, xasprintf("cannot read a layer: %s", error->message));
	}
	graph_change_begin(w->graph);
	if (r >= 0)
		edge_detach(reader.edge);
	consumer_finish(&reader.consumer);
	graph_change_end(w->graph);
}

void co_fn bitmaps_judge(struct world *w, const char *name, const uint64_t *initial,
			 uint64_t *ret_right)
{
	*ret_right = 0;
	for (struct node *n = w->node; n && !w->fault; n = node_backing(n)) {
		n = node_skip_filters(n);
		const struct bitmap *b = bitmap_find(n, name);
		if (!b || b->inconsistent)
			continue;
		judge_node(w, n, b, initial);
		++*ret_right;
	}
}
