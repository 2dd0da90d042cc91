/* SPDX-License-Identifier: MIT */
/*
 * What nodes are called by: a plain file name where that says everything, and
 * else json:{...} with the options that make a difference. Control thread.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/driver.h"
#include "block/json_names.h"
#include "block/node_internal.h"
#include "block/open.h"
#include "block/options.h"

/* Longer names are cut, as the rival's are: they may grow with the backing chain. */
#define FILENAME_MAX_BYTES 4095

static bool is_plain(const char *filename)
{
	return filename && !string_starts_with(filename, "json:");
}

static bool has_strong_option(const struct node *n)
{
	for (const char *const *s = n->driver->strong_options; n->options && s && *s; s++) {
		const struct schema_member *m = options_find(n->options, *s);
		bool is_in_name = string_equal(*s, n->driver->wrapped_option);
		if (m && !is_in_name && options_has(n->options, m))
			return true;
	}
	return false;
}

/* True when opening the image by name would not give it the backing file that it has. */
static bool is_backing_overridden(const struct node *n)
{
	if (!n->driver->supports_backing || (n->open_flags & NODE_OPEN_ALONE))
		return false;
	if (!n->backing || !n->backing_name)
		return n->backing || n->backing_name;
	const char *filename = n->backing->child->filename;
	if (string_equal(n->auto_backing_name, filename) || string_equal(n->backing_name, filename))
		return false;
	char *full _cleanup_free_ = NULL;
	return node_backing_filename(n, &full, NULL) < 0 || !string_equal(full, filename);
}

/* Whether options say what the child is; else the image does, as of its extents. */
static bool is_named_by_options(const struct node *n, const struct edge *e)
{
	char *name _cleanup_free_ = xstrdup(e->name);
	char *dot = strchr(name, '.');
	if (dot)
		*dot = '\0';
	return !n->options || options_find(n->options, name);
}

/* Whether a name tells that @n is there: a user's filter is not seen in it. */
static bool is_seen_in_name(const struct node *n)
{
	return !n->driver->is_filter || !n->options || n->driver->plain_name;
}

/* Filters of jobs say nothing of their own. */
static const struct node *skip_unnamed(const struct node *n)
{
	while (n && !n->options && n->file)
		n = n->file->child;
	return n;
}

/* True when the node is what opening its storage by name gives. */
static bool is_default(const struct node *n)
{
	if (!n->file || has_strong_option(n) || is_backing_overridden(n))
		return false;
	const struct node *below = skip_unnamed(n->file->child);
	if (!is_seen_in_name(n) || !is_seen_in_name(below))
		return false;
	/* Nor does it tell that there are two formats, one in the other; blkdebug's leaves them out. */
	if (below->driver->is_format && !n->driver->plain_name)
		return false;
	const struct edge *e;
	list_for_each (e, &n->children, parent_link) {
		if (e != n->file && e != n->backing && is_named_by_options(n, e))
			return false;
	}
	return is_plain(n->file->child->filename);
}

/* Options under construction and the node that they shall describe. */
struct work {
	const struct node *node;
	struct blockdev_options *options;
};

struct works {
	struct work *items;
	size_t count, capacity;
};

/* Room for the options of @n, to be filled in later. */
static struct blockdev_options *add_work(struct works *w, const struct node *n)
{
	if (w->count == w->capacity) {
		w->capacity = w->capacity == 0 ? 8 : 2 * w->capacity;
		w->items = xrealloc(w->items, w->capacity, sizeof(w->items[0]));
	}
	struct blockdev_options *o = NEW(struct blockdev_options);
	w->items[w->count++] = (struct work){.node = n, .options = o};
	return o;
}

/* What no options have made has but a name. */
static struct blockdev_ref *make_ref(struct works *w, const struct node *child)
{
	struct blockdev_ref *ref = NEW(struct blockdev_ref);
	ref->kind = child->options ? BLOCKDEV_REF_DEFINITION : BLOCKDEV_REF_REFERENCE;
	if (child->options)
		ref->u.definition = add_work(w, child);
	else
		ref->u.reference = xstrdup(child->name);
	return ref;
}

static void set_child(struct works *w, struct blockdev_options *o, const struct schema_member *m,
		      const struct node *child)
{
	child = skip_unnamed(child);
	bool has_options = child && child->options;

	void **slot = options_slot(o, m);
	if (m->type == &blockdev_ref_type) {
		*slot = make_ref(w, child);
		return;
	}
	struct blockdev_ref_or_null *ref = NEW(struct blockdev_ref_or_null);
	if (has_options) {
		ref->kind = BLOCKDEV_REF_OR_NULL_DEFINITION;
		ref->u.definition = add_work(w, child);
	} else if (child) {
		ref->kind = BLOCKDEV_REF_OR_NULL_REFERENCE;
		ref->u.reference = xstrdup(child->name);
	} else {
		ref->kind = BLOCKDEV_REF_OR_NULL_NULL;
	}
	*slot = ref;
}

