/* SPDX-License-Identifier: MIT */
/*
 * The parts of opening that reopening shares. Only block/ includes it.
 */
#ifndef BLOCK_OPEN_INTERNAL_H
#define BLOCK_OPEN_INTERNAL_H

#include "block/node.h"

/* The options that every node has, as they take effect. */
struct node_modes {
	bool read_only, auto_read_only, force_share, discard_unmap, active;
	bool cache_direct, cache_no_flush;
	enum blockdev_detect_zeroes_options detect_zeroes;
};

/*
 * What @o asks for; what it leaves open comes from @parent (modes and driver),
 * whose child by @role this is, or is the default when @parent is NULL.
 */
struct node_modes modes_resolve(const struct blockdev_options *o, const struct node_modes *parent,
				const struct driver *parent_driver, unsigned role);
struct node_modes modes_of(const struct node *n);
void modes_apply(struct node *n, const struct node_modes *m);
/* 0, or -EINVAL when the modes contradict each other. */
int modes_check(const struct node_modes *m, struct error **errp);

/* Open the backing files of @top and of the nodes below, as the options and the images say. */
int co_fn backing_open_chain(struct node *top, struct error **errp);

/*
 * Make and start the node that @o describes, without its backing file. The caller
 * gets the reference.
 */
int co_fn node_open_layer(struct graph *g, const struct blockdev_options *o, struct node *parent,
			  unsigned role, struct node **ret, struct error **errp);

#endif
