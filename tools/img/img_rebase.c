/* SPDX-License-Identifier: MIT */
/*
 * cairn-img rebase: give an image another backing file, without changing what it
 * shows: what the new one shows differently is copied into the image first.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "tools/img/contents.h"

struct request {
	struct image_wish wish;
	struct img_cache source_cache;
	const char *backing, *backing_format;
	bool is_unsafe, compresses, shows_progress, is_quiet;
};

struct work {
	const struct request *rq;
	struct image *image;
	struct image old, new; /* backing files; not open: zeroes */
	uint64_t cluster;
	char *old_data, *new_data; /* CONTENTS_STEP each */
};

static struct image *or_null(struct image *image)
{
	return image->node ? image : NULL;
}

/* Have the range, whole clusters but for the end, in the image itself. */
static int co_fn keep(struct work *w, uint64_t offset, uint64_t bytes)
{
	struct edge *e = w->image->edge;
	/* Also where the old backing file is too short to hold anything. */
	unsigned zero_flags = w->image->write_flags | REQUEST_UNCHANGED;
	unsigned flags = w->image->write_flags | (w->rq->compresses ? REQUEST_COMPRESSED : 0);
	int r = edge_read(e, offset, bytes, w->old_data, 0);

	if (r < 0)
		return img_error("error while reading from old backing file: %s", strerror(-r));
	r = buffer_is_zero(w->old_data, bytes) ? edge_zero(e, offset, bytes, zero_flags)
					       : edge_write(e, offset, bytes, w->old_data, flags);
	return r < 0 ? img_error("error while writing to COW image: %s", strerror(-r)) : 0;
}

/* A range that the image does not hold: cluster by cluster where the backing files differ. */
static int co_fn rebase_range(struct work *w, uint64_t offset, uint64_t bytes)
{
	const struct image *failed = NULL;
	uint64_t at, end = offset + bytes;

	while (offset < end) {
		int r = contents_differ(or_null(&w->old), or_null(&w->new), offset, end - offset,
					w->old_data, w->new_data, &at, &failed);

		if (r < 0)
			return img_error("error while reading from %s: %s", failed->name,
					 strerror(-r));
		if (at == UINT64_MAX)
			return 0;
		offset = MAX(offset, at - at % w->cluster);
		uint64_t n = MIN(w->cluster - offset % w->cluster, end - offset);

		if (keep(w, offset, n) != 0)
			return 1;
		offset += n;
	}
	return 0;
}

static int co_fn rebase_all(struct work *w)
{
	struct node *n = w->image->node, *below = node_backing(n);

	for (uint64_t at = 0; at < n->size;) {
		struct extent x;
		uint64_t bytes = MIN(n->size - at, CONTENTS_STEP - at % CONTENTS_STEP);
		/* Without a backing file, what the image does not hold is what no layer holds. */
		int r = node_status_above(n, below, at, bytes, &x, NULL);

		if (r < 0)
			return img_error("error while reading image metadata: %s", strerror(-r));
		if (!(x.flags & EXTENT_ALLOCATED) && rebase_range(w, at, x.bytes) != 0)
			return 1;
		at += x.bytes;
		img_progress(at, n->size);
	}
	int r = edge_flush(w->image->edge);

	return r < 0 ? img_error("error while flushing: %s", strerror(-r)) : 0;
}

/* Look at the old backing file through an edge of our own. */
static int co_fn attach_old(struct work *w)
{
	struct error *error = NULL;
	struct node *below = node_backing(w->image->node);

	if (!below)
		return 0;
	w->old.name = below->filename;
	return image_attach(&w->old, below, PERM_CONSISTENT_READ, PERM_ALL, &error) < 0
		       ? img_error_about(error, "Could not read the old backing file")
		       : 0;
}

static int co_fn open_new(struct work *w)
{
	struct error *error = NULL;
	char *name _cleanup_free_ = NULL;

	if (!*w->rq->backing)
		return 0;
	int r = backing_filename(w->image->node->filename, w->rq->backing, &name, &error);

	if (r < 0)
		return img_error_about(error, "Could not resolve backing filename");
	struct image_wish wish = {.name = name, .format = w->rq->backing_format,
				  .cache = w->rq->source_cache, .shares = w->rq->wish.shares};

	r = image_try_open(&w->new, &wish, &error);
	w->new.name = w->rq->backing;
	return r < 0 ? img_error_about(error, "Could not open new backing file '%s'",
				       w->rq->backing)
		     : 0;
}

