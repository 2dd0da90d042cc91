/* SPDX-License-Identifier: MIT */
/*
 * The driver nbd of a build without libnbd: names are understood, nodes are not
 * opened. Node's loop.
 */
#include "drivers/nbd/name.h"
#include "drivers/nbd/nbd.h"

static int co_fn refuse(struct node *n, const struct blockdev_options *options, void *arg,
			struct error **errp)
{
	return error_set(errp, -ENOTSUP,
			 "The driver 'nbd' is not part of this build: it needs libnbd "
			 "(package libnbd-dev, option -Dlibnbd=enabled)");
}

static int co_fn never_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags)
{
	return -ENOTSUP;
}

const struct driver nbd_driver = {
	.name = "nbd",
	.protocol = "nbd",
	.parse_name = nbd_name_parse,
	.open = refuse,
	.read = never_read,
};
