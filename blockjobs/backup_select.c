/* SPDX-License-Identifier: MIT */
/*
 * From the arguments of a backup to nodes and a bitmap. Control thread.
 */
#include <inttypes.h>

#include "block/blocker.h"
#include "block/driver.h"
#include "blockjobs/backup_internal.h"

/* A limit of pieces is checked as if what is copied at once were no smaller than this. */
#define CLUSTER_NOMINAL 65536

static int check_bitmap_arguments(const struct blockdev_backup *args, struct error **errp)
{
	bool is_incremental = args->sync == MIRROR_SYNC_MODE_INCREMENTAL;
	if (is_incremental && args->has_bitmap_mode &&
	    args->bitmap_mode != BITMAP_SYNC_MODE_ON_SUCCESS && args->bitmap)
		return error_set(errp, -EINVAL,
				 "Bitmap sync mode must be '%s' when using sync mode '%s'",
				 bitmap_sync_mode_name(BITMAP_SYNC_MODE_ON_SUCCESS),
				 mirror_sync_mode_name(args->sync));
	if ((is_incremental || args->sync == MIRROR_SYNC_MODE_BITMAP) && !args->bitmap)
		return error_set(errp, -EINVAL, "must provide a valid bitmap name for '%s' sync mode",
				 mirror_sync_mode_name(args->sync));
	if (!args->bitmap && args->has_bitmap_mode)
		return error_set(errp, -EINVAL, "Cannot specify bitmap sync mode without a bitmap");
	return 0;
}

int backup_select_bitmap(const struct blockdev_backup *args, struct node *source,
			 struct bitmap **ret, enum bitmap_sync_mode *ret_mode, struct error **errp)
{
	*ret = NULL;
	if (!args->bitmap)
		return 0;
	struct bitmap *b = bitmap_find(source, args->bitmap);
	if (!b)
		return error_set(errp, -ENOENT, "Bitmap '%s' could not be found", args->bitmap);
	bool is_incremental = args->sync == MIRROR_SYNC_MODE_INCREMENTAL;
	if (!args->has_bitmap_mode && !is_incremental)
		return error_set(errp, -EINVAL,
				 "Bitmap sync mode must be given when providing a bitmap");
	*ret_mode = is_incremental ? BITMAP_SYNC_MODE_ON_SUCCESS : args->bitmap_mode;
	/* A bitmap that stays as it is may be one that cannot be written. */
	bool is_kept = *ret_mode == BITMAP_SYNC_MODE_NEVER;
	int r = bitmap_check(b, is_kept ? BITMAP_UNREADABLE : BITMAP_UNWRITABLE, errp);
	if (r < 0)
		return r;
	if (args->sync == MIRROR_SYNC_MODE_NONE)
		return error_set(errp, -EINVAL,
				 "sync mode '%s' does not produce meaningful bitmap outputs",
				 mirror_sync_mode_name(args->sync));
	if (is_kept && args->sync != MIRROR_SYNC_MODE_BITMAP)
		return error_set(errp, -EINVAL,
				 "Bitmap sync mode '%s' has no meaningful effect when combined with "
				 "sync mode '%s'",
				 bitmap_sync_mode_name(*ret_mode), mirror_sync_mode_name(args->sync));
	*ret = b;
	return 0;
}

static int check_perf(const struct backup_perf *perf, struct error **errp)
{
	if (!perf)
		return 0;
	if (perf->has_max_workers && (perf->max_workers < 1 || perf->max_workers > INT32_MAX))
		return error_set(errp, -EINVAL, "max-workers must be between 1 and %d", INT32_MAX);
	if (perf->max_chunk < 0)
		return error_set(errp, -EINVAL,
				 "max-chunk must be zero (which means no limit) or positive");
	return 0;
}

int backup_check_chunk(const struct blockdev_backup *args, struct error **errp)
{
	const struct backup_perf *perf = args->x_perf;
	if (perf && perf->max_chunk > 0 && perf->max_chunk < CLUSTER_NOMINAL)
		return error_set(errp, -EINVAL,
				 "Required max-chunk (%" PRIi64 ") is less than backup cluster size (%d)",
				 perf->max_chunk, CLUSTER_NOMINAL);
	return 0;
}

int backup_check_nodes(const struct backup_nodes *n, const struct blockdev_backup *args,
		       struct error **errp)
{
	if (n->source == n->target)
		return error_set(errp, -EINVAL, "Source and target cannot be the same");
	if (args->compress && !n->target->driver->can_compress)
		return error_set(errp, -ENOTSUP, "Compression is not supported for this drive %s",
				 n->target->name);
	int r = blocker_check(n->source, BLOCK_OP_BACKUP_SOURCE, errp);
	if (r >= 0)
		r = blocker_check(n->target, BLOCK_OP_BACKUP_TARGET, errp);
	if (r >= 0)
		r = check_perf(args->x_perf, errp);
	if (r < 0)
		return r;
	if (n->source->size != n->target->size)
		return error_set(errp, -EINVAL, "Source and target image have different sizes");
	return 0;
}

int backup_select_nodes(struct graph *g, const struct blockdev_backup *args,
			struct backup_nodes *ret, struct error **errp)
{
	ret->source = node_find_error(g, args->device, errp);
	if (!ret->source)
		return -ENODEV;
	if (!ret->target)
		ret->target = node_find_error(g, args->target, errp);
	if (!ret->target)
		return -ENODEV;
	int r = check_bitmap_arguments(args, errp);
	/* Clients of a job on the source hear of what was to come. */
	if (r < 0)
		drain_idle(g, ret->source);
	return r;
}
