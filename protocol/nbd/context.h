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
#include "base/util.h"

struct node;

/* One piece of the answer to BLOCK_STATUS. */
struct nbd_extent {
	uint32_t bytes; /* at least 1 */
	uint32_t flags; /* their meaning is the context's */
};

struct nbd_context {
	const char *name; /* such as "base:allocation" */
	/*
	 * What is at @offset of @n, setting *ret to at most @bytes of one state.
	 * 0 or a negative errno. Runs in an operation of the export's consumer.
	 */
	int co_fn (*status)(const struct nbd_context *c, struct node *n, uint64_t offset,
			    uint32_t bytes, struct nbd_extent *ret);
	void *arg;
};

/* "base:allocation": holes and zeroes. */
extern const struct nbd_context nbd_context_allocation;

#endif
