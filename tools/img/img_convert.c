/* SPDX-License-Identifier: MIT */
/*
 * cairn-img convert: what one or several images show, in a new image.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "schema/option_help.h"
#include "tools/img/bitmaps.h"
#include "tools/img/conversion.h"
#include "tools/img/creation.h"
#include "tools/img/snapshots.h"

#define WORKERS_DEFAULT 8
#define WORKERS_MAX 16
#define SPARSE_MAX (16 * MiB)
#define SECTOR_BYTES 512

struct request {
	struct image_wish source, target;
	const char *snapshot, *backing, *backing_format;
	char *options;
	char *created; /* how to open what was made, where its name does not say it; else NULL */
	bool skips_creation, target_is_zero, compresses, shows_progress, is_quiet, out_of_order,
		salvages, offloads, copies_bitmaps, skips_broken_bitmaps;
	int64_t sparse_bytes, rate, workers;
	char **names;
	unsigned count; /* of sources; the target's name stands behind theirs */
};

/* --- Contradictions in the arguments -------------------------------------------------- */

static int check_numbers(struct request *rq)
{
	if (rq->workers < 1 || rq->workers > WORKERS_MAX)
		return img_error("Invalid number of coroutines. Allowed number of coroutines is "
				 "between 1 and %d", WORKERS_MAX);
	if (rq->sparse_bytes > (int64_t)SPARSE_MAX ||
	    (rq->sparse_bytes > 0 && rq->sparse_bytes % SECTOR_BYTES != 0))
		return img_error("Invalid buffer size for sparse output specified. Valid sizes are "
				 "multiples of %d up to %llu. Select 0 to disable sparse detection "
				 "(fully allocates output).", SECTOR_BYTES,
				 (unsigned long long)SPARSE_MAX);
	return 0;
}

static int check_target(const struct request *rq)
{
	if (rq->target.is_description && !rq->skips_creation)
		return img_error("--target-image-opts requires use of -n flag");
	if (rq->skips_creation && rq->options)
		return img_error("-o has no effect when skipping image creation");
	if (rq->target_is_zero && !rq->skips_creation)
		return img_error("--target-is-zero requires use of -n flag");
	if (rq->backing && rq->target_is_zero)
		return img_error("--target-is-zero cannot be used when the destination image has a "
				 "backing file");
	if (rq->target.is_description && rq->target.format)
		return img_error("--image-opts and --format are mutually exclusive");
	return 0;
}

static int check(struct request *rq)
{
	if (check_numbers(rq) != 0 || check_target(rq) != 0)
		return 1;
	if (rq->offloads && rq->compresses)
		return img_error("Cannot enable copy offloading when -c is used");
	if (rq->offloads && rq->salvages)
		return img_error("Cannot use copy offloading in salvaging mode");
	if (rq->offloads && rq->sparse_bytes >= 0)
		return img_error("Cannot enable copy offloading when -S is used");
	if (rq->skips_broken_bitmaps && !rq->copies_bitmaps)
		return img_error("Use of --skip-broken-bitmaps requires --bitmaps");
	if (rq->count > 1 && rq->copies_bitmaps)
		return img_error("Copying bitmaps only possible with single source");
	if (rq->count > 1 && rq->snapshot)
		return img_error("No support for concatenating multiple snapshot");
	if (rq->count > 1 && rq->backing)
		return img_error("Having a backing file for the target makes no sense when "
				 "concatenating multiple input images");
	return image_check_format(rq->source.is_description, rq->source.format);
}

/* --- Opening and creating --------------------------------------------------------------- */

static int co_fn show_snapshot(const struct request *rq, struct image *source)
{
	struct error *error = NULL;
	char *id _cleanup_free_ = NULL;
	int r = snapshots_find_parameter(source->node, rq->snapshot, &id, &error);

	if (r >= 0)
		r = snapshots_show(source->node, id, &error);
	if (r == -EINVAL)
		return img_error_about(error, "Invalid snapshot");
	return r < 0 ? img_error_about(error, "Failed to load snapshot") : 0;
}

