/* SPDX-License-Identifier: MIT */
/*
 * Commands about the monitor and the daemon as a whole. Control thread.
 */
#include "daemon/daemon.h"
#include "daemon/monitor.h"
#include "protocol/qmp/session.h"
#include "schema/commands.h"
#include "schema/introspect.h"

int co_fn qmp_qmp_capabilities(const struct qmp_capabilities_args *args, struct error **errp)
{
	bool oob = false;
	for (size_t i = 0; i < args->enable.count; i++)
		oob |= args->enable.items[i] == QMP_CAPABILITY_OOB;
	return qmp_session_negotiate(the_daemon.qmp->current, oob, errp);
}

int co_fn qmp_query_version(struct version_info **ret, struct error **errp)
{
	*ret = version_info_clone(daemon_version());
	return 0;
}

int co_fn qmp_query_commands(struct command_info_list *ret, struct error **errp)
{
	for (unsigned i = 0; i < SCHEMA_COMMAND_COUNT; i++) {
		struct command_info *info = NEW(struct command_info);
		info->name = xstrdup(schema_commands[i].name);
		command_info_list_append(ret, info);
	}
	return 0;
}

int co_fn qmp_query_qmp_schema(struct schema_info_list *ret, struct error **errp)
{
	schema_introspect(ret);
	return 0;
}

int co_fn qmp_quit(struct error **errp)
{
	/* The reply is the last word, as from the rival: by then every image is closed. */
	daemon_stop();
	co_queue_wait(&the_daemon.all_closed);
	return 0;
}
