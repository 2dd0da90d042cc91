/* SPDX-License-Identifier: MIT */
/*
 * What is known of the driver rbd without its module.
 */
#include "drivers/module.h"
#include "drivers/rbd/name.h"
#include "drivers/table.h"

static const struct driver *co_fn load(struct error **errp)
{
	return driver_module_load("rbd", "librbd1", errp);
}

const struct driver rbd_row = {
	.name = "rbd",
	.protocol = "rbd",
	.parse_name = rbd_name_parse,
	.filename_in_json = true,
	.print_name = rbd_name_print_part,
	.load = load,
};
