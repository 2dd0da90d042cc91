/* SPDX-License-Identifier: MIT */
/*
 * What is known of an image, for queries and for people.
 */
#ifndef BLOCK_IMAGE_INFO_H
#define BLOCK_IMAGE_INFO_H

#include "base/coroutine.h"
#include "schema/types.h"

struct node;

/*
 * Describe the image in @n, without those behind it. The caller frees the result
 * with image_info_free(). Node's loop.
 */
struct image_info *co_fn node_image_info(struct node *n);

#endif