static void copy_option(const struct blockdev_options *from, struct blockdev_options *to,
			const struct schema_member *m)
{
	const void *source = options_slot(from, m);
	void *slot = options_slot(to, m);
	if (m->type->kind == SCHEMA_STR) {
		*(char **)slot = xstrdup(*(char *const *)source);
	} else if (m->type->kind == SCHEMA_LIST) {
		struct schema_list *copy = schema_clone(m->type, source);
		*(struct schema_list *)slot = *copy;
		free(copy);
		*((bool *)to + blockdev_options_type.branch_offset + m->has_offset) = true;
	} else if (m->type->kind >= SCHEMA_STRUCT) {
		*(void **)slot = schema_clone(m->type, *(void *const *)source);
	} else {
		memcpy(slot, source, m->type->size);
		if (m->has_offset >= 0)
			*((bool *)to + blockdev_options_type.branch_offset + m->has_offset) = true;
	}
}

static bool is_strong(const struct driver *d, const char *name)
{
	for (const char *const *s = d->strong_options; s && *s; s++) {
		if (strcmp(*s, name) == 0)
			return true;
	}
	return false;
}

static void describe_child(struct works *w, const struct node *n, struct blockdev_options *o,
			   const struct schema_member *m)
{
	if (strcmp(m->name, "backing") == 0) {
		if (is_backing_overridden(n))
			set_child(w, o, m, n->backing ? n->backing->child : NULL);
		return;
	}
	const struct edge *e;
	list_for_each (e, &n->children, parent_link) {
		if (strcmp(e->name, m->name) == 0)
			set_child(w, o, m, e->child);
	}
}

/* A list of children: the names of their edges are that of the list with a number each. */
static void describe_children(struct works *w, const struct node *n, struct blockdev_options *o,
			      const struct schema_member *m)
{
	const struct edge *e;
	list_for_each (e, &n->children, parent_link) {
		size_t length = strlen(m->name);
		if (strncmp(e->name, m->name, length) == 0 && e->name[length] == '.')
			blockdev_ref_list_append(options_slot(o, m),
						 make_ref(w, skip_unnamed(e->child)));
	}
}

/* Fill in what matters of @n, which has options. Children are left as further work. */
static void describe(struct works *w, const struct node *n, struct blockdev_options *o)
{
	o->driver = n->options->driver;
	const struct schema_type *branch = options_branch(o);
	for (unsigned i = 0; branch && i < branch->count; i++) {
		const struct schema_member *m = &branch->members[i];
		if (options_is_child(m))
			describe_child(w, n, o, m);
		else if (m->type == &blockdev_ref_list_type)
			describe_children(w, n, o, m);
		else if ((!m->optional || is_strong(n->driver, m->name)) && options_has(n->options, m))
			copy_option(n->options, o, m);
	}
}

static char *json_filename(const struct node *n)
{
	struct works w = {0};
	struct blockdev_options *root = add_work(&w, n);
	for (size_t i = 0; i < w.count; i++)
		describe(&w, w.items[i].node, w.items[i].options);
	free(w.items);

	const struct graph_json_names names = graph_json_names(n->graph);
	char *filename = json_name_encode_readable(root, &names.super);
	blockdev_options_free(root);
	if (strlen(filename) > FILENAME_MAX_BYTES)
		strcpy(filename + FILENAME_MAX_BYTES - 3, "...");
	return filename;
}

void node_refresh_filename(struct node *n)
{
	char *filename;
	if (n->file && (!n->options || n->driver->named_as_child || is_default(n)))
		filename = n->options && n->driver->plain_name
				   ? n->driver->plain_name(n)
				   : xstrdup(n->file->child->filename);
	else if (n->options && (!list_is_empty(&n->children) || !n->filename))
		filename = json_filename(n);
	else
		filename = n->filename ? TAKE(n->filename) : xstrdup(n->driver->name);
	free(n->filename);
	n->filename = filename;
}

/* The length of "protocol:" at the start of @path, without the colon; 0 when there is none. */
static size_t protocol_length(const char *path)
{
	size_t length = strcspn(path, ":/");
	return path[length] == ':' ? length : 0;
}

/* Where in a URI the path of the server's socket begins; the end of @path in other names. */
static const char *socket_query(const char *path)
{
	size_t length = protocol_length(path);
	const char *query = length > 0 && string_starts_with(path + length, "://")
				    ? strstr(path, "?socket=") : NULL;
	return query ? query : path + strlen(path);
}

int backing_filename(const char *overlay, const char *backing, char **ret, struct error **errp)
{
	if (backing[0] == '/' || protocol_length(backing) > 0) {
		*ret = xstrdup(backing);
		return 0;
	}
	if (!is_plain(overlay))
		return error_set(errp, -EINVAL,
				 "Cannot find '%s': the image that names it has no directory: '%s'",
				 backing, overlay);
	const char *socket = socket_query(overlay);
	const char *slash = memrchr(overlay, '/', (size_t)(socket - overlay));
	size_t directory = slash ? (size_t)(slash + 1 - overlay) : protocol_length(overlay);
	if (!slash && directory > 0)
		directory++; /* the colon */
	*ret = xasprintf("%.*s%s%s", (int)directory, overlay, backing, socket);
	return 0;
}

int node_backing_filename(const struct node *n, char **ret, struct error **errp)
{
	/* The image lies where its storage does, whatever options it has been given. */
	return backing_filename(node_storage(n)->filename, n->backing_name, ret, errp);
}
