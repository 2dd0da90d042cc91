/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps of nodes. Node's loop; nothing waits, so that nothing moves in between.
 *
 * Invariants:
 * 1. The bits of a bitmap that is not inconsistent have the node's size.
 * 2. A frozen bitmap has a successor and is busy; the successor is anonymous, has the
 *    same granularity and records exactly when the frozen one was enabled.
 */
#include "block/bitmap.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/sha256.h"
#include "block/driver.h"

#define GRANULARITY_DEFAULT_MIN 4096
#define GRANULARITY_DEFAULT_MAX 65536

static int check_name(struct node *n, const char *name, struct error **errp)
{
	if (name[0] == '\0')
		return error_set(errp, -EINVAL, "Bitmap name cannot be empty");
	if (bitmap_find(n, name))
		return error_set(errp, -EEXIST, "Bitmap already exists: %s", name);
	if (strlen(name) > BITMAP_NAME_MAX)
		return error_set(errp, -EINVAL, "Bitmap name too long: %s", name);
	return 0;
}

int bitmap_check_granularity(uint32_t granularity, struct error **errp)
{
	if (is_power_of_2(granularity) && granularity >= DIRTY_BITMAP_GRANULARITY_MIN)
		return 0;
	return error_set(errp, -EINVAL, "Granularity must be power of 2 and at least %u",
			 DIRTY_BITMAP_GRANULARITY_MIN);
}

int bitmap_create(struct node *n, const char *name, uint32_t granularity, struct bitmap **ret,
		  struct error **errp)
{
	int r = name ? check_name(n, name, errp) : 0;
	if (r >= 0)
		r = bitmap_check_granularity(granularity, errp);
	if (r < 0)
		return r;
	struct dirty_bitmap *bits = dirty_bitmap_create(n->size, granularity);
	if (!bits)
		return error_set(errp, -ENOMEM, "No memory for a bitmap of node '%s'", n->name);
	struct bitmap *b = NEW(struct bitmap);
	b->node = n;
	b->name = xstrdup(name);
	b->bits = bits;
	b->enabled = true;
	list_add_head(&n->bitmaps, &b->link);
	*ret = b;
	return 0;
}

uint32_t co_fn bitmap_default_granularity(struct node *n)
{
	struct driver_info info;
	if (node_driver_info(n, &info) < 0 || info.cluster_size == 0)
		return GRANULARITY_DEFAULT_MAX;
	return (uint32_t)MIN(MAX(info.cluster_size, GRANULARITY_DEFAULT_MIN),
			     GRANULARITY_DEFAULT_MAX);
}

void bitmap_destroy(struct bitmap *b)
{
	if (!b)
		return;
	if (b->successor)
		bitmap_destroy(b->successor);
	list_del_init(&b->link);
	dirty_bitmap_destroy(b->bits);
	free(b->name);
	free(b);
}

void bitmaps_destroy_all(struct node *n)
{
	struct bitmap *b, *following;
	/* A successor belongs to the one that it succeeds, and is younger. */
	list_for_each (b, &n->bitmaps, link)
		b->successor = NULL;
	list_for_each_safe (b, following, &n->bitmaps, link)
		bitmap_destroy(b);
}

void bitmaps_destroy_persistent(struct node *n)
{
	struct bitmap *b, *following;
	list_for_each_safe (b, following, &n->bitmaps, link) {
		if (b->persistent)
			bitmap_destroy(b);
	}
}

struct bitmap *bitmap_find(struct node *n, const char *name)
{
	struct bitmap *b;
	list_for_each (b, &n->bitmaps, link) {
		if (b->name && strcmp(b->name, name) == 0)
			return b;
	}
	return NULL;
}

struct bitmap *bitmap_find_error(struct graph *g, const char *node, const char *name,
				 struct error **errp)
{
	struct node *n = node_find(g, node);
	if (!n) {
		error_set(errp, -ENODEV, "Node '%s' not found", node);
		return NULL;
	}
	struct bitmap *b = bitmap_find(n, name);
	if (!b)
		error_set(errp, -ENOENT, "Dirty bitmap '%s' not found", name);
	return b;
}

struct bitmap *bitmap_next(struct node *n, struct bitmap *b)
{
	struct list *next = b ? b->link.next : n->bitmaps.next;
	return next == &n->bitmaps ? NULL : container_of(next, struct bitmap, link);
}

bool bitmaps_have_persistent(struct node *n)
{
	struct bitmap *b = NULL;
	while ((b = bitmap_next(n, b))) {
		if (b->persistent)
			return true;
	}
	return false;
}

