/* SPDX-License-Identifier: MIT */
/*
 * What json: names have to ask of the drivers of a graph. Control thread.
 */
#ifndef BLOCK_JSON_NAMES_H
#define BLOCK_JSON_NAMES_H

#include "schema/json_name.h"

struct graph;

struct graph_json_names {
	struct json_name_drivers super;
	const struct graph *graph;
};

/* For as long as @g lives. */
struct graph_json_names graph_json_names(const struct graph *g);

#endif
