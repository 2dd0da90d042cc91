/* SPDX-License-Identifier: MIT */
/*
 * librbd's settings as they hold for an image: its metadata and those of the pool have a say beside
 * the connection's.
 */
#ifndef DRIVERS_RBD_CONFIG_H
#define DRIVERS_RBD_CONFIG_H

#include <rbd/librbd.h>

struct image_config {
	rbd_config_option_t *options;
	int count; /* negative: they could not be had */
};

/* Waits for the cluster: a thread of its own. */
void image_config_get(struct image_config *ret, rbd_image_t handle);
/* The value of the setting @name, @c's; @missing, Ceph's default, when it is not known. */
const char *image_config_find(const struct image_config *c, const char *name, const char *missing);
void image_config_put(struct image_config *c);

#endif
