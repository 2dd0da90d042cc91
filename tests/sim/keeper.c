/* SPDX-License-Identifier: MIT */
/*
 * The one who keeps internal snapshots of the simulated guest's image, and changes the
 * options of its node, while the guest works. What the snapshots show is judged after each
 * later crash.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "block/drain.h"
#include "block/driver.h"
#include "block/open.h"
#include "schema/schema.h"
#include "tests/sim/world.h"

/* With narrow refcounts there is no room for more references. */
#define REFCOUNT_BITS_ENOUGH 8

static void complain(struct world *w, const char *what, struct error *error)
{
	if (!plan_has_mishaps(w->plan))
		world_fault(w, xasprintf("%s: %s", what, error->message));
}

static void co_fn take(struct world *w)
{
	struct node *n = w->node;
	w->kept = xrealloc(w->kept, w->kept_count + 1, sizeof(*w->kept));
	struct kept_snapshot *s = &w->kept[w->kept_count];
	*s = (struct kept_snapshot){.made = UINT64_MAX, .dropped = UINT64_MAX};
	snprintf(s->name, sizeof(s->name), "%s-%zu", w->bitmap_name, w->kept_count++);

	struct drain drain;
	struct error *error = NULL;
	graph_change_begin(w->graph);
	drain_begin(w->graph, &n, 1, &drain);
	s->from = oracle_read_begin(w->oracle);
	int r = n->driver->snapshot_create(n, s->name, &error);
	s->until = oracle_read_begin(w->oracle);
	if (r >= 0)
		s->made = sim_store_position(w->store);
	drain_end(&drain);
	graph_change_end(w->graph);
	manager_tell(w, "internal snapshot", error ? error->message : s->name, r);
	if (r < 0 && w->plan->refcount_bits >= REFCOUNT_BITS_ENOUGH)
		complain(w, "an internal snapshot failed", error);
	w->snapshots += r >= 0;
	error_free(error);
}

static void note_drop(struct world *w, const char *name)
{
	for (size_t i = 0; i < w->kept_count; i++) {
		if (string_equal(w->kept[i].name, name))
			w->kept[i].dropped = sim_store_position(w->store);
	}
}

static void co_fn drop(struct world *w)
{
	struct node *n = w->node;
	struct snapshot_info_list list = {0};
	struct error *error = NULL;
	struct drain drain;
	graph_change_begin(w->graph);
	if (n->driver->snapshot_list(n, &list, NULL) >= 0 && list.count > 0) {
		const struct snapshot_info *s = list.items[choose(&w->random, list.count)];
		drain_begin(w->graph, &n, 1, &drain);
		note_drop(w, s->name);
		int r = n->driver->snapshot_delete(n, s->id, &error);
		drain_end(&drain);
		manager_tell(w, "deleted", error ? error->message : s->name, r);
		if (r < 0)
			complain(w, "an internal snapshot could not be deleted", error);
	}
	graph_change_end(w->graph);
	schema_finish(&snapshot_info_list_type, &list);
	error_free(error);
}

static bool co_fn is_version_3(struct node *n)
{
	struct image_info_specific *info = n->driver->specific_info(n);
	bool is = string_equal(info->u.qcow2.data->compat, "1.1");
	image_info_specific_free(info);
	return is;
}

static void co_fn change_options(struct world *w)
{
	struct node *n = w->node, *backing = node_backing(n);
	struct blockdev_options *o = blockdev_options_clone(n->options);
	struct blockdev_options_qcow2 *q = &o->u.qcow2;
	struct error *error = NULL;
	free(o->node_name);
	o->node_name = xstrdup(n->name);
	if (backing && !q->backing) {
		q->backing = NEW(struct blockdev_ref_or_null);
		q->backing->kind = BLOCKDEV_REF_OR_NULL_REFERENCE;
		q->backing->u.reference = xstrdup(backing->name);
	}
	q->has_lazy_refcounts = is_version_3(n);
	q->lazy_refcounts = q->has_lazy_refcounts && choose(&w->random, 2);
	q->l2_cache_size = (int64_t)(w->plan->l2_entry_bytes * choose_between(&w->random, 2, 12));
	graph_change_begin(w->graph);
	int r = nodes_reopen(w->graph, (const struct blockdev_options *const *)&o, 1, &error);
	graph_change_end(w->graph);
	manager_tell(w, "reopened", error ? error->message : "", r);
	if (r < 0)
		complain(w, "the node could not be reopened", error);
	blockdev_options_free(o);
	error_free(error);
}

