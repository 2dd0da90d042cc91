/* SPDX-License-Identifier: MIT */
/*
 * Copy before write. Node's loop.
 *
 * Invariants:
 * 1. A cluster is in `moved` before a user's request for it goes to the source,
 *    and never before it has been copied, unless it is not kept or all is lost.
 * 2. Who reads the point in time from the source stands in `reads`, and found no
 *    moved cluster there when coming. A user's request that comes later waits.
 *    Since readers wait for no user, the waiting ends.
 */
#include "block/cbw.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "block/bitmap.h"
#include "block/driver.h"

/*
 * What users write in small pieces is copied in small pieces, where the target
 * allows that. But a bitmap takes no more than 8 MiB for it.
 */
#define CLUSTER_MIN 4096
#define CLUSTERS_MAX (UINT64_C(1) << 26)

struct cbw {
	struct cbw_settings settings;
	struct copy *copy;
	struct dirty_bitmap *left;  /* to be copied before it is changed */
	struct dirty_bitmap *kept;  /* belongs to the point in time */
	struct dirty_bitmap *moved; /* may have been changed in the source */
	struct bitmap_view left_view, kept_view, moved_view; /* of the source, and of the filter */
	struct list reads;          /* struct reading, from the source */
	struct co_queue read_ended;
	int error;
	void (*broken)(void *arg);
	void *broken_arg;
	bool discards_source;
};

struct reading {
	struct list link;
	uint64_t offset, bytes;
};

/* True when @target shows what it does not hold from somewhere else. */
static bool has_backing(struct node *target)
{
	return node_backing(target);
}

int co_fn cbw_choose_cluster(struct node *source, struct node *target, uint64_t min_bytes,
			     uint32_t *ret, struct error **errp)
{
	struct node *image = node_skip_filters(target);
	struct driver_info info = {0};
	int r = image->driver->info ? image->driver->info(image, &info) : 0;
	if (r < 0 && !has_backing(target))
		return error_set_errno(errp, r, "Couldn't determine the cluster size of the target "
				       "image, which has no backing file");
	if (min_bytes > DIRTY_BITMAP_GRANULARITY_MAX)
		return error_set(errp, -EINVAL, "min-cluster-size is too large: %" PRIu64, min_bytes);

	uint64_t cluster = MAX(MAX(min_bytes, CLUSTER_MIN), r >= 0 ? info.cluster_size : 0);
	cluster = MAX(cluster, target->limits.request_alignment);
	while (source->size / cluster > CLUSTERS_MAX)
		cluster *= 2;
	assert(is_power_of_2(cluster));
	*ret = (uint32_t)MIN(cluster, DIRTY_BITMAP_GRANULARITY_MAX);
	return 0;
}

int cbw_create(const struct cbw_settings *s, struct cbw **ret, struct error **errp)
{
	uint64_t size = s->source->child->size;
	struct cbw *w = NEW(struct cbw);
	w->settings = *s;
	list_init(&w->reads);
	co_queue_init(&w->read_ended);
	w->left = dirty_bitmap_create(size, s->cluster);
	w->kept = dirty_bitmap_create(size, s->cluster);
	w->moved = dirty_bitmap_create(size, s->cluster);
	if (!w->left || !w->kept || !w->moved) {
		cbw_destroy(w);
		return error_set(errp, -ENOMEM, "No memory for the bitmaps of '%s'",
				 s->source->child->name);
	}
	dirty_bitmap_set(w->left, 0, size);
	dirty_bitmap_set(w->kept, 0, size);
	const struct copy_settings copy = {
		.source = s->source,
		.target = s->target,
		.cluster = s->cluster,
	};
	w->copy = copy_create(&copy);
	bitmap_view_begin(&w->left_view, s->source->child, w->left, false);
	bitmap_view_begin(&w->moved_view, s->source->parent, w->moved, false);
	bitmap_view_begin(&w->kept_view, s->source->parent, w->kept, false);
	*ret = w;
	return 0;
}

void co_fn cbw_destroy(struct cbw *w)
{
	if (!w)
		return;
	assert(list_is_empty(&w->reads));
	if (w->copy)
		copy_wait_range(w->copy, 0, UINT64_MAX);
	copy_destroy(w->copy);
	bitmap_view_end(&w->left_view);
	bitmap_view_end(&w->kept_view);
	bitmap_view_end(&w->moved_view);
	dirty_bitmap_destroy(w->left);
	dirty_bitmap_destroy(w->kept);
	dirty_bitmap_destroy(w->moved);
	free(w);
}

/* Have @to dirty exactly where @from is, in clusters of @to. */
static void take_over(struct dirty_bitmap *to, const struct dirty_bitmap *from)
{
	uint64_t offset = 0, bytes;
	dirty_bitmap_clear(to, 0, dirty_bitmap_size(to));
	while (dirty_bitmap_next_area(from, offset, UINT64_MAX, &offset, &bytes)) {
		dirty_bitmap_set(to, offset, bytes);
		offset += bytes;
	}
}

void cbw_keep_only(struct cbw *w, const struct dirty_bitmap *bits)
{
	take_over(w->left, bits);
	take_over(w->kept, bits);
}

/* --- Users --------------------------------------------------------------------------- */

