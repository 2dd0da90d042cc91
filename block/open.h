/* SPDX-License-Identifier: MIT */
/*
 * From names to nodes: plain file names, "file:", "json:{...}" and "driver:"
 * names; creating images; the name that a backing field means.
 */
#ifndef BLOCK_OPEN_H
#define BLOCK_OPEN_H

#include "block/node.h"

/*
 * What @filename means, as options to open. @format names the driver on top
 * ("qcow2"); NULL probes the content, and a probed raw node refuses writes that
 * would turn its first sector into another format's header. *ret is freed with
 * blockdev_options_free().
 */
int co_fn options_from_filename(struct graph *g, const char *filename, const char *format,
				struct blockdev_options **ret, struct error **errp);

/* The full name of @backing as written in the image called @overlay. Free with free(). */
int backing_filename(const char *overlay, const char *backing, char **ret, struct error **errp);

/* Open @filename with the options that its parent would pass on. */
int co_fn node_open_filename(struct graph *g, const char *filename, const char *format,
			     bool read_only, struct node **ret, struct error **errp);

/* What a new image shall be. */
struct image_spec {
	const char *filename;
	const char *format;
	uint64_t size;            /* bytes */
	const char *backing_name; /* as it is to be written; NULL for none */
	const char *backing_format;
};

/* Create the file and the image in it, as snapshot and mirror commands do. */
int co_fn image_create(struct graph *g, const struct image_spec *spec, struct error **errp);

/* Change the options of several nodes at once: all or none. The caller holds the change lock. */
int co_fn nodes_reopen(struct graph *g, const struct blockdev_options *const *options,
		       unsigned count, struct error **errp);
/* Switch a node and what is below it between read-only and writable, for jobs. */
int co_fn node_set_read_only(struct node *n, bool read_only, struct error **errp);

#endif
