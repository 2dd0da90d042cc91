/* SPDX-License-Identifier: MIT */
/*
 * Making new images: first the storage, then the format in it. Control thread, in
 * a coroutine.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/consumer.h"
#include "block/create_options.h"
#include "block/driver.h"
#include "block/graph.h"
#include "block/open.h"
#include "block/text.h"
#include "schema/schema.h"

#define SECTOR_BYTES 512

/* Others may change the graph while a server is at work; the result is for graph_apart_return(). */
static struct graph_apart *leave_for(struct graph *g, const struct driver *driver)
{
	return driver->is_remote ? graph_apart_leave(g) : NULL;
}

static int co_fn create(struct graph *g, const struct driver *driver, const char *text,
			struct error **errp)
{
	if (!driver->create)
		return error_set(errp, -ENOTSUP, "Driver '%s' does not support image creation",
				 driver->name);
	void *options;
	int r = schema_decode_keyval(&blockdev_create_options_type, text, NULL, &options, errp);
	if (r < 0)
		return r;
	struct graph_apart *apart = leave_for(g, driver);
	r = driver->create(g, options, errp);
	graph_apart_return(g, apart);
	schema_free(&blockdev_create_options_type, options);
	return r;
}

static char *describe(const struct consumer *c)
{
	return xstrdup("image creation");
}

/* What is there already gets the size, if it can, and loses what it seemed to be. */
static int co_fn take_over(struct edge *e, uint64_t size, struct error **errp)
{
	static const char zeroes[SECTOR_BYTES];
	struct node *n = e->child;
	int r = 0;

	if (n->size < size)
		r = n->driver->truncate ? edge_truncate(e, size, PREALLOCATION_OFF, errp)
					: error_set(errp, -ENOTSUP, "'%s' has %" PRIu64
						    " bytes, which is less than %" PRIu64,
						    n->filename, n->size, size);
	if (r < 0)
		return r;
	r = edge_write(e, 0, MIN(n->size, sizeof(zeroes)), zeroes, 0);
	return r < 0 ? error_set_errno(errp, r, "Failed to clear the new image's first sector") : 0;
}

static int co_fn take_over_node(struct node *n, uint64_t size, struct error **errp)
{
	static const struct consumer_ops ops = {.describe = describe};
	struct consumer c;
	struct edge *e;

	consumer_init(&c, n->graph, &ops);
	int r = edge_attach_consumer(&c, "root", n, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
				     PERM_ALL & ~PERM_RESIZE, &e, errp);
	if (r >= 0) {
		struct graph_apart *apart = node_is_remote(n) ? graph_apart_leave(n->graph) : NULL;
		consumer_enter(&c);
		r = take_over(e, size, errp);
		consumer_leave(&c);
		graph_apart_return(n->graph, apart);
		edge_detach(e);
	}
	consumer_finish(&c);
	return r;
}

/* Storage that nobody can make: a device, somebody's export. */
static int co_fn take_over_storage(struct graph *g, const char *protocol, uint64_t size,
				   struct error **errp)
{
	void *options;
	struct node *n;
	int r = schema_decode_keyval(&blockdev_options_type, protocol, NULL, &options, errp);
	if (r < 0)
		return r;
	r = node_open(g, options, &n, errp);
	if (r < 0)
		error_prefix(errp, "Protocol driver '%s' does not support image creation, and "
			     "opening the image failed: ",
			     blockdev_driver_name(((struct blockdev_options *)options)->driver));
	blockdev_options_free(options);
	if (r < 0)
		return r;
	r = take_over_node(n, size, errp);
	node_unref(n);
	return r;
}

/* Make the file, or empty the one that is there. */
static int co_fn create_storage(struct graph *g, const char *protocol, uint64_t size,
				const char *more, struct error **errp)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");
	const struct driver *driver = graph_load_driver(g, name, errp);
	if (!driver)
		return -ENOENT;
	if (driver->is_preexisting && *more)
		return error_set(errp, -EINVAL, "'%s' is not created, and takes no '%s'", name, more);
	if (driver->is_preexisting)
		return take_over_storage(g, protocol, size, errp);
	char *place _cleanup_free_ = create_options_place(driver, protocol);
	char *text _cleanup_free_ =
		xasprintf("%s,size=%" PRIu64 "%s%s", place, size, *more ? "," : "", more);
	return create(g, driver, text, errp);
}

