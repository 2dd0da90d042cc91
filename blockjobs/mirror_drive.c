/* SPDX-License-Identifier: MIT */
/*
 * The image of drive-mirror: made, or opened as it is. Control thread, holding the
 * change lock.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/change.h"
#include "block/driver.h"
#include "block/open.h"
#include "blockjobs/drive_image.h"
#include "blockjobs/mirror_internal.h"

/* The image of @source's chain that @image names as its backing file, or NULL. */
static struct node *find_backing(struct node *source, const struct node *image)
{
	char *name _cleanup_free_ = NULL;
	if (!image->backing_name || node_backing_filename(image, &name, NULL) < 0)
		return NULL;
	struct node *n = node_skip_filters(source);
	while (n && !string_equal(n->filename, name))
		n = node_skip_filters(node_backing(n));
	return n;
}

/*
 * A new image gets its backing file from the graph. So does one that names an image
 * of the source's chain; other backing files are opened.
 */
static int co_fn open_image(struct node *source, const struct drive_mirror_args *args,
			    struct mirror_image *image, struct error **errp)
{
	struct graph *g = source->graph;
	const char *format = args->format || !image->is_new ? args->format : drive_image_format(source);
	struct blockdev_options *options;
	bool probed;
	int r = options_from_filename(g, args->target, format, &options, &probed, errp);
	if (r < 0)
		return r;
	drive_image_set_modes(source, args->unmap, options);
	options->node_name = xstrdup(args->node_name);
	r = node_open_with_flags(g, options, NODE_OPEN_ALONE, &image->node, errp);
	struct node *found =
		r >= 0 && !image->is_new ? find_backing(source, image->node) : NULL;
	if (found)
		image->backing = node_ref(found);
	if (r >= 0 && !image->is_new && !image->backing) {
		node_unref(TAKE(image->node));
		r = node_open(g, options, &image->node, errp);
	}
	blockdev_options_free(options);
	if (r >= 0)
		image->node->probed = probed;
	return r;
}

static int check_replaces(struct node *source, const struct drive_mirror_args *args,
			  struct error **errp)
{
	if (!args->replaces)
		return 0;
	if (!args->node_name)
		return error_set(errp, -EINVAL, "a node-name must be provided when replacing a "
				 "named node of the graph");
	struct node *n;
	return mirror_find_replaced(source, args->replaces, &n, errp);
}

/*
 * The lock was let go of. A filter between may have come or gone, but a new image that names
 * another backing file than it gets would show other data later. Whatever else may have
 * changed, mirror_select() finds.
 */
static int co_fn find_backing_again(struct node *source, const struct node *was,
				    struct node **backing, struct error **errp)
{
	struct node *now = node_backing(source);
	if (node_skip_filters(now) != was)
		return error_set(errp, -EBUSY, "The backing file of node '%s' has been changed "
				 "meanwhile", source->name);
	if (now)
		node_ref(now);
	node_unref(*backing);
	*backing = now;
	return 0;
}

/* Make the image and open it. While a server does its part, others may change the graph. */
static int co_fn make_image(struct node *source, const struct drive_mirror_args *args,
			    struct mirror_image *ret, struct error **errp)
{
	struct graph_apart apart;
	int r = 0;
	graph_apart_begin(source->graph, &apart);
	if (ret->is_new)
		r = drive_image_create(source, args->target, args->format, ret->backing, NULL, errp);
	if (r >= 0)
		r = open_image(source, args, ret, errp);
	graph_apart_end(source->graph, &apart);
	return r;
}

/* What *ret has is the caller's, also when this fails. */
static int co_fn prepare_image(struct graph *g, const struct drive_mirror_args *args,
			       struct mirror_image *ret, struct error **errp)
{
	struct node *source;
	int r = mirror_find_source(g, args->device, &source, errp);
	if (r >= 0)
		r = check_replaces(source, args, errp);
	if (r < 0)
		return r;
	/* Making an image lets go of the lock. */
	node_ref(source);
	struct node *below = node_skip_filters(node_backing(source));
	if (below)
		node_ref(below);
	ret->allocates_zeroes = !args->unmap;
	ret->is_new = args->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS;
	struct node *backing = ret->is_new ? drive_image_backing(source, args->sync) : NULL;
	if (backing)
		ret->backing = node_ref(backing);
	r = make_image(source, args, ret, errp);
	if (r >= 0 && ret->is_new && args->sync == MIRROR_SYNC_MODE_TOP)
		r = find_backing_again(source, below, &ret->backing, errp);
	node_unref(below);
	node_unref(source);
	return r;
}

static int co_fn start_with(struct job_table *t, const struct drive_mirror_args *args,
			    const struct mirror_image *image, struct error **errp)
{
	/* The two commands mean the same by what they have both. */
	const struct blockdev_mirror_args mirror = {
		.job_id = args->job_id,
		.device = args->device,
		.target = image->node->name,
		.replaces = args->replaces,
		.sync = args->sync,
		.speed = args->speed,
		.granularity = args->granularity,
		.buf_size = args->buf_size,
		.on_source_error = args->on_source_error,
		.on_target_error = args->on_target_error,
		.copy_mode = args->copy_mode,
		.auto_finalize = args->auto_finalize,
		.auto_dismiss = args->auto_dismiss,
	};
	return mirror_start_locked(t, &mirror, image, errp);
}

struct start {
	struct job_table *table;
	const struct drive_mirror_args *args;
};

static int co_fn start_locked(void *arg, struct error **errp)
{
	const struct start *s = arg;
	struct mirror_image image = {0};
	int r = prepare_image(s->table->graph, s->args, &image, errp);
	if (r >= 0)
		r = start_with(s->table, s->args, &image, errp);
	/* The job holds it, and with success its users. */
	node_unref_apart(image.node);
	node_unref_apart(image.backing);
	return r;
}

int co_fn mirror_start_drive(struct job_table *t, const struct drive_mirror_args *args,
			     struct error **errp)
{
	return graph_change_around(t->graph, &(struct sound_target){.name = args->device}, 1,
				   start_locked, &(struct start){t, args}, errp);
}
