/* SPDX-License-Identifier: MIT */
/*
 * A node of the driver rbd. Only drivers/rbd includes it. Node's loop.
 */
#ifndef DRIVERS_RBD_RBD_H
#define DRIVERS_RBD_RBD_H

#include "block/driver.h"
#include "drivers/rbd/image.h"

#define RBD_EXTENTS_MAX 512

/* What one question about allocation has told, for a range of the image. */
struct rbd_map {
	uint64_t start, end;     /* known; empty when they are equal */
	uint64_t generation;     /* of the node's changes when it was asked for */
	uint64_t until_ns;       /* what other clients do makes it stale */
	unsigned count;
	struct {
		uint64_t start, end;
	} data[RBD_EXTENTS_MAX]; /* in order; the rest is holes */
};

/* Guests count in these; what an image lacks of its last one reads as zeroes. */
#define RBD_SECTOR_BYTES 512

struct rbd {
	struct image *image;
	struct co_group closing; /* images that reopening has replaced */
	uint64_t generation;     /* changes begun and ended */
	int flush_error;         /* final */
	uint64_t silent_until_ns; /* no question about snapshots is put before */
	struct rbd_map *map;     /* NULL before the first question */
};

int co_fn rbd_node_status(struct node *n, uint64_t offset, struct extent *ret);

int co_fn rbd_node_snapshot_list(struct node *n, struct snapshot_info_list *ret,
				 struct error **errp);
int co_fn rbd_node_snapshot_create(struct node *n, const char *name, struct error **errp);
int co_fn rbd_node_snapshot_apply(struct node *n, const char *id, struct error **errp);
int co_fn rbd_node_snapshot_delete(struct node *n, const char *id, struct error **errp);
int co_fn rbd_node_snapshot_show(struct node *n, const char *id, struct error **errp);

int co_fn rbd_node_create(struct graph *g, const struct blockdev_create_options *options,
			    struct error **errp);
void co_fn rbd_node_uncreate(struct graph *g, const struct blockdev_create_options *options);

#endif
