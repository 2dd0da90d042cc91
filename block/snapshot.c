/* SPDX-License-Identifier: MIT */
/*
 * One external snapshot. Control thread, in a coroutine that holds the change lock.
 */
#include "block/snapshot_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "block/node_internal.h"
#include "block/open.h"
#include "block/open_internal.h"

static int check_base(struct node *base, struct error **errp)
{
	if (node_chain_length(base) >= GRAPH_CHAIN_MAX)
		return error_set(errp, -E2BIG, "The backing chain of node '%s' has %u layers already",
				 base->name, GRAPH_CHAIN_MAX);
	int r = blocker_check(base, BLOCK_OP_EXTERNAL_SNAPSHOT, errp);
	/* Its jobs' clients hear of what was to come, as from the reference program. */
	if (r < 0)
		drain_idle(base->graph, base);
	return r;
}

static struct node *find_base(struct graph *g, const struct blockdev_snapshot_sync *args,
			      struct error **errp)
{
	const char *node = args->node_name ? args->node_name : "";
	const char *device = args->device ? args->device : "";
	struct node *n = node_find(g, args->node_name ? node : device);

	if (!n)
		error_set(errp, -ENODEV, "Cannot find device='%s' nor node-name='%s'", device, node);
	return n;
}

static int check_overlay_name(struct graph *g, const struct blockdev_snapshot_sync *args,
			      struct error **errp)
{
	if (!args->snapshot_node_name)
		return args->node_name ? error_set(errp, -EINVAL, "New overlay node-name missing") : 0;
	if (node_find(g, args->snapshot_node_name))
		return error_set(errp, -EEXIST, "New overlay node-name already in use");
	return node_check_name(g, args->snapshot_node_name, errp);
}

/* An overlay without the backing file that it will get does not go by its name yet. */
static const char *name_of_base(const struct snapshot *s)
{
	return s->base_is_new ? s->base->file->child->filename : s->base->filename;
}

static int co_fn create_image(struct snapshot *s, const struct blockdev_snapshot_sync *args,
			      const char *format, struct error **errp)
{
	if (string_equal(args->snapshot_file, s->base->filename))
		return error_set(errp, -EINVAL, "Error: Trying to create an image with the same "
				 "filename as the backing file");
	s->recorded = xstrdup(name_of_base(s));
	char *backing _cleanup_free_ = image_recorded_name(s->recorded, args->snapshot_file);
	struct image_spec spec = {
		.filename = args->snapshot_file,
		.format = format,
		.size = s->base->size,
		.backing_name = backing,
		.backing_format = node_skip_filters(s->base)->driver->name,
	};
	s->is_made = true;
	s->base_bytes = s->base->size;
	return image_create(s->base->graph, &spec, &s->made, errp);
}

static void inherit_modes(const struct node *base, struct blockdev_options *ret)
{
	free(ret->cache);
	ret->cache = NEW(struct blockdev_cache_options);
	ret->cache->has_direct = ret->cache->has_no_flush = true;
	ret->cache->direct = base->cache_direct;
	ret->cache->no_flush = base->cache_no_flush;
	/* What nobody may write to stays so on top. */
	ret->has_read_only = ret->has_auto_read_only = true;
	ret->read_only = base->read_only;
	ret->auto_read_only = base->auto_read_only;
	ret->has_discard = true;
	ret->discard = base->discard_unmap ? BLOCKDEV_DISCARD_OPTIONS_UNMAP
					   : BLOCKDEV_DISCARD_OPTIONS_IGNORE;
}

/* Open the overlay without the backing file that its header may name. */
static int co_fn open_overlay(struct node *base, const struct blockdev_snapshot_sync *args,
			      const char *format, struct node **ret, struct error **errp)
{
	struct blockdev_options *options;
	bool probed;
	int r = options_from_filename(base->graph, args->snapshot_file, format, &options, &probed,
				      errp);
	if (r < 0)
		return r;
	free(options->node_name); /* a json: name may hold one */
	options->node_name = xstrdup(args->snapshot_node_name);
	inherit_modes(base, options);
	r = node_open_layer(base->graph, options, NULL, 0, ret, errp);
	blockdev_options_free(options);
	return r;
}

/* A filter of a job, but for one that shows users no more than what is below it. */
static bool is_used_filter(const struct node *n)
{
	return n->driver->is_filter && !list_is_empty(&n->blockers) &&
	       !node_is_blocked_as(n, BLOCKER_AFTER_OVERLAY);
}

static int check_overlay(const struct node *overlay, struct error **errp)
{
	if (overlay->backing)
		return error_set(errp, -EINVAL, "The overlay already has a backing image");
	if (overlay->driver->is_filter)
		return error_set(errp, -EINVAL, "Filters cannot be used as overlays");
	if (!overlay->driver->supports_backing)
		return error_set(errp, -EINVAL, "The overlay does not support backing images");
	return 0;
}

