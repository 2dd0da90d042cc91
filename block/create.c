/* SPDX-License-Identifier: MIT */
/*
 * Making new images: first the file, then the format in it. Control thread, in a
 * coroutine.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "block/text.h"
#include "schema/schema.h"

static int co_fn create(struct graph *g, const struct driver *driver, const char *text,
			struct error **errp)
{
	if (!driver->create)
		return error_set(errp, -ENOTSUP, "Driver '%s' does not support image creation",
				 driver->name);
	void *options;
	int r = schema_decode_keyval(&blockdev_create_options_type, text, NULL, &options, errp);
	if (r < 0)
		return r;
	r = driver->create(g, options, errp);
	schema_free(&blockdev_create_options_type, options);
	return r;
}

/* Make the file, or empty the one that is there. A device is taken as it is. */
static int co_fn create_storage(struct graph *g, const char *protocol, uint64_t size,
				struct error **errp)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");
	const struct driver *driver = graph_load_driver(g, name, errp);
	if (!driver)
		return -ENOENT;
	if (strcmp(name, "host_device") == 0)
		return 0;
	char *text _cleanup_free_ = xasprintf("%s,size=%" PRIu64, protocol, size);
	return create(g, driver, text, errp);
}

/* Leave no file that is no image. */
static void co_fn uncreate_storage(struct graph *g, const char *protocol)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");
	const struct driver *driver = graph_load_driver(g, name, NULL);
	if (!driver || !driver->uncreate)
		return;
	char *text _cleanup_free_ = xasprintf("%s,size=0", protocol);
	void *options;
	if (schema_decode_keyval(&blockdev_create_options_type, text, NULL, &options, NULL) < 0)
		return;
	driver->uncreate(g, options);
	schema_free(&blockdev_create_options_type, options);
}

static int co_fn create_format(struct graph *g, const struct driver *driver, const char *protocol,
			       const struct image_spec *spec, struct error **errp)
{
	char *file _cleanup_free_ = text_prefix_keys(protocol, "file.");
	char *name _cleanup_free_ = spec->backing_name ? text_escape(spec->backing_name) : NULL;
	char *backing _cleanup_free_ =
		xasprintf("%s%s%s%s", name ? ",backing-file=" : "", name ? name : "",
			  spec->backing_format ? ",backing-fmt=" : "",
			  spec->backing_format ? spec->backing_format : "");
	char *text _cleanup_free_ = xasprintf("driver=%s,size=%" PRIu64 ",%s%s", driver->name,
					      spec->size, file, backing);
	return create(g, driver, text, errp);
}

int co_fn image_create(struct graph *g, const struct image_spec *spec, struct error **errp)
{
	const struct driver *driver = graph_find_driver(g, spec->format);
	if (!driver)
		return error_set(errp, -ENOENT, "Unknown file format '%s'", spec->format);
	bool is_raw = strcmp(driver->name, "raw") == 0;
	if (!is_raw && !driver->create)
		return error_set(errp, -ENOTSUP,
				 "Format driver '%s' does not support image creation",
				 driver->name);
	if (is_raw && spec->backing_name)
		return error_set(errp, -EINVAL, "Backing file not supported for file format 'raw'");

	char *protocol _cleanup_free_ = NULL;
	int r = text_from_filename(g, spec->filename, &protocol, errp);
	if (r >= 0)
		r = create_storage(g, protocol, is_raw ? spec->size : 0, errp);
	if (r < 0 || is_raw)
		return r;
	r = create_format(g, driver, protocol, spec, errp);
	if (r < 0)
		uncreate_storage(g, protocol);
	return r;
}
