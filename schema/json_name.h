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

/* Whether @name, which begins with "json:", says the driver, or is no such name. */
bool json_name_has_driver(const char *name);

/*
 * Decode @name, which begins with "json:".
 *
 * Members may be written with dotted keys, scalars as strings, and strings of digits as integers. An object
 * with a file name and no driver is a file. @default_driver, NULL for none, is
 * the driver of the outermost object when it names none. Returns 0 with the
 * options in *ret, freed with blockdev_options_free(), or -EINVAL or -ERANGE.
 */
int json_name_decode(const char *name, const char *default_driver, struct blockdev_options **ret,
		     struct error **errp);

/* The name that describes @options; free with free(). */
char *json_name_encode(const struct blockdev_options *options);

#endif