static bool is_being_read(const struct cbw *w, uint64_t offset, uint64_t bytes)
{
	const struct reading *r;
	list_for_each (r, &w->reads, link) {
		if (offset < r->offset + r->bytes && r->offset < offset + bytes)
			return true;
	}
	return false;
}

/* Users go on as they like; the point in time is lost. */
static void break_snapshot(struct cbw *w, int error)
{
	if (w->error < 0)
		return;
	w->error = error;
	if (w->broken)
		w->broken(w->broken_arg);
}

int co_fn cbw_before_write(struct cbw *w, uint64_t offset, uint64_t bytes)
{
	int r = w->error < 0 ? 0
			     : copy_urgently(w->copy, w->left, offset, bytes, w->settings.timeout_ns);
	/* Unless nobody wants the copy any more. */
	if (r < 0 && w->error == 0 && w->settings.on_error == ON_CBW_ERROR_BREAK_GUEST_WRITE)
		return r;
	if (r < 0)
		break_snapshot(w, r);
	dirty_bitmap_set(w->moved, offset, bytes);
	while (is_being_read(w, offset, bytes))
		co_queue_wait(&w->read_ended);
	return 0;
}

/* --- The point in time --------------------------------------------------------------- */

/* How far the bitmap goes on from @offset as it begins there; *ret_dirty tells how. */
static uint64_t run_length(const struct dirty_bitmap *b, uint64_t offset, uint64_t bytes,
			   bool *ret_dirty)
{
	uint64_t start, length;
	/* The granules at both ends may be covered in part. */
	uint64_t enough = bytes + 2 * (uint64_t)dirty_bitmap_granularity(b);
	if (!dirty_bitmap_next_area(b, offset, enough, &start, &length))
		start = UINT64_MAX;
	*ret_dirty = start == offset;
	return *ret_dirty ? MIN(length, bytes) : MIN(start - offset, bytes);
}

static bool is_kept(const struct cbw *w, uint64_t offset, uint64_t bytes)
{
	bool kept;
	return w->error == 0 && run_length(w->kept, offset, bytes, &kept) == bytes && kept;
}

static void begin_reading(struct cbw *w, struct reading *r, uint64_t offset, uint64_t bytes)
{
	*r = (struct reading){.offset = offset, .bytes = bytes};
	list_add_tail(&w->reads, &r->link);
}

static void end_reading(struct cbw *w, struct reading *r)
{
	list_del_init(&r->link);
	co_queue_wake_all(&w->read_ended);
}

static int co_fn read_source(struct cbw *w, uint64_t offset, uint64_t bytes, struct vec v,
			     unsigned flags)
{
	struct reading reading;
	begin_reading(w, &reading, offset, bytes);
	int r = edge_readv(w->settings.source, offset, bytes, v, flags);
	end_reading(w, &reading);
	return r;
}

int co_fn cbw_read(struct cbw *w, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags)
{
	while (bytes > 0) {
		if (!is_kept(w, offset, bytes))
			return -EACCES;
		bool moved;
		uint64_t part = run_length(w->moved, offset, bytes, &moved);
		int r = moved ? edge_readv(w->settings.target, offset, part, v, flags)
			      : read_source(w, offset, part, v, flags);
		if (r < 0)
			return r;
		offset += part;
		bytes -= part;
		v = vec_advance(v, part);
	}
	/* It may have been lost while it was read. */
	return w->error < 0 ? -EACCES : 0;
}

int co_fn cbw_status(struct cbw *w, uint64_t offset, uint64_t bytes, struct extent *ret)
{
	bool kept, moved;
	bytes = run_length(w->kept, offset, bytes, &kept);
	if (!kept || w->error < 0)
		return -EACCES;
	bytes = run_length(w->moved, offset, bytes, &moved);
	if (moved)
		return node_status(w->settings.target->child, offset, bytes, ret);

	struct reading reading;
	begin_reading(w, &reading, offset, bytes);
	int r = node_status(w->settings.source->child, offset, bytes, ret);
	end_reading(w, &reading);
	return r;
}

int co_fn cbw_discard(struct cbw *w, uint64_t offset, uint64_t bytes)
{
	uint64_t size = dirty_bitmap_size(w->kept), cluster = w->settings.cluster;
	uint64_t first = align_up(offset, cluster), end = offset + bytes;
	if (end < size)
		end = align_down(end, cluster);
	if (first >= end)
		return 0;
	dirty_bitmap_clear(w->kept, first, end - first);
	dirty_bitmap_clear(w->left, first, end - first);
	copy_wait_range(w->copy, first, end - first);
	return edge_discard(w->settings.target, first, end - first);
}

/* --- For a job ------------------------------------------------------------------------ */

struct copy *cbw_copy(struct cbw *w)
{
	return w->copy;
}

struct dirty_bitmap *cbw_left(struct cbw *w)
{
	return w->left;
}

int cbw_error(const struct cbw *w)
{
	return w->error;
}

void cbw_watch(struct cbw *w, void (*broken)(void *arg), void *arg)
{
	w->broken = broken;
	w->broken_arg = arg;
}

void cbw_give_up(struct cbw *w)
{
	if (w->error == 0)
		w->error = -ECANCELED;
}

void cbw_discard_source(struct cbw *w)
{
	w->discards_source = true;
}

bool cbw_discards_source(const struct cbw *w)
{
	return w->discards_source;
}
