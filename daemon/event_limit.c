/* SPDX-License-Identifier: MIT */
/*
 * Events at most once a second. Control thread.
 */
#include "daemon/event_limit.h"

#include <stdlib.h>
#include <string.h>

#include "base/loop.h"
#include "base/util.h"
#include "daemon/daemon.h"
#include "schema/schema.h"

#define PERIOD_NS UINT64_C(1000000000)

/* One was sent less than a period ago. */
struct recent {
	struct list link;
	enum schema_event event;
	char *subject;
	void *waiting; /* payload of the last one since then; NULL for none */
	struct loop_timer timer;
};

static struct list recents = LIST_INIT(recents);

static const struct schema_type *type_of(enum schema_event event)
{
	return schema_events[event].type;
}

static void recent_free(struct recent *r)
{
	loop_timer_cancel(&r->timer);
	list_del_init(&r->link);
	schema_free(type_of(r->event), r->waiting);
	free(r->subject);
	free(r);
}

static void begin_period(struct recent *r)
{
	loop_timer_set(&r->timer, loop_now_ns(the_daemon.loop) + PERIOD_NS);
}

static void period_over(struct loop_timer *t)
{
	struct recent *r = container_of(t, struct recent, timer);
	if (!r->waiting) {
		recent_free(r);
		return;
	}
	daemon_emit(r->event, r->waiting);
	schema_free(type_of(r->event), r->waiting);
	r->waiting = NULL;
	begin_period(r);
}

static struct recent *find(enum schema_event event, const char *subject)
{
	struct recent *r;
	list_for_each (r, &recents, link) {
		if (r->event == event && strcmp(r->subject, subject) == 0)
			return r;
	}
	return NULL;
}

void event_limit_emit(enum schema_event event, const char *subject, const void *payload)
{
	struct recent *r = find(event, subject);
	if (r) {
		schema_free(type_of(event), r->waiting);
		r->waiting = schema_clone(type_of(event), payload);
		return;
	}
	daemon_emit(event, payload);
	r = NEW(struct recent);
	r->event = event;
	r->subject = xstrdup(subject);
	loop_timer_init(the_daemon.loop, &r->timer, period_over);
	list_add_tail(&recents, &r->link);
	begin_period(r);
}

void event_limit_finish(void)
{
	struct recent *r;
	while ((r = list_first(&recents, struct recent, link)))
		recent_free(r);
}
