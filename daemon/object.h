/* SPDX-License-Identifier: MIT */
/*
 * Objects: made by name from the command line or the monitor, and found by paths.
 * Control thread.
 */
#ifndef DAEMON_OBJECT_H
#define DAEMON_OBJECT_H

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct json_t;
struct object;

/* Make the object that @options describe. Errors: a bad or taken ID, unfit options. */
int co_fn object_create(const struct object_options *options, struct error **errp);
/* Delete @o; -EBUSY while somebody uses it. */
int object_delete(struct object *o, struct error **errp);
/* Delete all of them. Nobody uses any. */
void object_delete_all(void);
/* The object called @id, or NULL. */
struct object *object_find(const char *id);

/* Where a path leads. */
struct object_place {
	enum { PLACE_ROOT, PLACE_OBJECTS, PLACE_OBJECT } kind;
	struct object *object; /* PLACE_OBJECT */
};

/* Follow @path: "/", "/objects", "/objects/ID", or the last words of one. DeviceNotFound. */
int object_resolve(const char *path, struct object_place *ret, struct error **errp);
/* What can be read there. Appends to @ret. */
void object_list(const struct object_place *place, struct object_property_info_list *ret);
/* One of these; *ret is a new reference. */
int object_get(const struct object_place *place, const char *property, struct json_t **ret,
	       struct error **errp);
/* @value stays the caller's. */
int object_set(const struct object_place *place, const char *property, struct json_t *value,
	       struct error **errp);

/* The types of objects; @implements may be NULL. Appends to @ret. */
void object_list_types(const char *implements, bool abstract, struct object_type_info_list *ret);
/* The properties of objects of a type. DeviceNotFound. */
int object_list_type_properties(const char *type, struct object_property_info_list *ret,
				struct error **errp);

#endif
