/* SPDX-License-Identifier: MIT */
/*
 * The objects of the daemon, and the paths to them. Control thread.
 */
#include "daemon/object.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/text.h"
#include "daemon/object_internal.h"

#define TYPE_PROPERTY "type"

static struct list objects = LIST_INIT(objects);

static const struct object_class *const classes[] = {
	[OBJECT_TYPE_AUTHZ_LIST] = &authz_list_class,
	[OBJECT_TYPE_AUTHZ_SIMPLE] = &authz_simple_class,
	[OBJECT_TYPE_IOTHREAD] = &iothread_class,
	[OBJECT_TYPE_SECRET] = &secret_class,
	[OBJECT_TYPE_THROTTLE_GROUP] = &throttle_group_class,
	[OBJECT_TYPE_TLS_CREDS_PSK] = &tls_creds_psk_class,
	[OBJECT_TYPE_TLS_CREDS_X509] = &tls_creds_x509_class,
};

/* Types that no object is of alone, and those of the places that objects are in. */
static const struct {
	const char *name, *parent;
	bool abstract;
} other_types[] = {
	{"authz", "object", true},
	{"container", "object", false},
	{"event-loop-base", "object", true},
	{"interface", NULL, true},
	{"object", NULL, true},
	{"secret_common", "object", true},
	{"tls-creds", "object", true},
	{"user-creatable", "interface", true},
};

/* --- Life --------------------------------------------------------------------------- */

struct object *object_find(const char *id)
{
	struct object *o;
	list_for_each (o, &objects, link) {
		if (strcmp(o->options->id, id) == 0)
			return o;
	}
	return NULL;
}

static void object_free(struct object *o)
{
	list_del_init(&o->link);
	object_options_free(o->options);
	free(o);
}

int co_fn object_create(const struct object_options *options, struct error **errp)
{
	if (!text_is_identifier(options->id))
		return error_set(errp, -EINVAL, "Parameter 'id' expects an identifier");
	if (object_find(options->id))
		return error_set(errp, -EEXIST, "attempt to add duplicate property '%s' to object "
				 "(type 'container')", options->id);
	struct object *o = NEW(struct object);
	o->class = classes[options->qom_type];
	o->options = object_options_clone(options);
	/* From here on the ID is taken, also while create() waits. */
	list_add_tail(&objects, &o->link);
	int r = o->class->create(o, errp);
	if (r < 0)
		object_free(o);
	return r;
}

int object_delete(struct object *o, struct error **errp)
{
	/* Without an engine it is still being made. */
	if (!o->engine || o->class->delete(o) < 0)
		return error_set(errp, -EBUSY, "object '%s' is in use, can not be deleted",
				 o->options->id);
	object_free(o);
	return 0;
}

void object_delete_all(void)
{
	struct object *o, *following;
	list_for_each_safe (o, following, &objects, link)
		object_delete(o, NULL);
}

/* --- Paths -------------------------------------------------------------------------- */

static int not_found(const char *path, struct error **errp)
{
	return error_set_class(errp, ERROR_DEVICE_NOT_FOUND, -ENOENT, "Device '%s' not found",
			       path);
}

int object_resolve(const char *path, struct object_place *ret, struct error **errp)
{
	const char *rest = path + strspn(path, "/");
	*ret = (struct object_place){0};
	if (path[0] == '/' && !*rest)
		return 0;
	size_t length = strcspn(rest, "/");
	bool is_below = length == strlen("objects") && strncmp(rest, "objects", length) == 0;
	if (is_below)
		rest += length + strspn(rest + length, "/");
	if (is_below && !*rest) {
		ret->kind = PLACE_OBJECTS;
		return 0;
	}
	/* A path from the root names every step. */
	struct object *o = is_below || path[0] != '/' ? object_find(rest) : NULL;
	if (!o || !o->engine)
		return not_found(path, errp);
	*ret = (struct object_place){.kind = PLACE_OBJECT, .object = o};
	return 0;
}

static const char *type_of(const struct object_place *place)
{
	return place->kind == PLACE_OBJECT ? object_type_name(place->object->class->type)
					   : "container";
}

/* --- Properties --------------------------------------------------------------------- */

static void append(struct object_property_info_list *ret, const char *name, char *type)
{
	struct object_property_info *info = NEW(struct object_property_info);
	info->name = xstrdup(name);
	info->type = type;
	object_property_info_list_append(ret, info);
}

static void append_class(struct object_property_info_list *ret, const struct object_class *class)
{
	for (const struct object_property *p = class->properties; p->name; p++)
		append(ret, p->name, xstrdup(p->type));
}

