/* SPDX-License-Identifier: MIT */
/*
 * Counters of one node: what its consumers asked for and what came of it.
 *
 * Bumped on the node's loop by the data path; read by queries.
 */
#ifndef BLOCK_STATS_H
#define BLOCK_STATS_H

#include <stdint.h>

enum stats_kind { STATS_READ, STATS_WRITE, STATS_FLUSH, STATS_UNMAP, STATS_KINDS };

struct node_stats {
	uint64_t bytes[STATS_KINDS];
	uint64_t operations[STATS_KINDS];
	uint64_t failed[STATS_KINDS];
	uint64_t invalid[STATS_KINDS];
	uint64_t total_ns[STATS_KINDS];
	uint64_t last_access_ns;  /* loop time; 0 before the first */
	uint64_t highest_written; /* byte offset just past the last one ever written */
};

#endif
