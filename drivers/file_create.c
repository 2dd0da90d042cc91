/* SPDX-License-Identifier: MIT */
/*
 * Making files. create_blocking() and what it calls run on a worker thread.
 *
 * An existing file is emptied, but only under the locks of a writer, so that
 * nobody loses an image that another process has open.
 */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "block/graph.h"
#include "drivers/file.h"

struct creation {
	const struct blockdev_create_options_file *options;
	struct descriptor descriptor;
	struct error *error;
};

/* Hints that a file system may not know; nothing depends on them. */
static void give_hints(struct creation *c)
{
	const struct blockdev_create_options_file *o = c->options;
	int flags;
	if (o->nocow && ioctl(c->descriptor.fd, FS_IOC_GETFLAGS, &flags) == 0) {
		flags |= FS_NOCOW_FL;
		ioctl(c->descriptor.fd, FS_IOC_SETFLAGS, &flags);
	}
	struct fsxattr attributes;
	if (o->extent_size_hint != 0 && o->extent_size_hint <= UINT32_MAX &&
	    ioctl(c->descriptor.fd, FS_IOC_FSGETXATTR, &attributes) == 0 &&
	    !(attributes.fsx_xflags & FS_XFLAG_EXTSIZE)) {
		attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
		attributes.fsx_extsize = (uint32_t)o->extent_size_hint;
		ioctl(c->descriptor.fd, FS_IOC_FSSETXATTR, &attributes);
	}
}

static int fill_with_zeroes(int fd, uint64_t size)
{
	const size_t chunk = 1 * MiB;
	_cleanup_free_ char *zeroes = calloc(1, chunk);
	if (!zeroes)
		return -ENOMEM;
	for (uint64_t at = 0; at < size;) {
		ssize_t n = pwrite(fd, zeroes, MIN(chunk, size - at), (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += (uint64_t)n;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

/*
 * Where nothing is allocated, direct reads of any alignment succeed, and whoever opens the
 * file later cannot find out which alignment it needs. Failure is harmless.
 */
static void allocate_first_block(int fd, uint64_t size)
{
	static const char zeroes[4096];
	ssize_t n;
	do {
		n = pwrite(fd, zeroes, MIN(sizeof(zeroes), size), 0);
	} while (n < 0 && errno == EINTR);
}

static int set_size(struct creation *c)
{
	const struct blockdev_create_options_file *o = c->options;
	int fd = c->descriptor.fd;
	if (ftruncate(fd, 0) < 0)
		return error_set_errno(&c->error, -errno, "Could not empty '%s'", o->filename);
	give_hints(c);
	if (ftruncate(fd, (off_t)o->size) < 0)
		return error_set_errno(&c->error, -errno, "Could not resize '%s'", o->filename);
	int r = 0;
	if (o->size > 0 && o->preallocation == PREALLOC_MODE_FALLOC)
		r = -posix_fallocate(fd, 0, (off_t)o->size);
	else if (o->preallocation == PREALLOC_MODE_FULL)
		r = fill_with_zeroes(fd, o->size);
	else
		allocate_first_block(fd, o->size);
	if (r < 0)
		return error_set_errno(&c->error, r, "Could not preallocate '%s'", o->filename);
	return 0;
}

static int create_locked(struct creation *c)
{
	struct descriptor *h = &c->descriptor;
	if (!file_lock_is_supported(h->fd))
		return set_size(c);
	int r = file_lock_widen(h, PERM_WRITE | PERM_RESIZE, PERM_ALL & ~PERM_RESIZE,
				c->options->filename, &c->error);
	if (r < 0)
		return r;
	r = set_size(c);
	file_lock_narrow(h, 0, PERM_ALL);
	return r;
}

static int create_blocking(void *arg)
{
	struct creation *c = arg;
	int r = create_locked(c);
	if (close(c->descriptor.fd) < 0 && r >= 0)
		r = error_set_errno(&c->error, -errno, "Could not close '%s'",
				    c->options->filename);
	return r;
}

int co_fn file_create(struct graph *g, const struct blockdev_create_options *options,
		      struct error **errp)
{
	const struct blockdev_create_options_file *o = &options->u.file;
	if (o->preallocation == PREALLOC_MODE_METADATA)
		return error_set(errp, -ENOTSUP, "Unsupported preallocation mode: metadata");
	/* Before a file that is there loses what it holds. */
	if (o->size > INT64_MAX)
		return error_set_errno(errp, -EFBIG, "Could not resize '%s'", o->filename);
	struct file_open_request request = {
		.path = o->filename,
		.flags = file_open_flags(true, false) | O_CREAT,
		.mode = 0644,
	};
	int r = file_open_path(&request);
	if (r < 0)
		return error_move(errp, request.error);
	struct creation c = {.options = o, .descriptor = {.fd = request.fd}};
	/* Writing the whole file takes long, and has nothing to do with the graph. */
	struct graph_suspension suspension;
	bool is_long = o->preallocation == PREALLOC_MODE_FULL;
	if (is_long)
		graph_change_suspend(g, &suspension);
	r = co_blocking(create_blocking, &c);
	if (is_long)
		graph_change_resume(g, &suspension);
	return r < 0 ? error_move(errp, c.error) : 0;
}

static int look_blocking(void *arg)
{
	const struct blockdev_create_options_file *o = arg;
	struct stat st;
	return lstat(o->filename, &st) < 0 && errno == ENOENT ? 0 : 1;
}

bool co_fn file_exists(struct graph *g, const struct blockdev_create_options *options)
{
	struct blockdev_create_options_file o = options->u.file;
	return co_blocking(look_blocking, &o) != 0;
}

static int unlink_blocking(void *arg)
{
	const struct blockdev_create_options_file *o = arg;
	return unlink(o->filename) < 0 ? -errno : 0;
}

void co_fn file_uncreate(struct graph *g, const struct blockdev_create_options *options)
{
	struct blockdev_create_options_file o = options->u.file;
	/* What cannot be deleted stays, as a file without content. */
	(void)co_blocking(unlink_blocking, &o);
}
