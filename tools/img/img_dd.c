/* SPDX-License-Identifier: MIT */
/*
 * cairn-img dd: copy blocks of what an image shows to a new image.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "schema/keyval.h"
#include "tools/img/creation.h"
#include "tools/img/image.h"

/* Small blocks are copied many at a time. */
#define STEP (2 * MiB)

struct request {
	struct image_wish input, output;
	int64_t block, count, skip; /* count -1: all */
};

static int read_number(const char *name, const char *text, int64_t min, int64_t max, int64_t *ret)
{
	int64_t n;

	if (img_size_parse(name, text, &n) != 0)
		return 1;
	if (n < min || n > max)
		return img_error("Invalid %s specified. Must be between %lld and %lld.", name,
				 (long long)min, (long long)max);
	*ret = n;
	return 0;
}

static int read_operand(struct request *rq, const char *word)
{
	char *name _cleanup_free_ = xstrdup(word);
	char *value = strchr(name, '=');

	if (value)
		*value++ = '\0';
	if (value && strcmp(name, "if") == 0)
		rq->input.name = word + (value - name);
	else if (value && strcmp(name, "of") == 0)
		rq->output.name = word + (value - name);
	else if (value && strcmp(name, "bs") == 0)
		return read_number("bs", value, 1, INT32_MAX, &rq->block);
	else if (value && strcmp(name, "count") == 0)
		return read_number("count", value, 0, INT64_MAX, &rq->count);
	else if (value && strcmp(name, "skip") == 0)
		return read_number("skip", value, 0, INT64_MAX, &rq->skip);
	else
		return img_error("unrecognized operand %s", name);
	return 0;
}

static int co_fn copy(struct image *input, struct image *output, uint64_t from, uint64_t bytes)
{
	char *data = buffer_get(the_img.loop, STEP);
	int r = data ? 0 : -ENOMEM;
	const char *what = "reading from image input file";

	for (uint64_t at = 0; at < bytes && r >= 0;) {
		uint64_t n = MIN(STEP, bytes - at);

		what = "reading from image input file";
		r = edge_read(input->edge, from + at, n, data, 0);
		if (r >= 0) {
			what = "writing to output image file";
			r = edge_write(output->edge, at, n, data, 0);
		}
		at += n;
	}
	buffer_put(the_img.loop, data, STEP);
	if (r >= 0)
		r = edge_flush(output->edge);
	return r < 0 ? img_error("error while %s: %s", what, strerror(-r)) : 0;
}

/* The part of the input that is meant, which may be empty. */
static uint64_t find_part(const struct request *rq, uint64_t size, uint64_t *ret_from)
{
	uint64_t from, bytes;

	if (mul_overflows((uint64_t)rq->skip, (uint64_t)rq->block, &from) || from > size) {
		img_error("%s: cannot skip to specified offset", rq->input.name);
		from = size;
	}
	*ret_from = from;
	bytes = size - from;
	uint64_t wanted;

	if (rq->count >= 0 && !mul_overflows((uint64_t)rq->count, (uint64_t)rq->block, &wanted))
		bytes = MIN(bytes, wanted);
	return bytes;
}

static int co_fn create(const struct request *rq, uint64_t size)
{
	struct creation c;
	struct error *error = NULL;
	int r = creation_parse(&c, rq->output.name, rq->output.format, NULL, &error);

	c.size = size;
	if (r >= 0)
		r = creation_run(&c, &error);
	creation_finish(&c);
	return r < 0 ? img_error_about(error, "%s: error while creating output image",
				       rq->output.name)
		     : 0;
}

static int co_fn run(struct request *rq)
{
	struct image input = {0}, output = {0};
	uint64_t from = 0;

	if (image_open(&input, &rq->input) < 0)
		return 1;
	uint64_t bytes = find_part(rq, input.node->size, &from);
	int status = create(rq, bytes);

	if (status == 0 && image_open(&output, &rq->output) < 0)
		status = 1;
	if (status == 0)
		status = copy(&input, &output, from, bytes);
	image_close(&output);
	image_close(&input);
	return status;
}

int co_fn img_dd(int argc, char **argv)
{
	struct request rq = {.output = {.writable = true, .format = "raw"}, .block = 512,
			     .count = -1};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.input.format),
		IMG_TEXT("output-format", 'O', &rq.output.format),
		IMG_FLAG("image-opts", 0, &rq.input.is_description),
		IMG_FLAG("force-share", 'U', &rq.input.shares),
		IMG_ARGUMENTS_END,
	};
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	for (int i = 0; i < count; i++) {
		if (read_operand(&rq, words[i]) != 0)
			return 1;
	}
	if (!rq.input.name || !rq.output.name)
		return img_error("Must specify both input and output files");
	if (image_check_format(rq.input.is_description, rq.input.format) != 0)
		return 1;
	return run(&rq);
}
