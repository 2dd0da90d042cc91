/* SPDX-License-Identifier: MIT */
/*
 * External snapshots: an overlay comes between a node and its users, and what
 * they write from then on goes to the overlay.
 *
 * A snapshot is made in three steps, so that many can be made at one moment:
 * create or adopt the overlay, link it in a graph transaction, finish after
 * that has committed or aborted. Control thread, in a coroutine that holds the
 * change lock throughout.
 */
#ifndef BLOCK_SNAPSHOT_H
#define BLOCK_SNAPSHOT_H

#include "block/graph.h"
#include "schema/types.h"

struct snapshot {
	struct graph *graph;
	struct node *base;    /* the node below the overlay from now on; one reference */
	struct node *overlay; /* one reference */
	bool linked;
	struct drain drain;   /* of the base's users, from link to finish */
};

/*
 * Open the overlay that @args describe; unless they say that it exists, it is
 * created with the size of the base, whose name it records. Its cache modes and
 * discard are those of the base. A file that was created stays when the
 * snapshot fails later. On failure nothing needs to be finished.
 */
int co_fn snapshot_create(struct snapshot *s, struct graph *g,
			  const struct blockdev_snapshot_sync *args, struct error **errp);

/* Take the open node that @args name as the overlay. It must have no user and no backing node. */
int snapshot_adopt(struct snapshot *s, struct graph *g, const struct blockdev_snapshot *args,
		   struct error **errp);

/*
 * Quiesce the users of the base, make what they have written durable and move
 * them to the overlay, as steps of @tx.
 */
int co_fn snapshot_link(struct snapshot *s, struct graph_tx *tx, struct error **errp);

/*
 * After the transaction: let the users go on. When it has @committed, the base
 * becomes read-only, and an overlay without any user stays open for the monitor,
 * so that the snapshot does not vanish with the command.
 */
void co_fn snapshot_finish(struct snapshot *s, bool committed);

#endif
