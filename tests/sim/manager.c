/* SPDX-License-Identifier: MIT */
/*
 * The one who manages the simulated guest's images: takes external snapshots, merges
 * parts of the chain with block-commit and block-stream, and copies the whole, while the
 * guest works.
 */
#include <stdio.h>

#include "block/driver.h"
#include "block/snapshot.h"
#include "blockjobs/commit.h"
#include "blockjobs/stream.h"
#include "tests/sim/world.h"

/* Longest chain, the backing file not counted. */
#define DEPTH_MAX 5

static const struct job_observer observer;

/* The images of the chain, the active one first. Returns how many. */
static unsigned find_chain(struct world *w, struct node **ret)
{
	unsigned n = 0;
	struct node *node = node_skip_filters(w->edge->child);
	for (; node && n < DEPTH_MAX; node = node_backing(node)) {
		node = node_skip_filters(node);
		if (string_equal(node->driver->name, "qcow2"))
			ret[n++] = node;
	}
	return n;
}

void manager_tell(struct world *w, const char *what, const char *detail, int r)
{
	if (w->tells)
		printf("%8llu manager: %s %s: %d\n",
		       (unsigned long long)sim_store_position(w->store), what, detail, r);
}

/* Hold on to the active image's node alone, as a manager does who deletes what is left over. */
static void co_fn hold_top(struct world *w)
{
	graph_change_begin(w->graph);
	struct node *old = w->node;
	w->node = node_ref(node_skip_filters(w->edge->child));
	node_unref(old);
	graph_change_end(w->graph);
}

static void co_fn take_snapshot(struct world *w)
{
	char name[32];
	unsigned number = 0;
	do {
		snprintf(name, sizeof(name), "o%u", number++);
	} while (sim_store_find(w->store, name));

	graph_change_begin(w->graph);
	struct blockdev_snapshot_sync args = {
		.node_name = node_skip_filters(w->edge->child)->name,
		.snapshot_file = name,
		.snapshot_node_name = name,
		.format = (char *)"qcow2",
		.mode = NEW_IMAGE_MODE_ABSOLUTE_PATHS,
	};
	struct snapshot_set *set = snapshot_set_create(w->graph);
	snapshot_set_add_sync(set, &args);
	struct error *error = NULL;
	int r = snapshot_set_prepare(set, &error);
	if (r >= 0)
		r = snapshot_set_commit(set, &error);
	snapshot_set_destroy(set);
	graph_change_end(w->graph);
	manager_tell(w, "snapshot", error ? error->message : name, r);
	w->snapshots += r >= 0;
	/* Without faults nothing stands in the way. */
	if (r < 0 && !plan_has_mishaps(w->plan))
		world_fault(w, xasprintf("a snapshot failed: %s", error->message));
	error_free(error);
}

void co_fn manager_follow_job(struct world *w, struct job_table *jobs)
{
	bool gives_up = choose(&w->random, 6) == 0;
	struct job *j;
	while ((j = job_find(jobs, "job", false))) {
		if (j->status == JOB_STATUS_READY && choose(&w->random, 4) == 0)
			job_verb_complete(j, NULL);
		else if (gives_up && choose(&w->random, 20) == 0)
			job_verb_cancel(j, choose(&w->random, 2), NULL);
		co_sleep_ns(choose(&w->random, 2000000));
	}
}

/* Stay with what has been started, or not: @r and @error. */
static bool co_fn see_through(struct world *w, struct job_table *jobs, const char *what,
			      const char *detail, int r, struct error *error)
{
	struct node *chain[DEPTH_MAX];
	unsigned depth = find_chain(w, chain);
	manager_tell(w, what, error ? error->message : detail, r);
	if (r >= 0)
		manager_follow_job(w, jobs);
	else if (!plan_has_mishaps(w->plan))
		world_fault(w, xasprintf("a %s could not start: %s", what, error->message));
	error_free(error);
	bool merged = find_chain(w, chain) < depth;
	manager_tell(w, merged ? "merged" : "did not merge", detail, 0);
	return merged;
}

static void co_fn commit_some(struct world *w, struct job_table *jobs)
{
	struct node *chain[DEPTH_MAX];
	unsigned depth = find_chain(w, chain);
	if (depth < 2)
		return;
	unsigned top = (unsigned)choose(&w->random, depth - 1);
	unsigned base = (unsigned)choose_between(&w->random, top + 1, depth - 1);
	struct block_commit_args args = {
		.job_id = (char *)"job",
		.device = chain[0]->name,
		.top_node = chain[top]->name,
		.base_node = chain[base]->name,
		.auto_finalize = true,
		.auto_dismiss = true,
	};
	char detail[100];
	snprintf(detail, sizeof(detail), "%s into %s", chain[top]->file->child->filename,
		 chain[base]->file->child->filename);
	struct error *error = NULL;
	int r = commit_start(jobs, &args, &error);
	w->commits += see_through(w, jobs, "commit", detail, r, error);
}

static void co_fn stream_some(struct world *w, struct job_table *jobs)
{
	struct node *chain[DEPTH_MAX];
	unsigned depth = find_chain(w, chain);
	if (depth < 2)
		return;
	unsigned top = (unsigned)choose(&w->random, depth - 1);
	/* One more than there are: the whole chain, with what is below the images. */
	unsigned base = (unsigned)choose_between(&w->random, top + 2, depth + 1);
	struct block_stream_args args = {
		.job_id = (char *)"job",
		.device = chain[top]->name,
		.base_node = base < depth ? chain[base]->name : NULL,
		.auto_finalize = true,
		.auto_dismiss = true,
	};
	char detail[100];
	snprintf(detail, sizeof(detail), "%s down to %s", chain[top]->file->child->filename,
		 base < depth ? chain[base]->file->child->filename : "the end");
	struct error *error = NULL;
	int r = stream_start(jobs, &args, &error);
	w->streams += see_through(w, jobs, "stream", detail, r, error);
}

void co_fn manager_live(struct world *w)
{
	struct job_table jobs;
	job_table_init(&jobs, w->graph, &observer);
	while (!w->guest_is_done) {
		struct node *chain[DEPTH_MAX];
		co_sleep_ns(choose(&w->random, 10000000));
		if (w->guest_is_done)
			break;
		uint64_t what = choose(&w->random, 6);
		if (what == 0)
			copier_mirror(w, &jobs);
		else if (what == 1)
			copier_backup(w, &jobs);
		else if (choose(&w->random, 2) && find_chain(w, chain) < DEPTH_MAX - 1)
			take_snapshot(w);
		else if (choose(&w->random, 2))
			commit_some(w, &jobs);
		else
			stream_some(w, &jobs);
		hold_top(w);
	}
	job_cancel_all_and_wait(&jobs);
	job_table_finish(&jobs);
}
