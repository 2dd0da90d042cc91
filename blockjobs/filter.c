/* SPDX-License-Identifier: MIT */
/*
 * Filter nodes of jobs. Control thread.
 *
 * The tracker marks a range when its write has ended, whatever came of it. Until
 * then a copy may read either state; afterwards the mark has it copied again. So
 * a drained filter over a clean bitmap means that both places are equal.
 */
#include "blockjobs/filter.h"

#include "block/consumer.h"
#include "block/copy.h"
#include "block/dirty_bitmap.h"
#include "block/driver.h"
#include "block/io.h"
#include "block/node_internal.h"

static int co_fn filter_driver_open(struct node *n, const struct blockdev_options *options, void *arg,
				    struct error **errp)
{
	if (n->driver->state_size > 0)
		*(struct write_tracker **)n->state = arg;
	return 0;
}

/* Whoever reads through the filter is content with what the sum of the layers shows. */
static void commit_top_permissions(struct node *n, const char *name, unsigned role,
				   unsigned permissions, unsigned shared,
				   unsigned *ret_permissions, unsigned *ret_shared)
{
	*ret_permissions = 0;
	*ret_shared = PERM_ALL;
}

/* Only the filter may write below itself, lest a write pass unnoticed. */
static void mirror_top_permissions(struct node *n, const char *name, unsigned role,
				   unsigned permissions, unsigned shared,
				   unsigned *ret_permissions, unsigned *ret_shared)
{
	*ret_permissions = permissions & ~(unsigned)PERM_CONSISTENT_READ;
	*ret_shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
}

static struct write_tracker *tracker_of(const struct node *n)
{
	return *(struct write_tracker **)n->state;
}

static void set_dirty(struct write_tracker *t, uint64_t offset, uint64_t bytes)
{
	uint64_t before = dirty_bitmap_count(t->bitmap);
	dirty_bitmap_set(t->bitmap, offset, bytes);
	t->marked += dirty_bitmap_count(t->bitmap) - before;
	if (t->dirtied)
		t->dirtied(t->arg);
}

/* Whether parts of all clusters of the range can be written to the second place. */
static bool co_fn is_held(const struct write_tracker *t, uint64_t offset, uint64_t bytes)
{
	bool is_held = true;
	if (t->cluster == 0 || is_aligned(offset | bytes, t->cluster))
		return true;
	struct node *n = t->place->child;
	uint64_t end = MIN(align_up(offset + bytes, t->cluster), n->size);
	consumer_join(t->place->consumer);
	for (uint64_t at = align_down(offset, t->cluster); is_held && at < end;) {
		struct extent x;
		int r = node_status_above(n, NULL, at, end - at, &x, NULL);
		is_held = r >= 0 && x.bytes > 0 && x.flags & EXTENT_ALLOCATED;
		at += is_held ? x.bytes : 0;
	}
	consumer_leave(t->place->consumer);
	return is_held;
}

static void mark(struct write_tracker *t, uint64_t offset, uint64_t bytes, bool is_held)
{
	if (is_held) {
		set_dirty(t, offset, bytes);
		return;
	}
	uint64_t start = align_down(offset, t->cluster), end = align_up(offset + bytes, t->cluster);
	set_dirty(t, start, MIN(end, dirty_bitmap_size(t->bitmap)) - start);
}

/* True when all of the range is dirty: it will be copied from the first place. */
static bool is_dirty(const struct write_tracker *t, uint64_t offset, uint64_t bytes)
{
	uint64_t start, length, enough = bytes + 2 * dirty_bitmap_granularity(t->bitmap);
	return dirty_bitmap_next_area(t->bitmap, offset, enough, &start, &length) &&
	       start == offset && length >= bytes;
}

static int co_fn write_second(struct edge *second, uint64_t offset, uint64_t bytes, struct vec v,
			      unsigned flags, bool is_zero)
{
	/* The job makes the second place durable before anybody relies on it. */
	consumer_join(second->consumer);
	int r = is_zero ? edge_zero(second, offset, bytes, flags & REQUEST_MAY_UNMAP)
			: edge_writev(second, offset, bytes, v, 0);
	consumer_leave(second->consumer);
	return r;
}

/* A request in the two places, or in one and the bitmap. */
static int co_fn write_both(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags, bool is_zero)
{
	struct write_tracker *t = tracker_of(n);
	struct copy *copy = t->copy;
	struct edge *second = t->second;
	struct copy_hold hold;
	if (second)
		copy_hold(copy, &hold, offset, bytes);

	int r = is_zero ? edge_zero(n->file, offset, bytes, flags)
			: edge_writev(n->file, offset, bytes, v, flags);
	bool is_done = false, held = is_held(t, offset, bytes);
	if (second && r >= 0 && held && !is_dirty(t, offset, bytes))
		is_done = write_second(second, offset, bytes, v, flags, is_zero) >= 0;
	/* What has failed, or was refused, may have changed a part. */
	if (!is_done)
		mark(t, offset, bytes, held);
	if (second)
		copy_release(copy, &hold);
	return r;
}

static int co_fn mirror_top_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
				  unsigned flags)
{
	return write_both(n, offset, bytes, v, flags, false);
}

static int co_fn mirror_top_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	return write_both(n, offset, bytes, (struct vec){0}, flags, true);
}

/* What a discarded range shows is not known before it is looked at. */
static int co_fn mirror_top_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct write_tracker *t = tracker_of(n);
	int r = edge_discard(n->file, offset, bytes);
	mark(t, offset, bytes, is_held(t, offset, bytes));
	return r;
}

const struct driver commit_top_driver = {
	.name = "commit_top",
	.is_filter = true,
	.open = filter_driver_open,
	.child_permissions = commit_top_permissions,
};

const struct driver mirror_top_driver = {
	.name = "mirror_top",
	.state_size = sizeof(struct write_tracker *),
	.is_filter = true,
	.is_entrance = true,
	.supports_fua = true,
	.open = filter_driver_open,
	.write = mirror_top_write,
	.zero = mirror_top_zero,
	.discard = mirror_top_discard,
	.child_permissions = mirror_top_permissions,
};

bool node_is_job_filter(const struct node *n)
{
	/* What users have opened has options. */
	return n->driver == &commit_top_driver || n->driver == &mirror_top_driver ||
	       (string_equal(n->driver->name, "copy-on-read") && !n->options);
}

int filter_check_name(struct graph *g, const char *name, struct error **errp)
{
	return name ? node_check_name(g, name, errp) : 0;
}

int co_fn filter_open(const struct driver *driver, const char *name, struct node *below, void *arg,
		      struct node **ret, struct error **errp)
{
	struct node *n;
	/* Whether writes can go on from mirror_top is for the node below to say. */
	bool read_only = driver == &commit_top_driver;
	int r = node_open_internal(below->graph, driver, name, read_only, arg, &n, errp);
	if (r < 0)
		return r;
	n->implicit = !name;
	n->size = below->size;
	/* Whether discarding has an effect is for the node below to say. */
	n->discard_unmap = true;
	*ret = n;
	return 0;
}

int filter_insert(struct graph_tx *tx, struct node *filter, struct node *below, struct error **errp)
{
	int r = graph_tx_attach_node(tx, filter, "backing", below, EDGE_FILTERED | EDGE_PRIMARY,
				     NULL, errp);
	return r < 0 ? r : graph_tx_replace_node(tx, below, filter, errp);
}
