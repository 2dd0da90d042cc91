/* SPDX-License-Identifier: MIT */
/*
 * Throttle groups from the properties that users give. Loop's thread; nothing here waits.
 */
#include "block/objects.h"
#include "block/throttle_group.h"

/* The limits that have members of their own, by their names in struct throttle_limits. */
#define FOR_EACH_LIMIT(row)                                                                        \
	row(iops_total) row(iops_read) row(iops_write) row(bps_total) row(bps_read) row(bps_write)

static int take(int64_t value, bool *ret_has, int64_t *ret, struct error **errp)
{
	if (value < 0)
		return error_set(errp, -EINVAL, "Property values cannot be negative");
	*ret_has = true;
	*ret = value;
	return 0;
}

/* The members that begin with "x-" as limits. */
static int gather(const struct throttle_group_properties *p, struct throttle_limits *ret,
		  struct error **errp)
{
	int r = 0;
#define GATHER(member)                                                                             \
	if (p->has_x_##member && r >= 0)                                                           \
		r = take(p->x_##member, &ret->has_##member, &ret->member, errp);
#define ROW(member) GATHER(member) GATHER(member##_max) GATHER(member##_max_length)
	FOR_EACH_LIMIT(ROW)
	GATHER(iops_size)
#undef ROW
#undef GATHER
	return r;
}

int throttle_config_change(struct throttle_config *c, const struct throttle_limits *first,
			   const struct throttle_limits *second, struct error **errp)
{
	struct throttle_config new = *c;
	int r = first ? throttle_config_apply(&new, first, errp) : 0;
	if (r >= 0 && second)
		r = throttle_config_apply(&new, second, errp);
	if (r >= 0)
		r = throttle_config_check(&new, errp);
	if (r >= 0)
		*c = new;
	return r;
}

int throttle_group_make(struct graph *g, const char *id, const struct throttle_group_properties *p,
			struct throttle_group **ret, struct error **errp)
{
	struct throttle_limits x = {0};
	struct throttle_config c;
	throttle_config_init(&c);
	int r = gather(p, &x, errp);
	if (r >= 0)
		r = throttle_config_change(&c, &x, p->limits, errp);
	return r >= 0 ? throttle_group_create(g, id, &c, ret, errp) : r;
}
