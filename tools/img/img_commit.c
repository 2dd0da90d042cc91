/* SPDX-License-Identifier: MIT */
/*
 * cairn-img commit: merge an image into one below it, by the job that cairnd uses.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "blockjobs/commit.h"
#include "tools/img/image.h"

#define JOB_ID "commit"
/* How often progress is shown. */
#define TICK_NS UINT64_C(50000000)

struct request {
	struct image_wish wish;
	const char *base;
	bool keeps, shows_progress, is_quiet;
	int64_t rate;
};

/* Wakes whoever waits for the only job. */
static struct co_queue changed;

static void on_change(const struct job *j)
{
	co_queue_wake_all(&changed);
}

static const struct job_observer observer = {
	.status_changed = on_change,
	.ready = on_change,
	.completed = on_change,
	.cancelled = on_change,
};

/* The image of the chain that users call @name; NULL for none. */
static struct node *find_layer(struct node *top, const char *name)
{
	struct node *above = top, *n;

	for (; (n = node_backing(above)); above = n) {
		char *full _cleanup_free_ = NULL;

		if (string_equal(n->filename, name) || string_equal(above->backing_name, name))
			return n;
		if (above->backing_name && node_backing_filename(above, &full, NULL) >= 0 &&
		    string_equal(full, name))
			return n;
	}
	return NULL;
}

static void co_fn wait_for_change(const struct request *rq, const struct job *j)
{
	if (rq->shows_progress)
		co_sleep_ns(TICK_NS);
	else
		co_queue_wait(&changed);
	img_progress(j->progress_done, j->progress_total);
}

/* See the job through. */
static int co_fn run_job(const struct request *rq, struct job_table *jobs, struct error **errp)
{
	struct job *j = job_find(jobs, JOB_ID, true);
	int r = 0;

	while (j->status != JOB_STATUS_READY && j->status != JOB_STATUS_CONCLUDED)
		wait_for_change(rq, j);
	if (j->status == JOB_STATUS_READY)
		r = job_verb_complete(j, errp);
	if (r < 0)
		return r;
	while (j->status != JOB_STATUS_CONCLUDED)
		wait_for_change(rq, j);
	r = j->result;
	if (r < 0 && j->error)
		r = error_set(errp, r, "%s", j->error->message);
	else if (r < 0)
		error_set_errno(errp, r, "Could not copy the data");
	(void)job_verb_dismiss(j, NULL);
	return r;
}

static int co_fn merge(const struct request *rq, struct node *top, struct node *base,
		       struct error **errp)
{
	struct block_commit_args args = {
		.job_id = (char *)JOB_ID,
		.device = top->name,
		.base_node = base->name,
		.speed = rq->rate,
		.auto_finalize = true,
		.auto_dismiss = false, /* it tells how it ended */
	};
	struct job_table jobs;

	co_queue_init(&changed);
	job_table_init(&jobs, the_img.graph, &observer);
	int r = commit_start(&jobs, &args, errp);

	if (r >= 0)
		r = run_job(rq, &jobs, errp);
	job_cancel_all_and_wait(&jobs);
	job_table_finish(&jobs);
	return r;
}

/* What the image holds shows from below now: it need not hold it any more. */
static int co_fn make_empty(struct image *image, struct error **errp)
{
	struct node *n = image->node;

	/* Some formats cannot give up what they hold; that does no harm. */
	if (!n->driver->make_empty)
		return 0;
	int r = edge_set_permissions(image->edge, PERM_WRITE, PERM_ALL, errp);

	if (r >= 0)
		r = n->driver->make_empty(n, errp);
	return r;
}

static int co_fn commit(const struct request *rq, struct image *image)
{
	struct node *top = image->node, *base = node_backing(top);
	struct error *error = NULL;

	if (rq->base)
		base = find_layer(top, rq->base);
	if (!base && rq->base)
		return img_error("Did not find '%s' in the backing chain of '%s'", rq->base,
				 image->name);
	if (!base)
		return img_error("Image does not have a backing file");
	img_progress_begin(rq->shows_progress && !rq->is_quiet);
	/* The job drains whoever uses the image, and moves them to the base; we stay. */
	image->edge->stays = true;
	consumer_leave(&image->consumer);
	int r = merge(rq, top, base, &error);

	consumer_enter(&image->consumer);
	if (r >= 0 && !rq->keeps && !rq->base)
		r = make_empty(image, &error);
	img_progress_end(r < 0);
	if (r < 0)
		return img_error_about(error, "Could not commit '%s'", image->name);
	if (!rq->is_quiet)
		puts("Image committed.");
	return 0;
}

int co_fn img_commit(int argc, char **argv)
{
	struct request rq = {.wish = {.writable = true, .is_untouched = true, .unmaps = true}};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_CACHE("cache", 't', &rq.wish.cache, "cache"),
		IMG_TEXT("base", 'b', &rq.base),
		IMG_FLAG("drop", 'd', &rq.keeps),
		IMG_SIZE("rate-limit", 'r', &rq.rate, "rate limit"),
		IMG_FLAG("progress", 'p', &rq.shows_progress),
		IMG_FLAG("quiet", 'q', &rq.is_quiet),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_ARGUMENTS_END,
	};
	struct image image;
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (image_take_name(&rq.wish, words, count) != 0)
		return 1;
	if (image_open(&image, &rq.wish) < 0)
		return 1;
	int status = commit(&rq, &image);

	image_close(&image);
	return status;
}
