/* SPDX-License-Identifier: MIT */
/*
 * The table behind a node. Whatever a driver leaves NULL has a default in the
 * core, so that a driver without state needs about 30 lines.
 *
 * All calls run on the node's loop, in a coroutine unless they say otherwise.
 * I/O calls get ranges inside the node, aligned to limits.request_alignment and
 * no longer than the limits, and buffers aligned to limits.memory_alignment.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/io.h"

struct blockdev_create_options;
struct image_info_specific;
struct block_stats_specific;

/* What info() tells. */
struct driver_info {
	uint64_t cluster_size; /* bytes; 0 when there is none */
	bool is_dirty;
	bool needs_compressed_writes;
	bool has_snapshots;
};

/* A node about to be reopened with other options. */
struct reopen {
	struct node *node;
	const struct blockdev_options *options; /* new, complete */
	bool read_only;
	void *state; /* the driver's, between prepare and commit or abort */
};

struct driver {
	const char *name; /* as in BlockdevDriver, or an internal filter's name */
	size_t state_size;
	bool is_filter;       /* shows its EDGE_FILTERED child's data unchanged */
	bool is_format;       /* interprets an EDGE_PRIMARY child */
	bool supports_backing;/* has a COW child; then read_some is required */
	bool any_loop;        /* requests may be issued from any loop */

	/* Required. @options is NULL for node_open_internal(), whose @arg comes along. */
	int co_fn (*open)(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp);
	/* Optional. Flushes nothing: the core has done that. Children are detached by the core. */
	void co_fn (*close)(struct node *n);

	/* One of the two is required. Default for filters: pass on to the filtered child. */
	int co_fn (*read)(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags);
	/*
	 * Read the first part of the range, setting *bytes to its length, and
	 * return 0; or return READ_FROM_BACKING when the first *bytes are not
	 * allocated here. The core continues, below or behind.
	 */
	int co_fn (*read_some)(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			       unsigned flags);
	/* @flags hold REQUEST_FUA only with supports_fua, REQUEST_COMPRESSED only with can_compress. */
	int co_fn (*write)(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags);
	/* -ENOTSUP lets the core write zeroes, unless NO_FALLBACK. */
	int co_fn (*zero)(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);
	/* -ENOTSUP is taken for success. */
	int co_fn (*discard)(struct node *n, uint64_t offset, uint64_t bytes);
	/* Push own caches into the children; the core then flushes them. */
	int co_fn (*flush)(struct node *n);
	/* *ret->bytes comes in as the length asked about. Default: all data. */
	int co_fn (*status)(struct node *n, uint64_t offset, struct extent *ret);
	bool supports_fua, can_compress;

	int co_fn (*truncate)(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp);
	/* Bytes that the image takes on its medium, or a negative errno. */
	int64_t co_fn (*allocated_bytes)(struct node *n);

	/*
	 * What @n needs of a child by @role when its own parents together need
	 * @permissions and let others have @shared. Must not wait. Default by
	 * role: filter, format, or COW.
	 */
	void (*child_permissions)(struct node *n, const char *name, unsigned role,
				  unsigned permissions, unsigned shared,
				  unsigned *ret_permissions, unsigned *ret_shared);
	/*
	 * The permissions that all parents together need and share have
	 * changed, as with file locks. check may fail; then either set or
	 * abort_check follows. Must not wait.
	 */
	int (*check_permissions)(struct node *n, unsigned permissions, unsigned shared,
				 struct error **errp);
	void (*set_permissions)(struct node *n, unsigned permissions, unsigned shared);
	void (*abort_permissions)(struct node *n);

	/* Optional; without them only options of the core may change. */
	int co_fn (*reopen_prepare)(struct reopen *r, struct error **errp);
	void (*reopen_commit)(struct reopen *r);
	void (*reopen_abort)(struct reopen *r);

	/* Set n->limits from the children's and the medium. Must not wait. */
	void (*limits)(struct node *n);
	int co_fn (*info)(struct node *n, struct driver_info *ret);
	/* Schema structs for queries; NULL when there is nothing to say. The caller frees. */
	struct image_info_specific *(*specific_info)(struct node *n);
	struct block_stats_specific *(*specific_stats)(struct node *n);

	/* Write another backing name and format (either may be NULL) to the header, durably. */
	int co_fn (*change_backing)(struct node *n, const char *name, const char *format,
				    struct error **errp);

	/* Make an image or a file. Protocols are given the file name inside @options. */
	int co_fn (*create)(struct graph *g, const struct blockdev_create_options *options,
			    struct error **errp);
	/* How sure the driver is, 0 to 100, that @data begins an image of its format. No waiting. */
	int (*probe)(const uint8_t *data, size_t bytes, const char *filename);
};

enum { READ_FROM_BACKING = 1 };

#endif
