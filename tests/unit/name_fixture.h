/* SPDX-License-Identifier: MIT */
/*
 * What tests of a driver's file names share: names and the options that they mean,
 * names that are refused, and options and how they are called. Options are in the
 * form of --blockdev, without "driver=DRIVER,". All checks end the test when they fail.
 */
#ifndef TESTS_UNIT_NAME_FIXTURE_H
#define TESTS_UNIT_NAME_FIXTURE_H

#include <stddef.h>

#include "base/error.h"
#include "schema/types.h"

struct name_case {
	const char *given;    /* a name, or options where they are called something */
	const char *expected; /* options; a part of the error's text; or a name */
};

/* The two directions of a driver's names. */
struct name_format {
	const char *driver;
	/* See the parser's own header. */
	int (*parse)(const char *name, char **ret_options, struct error **errp);
	/* The name of @o, which is of the driver; free with free(). */
	char *(*print)(const struct blockdev_options *o);
};

/* Options in the form of --blockdev, with the driver. Free with blockdev_options_free(). */
struct blockdev_options *name_options(const char *text);

void names_mean(const struct name_format *f, const struct name_case *cases, size_t count);
void names_are_refused(const struct name_format *f, const struct name_case *cases, size_t count);
/* Options have that name, and the name means those options. */
void names_are_printed(const struct name_format *f, const struct name_case *cases, size_t count);
/* Options have a json: name, which means those options. */
void names_are_json(const struct name_format *f, const char *const *options, size_t count);

#endif
