/* SPDX-License-Identifier: MIT */
/*
 * Connections to Ceph clusters, shared by all images with the same options: one
 * handle has some ten threads, however many images use it. Control thread.
 */
#ifndef DRIVERS_RBD_CLUSTER_H
#define DRIVERS_RBD_CLUSTER_H

#include <rados/librados.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct graph;

struct cluster {
	struct list link;
	unsigned references;
	char *key; /* the options, as text */
	rados_t rados;
	uint64_t patience_ns; /* for connecting and for opening an image; 0: without limit */
	/* How much librbd would answer before it is stored, if that were not done for it; see early.h. */
	uint64_t max_early_bytes;
	bool is_connected;
	bool is_shut_out; /* the cluster refuses this client for good: whoever comes needs another */
	struct co_mutex lock; /* held while connecting */
};

/*
 * The connection for images that @o describes, with librbd's cache on or off
 * unless a setting says so, and with a secret of @g if they name one. The caller gets a reference. Errors are those of the
 * cluster; -ETIMEDOUT when it does not answer.
 */
int co_fn cluster_get(struct graph *g, const struct blockdev_options_rbd *o, bool is_cached,
		      struct cluster **ret, struct error **errp);
/* Drop a reference; the last one disconnects, in bounded time. */
void co_fn cluster_put(struct cluster *c);

#endif