/* The driver of the storage and the options that name its place, or NULL; the caller frees these. */
static const struct driver *co_fn find_storage(struct graph *g, const char *protocol,
					       void **ret_options)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");
	const struct driver *driver = graph_load_driver(g, name, NULL);
	if (!driver || !driver->uncreate)
		return NULL;
	char *place _cleanup_free_ = create_options_place(driver, protocol);
	char *text _cleanup_free_ = xasprintf("%s,size=0", place);
	if (schema_decode_keyval(&blockdev_create_options_type, text, NULL, ret_options, NULL) < 0)
		return NULL;
	return driver;
}

/* Leave no file that is no image. */
static void co_fn uncreate_storage(struct graph *g, const char *protocol)
{
	void *options;
	const struct driver *driver = find_storage(g, protocol, &options);
	if (!driver)
		return;
	struct graph_apart *apart = leave_for(g, driver);
	driver->uncreate(g, options);
	graph_apart_return(g, apart);
	schema_free(&blockdev_create_options_type, options);
}

/* False when it is known not to be there. */
static bool co_fn storage_may_exist(struct graph *g, const char *protocol)
{
	void *options;
	const struct driver *driver = find_storage(g, protocol, &options);
	if (!driver)
		return true;
	struct graph_apart *apart = leave_for(g, driver);
	bool exists = !driver->exists || driver->exists(g, options);
	graph_apart_return(g, apart);
	schema_free(&blockdev_create_options_type, options);
	return exists;
}

/* Images count in sectors. What is too large anyway stays as it is. */
static uint64_t whole_sectors(uint64_t size)
{
	return size > INT64_MAX ? size : align_up(size, SECTOR_BYTES);
}

/* The files that an image consists of besides the first, which have been made. */
struct further_files {
	char **protocols;
	unsigned count;
};

static void co_fn further_files_finish(struct graph *g, struct further_files *f, bool uncreate)
{
	while (f->count > 0) {
		if (uncreate)
			uncreate_storage(g, f->protocols[f->count - 1]);
		free(f->protocols[--f->count]);
	}
	free(f->protocols);
}

/* Make the files that an image of @text needs besides the first, and name them in *text. */
static int co_fn create_further_files(struct graph *g, const struct driver *driver,
				      const struct image_spec *spec, const char *storage_options,
				      struct further_files *f, char **text, struct error **errp)
{
	void *options;
	if (!driver->further_file)
		return 0;
	int r = schema_decode_keyval(&blockdev_create_options_type, *text, NULL, &options, errp);
	if (r < 0)
		return r;
	char *name;
	uint64_t size;
	while (r >= 0 && driver->further_file(options, spec->filename, f->count, &name, &size)) {
		char *protocol _cleanup_free_ = NULL;
		r = string_starts_with(name, "json:")
			    ? error_set(errp, -EINVAL, "'%s' does not tell the names of further files",
					spec->filename)
			    : text_from_filename(g, name, &protocol, errp);
		free(name);
		if (r >= 0)
			r = create_storage(g, protocol, size, storage_options, errp);
		if (r < 0)
			break;
		char *prefix _cleanup_free_ = xasprintf("extents.%u.", f->count);
		char *inner _cleanup_free_ = text_prefix_keys(protocol, prefix);
		char *longer = xasprintf("%s,%s", *text, inner);
		free(*text);
		*text = longer;
		f->protocols = xrealloc(f->protocols, f->count + 1, sizeof(f->protocols[0]));
		f->protocols[f->count++] = TAKE(protocol);
	}
	schema_free(&blockdev_create_options_type, options);
	return r;
}

