/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the driver gluster share.
 */
#ifndef DRIVERS_GLUSTER_GLUSTER_H
#define DRIVERS_GLUSTER_GLUSTER_H

#include "block/driver.h"

/* True when a node is open on the file with that number in a volume so called. Control thread. */
bool gluster_is_open(const char *volume, uint64_t inode);

/* create.c */
int co_fn gluster_create(struct graph *g, const struct blockdev_create_options *options,
			 struct error **errp);
void co_fn gluster_uncreate(struct graph *g, const struct blockdev_create_options *options);

#endif
