/* SPDX-License-Identifier: MIT */
/*
 * External snapshots: an overlay comes between a node and its users, and what
 * they write from then on goes to the overlay.
 *
 * Many are taken at one moment: first all overlays are made, several at a time,
 * while the users go on; then all users stand still once, and one graph
 * transaction moves them. Control thread, in a coroutine that holds the change
 * lock from the first prepare to the free. Where prepare lets go of it, since the caller holds
 * it apart and an overlay is made at a server, everything is checked again before the commit.
 */
#ifndef BLOCK_SNAPSHOT_H
#define BLOCK_SNAPSHOT_H

#include "block/graph.h"
#include "schema/types.h"

struct snapshot_set;

struct snapshot_set *snapshot_set_create(struct graph *g);

/*
 * Add a snapshot; returns its index. @args must stay valid. Each sees the overlays of
 * those before it: their nodes can be snapshotted in turn.
 *
 * With blockdev_snapshot_sync, the overlay is opened; unless @args say that it
 * exists, it is created with the size of the node, whose name it records. Its
 * cache modes and discard are those of the node. With blockdev_snapshot, the
 * overlay is an open node without a consistent reader and a backing node.
 */
size_t snapshot_set_add_sync(struct snapshot_set *set, const struct blockdev_snapshot_sync *args);
size_t snapshot_set_add(struct snapshot_set *set, const struct blockdev_snapshot *args);

/*
 * Check everything that has been added since the last call, create and open the
 * overlays. Returns 0 or the error of the first snapshot, in order, that cannot be
 * taken. Files that were created stay.
 */
int co_fn snapshot_set_prepare(struct snapshot_set *set, struct error **errp);

/*
 * After the last prepare, when the lock is not let go of any more: if it was, check again what
 * others may have changed since. Never waits. -EBUSY or as prepare.
 */
int snapshot_set_check_again(struct snapshot_set *set, struct error **errp);

/*
 * After a successful prepare: drain the users of all nodes, make what they wrote
 * durable, and move them to the overlays: all or none. The nodes become
 * read-only. An overlay without any user stays open for the monitor, so that the
 * snapshot does not vanish with the command.
 */
int co_fn snapshot_set_commit(struct snapshot_set *set, struct error **errp);

/*
 * The steps of that commit, for a transaction that does more than take snapshots:
 * check again, flush while the users are at work, so that they stand still for a short time only;
 * drain the bases; flush again; link each; prepare and commit the graph transaction;
 * settle; end the drain.
 */
struct node *snapshot_set_base(const struct snapshot_set *set, size_t index);
/* Make durable what has been written to the bases, several at a time; see node_flush_patiently(). */
int co_fn snapshot_set_flush(struct snapshot_set *set, struct error **errp);
/* Put an overlay between its base and the base's users, as steps of @tx. */
int snapshot_set_link(struct snapshot_set *set, size_t index, struct graph_tx *tx,
		      struct error **errp);
/* Make the bases read-only, and give overlays without a user to the monitor. */
void co_fn snapshot_set_settle(struct snapshot_set *set);

/* Close what has not been put to use. */
void co_fn snapshot_set_destroy(struct snapshot_set *set);

#endif
