/* SPDX-License-Identifier: MIT */
/*
 * The state of an open image. An image is a row of extents, each in a file: a flat one, or a
 * sparse one whose grain directory leads to grain tables, which lead to grains.
 *
 * Order of locks: cid_lock, then vmdk_extent.lock. Data I/O holds neither.
 */
#ifndef DRIVERS_VMDK_STATE_H
#define DRIVERS_VMDK_STATE_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "block/driver.h"
#include "drivers/vmdk/descriptor.h"
#include "drivers/vmdk/format.h"
#include "drivers/vmdk/header.h"
#include "drivers/vmdk/vmdk.h"

/* Grain tables in memory, of each extent. */
#define VMDK_CACHE_TABLES 256

struct vmdk_table {
	uint64_t number; /* in the directory */
	bool is_dirty;
	uint32_t entries[]; /* sectors, in host order */
};

/* Grains that are being written for the first time; no table has them yet. */
struct vmdk_allocation {
	struct list link;
	uint64_t first, count; /* grains */
};

struct vmdk_extent {
	struct node *node;
	struct edge *file; /* NULL for VMDK_ZERO */
	enum vmdk_extent_type type;
	bool is_sparse;
	bool is_embedded;  /* its descriptor lies in the same file */
	bool read_only;    /* by the descriptor */
	uint64_t start, bytes; /* of the disk */
	uint64_t offset;   /* of a flat one, in its file */

	/* Of a sparse one. */
	struct vmdk_header header;
	bool is_compressed, has_markers, has_zero_grain, has_footer;
	uint64_t grain_bytes;
	uint64_t table_span; /* bytes of the disk that one table is about */
	uint32_t *directory, *redundant; /* sectors of the tables; the second NULL for none */

	struct co_mutex lock; /* of what follows */
	struct vmdk_table *tables[VMDK_CACHE_TABLES]; /* by number */
	unsigned dirty_count;
	uint64_t next_free;   /* where new grains go; 0: not known yet */
	struct list allocations; /* struct vmdk_allocation.link */
	struct co_queue allocated; /* waiting for one of them */

	struct co_mutex decode_lock;
	uint64_t decoded_host; /* of the grain that @decoded holds; 0 for none */
	uint8_t *decoded;      /* a grain, or NULL */
};

struct vmdk {
	struct vmdk_extent *extents;
	unsigned count;
	char *create_type; /* NULL: the image does not say */
	uint32_t cid, parent_cid;
	bool has_cid;
	uint64_t descriptor_offset, descriptor_bytes; /* in n->file */
	bool is_text;             /* the file has only the descriptor, and may grow */
	struct co_mutex cid_lock;
	bool has_new_cid;         /* the content ID was changed since the image was opened */
	/* The backing node that has been found to be as it was when this image was made. */
	const struct node *known_parent;
	char known_parent_name[NODE_NAME_MAX + 1];
};

static inline uint64_t vmdk_file_size(const struct vmdk_extent *x)
{
	return x->file->child->size;
}

/*
 * Whether the file of a flat extent has the range. What it lacks has been lost, and is neither
 * read as zeroes nor made anew.
 */
static inline bool vmdk_flat_has(const struct vmdk_extent *x, uint64_t offset, uint64_t bytes)
{
	return x->offset + offset + bytes <= vmdk_file_size(x);
}

/* The extent that @offset of the disk lies in. */
struct vmdk_extent *vmdk_find_extent(struct vmdk *v, uint64_t offset);

/* --- extent.c --- */

/* Read header and directory of the sparse extent @x, whose file is attached. */
int co_fn vmdk_extent_load(struct vmdk_extent *x, struct error **errp);
/*
 * Why the extent cannot be written to, so that nothing is damaged that is well: a sentence to be
 * freed with free(), or NULL when it can.
 */
char *vmdk_extent_obstacle(const struct vmdk_extent *x);
void vmdk_extent_init(struct vmdk_extent *x, struct node *n);
void vmdk_extent_finish(struct vmdk_extent *x);

/* --- table.c --- */

