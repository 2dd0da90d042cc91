/* SPDX-License-Identifier: MIT */
/*
 * How jobs that copy come into the graph and leave it: edges that stay, a filter below
 * the users, and a frozen piece of a chain. Control thread.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "blockjobs/copy_job.h"

void copy_job_freeze(struct copy_job *c, struct node *top, struct node *base)
{
	for (struct node *n = top; n != base; n = node_chain_next(n)) {
		c->frozen = xrealloc(c->frozen, c->frozen_count + 1, sizeof(c->frozen[0]));
		c->frozen[c->frozen_count++] = node_chain_edge(n);
		node_chain_edge(n)->frozen++;
	}
}

void copy_job_thaw(struct copy_job *c)
{
	while (c->frozen_count > 0)
		c->frozen[--c->frozen_count]->frozen--;
	free(TAKE(c->frozen));
}

/* Remove every edge of the job's consumer. */
static void detach_all(struct copy_job *c, struct graph_tx *tx)
{
	struct edge *e, *following;
	list_for_each_safe (e, following, &c->job.consumer.edges, parent_link)
		graph_tx_detach(tx, e);
}

int copy_job_attach(struct copy_job *c, struct graph_tx *tx, const char *name, struct node *n,
		    unsigned permissions, unsigned shared, struct edge **ret_edge,
		    struct error **errp)
{
	struct edge *e;
	int r = graph_tx_attach_consumer(tx, &c->job.consumer, name, n, permissions, shared, &e,
					 errp);
	if (r < 0)
		return r;
	e->stays = true;
	if (ret_edge)
		*ret_edge = e;
	return 0;
}

int co_fn copy_job_enter(struct copy_job *c, struct node *top, copy_job_step *link, void *arg,
			 struct error **errp)
{
	/* Where this may have to begin again, nobody is to hear of it before it is sure. */
	bool is_remote = node_is_remote(top);
	int r = is_remote ? 0 : job_announce(&c->job, errp);
	if (r < 0)
		return r;
	struct graph *g = c->job.table->graph;
	struct drain drain;
	r = drain_begin_patiently(g, &top, 1, &drain, errp);
	if (r < 0)
		return r;
	if (is_remote)
		r = job_announce(&c->job, errp);
	struct graph_tx tx;
	graph_tx_begin(&tx, g);
	if (r >= 0)
		r = link(c, &tx, arg, errp);
	if (r >= 0)
		r = graph_tx_prepare(&tx, errp);
	if (r < 0)
		graph_tx_abort(&tx);
	else
		graph_tx_commit(&tx);
	drain_end(&drain);
	c->is_in_graph = r >= 0;
	return r;
}

static int unlink_all(struct copy_job *c, struct graph_tx *tx, struct node *heir,
		      copy_job_step *more, void *arg, struct error **errp)
{
	struct node *below = c->filter->file->child;
	struct edge *e;
	detach_all(c, tx);
	/* The filter withholds what its users may need of the heir. */
	while ((e = list_first(&c->filter->children, struct edge, parent_link)))
		graph_tx_detach(tx, e);
	int r = graph_tx_replace_node(tx, c->filter, heir, errp);
	/* Where the heir itself shows what the filter did, it goes on to. */
	if (r >= 0)
		r = graph_tx_replace_node(tx, c->filter, below, errp);
	if (r >= 0 && more)
		r = more(c, tx, arg, errp);
	return r >= 0 ? graph_tx_prepare(tx, errp) : r;
}

int co_fn copy_job_leave(struct copy_job *c, struct node *heir, copy_job_step *more, void *arg,
			 struct error **errp)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, c->job.table->graph);
	int r = unlink_all(c, &tx, heir, more, arg, errp);
	if (r < 0) {
		graph_tx_abort(&tx);
		return r;
	}
	/* Nodes may close with their last edge: nothing may point at them from here on. */
	graph_change_is_certain(tx.graph);
	job_unblock_all(&c->job);
	copy_job_thaw(c);
	c->is_in_graph = false;
	c->source = c->target = NULL;
	c->users = c->job.consumer.joined_from = NULL;
	graph_tx_commit(&tx);
	return 0;
}

void co_fn copy_job_sound(struct copy_job *c, struct node *n, unsigned flags)
{
	const struct sound_target targets[] = {
		{.node = c->is_in_graph ? c->filter : NULL},
		{.node = n, .flags = flags},
	};
	nodes_sound(c->job.table->graph, targets, ARRAY_SIZE(targets), NULL);
}

void co_fn copy_job_begin_withdrawal(struct copy_job *c, struct node *n, unsigned flags,
				     struct drain *ret)
{
	struct graph *g = c->job.table->graph;
	int r;
	for (unsigned tries = 0;; tries++) {
		copy_job_sound(c, n, flags);
		graph_change_begin_patiently(g, tries);
		r = drain_begin_patiently(g, &c->filter, c->is_in_graph ? 1 : 0, ret, NULL);
		if (r >= 0)
			break;
		graph_change_end(g);
	}
	graph_change_is_certain(g);
}

void co_fn copy_job_withdraw(struct copy_job *c, struct node *heir)
{
	/* All that this asks for was granted before. */
	int r = copy_job_leave(c, heir, NULL, NULL, NULL);
	assert(r >= 0);
}

void co_fn copy_job_drop_filter(struct copy_job *c)
{
	assert(!c->is_in_graph);
	node_unref(TAKE(c->filter));
}

void co_fn copy_job_hold_users(struct copy_job *c, struct node *filter, struct drain *ret)
{
	struct consumer *consumer = &c->job.consumer;
	consumer_enter(consumer);
	consumer_leave(consumer);
	drain_begin(c->job.table->graph, &filter, 1, ret);
	drain_spare(ret, consumer);
}