/* The guest writes: it is refused, after much has been done for it. */
static void co_fn try_read_only(struct world *w)
{
	graph_change_begin(w->graph);
	int r = node_set_read_only(w->node, true, NULL);
	graph_change_end(w->graph);
	manager_tell(w, "read-only", "", r);
	if (r >= 0)
		world_fault(w, xstrdup("a node has become read-only below its writer"));
}

/* The image itself becomes another one, while the guest has to wait. */
static void co_fn amend(struct world *w)
{
	struct node *n = w->node;
	struct blockdev_create_options o = {.driver = BLOCKDEV_DRIVER_QCOW2};
	struct blockdev_create_options_qcow2 *q = &o.u.qcow2;
	struct error *error = NULL;
	struct drain drain;
	graph_change_begin(w->graph);
	drain_begin(w->graph, &n, 1, &drain);
	bool changes_version = choose(&w->random, 3) == 0;
	if (changes_version) {
		q->has_version = true;
		q->version = is_version_3(n) ? BLOCKDEV_QCOW2_VERSION_V2 : BLOCKDEV_QCOW2_VERSION_V3;
	} else if (is_version_3(n)) {
		q->has_lazy_refcounts = choose(&w->random, 2);
		q->lazy_refcounts = choose(&w->random, 2);
		q->has_refcount_bits = w->plan->refcount_bits >= REFCOUNT_BITS_ENOUGH;
		q->refcount_bits = REFCOUNT_BITS_ENOUGH << choose(&w->random, 4);
	}
	int r = n->driver->amend(n, &o, &error);
	drain_end(&drain);
	graph_change_end(w->graph);
	manager_tell(w, "amended", error ? error->message : "", r);
	/* Version 2 has its conditions. */
	if (r < 0 && !changes_version)
		complain(w, "the image could not be amended", error);
	error_free(error);
}

void co_fn keeper_live(struct world *w)
{
	while (!w->guest_is_done) {
		co_sleep_ns(choose(&w->random, 10000000));
		if (w->guest_is_done)
			break;
		switch (choose(&w->random, 7)) {
		case 0:
			change_options(w);
			break;
		case 1:
			try_read_only(w);
			break;
		case 2:
			amend(w);
			break;
		case 3:
		case 4:
			drop(w);
			break;
		default:
			take(w);
		}
	}
}

/* --- After a crash ------------------------------------------------------------------ */

static bool is_listed(const struct snapshot_info_list *list, const char *name, const char **ret_id)
{
	for (size_t i = 0; i < list->count; i++) {
		if (string_equal(list->items[i]->name, name)) {
			*ret_id = list->items[i]->id;
			return true;
		}
	}
	return false;
}

static void co_fn compare(struct world *w, const struct oracle *o, const struct kept_snapshot *s)
{
	uint8_t p[SIM_SECTOR];
	consumer_enter(&w->consumer);
	for (uint64_t at = 0; at < w->node->size / SIM_SECTOR && !w->fault; at++) {
		uint64_t number;
		char *reason = NULL;
		int r = edge_read(w->edge, at * SIM_SECTOR, SIM_SECTOR, p, 0);
		if (r < 0 || !oracle_decode(at, p, &number))
			world_fault(w, xasprintf("sector %llu of snapshot %s shows no write's data: "
						 "%d", (unsigned long long)at, s->name, r));
		else if (!oracle_check_moment(o, s->from, s->until, at, number, &reason))
			world_fault(w, xasprintf("in snapshot %s: %s", s->name, reason));
		free(reason);
	}
	consumer_leave(&w->consumer);
}

static void co_fn judge_one(struct world *w, const struct oracle *o, const struct kept_snapshot *s,
			    uint64_t position, const char *top, uint64_t *ret_right)
{
	struct snapshot_info_list list = {0};
	const char *id;
	if (world_open_to_read(w, top) < 0)
		return;
	w->node->driver->snapshot_list(w->node, &list, NULL);
	if (is_listed(&list, s->name, &id)) {
		struct error *error = NULL;
		if (w->node->driver->snapshot_show(w->node, id, &error) < 0)
			world_fault(w, xasprintf("snapshot %s: %s", s->name, error->message));
		else
			compare(w, o, s);
		error_free(error);
		++*ret_right;
	} else if (s->made <= position && s->dropped > position) {
		world_fault(w, xasprintf("snapshot %s is gone", s->name));
	}
	schema_finish(&snapshot_info_list_type, &list);
	world_close(w);
}

void co_fn keeper_judge(struct world *w, const struct oracle *o, const struct kept_snapshot *kept,
			size_t count, uint64_t position, const char *top, uint64_t *ret_right)
{
	*ret_right = 0;
	for (size_t i = 0; i < count && !w->fault; i++)
		judge_one(w, o, &kept[i], position, top, ret_right);
}
