/* SPDX-License-Identifier: MIT */
/*
 * cairn-img resize: change an image's size.
 */
#include <stdio.h>
#include <string.h>

#include "schema/keyval.h"
#include "tools/img/image.h"

struct request {
	struct image_wish wish;
	bool shrinks, is_quiet;
	const char *preallocation;
	int sign; /* 1: by so much longer; -1: shorter; 0: so long */
	uint64_t size;
};

/* "+1G", "-512k", "20G". */
static int read_size(struct request *rq, const char *text)
{
	if (*text == '+' || *text == '-')
		rq->sign = *text++ == '+' ? 1 : -1;
	int r = *text == '-' ? -EINVAL : keyval_parse_size(text, &rq->size);

	if (r == -ERANGE)
		return img_error("Value '%s' is out of range for parameter 'size'", text);
	if (r < 0) {
		img_error("Parameter 'size' expects a non-negative number below 2^64");
		fputs("Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
		      "and exabytes, respectively.\n", stderr);
		return 1;
	}
	return 0;
}

static int read_preallocation(const char *text, enum preallocation *ret)
{
	static const char *const names[] = {
		[PREALLOCATION_OFF] = "off",
		[PREALLOCATION_METADATA] = "metadata",
		[PREALLOCATION_FALLOC] = "falloc",
		[PREALLOCATION_FULL] = "full",
	};
	for (unsigned i = 0; text && i < ARRAY_SIZE(names); i++) {
		if (strcmp(text, names[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return text ? img_error("Invalid preallocation mode '%s'", text) : 0;
}

/* The size that is meant; false, after saying so, when there is no such size. */
static bool find_size(const struct request *rq, uint64_t old, uint64_t *ret)
{
	if (rq->sign > 0 && add_overflows(old, rq->size, ret))
		*ret = UINT64_MAX;
	else if (rq->sign < 0)
		*ret = rq->size < old ? old - rq->size : 0;
	else if (rq->sign == 0)
		*ret = rq->size;
	if (*ret == 0 || *ret > INT64_MAX) {
		img_error(*ret == 0 ? "New image size must be positive"
				    : "The new image size is too large");
		return false;
	}
	return true;
}

static int co_fn resize(const struct request *rq, struct image *image,
			enum preallocation preallocation)
{
	uint64_t old = image->node->size, size;
	struct error *error = NULL;

	if (!find_size(rq, old, &size))
		return 1;
	if (size <= old && preallocation != PREALLOCATION_OFF)
		return img_error("Preallocation can only be used for growing images");
	if (size < old && !rq->shrinks) {
		img_error("Use the --shrink option to perform a shrink operation.");
		img_warn("Shrinking an image will delete all data beyond the shrunken image's end. "
			 "Before performing such an operation, make sure there is no important data "
			 "there.");
		return 1;
	}
	int r = edge_truncate(image->edge, size, preallocation, &error);

	if (r >= 0 && (r = edge_flush(image->edge)) < 0)
		error_set_errno(&error, r, "Could not flush '%s'", image->name);
	if (r < 0)
		return img_report(error);
	if (image->node->size != size)
		return img_error("Cannot resize device files");
	if (!rq->is_quiet)
		puts("Image resized.");
	return 0;
}

int co_fn img_resize(int argc, char **argv)
{
	struct request rq = {.wish = {.writable = true, .permissions = PERM_RESIZE}};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_TEXT("preallocation", 0, &rq.preallocation),
		IMG_FLAG("shrink", 0, &rq.shrinks),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_ARGUMENTS_END,
	};
	enum preallocation preallocation = PREALLOCATION_OFF;
	struct image image;
	char **words;
	int count, r = img_arguments(argc, argv, table, true, &words, &count);

	if (r != 0)
		return r > 0;
	if (image_check_format(rq.wish.is_description, rq.wish.format) != 0 ||
	    read_preallocation(rq.preallocation, &preallocation) != 0)
		return 1;
	if (count < 2)
		return img_misuse("Not enough arguments");
	if (count > 2)
		return img_misuse("Expecting image file name and size");
	if (read_size(&rq, words[1]) != 0)
		return 1;
	rq.wish.name = words[0];
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = resize(&rq, &image, preallocation);

	image_close(&image);
	return status;
}
