/* SPDX-License-Identifier: MIT */
/*
 * Images that are made for a job. Control thread.
 */
#include "blockjobs/drive_image.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/open.h"

/* The format of what @n shows: a protocol's node shows raw bytes. */
static const char *shown_format(struct node *n)
{
	const struct driver *driver = node_skip_filters(n)->driver;
	return driver->is_format ? driver->name : "raw";
}

const char *drive_image_format(struct node *n)
{
	const struct driver *driver = node_skip_filters(n)->driver;
	/* Making one like what is no image is refused, in the words for that driver. */
	return driver->create || driver->is_preexisting ? shown_format(n) : driver->name;
}

struct node *drive_image_backing(struct node *source, enum mirror_sync_mode sync)
{
	switch (sync) {
	case MIRROR_SYNC_MODE_TOP:
		return node_backing(source);
	case MIRROR_SYNC_MODE_NONE:
		return source;
	default:
		return NULL;
	}
}

int co_fn drive_image_create(struct node *source, const char *filename, const char *format,
			     struct node *backing, char **ret_made, struct error **errp)
{
	char *name _cleanup_free_ =
		backing ? image_recorded_name(backing->filename, filename) : NULL;
	const struct image_spec spec = {
		.filename = filename,
		.format = format ? format : drive_image_format(source),
		.size = source->size,
		.backing_name = name,
		.backing_format = backing ? shown_format(backing) : NULL,
	};
	return image_create(source->graph, &spec, ret_made, errp);
}

void drive_image_set_modes(const struct node *source, bool unmap, struct blockdev_options *ret)
{
	free(ret->cache);
	ret->cache = NEW(struct blockdev_cache_options);
	ret->cache->has_direct = ret->cache->has_no_flush = true;
	ret->cache->direct = source->cache_direct;
	ret->cache->no_flush = source->cache_no_flush;
	ret->has_discard = true;
	ret->discard = unmap ? BLOCKDEV_DISCARD_OPTIONS_UNMAP : BLOCKDEV_DISCARD_OPTIONS_IGNORE;
}
