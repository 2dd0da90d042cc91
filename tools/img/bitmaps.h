/* SPDX-License-Identifier: MIT */
/*
 * Bitmaps that are stored in images.
 */
#ifndef TOOLS_IMG_BITMAPS_H
#define TOOLS_IMG_BITMAPS_H

#include "block/bitmap.h"
#include "tools/img/image.h"

/* Give the image a stored bitmap that records; @granularity 0 for the default. */
int co_fn bitmaps_add(struct image *image, const char *name, uint32_t granularity,
		      struct bitmap **ret, struct error **errp);
/* Add what @source has dirty to @target. */
int co_fn bitmaps_merge(struct bitmap *target, const struct bitmap *source, struct error **errp);
/*
 * Write all bitmaps to the image, which is closed for writing then: closing it would not tell
 * what went wrong.
 */
int co_fn bitmaps_store(struct image *image, struct error **errp);
/*
 * See that all stored bitmaps of @source can be copied; broken ones are an error unless
 * @skips_broken. Returns 0, or 1 after saying why not.
 */
int bitmaps_check_copy(const struct image *source, bool skips_broken);
/* Copy them to @target, and store them there. Returns 0, or 1 after saying what is wrong. */
int co_fn bitmaps_copy(struct image *source, struct image *target);

#endif
