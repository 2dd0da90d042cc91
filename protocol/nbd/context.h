/* SPDX-License-Identifier: MIT */
/*
 * Metadata contexts: what BLOCK_STATUS can tell of an export.
 *
 * An export has an array of them, of which a client selects some. A new kind,
 * such as one for a dirty bitmap, is one more status() and one more element.
 */
#ifndef PROTOCOL_NBD_CONTEXT_H
#define PROTOCOL_NBD_CONTEXT_H

#include "base/coroutine.h"
#include "base/error.h"
#include "base/util.h"
#include "schema/types.h"

struct node;

/* One piece of the answer to BLOCK_STATUS. */
struct nbd_extent {
	uint32_t bytes; /* at least 1 */
	uint32_t flags; /* their meaning is the context's */
};

struct nbd_context {
	char *name; /* such as "base:allocation"; for export.c, malloc'ed */
	/*
	 * What is at @offset of @n, setting *ret to at most @bytes of one state.
	 * 0 or a negative errno. Runs in an operation of the export's consumer.
	 */
	int co_fn (*status)(const struct nbd_context *c, struct node *n, uint64_t offset,
			    uint32_t bytes, struct nbd_extent *ret);
	struct bitmap *bitmap; /* of qemu:dirty-bitmap:; busy, and its node is held */
};

/* Each makes a context, with its name. "base:allocation": holes and zeroes. */
struct nbd_context nbd_context_allocation(void);
/* "qemu:allocation-depth": in which layer data lie. */
struct nbd_context nbd_context_depth(void);
/*
 * "qemu:dirty-bitmap:NAME", for the bitmap that @which means of @n, exported to clients who
 * write or not. -ENOENT, or what is wrong with the bitmap.
 */
int nbd_context_bitmap(struct node *n, const struct block_dirty_bitmap_or_str *which,
		       bool writable, struct nbd_context *ret, struct error **errp);
/* All are made: nobody else may use their bitmaps. */
void nbd_contexts_begin(struct nbd_context *contexts, unsigned count);
void co_fn nbd_contexts_end(struct nbd_context *contexts, unsigned count);

#endif
