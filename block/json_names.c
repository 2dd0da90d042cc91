/* SPDX-License-Identifier: MIT */
#include "block/json_names.h"

#include "base/util.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/text.h"

static const struct driver *find(const struct json_name_drivers *drivers, const char *name)
{
	const struct graph_json_names *n = container_of(drivers, struct graph_json_names, super);
	const struct driver *d = graph_find_driver(n->graph, name);
	return d && d->filename_in_json ? d : NULL;
}

static int read_filename(const struct json_name_drivers *drivers, const char *driver,
			 const char *filename, char **ret, struct error **errp)
{
	const struct driver *d = find(drivers, driver);
	*ret = NULL;
	return d ? text_from_name_of(d, filename, ret, errp) : 0;
}

static char *print_filename(const struct json_name_drivers *drivers,
			    const struct blockdev_options *options)
{
	const struct driver *d = find(drivers, blockdev_driver_name(options->driver));
	return d && d->print_name ? d->print_name(options) : NULL;
}

struct graph_json_names graph_json_names(const struct graph *g)
{
	return (struct graph_json_names){{read_filename, print_filename}, g};
}
