/* SPDX-License-Identifier: MIT */
/*
 * Objects of types authz-simple and authz-list. Control thread.
 */
#include <jansson.h>

#include "block/authz.h"
#include "block/objects.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"
#include "schema/json.h"

static int co_fn simple_create(struct object *o, struct error **errp)
{
	o->engine = authz_make_simple(the_daemon.graph, o->options->id,
				      &o->options->u.authz_simple);
	return 0;
}

static int co_fn list_create(struct object *o, struct error **errp)
{
	o->engine = authz_make_list(the_daemon.graph, o->options->id, &o->options->u.authz_list);
	return 0;
}

/* Whoever refers to it does so by its ID, at each decision. */
static int delete(struct object *o)
{
	authz_destroy(o->engine);
	return 0;
}

static struct json_t *simple_get(const struct object *o, const char *property)
{
	return json_string(o->options->u.authz_simple.identity);
}

static struct json_t *list_get(const struct object *o, const char *property)
{
	struct json_t *all = schema_encode(&auth_z_list_properties_type,
					   &o->options->u.authz_list);
	struct json_t *value = json_incref(json_object_get(all, property));
	json_decref(all);
	return value ? value : json_array();
}

static const struct object_property simple_properties[] = {{"identity", "string"}, {0}};
static const struct object_property list_properties[] = {
	{"policy", "QAuthZListPolicy"}, {"rules", "QAuthZListRule"}, {0}};

const struct object_class authz_simple_class = {
	.parent = "authz",
	.type = OBJECT_TYPE_AUTHZ_SIMPLE,
	.properties = simple_properties,
	.create = simple_create,
	.delete = delete,
	.get = simple_get,
};

const struct object_class authz_list_class = {
	.parent = "authz",
	.type = OBJECT_TYPE_AUTHZ_LIST,
	.properties = list_properties,
	.create = list_create,
	.delete = delete,
	.get = list_get,
};