static int co_fn open_sources(const struct request *rq, struct image *sources)
{
	for (unsigned i = 0; i < rq->count; i++) {
		struct image_wish wish = rq->source;

		wish.name = rq->names[i];
		if (image_open(&sources[i], &wish) < 0)
			return 1;
	}
	return rq->snapshot ? show_snapshot(rq, &sources[0]) : 0;
}

static uint64_t total_size(const struct request *rq, const struct image *sources)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < rq->count; i++)
		total += sources[i].node->size;
	return total;
}

static int check_bitmaps(const struct request *rq, const struct driver *target)
{
	if (!rq->copies_bitmaps || target->can_store_bitmap)
		return 0;
	return img_error("Format driver '%s' does not support bitmaps", target->name);
}

static int check_creation(const struct request *rq, const struct creation *c,
			  struct error **errp)
{
	if ((c->backing || c->backing_format) && !c->format->supports_backing)
		return error_set(errp, -EINVAL, "Backing file%s not supported for file format '%s'",
				 c->backing ? "" : " format", c->format->name);
	if (c->backing && !c->backing_format)
		return error_set(errp, -EINVAL,
				 "Use of backing file requires explicit backing format");
	if (rq->compresses && !c->format->can_compress)
		return error_set(errp, -ENOTSUP, "Compression not supported for this file format");
	if (rq->compresses && strstr(c->options, "preallocation=") &&
	    !strstr(c->options, "preallocation=off"))
		return error_set(errp, -EINVAL,
				 "Compression and preallocation not supported at the same time");
	return 0;
}

/* What -B and -F say counts as well as what -o says. */
static int take_backing(const struct request *rq, struct creation *c, struct error **errp)
{
	if (rq->backing && c->backing && strcmp(rq->backing, c->backing) != 0)
		return error_set(errp, -EINVAL, "Cannot set backing file twice");
	if (rq->backing) {
		free(c->backing);
		c->backing = xstrdup(rq->backing);
	}
	if (rq->backing_format) {
		free(c->backing_format);
		c->backing_format = xstrdup(rq->backing_format);
	}
	return check_creation(rq, c, errp);
}

static int co_fn create_target(struct request *rq, uint64_t size, struct conversion *conversion)
{
	struct error *error = NULL;
	struct creation c;
	const char *name = rq->names[rq->count];
	int r = creation_parse(&c, name, rq->target.format, rq->options, &error);

	if (r >= 0)
		r = take_backing(rq, &c, &error);
	if (r >= 0 && check_bitmaps(rq, c.format) != 0) {
		creation_finish(&c);
		return 1;
	}
	if (r >= 0) {
		/* The target is as large as its sources, whatever -o says of it. */
		c.size = size;
		r = creation_run(&c, &error);
		if (r < 0)
			error_prefix(&error, "%s: error while converting %s: ", name,
				     c.format->name);
		conversion->only_top = c.backing;
		conversion->target_is_zero = creation_gives_zeroes(&c);
		rq->created = r >= 0 ? creation_description(&c) : NULL;
	}
	creation_finish(&c);
	if (r < 0)
		img_report(error);
	return r < 0;
}

static int co_fn open_target(struct request *rq, uint64_t size, struct conversion *conversion,
			     struct image *target)
{
	rq->target.name = rq->created ? rq->created : rq->names[rq->count];
	rq->target.is_description |= rq->created != NULL;
	if (image_open(target, &rq->target) < 0)
		return 1;
	if (target->node->size < size)
		return img_error("output file is smaller than input file");
	if (rq->compresses && !target->node->driver->can_compress)
		return img_error("Compression not supported for this file format");
	if (check_bitmaps(rq, target->node->driver) != 0)
		return 1;
	if (rq->skips_creation) {
		conversion->only_top = rq->backing;
		conversion->target_is_zero = rq->target_is_zero;
	}
	return 0;
}

