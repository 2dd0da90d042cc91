/* SPDX-License-Identifier: MIT */
/*
 * The table of all jobs. Control thread.
 */
#include <assert.h>
#include <string.h>

#include "blockjobs/job_internal.h"

void job_table_init(struct job_table *t, struct graph *g, const struct job_observer *observer)
{
	*t = (struct job_table){.graph = g, .observer = observer};
	list_init(&t->jobs);
	co_queue_init(&t->ended);
}

void job_table_finish(struct job_table *t)
{
	assert(list_is_empty(&t->jobs));
	assert(co_queue_is_empty(&t->ended));
}

struct job *job_find(struct job_table *t, const char *id, bool block_only)
{
	struct job *j;
	list_for_each (j, &t->jobs, link) {
		if (strcmp(j->id, id) == 0)
			return block_only && !j->driver->is_block ? NULL : j;
	}
	return NULL;
}

static struct job *oldest(struct job_table *t)
{
	return list_last(&t->jobs, struct job, link);
}

/* The one that has come after @j, or NULL. */
static struct job *newer(struct job *j)
{
	struct list *l = j->link.prev;
	return l == &j->table->jobs ? NULL : container_of(l, struct job, link);
}

void job_table_stand_still(struct job_table *t)
{
	for (struct job *j = oldest(t); j; j = newer(j)) {
		if (job_is_at_rest(j))
			job_stand_still(j);
	}
}

void job_table_go_on(struct job_table *t)
{
	for (struct job *j = oldest(t); j; j = newer(j)) {
		if (j->pauses == 0)
			job_go_on(j);
	}
}

void co_fn job_cancel_all_and_wait(struct job_table *t)
{
	t->closing = true;
	job_table_stand_still(t);
	struct job *j, *following;
	list_for_each_safe (j, following, &t->jobs, link) {
		if (j->status == JOB_STATUS_CONCLUDED)
			job_verb_dismiss(j, NULL);
		else
			job_force_end(j);
	}
	while (!list_is_empty(&t->jobs) && !t->is_abandoned)
		co_queue_wait(&t->ended);
}

bool job_table_is_awaited(const struct job_table *t)
{
	return t->closing && !t->is_abandoned && !co_queue_is_empty(&t->ended);
}

bool job_table_abandon(struct job_table *t)
{
	if (!job_table_is_awaited(t))
		return false;
	t->is_abandoned = true;
	co_queue_wake_all(&t->ended);
	return true;
}
