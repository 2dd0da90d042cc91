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
 * ("qcow2"); NULL probes the content. *ret is freed with blockdev_options_free().
 * *ret_probed (NULL only with a @format) tells that raw was no more than a guess:
 * who opens the options then must set node.probed, so that no guest can turn its
 * image into one of another format.
 */
int co_fn options_from_filename(struct graph *g, const char *filename, const char *format,
				struct blockdev_options **ret, bool *ret_probed,
				struct error **errp);

/* False when it is known that opening @filename, or making it, asks no server. */
bool co_fn filename_may_be_remote(struct graph *g, const char *filename);

/*
 * The full name of @backing as written in the image called @overlay: relative
 * paths begin at the overlay's directory, on its server. Free with free().
 */
int backing_filename(const char *overlay, const char *backing, char **ret, struct error **errp);
/* The full name of n->backing_name, which is set. Free with free(). */
int node_backing_filename(const struct node *n, char **ret, struct error **errp);
/*
 * Let the image of @n, whose driver can, name @name of @format (both NULL for none)
 * as its backing file from now on, durably. The graph stays as it is. Control thread,
 * with the change lock held.
 */
int co_fn node_change_backing(struct node *n, const char *name, const char *format,
			      struct error **errp);
/*
 * The two parts of it: the image, without the change lock if the caller keeps @n open, writable,
 * and above what it names; and what follows for the node, with the lock.
 */
int co_fn node_write_backing(struct node *n, const char *name, const char *format,
			     struct error **errp);
void node_note_backing(struct node *n);

/*
 * Before a client's node is opened: have jobs that are at rest on the node that @options name
 * as "file" tell of two pauses, as clients know it from the reference program. Nobody waits.
 * Control thread, with the change lock held.
 */
void node_announce_use(struct graph *g, const struct blockdev_options *options);

enum node_open_flags {
	NODE_OPEN_ALONE = 1 << 0,     /* without its backing file, which may be missing */
	NODE_OPEN_FOR_CHECK = 1 << 1, /* however damaged it is: driver->check comes first */
};

/* As node_open(), with @flags. */
int co_fn node_open_with_flags(struct graph *g, const struct blockdev_options *options,
			       unsigned flags, struct node **ret, struct error **errp);

/*
 * The backing file of @top, however far down, that the image above it or its own name
 * calls @name; or NULL.
 */
struct node *node_find_backing_named(struct node *top, const char *name);

/* The node that @ref means, opened or found. The caller gets a reference. For driver->create. */
int co_fn node_open_ref(struct graph *g, const struct blockdev_ref *ref, struct node **ret,
			struct error **errp);

/* What a new image shall be. */
struct image_spec {
	const char *filename;
	const char *format;
	uint64_t size;            /* bytes */
	const char *backing_name; /* as it is to be written; NULL for none */
	const char *backing_format;
	/*
	 * More options of the format or the storage as key=value text, in the schema's names or
	 * with underscores; NULL for none.
	 */
	const char *options;
};

/*
 * What a new image in the file @image records as its backing file, which is known
 * as @name: a relative name would be looked up in the image's folder, so it is made
 * absolute unless both lie in the daemon's own. Free with free().
 */
char *co_fn image_recorded_name(const char *name, const char *image);
/*
 * Create the file and the image in it, as snapshot and mirror commands do. *ret_made, where
 * wanted, is its name for image_uncreate() if there was no such file before; else NULL.
 * The change lock is let go of while a file is written, and in graph_change_begin_apart()'s way
 * while remote storage is at work. -EBUSY for a remote image that another is making, or
 * has made and not kept yet.
 */
int co_fn image_create(struct graph *g, const struct image_spec *spec, char **ret_made,
		       struct error **errp);
/* Delete what image_create() has made, and that nobody has open; frees @made, or NULL. */
void co_fn image_uncreate(struct graph *g, char *made);
/* What it has made is in use now. Frees @made, or NULL. One of the two is called for each. */
void image_keep(struct graph *g, char *made);

/*
 * Change the options of several nodes at once: all or none. Each names its node
 * and is complete; what it leaves out gets its default. The caller holds the
 * change lock and is in no operation of a consumer above the nodes, which are
 * drained meanwhile. Children that leave with their last user are closed at the end as by
 * node_unref_apart().
 */
int co_fn nodes_reopen(struct graph *g, const struct blockdev_options *const *options,
		       unsigned count, struct error **errp);
/*
 * Switch a node, with the children that it has opened itself, between read-only
 * and writable, for jobs. As nodes_reopen().
 */
int co_fn node_set_read_only(struct node *n, bool read_only, struct error **errp);
/* The same for several: all or none, under one drain. */
int co_fn nodes_set_read_only(struct graph *g, struct node *const *nodes, unsigned count,
			      bool read_only, struct error **errp);

#endif
