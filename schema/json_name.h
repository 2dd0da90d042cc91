/* SPDX-License-Identifier: MIT */
/*
 * File names that describe a node: json:{"driver": "qcow2", "file": {...}}.
 *
 * Any thread.
 */
#ifndef SCHEMA_JSON_NAME_H
#define SCHEMA_JSON_NAME_H

#include <stdbool.h>

#include "schema/types.h"

struct error;

/* Whether @name begins with "json:". */
bool json_name_is(const char *name);

/* The driver that @name, which begins with "json:", says, to be freed; NULL for none. */
char *json_name_driver(const char *name);

/* Who knows the file names of drivers that have no option of that name. */
struct json_name_drivers {
	/*
	 * What the node of @driver is, as key=value text, that older names call by
	 * their member @filename: *ret, which is NULL where that is a member like
	 * others. *ret is freed with free().
	 */
	int (*read_filename)(const struct json_name_drivers *drivers, const char *driver,
			     const char *filename, char **ret, struct error **errp);
	/* The file name that says what @options do, as far as one can; NULL for none. */
	char *(*print_filename)(const struct json_name_drivers *drivers,
				const struct blockdev_options *options);
};

/*
 * Decode @name, which begins with "json:".
 *
 * Members may be written with dotted keys, scalars as strings, and strings of digits as integers. An object
 * with a file name and no driver is a file. @driver, NULL for none, is the driver
 * of the outermost object, whatever that says. @drivers may be NULL. Returns 0 with
 * the options in *ret, freed with blockdev_options_free(), or -EINVAL or -ERANGE.
 */
int json_name_decode(const char *name, const char *driver, const struct json_name_drivers *drivers,
		     struct blockdev_options **ret, struct error **errp);

/* The same, of a node of @driver whose "file" is what @name says. */
int json_name_decode_below(const char *name, const char *driver,
			   const struct json_name_drivers *drivers, struct blockdev_options **ret,
			   struct error **errp);

/* The name that describes @options; free with free(). */
char *json_name_encode(const struct blockdev_options *options);
/* The same, with a "filename" of @drivers where readers other than us know none of the options. */
char *json_name_encode_readable(const struct blockdev_options *options,
				const struct json_name_drivers *drivers);

#endif
