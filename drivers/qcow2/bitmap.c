/* SPDX-License-Identifier: MIT */
/*
 * The image's bitmaps and the node's: loading, marking, storing, removing. See bitmap.h.
 */
#include "block/bitmap.h"

#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"

/* --- Opening -------------------------------------------------------------------- */

/* Whether a bitmap of @size bytes takes more memory, and space, than we give to one. */
static bool is_too_large(const struct qcow2 *q, uint64_t size, unsigned granularity_bits)
{
	uint64_t entries = qcow2_bitmap_table_entries(q, size, granularity_bits);

	return entries > BITMAP_TABLE_ENTRIES_MAX || entries > BITMAP_BYTES_MAX / q->cluster_bytes;
}

/* Give the node the bitmap @e. What is not as it should be makes an inconsistent one. */
static int co_fn open_bitmap(struct qcow2 *q, const struct qcow2_bitmap *e, struct error **errp)
{
	struct bitmap *b;

	if (is_too_large(q, q->node->size, e->granularity_bits))
		return error_set(errp, -EFBIG, "Bitmap '%s' is too large", e->name);
	int r = bitmap_create(q->node, e->name, UINT32_C(1) << e->granularity_bits, &b, errp);

	if (r < 0)
		return r;
	b->persistent = true;
	b->read_only = !q->writable;
	b->enabled = (e->flags & BITMAP_AUTO) && !(e->flags & BITMAP_IN_USE);
	if (e->flags & BITMAP_IN_USE) {
		b->inconsistent = true;
		return 0;
	}
	r = qcow2_bitmap_load(q, e, b->bits);
	if (r == -EINVAL) {
		dirty_bitmap_clear(b->bits, 0, UINT64_MAX);
		b->inconsistent = true;
		b->enabled = false;
		r = 0;
	}
	return r < 0 ? error_set_errno(errp, r, "Could not read bitmap '%s'", e->name) : 0;
}

int co_fn qcow2_bitmaps_open(struct qcow2 *q, struct error **errp)
{
	struct qcow2_bitmap *e;
	int r = qcow2_directory_load(q, errp);

	if (r < 0)
		return r;
	list_for_each(e, &q->bitmaps, link) {
		r = qcow2_bitmap_is_known(e) ? open_bitmap(q, e, errp) : 0;
		if (r < 0)
			return r;
	}
	return 0;
}

void qcow2_bitmaps_set_writable(struct qcow2 *q, bool writable)
{
	struct bitmap *b = NULL;

	while ((b = bitmap_next(q->node, b))) {
		if (b->persistent)
			b->read_only = !writable;
	}
}

/* --- Marking --------------------------------------------------------------------- */

/* Those that we cannot interpret may stay as they are if nobody relies on us. */
static bool needs_mark(const struct qcow2_bitmap *e)
{
	return !(e->flags & BITMAP_IN_USE) &&
	       (qcow2_bitmap_is_known(e) || (e->flags & BITMAP_AUTO));
}

int co_fn qcow2_bitmaps_mark(struct qcow2 *q, struct error **errp)
{
	struct list marked = LIST_INIT(marked);
	struct qcow2_bitmap *e;
	bool changes = false;

	list_for_each(e, &q->bitmaps, link) {
		struct qcow2_bitmap *clone = qcow2_bitmap_clone(e);

		list_add_tail(&marked, &clone->link);
		changes |= needs_mark(e);
		if (needs_mark(e))
			clone->flags |= BITMAP_IN_USE;
	}
	int r = changes ? qcow2_directory_update(q, &marked) : 0;

	qcow2_bitmaps_free(&marked);
	if (r < 0)
		return error_set_errno(errp, r, "Could not mark the bitmaps as in use");
	/* Not before it is durable: what has failed comes again with the next write. */
	list_for_each(e, &q->bitmaps, link) {
		if (needs_mark(e))
			e->flags |= BITMAP_IN_USE;
	}
	return 0;
}

/* --- Storing ---------------------------------------------------------------------- */

/* The bitmap that @e stands for, if it shall be stored. */
static struct bitmap *find_live(struct qcow2 *q, const struct qcow2_bitmap *e)
{
	struct bitmap *b = qcow2_bitmap_is_known(e) ? bitmap_find(q->node, e->name) : NULL;

	return b && b->persistent ? b : NULL;
}

/* An entry for @b as it is, appended to @bitmaps. */
static int co_fn store_bitmap(struct qcow2 *q, const struct bitmap *b, struct list *bitmaps,
			      struct error **errp)
{
	/* Who has frozen it may not come to an end: what was written meanwhile is dirty, too. */
	struct dirty_bitmap *sum = b->successor ? dirty_bitmap_clone(b->bits) : NULL;

