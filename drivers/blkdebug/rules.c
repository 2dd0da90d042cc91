/* SPDX-License-Identifier: MIT */
/*
 * Rules for faults, and which of them are in force. Node's loop; nothing waits.
 */
#include "drivers/blkdebug/rules.h"

#include <stdlib.h>

#include "base/util.h"

#define SECTOR_BYTES 512
#define ANYWHERE UINT64_MAX
#define BIT(type) (1u << BLKDEBUG_IO_TYPE_##type)

struct rule {
	struct list link, force_link;
	int64_t state; /* that it applies in; 0 for any */
	bool sets_state;
	int64_t new_state;
	unsigned types;  /* bits of enum blkdebug_io_type */
	uint64_t offset; /* bytes, or ANYWHERE */
	bool once;
	struct fault fault;
};

void rules_init(struct rules *r)
{
	for (unsigned i = 0; i < BLKDEBUG_EVENT__COUNT; i++)
		list_init(&r->by_event[i]);
	list_init(&r->in_force);
	r->state = 1;
}

static void rule_free(struct rule *rule)
{
	list_del_init(&rule->link);
	list_del_init(&rule->force_link);
	free(rule);
}

void rules_finish(struct rules *r)
{
	for (unsigned i = 0; i < BLKDEBUG_EVENT__COUNT; i++) {
		struct rule *rule, *following;
		list_for_each_safe (rule, following, &r->by_event[i], link)
			rule_free(rule);
	}
}

static struct rule *rule_new(struct rules *r, enum blkdebug_event event, int64_t state)
{
	struct rule *rule = NEW(struct rule);
	rule->state = state;
	list_init(&rule->force_link);
	list_add_tail(&r->by_event[event], &rule->link);
	return rule;
}

int rules_add_error(struct rules *r, const struct blkdebug_inject_error_options *o,
		    struct error **errp)
{
	if (o->errno_ < 0 || o->errno_ > INT32_MAX)
		return error_set(errp, -EINVAL, "Parameter 'errno' must be from 0 to %d, not %lld",
				 INT32_MAX, (long long)o->errno_);
	if (o->delay_ns < 0)
		return error_set(errp, -EINVAL, "Parameter 'delay-ns' must not be negative");
	if (o->sector < -1 || o->sector > INT64_MAX / SECTOR_BYTES)
		return error_set(errp, -EINVAL, "Parameter 'sector' is out of range: %lld",
				 (long long)o->sector);
	struct rule *rule = rule_new(r, o->event, o->state);
	rule->types = o->has_iotype ? 1u << o->iotype
				    : BIT(READ) | BIT(WRITE) | BIT(WRITE_ZEROES) | BIT(DISCARD) |
					      BIT(FLUSH);
	rule->offset = o->sector < 0 ? ANYWHERE : (uint64_t)o->sector * SECTOR_BYTES;
	rule->once = o->once;
	rule->fault = (struct fault){
		.error = (int)-o->errno_,
		.delay_ns = (uint64_t)o->delay_ns,
		.immediately = o->immediately,
	};
	return 0;
}

void rules_add_state(struct rules *r, const struct blkdebug_set_state_options *o)
{
	struct rule *rule = rule_new(r, o->event, o->state);
	rule->sets_state = true;
	rule->new_state = o->new_state;
}

static void put_in_force(struct rules *r, struct rule *rule, bool is_first)
{
	struct rule *old;
	while (is_first && (old = list_first(&r->in_force, struct rule, force_link)))
		list_del_init(&old->force_link);
	list_del_init(&rule->force_link);
	list_add_tail(&r->in_force, &rule->force_link);
}

void rules_happen(struct rules *r, enum blkdebug_event event)
{
	int64_t new_state = r->state;
	bool is_first = true, has_changed = false;
	struct rule *rule;
	list_for_each (rule, &r->by_event[event], link) {
		if (rule->state != 0 && rule->state != r->state)
			continue;
		if (rule->sets_state) {
			if (!has_changed)
				new_state = rule->new_state;
			has_changed = true;
			continue;
		}
		put_in_force(r, rule, is_first);
		is_first = false;
	}
	r->state = new_state;
}

static bool fits(const struct rule *rule, enum blkdebug_io_type type, uint64_t offset,
		 uint64_t bytes)
{
	return (rule->types >> type & 1) &&
	       (rule->offset == ANYWHERE ||
		(rule->offset >= offset && rule->offset - offset < bytes));
}

bool rules_match(struct rules *r, enum blkdebug_io_type type, uint64_t offset, uint64_t bytes,
		 struct fault *ret)
{
	struct rule *rule;
	list_for_each (rule, &r->in_force, force_link) {
		if (!fits(rule, type, offset, bytes))
			continue;
		*ret = rule->fault;
		if (rule->once)
			rule_free(rule);
		return true;
	}
	return false;
}
