/* SPDX-License-Identifier: MIT */
/*
 * Sounding: waiting for storage that hangs before the change lock is taken, so that whoever
 * changes the graph holds up nobody but himself by it.
 *
 * What a change does with the lock, such as draining and flushing, waits for requests of
 * users. Those to storage of this machine end. Storage behind a network may not answer, and
 * so this waits for it first. It is no promise: a server may die a moment later; see change.h.
 */
#ifndef BLOCK_SOUND_H
#define BLOCK_SOUND_H

#include "base/coroutine.h"
#include "base/error.h"

struct graph;
struct node;

/* What the caller is about to do with a node. */
enum sound_flags {
	SOUND_FLUSH = 1 << 0,   /* flush it */
	SOUND_STORAGE = 1 << 1, /* read or write there, or open it anew: idle storage is asked, too */
};

struct sound_target {
	struct node *node; /* without a reference; NULL for the one with this name: */
	const char *name;  /* NULL, or that of no node, for none */
	unsigned flags;    /* enum sound_flags */
};

/*
 * Wait until the requests are answered that are under way now to remote storage and that a
 * drain of the targets' nodes would wait for: below them, or by users above them who are at
 * work elsewhere, too. Storage that is busy, used by who is at work, or said to be needed is
 * asked for an answer of its own, and flushed if it has to be; all at the same time. Where
 * nothing remote is busy or needed this does not wait.
 *
 * The caller does not hold the change lock, and is in no operation of a consumer. The nodes
 * stay open meanwhile. When this returns, the world has moved, and they may have gone.
 *
 * Returns 0, -ETIMEDOUT when storage below the nodes has not answered within the time that
 * its options state, or what a flush there has failed with. Other failures are answers.
 */
int co_fn nodes_sound(struct graph *g, const struct sound_target *targets, size_t count,
		      struct error **errp);

#endif
