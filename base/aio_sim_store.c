/* SPDX-License-Identifier: MIT */
/*
 * The store of simulated disks, its record, and the replay of the record up to
 * a crash. One thread.
 *
 * A replay keeps for each disk what is certainly durable, and the list of
 * operations that have ended and are not: a successful flush makes durable what
 * had ended before it began. After a failed flush the operations before it are
 * doomed: no later flush covers them, though a crash may spare them.
 */
#include "base/aio_sim_store.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct sim_store *sim_store_create(void)
{
	struct sim_store *store = NEW(struct sim_store);
	list_init(&store->disks);
	return store;
}

static void forget_record(struct sim_store *store)
{
	for (size_t i = 0; i < store->event_count; i++) {
		struct sim_event *e = &store->events[i];
		if (!e->ends)
			continue;
		free(e->op->data);
		free(e->op);
	}
	store->event_count = 0;
}

void sim_store_destroy(struct sim_store *store)
{
	if (!store)
		return;
	forget_record(store);
	struct sim_disk *disk, *following;
	list_for_each_safe(disk, following, &store->disks, link) {
		sim_content_finish(&disk->now);
		sim_content_finish(&disk->settled);
		free(disk->faults);
		free(disk->name);
		free(disk);
	}
	free(store->events);
	free(store);
}

struct sim_disk *sim_store_add(struct sim_store *store, const char *name)
{
	assert(!sim_store_find(store, name));
	struct sim_disk *disk = NEW(struct sim_disk);
	disk->store = store;
	disk->name = xstrdup(name);
	disk->index = store->disk_count++;
	disk->limit = SIM_DISK_MAX;
	list_add_tail(&store->disks, &disk->link);
	return disk;
}

struct sim_disk *sim_store_find(struct sim_store *store, const char *name)
{
	struct sim_disk *disk;
	list_for_each(disk, &store->disks, link) {
		if (string_equal(disk->name, name))
			return disk;
	}
	return NULL;
}

struct sim_disk *sim_store_next(struct sim_store *store, struct sim_disk *disk)
{
	struct list *next = disk ? disk->link.next : store->disks.next;
	return next == &store->disks ? NULL : container_of(next, struct sim_disk, link);
}

const char *sim_disk_name(const struct sim_disk *disk)
{
	return disk->name;
}

uint64_t sim_store_position(const struct sim_store *store)
{
	return store->event_count;
}

void sim_store_settle(struct sim_store *store)
{
	forget_record(store);
	struct sim_disk *disk;
	list_for_each(disk, &store->disks, link) {
		sim_content_settle(&disk->now);
		sim_content_finish(&disk->settled);
		sim_content_copy(&disk->settled, &disk->now);
	}
}

uint64_t sim_store_record(struct sim_store *store, struct sim_op *op, bool ends)
{
	if (store->event_count == store->event_capacity) {
		store->event_capacity = MAX(store->event_capacity * 2, (size_t)1024);
		store->events = xrealloc(store->events, store->event_capacity,
					 sizeof(*store->events));
	}
	store->events[store->event_count] = (struct sim_event){.op = op, .ends = ends};
	return store->event_count++;
}

void sim_store_describe(const struct sim_store *store, uint64_t position, char *p, size_t bytes)
{
	static const char *const names[] = {
		[AIO_READ] = "read", [AIO_WRITE] = "write", [AIO_FLUSH] = "flush",
		[AIO_FALLOCATE] = "fallocate", [AIO_TRUNCATE] = "truncate",
	};
	assert(position < store->event_count);
	const struct sim_event *e = &store->events[position];
	const struct sim_op *op = e->op;
	int n = snprintf(p, bytes, "%s: %s %" PRIu64, op->disk->name, names[op->operation],
			 op->begin);
	if (n < 0 || (size_t)n >= bytes)
		return;
	p += n;
	bytes -= (size_t)n;
	if (e->ends)
		snprintf(p, bytes, " ends%s%s", op->result < 0 ? " with " : "",
			 op->result < 0 ? strerrorname_np(-op->result) : "");
	else
		snprintf(p, bytes, " of %" PRIu64 " at %" PRIu64 " mode %#x begins", op->bytes,
			 op->offset, op->mode);
}

/* An operation that may be lost. */
struct survivor {
	const struct sim_op *op;
	bool doomed;
};

struct replay_disk {
	struct sim_content durable;
	const struct sim_op **under_way; /* in the order of their beginnings */
	size_t under_way_count, under_way_capacity;
	struct survivor *pending; /* in the order of their ends */
	size_t pending_count, pending_capacity;
};

struct sim_replay {
	const struct sim_store *store;
	uint64_t position;
	struct replay_disk *disks; /* by sim_disk.index */
	unsigned disk_count;
};

struct sim_replay *sim_replay_create(const struct sim_store *store)
{
	struct sim_replay *replay = NEW(struct sim_replay);
	replay->store = store;
	replay->disk_count = store->disk_count;
	replay->disks = xalloc(store->disk_count, sizeof(*replay->disks));
	struct sim_disk *disk;
	list_for_each(disk, &store->disks, link)
		sim_content_copy(&replay->disks[disk->index].durable, &disk->settled);
	return replay;
}

