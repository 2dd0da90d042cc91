/* SPDX-License-Identifier: MIT */
/*
 * The graph as x-debug-query-block-graph tells it. Control thread.
 */
#include "daemon/query_graph.h"

#include <stdlib.h>
#include <uthash.h>

#include "block/consumer.h"
#include "block/graph.h"
#include "block/node.h"
#include "blockjobs/job.h"

/* The number of a node or consumer in the answer. */
struct vertex {
	const void *object;
	uint64_t id;
	UT_hash_handle by_object;
};

struct answer {
	struct x_dbg_block_graph *graph;
	struct vertex *vertices;
};

static void add_vertex(struct answer *a, const void *object, enum x_dbg_block_graph_node_type type,
		       char *name)
{
	struct vertex *v = NEW(struct vertex);
	struct x_dbg_block_graph_node *node = NEW(struct x_dbg_block_graph_node);

	v->object = object;
	v->id = HASH_CNT(by_object, a->vertices) + 1;
	HASH_ADD(by_object, a->vertices, object, sizeof(v->object), v);
	node->id = v->id;
	node->type = type;
	node->name = name;
	x_dbg_block_graph_node_list_append(&a->graph->nodes, node);
}

/* The job on whose behalf @c uses nodes; NULL for another consumer. */
static const struct job *job_of(const struct job_table *jobs, const struct consumer *c)
{
	struct job *j;
	list_for_each(j, &jobs->jobs, link)
		if (&j->consumer == c)
			return j;
	return NULL;
}

static void add_consumer(struct answer *a, const struct job_table *jobs, const struct consumer *c)
{
	const struct job *j = job_of(jobs, c);

	if (j)
		add_vertex(a, c, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_JOB, xstrdup(j->id));
	else
		add_vertex(a, c, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_BACKEND, c->ops->describe(c));
}

static uint64_t id_of(const struct answer *a, const void *object)
{
	struct vertex *v;
	HASH_FIND(by_object, a->vertices, &object, sizeof(object), v);
	return v->id;
}

static void list_permissions(unsigned permissions, struct block_permission_list *ret)
{
	static const struct {
		enum permission bit;
		enum block_permission name;
	} names[] = {
		{PERM_CONSISTENT_READ, BLOCK_PERMISSION_CONSISTENT_READ},
		{PERM_WRITE, BLOCK_PERMISSION_WRITE},
		{PERM_WRITE_UNCHANGED, BLOCK_PERMISSION_WRITE_UNCHANGED},
		{PERM_RESIZE, BLOCK_PERMISSION_RESIZE},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++)
		if (permissions & names[i].bit)
			block_permission_list_append(ret, names[i].name);
}

static void add_edges(struct answer *a, const void *parent, const struct list *edges)
{
	struct edge *e;
	list_for_each(e, edges, parent_link) {
		struct x_dbg_block_graph_edge *edge = NEW(struct x_dbg_block_graph_edge);
		edge->parent = id_of(a, parent);
		edge->child = id_of(a, e->child);
		edge->name = xstrdup(e->name);
		list_permissions(e->permissions, &edge->perm);
		list_permissions(e->shared, &edge->shared_perm);
		x_dbg_block_graph_edge_list_append(&a->graph->edges, edge);
	}
}

static void forget_vertices(struct answer *a)
{
	struct vertex *v, *following;
	HASH_ITER(by_object, a->vertices, v, following) {
		HASH_DELETE(by_object, a->vertices, v);
		free(v);
	}
}

struct x_dbg_block_graph *query_graph(const struct graph *g, const struct job_table *jobs)
{
	struct answer a = {.graph = NEW(struct x_dbg_block_graph)};
	struct consumer *c;
	struct node *n;

	list_for_each(c, &g->consumers, link)
		add_consumer(&a, jobs, c);
	list_for_each(n, &g->nodes, link)
		if (!n->opener)
			add_vertex(&a, n, X_DBG_BLOCK_GRAPH_NODE_TYPE_BLOCK_DRIVER, xstrdup(n->name));
	list_for_each(c, &g->consumers, link)
		add_edges(&a, c, &c->edges);
	list_for_each(n, &g->nodes, link)
		if (!n->opener)
			add_edges(&a, n, &n->children);
	forget_vertices(&a);
	return a.graph;
}
