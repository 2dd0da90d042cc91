/* SPDX-License-Identifier: MIT */
/*
 * Options from file names. Control thread, in a coroutine.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/json_names.h"
#include "block/node_internal.h"
#include "block/open.h"
#include "block/probe.h"
#include "block/text.h"
#include "schema/json_name.h"
#include "schema/schema.h"

static int decode(const char *text, struct blockdev_options **ret, struct error **errp)
{
	void *object;
	int r = schema_decode_keyval(&blockdev_options_type, text, NULL, &object, errp);
	if (r >= 0)
		*ret = object;
	return r;
}

/* The format that what @options, which are freed, describe shows; raw, as a guess, for none. */
static int co_fn probe_options(struct graph *g, struct blockdev_options *options,
			       const char **ret_format, bool *ret_probed, struct error **errp)
{
	options->has_read_only = true;
	options->read_only = true;
	struct node *n;
	int r = node_open(g, options, &n, errp);
	blockdev_options_free(options);
	if (r < 0)
		return r;
	const struct driver *format;
	struct graph_apart *apart = node_opening_leave(n);
	r = probe_node(n, &format, errp);
	node_opening_return(n, apart);
	node_unref(n);
	if (r < 0)
		return r;
	*ret_format = format ? format->name : "raw";
	*ret_probed = !format || strcmp(format->name, "raw") == 0;
	return 0;
}

static int co_fn probe_protocol(struct graph *g, const char *protocol, const char **ret_format,
				bool *ret_probed, struct error **errp)
{
	struct blockdev_options *options;
	int r = decode(protocol, &options, errp);
	return r < 0 ? r : probe_options(g, options, ret_format, ret_probed, errp);
}

static bool stands_on_file(const struct driver *d)
{
	return d->is_format || d->is_filter;
}

/*
 * Who says a format means it, whatever format the name says. What the name says to
 * be a protocol, or a filter, is then what the format is of, as with any other name.
 */
static int co_fn json_options(struct graph *g, const char *name, const char *format,
			      struct blockdev_options **ret, bool *ret_probed, struct error **errp)
{
	const struct driver *wanted = format ? graph_find_driver(g, format) : NULL;
	if (format && !wanted)
		return error_set(errp, -ENOENT, "Unknown driver '%s'", format);
	const struct graph_json_names names = graph_json_names(g);
	char *driver _cleanup_free_ = json_name_driver(name);
	const struct driver *said = driver ? graph_find_driver(g, driver) : NULL;
	if (said && wanted && stands_on_file(wanted) && !said->is_format && said != wanted)
		return json_name_decode_below(name, format, &names.super, ret, errp);
	if (!format && !driver) {
		/* Taken as raw, its content tells. */
		struct blockdev_options *options;
		int r = json_name_decode(name, "raw", &names.super, &options, errp);
		if (r >= 0)
			r = probe_options(g, options, &format, ret_probed, errp);
		if (r < 0)
			return r;
	}
	return json_name_decode(name, format, &names.super, ret, errp);
}

static int co_fn named_options(struct graph *g, const char *filename, const char *format,
			       struct blockdev_options **ret, bool *ret_probed, struct error **errp)
{
	const struct driver *driver = format ? graph_find_driver(g, format) : NULL;
	if (format && !driver)
		return error_set(errp, -ENOENT, "Unknown driver '%s'", format);

	char *protocol _cleanup_free_ = NULL;
	/* Some images name a protocol as the format of their backing file. */
	bool is_protocol = driver && !stands_on_file(driver);
	int r = is_protocol ? text_from_filename_of(g, driver, filename, &protocol, errp)
			    : text_from_filename(g, filename, &protocol, errp);
	if (r < 0)
		return r;
	if (is_protocol)
		return decode(protocol, ret, errp);
	if (!format) {
		r = probe_protocol(g, protocol, &format, ret_probed, errp);
		if (r < 0)
			return r;
	}
	char *file _cleanup_free_ = text_prefix_keys(protocol, "file.");
	char *text _cleanup_free_ = xasprintf("driver=%s,%s", format, file);
	return decode(text, ret, errp);
}

int co_fn options_from_filename(struct graph *g, const char *filename, const char *format,
				struct blockdev_options **ret, bool *ret_probed,
				struct error **errp)
{
	bool probed = false;
	struct blockdev_options *options = NULL;
	int r;
	if (json_name_is(filename))
		r = json_options(g, filename, format, &options, &probed, errp);
	else
		r = named_options(g, filename, format, &options, &probed, errp);
	if (r < 0)
		return r;
	*ret = options;
	if (ret_probed)
		*ret_probed = probed;
	return 0;
}

bool co_fn filename_may_be_remote(struct graph *g, const char *filename)
{
	char *text _cleanup_free_ = NULL;
	if (json_name_is(filename))
		return true;
	if (text_from_filename(g, filename, &text, NULL) < 0)
		return false;
	/* Each level of what may be wrapped has a driver. */
	for (const char *end, *pair = text; *pair; pair = *end ? end + 1 : end) {
		end = text_pair_end(pair);
		const char *key_end = memchr(pair, '=', (size_t)(end - pair));
		if (!key_end || key_end - pair < 6 || strncmp(key_end - 6, "driver", 6) != 0)
			continue;
		char *name _cleanup_free_ = xasprintf("%.*s", (int)(end - key_end - 1), key_end + 1);
		const struct driver *d = graph_load_driver(g, name, NULL);
		if (d && d->is_remote)
			return true;
	}
	return false;
}