static int co_fn rebase_safely(const struct request *rq, struct image *image)
{
	struct driver_info info = {0};
	struct work w = {.rq = rq, .image = image};
	const struct driver *d = image->node->driver;

	w.cluster = d->info && d->info(image->node, &info) >= 0 && info.cluster_size > 0
			    ? info.cluster_size
			    : 64 * KiB;
	w.old_data = buffer_get(the_img.loop, CONTENTS_STEP);
	w.new_data = buffer_get(the_img.loop, CONTENTS_STEP);
	int status = w.old_data && w.new_data ? 0 : img_error("Out of memory");

	if (status == 0)
		status = open_new(&w);
	if (status == 0)
		status = attach_old(&w);
	if (status == 0) {
		img_progress_begin(rq->shows_progress && !rq->is_quiet);
		status = rebase_all(&w);
		img_progress_end(status != 0);
	}
	image_close(&w.old);
	image_close(&w.new);
	buffer_put(the_img.loop, w.old_data, CONTENTS_STEP);
	buffer_put(the_img.loop, w.new_data, CONTENTS_STEP);
	return status;
}

/* A new backing file that cannot be had is told before other reasons. */
static int co_fn look_at_new(const struct request *rq, struct image *image)
{
	struct work w = {.rq = rq, .image = image};
	int status = open_new(&w);

	image_close(&w.new);
	return status;
}

/* What the header says. */
static int co_fn rename_backing(const struct request *rq, struct image *image)
{
	struct error *error = NULL;
	const char *name = *rq->backing ? rq->backing : NULL;
	int r;

	if (name && !rq->backing_format)
		r = error_set(&error, -EINVAL,
			      "Could not change the backing file to '%s': backing format must be "
			      "specified", rq->backing);
	else if (!image->node->driver->change_backing)
		r = error_set_errno(&error, -ENOTSUP, "Could not change the backing file to '%s'",
				    rq->backing);
	else {
		graph_change_begin(the_img.graph);
		r = node_change_backing(image->node, name, rq->backing_format, &error);
		graph_change_end(the_img.graph);
		if (r < 0)
			error_prefix(&error, "Could not change the backing file to '%s': ",
				     rq->backing);
	}
	if (r >= 0)
		return 0;
	return img_report(error);
}

static int co_fn rebase(const struct request *rq, struct image *image)
{
	bool can = image->node->driver->change_backing && (!*rq->backing || rq->backing_format);

	if (rq->backing_format && !graph_find_driver(the_img.graph, rq->backing_format))
		return img_error("Invalid format name: '%s'", rq->backing_format);
	if (rq->compresses && !image->node->driver->can_compress)
		return img_error("Compression not supported for this file format");
	/* Nothing is copied when it would be in vain. */
	if (!rq->is_unsafe && (can ? rebase_safely : look_at_new)(rq, image) != 0)
		return 1;
	return rename_backing(rq, image);
}

int co_fn img_rebase(int argc, char **argv)
{
	struct request rq = {.wish = {.writable = true, .unmaps = true}};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_TEXT("backing", 'b', &rq.backing),
		IMG_TEXT("backing-format", 'F', &rq.backing_format),
		IMG_CACHE("cache", 't', &rq.wish.cache, "cache"),
		IMG_CACHE("backing-cache", 'T', &rq.source_cache, "source cache"),
		IMG_FLAG("backing-unsafe", 'u', &rq.is_unsafe),
		IMG_FLAG("compress", 'c', &rq.compresses),
		IMG_FLAG("progress", 'p', &rq.shows_progress),
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
	if (count == 1 && !rq.is_unsafe && !rq.backing)
		return img_misuse("Must specify backing file (-b) or use unsafe mode (-u)");
	if (image_take_name(&rq.wish, words, count) != 0)
		return 1;
	if (!rq.backing)
		rq.backing = "";
	rq.wish.flags = rq.is_unsafe ? NODE_OPEN_ALONE : 0;
	rq.wish.shares = false;
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = rebase(&rq, &image);

	image_close(&image);
	return status;
}
