/* SPDX-License-Identifier: MIT */
/*
 * Objects of type throttle-group. Control thread; nothing here waits.
 */
#include <jansson.h>
#include <string.h>

#include "block/objects.h"
#include "block/throttle_group.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"

/* The limits that have properties of their own. */
#define FOR_EACH_LIMIT(row)                                                                        \
	row(iops_total, "iops-total") row(iops_read, "iops-read") row(iops_write, "iops-write")    \
	row(bps_total, "bps-total") row(bps_read, "bps-read") row(bps_write, "bps-write")

static const struct object_property properties[] = {
	{"limits", "ThrottleLimits"},
#define ROW(member, name)                                                                          \
	{"x-" name, "int"}, {"x-" name "-max", "int"}, {"x-" name "-max-length", "int"},
	FOR_EACH_LIMIT(ROW)
#undef ROW
	{"x-iops-size", "int"},
	{0},
};

static int co_fn create(struct object *o, struct error **errp)
{
	struct throttle_group *group;
	int r = throttle_group_make(the_daemon.graph, o->options->id,
				    &o->options->u.throttle_group, &group, errp);
	if (r >= 0)
		o->engine = group;
	return r;
}

static int delete(struct object *o)
{
	return throttle_group_destroy(o->engine);
}

static struct json_t *get(const struct object *o, const char *property)
{
	const struct throttle_group *group = o->engine;
	struct throttle_limits *l = throttle_config_describe(&group->throttle.config);
	struct json_t *limits = schema_encode(&throttle_limits_type, l);
	throttle_limits_free(l);
	if (strcmp(property, "limits") == 0)
		return limits;
	struct json_t *value = json_incref(json_object_get(limits, property + strlen("x-")));
	json_decref(limits);
	return value;
}

static int set_limits(struct object *o, const char *property, struct json_t *value,
		      struct error **errp)
{
	struct throttle_group *group = o->engine;
	void *limits;
	int r = schema_decode(&throttle_limits_type, value, "limits", &limits, errp);
	if (r < 0)
		return r;
	struct throttle_config c = group->throttle.config;
	r = throttle_config_change(&c, limits, NULL, errp);
	throttle_limits_free(limits);
	if (r >= 0)
		throttle_group_set(group, &c);
	return r;
}

const struct object_class throttle_group_class = {
	.parent = "object",
	.type = OBJECT_TYPE_THROTTLE_GROUP,
	.properties = properties,
	.create = create,
	.delete = delete,
	.get = get,
	.set = set_limits,
	.settable = "limits",
};
