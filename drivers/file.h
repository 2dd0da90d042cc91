/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the file and host_device drivers share.
 *
 * Everything belongs to the node's loop, except what runs in co_blocking():
 * such functions touch only their own argument.
 */
#ifndef DRIVERS_FILE_H
#define DRIVERS_FILE_H

#include <sys/stat.h>

#include "base/aio.h"
#include "block/driver.h"

/*
 * An open descriptor. A node changes its descriptor when it becomes writable or
 * read-only; requests that are under way keep the one that they began with.
 */
struct descriptor {
	int fd;
	bool is_writable;
	bool is_direct;
	bool is_retired;         /* close with the last user */
	unsigned users;          /* requests under way */
	unsigned held, unshared; /* lock bits that it has: see file_lock.c */
};

struct file {
	struct node *node;
	struct descriptor *current;
	struct descriptor *next; /* checked, or prepared by a reopen, and not yet in force */
	bool is_device;           /* the host_device driver */
	bool is_block;            /* a block device, not a regular file or a character device */
	bool uses_locks;
	unsigned permissions, shared; /* in force, for the locks */
	dev_t device;
	ino_t inode;

	bool can_zero_range, can_punch_hole, can_allocate, can_discard; /* until refused */
	int flush_error; /* of the first flush that failed: all that follow fail */

	uint64_t discards_done, discards_failed, discarded_bytes;

	/* The last answer of SEEK_DATA: data up to here. */
	struct {
		uint64_t begin, end; /* equal: no answer */
	} data;
	uint64_t changes; /* that may have made a hole */

	uint32_t request_alignment, memory_alignment; /* that direct I/O asks for */
};

/* What an open, in co_blocking(), is asked and tells. */
struct file_open_request {
	const char *path;
	int flags;           /* of open(2) */
	bool wants_device;   /* a block or character device rather than a regular file */
	mode_t mode;         /* for O_CREAT */
	int fd;              /* result */
	struct stat st;
	uint64_t size;       /* bytes, a multiple of 512 */
	uint32_t request_alignment, memory_alignment;
	struct error *error;
};

/* file_open.c */

/* Open r->path as @r asks. 0, or a negative errno with r->error set. Never hangs on a FIFO. */
int co_fn file_open_path(struct file_open_request *r);
/* Set r->st and r->size of the open r->fd. 0 or a negative errno. */
int co_fn file_measure_size(struct file_open_request *r);
/* The flags of open(2) for a node with these properties. */
int file_open_flags(bool is_writable, bool is_direct);
struct descriptor *descriptor_new(int fd, bool is_writable, bool is_direct);
/* Let go of @h: it is closed now or with its last user; its locks go now. NULL is allowed. */
void descriptor_retire(struct descriptor *h);
/* Bracket each request. */
struct descriptor *descriptor_use(struct file *f);
void descriptor_done(struct descriptor *h);
/*
 * Open the file of @f once more, by its descriptor. Does not wait. 0, or a
 * negative errno with *errp set.
 */
int descriptor_reopen(struct file *f, bool is_writable, bool is_direct,
		       struct descriptor **ret, struct error **errp);

/* file_lock.c */

/* True when @fd's file system has open file description locks. */
bool file_lock_is_supported(int fd);
/*
 * Hold the bytes for @permissions and for what is not @shared on @h besides those
 * held already, and make sure that nobody else's stand against them. 0, or a
 * negative errno with *errp set and the locks as they were.
 */
int file_lock_widen(struct descriptor *h, unsigned permissions, unsigned shared,
		    const char *path, struct error **errp);
/* Hold exactly the bytes for @permissions and what is not @shared, which were all held. */
void file_lock_narrow(struct descriptor *h, unsigned permissions, unsigned shared);
/*
 * Take all bytes for @permissions and @shared without looking at others: for a
 * second descriptor of a file on whose first one they are held.
 */
int file_lock_copy(struct descriptor *h, unsigned permissions, unsigned shared,
		   const char *path, struct error **errp);

/* file_create.c */

int co_fn file_create(struct graph *g, const struct blockdev_create_options *options,
		      struct error **errp);
bool co_fn file_exists(struct graph *g, const struct blockdev_create_options *options);
void co_fn file_uncreate(struct graph *g, const struct blockdev_create_options *options);

/* file_io.c: calls of both drivers. */

/* Forget what is known of holes: one may be made. Before and after the request. */
void file_note_change(struct file *f);

int co_fn file_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v, unsigned flags);
int co_fn file_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
		     unsigned flags);
int co_fn file_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);
int co_fn file_discard(struct node *n, uint64_t offset, uint64_t bytes);
/* With copy_file_range(2), between regular files. */
int co_fn file_copy(struct node *n, uint64_t offset, uint64_t bytes, struct node *from,
		    uint64_t from_offset);
int co_fn file_flush(struct node *n);
int co_fn file_status(struct node *n, uint64_t offset, struct extent *ret);

#endif