void sim_replay_destroy(struct sim_replay *replay)
{
	if (!replay)
		return;
	for (unsigned i = 0; i < replay->disk_count; i++) {
		sim_content_finish(&replay->disks[i].durable);
		free(replay->disks[i].pending);
		free(replay->disks[i].under_way);
	}
	free(replay->disks);
	free(replay);
}

/* What @op ended with stamps so; see sim_disk_end(). */
static uint64_t stamp_of(const struct sim_op *op)
{
	return op->end + 1;
}

static void add_pending(struct replay_disk *d, const struct sim_op *op)
{
	if (d->pending_count == d->pending_capacity) {
		d->pending_capacity = MAX(d->pending_capacity * 2, (size_t)64);
		d->pending = xrealloc(d->pending, d->pending_capacity, sizeof(*d->pending));
	}
	d->pending[d->pending_count++] = (struct survivor){.op = op};
}

static void flush_ended(struct replay_disk *d, const struct sim_op *flush)
{
	size_t kept = 0;
	for (size_t i = 0; i < d->pending_count; i++) {
		struct survivor *s = &d->pending[i];
		bool covered = s->op->end < flush->begin;
		if (covered && flush->result == 0 && !s->doomed) {
			sim_op_apply(&d->durable, s->op, stamp_of(s->op), NULL, NULL);
			continue;
		}
		s->doomed |= covered && flush->result < 0;
		d->pending[kept++] = *s;
	}
	d->pending_count = kept;
}

static void replay_begin(struct sim_replay *replay, const struct sim_op *op)
{
	struct replay_disk *d = &replay->disks[op->disk->index];
	if (d->under_way_count == d->under_way_capacity) {
		d->under_way_capacity = MAX(d->under_way_capacity * 2, (size_t)64);
		d->under_way = xrealloc(d->under_way, d->under_way_capacity,
					sizeof(*d->under_way));
	}
	d->under_way[d->under_way_count++] = op;
}

static void remove_under_way(struct replay_disk *d, const struct sim_op *op)
{
	size_t i = 0;
	while (d->under_way[i] != op)
		i++;
	d->under_way_count--;
	memmove(&d->under_way[i], &d->under_way[i + 1],
		(d->under_way_count - i) * sizeof(*d->under_way));
}

static void replay_end(struct sim_replay *replay, const struct sim_op *op)
{
	struct replay_disk *d = &replay->disks[op->disk->index];
	remove_under_way(d, op);
	switch (op->operation) {
	case AIO_READ:
		break;
	case AIO_FLUSH:
		flush_ended(d, op);
		break;
	case AIO_WRITE:
		if (op->mode & RWF_DSYNC && op->result == 0) {
			sim_op_apply(&d->durable, op, stamp_of(op), NULL, NULL);
			break;
		}
		add_pending(d, op);
		break;
	case AIO_FALLOCATE:
	case AIO_TRUNCATE:
		add_pending(d, op);
		break;
	}
}

void sim_replay_to(struct sim_replay *replay, uint64_t position)
{
	assert(position >= replay->position && position <= replay->store->event_count);
	for (; replay->position < position; replay->position++) {
		const struct sim_event *e = &replay->store->events[replay->position];
		if (e->ends)
			replay_end(replay, e->op);
		else
			replay_begin(replay, e->op);
	}
}

static bool survives_never(uint64_t *random)
{
	return false;
}

static bool survives_always(uint64_t *random)
{
	return true;
}

static bool survives_perhaps(uint64_t *random)
{
	return sim_random(random) % 2;
}

/*
 * How an operation that may be lost fares: often as a whole or not at all,
 * which is what finds mistakes in the order of writes; otherwise torn.
 */
static sim_sector_filter *choose_fate(uint64_t *random, unsigned temper)
{
	if (temper == 0)
		return survives_never;
	if (temper == 1)
		return survives_always;
	switch (sim_random(random) % 4) {
	case 0:
		return survives_perhaps;
	case 1:
		return survives_always;
	default:
		return temper % 2 ? survives_always : survives_never;
	}
}

static void crash_disk(const struct sim_replay *replay, const struct sim_disk *from,
		       struct sim_disk *to, uint64_t *random)
{
	const struct replay_disk *d = &replay->disks[from->index];
	sim_content_copy(&to->now, &d->durable);
	unsigned temper = sim_random(random) % 6;
	for (size_t i = 0; i < d->pending_count; i++) {
		const struct sim_op *op = d->pending[i].op;
		sim_op_apply(&to->now, op, stamp_of(op), choose_fate(random, temper), random);
	}
	/* What was under way: the newest of all, if it left a trace. */
	for (size_t i = 0; i < d->under_way_count; i++)
		sim_op_apply(&to->now, d->under_way[i], UINT64_MAX, choose_fate(random, temper),
			     random);
}

struct sim_store *sim_replay_crash(const struct sim_replay *replay, uint64_t seed)
{
	struct sim_store *store = sim_store_create();
	uint64_t random = seed;
	struct sim_disk *disk;
	list_for_each(disk, &replay->store->disks, link) {
		/* A disk that was added after the record began was empty then. */
		struct sim_disk *copy = sim_store_add(store, disk->name);
		crash_disk(replay, disk, copy, &random);
	}
	sim_store_settle(store);
	return store;
}
