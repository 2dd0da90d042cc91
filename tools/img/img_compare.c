/* SPDX-License-Identifier: MIT */
/*
 * cairn-img compare: do two images show the same?
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "tools/img/contents.h"

/* Exit codes: 0 same, 1 different, and what kept us from finding out. */
enum { COMPARE_DIFFERENT = 1, COMPARE_CANNOT_OPEN = 2, COMPARE_NO_STATUS = 3, COMPARE_NO_DATA = 4 };

struct request {
	struct image_wish first, second;
	struct img_cache cache;
	bool is_strict, is_quiet, shows_progress, is_description, shares;
};

static void __attribute__((format(printf, 2, 3)))
tell(const struct request *rq, const char *format, ...)
{
	va_list args;

	if (rq->is_quiet)
		return;
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

/* With --strict, both must know the same of a range before its content counts; cut *bytes to it. */
static int co_fn compare_status(const struct request *rq, struct image *a, struct image *b,
				uint64_t offset, uint64_t *bytes)
{
	const unsigned flags = EXTENT_DATA | EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID;
	struct extent xa, xb;
	int r = image_status(a, offset, *bytes, &xa);

	if (r >= 0)
		r = image_status(b, offset, *bytes, &xb);
	if (r < 0) {
		img_error("Sector allocation test failed: %s", strerror(-r));
		return COMPARE_NO_STATUS;
	}
	*bytes = MIN(xa.bytes, xb.bytes);
	if ((xa.flags & flags) == (xb.flags & flags))
		return 0;
	tell(rq, "Strict mode: Offset %" PRIu64 " block status mismatch!", offset);
	return COMPARE_DIFFERENT;
}

/* The first part of the range, which *bytes becomes the length of. */
static int co_fn compare_part(const struct request *rq, struct image *a, struct image *b,
			      uint64_t offset, uint64_t *bytes, char *buffer_a, char *buffer_b)
{
	const struct image *failed = NULL;
	uint64_t at;
	int status = rq->is_strict ? compare_status(rq, a, b, offset, bytes) : 0;

	if (status != 0)
		return status;
	int r = contents_differ(a, b, offset, *bytes, buffer_a, buffer_b, &at, &failed);

	if (r < 0) {
		img_error("Error while reading offset %" PRIu64 " of %s: %s", offset, failed->name,
			  strerror(-r));
		return COMPARE_NO_DATA;
	}
	if (at == UINT64_MAX)
		return 0;
	tell(rq, "Content mismatch at offset %" PRIu64 "!", at);
	return COMPARE_DIFFERENT;
}

static int co_fn compare_span(const struct request *rq, struct image *a, struct image *b,
			      uint64_t at, uint64_t end)
{
	char *buffer_a = buffer_get(the_img.loop, CONTENTS_STEP);
	char *buffer_b = buffer_get(the_img.loop, CONTENTS_STEP);
	int status = buffer_a && buffer_b ? 0 : COMPARE_NO_DATA;

	while (at < end && status == 0) {
		uint64_t bytes = MIN(CONTENTS_STEP, end - at);

		status = compare_part(rq, a, b, at, &bytes, buffer_a, buffer_b);
		at += bytes;
		img_progress(at, end);
	}
	buffer_put(the_img.loop, buffer_a, CONTENTS_STEP);
	buffer_put(the_img.loop, buffer_b, CONTENTS_STEP);
	return status;
}

static int co_fn compare(const struct request *rq, struct image *a, struct image *b)
{
	bool differs = a->node->size != b->node->size;

	if (differs && rq->is_strict) {
		tell(rq, "Strict mode: Image size mismatch!");
		return COMPARE_DIFFERENT;
	}
	img_progress_begin(rq->shows_progress && !rq->is_quiet);
	uint64_t common = MIN(a->node->size, b->node->size);
	int status = compare_span(rq, a, b, 0, common);

	/* What only one of them has must be zero. */
	if (differs && status == 0) {
		tell(rq, "Warning: Image size mismatch!");
		status = compare_span(rq, a, b, common, MAX(a->node->size, b->node->size));
	}
	if (status == 0)
		tell(rq, "Images are identical.");
	img_progress_end(status != 0);
	return status;
}

int co_fn img_compare(int argc, char **argv)
{
	struct request rq = {0};
	const char *cache = "writeback";
	const struct img_argument table[] = {
		IMG_TEXT("a-format", 'f', &rq.first.format),
		IMG_TEXT("b-format", 'F', &rq.second.format),
		IMG_TEXT("source-cache", 'T', &cache),
		IMG_FLAG("progress", 'p', &rq.shows_progress),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("strict", 's', &rq.is_strict),
		IMG_FLAG("image-opts", 0, &rq.is_description),
		IMG_FLAG("force-share", 'U', &rq.shares),
		IMG_ARGUMENTS_END,
	};
	struct image a = {0}, b = {0};
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);
	int status = COMPARE_CANNOT_OPEN;

	if (r != 0)
		return r > 0;
	if (count != 2)
		return img_misuse("Expecting two image file names");
	if (image_check_format(rq.is_description, rq.first.format) != 0 ||
	    image_check_format(rq.is_description, rq.second.format) != 0)
		return 1;
	if (img_cache_parse(cache, &rq.cache) < 0) {
		img_error("Invalid source cache option: %s", cache);
		return COMPARE_CANNOT_OPEN;
	}
	rq.first.name = words[0];
	rq.second.name = words[1];
	rq.first.cache = rq.second.cache = rq.cache;
	rq.first.is_description = rq.second.is_description = rq.is_description;
	rq.first.shares = rq.second.shares = rq.shares;
	if (image_open(&a, &rq.first) >= 0 && image_open(&b, &rq.second) >= 0)
		status = compare(&rq, &a, &b);
	image_close(&b);
	image_close(&a);
	return status;
}
