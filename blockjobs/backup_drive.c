/* SPDX-License-Identifier: MIT */
/*
 * The image of drive-backup: made, or opened as it is. Control thread, holding the
 * change lock.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/driver.h"
#include "block/open.h"
#include "blockjobs/backup_internal.h"
#include "blockjobs/drive_image.h"

/* The two commands mean the same by what they have both. */
static struct blockdev_backup *common_arguments(const struct drive_backup *args)
{
	struct blockdev_backup *b = NEW(struct blockdev_backup);
	*b = (struct blockdev_backup){
		.job_id = args->job_id,
		.device = args->device,
		.sync = args->sync,
		.speed = args->speed,
		.bitmap = args->bitmap,
		.has_bitmap_mode = args->has_bitmap_mode,
		.bitmap_mode = args->bitmap_mode,
		.compress = args->compress,
		.on_source_error = args->on_source_error,
		.on_target_error = args->on_target_error,
		.on_cbw_error = args->on_cbw_error,
		.auto_finalize = args->auto_finalize,
		.auto_dismiss = args->auto_dismiss,
		.filter_node_name = args->filter_node_name,
		.discard_source = args->discard_source,
		.x_perf = args->x_perf,
	};
	return b;
}

/* What is shown below the copy comes from the graph, so that nothing is opened twice. */
static int co_fn open_image(struct node *source, const struct drive_backup *args,
			    struct node **ret, struct error **errp)
{
	bool is_new = args->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS;
	bool is_alone = is_new || args->sync == MIRROR_SYNC_MODE_NONE;
	const char *format = args->format || !is_new ? args->format : drive_image_format(source);
	struct blockdev_options *options;
	bool probed;
	int r = options_from_filename(source->graph, args->target, format, &options, &probed, errp);
	if (r < 0)
		return r;
	drive_image_set_modes(source, true, options);
	options->has_detect_zeroes = true;
	options->detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP;
	r = node_open_with_flags(source->graph, options, is_alone ? NODE_OPEN_ALONE : 0, ret, errp);
	blockdev_options_free(options);
	if (r >= 0)
		(*ret)->probed = probed;
	return r;
}

static int co_fn open_on_image(struct job_table *t, struct node *source, struct node *backing,
			       const struct drive_backup *args, struct job_tx *tx,
			       struct backup **ret, struct error **errp)
{
	struct node *target;
	int r = open_image(source, args, &target, errp);
	if (r < 0)
		return r;
	struct blockdev_backup *common = common_arguments(args);
	r = backup_open_to(t, common, target, tx, ret, errp);
	node_unref(target);
	if (r < 0) {
		free(common);
		return r;
	}
	(*ret)->own_args = common;
	if (backing && !target->backing)
		(*ret)->backing = node_ref(backing);
	return 0;
}

int co_fn backup_open_drive(struct job_table *t, const struct drive_backup *args,
			    struct job_tx *tx, struct backup **ret, struct error **errp)
{
	struct node *source = node_find_error(t->graph, args->device, errp);
	if (!source)
		return -ENODEV;
	int r = blocker_check(source, BLOCK_OP_BACKUP_SOURCE, errp);
	if (r < 0)
		return r;
	bool is_new = args->mode == NEW_IMAGE_MODE_ABSOLUTE_PATHS;
	struct node *backing = drive_image_backing(source, args->sync);
	char *made = NULL;
	/* Making an image lets go of the lock. */
	node_ref(source);
	if (backing)
		node_ref(backing);
	r = is_new ? drive_image_create(source, args->target, args->format, backing, &made,
					    errp)
		       : 0;
	if (r >= 0)
		r = open_on_image(t, source, backing, args, tx, ret, errp);
	if (r >= 0)
		(*ret)->made = made;
	else
		image_uncreate(t->graph, made);
	node_unref(backing);
	node_unref(source);
	return r;
}
