/* SPDX-License-Identifier: MIT */
/*
 * I/O threads, as other programs name them: objects that exports may ask to run in.
 * Here all nodes are served by one loop, and what is left of such a thread is what
 * clients can see of it: how long the loop may look for the next request of an
 * export, and which exports exclude each other because they fix their nodes to
 * different threads. Loop's thread.
 */
#ifndef BLOCK_IOTHREAD_H
#define BLOCK_IOTHREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"

struct consumer;
struct graph;
struct node;

struct iothread {
	struct list link; /* in graph.iothreads */
	char *id;
	uint64_t poll_max_ns; /* how long to look for the next request; 0: not at all */
	unsigned users;
};

/* -EBUSY while it has users. */
int iothread_destroy(struct iothread *t);
/* NULL and *errp without one called @id. */
struct iothread *iothread_find(struct graph *g, const char *id, struct error **errp);
/* Use it: it stays until it is given back. Returns @t, which may be NULL. */
struct iothread *iothread_ref(struct iothread *t);
void iothread_unref(struct iothread *t);

/*
 * @c, whose edge leads to @n, asks for all that is joined with @n to run in @t; NULL: wherever
 * that runs already. When @fixed it stays there as long as @c, and -EBUSY tells that another
 * consumer has fixed it elsewhere; otherwise the wish is dropped then. Must not wait.
 */
int iothread_enter(struct consumer *c, struct node *n, struct iothread *t, bool fixed,
		   struct error **errp);
/* @c is about to leave @n: all goes back to the loop itself, unless another has fixed it. */
void iothread_leave(struct consumer *c, struct node *n);

#endif
