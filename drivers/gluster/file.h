/* SPDX-License-Identifier: MIT */
/*
 * An open file of a volume. Calls that wait do so off the loop, on threads of
 * their own, so that servers which hang hold up nobody else.
 */
#ifndef DRIVERS_GLUSTER_FILE_H
#define DRIVERS_GLUSTER_FILE_H

#include "drivers/gluster/volume.h"

struct glfs_fd;

struct gluster_file {
	struct gluster_volume *volume; /* held */
	struct glfs_fd *fd;
	uint64_t size;  /* bytes, when it was opened */
	uint64_t inode; /* its number in the volume */
	/*
	 * For asking where data and holes are, one at a time: the library keeps the
	 * answer in the handle, where requests that end meanwhile overwrite it. NULL
	 * where the volume does not tell.
	 */
	struct glfs_fd *seek_fd;
	struct co_mutex seek_lock;
};

/* What it is opened for, beyond reading. */
enum gluster_file_flags { GLUSTER_FILE_WRITE = 1, GLUSTER_FILE_DIRECT = 2 };

/*
 * Connect, and open the file that @o names within another o->connect_timeout.
 * *ret is closed by one of the two calls below. Control thread.
 */
int co_fn gluster_file_open(const struct blockdev_options_gluster *o, unsigned flags,
			    struct gluster_file **ret, struct error **errp);

/* Close, and wait for it for some seconds. No request is under way. NULL is allowed. */
void co_fn gluster_file_close(struct gluster_file *f);
/* Close, without waiting. Any thread. */
void gluster_file_release(struct gluster_file *f);

/*
 * Bytes that the file takes on its bricks, or a negative errno: -ETIMEDOUT after a second without an
 * answer, or at once where one about a file of the volume has not come some seconds ago.
 */
int64_t co_fn gluster_file_allocated(struct gluster_file *f);

/* Ask for the size of the file in bytes. 0 or a negative errno. */
int co_fn gluster_file_size(struct gluster_file *f, uint64_t *ret);

/* What lies at an offset. */
struct gluster_extent {
	bool is_data;
	uint64_t end; /* UINT64_MAX: to the end of the file */
};

/* Look where data begin and end. -ENOTSUP where that cannot be told, or another errno. */
int co_fn gluster_file_seek(struct gluster_file *f, uint64_t offset, struct gluster_extent *ret);

/* Have the range, which may reach beyond the end of the file, allocated. */
int co_fn gluster_file_allocate(struct gluster_file *f, uint64_t offset, uint64_t bytes);

#endif
