/* SPDX-License-Identifier: MIT */
/*
 * cairn-img snapshot: list, take, apply and delete internal snapshots.
 */
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "schema/schema.h"
#include "tools/img/image.h"
#include "tools/img/info_text.h"
#include "tools/img/snapshots.h"

struct request {
	struct image_wish wish;
	bool wants_list, is_quiet;
	const char *create, *apply, *delete;
};

static int co_fn list(const struct image *image)
{
	struct snapshot_info_list snapshots = {0};

	if (snapshots_read(image->node, &snapshots, NULL) >= 0 && snapshots.count > 0)
		info_print_snapshots(&snapshots, 0);
	schema_finish(&snapshot_info_list_type, &snapshots);
	return 0;
}

static int co_fn create(struct image *image, const char *name)
{
	struct error *error = NULL;

	struct node *keeper = node_with_snapshots(image->node);

	if (!keeper || !keeper->driver->snapshot_create)
		return img_error("Could not create snapshot '%s': %d (%s)", name, -ENOTSUP,
				 strerror(ENOTSUP));
	int r = keeper->driver->snapshot_create(keeper, name, &error);

	return r < 0 ? img_error_about(error, "Could not create snapshot '%s'", name) : 0;
}

static int co_fn apply(struct image *image, const char *name)
{
	struct error *error = NULL;
	char *id _cleanup_free_ = NULL;

	struct node *keeper = node_with_snapshots(image->node);

	if (!keeper || !keeper->driver->snapshot_apply)
		return img_error("Could not apply snapshot '%s': Block driver does not support "
				 "snapshots", name);
	if (snapshots_find(image->node, name, &id, NULL) < 0)
		return img_error("Could not apply snapshot '%s': Failed to load snapshot: %s", name,
				 strerror(ENOENT));
	int r = keeper->driver->snapshot_apply(keeper, id, &error);

	return r < 0 ? img_error_about(error, "Could not apply snapshot '%s'", name) : 0;
}

static int co_fn delete(struct image *image, const char *name)
{
	struct error *error = NULL;
	char *id _cleanup_free_ = NULL;

	struct node *keeper = node_with_snapshots(image->node);

	if (!keeper || !keeper->driver->snapshot_delete ||
	    snapshots_find_named(image->node, name, &id) < 0)
		return img_error("Could not delete snapshot '%s': snapshot not found", name);
	int r = keeper->driver->snapshot_delete(keeper, id, &error);

	return r < 0 ? img_error_about(error, "Could not delete snapshot '%s'", name) : 0;
}

static int co_fn run(const struct request *rq, struct image *image)
{
	if (rq->create)
		return create(image, rq->create);
	if (rq->apply)
		return apply(image, rq->apply);
	return rq->delete ? delete(image, rq->delete) : list(image);
}

int co_fn img_snapshot(int argc, char **argv)
{
	struct request rq = {.wish = {.unmaps = true}};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_FLAG("list", 'l', &rq.wants_list),
		IMG_TEXT("create", 'c', &rq.create),
		IMG_TEXT("apply", 'a', &rq.apply),
		IMG_TEXT("delete", 'd', &rq.delete),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_FLAG("force-share", 'U', &rq.wish.shares),
		IMG_ARGUMENTS_END,
	};
	struct image image;
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (rq.wants_list + !!rq.create + !!rq.apply + !!rq.delete > 1)
		return img_misuse("Cannot mix '-l', '-a', '-c', '-d'");
	if (image_take_name(&rq.wish, words, count) != 0)
		return 1;
	rq.wish.writable = rq.create || rq.apply || rq.delete;
	rq.wish.is_untouched = !rq.wish.writable;
	if (rq.apply)
		rq.wish.permissions = PERM_RESIZE;
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = run(&rq, &image);

	image_close(&image);
	return status;
}
