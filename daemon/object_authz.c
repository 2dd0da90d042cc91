/* SPDX-License-Identifier: MIT */
/*
 * Objects of types authz-simple and authz-list. Control thread.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/util.h"
#include "block/authz.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"
#include "schema/json.h"

static int co_fn simple_create(struct object *o, struct error **errp)
{
	struct authz_rule rule = {
		.match = o->options->u.authz_simple.identity,
		.allows = true,
	};
	o->engine = authz_create(the_daemon.graph, &(struct authz){
		.id = o->options->id,
		.count = 1,
		.rules = &rule,
	});
	return 0;
}

static int co_fn list_create(struct object *o, struct error **errp)
{
	const struct auth_z_list_properties *p = &o->options->u.authz_list;
	struct authz_rule *rules _cleanup_free_ = xalloc(MAX(p->rules.count, 1u), sizeof(rules[0]));
	for (size_t i = 0; i < p->rules.count; i++) {
		const struct q_auth_z_list_rule *r = p->rules.items[i];
		rules[i] = (struct authz_rule){
			.match = r->match,
			.is_pattern = r->format == Q_AUTH_Z_LIST_FORMAT_GLOB,
			.allows = r->policy == Q_AUTH_Z_LIST_POLICY_ALLOW,
		};
	}
	o->engine = authz_create(the_daemon.graph, &(struct authz){
		.id = o->options->id,
		.allows_others = p->policy == Q_AUTH_Z_LIST_POLICY_ALLOW,
		.count = p->rules.count,
		.rules = rules,
	});
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

static int set(struct object *o, const char *property, struct json_t *value, struct error **errp)
{
	return error_set(errp, -EPERM, "Property cannot be set after initialization");
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
	.set = set,
};

const struct object_class authz_list_class = {
	.parent = "authz",
	.type = OBJECT_TYPE_AUTHZ_LIST,
	.properties = list_properties,
	.create = list_create,
	.delete = delete,
	.get = list_get,
	.set = set,
};