	if (b->successor && !sum)
		return error_set_errno(errp, -ENOMEM, "Failed to write bitmap '%s'", b->name);
	if (sum)
		dirty_bitmap_merge(sum, b->successor->bits);

	struct qcow2_bitmap *e = NEW(struct qcow2_bitmap);

	e->name = xstrdup(b->name);
	e->type = BITMAP_DIRTY_TRACKING;
	e->granularity_bits = __builtin_ctz(dirty_bitmap_granularity(b->bits));
	e->flags = bitmap_is_recording(b) ? BITMAP_AUTO : 0;
	int r = qcow2_bitmap_write(q, sum ? sum : b->bits, e);

	dirty_bitmap_destroy(sum);
	if (r < 0) {
		qcow2_bitmap_free(e);
		return error_set_errno(errp, r, "Failed to write bitmap '%s' to file", b->name);
	}
	list_add_tail(bitmaps, &e->link);
	return 0;
}

/* What the directory shall be: what is kept in its old place, and then the new. */
static int co_fn write_bitmaps(struct qcow2 *q, struct list *bitmaps, struct error **errp)
{
	struct qcow2_bitmap *e;
	struct bitmap *b = NULL;
	int r = 0;

	list_for_each(e, &q->bitmaps, link) {
		b = find_live(q, e);
		if (qcow2_bitmap_is_known(e) && (!b || q->node->size == 0))
			continue; /* it has been removed, or has no bits */
		if (b && !b->inconsistent)
			r = store_bitmap(q, b, bitmaps, errp);
		else
			list_add_tail(bitmaps, &qcow2_bitmap_clone(e)->link);
		if (r < 0)
			return r;
	}
	b = NULL;
	while (q->node->size > 0 && (b = bitmap_next(q->node, b))) {
		if (!b->name || !b->persistent || b->inconsistent ||
		    qcow2_bitmap_find(bitmaps, b->name))
			continue;
		r = store_bitmap(q, b, bitmaps, errp);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Drop what @bitmaps has and @others has not. */
static void co_fn drop_others(struct qcow2 *q, const struct list *bitmaps,
			      const struct list *others)
{
	struct qcow2_bitmap *b;

	list_for_each(b, bitmaps, link) {
		const struct qcow2_bitmap *other = qcow2_bitmap_find(others, b->name);

		if (!other || other->table_offset != b->table_offset)
			qcow2_bitmap_drop(q, b);
	}
}

/* Let the file have the directory @bitmaps, and become the owner of these. */
static int co_fn exchange(struct qcow2 *q, struct list *bitmaps, struct error **errp)
{
	struct list old;
	struct qcow2_bitmap *b, *following;
	int r = qcow2_directory_replace(q, bitmaps);

	if (r < 0)
		return error_set_errno(errp, r, "Failed to update bitmap extension");
	list_init(&old);
	list_for_each_safe(b, following, &q->bitmaps, link) {
		list_del_init(&b->link);
		list_add_tail(&old, &b->link);
	}
	list_for_each_safe(b, following, bitmaps, link) {
		list_del_init(&b->link);
		list_add_tail(&q->bitmaps, &b->link);
	}
	drop_others(q, &old, &q->bitmaps);
	qcow2_bitmaps_free(&old);
	return 0;
}

int co_fn qcow2_bitmaps_store(struct qcow2 *q, struct error **errp)
{
	struct list bitmaps;

	if (list_is_empty(&q->bitmaps) && !bitmaps_have_persistent(q->node))
		return 0;
	int r = qcow2_begin_writing(q, errp);

	if (r < 0)
		return r;
	list_init(&bitmaps);
	r = write_bitmaps(q, &bitmaps, errp);
	if (r == 0)
		r = exchange(q, &bitmaps, errp);
	if (r == 0)
		return 0;
	if (!q->node->corrupt)
		drop_others(q, &bitmaps, &q->bitmaps);
	qcow2_bitmaps_free(&bitmaps);
	return r;
}

bool qcow2_bitmaps_are_missing(struct qcow2 *q)
{
	struct bitmap *b = NULL;

	while ((b = bitmap_next(q->node, b))) {
		if (b->name && b->persistent && !qcow2_bitmap_find(&q->bitmaps, b->name))
			return true;
	}
	return false;
}

/* --- The driver's calls --------------------------------------------------------------- */

/* One that cannot be stored would take all others along when they are. */
static int check_sizes(struct qcow2 *q, uint64_t size, struct error **errp)
{
	struct bitmap *b = NULL;

	while (size > q->node->size && (b = bitmap_next(q->node, b))) {
		unsigned granularity_bits = __builtin_ctz(dirty_bitmap_granularity(b->bits));

		if (b->persistent && is_too_large(q, size, granularity_bits))
			return error_set(errp, -EFBIG, "Bitmap '%s' would take too much space in an "
					 "image of %" PRIu64 " bytes", b->name, size);
	}
	return 0;
}

int qcow2_bitmaps_check_resize(struct qcow2 *q, uint64_t size, struct error **errp)
{
	struct qcow2_bitmap *e;

	list_for_each(e, &q->bitmaps, link) {
		struct bitmap *b = find_live(q, e);
		int r = b ? bitmap_check(b, BITMAP_UNWRITABLE, errp) : 0;

		if (r == 0 && !b && !qcow2_bitmap_is_known(e))
			r = error_set(errp, -ENOTSUP, "Cannot resize an image with bitmap '%s', "
				      "which is of an unknown kind", e->name);
		if (r < 0)
			return r;
	}
	return check_sizes(q, size, errp);
}

/* Entries and bytes that the directory would have with all that is persistent by now. */
static void measure_directory(struct qcow2 *q, uint64_t *ret_count, uint64_t *ret_bytes)
{
	struct qcow2_bitmap *e;
	struct bitmap *b = NULL;

	*ret_count = 0;
	*ret_bytes = qcow2_directory_bytes(&q->bitmaps);
	list_for_each(e, &q->bitmaps, link)
		++*ret_count;
	while ((b = bitmap_next(q->node, b))) {
		if (!b->name || !b->persistent || qcow2_bitmap_find(&q->bitmaps, b->name))
			continue;
		++*ret_count;
		*ret_bytes += qcow2_directory_entry_bytes(strlen(b->name), 0);
	}
}

int co_fn qcow2_can_store_bitmap(struct node *n, const char *name, uint32_t granularity,
				 struct error **errp)
{
	struct qcow2 *q = n->state;
	uint64_t count, bytes;

	if (!n->active)
		return error_set(errp, -EPERM, "Node '%s' is inactive", n->name);
	if (q->header.version < 3)
		return error_set(errp, -ENOTSUP, "Cannot store dirty bitmaps in qcow2 v2 files");
	if (n->size == 0)
		return error_set(errp, -ENOTSUP, "The image is empty");
	if (strlen(name) > BITMAP_NAME_MAX)
		return error_set(errp, -EINVAL, "Name length exceeds maximum (%u characters)",
				 BITMAP_NAME_MAX);
	if (qcow2_bitmap_find(&q->bitmaps, name) && !bitmap_find(n, name))
		return error_set(errp, -EEXIST, "Bitmap with the same name is already stored");
	if (is_too_large(q, n->size, __builtin_ctz(granularity)))
		return error_set(errp, -EINVAL, "Too much space will be occupied by the bitmap. "
				 "Use larger granularity");
	measure_directory(q, &count, &bytes);
	if (count >= BITMAPS_MAX)
		return error_set(errp, -EOVERFLOW, "Maximum number of persistent bitmaps is "
				 "already reached");
	if (bytes + qcow2_directory_entry_bytes(strlen(name), 0) > BITMAP_DIRECTORY_BYTES_MAX)
		return error_set(errp, -EOVERFLOW, "Not enough space in the bitmap directory");
	return 0;
}

static int co_fn remove_locked(struct qcow2 *q, const char *name, struct error **errp)
{
	struct qcow2_bitmap *e;
	struct list bitmaps;

	if (!qcow2_bitmap_find(&q->bitmaps, name))
		return 0;
	int r = qcow2_begin_writing(q, errp);

	if (r < 0)
		return r;
	list_init(&bitmaps);
	list_for_each(e, &q->bitmaps, link) {
		if (strcmp(e->name, name) != 0)
			list_add_tail(&bitmaps, &qcow2_bitmap_clone(e)->link);
	}
	r = exchange(q, &bitmaps, NULL);
	qcow2_bitmaps_free(&bitmaps);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to remove bitmap '%s' from file", name);
	return 0;
}

/* Writes go on beside it. A job that amends the image is waited for: it moves the tables. */
int co_fn qcow2_remove_bitmap(struct node *n, const char *name, struct error **errp)
{
	struct qcow2 *q = n->state;

	co_mutex_lock(&q->layout_lock);
	int r = remove_locked(q, name, errp);

	co_mutex_unlock(&q->layout_lock);
	return r;
}

int co_fn qcow2_change_bitmaps(struct node *n, struct error **errp)
{
	return qcow2_begin_writing(n->state, errp);
}