/* The grain table @number, which exists. Valid until the caller waits. */
int co_fn vmdk_table_get(struct vmdk_extent *x, uint64_t number, struct vmdk_table **ret);
/* The same with x->lock held; valid until that is let go, or another table is asked for. */
int co_fn vmdk_table_get_locked(struct vmdk_extent *x, uint64_t number, struct vmdk_table **ret);
void vmdk_table_set(struct vmdk_extent *x, struct vmdk_table *t, uint32_t index, uint32_t entry);
/* Make data durable, then write the tables that lead to it. With x->lock held. */
int co_fn vmdk_tables_write(struct vmdk_extent *x);

enum vmdk_run_type {
	VMDK_RUN_NONE, /* no grain: the backing file shows, or zeroes */
	VMDK_RUN_ZEROES,
	VMDK_RUN_DATA,
	VMDK_RUN_COMPRESSED,
};

struct vmdk_run {
	enum vmdk_run_type type;
	uint64_t bytes;
	uint64_t host; /* in the file: of the first byte, or of a compressed grain */
};

/* What is known of the range at @offset of the extent; *ret->bytes is at most @bytes. */
int co_fn vmdk_map(struct vmdk_extent *x, uint64_t offset, uint64_t bytes, struct vmdk_run *ret);

/*
 * Call @visit for each grain that is in the tables of the file, with its number and where it
 * lies in sectors. What it returns other than 0 ends the walk and is returned.
 */
int co_fn vmdk_visit_grains(struct vmdk_extent *x,
			    int (*visit)(void *arg, uint64_t grain, uint32_t sector), void *arg);

/* --- cid.c --- */

/* Before the first write: give the image a new content ID, durably. */
int co_fn vmdk_begin_writing(struct node *n);
/* 0 when the backing file is the one that this image was made on, else -EINVAL. Must not wait. */
int vmdk_check_parent(struct node *n);

/* --- compress.c --- */

/* Read from the compressed grain at @host, @within bytes into it. */
int co_fn vmdk_read_compressed(struct vmdk_extent *x, uint64_t offset, const struct vmdk_run *run,
			       struct vec v);
/* Write a whole grain, or what there is of the last one, that has not been written before. */
int co_fn vmdk_write_compressed(struct vmdk_extent *x, uint64_t offset, uint64_t bytes,
				struct vec v);

/* --- allocate.c --- */

/* With x->lock held: room for @bytes, aligned to @align. Sets *ret to where in the file. */
int co_fn vmdk_allocate(struct vmdk_extent *x, uint64_t bytes, uint64_t align, uint64_t *ret);
/*
 * With x->lock held, which is let go of meanwhile: wait until no grain of the range is being
 * allocated. True: the caller must look again.
 */
bool co_fn vmdk_wait_for_allocation(struct vmdk_extent *x, uint64_t first, uint64_t count);

/* --- the driver's calls --- */

int co_fn vmdk_open(struct node *n, const struct blockdev_options *options, void *arg,
		    struct error **errp);
void co_fn vmdk_close(struct node *n);
int vmdk_probe(const uint8_t *data, size_t bytes, const char *filename);
int co_fn vmdk_reopen_prepare(struct reopen *r, struct error **errp);
int co_fn vmdk_read_some(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			 unsigned flags);
int co_fn vmdk_status(struct node *n, uint64_t offset, struct extent *ret);
int co_fn vmdk_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);
int co_fn vmdk_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);
int co_fn vmdk_flush(struct node *n);
int co_fn vmdk_check(struct node *n, unsigned fix, struct image_check *ret, struct error **errp);
int co_fn vmdk_info(struct node *n, struct driver_info *ret);
struct image_info_specific *vmdk_specific_info(struct node *n);
void vmdk_limits(struct node *n);
int64_t co_fn vmdk_allocated_bytes(struct node *n);
bool vmdk_further_file(const struct blockdev_create_options *options, const char *filename,
		       unsigned index, char **ret_name, uint64_t *ret_size);
int co_fn vmdk_create(struct graph *g, const struct blockdev_create_options *options,
		      struct error **errp);

#endif
