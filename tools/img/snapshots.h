/* SPDX-License-Identifier: MIT */
/*
 * Finding internal snapshots by what users call them.
 */
#ifndef TOOLS_IMG_SNAPSHOTS_H
#define TOOLS_IMG_SNAPSHOTS_H

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct node;

/* All snapshots in @n; none where the driver has no such thing. */
int co_fn snapshots_read(struct node *n, struct snapshot_info_list *ret, struct error **errp);
/* Let @n, which is open for reading only, show the snapshot. -ENOTSUP where the driver cannot. */
int co_fn snapshots_show(struct node *n, const char *id, struct error **errp);
/* The ID of the snapshot with the ID or else the name @word; free with free(). -ENOENT. */
int co_fn snapshots_find(struct node *n, const char *word, char **ret_id, struct error **errp);
/* The same for its name alone, so that no snapshot is meant by accident. */
int co_fn snapshots_find_named(struct node *n, const char *name, char **ret_id);
/*
 * The same for a parameter "snapshot.id=...,snapshot.name=...", of which one may
 * be absent, or a word. -EINVAL for others.
 */
int co_fn snapshots_find_parameter(struct node *n, const char *text, char **ret_id,
				   struct error **errp);

#endif
