/* SPDX-License-Identifier: MIT */
/*
 * An image that a subcommand works on: an opened node and the subcommand as its
 * consumer.
 */
#ifndef TOOLS_IMG_IMAGE_H
#define TOOLS_IMG_IMAGE_H

#include "block/io.h"
#include "tools/img/arguments.h"
#include "tools/img/img.h"

/* What to open, and how. */
struct image_wish {
	const char *name;
	const char *format;   /* NULL: probe */
	bool is_description;  /* --image-opts */
	bool writable;
	bool is_untouched;    /* neither read nor written: only its metadata is of interest */
	bool shares;          /* -U */
	bool unmaps;          /* discards reach the storage */
	unsigned flags;       /* enum node_open_flags */
	unsigned permissions; /* that are needed besides reading and, if writable, writing */
	struct img_cache cache;
	bool detects_zeroes;  /* writes of zeroes become holes */
};

struct image {
	const char *name;
	struct node *node;
	struct consumer consumer;
	struct edge *edge;
	unsigned write_flags; /* of every write: REQUEST_FUA when written through */
};

/*
 * Open and attach, in an operation of the consumer that lasts until image_close(). Returns 0,
 * or a negative errno after saying what is wrong.
 */
int co_fn image_open(struct image *image, const struct image_wish *wish);
/* As image_open(), but the error goes to *errp. */
int co_fn image_try_open(struct image *image, const struct image_wish *wish, struct error **errp);
/* Take a node that is open already, whose reference stays the caller's. */
int co_fn image_attach(struct image *image, struct node *node, unsigned permissions,
		       unsigned shared, struct error **errp);
/* An image that was not opened, zeroed, is allowed. */
void co_fn image_close(struct image *image);

/* --image-opts and -f exclude each other: 0, or 1 after saying so. */
int image_check_format(bool is_description, const char *format);
/* Take the one operand of a subcommand as the name: 0, or 1 after saying what is wrong. */
int image_take_name(struct image_wish *wish, char **words, int count);

/* What @image shows from @offset on; bytes beyond the end are zero and not allocated. */
int co_fn image_status(struct image *image, uint64_t offset, uint64_t bytes, struct extent *ret);

#endif
