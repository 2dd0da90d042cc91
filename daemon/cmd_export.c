/* SPDX-License-Identifier: MIT */
/*
 * Commands of exports, whatever their protocol. Control thread.
 */
#include "daemon/daemon.h"
#include "protocol/export.h"
#include "schema/commands.h"

int qmp_block_export_add(const struct block_export_options *args, struct error **errp)
{
	return export_add(the_daemon.exports, args, errp);
}

int qmp_block_export_del(const struct block_export_del_args *args, struct error **errp)
{
	struct export *e = export_find(the_daemon.exports, args->id, errp);
	return e ? export_del(the_daemon.exports, e, args->mode, errp) : -ENOENT;
}

int qmp_query_block_exports(struct block_export_info_list *ret, struct error **errp)
{
	export_query(the_daemon.exports, ret);
	return 0;
}
