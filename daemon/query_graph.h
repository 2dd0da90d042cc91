/* SPDX-License-Identifier: MIT */
/*
 * The graph as x-debug-query-block-graph tells it. Control thread; does not wait.
 */
#ifndef DAEMON_QUERY_GRAPH_H
#define DAEMON_QUERY_GRAPH_H

#include "schema/types.h"

struct graph;
struct job_table;

/* All nodes, jobs and other consumers, and the edges; free with x_dbg_block_graph_free(). */
struct x_dbg_block_graph *query_graph(const struct graph *g, const struct job_table *jobs);

#endif
