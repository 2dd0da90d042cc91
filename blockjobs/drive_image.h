/* SPDX-License-Identifier: MIT */
/*
 * What the commands drive-mirror and drive-backup have in common: an image that is
 * made for a job, beside the one that the job copies. Control thread, holding the
 * change lock.
 */
#ifndef BLOCKJOBS_DRIVE_IMAGE_H
#define BLOCKJOBS_DRIVE_IMAGE_H

#include "block/node.h"

/* The format of what @n shows: "raw" for storage without one. */
const char *drive_image_format(struct node *n);
/* What a new image begins from, shown below what is copied into it; NULL for nothing. */
struct node *drive_image_backing(struct node *source, enum mirror_sync_mode sync);
/*
 * Make the image @filename, as long as @source and of its format unless @format says
 * another one. It records @backing, which may be NULL, as its backing file. @ret_made: as
 * with image_create().
 */
int co_fn drive_image_create(struct node *source, const char *filename, const char *format,
			     struct node *backing, char **ret_made, struct error **errp);
/* Have it opened with the cache modes of @source. */
void drive_image_set_modes(const struct node *source, bool unmap, struct blockdev_options *ret);

#endif
