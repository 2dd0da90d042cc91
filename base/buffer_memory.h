/* SPDX-License-Identifier: MIT */
/*
 * Where the buffer pool gets its memory: huge pages for all but small buffers.
 *
 * A disk request on scattered pages is as many segments as it has pages, which
 * devices, virtual ones above all, take one by one; in a huge page it is one.
 * The loop's thread only.
 */
#ifndef BASE_BUFFER_MEMORY_H
#define BASE_BUFFER_MEMORY_H

#include "base/list.h"

struct buffer_slab;

/* Memory of one pool. */
struct buffer_memory {
	struct buffer_slab *slabs; /* uthash, by their address */
	struct list partial[8];    /* struct buffer_slab.link: with free pieces, by size */
};

void buffer_memory_init(struct buffer_memory *m);
/*
 * @bytes (a multiple of 4096; below 2 MiB a power of two) aligned to 4096, or
 * NULL. Free with buffer_memory_put() and the same size.
 */
void *buffer_memory_get(struct buffer_memory *m, size_t bytes);
void buffer_memory_put(struct buffer_memory *m, void *p, size_t bytes);

#endif
