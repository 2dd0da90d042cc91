/* SPDX-License-Identifier: MIT */
/*
 * Many external snapshots at one moment. Control thread, in a coroutine that
 * holds the change lock.
 *
 * Overlays are made in waves: one goes as far as the snapshots do not need an
 * overlay that is itself only made by the wave. Usually that is all of them.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/loop.h"
#include "block/change.h"
#include "block/node_internal.h"
#include "block/open.h"
#include "block/snapshot_internal.h"

/* Overlays that are made, or nodes that are flushed, at the same time. */
#define WORKERS_MAX 16

struct item {
	const struct blockdev_snapshot_sync *sync; /* one of the two is set */
	const struct blockdev_snapshot *adopt;
	struct snapshot snapshot;
	int result;
	struct error *error;
};

struct snapshot_set {
	struct graph *graph;
	struct item *items;
	size_t count, capacity;
	size_t prepared; /* of them */
};

struct snapshot_set *snapshot_set_create(struct graph *g)
{
	struct snapshot_set *set = NEW(struct snapshot_set);
	set->graph = g;
	return set;
}

static struct item *add(struct snapshot_set *set)
{
	if (set->count == set->capacity) {
		set->capacity = set->capacity == 0 ? 4 : 2 * set->capacity;
		set->items = xrealloc(set->items, set->capacity, sizeof(set->items[0]));
	}
	struct item *it = &set->items[set->count++];
	*it = (struct item){0};
	return it;
}

size_t snapshot_set_add_sync(struct snapshot_set *set, const struct blockdev_snapshot_sync *args)
{
	add(set)->sync = args;
	return set->count - 1;
}

size_t snapshot_set_add(struct snapshot_set *set, const struct blockdev_snapshot *args)
{
	add(set)->adopt = args;
	return set->count - 1;
}

void co_fn snapshot_set_destroy(struct snapshot_set *set)
{
	for (size_t i = set->count; i-- > 0;) {
		snapshot_finish(&set->items[i].snapshot);
		error_free(set->items[i].error);
	}
	free(set->items);
	free(set);
}

/* --- Several at a time -------------------------------------------------------- */

struct crew {
	void co_fn (*work)(struct item *it);
	struct item *next, *end;
	struct graph *graph;
	struct graph_apart *party; /* each takes the lock for changes for itself, to help; or NULL */
	struct co_group group;
};

static void co_fn crew_member(void *arg)
{
	struct crew *crew = arg;
	struct graph_apart apart;
	while (crew->next < crew->end) {
		struct item *it = crew->next++;
		if (crew->party)
			graph_apart_help_begin(crew->graph, crew->party, &apart);
		crew->work(it);
		if (crew->party)
			graph_apart_help_end(crew->graph, &apart);
	}
	co_group_done(&crew->group);
}

/* Run @work on all items; the error of the first, in order, that failed. */
static int co_fn work_on(struct snapshot_set *set, size_t first, size_t end,
			 void co_fn (*work)(struct item *it), struct graph_apart *party,
			 struct error **errp)
{
	struct crew crew = {
		.work = work,
		.next = &set->items[first],
		.end = &set->items[end],
		.graph = set->graph,
		.party = party,
	};
	co_group_init(&crew.group);
	for (size_t i = first; i < end && i - first < WORKERS_MAX; i++) {
		co_group_add(&crew.group);
		co_start(set->graph->loop, crew_member, &crew);
	}
	co_group_wait(&crew.group);
	for (size_t i = first; i < end; i++) {
		if (set->items[i].result < 0)
			return error_move(errp, TAKE(set->items[i].error));
	}
	return 0;
}

/* --- Making the overlays --------------------------------------------------------- */

/* The overlay of [first, end) that is still to be made and will be called @name; or NULL. */
static const struct item *find_pending(const struct snapshot_set *set, size_t first, size_t end,
				       const char *name)
{
	for (size_t i = first; name && i < end; i++) {
		const struct item *it = &set->items[i];
		if (it->sync && string_equal(it->sync->snapshot_node_name, name))
			return it;
	}
	return NULL;
}

/* True when @it cannot be judged before the overlays of [first, end) are there. */
static bool needs_pending(const struct snapshot_set *set, size_t first, size_t end,
			  const struct item *it)
{
	if (it->adopt)
		return find_pending(set, first, end, it->adopt->node) ||
		       find_pending(set, first, end, it->adopt->overlay);
	return find_pending(set, first, end, it->sync->node_name) ||
	       find_pending(set, first, end, it->sync->snapshot_node_name);
}

static const char *overlay_name(const struct item *it)
{
	if (it->adopt)
		return it->adopt->overlay;
	return it->sync->snapshot_node_name ? it->sync->snapshot_node_name : "";
}

/* What the links will forbid that are not there yet. */
static int check_against_earlier(const struct snapshot_set *set, struct item *it,
				 struct error **errp)
{
	for (const struct item *other = set->items; other < it; other++) {
		if (other->sync && other->snapshot.overlay == it->snapshot.base)
			it->snapshot.base_is_new = true;
		if (other->adopt && other->snapshot.overlay == it->snapshot.base)
			it->snapshot.base_is_adopted = true;
		if (other->snapshot.base == it->snapshot.base)
			return error_set(errp, -EBUSY,
					 "Node '%s' is busy: node is used as backing hd of '%s'",
					 it->snapshot.base->name, overlay_name(other));
		if (it->adopt && other->snapshot.overlay == it->snapshot.overlay)
			return error_set(errp, -EBUSY, "The overlay is already in use");
	}
	return 0;
}

