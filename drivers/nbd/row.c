/* SPDX-License-Identifier: MIT */
/*
 * What is known of the driver nbd without its module.
 */
#include "drivers/module.h"
#include "drivers/nbd/name.h"
#include "drivers/table.h"

static const struct driver *co_fn load(struct error **errp)
{
	return driver_module_load("nbd", "libnbd0", errp);
}

const struct driver nbd_row = {
	.name = "nbd",
	.protocol = "nbd",
	.parse_name = nbd_name_parse,
	.load = load,
};