/* What names the backing file. Where an image does not say of which format it is, that is its own. */
static int backing_text(const struct driver *driver, const struct image_spec *spec, char **ret,
			struct error **errp)
{
	const char *format = spec->backing_format;
	char *name _cleanup_free_ = spec->backing_name ? text_escape(spec->backing_name) : NULL;
	if (format && !create_option_find(driver, "backing-fmt")) {
		if (strcmp(format, driver->name) != 0)
			return error_set(errp, -EINVAL, "backing_file must be a %s image", driver->name);
		format = NULL;
	}
	*ret = xasprintf("%s%s%s%s", name ? ",backing-file=" : "", name ? name : "",
			 format ? ",backing-fmt=" : "", format ? format : "");
	return 0;
}

static int co_fn create_format(struct graph *g, const struct driver *driver, const char *protocol,
			       const struct image_spec *spec, const char *more,
			       const char *storage_options, struct error **errp)
{
	char *file _cleanup_free_ = text_prefix_keys(protocol, "file.");
	char *backing _cleanup_free_ = NULL;
	int r = backing_text(driver, spec, &backing, errp);
	if (r < 0)
		return r;
	uint64_t size = whole_sectors(spec->size);
	char *text _cleanup_free_ =
		xasprintf("driver=%s,size=%" PRIu64 ",%s%s%s%s", driver->name, size, file, backing,
			  *more ? "," : "", more);
	struct further_files further = {0};
	r = create_further_files(g, driver, spec, storage_options, &further, &text, errp);
	if (r >= 0)
		r = create(g, driver, text, errp);
	further_files_finish(g, &further, r < 0);
	return r;
}

/* Creating storage that is to be the image itself. */
static int co_fn create_bare(struct graph *g, const struct driver *driver, const char *protocol,
			     const struct image_spec *spec, const char *more, struct error **errp)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");
	bool is_raw = strcmp(driver->name, "raw") == 0;

	if (spec->backing_name)
		return error_set(errp, -EINVAL, "Backing file not supported for file format '%s'",
				 driver->name);
	if (!is_raw && strcmp(driver->name, name) != 0)
		return error_set(errp, -EINVAL, "'%s' is a name of driver '%s', not of '%s'",
				 spec->filename, name, driver->name);
	return create_storage(g, protocol, whole_sectors(spec->size), more, errp);
}

static int co_fn create_image(struct graph *g, const struct driver *driver, const char *protocol,
			      const struct image_spec *spec, struct error **errp)
{
	bool is_bare = strcmp(driver->name, "raw") == 0 || !driver->is_format;
	char *name _cleanup_free_ = text_value(protocol, "driver");
	char *for_format _cleanup_free_ = NULL, *for_storage _cleanup_free_ = NULL;
	const struct driver *storage = graph_load_driver(g, name, errp);
	if (!storage)
		return -ENOENT;
	int r = create_options_split(spec->options, is_bare ? NULL : driver, storage, &for_format,
				     &for_storage, errp);
	if (r < 0)
		return r;
	if (is_bare)
		return create_bare(g, driver, protocol, spec, for_storage, errp);
	r = create_storage(g, protocol, 0, for_storage, errp);
	if (r < 0)
		return r;
	r = create_format(g, driver, protocol, spec, for_format, for_storage, errp);
	if (r < 0)
		uncreate_storage(g, protocol);
	return r;
}

struct resolution {
	const char *name;
	char *absolute;
};

static int resolve_blocking(void *arg)
{
	struct resolution *r = arg;
	r->absolute = realpath(r->name, NULL);
	return r->absolute ? 0 : -errno;
}

char *co_fn image_recorded_name(const char *name, const char *image)
{
	struct resolution r = {.name = name};
	if (strchr(image, '/') && name[0] != '/' && !strchr(name, ':') &&
	    co_blocking(resolve_blocking, &r) == 0)
		return r.absolute;
	return xstrdup(name);
}

