/* SPDX-License-Identifier: MIT */
/*
 * What query-blockstats tells. Control thread; does not wait.
 */
#ifndef DAEMON_QUERY_STATS_H
#define DAEMON_QUERY_STATS_H

#include "schema/types.h"

struct node;

/* The counters of @n, and of the nodes that hold its bytes; free with block_stats_free(). */
struct block_stats *query_node_stats(struct node *n);

#endif
