/* SPDX-License-Identifier: MIT */
/*
 * cairn-img map: which layer holds what of an image's content, and where.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "block/driver.h"
#include "tools/img/image.h"

struct request {
	struct image_wish wish;
	bool as_json;
	int64_t start, length; /* -1: to the end */
};

/* A part of the content that is the same all along. */
struct entry {
	uint64_t start, length, offset;
	unsigned depth; /* layers above the one that knows */
	bool present, zero, data, compressed, has_offset;
	const struct node *node; /* with an offset */
};

/*
 * How deep the lowest layer lies that reaches to @offset: what none has is zero there. *bytes
 * is cut where that changes.
 */
static unsigned deepest_layer(const struct image *image, uint64_t offset, uint64_t *bytes)
{
	struct node *n = node_skip_filters(image->node), *below;
	unsigned depth = 0;

	for (; (below = node_backing(n)) && below->size > offset; n = below, depth++)
		*bytes = MIN(*bytes, below->size - offset);
	return depth;
}

/*
 * Images without layers of their own have everything in the one that there is. What it says
 * to be neither data nor zeroes, as an NBD server may, and as dirty ranges do with
 * x-dirty-bitmap, does not count.
 */
static bool is_present(const struct image *image, const struct extent *x)
{
	if (!(x->flags & (EXTENT_DATA | EXTENT_ZERO)))
		return false;
	return (x->flags & EXTENT_ALLOCATED) ||
	       (!node_skip_filters(image->node)->driver->supports_backing &&
		(x->flags & EXTENT_OFFSET_VALID));
}

/*
 * True when @storage, which a format lies in, is full of holes, as with preallocation=metadata.
 * Small ones are where a cluster has not been written to its end.
 */
static bool co_fn is_sparse(struct node *storage, uint64_t cluster)
{
	int64_t allocated = storage->driver->allocated_bytes
				    ? storage->driver->allocated_bytes(storage) : -1;

	if (allocated < 0)
		return false;
	return storage->size > MAX((uint64_t)allocated / 9 * 10, (uint64_t)allocated + 2 * cluster);
}

/* Of what a format has stored, a hole in the storage counts only where there are to be many. */
static bool co_fn is_zero(struct image *image, const struct extent *x)
{
	struct driver_info info = {0};
	struct node *top = node_skip_filters(image->node);

	if (!(x->flags & EXTENT_DATA) || !(x->flags & EXTENT_OFFSET_VALID))
		return x->flags & EXTENT_ZERO;
	if (top->driver->info)
		top->driver->info(top, &info);
	return (x->flags & EXTENT_ZERO) && is_sparse(x->node, info.cluster_size);
}

static int co_fn look(struct image *image, uint64_t start, uint64_t bytes, struct entry *ret)
{
	struct extent layer, x;
	unsigned depth = 0, deepest = deepest_layer(image, start, &bytes);
	int r = node_status_above(image->node, NULL, start, bytes, &layer, &depth);

	if (r < 0)
		return r;
	r = node_status(image->node, start, layer.bytes, &x);
	if (r < 0)
		return r;
	/* Counted from 1; behind the end of a layer there is nothing. */
	bool is_nothing = depth == 0 || depth - 1 > deepest;
	bool has_offset = (x.flags & EXTENT_OFFSET_VALID) && (x.flags & (EXTENT_DATA | EXTENT_ZERO));

	*ret = (struct entry){
		.start = start,
		.length = x.bytes,
		.depth = is_nothing ? deepest : depth - 1,
		.present = !is_nothing && is_present(image, &x),
		.zero = is_zero(image, &x),
		.data = x.flags & EXTENT_DATA,
		.compressed = x.flags & EXTENT_COMPRESSED,
		.has_offset = has_offset,
		.offset = x.offset,
		.node = has_offset ? x.node : NULL,
	};
	return 0;
}

static bool continues(const struct entry *a, const struct entry *b)
{
	return a->depth == b->depth && a->present == b->present && a->zero == b->zero &&
	       a->data == b->data && a->compressed == b->compressed && a->node == b->node &&
	       (!a->has_offset || a->offset + a->length == b->offset);
}

static const char *word(bool b)
{
	return b ? "true" : "false";
}

static void print_json(const struct entry *e, bool is_first)
{
	printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %u, \"present\": %s, "
	       "\"zero\": %s, \"data\": %s, \"compressed\": %s", is_first ? "" : ",\n", e->start,
	       e->length, e->depth, word(e->present), word(e->zero), word(e->data),
	       word(e->compressed));
	if (e->has_offset)
		printf(", \"offset\": %" PRIu64, e->offset);
	putchar('}');
}

/* Only what lies somewhere as it is. Returns 1, after saying so, for what does not. */
static int print_line(const struct entry *e)
{
	if (!e->data || e->zero)
		return 0;
	if (!e->has_offset || e->compressed)
		return img_error("File contains external, encrypted or compressed clusters.");
	printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64 "%s\n", e->start, e->length, e->offset,
	       e->node->filename);
	return 0;
}

static int print_entry(const struct request *rq, const struct entry *e, bool is_first)
{
	if (e->length == 0)
		return 0;
	if (!rq->as_json)
		return print_line(e);
	print_json(e, is_first);
	return 0;
}

static int co_fn map(const struct request *rq, struct image *image)
{
	uint64_t size = image->node->size, at = MIN((uint64_t)rq->start, size);
	uint64_t end = rq->length < 0 ? size : at + MIN((uint64_t)rq->length, size - at);
	struct entry run = {0};
	bool is_first = true;
	int status = 0;

	if (rq->as_json)
		putchar('[');
	else
		printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
	while (at < end && status == 0) {
		struct entry e;
		int r = look(image, at, end - at, &e);

		if (r < 0)
			return img_error("Failed to read image metadata: %s", strerror(-r));
		at += e.length;
		if (run.length > 0 && continues(&run, &e)) {
			run.length += e.length;
			continue;
		}
		status = print_entry(rq, &run, is_first);
		is_first = is_first && run.length == 0;
		run = e;
	}
	if (status == 0)
		status = print_entry(rq, &run, is_first);
	/* Of nothing, one entry says so. */
	if (rq->as_json && (uint64_t)rq->start >= end)
		print_json(&(struct entry){.start = (uint64_t)rq->start}, true);
	if (rq->as_json)
		puts("]");
	return status;
}

int co_fn img_map(int argc, char **argv)
{
	struct request rq = {.wish = {.is_untouched = true}, .length = -1};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_OUTPUT("output", 0, &rq.as_json),
		IMG_SIZE("start-offset", 's', &rq.start, "start offset"),
		IMG_SIZE("max-length", 'l', &rq.length, "max length"),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_FLAG("force-share", 'U', &rq.wish.shares),
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
	int status = map(&rq, &image);

	image_close(&image);
	return status;
}
