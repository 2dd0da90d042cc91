/* SPDX-License-Identifier: MIT */
/*
 * What queries tell of nodes and of the images in them. Control thread; the
 * caller holds the change lock, so that the graph stays as it is.
 */
#ifndef DAEMON_QUERY_IMAGE_H
#define DAEMON_QUERY_IMAGE_H

#include "base/coroutine.h"
#include "schema/types.h"

struct node;

/*
 * Describe @n; with the images behind it unless @flat. The caller frees the
 * result with block_device_info_free().
 */
struct block_device_info *co_fn query_device_info(struct node *n, bool flat);

#endif
