/* SPDX-License-Identifier: MIT */
/*
 * Flushing. Node's loop, in a coroutine.
 *
 * Invariants:
 * 1. A node's flushed_generation is a write_generation all of whose writes are
 *    durable. It moves only when the driver's flush and those of the children
 *    below have succeeded; after a failure the next flush tries again.
 * 2. A flush answers for the writes that had completed when it was called.
 *    Flushes that come in together share one: who finds, holding the lock, that
 *    another has covered its writes, has nothing to do.
 * 3. What lies below a node may hold writes that came another way, such as those
 *    made before an overlay or a filter was put on top. So children are asked
 *    even when this node itself is clean; asking a clean child costs little.
 */
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/node_internal.h"

/* A filter answers for what it shows, not for what it writes aside. */
static bool is_aside(const struct node *n, const struct edge *e)
{
	return n->driver->is_filter && !(e->role & EDGE_FILTERED);
}

/*
 * Children that @n writes through, or has written through before it became
 * read-only. Depth is bounded by GRAPH_NESTING_MAX.
 */
static int co_fn flush_children(struct node *n)
{
	struct edge *e;
	int result = 0;
	if (n->driver->flushes_children)
		return n->driver->flush(n);
	list_for_each (e, &n->children, parent_link) {
		bool writes = e->permissions & (PERM_WRITE | PERM_WRITE_UNCHANGED);
		bool was_left = e->child->flushed_generation < e->child->left_generation;
		if ((e->role & EDGE_COW) || is_aside(n, e) || !(writes || was_left || (e->role & EDGE_FILTERED)))
			continue;
		int r = node_flush(e->child);
		if (r < 0 && result == 0)
			result = r;
	}
	return result;
}

/*
 * A protocol's flush is the disk's, which may be left out, unless it is of what the end of
 * the process would lose; a format's only moves its caches to the children.
 */
static bool has_own_flush(const struct node *n)
{
	bool is_left_out = n->cache_no_flush && !n->holds_writes && list_is_empty(&n->children);
	return n->driver->flush && !n->driver->flushes_children && !is_left_out;
}

static void tell_storage(struct node *n, enum blkdebug_event event)
{
	if (n->file)
		node_debug_event(n->file->child, event);
}

static int co_fn flush_dirty(struct node *n)
{
	uint64_t asked = n->write_generation;
	co_mutex_lock(&n->flush_lock);
	int r = 0;
	if (n->flushed_generation < asked) {
		uint64_t covered = n->write_generation;
		tell_storage(n, BLKDEBUG_EVENT_FLUSH_TO_OS);
		r = has_own_flush(n) ? n->driver->flush(n) : 0;
		n->answers++;
		tell_storage(n, BLKDEBUG_EVENT_FLUSH_TO_DISK);
		if (r >= 0)
			r = flush_children(n);
		if (r >= 0)
			n->flushed_generation = covered;
	}
	co_mutex_unlock(&n->flush_lock);
	return r;
}

static int co_fn flush_layer(struct node *n)
{
	return n->flushed_generation < n->write_generation ? flush_dirty(n) : flush_children(n);
}

/* Layers that were written before they became backing files. */
static int co_fn flush_left_behind(struct node *n)
{
	for (n = n->backing ? n->backing->child : NULL; n; n = node_chain_next(n)) {
		if (n->flushed_generation >= n->left_generation)
			continue;
		int r = flush_layer(n);
		if (r < 0)
			return r;
	}
	return 0;
}

int co_fn node_flush(struct node *n)
{
	int r = flush_layer(n);
	return r < 0 ? r : flush_left_behind(n);
}

int co_fn edge_flush(struct edge *e)
{
	if (!io_is_counted(e))
		return node_flush(e->child);
	uint64_t begin_ns = io_count_begin(e);
	int r = node_flush(e->child);
	io_count_end(e, STATS_FLUSH, 0, begin_ns, r);
	return r;
}
