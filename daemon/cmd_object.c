/* SPDX-License-Identifier: MIT */
/*
 * Commands of objects. Control thread.
 */
#include "block/graph.h"
#include "daemon/daemon.h"
#include "daemon/object.h"
#include "schema/commands.h"
#include "schema/schema.h"

int co_fn qmp_object_add(const struct object_options *args, struct error **errp)
{
	return object_create(args, errp);
}

int co_fn qmp_object_del(const struct object_del_args *args, struct error **errp)
{
	/* A reopen under way may be about to use it. */
	graph_change_begin(the_daemon.graph);
	struct object *o = object_find(args->id);
	int r = o ? object_delete(o, errp)
		  : error_set(errp, -ENOENT, "object '%s' not found", args->id);
	graph_change_end(the_daemon.graph);
	return r;
}

int co_fn qmp_qom_list(const struct qom_list_args *args, struct object_property_info_list *ret,
		       struct error **errp)
{
	struct object_place place;
	/* Every object ends with it. */
	if (!*args->path)
		return error_set(errp, -EINVAL, "Path '%s' is ambiguous", args->path);
	int r = object_resolve(args->path, &place, errp);
	if (r >= 0)
		object_list(&place, ret);
	return r;
}

int co_fn qmp_qom_get(const struct qom_get_args *args, struct json_t **ret, struct error **errp)
{
	struct object_place place;
	int r = object_resolve(args->path, &place, errp);
	return r < 0 ? r : object_get(&place, args->property, ret, errp);
}

int co_fn qmp_qom_set(const struct qom_set_args *args, struct error **errp)
{
	struct object_place place;
	int r = object_resolve(args->path, &place, errp);
	return r < 0 ? r : object_set(&place, args->property, args->value, errp);
}

static struct object_properties_values *describe(const struct object_place *place)
{
	struct object_properties_values *values = NEW(struct object_properties_values);
	struct object_property_info_list list = {0};
	object_list(place, &list);
	for (size_t i = 0; i < list.count; i++) {
		struct object_property_value *v = NEW(struct object_property_value);
		v->name = xstrdup(list.items[i]->name);
		v->type = xstrdup(list.items[i]->type);
		(void)object_get(place, v->name, &v->value, NULL);
		object_property_value_list_append(&values->properties, v);
	}
	schema_finish(&object_property_info_list_type, &list);
	return values;
}

int co_fn qmp_qom_list_get(const struct qom_list_get_args *args,
			   struct object_properties_values_list *ret, struct error **errp)
{
	for (size_t i = 0; i < args->paths.count; i++) {
		struct object_place place;
		int r = object_resolve(args->paths.items[i], &place, errp);
		if (r < 0) {
			schema_finish(&object_properties_values_list_type, ret);
			return r;
		}
		object_properties_values_list_append(ret, describe(&place));
	}
	return 0;
}

int co_fn qmp_qom_list_types(const struct qom_list_types_args *args,
			     struct object_type_info_list *ret, struct error **errp)
{
	object_list_types(args->implements, args->abstract, ret);
	return 0;
}

int co_fn qmp_qom_list_properties(const struct qom_list_properties_args *args,
				  struct object_property_info_list *ret, struct error **errp)
{
	return object_list_type_properties(args->typename, ret, errp);
}
