/* SPDX-License-Identifier: MIT */
/*
 * cairn-img bitmap: make, change and merge bitmaps that are stored in an image.
 */
#include <stdio.h>
#include <string.h>

#include "block/driver.h"
#include "block/open.h"
#include "tools/img/bitmaps.h"

struct request {
	struct image_wish wish, source;
	const char *bitmap;
	struct img_steps steps;
	int64_t granularity; /* 0: the default */
};

/* What a step works on; source is not open where bitmaps of the image itself are merged. */
struct work {
	const struct request *rq;
	struct image image, source;
};

static struct bitmap *find(const struct image *image, const char *name, struct error **errp)
{
	struct bitmap *b = bitmap_find(image->node, name);

	if (!b)
		error_set(errp, -ENOENT, "Dirty bitmap '%s' not found", name);
	return b;
}

static int co_fn do_add(struct work *w, const char *value, struct error **errp)
{
	struct bitmap *b;

	return bitmaps_add(&w->image, w->rq->bitmap, w->rq->granularity, &b, errp);
}

static int co_fn do_remove(struct work *w, const char *value, struct error **errp)
{
	struct node *n = w->image.node;
	struct bitmap *b = find(&w->image, w->rq->bitmap, errp);

	if (!b)
		return -ENOENT;
	int r = bitmap_check(b, BITMAP_BUSY | BITMAP_READ_ONLY, errp);

	if (r >= 0 && b->persistent && n->driver->remove_bitmap)
		r = n->driver->remove_bitmap(n, b->name, errp);
	if (r >= 0)
		bitmap_destroy(b);
	return r;
}

static int co_fn do_clear(struct work *w, const char *value, struct error **errp)
{
	struct bitmap *b = find(&w->image, w->rq->bitmap, errp);

	if (!b)
		return -ENOENT;
	int r = bitmap_check(b, BITMAP_UNWRITABLE, errp);

	if (r >= 0 && b->node->driver->change_bitmaps)
		r = b->node->driver->change_bitmaps(b->node, errp);
	if (r >= 0)
		dirty_bitmap_clear(b->bits, 0, b->node->size);
	return r;
}

static int co_fn set_enabled(struct work *w, bool enabled, struct error **errp)
{
	struct bitmap *b = find(&w->image, w->rq->bitmap, errp);

	if (!b)
		return -ENOENT;
	int r = bitmap_check(b, BITMAP_UNREADABLE, errp);

	if (r >= 0)
		b->enabled = enabled;
	return r;
}

static int co_fn do_enable(struct work *w, const char *value, struct error **errp)
{
	return set_enabled(w, true, errp);
}

static int co_fn do_disable(struct work *w, const char *value, struct error **errp)
{
	return set_enabled(w, false, errp);
}

static int co_fn do_merge(struct work *w, const char *value, struct error **errp)
{
	struct bitmap *target = find(&w->image, w->rq->bitmap, errp);
	struct bitmap *source =
		target ? find(w->source.node ? &w->source : &w->image, value, errp) : NULL;

	return source ? bitmaps_merge(target, source, errp) : -ENOENT;
}

static const struct {
	const char *name;
	int co_fn (*run)(struct work *w, const char *value, struct error **errp);
} actions[] = {
	{"add", do_add},       {"remove", do_remove},   {"clear", do_clear},
	{"enable", do_enable}, {"disable", do_disable}, {"merge", do_merge},
};

static int co_fn do_step(struct work *w, const struct img_step *step, struct error **errp)
{
	unsigned i = 0;

	while (strcmp(actions[i].name, step->name) != 0)
		i++;
	return actions[i].run(w, step->value, errp);
}

static int co_fn do_steps(struct work *w)
{
	const struct img_steps *steps = &w->rq->steps;
	struct error *error = NULL;
	int r = 0;

	for (unsigned i = 0; i < steps->count && r >= 0; i++) {
		r = do_step(w, &steps->items[i], &error);
		if (r < 0)
			img_error_about(error, "Operation %s on bitmap %s failed",
					steps->items[i].name, w->rq->bitmap);
	}
	/* What the steps before have done stays. */
	if (w->image.node->driver->can_store_bitmap) {
		error = NULL;
		int stored = bitmaps_store(&w->image, &error);

		if (stored < 0)
			return img_error_about(error, "Could not store the bitmaps");
	}
	return r < 0;
}

static bool has_step(const struct request *rq, const char *name)
{
	for (unsigned i = 0; i < rq->steps.count; i++) {
		if (strcmp(rq->steps.items[i].name, name) == 0)
			return true;
	}
	return false;
}

static int check(const struct request *rq)
{
	if (rq->steps.count == 0)
		return img_error("Need at least one of --add, --remove, --clear, --enable, "
				 "--disable, or --merge");
	if (rq->granularity != 0 && !has_step(rq, "add"))
		return img_error("granularity only supported with --add");
	if (rq->granularity > UINT32_MAX)
		return img_error("granularity is too large");
	if (rq->source.format && !rq->source.name)
		return img_error("-F only supported with -b");
	if (rq->source.name && !has_step(rq, "merge"))
		return img_error("Merge bitmap source file only supported with --merge");
	return image_check_format(rq->wish.is_description, rq->wish.format);
}

int co_fn img_bitmap(int argc, char **argv)
{
	/* Bitmaps are the image's own: what lies below may be missing. */
	struct request rq = {.wish = {.writable = true, .flags = NODE_OPEN_ALONE},
			     .source = {.is_untouched = true, .flags = NODE_OPEN_ALONE}};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_TEXT("source-file", 'b', &rq.source.name),
		IMG_TEXT("source-format", 'F', &rq.source.format),
		IMG_SIZE("granularity", 'g', &rq.granularity, "granularity"),
		IMG_STEP("add", &rq.steps),
		IMG_STEP("remove", &rq.steps),
		IMG_STEP("clear", &rq.steps),
		IMG_STEP("enable", &rq.steps),
		IMG_STEP("disable", &rq.steps),
		IMG_STEP_ON("merge", &rq.steps),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_ARGUMENTS_END,
	};
	struct work w = {.rq = &rq};
	char **words;
	int count, status = 1, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (check(&rq) != 0)
		return 1;
	if (count != 2)
		return img_error("Expecting filename and bitmap name");
	rq.wish.name = words[0];
	rq.bitmap = words[1];
	if (image_open(&w.image, &rq.wish) >= 0 &&
	    (!rq.source.name || image_open(&w.source, &rq.source) >= 0))
		status = do_steps(&w);
	image_close(&w.source);
	image_close(&w.image);
	return status;
}