void object_list(const struct object_place *place, struct object_property_info_list *ret)
{
	append(ret, TYPE_PROPERTY, xstrdup("string"));
	if (place->kind == PLACE_ROOT)
		append(ret, "objects", xstrdup("child<container>"));
	struct object *o;
	list_for_each (o, &objects, link) {
		if (place->kind == PLACE_OBJECTS && o->engine)
			append(ret, o->options->id,
			       xasprintf("child<%s>", object_type_name(o->class->type)));
	}
	if (place->kind == PLACE_OBJECT)
		append_class(ret, place->object->class);
}

static int no_property(const struct object_place *place, const char *property, const char *problem,
		       struct error **errp)
{
	return error_set(errp, -ENOENT, "Property '%s.%s' %s", type_of(place), property, problem);
}

static bool has_property(const struct object_place *place, const char *property)
{
	struct object_property_info_list list = {0};
	object_list(place, &list);
	bool found = false;
	for (size_t i = 0; i < list.count && !found; i++)
		found = strcmp(list.items[i]->name, property) == 0;
	schema_finish(&object_property_info_list_type, &list);
	return found;
}

int object_get(const struct object_place *place, const char *property, struct json_t **ret,
	       struct error **errp)
{
	if (!has_property(place, property))
		return no_property(place, property, "not found", errp);
	if (strcmp(property, TYPE_PROPERTY) == 0) {
		*ret = json_string(type_of(place));
	} else if (place->kind == PLACE_OBJECT) {
		*ret = place->object->class->get(place->object, property);
	} else {
		char *path _cleanup_free_ = xasprintf(
			"%s/%s", place->kind == PLACE_OBJECTS ? "/objects" : "", property);
		*ret = json_string(path);
	}
	return 0;
}

static bool can_change(const struct object_class *class, const char *property)
{
	return class->set && (!class->settable || strcmp(class->settable, property) == 0);
}

int object_set(const struct object_place *place, const char *property, struct json_t *value,
	       struct error **errp)
{
	if (!has_property(place, property))
		return no_property(place, property, "not found", errp);
	if (place->kind != PLACE_OBJECT || strcmp(property, TYPE_PROPERTY) == 0)
		return no_property(place, property, "is not writable", errp);
	const struct object_class *class = place->object->class;
	if (!can_change(class, property))
		return error_set(errp, -EPERM, "Property cannot be set after initialization");
	return class->set(place->object, property, value, errp);
}

/* --- Types -------------------------------------------------------------------------- */

static const char *parent_of(const char *type)
{
	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++) {
		if (strcmp(object_type_name(classes[i]->type), type) == 0)
			return classes[i]->parent;
	}
	for (unsigned i = 0; i < ARRAY_SIZE(other_types); i++) {
		if (strcmp(other_types[i].name, type) == 0)
			return other_types[i].parent;
	}
	return NULL;
}

static bool is_one_of(const char *type, const char *ancestor)
{
	/* Whatever can be made by name has the interface for that. */
	if (strcmp(ancestor, "user-creatable") == 0) {
		enum object_type made;
		if (object_type_from_name(type, &made) == 0 || strcmp(type, "secret_common") == 0)
			return true;
	}
	for (; type; type = parent_of(type)) {
		if (strcmp(type, ancestor) == 0)
			return true;
	}
	return false;
}

static void append_type(struct object_type_info_list *ret, const char *name, const char *implements,
			bool is_abstract)
{
	if (implements && !is_one_of(name, implements))
		return;
	struct object_type_info *info = NEW(struct object_type_info);
	info->name = xstrdup(name);
	info->parent = xstrdup(parent_of(name));
	info->has_abstract = info->abstract = is_abstract;
	object_type_info_list_append(ret, info);
}

void object_list_types(const char *implements, bool abstract, struct object_type_info_list *ret)
{
	for (unsigned i = 0; i < ARRAY_SIZE(classes); i++)
		append_type(ret, object_type_name(classes[i]->type), implements, false);
	for (unsigned i = 0; i < ARRAY_SIZE(other_types); i++) {
		if (abstract || !other_types[i].abstract)
			append_type(ret, other_types[i].name, implements, other_types[i].abstract);
	}
}

int object_list_type_properties(const char *type, struct object_property_info_list *ret,
				struct error **errp)
{
	enum object_type made;
	bool is_known = object_type_from_name(type, &made) == 0;
	if (!is_known && !parent_of(type) && strcmp(type, "object") != 0)
		return error_set_class(errp, ERROR_DEVICE_NOT_FOUND, -ENOENT, "Class '%s' not found",
				       type);
	append(ret, TYPE_PROPERTY, xstrdup("string"));
	if (is_known)
		append_class(ret, classes[made]);
	return 0;
}
