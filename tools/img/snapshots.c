/* SPDX-License-Identifier: MIT */
/*
 * Internal snapshots by ID and name.
 */
#include "tools/img/snapshots.h"

#include "base/cleanup.h"
#include "base/util.h"
#include "block/driver.h"
#include "block/text.h"

int co_fn snapshots_read(struct node *n, struct snapshot_info_list *ret, struct error **errp)
{
	struct node *keeper = node_with_snapshots(n);

	return keeper ? keeper->driver->snapshot_list(keeper, ret, errp) : 0;
}

static int co_fn find(struct node *n, const char *id, const char *name, char **ret_id)
{
	struct node *keeper = node_with_snapshots(n);
	struct snapshot_info *s = NULL;

	if (!keeper || node_find_snapshot(keeper, id, name, &s, NULL) < 0 || !s)
		return -ENOENT;
	*ret_id = TAKE(s->id);
	snapshot_info_free(s);
	return 0;
}

static int not_found(struct error **errp)
{
	return error_set(errp, -ENOENT, "Can't find snapshot");
}

int co_fn snapshots_show(struct node *n, const char *id, struct error **errp)
{
	struct node *keeper = node_with_snapshots(n);

	if (!keeper || !keeper->driver->snapshot_show)
		return error_set(errp, -ENOTSUP, "Block format '%s' does not support showing an "
				 "internal snapshot", n->driver->name);
	return keeper->driver->snapshot_show(keeper, id, errp);
}

int co_fn snapshots_find(struct node *n, const char *word, char **ret_id, struct error **errp)
{
	*ret_id = NULL;
	if (find(n, word, NULL, ret_id) < 0 && find(n, NULL, word, ret_id) < 0)
		return not_found(errp);
	return 0;
}

int co_fn snapshots_find_named(struct node *n, const char *name, char **ret_id)
{
	*ret_id = NULL;
	return find(n, NULL, name, ret_id);
}

int co_fn snapshots_find_parameter(struct node *n, const char *text, char **ret_id,
				   struct error **errp)
{
	if (!string_starts_with(text, "snapshot."))
		return snapshots_find(n, text, ret_id, errp);
	char *id _cleanup_free_ = text_value(text, "snapshot.id");
	char *name _cleanup_free_ = text_value(text, "snapshot.name");
	char *without_id _cleanup_free_ = text_without_key(text, "snapshot.id");
	char *rest _cleanup_free_ = text_without_key(without_id, "snapshot.name");

	if (*rest)
		return error_set(errp, -EINVAL, "Failed in parsing snapshot param '%s'", text);
	*ret_id = NULL;
	return find(n, id, name, ret_id) < 0 ? not_found(errp) : 0;
}
