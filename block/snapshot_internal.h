/* SPDX-License-Identifier: MIT */
/*
 * The steps of one external snapshot, for the set that takes many. Only block/
 * includes it.
 */
#ifndef BLOCK_SNAPSHOT_INTERNAL_H
#define BLOCK_SNAPSHOT_INTERNAL_H

#include "block/snapshot.h"

struct snapshot {
	struct node *base;    /* the node below the overlay from now on; one reference, or NULL */
	struct node *overlay; /* one reference, or NULL */
	char *made;           /* the overlay's file, if it was not there before; until it is kept */
	bool is_made;         /* the overlay is an image of our own making, @base_bytes long */
	uint64_t base_bytes;
	char *recorded;       /* what the base was called when the overlay was made; NULL before */
	bool base_read_only;  /* when the overlay was opened */
	uint64_t turn;        /* graph.turns when the base was looked at */
	bool base_is_new;     /* itself an overlay that was made for the set and is not linked yet */
	bool base_is_adopted; /* itself an overlay that was there before and is not linked yet */
};

/* Find and check the base and the names. Sets s->base. Never waits. */
int snapshot_plan(struct snapshot *s, struct graph *g, const struct blockdev_snapshot_sync *args,
		  struct error **errp);
/* After plan: create the image where @args ask for it, and open it. Sets s->overlay. */
int co_fn snapshot_open(struct snapshot *s, const struct blockdev_snapshot_sync *args,
			struct error **errp);
/* Take an open node as the overlay. Sets both. Never waits. */
int snapshot_adopt(struct snapshot *s, struct graph *g, const struct blockdev_snapshot *args,
		   struct error **errp);
/* See snapshot_set_check_again(). */
int snapshot_check_again(struct snapshot *s, bool is_adopted, struct error **errp);
/* Put the overlay between the base and its users, as steps of @tx. */
int snapshot_link(struct snapshot *s, struct graph_tx *tx, struct error **errp);
/*
 * After the commit, where base_is_adopted: let the image of the overlay, which @args made, name
 * its base with the backing file that this has got.
 */
int co_fn snapshot_rename_base(struct snapshot *s, const struct blockdev_snapshot_sync *args,
			       struct error **errp);
/* After the commit: the overlay's file stays; an overlay that has no user goes to the monitor. */
void snapshot_keep(struct snapshot *s);
/* Drop the references that there are, and delete a file that was made and not kept. */
void co_fn snapshot_finish(struct snapshot *s);

#endif