static int co_fn convert(struct request *rq, struct image *sources, struct image *target)
{
	struct conversion conversion = {
		.sources = sources,
		.source_count = rq->count,
		.target = target,
		.sparse_bytes = rq->sparse_bytes < 0 ? 4096 : rq->sparse_bytes,
		.rate = rq->rate,
		.workers = rq->workers,
		.compresses = rq->compresses,
		.out_of_order = rq->out_of_order,
		.salvages = rq->salvages,
	};
	int status = open_sources(rq, sources);
	uint64_t size = status == 0 ? total_size(rq, sources) : 0;

	if (status == 0 && rq->copies_bitmaps && !sources[0].node->driver->can_store_bitmap)
		status = img_error("Source lacks bitmap support");
	if (status == 0 && rq->copies_bitmaps)
		status = bitmaps_check_copy(&sources[0], rq->skips_broken_bitmaps);
	if (status == 0 && !rq->skips_creation)
		status = create_target(rq, size, &conversion);
	if (status == 0)
		status = open_target(rq, size, &conversion, target);
	if (status != 0)
		return status;
	img_progress_begin(rq->shows_progress && !rq->is_quiet);
	status = conversion_run(&conversion);
	if (status == 0 && rq->copies_bitmaps)
		status = bitmaps_copy(&sources[0], target);
	img_progress_end(status != 0);
	return status;
}

static int co_fn convert_and_close(struct request *rq)
{
	struct image *sources = xalloc(rq->count, sizeof(struct image)), target = {0};
	int status = convert(rq, sources, &target);

	image_close(&target);
	for (unsigned i = 0; i < rq->count; i++)
		image_close(&sources[i]);
	free(sources);
	return status;
}

int co_fn img_convert(int argc, char **argv)
{
	struct request rq = {
		.target = {.writable = true, .unmaps = true, .cache = {.no_flush = true}},
		.sparse_bytes = -1,
		.workers = WORKERS_DEFAULT,
	};
	char *options _cleanup_free_ = NULL;
	const struct img_argument table[] = {
		IMG_TEXT("source-format", 'f', &rq.source.format),
		IMG_TEXT("target-format", 'O', &rq.target.format),
		IMG_TEXT("target-backing", 'B', &rq.backing),
		IMG_TEXT("target-backing-format", 'F', &rq.backing_format),
		IMG_FLAG(NULL, 'C', &rq.offloads),
		IMG_FLAG("compress", 'c', &rq.compresses),
		IMG_WORDS("target-options", 'o', &options),
		IMG_TEXT("snapshot", 'l', &rq.snapshot),
		IMG_SIZE("sparse-size", 'S', &rq.sparse_bytes, "buffer size for sparse output"),
		IMG_FLAG("progress", 'p', &rq.shows_progress),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("no-create", 'n', &rq.skips_creation),
		IMG_CACHE("target-cache", 't', &rq.target.cache, "cache"),
		IMG_CACHE("source-cache", 'T', &rq.source.cache, "source cache"),
		IMG_COUNT("parallel", 'm', &rq.workers, NULL),
		IMG_FLAG("oob", 'W', &rq.out_of_order),
		IMG_FLAG("force-share", 'U', &rq.source.shares),
		IMG_SIZE("rate-limit", 'r', &rq.rate, "rate limit"),
		IMG_FLAG("image-opts", 0, &rq.source.is_description),
		IMG_FLAG("target-image-opts", 0, &rq.target.is_description),
		IMG_FLAG("target-is-zero", 0, &rq.target_is_zero),
		IMG_FLAG("bitmaps", 0, &rq.copies_bitmaps),
		IMG_FLAG("skip-broken-bitmaps", 0, &rq.skips_broken_bitmaps),
		IMG_FLAG("salvage", 0, &rq.salvages),
		IMG_ARGUMENTS_END,
	};
	int count, r = img_arguments(argc, argv, table, false, &rq.names, &count);

	if (r != 0)
		return r > 0;
	rq.options = options;
	if (!rq.target.is_description && !rq.target.format)
		rq.target.format = "raw";
	if (option_wants_help(options))
		return creation_help(count > 1 ? rq.names[count - 1] : NULL, rq.target.format);
	if (count < 2)
		return img_error("Must specify image file name");
	rq.count = count - 1;
	if (check(&rq) != 0)
		return 1;
	r = convert_and_close(&rq);
	free(rq.created);
	return r;
}
