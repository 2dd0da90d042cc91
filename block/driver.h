/* SPDX-License-Identifier: MIT */
/*
 * The table behind a node. Whatever a driver leaves NULL has a default in the
 * core, so that a driver without state needs about 30 lines.
 *
 * All calls run on the node's loop, in a coroutine unless they say otherwise.
 * I/O calls get ranges inside the node, aligned to limits.request_alignment and
 * no longer than the limits, and buffers aligned to limits.memory_alignment. The
 * last block of a node whose size is no multiple of the alignment is passed
 * whole; what a read finds beyond the medium's end is zero. A driver that
 * grows_on_write gets writes that lie beyond the end, too.
 */
#ifndef BLOCK_DRIVER_H
#define BLOCK_DRIVER_H

#include "block/io.h"

struct blockdev_create_options;
struct cbw;
struct image_info_specific;
struct block_stats_specific;
struct snapshot_info_list;

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

/* What a check of an image's structure found. Counts are of clusters unless said. */
struct image_check {
	uint64_t corruptions;       /* broken references, that repair did not mend */
	uint64_t leaks;             /* taken but unused, and not given back */
	uint64_t errors;            /* parts that could not be checked */
	uint64_t corruptions_fixed, leaks_fixed;
	bool has_lost; /* some clusters in use count as free: giving back leaks is not safe */
	uint64_t image_end;         /* bytes: the end of the last cluster in use */
	uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
	/* Set by the caller, optional: called for each finding with a sentence. Must not wait. */
	void (*report)(void *arg, const char *finding);
	void *report_arg;
};

/* Sizes of a new image's file in bytes. */
struct image_measure {
	uint64_t required;        /* with the source's content */
	uint64_t fully_allocated; /* when everything has been written to */
	bool has_bitmaps;
	uint64_t bitmaps;         /* more, for copies of the source's bitmaps */
};

enum image_check_fix { IMAGE_FIX_LEAKS = 1 << 0, IMAGE_FIX_ERRORS = 1 << 1 };

struct driver {
	const char *name; /* as in BlockdevDriver, or an internal filter's name */
	size_t state_size;
	bool is_filter;       /* shows its EDGE_FILTERED child's data unchanged */
	bool is_entrance;     /* who names its child comes in by it, so that it sees all writes */
	bool votes;           /* shows what most of its children agree on */
	bool named_as_child;  /* goes by its child's name, whatever its options are */
	bool is_format;       /* interprets an EDGE_PRIMARY child */
	bool supports_backing;/* has a COW child; then read_some is required */
	bool any_loop;        /* requests may be issued from any loop */
	bool can_be_inactive; /* writes nothing by itself; formats have activate; see active.h */
	bool is_remote;       /* its storage is reached by a network, and may never answer */
	bool is_preexisting;  /* storage that exists before an image is made in it: create is NULL */
	bool grows_on_write;  /* a write beyond the end extends the node; else it is truncated first */
	/*
	 * A file name that begins with this and a colon means this driver: "null-co".
	 * What follows is its option "filename", or "//" when it has none. Optional.
	 */
	const char *protocol;
	/*
	 * Where names say more than that: what @name, which begins with protocol,
	 * perhaps a plus and a transport, and a colon, stands for, as key=value text
	 * with the driver. *ret is freed with free(). -ENOENT for an unknown
	 * transport. No waiting. Optional.
	 */
	int (*parse_name)(const char *name, char **ret, struct error **errp);
	bool filename_in_json; /* older json: names have such a name in a member "filename" */
	/* Such a name for that member, which says what it can of @options. Optional. */
	char *(*print_name)(const struct blockdev_options *options);
	/*
	 * Optional: only the members above are here, and this gives the whole driver,
	 * which lives as long as the program. NULL and *errp when it cannot be had.
	 * Control thread.
	 */
	const struct driver *co_fn (*load)(struct error **errp);
	/*
	 * Where names are "PROTOCOL:OPTION:NAME", the names in the schema of the option
	 * (left out where that part is empty) and of the child that NAME is. Optional.
	 */
	const char *wrapped_option, *wrapped_child;
	/*
	 * The name of a node without options that make a difference, whose n->file has
	 * a plain one. Free with free(). Default: that of n->file.
	 */
	char *(*plain_name)(const struct node *n);
	/*
	 * Options, by their names in the schema, that change what the node shows.
	 * Where one is given, the node's name is a json: name that repeats it, and
	 * the required ones. Up to a NULL; NULL for none.
	 */
	const char *const *strong_options;

