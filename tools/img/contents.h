/* SPDX-License-Identifier: MIT */
/*
 * Comparing what two images show, range by range.
 */
#ifndef TOOLS_IMG_CONTENTS_H
#define TOOLS_IMG_CONTENTS_H

#include "tools/img/image.h"

/* The unit in which differences are told. */
#define CONTENTS_SECTOR 512
/* Bytes that are compared at once. */
#define CONTENTS_STEP (2 * MiB)

/*
 * Where in the range, at most CONTENTS_STEP bytes, the images differ first: the offset of
 * that sector, or UINT64_MAX when they do not. @a and @b are buffers for the range. Behind the
 * end of an image there are zeroes; NULL is an image of zeroes. Returns 0, or a negative errno
 * with *ret_failed set to the image that could not be read.
 */
int co_fn contents_differ(struct image *a, struct image *b, uint64_t offset, uint64_t bytes,
			  char *buffer_a, char *buffer_b, uint64_t *ret_at,
			  const struct image **ret_failed);

#endif
