/* SPDX-License-Identifier: MIT */
/*
 * What is known of the driver gluster without its module.
 */
#include "drivers/gluster/name.h"
#include "drivers/module.h"
#include "drivers/table.h"

static const struct driver *co_fn load(struct error **errp)
{
	return driver_module_load("gluster", "libgfapi0", errp);
}

const struct driver gluster_row = {
	.name = "gluster",
	.protocol = "gluster",
	.parse_name = gluster_name_parse,
	.filename_in_json = true,
	.load = load,
};