	/*
	 * Required. @options is NULL for node_open_internal(), whose @arg comes along.
	 * Attaches the children but the backing file, which the core opens later from
	 * the options or from n->backing_name; sets n->size and, for a protocol,
	 * n->filename to the plain name, if there is one. On failure the core detaches
	 * the children and frees the state; close is not called.
	 */
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
	/*
	 * @flags hold REQUEST_FUA only with supports_fua, REQUEST_COMPRESSED only with
	 * can_compress. Default for filters: pass on, as for the calls below.
	 */
	int co_fn (*write)(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags);
	/* -ENOTSUP lets the core write zeroes, unless NO_FALLBACK. */
	int co_fn (*zero)(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);
	/* -ENOTSUP is taken for success. */
	int co_fn (*discard)(struct node *n, uint64_t offset, uint64_t bytes);
	/* Told what happens inside whoever uses the node, see BlkdebugEvent. Must not wait. Optional. */
	void (*debug_event)(struct node *n, enum blkdebug_event event);
	/*
	 * Push own caches into the children; the core then flushes them. With
	 * flushes_children this makes them durable as well, as far as needed.
	 */
	int co_fn (*flush)(struct node *n);
	bool flushes_children;
	/*
	 * *ret->bytes comes in as the length asked about. A filter may return
	 * STATUS_FROM_BACKING to leave the answer to its child. Default: all data.
	 */
	int co_fn (*status)(struct node *n, uint64_t offset, struct extent *ret);
	bool status_is_costly; /* it asks a server: not worth it to save a read */
	bool supports_fua, can_compress;

	/*
	 * Take in @child as one more, or give up the child at @e, which belong to nobody
	 * else, in a graph transaction of the driver's; for drivers with any number of
	 * children. The node is drained and the change lock held.
	 */
	int co_fn (*add_child)(struct node *n, struct node *child, struct error **errp);
	int co_fn (*remove_child)(struct node *n, struct edge *e, struct error **errp);

	/*
	 * What is new reads as zeroes, unless node_grows_zeroed() says no. The core stores the
	 * size, and hides a longer backing file.
	 */
	int co_fn (*truncate)(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp);
	/* The size is stored by truncate() or child_resized(): it may come out longer than asked for. */
	bool sizes_itself;
	/* Optional: @e->child has changed its size. Default for filters: take it over. Must not wait. */
	void (*child_resized)(struct node *n, struct edge *e);
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
	 * changed, as with file locks. check may fail. After it has succeeded, either
	 * set or abort follows. Several nodes may stand between the two, and check may be
	 * repeated. Must not wait.
	 */
	int (*check_permissions)(struct node *n, unsigned permissions, unsigned shared,
				 struct error **errp);
	void (*set_permissions)(struct node *n, unsigned permissions, unsigned shared);
	void (*abort_permissions)(struct node *n);
	/*
	 * Optional: @n was marked by node_unsettle(), as from set_permissions, and the
	 * change of the graph is over. May wait, and make changes of its own.
	 */
	void co_fn (*settle)(struct node *n);

	/* Optional: the point in time that the filter keeps of its child. Must not wait. */
	struct cbw *(*cbw)(const struct node *n);
	/*
	 * Optional, for drivers that let requests wait without need. Between the two,
	 * which may nest, somebody waits for operations whose requests may come here, and
	 * they must be let go at once. Must not wait.
	 */
	void (*hurry_begin)(struct node *n);
	void (*hurry_end)(struct node *n);

	/*
	 * Optional: write what lies in the file of @from, a node of a driver with this call,
	 * without reading it. Who has it shows its storage as it is. -ENOTSUP where that
	 * cannot be, and on any failure the range may hold anything.
	 */
	int co_fn (*copy)(struct node *n, uint64_t offset, uint64_t bytes, struct node *from,
			  uint64_t from_offset);

	/* Optional: both are open on the same file. Finds loops in backing chains. Must not wait. */
	bool (*same_medium)(const struct node *a, const struct node *b);

	bool is_fixed; /* nothing of it can be changed by a reopen that names it */
	/*
	 * Optional; without them only options of the core and children may change.
	 * Prepare sees n->read_only and the cache options as they shall be; n's
	 * children change after it. Permissions are checked between prepare and commit,
	 * and set after commit.
	 * reopen_options names the driver's options, up to a NULL, whose change
	 * prepare accepts or judges itself; for others the core refuses one.
	 */
	const char *const *reopen_options;
	int co_fn (*reopen_prepare)(struct reopen *r, struct error **errp);
	void (*reopen_commit)(struct reopen *r);
	void (*reopen_abort)(struct reopen *r);
	/*
	 * Another process may have changed the storage while the drained node was inactive:
	 * load what is known of it anew. A failure leaves the node as it was. A format gets
	 * inactive by a reopening as read-only, with n->active cleared before the commit.
	 * Optional.
	 */
	int co_fn (*activate)(struct node *n, struct error **errp);

