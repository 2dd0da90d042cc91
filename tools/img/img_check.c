/* SPDX-License-Identifier: MIT */
/*
 * cairn-img check: is an image's structure sound? And mend it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "block/driver.h"
#include "block/open.h"
#include "schema/json.h"
#include "tools/img/image.h"

/* Exit codes. */
enum { CHECK_FOUND_CORRUPTIONS = 2, CHECK_FOUND_LEAKS = 3, CHECK_UNSUPPORTED = 63 };

struct request {
	struct image_wish wish;
	const char *repair;
	bool as_json, is_quiet;
	unsigned fix; /* enum image_check_fix */
};

/* Findings are errors: quiet does not mean them. */
static void report(void *arg, const char *finding)
{
	(void)arg;
	fprintf(stderr, "%s\n", finding);
}

static double percent(uint64_t part, uint64_t whole)
{
	return whole > 0 ? 100.0 * (double)part / (double)whole : 0;
}

static void print(const struct image_check *c)
{
	if (c->corruptions == 0 && c->leaks == 0 && c->errors == 0)
		puts("No errors were found on the image.");
	if (c->corruptions > 0)
		printf("\n%" PRIu64 " errors were found on the image.\n"
		       "Data may be corrupted, or further writes to the image may corrupt it.\n",
		       c->corruptions);
	if (c->leaks > 0)
		printf("\n%" PRIu64 " leaked clusters were found on the image.\n"
		       "This means waste of disk space, but no harm to data.\n", c->leaks);
	if (c->errors > 0)
		printf("\n%" PRIu64 " internal errors have occurred during the check.\n", c->errors);
	if (c->total_clusters > 0 && c->allocated_clusters > 0)
		printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% "
		       "compressed clusters\n", c->allocated_clusters, c->total_clusters,
		       percent(c->allocated_clusters, c->total_clusters),
		       percent(c->fragmented_clusters, c->allocated_clusters),
		       percent(c->compressed_clusters, c->allocated_clusters));
	if (c->image_end > 0)
		printf("Image end offset: %" PRIu64 "\n", c->image_end);
}

static void write_count(struct json_writer *w, const char *key, uint64_t count)
{
	if (count == 0)
		return;
	json_writer_key(w, key);
	json_writer_uint(w, count);
}

/* In the order of the rival, for scripts that compare what they read line by line. */
static void print_json(const struct image *image, const struct image_check *c)
{
	struct json_writer w = {.pretty = true};

	json_writer_begin_object(&w);
	write_count(&w, "image-end-offset", c->image_end);
	write_count(&w, "compressed-clusters", c->compressed_clusters);
	write_count(&w, "total-clusters", c->total_clusters);
	write_count(&w, "corruptions", c->corruptions);
	write_count(&w, "corruptions-fixed", c->corruptions_fixed);
	json_writer_key(&w, "check-errors");
	json_writer_uint(&w, c->errors);
	write_count(&w, "leaks", c->leaks);
	write_count(&w, "leaks-fixed", c->leaks_fixed);
	write_count(&w, "allocated-clusters", c->allocated_clusters);
	json_writer_key(&w, "filename");
	json_writer_str(&w, image->name);
	json_writer_key(&w, "format");
	json_writer_str(&w, image->node->driver->name);
	write_count(&w, "fragmented-clusters", c->fragmented_clusters);
	json_writer_end_object(&w);
	img_print_json(&w);
}

static int co_fn check_once(struct request *rq, struct image *image, unsigned fix,
			    struct image_check *ret)
{
	struct error *error = NULL;

	*ret = (struct image_check){.report = report, .report_arg = rq};
	int r = image->node->driver->check(image->node, fix, ret, &error);

	if (r == -ENOTSUP && fix) { /* it may be looked at, but not mended */
		error_free(error);
		img_error("This image format does not support checks");
		return CHECK_UNSUPPORTED;
	}
	return r < 0 ? img_error_about(error, "Check failed") : 0;
}

/* Mend what may be mended, and look again. */
static int co_fn check_twice(struct request *rq, struct image *image, struct image_check *ret)
{
	struct image_check first;

	int status = check_once(rq, image, rq->fix, &first);

	if (status != 0)
		return status;
	if (rq->fix == IMAGE_FIX_LEAKS && first.has_lost) {
		report(rq, "ERROR need to rebuild refcount structures");
		return img_error("Check failed: %s", strerror(EIO));
	}
	if (first.leaks_fixed == 0 && first.corruptions_fixed == 0) {
		*ret = first;
		return 0;
	}
	if (!rq->as_json && !rq->is_quiet)
		printf("The following inconsistencies were found and repaired:\n\n"
		       "    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n\n"
		       "Double checking the fixed image now...\n", first.leaks_fixed,
		       first.corruptions_fixed);
	status = check_once(rq, image, 0, ret);

	ret->leaks_fixed = first.leaks_fixed;
	ret->corruptions_fixed = first.corruptions_fixed;
	return status;
}

static int co_fn check(struct request *rq, struct image *image)
{
	struct image_check result;

	if (!image->node->driver->check) {
		img_error("This image format does not support checks");
		return CHECK_UNSUPPORTED;
	}
	int status = check_twice(rq, image, &result);

	if (status != 0)
		return status;
	if (rq->as_json && !rq->is_quiet)
		print_json(image, &result);
	else if (!rq->is_quiet)
		print(&result);
	if (result.errors > 0)
		return 1;
	if (result.corruptions > 0)
		return CHECK_FOUND_CORRUPTIONS;
	return result.leaks > 0 ? CHECK_FOUND_LEAKS : 0;
}

static int read_repair(struct request *rq)
{
	if (!rq->repair)
		return 0;
	if (strcmp(rq->repair, "leaks") == 0)
		rq->fix = IMAGE_FIX_LEAKS;
	else if (strcmp(rq->repair, "all") == 0)
		rq->fix = IMAGE_FIX_LEAKS | IMAGE_FIX_ERRORS;
	else
		return img_misuse("Unknown option value for -r (expecting 'leaks' or 'all'): %s",
				  rq->repair);
	return 0;
}

int co_fn img_check(int argc, char **argv)
{
	struct request rq = {.wish = {.flags = NODE_OPEN_FOR_CHECK}};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_TEXT("repair", 'r', &rq.repair),
		IMG_OUTPUT("output", 0, &rq.as_json),
		IMG_CACHE("source-cache", 'T', &rq.wish.cache, "source cache"),
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
	if (read_repair(&rq) != 0)
		return 1;
	if (image_take_name(&rq.wish, words, count) != 0)
		return 1;
	rq.wish.writable = rq.fix != 0;
	rq.wish.is_untouched = rq.fix == 0;
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = check(&rq, &image);

	image_close(&image);
	return status;
}
