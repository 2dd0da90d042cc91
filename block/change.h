/* SPDX-License-Identifier: MIT */
/*
 * Changes of the graph around storage that may hang: who makes one holds up nobody but himself.
 *
 * The storage is sounded before the change lock is taken. It may still die before the change has
 * come to its moment. So with the lock the change waits for remote storage with patience that
 * ends; then it is undone, the lock let go of, the storage sounded, and all begun again.
 */
#ifndef BLOCK_CHANGE_H
#define BLOCK_CHANGE_H

#include "base/coroutine.h"
#include "base/error.h"
#include "block/sound.h"

/* Called with the change lock. -ERESTART: nothing is changed, and it will be called again. */
typedef int co_fn graph_change_fn(void *arg, struct error **errp);

/*
 * Make a change, which fails as nodes_sound() or @change does. @targets: its nodes; they are
 * looked up by name each time.
 */
int co_fn graph_change_around(struct graph *g, const struct sound_target *targets, size_t count,
			      graph_change_fn *change, void *arg, struct error **errp);
/* The same where storage that does not answer is no reason to refuse. */
int co_fn graph_change_anyway(struct graph *g, const struct sound_target *targets, size_t count,
			      graph_change_fn *change, void *arg, struct error **errp);

/*
 * Flush @n, and what is below it, for the holder of the change lock. As node_flush(), or
 * -ERESTART: then the flush is under way still, as work of @n.
 */
int co_fn node_flush_patiently(struct node *n);

/* Drop a reference that may be the last, without the change lock. */
void co_fn node_unref_unlocked(struct node *n);

#endif
