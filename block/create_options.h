/* SPDX-License-Identifier: MIT */
/*
 * The options of creating an image, as users write them: some are the format's
 * and some the storage's, and the older names have underscores. By the schema's
 * tables; nothing here waits. Results are freed with free().
 */
#ifndef BLOCK_CREATE_OPTIONS_H
#define BLOCK_CREATE_OPTIONS_H

#include "base/error.h"
#include "schema/schema.h"

struct driver;

/*
 * Where the storage that key=value text @protocol describes is named in the
 * options of creating it: at the top, or in "location".
 */
char *create_options_place(const struct driver *storage, const char *protocol);

/*
 * Divide @text, which may be NULL, into options that @format (NULL for none)
 * understands and options that @storage does, in the schema's names. -EINVAL
 * for one that neither knows.
 */
int create_options_split(const char *text, const struct driver *format,
			 const struct driver *storage, char **ret_format, char **ret_storage,
			 struct error **errp);

/* What is said of a size that is none, with hints. -EINVAL. */
int create_options_bad_size(const char *key, struct error **errp);

/*
 * The member of @d's options of creation that users call @name; NULL for none,
 * and for what names the place and the size.
 */
const struct schema_member *create_option_find(const struct driver *d, const char *name);

/* The members of the type of @d's options of creation; NULL when it has none. */
const struct schema_type *create_options_branch(const struct driver *d);

#endif
