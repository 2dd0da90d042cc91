/* SPDX-License-Identifier: MIT */
/*
 * cairn-img amend: change options of an image that exists.
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
#include "schema/keyval.h"
#include "schema/option_help.h"
#include "schema/schema.h"
#include "tools/img/creation.h"
#include "tools/img/image.h"

struct request {
	struct image_wish wish;
	bool shows_progress, is_quiet, is_forced;
	char *options;
};

static const char *const amendable[] = {"compat", "lazy_refcounts", "refcount_bits", "size",
					"backing_file", "backing_fmt", NULL};

/* Refuse what is unknown, and what only a new image can have. */
static int check_names(const struct driver *d, const char *text)
{
	for (const char *at = text; *at;) {
		const char *end = text_pair_end(at);
		char *key _cleanup_free_ = xasprintf("%.*s", (int)MIN((size_t)(end - at),
								      strcspn(at, "=")), at);
		unsigned i = 0;

		while (amendable[i] && strcmp(amendable[i], key) != 0)
			i++;
		if (!amendable[i]) {
			img_error("Invalid parameter '%s'", key);
			if (create_option_find(d, key))
				fputs("This option is only supported for image creation\n", stderr);
			return 1;
		}
		at = *end ? end + 1 : end;
	}
	return 0;
}

/* Naming the backing file that the image has anyway is allowed. */
static int check_backing(const struct request *rq, const struct node *n)
{
	char *value _cleanup_free_ = text_value(rq->options, "backing_file");
	char *name _cleanup_free_ = value ? text_unescape(value) : NULL;
	char *format _cleanup_free_ = text_value(rq->options, "backing_fmt");

	if ((!name || string_equal(name, n->backing_name)) &&
	    (!format || string_equal(format, n->backing_format)))
		return 0;
	img_error("Cannot amend the backing file");
	fputs("You can use 'cairn-img rebase' instead.\n", stderr);
	return 1;
}

static int check_compat(const struct request *rq)
{
	static const char *const known[] = {"0.10", "1.1", "v2", "v3"};
	char *value _cleanup_free_ = text_value(rq->options, "compat");

	for (unsigned i = 0; i < ARRAY_SIZE(known); i++)
		if (!value || strcmp(value, known[i]) == 0)
			return 0;
	return img_error("Unknown compatibility level %s", value);
}

/* What the driver changes: everything but the size and the backing file. */
static int decode(const struct request *rq, const struct node *n, void **ret, struct error **errp)
{
	char *a _cleanup_free_ = text_without_key(rq->options, "size");
	char *b _cleanup_free_ = text_without_key(a, "backing_file");
	char *text _cleanup_free_ = text_without_key(b, "backing_fmt");
	char *own _cleanup_free_ = NULL, *others _cleanup_free_ = NULL;
	int r = create_options_split(text, n->driver, NULL, &own, &others, errp);

	if (r < 0)
		return r;
	char *whole _cleanup_free_ = xasprintf("driver=%s,file=some,size=%" PRIu64 "%s%s",
					       n->driver->name, n->size, *own ? "," : "", own);

	return schema_decode_keyval(&blockdev_create_options_type, whole, NULL, ret, errp);
}

/* The size that is wanted, or @now: known before anything changes. */
static int decode_size(const struct request *rq, uint64_t now, uint64_t *ret, struct error **errp)
{
	char *value _cleanup_free_ = text_value(rq->options, "size");

	*ret = now;
	if (value && (keyval_parse_size(value, ret) < 0 || *ret > INT64_MAX))
		return create_options_bad_size("size", errp);
	return 0;
}

static int co_fn amend(const struct request *rq, struct image *image)
{
	struct node *n = image->node;
	struct error *error = NULL;
	uint64_t size;
	void *options;

	if (!n->driver->amend)
		return img_error("Format driver '%s' does not support option amendment",
				 n->driver->name);
	if (check_names(n->driver, rq->options) != 0 || check_compat(rq) != 0 ||
	    check_backing(rq, n) != 0)
		return 1;
	int r = decode_size(rq, n->size, &size, &error);

	if (r >= 0)
		r = decode(rq, n, &options, &error);
	if (r >= 0) {
		img_progress_begin(rq->shows_progress && !rq->is_quiet);
		r = n->driver->amend(n, options, &error);
		schema_free(&blockdev_create_options_type, options);
		if (r >= 0 && size != n->size)
			r = edge_truncate(image->edge, size, PREALLOCATION_OFF, &error);
		img_progress_end(false);
	}
	if (r >= 0)
		return 0;
	return img_report(error);
}

static int co_fn list_options(const struct request *rq)
{
	const char *format = rq->wish.format ? rq->wish.format : "qcow2";
	struct error *error = NULL;

	if (!graph_find_driver(the_img.graph, format))
		return img_error("Unknown file format '%s'", format);
	const struct driver *d = graph_load_driver(the_img.graph, format, &error);

	if (!d)
		return img_error_about(error, "Format '%s'", format);
	if (!d->amend)
		return img_error("Format driver '%s' does not support option amendment", format);
	printf("Amend options for '%s':\n", format);
	creation_help_some(d, amendable);
	return 0;
}

int co_fn img_amend(int argc, char **argv)
{
	struct request rq = {.wish = {.writable = true, .permissions = PERM_RESIZE}};
	char *options _cleanup_free_ = NULL;
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_WORDS("options", 'o', &options),
		IMG_CACHE("cache", 't', &rq.wish.cache, "cache"),
		IMG_FLAG("progress", 'p', &rq.shows_progress),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("force", 0, &rq.is_forced),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_ARGUMENTS_END,
	};
	struct image image;
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (!options)
		return img_misuse("Must specify options (-o)");
	rq.options = options;
	if (option_wants_help(options) && (rq.wish.format || count == 1))
		return list_options(&rq);
	if (count != 1)
		return img_error("Expecting one image file name");
	if (image_check_format(rq.wish.is_description, rq.wish.format) != 0)
		return 1;
	rq.wish.name = words[0];
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = amend(&rq, &image);

	image_close(&image);
	return status;
}
