/* SPDX-License-Identifier: MIT */
/*
 * Looking into the options of any driver by way of the schema's tables, so that
 * the core can open and exchange children without knowing the drivers. Only
 * block/ includes it. Nothing here waits.
 */
#ifndef BLOCK_OPTIONS_H
#define BLOCK_OPTIONS_H

#include "schema/schema.h"
#include "schema/types.h"

/* The type of the driver's own part of @o; NULL when the driver has no options. */
const struct schema_type *options_branch(const struct blockdev_options *o);

/* Where the value of @m, a member of the branch, is in @o. */
void *options_slot(const struct blockdev_options *o, const struct schema_member *m);

/* The member of that name, or NULL. */
const struct schema_member *options_find(const struct blockdev_options *o, const char *name);

/* True when @m, a member of the branch, is given in @o. */
bool options_has(const struct blockdev_options *o, const struct schema_member *m);

/* True when @m is given with the same value in both, or absent, which means its default. */
bool options_member_equal(const struct blockdev_options *a, const struct blockdev_options *b,
			  const struct schema_member *m);

/* True when @m is a reference to a child. */
bool options_is_child(const struct schema_member *m);

/* What a reference to a child says; the pointers are @o's. At most one of the three is set. */
struct child_ref {
	const struct blockdev_options *definition;
	const char *reference;
	bool is_null;
};

/* The child reference in member @m of @o. False when there is none. */
bool options_child(const struct blockdev_options *o, const struct schema_member *m,
		   struct child_ref *ret);

/* The reference called @name in @o, which may be NULL. False when there is none. */
bool options_child_named(const struct blockdev_options *o, const char *name,
			 struct child_ref *ret);

#endif
