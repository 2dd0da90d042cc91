/* SPDX-License-Identifier: MIT */
/*
 * Opening images.
 */
#include "tools/img/image.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "schema/json.h"
#include "schema/keyval.h"

static char *describe(const struct consumer *c)
{
	return xstrdup("this command");
}

static const struct consumer_ops ops = {.describe = describe};

int image_check_format(bool is_description, const char *format)
{
	if (is_description && format)
		return img_error("--image-opts and --format are mutually exclusive");
	return 0;
}

int image_take_name(struct image_wish *wish, char **words, int count)
{
	if (count != 1)
		return img_misuse("Expecting one image file name");
	wish->name = words[0];
	return image_check_format(wish->is_description, wish->format);
}

/* A word alone names a node that exists, and there is none. */
static int refuse_word(const char *word, struct error **errp)
{
	return error_set(errp, -ENODEV, "Cannot find device='%s' nor node-name='%s'", word, word);
}

/* The json: name that says what a description does. */
static int name_from_description(const char *text, char **ret, struct error **errp)
{
	struct json_writer w = {0};
	json_t *json;

	if (!strpbrk(text, "=,"))
		return refuse_word(text, errp);
	int r = keyval_parse(text, NULL, &json, errp);

	if (r < 0)
		return r;
	json_writer_json(&w, json);
	json_release(json);
	char *body _cleanup_free_ = json_writer_take(&w);

	*ret = xasprintf("json:%s", body);
	return 0;
}

static int co_fn find_options(const struct image_wish *wish, struct blockdev_options **ret,
			      bool *ret_probed, struct error **errp)
{
	char *name _cleanup_free_ = NULL;

	if (!wish->is_description)
		return options_from_filename(the_img.graph, wish->name, wish->format, ret,
					     ret_probed, errp);
	int r = name_from_description(wish->name, &name, errp);

	return r < 0 ? r : options_from_filename(the_img.graph, name, NULL, ret, ret_probed, errp);
}

/* What the name leaves open is as the command wishes. */
static void complete_options(struct blockdev_options *o, const struct image_wish *wish)
{
	if (!o->has_read_only) {
		o->has_read_only = true;
		o->read_only = !wish->writable;
	}
	if (wish->shares) {
		o->has_force_share = true;
		o->force_share = true;
	}
	if (wish->unmaps && !o->has_discard) {
		o->has_discard = true;
		o->discard = BLOCKDEV_DISCARD_OPTIONS_UNMAP;
	}
	if (wish->detects_zeroes && !o->has_detect_zeroes) {
		o->has_detect_zeroes = true;
		o->detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP;
	}
	if (!o->cache)
		o->cache = NEW(struct blockdev_cache_options);
	if (!o->cache->has_direct) {
		o->cache->has_direct = true;
		o->cache->direct = wish->cache.direct;
	}
	if (!o->cache->has_no_flush) {
		o->cache->has_no_flush = true;
		o->cache->no_flush = wish->cache.no_flush;
	}
}

static void warn_of_guess(const char *name)
{
	fprintf(stderr,
		"WARNING: Image format was not specified for '%s' and probing guessed raw.\n"
		"         Automatically detecting the format is dangerous for raw images, write "
		"operations on block 0 will be restricted.\n"
		"         Specify the 'raw' format explicitly to remove the restrictions.\n", name);
}

static int co_fn open_node(const struct image_wish *wish, struct node **ret, struct error **errp)
{
	struct blockdev_options *options;
	bool probed = false;
	int r = find_options(wish, &options, &probed, errp);

	if (r < 0)
		return r;
	complete_options(options, wish);
	r = node_open_with_flags(the_img.graph, options, wish->flags, ret, errp);
	blockdev_options_free(options);
	if (r < 0)
		return r;
	(*ret)->probed = probed;
	if (probed && !(*ret)->read_only)
		warn_of_guess(wish->name);
	return 0;
}

int co_fn image_attach(struct image *image, struct node *node, unsigned permissions,
		       unsigned shared, struct error **errp)
{
	consumer_init(&image->consumer, the_img.graph, &ops);
	int r = edge_attach_consumer(&image->consumer, "root", node, permissions, shared,
				     &image->edge, errp);

	if (r < 0) {
		consumer_finish(&image->consumer);
		return r;
	}
	image->node = node_ref(node);
	consumer_enter(&image->consumer);
	return 0;
}

int co_fn image_try_open(struct image *image, const struct image_wish *wish, struct error **errp)
{
	struct node *n;

	*image = (struct image){.name = wish->name};
	int r = open_node(wish, &n, errp);

	if (r < 0)
		return r;
	r = image_attach(image, n, wish->permissions |
				   (wish->is_untouched ? 0 : PERM_CONSISTENT_READ) |
				   (wish->writable && !wish->is_untouched ? PERM_WRITE : 0),
			 /* What others write meanwhile might be seen in part. */
			 wish->shares || wish->is_untouched
				 ? PERM_ALL : PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED,
			 errp);
	image->write_flags = wish->cache.writethrough ? REQUEST_FUA : 0;
	node_unref(n);
	return r;
}

int co_fn image_open(struct image *image, const struct image_wish *wish)
{
	struct error *error = NULL;
	int r = image_try_open(image, wish, &error);

	if (r < 0)
		img_error_about(error, "Could not open '%s'", wish->name);
	return r;
}

void co_fn image_close(struct image *image)
{
	if (!image->node)
		return;
	consumer_leave(&image->consumer);
	edge_detach(image->edge);
	consumer_finish(&image->consumer);
	node_unref(TAKE(image->node));
}

int co_fn image_status(struct image *image, uint64_t offset, uint64_t bytes, struct extent *ret)
{
	uint64_t size = image->node->size;

	if (offset >= size) {
		*ret = (struct extent){.flags = EXTENT_ZERO, .bytes = bytes};
		return 0;
	}
	return node_status(image->node, offset, MIN(bytes, size - offset), ret);
}
