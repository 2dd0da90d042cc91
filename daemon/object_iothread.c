/* SPDX-License-Identifier: MIT */
/*
 * Objects of type iothread. Control thread; nothing here waits.
 */
#include <jansson.h>
#include <string.h>

#include "base/log.h"
#include "block/iothread.h"
#include "block/objects.h"
#include "daemon/daemon.h"
#include "daemon/object_internal.h"

#define FOR_EACH_PROPERTY(row)                                                                     \
	row(aio_max_batch, "aio-max-batch") row(thread_pool_min, "thread-pool-min")                \
	row(thread_pool_max, "thread-pool-max") row(poll_max_ns, "poll-max-ns")                    \
	row(poll_grow, "poll-grow") row(poll_shrink, "poll-shrink")                                \
	row(poll_weight, "poll-weight")

static const struct object_property properties[] = {
#define ROW(member, name) {name, "int"},
	FOR_EACH_PROPERTY(ROW)
#undef ROW
	{0},
};

/* Where the property of the list called @name is kept. */
static int64_t *find(struct iothread_properties *p, const char *name)
{
#define ROW(member, text)                                                                          \
	if (strcmp(name, text) == 0)                                                               \
		return &p->member;
	FOR_EACH_PROPERTY(ROW)
#undef ROW
	return NULL;
}

static int co_fn create(struct object *o, struct error **errp)
{
	struct iothread *t;
	int r = iothread_make(the_daemon.graph, o->options->id, &o->options->u.iothread, &t, errp);
	if (r < 0)
		return r;
	o->engine = t;
	/* Whoever asks for a thread expects that it spreads the work. */
	log_warning("object '%s': all nodes are served on one thread, with an iothread or without",
		    o->options->id);
	return 0;
}

static int delete(struct object *o)
{
	return iothread_destroy(o->engine);
}

static struct json_t *get(const struct object *o, const char *property)
{
	return json_integer(*find(&o->options->u.iothread, property));
}

static int set(struct object *o, const char *property, struct json_t *value, struct error **errp)
{
	if (!json_is_integer(value))
		return error_set(errp, -EINVAL, "Invalid parameter type for '%s', expected: integer",
				 property);
	struct iothread_properties changed = o->options->u.iothread; /* numbers only */
	*find(&changed, property) = json_integer_value(value);
	int r = iothread_properties_check(&changed, errp);
	if (r < 0)
		return r;
	o->options->u.iothread = changed;
	((struct iothread *)o->engine)->poll_max_ns = (uint64_t)changed.poll_max_ns;
	return 0;
}

const struct object_class iothread_class = {
	.parent = "event-loop-base",
	.type = OBJECT_TYPE_IOTHREAD,
	.properties = properties,
	.create = create,
	.delete = delete,
	.get = get,
	.set = set,
};