static int plan(struct snapshot_set *set, struct item *it, struct error **errp)
{
	int r = it->adopt ? snapshot_adopt(&it->snapshot, set->graph, it->adopt, errp)
			  : snapshot_plan(&it->snapshot, set->graph, it->sync, errp);
	return r < 0 ? r : check_against_earlier(set, it, errp);
}

static void co_fn make_overlay(struct item *it)
{
	if (it->sync)
		it->result = snapshot_open(&it->snapshot, it->sync, &it->error);
}

static bool co_fn is_any_remote(const struct snapshot_set *set, size_t first, size_t end)
{
	for (size_t i = first; i < end; i++) {
		const struct item *it = &set->items[i];
		if (it->sync && filename_may_be_remote(set->graph, it->sync->snapshot_file))
			return true;
	}
	return false;
}

/* Others may change the graph while servers are at work; files are not worth letting them in. */
static int co_fn make_overlays(struct snapshot_set *set, size_t first, size_t end,
			       struct error **errp)
{
	struct graph *g = set->graph;
	struct graph_apart *apart = is_any_remote(set, first, end) ? graph_apart_leave(g) : NULL;
	if (!apart && g->apart)
		g->apart->has_helpers = true;
	int r = work_on(set, first, end, make_overlay, apart, errp);
	graph_apart_return(g, apart);
	if (g->apart)
		g->apart->has_helpers = false;
	return r;
}

int co_fn snapshot_set_prepare(struct snapshot_set *set, struct error **errp)
{
	while (set->prepared < set->count) {
		struct error *error = NULL;
		size_t first = set->prepared, end = first;
		int r = 0;
		while (r >= 0 && end < set->count &&
		       !needs_pending(set, first, end, &set->items[end])) {
			r = plan(set, &set->items[end], &error);
			if (r >= 0)
				end++;
		}
		/* An earlier snapshot's failure comes first, also when it is noticed later. */
		int made = make_overlays(set, first, end, errp);
		if (made < 0) {
			error_free(error);
			return made;
		}
		if (r < 0)
			return error_move(errp, error);
		set->prepared = end;
	}
	return 0;
}

int snapshot_set_check_again(struct snapshot_set *set, struct error **errp)
{
	int r = 0;
	for (size_t i = 0; i < set->prepared && r >= 0; i++)
		r = snapshot_check_again(&set->items[i].snapshot, set->items[i].adopt, errp);
	return r;
}

/* --- Putting them to use ------------------------------------------------------------ */

static void co_fn flush_base(struct item *it)
{
	struct node *base = it->snapshot.base;
	it->result = node_flush_patiently(base);
	if (it->result < 0)
		error_set_errno(&it->error, it->result, "Could not flush node '%s'", base->name);
}

int co_fn snapshot_set_flush(struct snapshot_set *set, struct error **errp)
{
	return work_on(set, 0, set->count, flush_base, NULL, errp);
}

struct node *snapshot_set_base(const struct snapshot_set *set, size_t index)
{
	return set->items[index].snapshot.base;
}

int snapshot_set_link(struct snapshot_set *set, size_t index, struct graph_tx *tx,
		      struct error **errp)
{
	return snapshot_link(&set->items[index].snapshot, tx, errp);
}

/* The bases of all, in a malloc'ed array. */
static struct node **list_bases(const struct snapshot_set *set)
{
	struct node **bases = xalloc(set->count, sizeof(bases[0]));
	for (size_t i = 0; i < set->count; i++)
		bases[i] = set->items[i].snapshot.base;
	return bases;
}

void co_fn snapshot_set_settle(struct snapshot_set *set)
{
	struct node **bases _cleanup_free_ = list_bases(set);
	/* One that cannot be made read-only is safe as well: nobody may write to it. */
	nodes_set_read_only(set->graph, bases, (unsigned)set->count, true, NULL);
	for (size_t i = 0; i < set->count; i++) {
		struct item *it = &set->items[i];
		/* If it fails, the name is that of a base without a backing file, as it was opened. */
		if (it->snapshot.base_is_adopted && it->sync &&
		    it->sync->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS)
			(void)snapshot_rename_base(&it->snapshot, it->sync, NULL);
		snapshot_keep(&it->snapshot);
	}
}

/* With all users drained. */
static int co_fn commit_drained(struct snapshot_set *set, struct error **errp)
{
	int r = snapshot_set_flush(set, errp);
	if (r < 0)
		return r;
	struct graph_tx tx;
	graph_tx_begin(&tx, set->graph);
	for (size_t i = 0; i < set->count && r >= 0; i++)
		r = snapshot_set_link(set, i, &tx, errp);
	if (r >= 0)
		r = graph_tx_prepare(&tx, errp);
	if (r < 0) {
		graph_tx_abort(&tx);
		return r;
	}
	graph_tx_commit(&tx);
	snapshot_set_settle(set);
	return 0;
}

int co_fn snapshot_set_commit(struct snapshot_set *set, struct error **errp)
{
	struct node **bases _cleanup_free_ = list_bases(set);
	int r = snapshot_set_flush(set, errp);
	if (r < 0)
		return r;
	struct drain drain;
	drain_begin(set->graph, bases, (unsigned)set->count, &drain);
	r = commit_drained(set, errp);
	drain_end(&drain);
	return r;
}
