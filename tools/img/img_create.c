/* SPDX-License-Identifier: MIT */
/*
 * cairn-img create: make an image.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "schema/option_help.h"
#include "tools/img/creation.h"
#include "tools/img/image.h"

struct request {
	const char *format, *backing, *backing_format;
	char *options;
	bool is_quiet, is_unsafe;
	int64_t size; /* -1: not given */
};

/* What the single options say counts more than what -o says. */
static int merge(struct creation *c, const struct request *rq, struct error **errp)
{
	if (rq->backing) {
		free(c->backing);
		c->backing = xstrdup(rq->backing);
	}
	if (rq->backing_format) {
		free(c->backing_format);
		c->backing_format = xstrdup(rq->backing_format);
	}
	if (rq->size >= 0 && c->has_size)
		return error_set(errp, -EINVAL, "The image size must be specified only once");
	if ((c->backing || c->backing_format) && !c->format->supports_backing)
		return error_set(errp, -EINVAL, "Backing file%s not supported for file format '%s'",
				 c->backing ? "" : " format", c->format->name);
	if (rq->size >= 0) {
		c->has_size = true;
		c->size = rq->size;
	}
	if (c->backing && !*c->backing)
		return error_set(errp, -EINVAL, "Expected backing file name, got empty string");
	if (c->backing && strcmp(c->backing, c->filename) == 0)
		return error_set(errp, -EINVAL,
				 "Error: Trying to create an image with the same filename as the "
				 "backing file");
	return 0;
}

/* See that the backing file is there, and how long it is. */
static int co_fn look_at_backing(struct creation *c, struct error **errp)
{
	char *name _cleanup_free_ = NULL;
	struct image backing = {0};
	int r = backing_filename(c->filename, c->backing, &name, errp);

	if (r < 0)
		return r;
	/* Of interest is how large it is: a daemon may be at work on it, before a snapshot say. */
	struct image_wish wish = {
		.name = name, .format = c->backing_format, .is_untouched = true, .shares = true};

	r = image_try_open(&backing, &wish, errp);
	if (r < 0) {
		error_hint(errp, "Could not open backing image.");
		return r;
	}
	if (!c->backing_format) {
		r = error_set(errp, -EINVAL, "Backing file specified without backing format");
		error_hint(errp, "Detected format of %s.", backing.node->driver->name);
	}
	if (r >= 0 && !c->has_size) {
		c->has_size = true;
		c->size = backing.node->size;
	}
	image_close(&backing);
	return r;
}

static int co_fn prepare(struct creation *c, const struct request *rq, struct error **errp)
{
	int r = merge(c, rq, errp);

	if (r >= 0 && c->backing && !rq->is_unsafe)
		r = look_at_backing(c, errp);
	else if (r >= 0 && c->backing && !c->backing_format)
		r = error_set(errp, -EINVAL, "Backing file specified without backing format");
	if (r >= 0 && !c->has_size)
		r = error_set(errp, -EINVAL, "Image creation needs a size parameter");
	return r;
}

static int co_fn create(const struct request *rq, const char *filename)
{
	struct creation c;
	struct error *error = NULL;
	int r = creation_parse(&c, filename, rq->format, rq->options, &error);

	if (r >= 0)
		r = prepare(&c, rq, &error);
	if (r >= 0) {
		if (!rq->is_quiet)
			creation_print(&c);
		r = creation_run(&c, &error);
	}
	creation_finish(&c);
	return r < 0 ? img_error_about(error, "%s", filename) : 0;
}

int co_fn img_create(int argc, char **argv)
{
	struct request rq = {.format = "raw", .size = -1};
	char *options _cleanup_free_ = NULL;
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.format),
		IMG_TEXT("backing", 'b', &rq.backing),
		IMG_TEXT("backing-format", 'F', &rq.backing_format),
		IMG_FLAG("backing-unsafe", 'u', &rq.is_unsafe),
		IMG_WORDS("options", 'o', &options),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_ARGUMENTS_END,
	};
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (option_wants_help(options))
		return creation_help(count > 0 ? words[0] : NULL, rq.format);
	if (count == 0)
		return img_misuse("Expecting image file name");
	if (count > 1 && img_size_parse("image size", words[1], &rq.size) != 0)
		return 1;
	if (count > 2)
		return img_misuse("Unexpected argument: %s", words[2]);
	rq.options = options;
	return create(&rq, words[0]);
}
