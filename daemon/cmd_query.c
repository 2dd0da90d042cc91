/* SPDX-License-Identifier: MIT */
/*
 * Commands that tell of nodes and change nothing. Control thread.
 */
#include "block/graph.h"
#include "block/node.h"
#include "daemon/daemon.h"
#include "daemon/query_graph.h"
#include "daemon/query_image.h"
#include "daemon/query_stats.h"
#include "protocol/export.h"
#include "schema/commands.h"
#include "schema/schema.h"

int co_fn qmp_query_named_block_nodes(const struct query_named_block_nodes_args *args,
				      struct block_device_info_list *ret, struct error **errp)
{
	struct graph *g = the_daemon.graph;

	/* Newest first, as clients know it. The change lock keeps the list as it is. */
	graph_change_begin(g);
	for (struct list *l = g->nodes.prev; l != &g->nodes; l = l->prev) {
		struct node *n = container_of(l, struct node, link);
		if (node_is_listed(n))
			block_device_info_list_append(ret, query_device_info(n, args->flat));
	}
	graph_change_end(g);
	return 0;
}

int co_fn qmp_query_block(const struct query_block_args *args, struct block_info_list *ret,
			  struct error **errp)
{
	/* Devices with names of their own belong to emulators. */
	return 0;
}

/* There are no devices; what stands in their place is what is exported. */
static void query_export_stats(struct block_stats_list *ret)
{
	struct block_export_info_list exports = {0};

	export_query(the_daemon.exports, &exports);
	for (size_t i = 0; i < exports.count; i++) {
		struct node *n = node_find(the_daemon.graph, exports.items[i]->node_name);
		if (!n)
			continue; /* it is being closed with its export */
		struct block_stats *s = query_node_stats(n);
		s->device = xstrdup(exports.items[i]->id);
		block_stats_list_append(ret, s);
	}
	schema_finish(&block_export_info_list_type, &exports);
}

int co_fn qmp_query_blockstats(const struct query_blockstats_args *args,
			       struct block_stats_list *ret, struct error **errp)
{
	struct node *n;

	if (!args->query_nodes) {
		query_export_stats(ret);
		return 0;
	}
	list_for_each(n, &the_daemon.graph->nodes, link)
		if (node_is_listed(n))
			block_stats_list_append(ret, query_node_stats(n));
	return 0;
}

int co_fn qmp_x_debug_query_block_graph(struct x_dbg_block_graph **ret, struct error **errp)
{
	*ret = query_graph(the_daemon.graph, the_daemon.jobs);
	return 0;
}
