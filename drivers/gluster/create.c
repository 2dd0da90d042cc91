/* SPDX-License-Identifier: MIT */
/*
 * Making and deleting files of volumes. Control thread; what is called
 * ..._blocking() runs on threads of its own.
 */
#include <fcntl.h>
#include <glusterfs/api/glfs.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "drivers/gluster/gluster.h"
#include "drivers/gluster/volume.h"

/* Zeroes are asked for in pieces of this size: a brick may have to write them. */
#define FILL_BYTES (64 * MiB)
/* Where bricks cannot make zeroes they are sent, in pieces of this size. */
#define SEND_BYTES (1 * MiB)

struct creation {
	const struct blockdev_create_options_gluster *options;
	struct glfs *fs;
	uint64_t inode; /* of the file that is there already; 0 for none */
};

static int look_blocking(void *arg)
{
	struct creation *c = arg;
	struct stat st;
	if (glfs_stat(c->fs, c->options->location->path, &st) == 0)
		c->inode = st.st_ino;
	return 0;
}

static int send_zeroes(struct glfs_fd *fd, uint64_t offset, uint64_t end)
{
	void *zeroes _cleanup_free_ = calloc(1, SEND_BYTES);
	if (!zeroes)
		return -ENOMEM;
	while (offset < end) {
		ssize_t n = glfs_pwrite(fd, zeroes, MIN(SEND_BYTES, end - offset), (off_t)offset, 0,
					NULL, NULL);
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		offset += (uint64_t)n;
	}
	return 0;
}

static int fill_with_zeroes(struct glfs_fd *fd, uint64_t size)
{
	for (uint64_t offset = 0, bytes; offset < size; offset += bytes) {
		bytes = MIN(size - offset, FILL_BYTES);
		if (glfs_zerofill(fd, (off_t)offset, (off_t)bytes) == 0)
			continue;
		return errno == ENOTSUP || errno == ENOSYS ? send_zeroes(fd, offset, size) : -errno;
	}
	return 0;
}

static int set_size(struct glfs_fd *fd, const struct blockdev_create_options_gluster *o)
{
	if (glfs_ftruncate(fd, (off_t)o->size, NULL, NULL) < 0)
		return -errno;
	if (o->size == 0)
		return 0;
	if (o->preallocation == PREALLOC_MODE_FALLOC)
		return glfs_fallocate(fd, 0, 0, o->size) < 0 ? -errno : 0;
	if (o->preallocation == PREALLOC_MODE_FULL)
		return fill_with_zeroes(fd, o->size);
	return 0;
}

static int create_blocking(void *arg)
{
	struct creation *c = arg;
	struct glfs_fd *fd = glfs_creat(c->fs, c->options->location->path, O_RDWR | O_TRUNC,
					S_IRUSR | S_IWUSR);
	if (!fd)
		return errno != 0 ? -errno : -EIO;
	int r = set_size(fd, c->options);
	if (r >= 0 && glfs_fsync(fd, NULL, NULL) < 0)
		r = -errno;
	if (glfs_close(fd) < 0 && r >= 0)
		r = -errno;
	return r;
}

static int co_fn create_on(struct gluster_volume *v,
			   const struct blockdev_create_options_gluster *o, struct error **errp)
{
	const char *path = o->location->path, *volume = o->location->volume;
	struct creation c = {.options = o, .fs = gluster_volume_fs(v)};
	int r = co_detached(look_blocking, &c, NULL, 0);
	/* No lock of another process can be seen, but our own nodes' images are not emptied. */
	if (r >= 0 && c.inode != 0 && gluster_is_open(volume, c.inode))
		return error_set(errp, -EBUSY, "'%s' of volume '%s' is in use", path, volume);
	if (r >= 0)
		r = co_detached(create_blocking, &c, NULL, 0);
	if (r < 0)
		return error_set_errno(errp, r, "Could not create '%s' on volume '%s'", path,
				       volume);
	return 0;
}

int co_fn gluster_create(struct graph *g, const struct blockdev_create_options *options,
			 struct error **errp)
{
	const struct blockdev_create_options_gluster *o = &options->u.gluster;
	const char *path = o->location->path;
	if (o->preallocation == PREALLOC_MODE_METADATA)
		return error_set(errp, -ENOTSUP, "Unsupported preallocation mode 'metadata'");
	if (o->size > INT64_MAX)
		return error_set(errp, -EFBIG, "The size of '%s' is too large", path);
	struct gluster_volume *v;
	int r = gluster_volume_get(o->location, &v, errp);
	if (r < 0)
		return r;
	r = create_on(v, o, errp);
	gluster_volume_put(v);
	return r;
}

static int unlink_blocking(void *arg)
{
	struct creation *c = arg;
	return glfs_unlink(c->fs, c->options->location->path) < 0 ? -errno : 0;
}

void co_fn gluster_uncreate(struct graph *g, const struct blockdev_create_options *options)
{
	struct creation c = {.options = &options->u.gluster};
	struct gluster_volume *v;
	if (gluster_volume_get(c.options->location, &v, NULL) < 0)
		return;
	c.fs = gluster_volume_fs(v);
	/* What cannot be deleted stays, as a file without content. */
	(void)co_detached(unlink_blocking, &c, NULL, 0);
	gluster_volume_put(v);
}
