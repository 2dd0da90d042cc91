/* SPDX-License-Identifier: MIT */
/*
 * cairn-img measure: how large would a new image's file be?
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/create_options.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/text.h"
#include "schema/json.h"
#include "schema/keyval.h"
#include "schema/schema.h"
#include "tools/img/image.h"
#include "tools/img/snapshots.h"

struct request {
	struct image_wish wish;
	const char *format, *snapshot;
	char *options;
	bool as_json;
	int64_t size; /* -1: of the image */
};

static void print(const struct request *rq, const struct image_measure *m)
{
	struct json_writer w = {.pretty = true};

	if (!rq->as_json) {
		printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n",
		       m->required, m->fully_allocated);
		if (m->has_bitmaps)
			printf("bitmaps size: %" PRIu64 "\n", m->bitmaps);
		return;
	}
	json_writer_begin_object(&w);
	if (m->has_bitmaps) {
		json_writer_key(&w, "bitmaps");
		json_writer_uint(&w, m->bitmaps);
	}
	json_writer_key(&w, "required");
	json_writer_uint(&w, m->required);
	json_writer_key(&w, "fully-allocated");
	json_writer_uint(&w, m->fully_allocated);
	json_writer_end_object(&w);
	img_print_json(&w);
}

/* As if the image were to be created on some node. */
static int decode_options(const struct driver *d, const char *text, uint64_t size, void **ret,
			  struct error **errp)
{
	char *whole _cleanup_free_ = xasprintf("driver=%s,file=some,size=%" PRIu64 "%s%s", d->name,
					       size, *text ? "," : "", text);

	return schema_decode_keyval(&blockdev_create_options_type, whole, NULL, ret, errp);
}

static int co_fn measure_format(const struct request *rq, const struct driver *d, const char *own,
				struct image *source, struct image_measure *ret,
				struct error **errp)
{
	uint64_t size = source ? source->node->size : (uint64_t)rq->size;
	void *options;
	int r = decode_options(d, own, size, &options, errp);

	if (r < 0)
		return r;
	r = d->measure(options, source ? source->node : NULL, ret, errp);
	schema_free(&blockdev_create_options_type, options);
	return r;
}

/* Bytes as they are take as much room as they are many. */
static int measure_raw(const struct request *rq, const struct image *source,
		       struct image_measure *ret)
{
	uint64_t size = source ? source->node->size : (uint64_t)rq->size;

	*ret = (struct image_measure){.required = align_up(size, 512)};
	ret->fully_allocated = ret->required;
	return 0;
}

/* The options are those of an image in a file. */
static int co_fn split_options(const struct request *rq, const struct driver *d, char **ret_own)
{
	struct error *error = NULL;
	char *others _cleanup_free_ = NULL;
	const struct driver *file = graph_load_driver(the_img.graph, "file", &error);
	const char *text = rq->options ? rq->options : "";
	/* The size is that of the source. */
	char *options _cleanup_free_ = text_without_key(text, "size");
	char *size _cleanup_free_ = text_value(text, "size");
	uint64_t unused;
	int r = file ? create_options_split(options, d, file, ret_own, &others, &error) : -ENOENT;

	if (r >= 0 && size && keyval_parse_size(size, &unused) < 0)
		r = create_options_bad_size("size", &error);

	if (r >= 0)
		return 0;
	img_report(error);
	return img_error("Invalid options for file format '%s'", rq->format);
}

static int co_fn measure(const struct request *rq, struct image *source)
{
	struct error *error = NULL;
	struct image_measure m = {0};

	if (!graph_find_driver(the_img.graph, rq->format))
		return img_error("Unknown file format '%s'", rq->format);
	const struct driver *d = graph_load_driver(the_img.graph, rq->format, &error);

	if (!d)
		return img_error_about(error, "Format '%s'", rq->format);
	bool is_raw = strcmp(rq->format, "raw") == 0;

	if (!d->measure && !is_raw)
		return img_error("Block driver '%s' does not support size measurement", d->name);
	char *own _cleanup_free_ = NULL;

	if (split_options(rq, is_raw ? NULL : d, &own) != 0)
		return 1;
	int r = is_raw ? measure_raw(rq, source, &m)
		       : measure_format(rq, d, own, source, &m, &error);

	if (r < 0)
		return img_report(error);
	print(rq, &m);
	return 0;
}

static int co_fn show_snapshot(const struct request *rq, struct image *source)
{
	struct error *error = NULL;
	char *id _cleanup_free_ = NULL;
	int r = snapshots_find_parameter(source->node, rq->snapshot, &id, &error);

	if (r >= 0)
		r = snapshots_show(source->node, id, &error);
	return r < 0 ? img_error_about(error, "Failed to load snapshot") : 0;
}

static int check(const struct request *rq, int count)
{
	if (count > 1)
		return img_error("At most one filename argument is allowed.");
	if (count == 0 && (rq->wish.is_description || rq->wish.format || rq->snapshot))
		return img_error("--image-opts, -f, and -l require a filename argument.");
	if (count == 0 && rq->size < 0)
		return img_error("Either --size N or one filename must be specified.");
	if (count == 1 && rq->size >= 0)
		return img_error("--size N cannot be used together with a filename.");
	return image_check_format(rq->wish.is_description, rq->wish.format);
}

int co_fn img_measure(int argc, char **argv)
{
	struct request rq = {.wish = {.is_untouched = true}, .format = "raw", .size = -1};
	char *options _cleanup_free_ = NULL;
	const struct img_argument table[] = {
		IMG_TEXT("source-format", 'f', &rq.wish.format),
		IMG_TEXT("target-format", 'O', &rq.format),
		IMG_WORDS("options", 'o', &options),
		IMG_TEXT("snapshot", 'l', &rq.snapshot),
		IMG_SIZE("size", 's', &rq.size, "image size"),
		IMG_OUTPUT("output", 0, &rq.as_json),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_FLAG("force-share", 'U', &rq.wish.shares),
		IMG_ARGUMENTS_END,
	};
	struct image source = {0};
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (check(&rq, count) != 0)
		return 1;
	rq.options = options;
	rq.wish.name = words[0];
	if (count == 1 && image_open(&source, &rq.wish) < 0)
		return 1;
	int status = rq.snapshot ? show_snapshot(&rq, &source) : 0;

	if (status == 0)
		status = measure(&rq, count == 1 ? &source : NULL);
	image_close(&source);
	return status;
}
