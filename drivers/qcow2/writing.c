/* SPDX-License-Identifier: MIT */
/*
 * The passage from reading an image to writing it, and back. Node's loop.
 *
 * 1. Writing needs the refcount table, an image that is not marked corrupt, correct
 *    refcounts (a dirty image is repaired first), and no autoclear bit that we do
 *    not keep true.
 * 2. An image opened for writing is brought into that state at once. One that
 *    becomes writable later (reopen.c) is so before its first write.
 */
#include "block/open.h"
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/check.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/overlap.h"

#define SECTOR 512

/* Clear the bits whose promise we do not keep while writing. */
static int co_fn clear_autoclear(struct qcow2 *q, struct error **errp)
{
	/* Without its extension, the bit of the bitmaps means nothing. */
	uint64_t kept = list_is_empty(&q->bitmaps) ? 0 : AUTOCLEAR_KEPT;
	uint64_t stale = q->header.autoclear & ~kept;

	if (stale == 0)
		return 0;
	q->header.autoclear &= ~stale;
	int r = qcow2_header_update(q);

	if (r < 0) {
		q->header.autoclear |= stale;
		return error_set_errno(errp, r, "Could not update qcow2 header");
	}
	return 0;
}

static int co_fn repair_dirty(struct qcow2 *q, struct error **errp)
{
	struct image_check result = {0};

	if (!(q->header.incompatible & INCOMPATIBLE_DIRTY))
		return 0;
	int r = qcow2_check_image(q, IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS, &result, errp);

	if (r == 0 && (result.corruptions > 0 || result.errors > 0))
		r = error_set(errp, -EIO, "%" PRIu64 " corruptions and %" PRIu64 " errors remain",
			      result.corruptions, result.errors);
	if (r < 0)
		error_prefix(errp, "Could not repair dirty image: ");
	return r;
}

static int co_fn begin_writing_locked(struct qcow2 *q, struct error **errp)
{
	bool is_for_check = q->node->open_flags & NODE_OPEN_FOR_CHECK;

	if ((q->header.incompatible & INCOMPATIBLE_CORRUPT) && !is_for_check)
		return error_set(errp, -EACCES,
				 "qcow2: Image is corrupt; cannot be opened read/write");
	int r = qcow2_load_reftable(q, errp);

	if (r == 0)
		r = qcow2_metadata_collect(q, errp);
	if (r < 0)
		return r;
	q->fresh_from = q->grown_from = qcow2_clusters(q, qcow2_file_size(q));
	r = clear_autoclear(q, errp);
	if (r == 0 && !is_for_check)
		r = repair_dirty(q, errp);
	if (r == 0)
		r = qcow2_bitmaps_mark(q, errp);
	if (r == 0)
		q->writing = true;
	return r;
}

int co_fn qcow2_begin_writing(struct qcow2 *q, struct error **errp)
{
	if (!q->node->active)
		return error_set(errp, -EPERM, "Node '%s' is inactive", q->node->name);
	co_mutex_lock(&q->begin_lock);
	int r = q->writing ? 0 : begin_writing_locked(q, errp);

	co_mutex_unlock(&q->begin_lock);
	return r;
}

/* Whether something would be written by another flush. */
static bool is_dirty(const struct qcow2 *q)
{
	return !list_is_empty(&q->refcount_cache.dirty) || !list_is_empty(&q->l2_cache.dirty) ||
	       q->l1.dirty_count > 0 || q->reftable.dirty_count > 0 || q->freed.count > 0;
}

/* What others have taken to write it is not dirty, and not in the file before they are done. */
static void co_fn wait_for_writers(struct qcow2 *q)
{
	co_mutex_lock(&q->flush_lock);
	co_mutex_lock(&q->refcount_cache.write_lock);
	co_mutex_unlock(&q->refcount_cache.write_lock);
	co_mutex_unlock(&q->flush_lock);
}

int co_fn qcow2_settle(struct qcow2 *q)
{
	int r = 0;

	wait_for_writers(q);
	while (r == 0 && is_dirty(q)) {
		r = qcow2_flush_metadata(q, FLUSH_RECLAIM | FLUSH_REFCOUNTS);
		wait_for_writers(q);
	}
	return r < 0 ? r : edge_flush(q->node->file);
}

/*
 * What is zero at the end of a new cluster is not written, and compressed data ends anywhere. We
 * read zeroes behind the end of the file; not all programs do, nor do windows end within a sector.
 */
static void co_fn pad_file(struct qcow2 *q)
{
	uint64_t size = qcow2_file_size(q);
	bool is_compressed = q->compressed_next != 0 &&
			     size >> q->cluster_bits == q->compressed_next >> q->cluster_bits;
	uint64_t whole = align_up(size, is_compressed ? SECTOR : q->cluster_bytes);

	/* In vain where the file cannot grow; the image is good all the same. */
	if (q->fresh_from > q->grown_from && whole > size)
		(void)edge_truncate(q->node->file, whole, PREALLOCATION_OFF, NULL);
}

int co_fn qcow2_end_writing(struct qcow2 *q)
{
	if (!q->writing)
		return 0;
	if (!q->node->corrupt)
		pad_file(q);
	int r = qcow2_settle(q);

	/* Opened to be checked, it is clean when the check says so. */
	if (r == 0 && !q->node->corrupt && !(q->node->open_flags & NODE_OPEN_FOR_CHECK))
		r = qcow2_header_set_incompatible(q, 0, INCOMPATIBLE_DIRTY);
	/* Stored bitmaps must be marked before anything is written again. */
	if (r == 0 && !list_is_empty(&q->bitmaps))
		q->writing = false;
	return r;
}