int bitmap_check(const struct bitmap *b, unsigned obstacles, struct error **errp)
{
	const char *name = b->name ? b->name : "";
	if ((obstacles & BITMAP_BUSY) && b->busy)
		return error_set(errp, -EBUSY, "Bitmap '%s' is currently in use by another "
				 "operation and cannot be used", name);
	if ((obstacles & BITMAP_READ_ONLY) && b->read_only)
		return error_set(errp, -EACCES, "Bitmap '%s' is readonly and cannot be modified",
				 name);
	if ((obstacles & BITMAP_INCONSISTENT) && b->inconsistent)
		return error_set(errp, -EINVAL, "Bitmap '%s' is inconsistent and cannot be used",
				 name);
	return 0;
}

bool bitmap_is_recording(const struct bitmap *b)
{
	return b->successor ? b->successor->enabled : b->enabled;
}

uint64_t bitmap_count(const struct dirty_bitmap *bits)
{
	return align_up(dirty_bitmap_count(bits), dirty_bitmap_granularity(bits));
}

void bitmap_sha256(const struct bitmap *b, char ret[65])
{
	uint64_t count;
	const uint64_t *words = dirty_bitmap_words(b->bits, &count);
	sha256_hex(words, count * sizeof(words[0]), ret);
}

int bitmap_check_merge(const struct bitmap *target, const struct bitmap *source,
		       struct error **errp)
{
	uint64_t size = dirty_bitmap_size(target->bits);
	if (size != dirty_bitmap_size(source->bits))
		return error_set(errp, -EINVAL,
				 "Bitmaps are of different sizes (destination size is %" PRIu64
				 ", source size is %" PRIu64 ") and can't be merged",
				 size, dirty_bitmap_size(source->bits));
	return 0;
}

int bitmap_freeze(struct bitmap *b, struct error **errp)
{
	int r = bitmap_check(b, BITMAP_UNWRITABLE, errp);
	if (r < 0)
		return r;
	struct bitmap *successor;
	r = bitmap_create(b->node, NULL, dirty_bitmap_granularity(b->bits), &successor, errp);
	if (r < 0)
		return r;
	successor->enabled = b->enabled;
	successor->cut_end = b->cut_end;
	b->successor = successor;
	b->enabled = false;
	b->busy = true;
	return 0;
}

/* Let @b record for itself again. What is left of the successor goes. */
static void thaw(struct bitmap *b)
{
	b->enabled = b->successor->enabled;
	b->cut_end = b->successor->cut_end;
	b->inconsistent |= b->successor->inconsistent;
	bitmap_destroy(TAKE(b->successor));
	b->busy = false;
}

void bitmap_abdicate(struct bitmap *b)
{
	assert(b->successor);
	struct dirty_bitmap *bits = b->bits;
	b->bits = b->successor->bits;
	b->successor->bits = bits;
	thaw(b);
}

void bitmap_reclaim(struct bitmap *b)
{
	assert(b->successor);
	if (!b->inconsistent && !b->successor->inconsistent)
		dirty_bitmap_merge(b->bits, b->successor->bits);
	thaw(b);
}

void bitmap_view_begin(struct bitmap_view *v, struct node *n, const struct dirty_bitmap *bits,
		       bool is_recording)
{
	*v = (struct bitmap_view){.node = n, .bits = bits, .is_recording = is_recording};
	list_add_head(&n->bitmap_views, &v->link);
}

void bitmap_view_end(struct bitmap_view *v)
{
	if (!v->node)
		return;
	v->node = NULL;
	list_del_init(&v->link);
}

void bitmap_views_end_all(struct node *n)
{
	struct bitmap_view *v;
	while ((v = list_first(&n->bitmap_views, struct bitmap_view, link)))
		bitmap_view_end(v);
}

void bitmaps_mark(struct node *n, uint64_t offset, uint64_t bytes)
{
	struct bitmap *b;
	list_for_each (b, &n->bitmaps, link) {
		if (b->enabled && !b->inconsistent)
			dirty_bitmap_set(b->bits, offset, bytes);
	}
}

/* What was cut off and grows again shows zeroes now, and showed something else before. */
static void mark_regrown(struct bitmap *b, uint64_t old_size)
{
	uint64_t end = MIN(dirty_bitmap_size(b->bits), b->cut_end);
	if (b->enabled && old_size < end)
		dirty_bitmap_set(b->bits, old_size, end - old_size);
}

void bitmaps_resize(struct node *n)
{
	struct bitmap *b;
	list_for_each (b, &n->bitmaps, link) {
		uint64_t old_size = dirty_bitmap_size(b->bits);
		if (n->size < old_size)
			b->cut_end = MAX(b->cut_end, old_size);
		if (dirty_bitmap_resize(b->bits, n->size) < 0)
			b->inconsistent = true;
		else if (!b->inconsistent)
			mark_regrown(b, old_size);
	}
}
