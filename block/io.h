/* SPDX-License-Identifier: MIT */
/*
 * The data path: every request to a node goes through these calls on an edge.
 *
 * They check bounds and permissions, track the request, wait for overlapping
 * serialising ones, align (with read-modify-write), split to the driver's
 * limits and walk backing chains without recursion. Offsets and byte counts
 * may be anything within the node's size. They run in a coroutine of the child's
 * loop; when the parent is a consumer, inside one of its operations; buffers are
 * the caller's until they return.
 *
 * Return 0 or a negative errno: -EPERM without the permission, or on a node that is
 * read-only or inactive; -EIO beyond the end, or on an image that has been found
 * damaged; -ENOMEM; or what a driver says.
 */
#ifndef BLOCK_IO_H
#define BLOCK_IO_H

#include "base/vec.h"
#include "block/node.h"

enum request_flags {
	REQUEST_FUA = 1 << 0,          /* durable when the call returns */
	REQUEST_MAY_UNMAP = 1 << 1,    /* zero: may deallocate */
	REQUEST_NO_FALLBACK = 1 << 2,  /* zero: fail with -ENOTSUP rather than write zeroes slowly */
	/* write: what shows already shall be stored here, even zeroes (copy-on-read) */
	REQUEST_UNCHANGED = 1 << 3,
	REQUEST_SERIALISING = 1 << 4,  /* wait for, and hold up, everything that overlaps */
	REQUEST_NO_WAIT = 1 << 5,      /* with SERIALISING: -EBUSY rather than wait */
	REQUEST_PREFETCH = 1 << 6,     /* read: the data is not wanted; @v may be empty */
	REQUEST_COPY_ON_READ = 1 << 7, /* read: allocate in this node what comes from below */
	REQUEST_COMPRESSED = 1 << 8,   /* write: store compressed, if the format can */
};

/* Longest single request, in bytes, that a caller may make. Longer reads are -EIO, writes -EINVAL. */
#define REQUEST_MAX (UINT64_C(1) << 31)

/* Read @bytes into the front of @v or to @p, or write them from there. @flags: enum request_flags. */
int co_fn edge_readv(struct edge *e, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);
int co_fn edge_writev(struct edge *e, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);
int co_fn edge_read(struct edge *e, uint64_t offset, uint64_t bytes, void *p, unsigned flags);
int co_fn edge_write(struct edge *e, uint64_t offset, uint64_t bytes, const void *p, unsigned flags);
/* Make the range read as zeroes. @bytes is not limited by REQUEST_MAX. */
int co_fn edge_zero(struct edge *e, uint64_t offset, uint64_t bytes, unsigned flags);
/* Say that the range's content is not needed. Ignored where discard is off. */
int co_fn edge_discard(struct edge *e, uint64_t offset, uint64_t bytes);
/* Make everything written through this node durable, down to the disk. */
int co_fn edge_flush(struct edge *e);

/*
 * Have the kernel copy the range from @source to @target, where both show a file just as it
 * is. The range holds data. -ENOTSUP or another error when it has not, or not to the end:
 * then it is to be read and written. Both edges are of one parent.
 */
int co_fn edge_copy(struct edge *source, struct edge *target, uint64_t offset, uint64_t bytes);
/* For driver->copy: the same, when it is known where the data lies. */
int co_fn edge_copy_from(struct edge *e, uint64_t offset, uint64_t bytes, struct node *from,
			 uint64_t from_offset);

enum preallocation { PREALLOCATION_OFF, PREALLOCATION_METADATA, PREALLOCATION_FALLOC,
		     PREALLOCATION_FULL };

/* Change the child's size. New bytes read as zeroes. */
int co_fn edge_truncate(struct edge *e, uint64_t size, enum preallocation preallocation,
			struct error **errp);
/* The same for a child that shall be at least @size long: never cuts what others have added. */
int co_fn edge_grow(struct edge *e, uint64_t size, enum preallocation preallocation,
		    struct error **errp);

/* What is known of a range. */
enum extent_flags {
	EXTENT_DATA = 1 << 0,       /* has data to read (possibly zeroes) */
	EXTENT_ZERO = 1 << 1,       /* reads as zeroes */
	EXTENT_ALLOCATED = 1 << 2,  /* comes from this layer, not from the backing file */
	EXTENT_OFFSET_VALID = 1 << 3, /* @offset in @node says where the bytes lie as they are */
	EXTENT_RECURSE = 1 << 4,    /* driver: ask @node for more about the range */
	EXTENT_COMPRESSED = 1 << 5,
	EXTENT_EOF = 1 << 6,        /* reaches the end of the node */
};

struct extent {
	unsigned flags;
	uint64_t bytes;     /* how far the answer holds; at least 1 */
	struct node *node;  /* with EXTENT_OFFSET_VALID */
	uint64_t offset;
};

/* What @n shows at @offset, looking through the whole chain. *ret->bytes is at most @bytes. */
int co_fn node_status(struct node *n, uint64_t offset, uint64_t bytes, struct extent *ret);
/* Whether node_status() of @n may ask a server, which may take as long as a read. */
bool node_status_is_costly(const struct node *n);
/*
 * Whether the range is allocated in the layers from @top down to, not
 * including, @base (NULL: the whole chain). Sets *ret->flags to
 * EXTENT_ALLOCATED (plus EXTENT_ZERO, EXTENT_DATA as known) or 0;
 * *ret_depth, if not NULL, is 1 for @top, and so on; 0 when unallocated.
 */
int co_fn node_status_above(struct node *top, struct node *base, uint64_t offset, uint64_t bytes,
			    struct extent *ret, unsigned *ret_depth);

#endif
