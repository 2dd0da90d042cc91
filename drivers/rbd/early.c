/* SPDX-License-Identifier: MIT */
/*
 * Changes that are answered before they are stored; see early.h.
 */
#include "drivers/rbd/early.h"

/*
 * So much is under way at a time while storage is quick. More gains nothing then, and costs: what
 * is sent, and copied for that, no longer is in the processors' caches.
 */
#define QUICK_BYTES_MAX (2 * MiB)
#define QUICK_CHANGES_MAX 64
/* Storage is slow while its oldest change takes longer: then it may be all that is configured. */
#define SLOW_NS 10000000
/* Each that is under way is looked at by those that come. */
#define CHANGES_MAX 1024

void early_init(struct early *e, struct loop *loop)
{
	*e = (struct early){.loop = loop};
	list_init(&e->changes);
}

void early_configure(struct early *e, uint64_t max_bytes, bool at_once)
{
	e->max_bytes = max_bytes;
	e->is_on = at_once && max_bytes > 0;
}

static bool is_slow(const struct early *e)
{
	const struct early_change *oldest = list_first(&e->changes, struct early_change, link);
	return oldest && loop_now_ns(e->loop) - oldest->begun_ns > SLOW_NS;
}

bool early_has_room(const struct early *e, uint64_t bytes)
{
	unsigned count = atomic_load_explicit(&e->count, memory_order_relaxed);
	if (!e->is_on || bytes > e->max_bytes || e->bytes > e->max_bytes - bytes ||
	    count >= CHANGES_MAX)
		return false;
	return (e->bytes + bytes <= QUICK_BYTES_MAX && count < QUICK_CHANGES_MAX) || is_slow(e);
}

void early_begin(struct early *e, struct early_change *c)
{
	co_queue_init(&c->waiters);
	c->number = e->begun++;
	c->begun_ns = loop_now_ns(e->loop);
	e->bytes += c->end - c->start;
	atomic_fetch_add(&e->count, 1);
	list_add_tail(&e->changes, &c->link);
}

void early_end(struct early *e, struct early_change *c, int r)
{
	list_del_init(&c->link);
	e->bytes -= c->end - c->start;
	if (r < 0) {
		e->error = e->error < 0 ? e->error : r;
		e->is_on = false;
	}
	co_queue_wake_all(&c->waiters);
	atomic_fetch_sub(&e->count, 1); /* who closes the image waits for this */
}

void early_pause(struct early *e)
{
	e->is_on = false;
}

void early_resume(struct early *e)
{
	e->is_on = e->max_bytes > 0 && e->error == 0;
}

static struct early_change *find(struct early *e, uint64_t start, uint64_t end)
{
	struct early_change *c;
	list_for_each (c, &e->changes, link) {
		if (c->start < end && start < c->end)
			return c;
	}
	return NULL;
}

void co_fn early_wait_range(struct early *e, uint64_t offset, uint64_t bytes)
{
	struct early_change *c;
	while ((c = find(e, offset, offset + bytes)))
		co_queue_wait(&c->waiters);
}

int co_fn early_wait(struct early *e)
{
	uint64_t until = e->begun;
	struct early_change *c;
	while ((c = list_first(&e->changes, struct early_change, link)) && c->number < until)
		co_queue_wait(&c->waiters);
	return e->error;
}
