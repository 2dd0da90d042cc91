/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps stored in the image: the directory that the bitmaps extension names, its
 * entries' tables, and the clusters of bits. Node's loop.
 *
 * Invariants:
 * 1. While users may write, every entry in the file that could become wrong is marked
 *    in use, durably and before the first write. What is not marked is right.
 * 2. Bits, tables and directory are written to clusters of their own, and durable with
 *    their refcounts, before the header names them in one sector; what the header has
 *    named before becomes free only when it no longer does so, durably. A crash leaves
 *    the old directory or the new one.
 * 3. The extension counts only together with its autoclear bit: without it, another
 *    program may have reused the clusters. It is forgotten when the image is opened.
 * 4. Entries that we cannot interpret, and those that were in use when the image was
 *    opened, are kept as they are. The latter are shown as inconsistent bitmaps.
 * 5. In memory, the node's persistent bitmaps are the truth; q->bitmaps is what the
 *    directory in the file says.
 */
#ifndef DRIVERS_QCOW2_BITMAP_H
#define DRIVERS_QCOW2_BITMAP_H

#include "block/dirty_bitmap.h"
#include "drivers/qcow2/state.h"

/* An entry of the directory. */
struct qcow2_bitmap {
	struct list link; /* in the order of the directory */
	uint64_t table_offset;
	uint32_t table_entries;
	uint32_t flags; /* enum qcow2_bitmap_flags */
	uint8_t type, granularity_bits;
	uint8_t *extra;
	uint32_t extra_bytes;
	char *name;
};

/* --- The directory --------------------------------------------------------------- */

void qcow2_bitmap_free(struct qcow2_bitmap *b);
void qcow2_bitmaps_free(struct list *bitmaps);
struct qcow2_bitmap *qcow2_bitmap_clone(const struct qcow2_bitmap *b);
/* The entry called @name, or NULL. */
struct qcow2_bitmap *qcow2_bitmap_find(const struct list *bitmaps, const char *name);
/* False for an entry of another type or granularity, or with data that we do not know. */
bool qcow2_bitmap_is_known(const struct qcow2_bitmap *b);
/* Bytes of one entry of the directory, padding included. */
uint64_t qcow2_directory_entry_bytes(uint64_t name_bytes, uint64_t extra_bytes);
/* Bytes of the directory with these entries. */
uint64_t qcow2_directory_bytes(const struct list *bitmaps);
/* Read the directory to q->bitmaps, or drop an extension that does not count. */
int co_fn qcow2_directory_load(struct qcow2 *q, struct error **errp);
/* Write @bitmaps in place, which differ from q->bitmaps in their flags only; durable. */
int co_fn qcow2_directory_update(struct qcow2 *q, const struct list *bitmaps);
/* Let the file have the directory @bitmaps, which may be empty, instead; see 2. */
int co_fn qcow2_directory_replace(struct qcow2 *q, const struct list *bitmaps);

/* --- Tables and bits ----------------------------------------------------------------- */

/* Entries of the table for the bits of @granularity_bits of an image of @size bytes. */
uint64_t qcow2_bitmap_table_entries(const struct qcow2 *q, uint64_t size,
				    unsigned granularity_bits);
/* Set in @bits what is stored. -EIO, or -EINVAL when the table cannot be right. */
int co_fn qcow2_bitmap_load(struct qcow2 *q, const struct qcow2_bitmap *b,
			    struct dirty_bitmap *bits);
/* Write @bits to new clusters; sets the table of @b. Nothing is left behind on failure. */
int co_fn qcow2_bitmap_write(struct qcow2 *q, const struct dirty_bitmap *bits,
			     struct qcow2_bitmap *b);
/* Free the clusters of @b, when the directory on disk has no such entry (any more). */
void co_fn qcow2_bitmap_drop(struct qcow2 *q, const struct qcow2_bitmap *b);

/* --- The image's bitmaps as a whole ---------------------------------------------------- */

/* Give the node the bitmaps that are stored in the image. Before the first writing. */
int co_fn qcow2_bitmaps_open(struct qcow2 *q, struct error **errp);
/* Mark them in use; a part of qcow2_begin_writing(). */
int co_fn qcow2_bitmaps_mark(struct qcow2 *q, struct error **errp);
/*
 * Write the node's persistent bitmaps to the image, which nobody writes to.
 * qcow2_end_writing() follows, so that they are marked again before the next write.
 */
int co_fn qcow2_bitmaps_store(struct qcow2 *q, struct error **errp);
/* Whether the node has persistent bitmaps of which the image knows nothing. */
bool qcow2_bitmaps_are_missing(struct qcow2 *q);
/* 0, or a negative errno with the sentence: a bitmap could not follow the image to @size bytes. */
int qcow2_bitmaps_check_resize(struct qcow2 *q, uint64_t size, struct error **errp);
/* The image has become writable or not: so have its bitmaps. */
void qcow2_bitmaps_set_writable(struct qcow2 *q, bool writable);

/* The driver's calls. */
int co_fn qcow2_can_store_bitmap(struct node *n, const char *name, uint32_t granularity,
				 struct error **errp);
int co_fn qcow2_remove_bitmap(struct node *n, const char *name, struct error **errp);
int co_fn qcow2_change_bitmaps(struct node *n, struct error **errp);

#endif