	/*
	 * Set n->limits from the medium. They come in as what follows from the
	 * children. Must not wait.
	 */
	void (*limits)(struct node *n);
	int co_fn (*info)(struct node *n, struct driver_info *ret);
	/* Schema structs for queries; NULL when there is nothing to say. The caller frees. */
	struct image_info_specific *(*specific_info)(struct node *n);
	struct block_stats_specific *(*specific_stats)(struct node *n);

	/* Write another backing name and format (either may be NULL) to the header, durably. */
	int co_fn (*change_backing)(struct node *n, const char *name, const char *format,
				    struct error **errp);

	/*
	 * Check the image's structure and mend what @fix (enum image_check_fix)
	 * allows, on a drained node. Findings are no error: only what kept the
	 * check from running to its end is.
	 */
	int co_fn (*check)(struct node *n, unsigned fix, struct image_check *ret,
			   struct error **errp);

	/*
	 * 0 when a bitmap like that could be stored in the image of @n, which has none of
	 * that name open; or a negative errno with the reason. Optional.
	 */
	int co_fn (*can_store_bitmap)(struct node *n, const char *name, uint32_t granularity,
				      struct error **errp);
	/* Remove the stored copy of a bitmap, if there is one; users go on. With can_store_bitmap. */
	int co_fn (*remove_bitmap)(struct node *n, const char *name, struct error **errp);
	/* Stored bitmaps are about to change without a write. With can_store_bitmap. */
	int co_fn (*change_bitmaps)(struct node *n, struct error **errp);

	/*
	 * Drop everything that the image holds, so that its backing file shows, durably. It
	 * is open for writing and nobody else uses it.
	 */
	int co_fn (*make_empty)(struct node *n, struct error **errp);
	/*
	 * Change options of the image to those of @options that are given, durably. The size
	 * and where the image lies do not count. Nobody else uses it.
	 */
	int co_fn (*amend)(struct node *n, const struct blockdev_create_options *options,
			   struct error **errp);
	/*
	 * How much room an image made with @options, whose size is that of the content,
	 * takes; with what @source (NULL: nothing) shows in it.
	 */
	int co_fn (*measure)(const struct blockdev_create_options *options, struct node *source,
			     struct image_measure *ret, struct error **errp);

	/*
	 * Internal snapshots. The image is open for writing and its users are drained, but
	 * for list and show. @id is one of those that list has given.
	 */
	int co_fn (*snapshot_list)(struct node *n, struct snapshot_info_list *ret,
				   struct error **errp);
	/* Keep the present content as @name, which need not be unique, durably. */
	int co_fn (*snapshot_create)(struct node *n, const char *name, struct error **errp);
	/* Let the content be the snapshot's, durably. The size may change. */
	int co_fn (*snapshot_apply)(struct node *n, const char *id, struct error **errp);
	int co_fn (*snapshot_delete)(struct node *n, const char *id, struct error **errp);
	/* Let a node that is open for reading only show the snapshot from now on. */
	int co_fn (*snapshot_show)(struct node *n, const char *id, struct error **errp);

	/*
	 * Make an image or a file. Protocols are given the file name inside @options.
	 * The caller holds the change lock; it may be let go of while much is written. One
	 * that is_remote has no need of it, and may be called without.
	 */
	int co_fn (*create)(struct graph *g, const struct blockdev_create_options *options,
			    struct error **errp);
	/*
	 * Optional: the name and the size in bytes of the further file number @index, from 0 on, that
	 * a new image called @filename, with @options, consists of; false when there are no more. Who
	 * creates it by its name makes them, and gives them to create as the list "extents". The
	 * name is freed with free(). Must not wait.
	 */
	bool (*further_file)(const struct blockdev_create_options *options, const char *filename,
			     unsigned index, char **ret_name, uint64_t *ret_size);
	/* Whether the storage is there that create would make of @options. Optional: always. */
	bool co_fn (*exists)(struct graph *g, const struct blockdev_create_options *options);
	/* Delete what create has made of the same @options: it is not needed, or is no image. */
	void co_fn (*uncreate)(struct graph *g, const struct blockdev_create_options *options);
	/* How sure the driver is, 0 to 100, that @data begins an image of its format. No waiting. */
	int (*probe)(const uint8_t *data, size_t bytes, const char *filename);
};

/*
 * What the driver of @n, or of the file that it shows as it is, tells of the image. 0, -ENOTSUP
 * when none of them has anything to tell, or what the driver returns. Node's loop.
 */
int co_fn node_driver_info(struct node *n, struct driver_info *ret);

enum { READ_FROM_BACKING = 1, STATUS_FROM_BACKING = 1 };

/* Something has happened on the way to @n, whose driver may have rules for faults about it. */
static inline void node_debug_event(struct node *n, enum blkdebug_event event)
{
	if (n->driver->debug_event)
		n->driver->debug_event(n, event);
}

#endif
