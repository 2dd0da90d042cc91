/* SPDX-License-Identifier: MIT */
/*
 * What the files of the stream job share. Only they include it.
 */
#ifndef BLOCKJOBS_STREAM_INTERNAL_H
#define BLOCKJOBS_STREAM_INTERNAL_H

#include "block/graph.h"
#include "blockjobs/stream.h"

/* Which images: found by name, without references. */
struct stream_chain {
	struct node *top;    /* the image that is copied into */
	struct node *bottom; /* the last node to leave the chain; top itself when none does */
};

/* Find the nodes that @args name. The caller holds the change lock. */
int stream_select(struct graph *g, const struct block_stream_args *args, struct stream_chain *ret,
		  struct error **errp);

extern const struct job_driver stream_driver;

#endif