int snapshot_plan(struct snapshot *s, struct graph *g, const struct blockdev_snapshot_sync *args,
		  struct error **errp)
{
	struct node *base = find_base(g, args, errp);
	if (!base)
		return -ENODEV;
	int r = check_base(base, errp);
	if (r >= 0)
		r = check_overlay_name(g, args, errp);
	if (r < 0)
		return r;
	s->base = node_ref(base);
	s->turn = g->turns;
	return 0;
}

int co_fn snapshot_open(struct snapshot *s, const struct blockdev_snapshot_sync *args,
			struct error **errp)
{
	const char *format = args->format ? args->format : "qcow2";
	int r = 0;
	if (args->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS)
		r = create_image(s, args, format, errp);
	if (r < 0)
		return r;
	struct node *overlay;
	s->base_read_only = s->base->read_only;
	r = open_overlay(s->base, args, format, &overlay, errp);
	if (r < 0)
		return r;
	r = check_overlay(overlay, errp);
	if (r < 0)
		node_unref(overlay);
	else
		s->overlay = overlay;
	return r;
}

/* Who only writes does not notice that something shines through from below. */
static int check_unread(const struct node *overlay, struct error **errp)
{
	if (overlay->permissions & PERM_CONSISTENT_READ || is_used_filter(overlay))
		return error_set(errp, -EBUSY, "The overlay is already in use");
	return 0;
}

/* A commit does not either, but users see through the images above what it writes to. */
static int check_unseen(const struct node *overlay, struct error **errp)
{
	if (node_has_overlay(overlay) && !list_is_empty(&overlay->blockers))
		return error_set(errp, -EBUSY, "The overlay is already in use");
	return 0;
}

int snapshot_adopt(struct snapshot *s, struct graph *g, const struct blockdev_snapshot *args,
		   struct error **errp)
{
	struct node *base = node_find_error(g, args->node, errp);
	if (!base)
		return -ENODEV;
	int r = check_base(base, errp);
	if (r < 0)
		return r;
	struct node *overlay = node_find_error(g, args->overlay, errp);
	if (!overlay)
		return -ENODEV;
	r = check_unread(overlay, errp);
	if (r >= 0)
		r = check_overlay(overlay, errp);
	if (r >= 0)
		r = check_unseen(overlay, errp);
	if (r < 0)
		return r;
	s->base = node_ref(base);
	s->overlay = node_ref(overlay);
	s->turn = g->turns;
	return 0;
}

/* A job may have taken it out of its chain. */
static int check_still_there(const struct snapshot *s, struct error **errp)
{
	const struct node *n = s->base;
	if (s->base_is_new || n->monitor_owned || !list_is_empty(&n->parents))
		return 0;
	return error_set(errp, -EBUSY, "Node '%s' has left the graph meanwhile", n->name);
}

int snapshot_check_again(struct snapshot *s, bool is_adopted, struct error **errp)
{
	if (s->turn == s->base->graph->turns)
		return 0;
	int r = check_still_there(s, errp);
	if (r >= 0)
		r = check_base(s->base, errp);
	if (r >= 0)
		r = check_overlay(s->overlay, errp);
	if (r >= 0 && is_adopted)
		r = check_unread(s->overlay, errp);
	if (r < 0)
		return r;
	if (!is_adopted && s->base_read_only != s->base->read_only)
		return error_set(errp, -EBUSY, "Node '%s' has been reopened meanwhile",
				 s->base->name);
	if (s->recorded && strcmp(s->recorded, name_of_base(s)) != 0)
		return error_set(errp, -EBUSY, "Node '%s' is called '%s' now, and not '%s' any more",
				 s->base->name, name_of_base(s), s->recorded);
	return 0;
}

int snapshot_link(struct snapshot *s, struct graph_tx *tx, struct error **errp)
{
	/* Making it took time. The users would lose what does not fit in. */
	if (s->is_made && s->base->size != s->base_bytes)
		return error_set(errp, -EBUSY, "The size of node '%s' has changed meanwhile",
				 s->base->name);
	int r = graph_tx_attach_node(tx, s->overlay, "backing", s->base, EDGE_COW, NULL, errp);
	return r < 0 ? r : graph_tx_replace_node(tx, s->base, s->overlay, errp);
}

int co_fn snapshot_rename_base(struct snapshot *s, const struct blockdev_snapshot_sync *args,
			       struct error **errp)
{
	char *backing _cleanup_free_ = image_recorded_name(s->base->filename, args->snapshot_file);
	return node_change_backing(s->overlay, backing, node_skip_filters(s->base)->driver->name,
				   errp);
}

void snapshot_keep(struct snapshot *s)
{
	image_keep(s->overlay->graph, TAKE(s->made));
	if (s->overlay->monitor_owned || !list_is_empty(&s->overlay->parents))
		return;
	s->overlay->monitor_owned = true;
	node_ref(s->overlay);
}

void co_fn snapshot_finish(struct snapshot *s)
{
	node_unref(s->overlay);
	if (s->made)
		image_uncreate(s->base->graph, s->made);
	node_unref(s->base);
	free(s->recorded);
	*s = (struct snapshot){0};
}
