/* SPDX-License-Identifier: MIT */
/*
 * Copies that the manager of the simulated images makes of the active one: mirrors, to
 * which the guest moves, and backups, which show one moment and are judged after each
 * later crash.
 */
#include <stdio.h>

#include "base/cleanup.h"
#include "blockjobs/backup.h"
#include "blockjobs/mirror.h"
#include "tests/sim/world.h"

/* A new image of the guest's size, opened; NULL when that failed, which only mishaps may cause. */
static struct node *co_fn open_target(struct world *w, const char *letter)
{
	char name[32];
	unsigned number = 0;
	do {
		snprintf(name, sizeof(name), "%s%u", letter, number++);
	} while (sim_store_find(w->store, name));
	struct error *error = NULL;
	struct node *n = NULL;
	int r = world_create(w, name, w->sectors * SIM_SECTOR, false, &error);
	if (r >= 0)
		r = world_open_node(w, name, &n, &error);
	if (r < 0)
		world_fault(w, xasprintf("could not make %s: %s", name, error->message));
	error_free(error);
	return n;
}

static void co_fn close_target(struct world *w, struct node *n)
{
	graph_change_begin(w->graph);
	node_unref(n);
	graph_change_end(w->graph);
}

void co_fn copier_mirror(struct world *w, struct job_table *jobs)
{
	struct node *source = node_skip_filters(w->edge->child);
	struct node *target = open_target(w, "m");
	if (!target)
		return;
	struct blockdev_mirror_args args = {
		.job_id = (char *)"job",
		.device = source->name,
		.target = target->name,
		.sync = MIRROR_SYNC_MODE_FULL,
		.granularity = UINT32_C(512) << choose(&w->random, 8),
		.copy_mode = choose(&w->random, 2) ? MIRROR_COPY_MODE_WRITE_BLOCKING
						   : MIRROR_COPY_MODE_BACKGROUND,
		.auto_finalize = true,
		.auto_dismiss = true,
	};
	struct error *error = NULL;
	int r = mirror_start(jobs, &args, &error);
	manager_tell(w, "mirror to", target->file->child->filename, r);
	if (r >= 0)
		manager_follow_job(w, jobs);
	else if (!plan_has_mishaps(w->plan))
		world_fault(w, xasprintf("a mirror could not start: %s", error->message));
	error_free(error);
	bool moved = node_skip_filters(w->edge->child) == target;
	manager_tell(w, moved ? "moved to" : "did not move to", target->file->child->filename, 0);
	w->mirrors += moved;
	close_target(w, target);
}

/* Fix the moment, as a transaction of one action does. */
static int co_fn begin_backup(struct world *w, struct job_table *jobs,
			      const struct blockdev_backup *args, struct error **errp)
{
	graph_change_begin(w->graph);
	struct backup *b;
	int r = backup_open(jobs, args, NULL, &b, errp);
	if (r >= 0) {
		struct node *source = backup_source(b);
		struct drain drain;
		struct graph_tx tx;
		drain_begin(w->graph, &source, 1, &drain);
		graph_tx_begin(&tx, w->graph);
		r = backup_enter(b, &tx, errp);
		bool has_entered = r >= 0;
		if (r >= 0)
			r = graph_tx_prepare(&tx, errp);
		if (r >= 0) {
			graph_tx_commit(&tx);
			backup_start(b);
		} else {
			if (has_entered)
				backup_leave(b, false);
			graph_tx_abort(&tx);
		}
		drain_end(&drain);
		if (r < 0)
			backup_close(b);
	}
	graph_change_end(w->graph);
	return r;
}

/* True when it has come to its end without an error. */
static bool co_fn await_backup(struct world *w, struct job_table *jobs)
{
	struct job *j;
	bool gives_up = choose(&w->random, 6) == 0;
	while ((j = job_find(jobs, "job", false)) && j->status != JOB_STATUS_CONCLUDED) {
		if (gives_up && choose(&w->random, 20) == 0)
			job_verb_cancel(j, true, NULL);
		co_sleep_ns(choose(&w->random, 2000000));
	}
	bool is_good = j && j->result == 0;
	if (j)
		job_verb_dismiss(j, NULL);
	return is_good;
}

void co_fn copier_backup(struct world *w, struct job_table *jobs)
{
	struct node *target = open_target(w, "c");
	if (!target)
		return;
	char name[32];
	snprintf(name, sizeof(name), "%s", target->file->child->filename);
	const struct blockdev_backup args = {
		.job_id = (char *)"job",
		.device = node_skip_filters(w->edge->child)->name,
		.target = target->name,
		.sync = MIRROR_SYNC_MODE_FULL,
		.auto_finalize = true,
		.auto_dismiss = false,
	};
	struct error *error = NULL;
	uint64_t from = oracle_read_begin(w->oracle);
	int r = begin_backup(w, jobs, &args, &error);
	uint64_t until = oracle_read_begin(w->oracle);
	manager_tell(w, "backup to", name, r);
	if (r < 0 && !plan_has_mishaps(w->plan))
		world_fault(w, xasprintf("a backup could not start: %s", error->message));
	error_free(error);
	if (r >= 0 && await_backup(w, jobs)) {
		w->backups = xrealloc(w->backups, w->backup_count + 1, sizeof(*w->backups));
		struct backup_copy *copy = &w->backups[w->backup_count++];
		*copy = (struct backup_copy){sim_store_position(w->store), from, until, ""};
		snprintf(copy->name, sizeof(copy->name), "%s", name);
		manager_tell(w, "backed up to", name, 0);
	}
	close_target(w, target);
}
