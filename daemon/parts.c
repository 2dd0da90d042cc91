/* SPDX-License-Identifier: MIT */
/*
 * The engines that the daemon runs. Control thread.
 */
#include "daemon/parts.h"

#include "block/graph.h"
#include "blockjobs/job.h"
#include "daemon/daemon.h"
#include "daemon/events.h"
#include "protocol/export.h"
#include "protocol/nbd/server.h"

static struct job_table jobs;

void parts_create(void)
{
	the_daemon.graph->observer = &graph_events;
	job_table_init(&jobs, the_daemon.graph, &job_events);
	the_daemon.jobs = &jobs;
	the_daemon.exports = export_registry_create(the_daemon.graph);
	export_registry_set_observer(the_daemon.exports, &export_events, NULL);
	the_daemon.nbd = nbd_server_create(the_daemon.loop, the_daemon.graph, the_daemon.exports);
}

void co_fn parts_stop(void)
{
	job_cancel_all_and_wait(the_daemon.jobs);
	if (nbd_server_is_running(the_daemon.nbd))
		nbd_server_stop(the_daemon.nbd, NULL);
	export_del_all(the_daemon.exports);
}

void parts_free(void)
{
	nbd_server_free(the_daemon.nbd);
	export_registry_free(the_daemon.exports);
	job_table_finish(the_daemon.jobs);
}
