/* SPDX-License-Identifier: MIT */
/*
 * cairn-img info: tell what is known of an image, or of a chain of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/image_info.h"
#include "block/open.h"
#include "schema/json.h"
#include "schema/schema.h"
#include "tools/img/image.h"
#include "tools/img/info_text.h"

struct request {
	struct image_wish wish;
	bool wants_chain, as_json, wants_limits;
};

/* Files of the chain that were described already. */
struct names {
	char **items;
	size_t count;
};

static bool names_add(struct names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++) {
		if (strcmp(names->items[i], name) == 0)
			return false;
	}
	names->items = xrealloc(names->items, names->count + 1, sizeof(char *));
	names->items[names->count++] = xstrdup(name);
	return true;
}

static void names_finish(struct names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->items[i]);
	free(names->items);
}

/* A node and those below, except backing files. Nesting is bounded (GRAPH_NESTING_MAX). */
static void co_fn print_node(struct node *n, unsigned indent, const char *path)
{
	struct image_info *info = node_image_info(n);
	const struct edge *e;

	info_print(info, indent, list_is_empty(&n->children));
	image_info_free(info);
	list_for_each (e, &n->children, parent_link) {
		char *child_path _cleanup_free_ = xasprintf("%s%s/", path, e->name);

		printf("%*sChild node '%s%s':\n", indent, "", path, e->name);
		print_node(e->child, indent + 4, child_path);
	}
}

static json_t *co_fn encode_node(const struct request *rq, struct node *n)
{
	struct image_info *info = node_image_info(n);
	json_t *own = schema_encode(&image_info_type, info), *children = json_array();
	const struct edge *e;

	image_info_free(info);
	if (!rq->wants_limits)
		json_object_del(own, "limits");
	list_for_each (e, &n->children, parent_link)
		json_array_append_new(children, json_pack("{s:s, s:o}", "name", e->name, "info",
							  encode_node(rq, e->child)));
	/* They come first: who looks for the first or last line with a key finds what it always did. */
	json_t *json = json_pack("{s:o}", "children", children);

	json_object_update(json, own);
	json_decref(own);
	return json;
}

/* The name and the format of what lies behind the image; *ret_name is NULL at the end. */
static void co_fn find_next(struct image *image, char **ret_name, char **ret_format)
{
	struct image_info *info = node_image_info(image->node);

	*ret_name = xstrdup(info->full_backing_filename ? info->full_backing_filename
							: info->backing_filename);
	*ret_format = xstrdup(info->backing_filename_format);
	image_info_free(info);
}

/* Describe one image, into @list when that is wanted. *ret_name and *ret_format lead further. */
static int co_fn describe_one(const struct request *rq, const char *name, const char *format,
			      bool is_first, json_t *list, char **ret_name, char **ret_format)
{
	struct image_wish wish = rq->wish;
	struct image image;

	wish.name = name;
	wish.format = format;
	wish.is_description = is_first && rq->wish.is_description;
	wish.flags = NODE_OPEN_ALONE;
	wish.is_untouched = true;
	if (image_open(&image, &wish) < 0)
		return 1;
	if (list) {
		json_array_append_new(list, encode_node(rq, image.node));
	} else {
		if (!is_first)
			putchar('\n');
		print_node(image.node, 0, "/");
	}
	if (rq->wants_chain)
		find_next(&image, ret_name, ret_format);
	image_close(&image);
	return 0;
}

static int co_fn describe_chain(const struct request *rq, json_t *list)
{
	char *name = xstrdup(rq->wish.name), *format = xstrdup(rq->wish.format);
	struct names seen = {0};
	int status = 0;

	for (bool is_first = true; name && status == 0; is_first = false) {
		char *next = NULL, *next_format = NULL;

		if (!names_add(&seen, name))
			status = img_error("Backing file '%s' creates an infinite loop.", name);
		else if (seen.count > GRAPH_CHAIN_MAX)
			status = img_error("The backing chain has more than %d images",
					   GRAPH_CHAIN_MAX);
		else
			status = describe_one(rq, name, format, is_first, list, &next,
					      &next_format);
		free(name);
		free(format);
		name = next;
		format = next_format;
	}
	free(name);
	free(format);
	names_finish(&seen);
	return status;
}

static int co_fn describe_as_json(const struct request *rq)
{
	struct json_writer w = {.pretty = true};
	json_t *list = json_array();
	int status = describe_chain(rq, list);

	if (status == 0) {
		json_writer_json(&w, rq->wants_chain ? list : json_array_get(list, 0));
		img_print_json(&w);
	}
	json_release(list);
	return status;
}

static int co_fn describe_as_text(const struct request *rq)
{
	json_t *list = json_array();
	/* Nothing is printed of a chain that has a hole. */
	int status = rq->wants_chain ? describe_chain(rq, list) : 0;

	json_release(list);
	return status ? status : describe_chain(rq, NULL);
}

int co_fn img_info(int argc, char **argv)
{
	struct request rq = {0};
	const struct img_argument table[] = {
		IMG_TEXT("format", 'f', &rq.wish.format),
		IMG_OUTPUT("output", 0, &rq.as_json),
		IMG_FLAG("backing-chain", 0, &rq.wants_chain),
		IMG_FLAG("image-opts", 0, &rq.wish.is_description),
		IMG_FLAG("force-share", 'U', &rq.wish.shares),
		IMG_FLAG("limits", 0, &rq.wants_limits),
		IMG_ARGUMENTS_END,
	};
	char **words;
	int count, r = img_arguments(argc, argv, table, false, &words, &count);

	if (r != 0)
		return r > 0;
	if (image_take_name(&rq.wish, words, count) != 0)
		return 1;
	return rq.as_json ? describe_as_json(&rq) : describe_as_text(&rq);
}