/* Say so of the format, whichever of its files it was. */
static void too_large(const struct driver *driver, struct error **error)
{
	error_free(TAKE(*error));
	error_set(error, -EFBIG, "The image size is too large for file format '%s'%s", driver->name,
		  create_option_find(driver, "cluster_size") ? " (try using a larger cluster size)"
							     : "");
}

/*
 * An image that is being made at a server, where the lock for changes does not keep others off;
 * or has been made by a command that may yet fail, and delete it.
 */
struct making {
	struct list link; /* in graph.making */
	char *protocol, *filename;
};

static bool co_fn is_remote(const struct graph *g, const char *protocol)
{
	char *name _cleanup_free_ = text_value(protocol, "driver");
	const struct driver *driver = graph_load_driver(g, name, NULL);
	return driver && driver->is_remote;
}

/*
 * Two never make the same one at once: each would take it for its own, and the one that fails
 * would delete what the other has. *ret is NULL for what the lock protects.
 */
static int co_fn making_begin(struct graph *g, const char *protocol, const char *filename,
			      struct making **ret, struct error **errp)
{
	struct making *m;
	*ret = NULL;
	if (!is_remote(g, protocol))
		return 0;
	list_for_each (m, &g->making, link) {
		if (strcmp(m->protocol, protocol) == 0)
			return error_set(errp, -EBUSY, "'%s' is being created already", filename);
	}
	m = NEW(struct making);
	m->protocol = xstrdup(protocol);
	m->filename = xstrdup(filename);
	list_add_tail(&g->making, &m->link);
	*ret = m;
	return 0;
}

static void making_end(struct making *m)
{
	if (!m)
		return;
	list_del_init(&m->link);
	free(m->protocol);
	free(m->filename);
	free(m);
}

static struct making *find_making(const struct graph *g, const char *filename)
{
	struct making *m;
	list_for_each (m, &g->making, link) {
		if (strcmp(m->filename, filename) == 0)
			return m;
	}
	return NULL;
}

int co_fn image_create(struct graph *g, const struct image_spec *spec, char **ret_made,
		       struct error **errp)
{
	if (ret_made)
		*ret_made = NULL;
	if (!graph_find_driver(g, spec->format))
		return error_set(errp, -ENOENT, "Unknown file format '%s'", spec->format);
	const struct driver *driver = graph_load_driver(g, spec->format, errp);
	if (!driver)
		return -ENOENT;
	bool is_raw = strcmp(driver->name, "raw") == 0;
	if (!is_raw && !driver->create && !driver->is_preexisting)
		return error_set(errp, -ENOTSUP,
				 "Format driver '%s' does not support image creation",
				 driver->name);
	if (is_raw && spec->backing_name)
		return error_set(errp, -EINVAL, "Backing file not supported for file format 'raw'");
	if (string_equal(spec->backing_name, spec->filename))
		return error_set(errp, -EINVAL, "Error: Trying to create an image with the same "
				 "filename as the backing file");

	char *protocol _cleanup_free_ = NULL;
	int r = text_from_filename(g, spec->filename, &protocol, errp);
	if (r < 0)
		return r;
	struct making *making;
	r = making_begin(g, protocol, spec->filename, &making, errp);
	if (r < 0)
		return r;
	bool is_new = ret_made && !storage_may_exist(g, protocol);
	struct error *error = NULL;
	r = create_image(g, driver, protocol, spec, &error);
	if (r < 0 || !is_new)
		making_end(making);
	if (r == -EFBIG)
		too_large(driver, &error);
	if (r < 0)
		return error_move(errp, error);
	if (is_new)
		*ret_made = xstrdup(spec->filename);
	return r;
}

void co_fn image_uncreate(struct graph *g, char *made)
{
	char *filename _cleanup_free_ = made;
	char *protocol _cleanup_free_ = NULL;
	if (!made)
		return;
	if (text_from_filename(g, filename, &protocol, NULL) >= 0)
		uncreate_storage(g, protocol);
	making_end(find_making(g, filename));
}

void image_keep(struct graph *g, char *made)
{
	if (made)
		making_end(find_making(g, made));
	free(made);
}
