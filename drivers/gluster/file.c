/* SPDX-License-Identifier: MIT */
/*
 * Opening, closing and asking about files of volumes.
 *
 * Functions with an argument called arg run on threads of their own, and touch
 * nothing but that.
 */
#include "drivers/gluster/file.h"

#include <fcntl.h>
#include <glusterfs/api/glfs.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "base/loop.h"
#include "base/util.h"
#include "drivers/gluster/name.h"

#define NS_PER_S UINT64_C(1000000000)

/* How long the end of a node waits for a file to be closed; its data are durable before. */
#define CLOSE_NS (5 * NS_PER_S)

/* How long queries of the monitor wait for a brick. */
#define QUERY_NS (1 * NS_PER_S)
/* Where there was no answer, nobody asks about a file of the volume again for so long. */
#define SILENCE_NS (10 * NS_PER_S)

struct opening {
	struct gluster_file *file;
	char *path;
	int flags;
};

static void opening_free(struct opening *o)
{
	free(o->path);
	free(o);
}

static int close_blocking(void *arg)
{
	struct gluster_file *f = arg;
	if (f->fd)
		glfs_close(f->fd);
	if (f->seek_fd)
		glfs_close(f->seek_fd);
	gluster_volume_put(f->volume);
	free(f);
	return 0;
}

static void close_detached(void *arg)
{
	close_blocking(arg);
}

/*
 * Layers of the library may answer before the brick has been asked, and find out
 * about permissions with the first operation: so have one, which also tells
 * whether holes can be found.
 */
static int check_access(struct gluster_file *f, bool *ret_can_seek)
{
	*ret_can_seek = glfs_lseek(f->fd, 0, SEEK_DATA) >= 0 || errno == ENXIO;
	/* Some volumes cannot answer the question; that is no failure. */
	if (*ret_can_seek || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS)
		return 0;
	return -errno;
}

static int open_blocking(void *arg)
{
	struct opening *o = arg;
	struct gluster_file *f = o->file;
	f->fd = glfs_open(gluster_volume_fs(f->volume), o->path, o->flags);
	if (!f->fd)
		return errno != 0 ? -errno : -EIO;
	struct stat st;
	if (glfs_fstat(f->fd, &st) < 0)
		return -errno;
	f->size = (uint64_t)st.st_size;
	f->inode = st.st_ino;
	bool can_seek;
	int r = check_access(f, &can_seek);
	if (r >= 0 && can_seek)
		f->seek_fd = glfs_open(gluster_volume_fs(f->volume), o->path, O_RDONLY);
	return r;
}

static void abandon_opening(void *arg)
{
	struct opening *o = arg;
	close_blocking(o->file);
	opening_free(o);
}

int co_fn gluster_file_open(const struct blockdev_options_gluster *options, unsigned flags,
			    struct gluster_file **ret, struct error **errp)
{
	struct gluster_volume *volume;
	int r = gluster_volume_get(options, &volume, errp);
	if (r < 0)
		return r;
	struct opening *o = NEW(struct opening);
	o->path = xstrdup(options->path);
	o->flags = (flags & GLUSTER_FILE_WRITE ? O_RDWR : O_RDONLY) |
		   (flags & GLUSTER_FILE_DIRECT ? O_DIRECT : 0);
	o->file = NEW(struct gluster_file);
	o->file->volume = volume;
	co_mutex_init(&o->file->seek_lock);
	r = co_detached(open_blocking, o, abandon_opening, options->connect_timeout * NS_PER_S);
	if (r == 0) {
		*ret = o->file;
		opening_free(o);
		return 0;
	}
	char *name _cleanup_free_ = gluster_name_print(options);
	if (r == DETACHED_ABANDONED)
		return error_set(errp, -ETIMEDOUT,
				 "Could not open '%s': no answer within %" PRIu32 " seconds", name,
				 options->connect_timeout);
	gluster_file_release(o->file);
	opening_free(o);
	return error_set_errno(errp, r, "Could not open '%s'", name);
}

static void abandon_closing(void *arg)
{
	/* close_blocking() has freed it. */
}

void co_fn gluster_file_close(struct gluster_file *f)
{
	if (f && co_detached(close_blocking, f, abandon_closing, CLOSE_NS) == -EAGAIN)
		gluster_file_release(f);
}

void gluster_file_release(struct gluster_file *f)
{
	if (f && !f->fd)
		close_blocking(f);
	else if (f)
		(void)detached_start(close_detached, f); /* without a thread it stays open */
}

/* Questions and changes of an open file, which waits for them. */

struct asking {
	struct gluster_file *file;
	struct gluster_volume *volume; /* held, when the file may go meanwhile; else NULL */
	struct glfs_fd *fd;
	uint64_t offset, bytes;
	struct gluster_extent extent;
	uint64_t allocated, size;
};

static int stat_blocking(void *arg)
{
	struct asking *a = arg;
	struct stat st;
	if (glfs_fstat(a->fd, &st) < 0)
		return -errno;
	a->allocated = (uint64_t)st.st_blocks * 512;
	a->size = (uint64_t)st.st_size;
	return 0;
}

static void asking_free(void *arg)
{
	struct asking *a = arg;
	gluster_volume_put(a->volume);
	free(a);
}

int64_t co_fn gluster_file_allocated(struct gluster_file *f)
{
	uint64_t now_ns = loop_now_ns(loop_current());
	if (gluster_volume_is_silent(f->volume, now_ns))
		return -ETIMEDOUT;
	struct asking *a = NEW(struct asking);
	*a = (struct asking){.volume = gluster_volume_hold(f->volume), .fd = f->fd};
	int64_t r = co_detached(stat_blocking, a, asking_free, QUERY_NS);
	if (r == DETACHED_ABANDONED) {
		/* Each question leaves a thread that waits, and all files together are asked about. */
		gluster_volume_note_silence(f->volume, loop_now_ns(loop_current()) + SILENCE_NS);
		return -ETIMEDOUT;
	}
	if (r >= 0)
		r = (int64_t)a->allocated;
	asking_free(a);
	return r;
}

int co_fn gluster_file_size(struct gluster_file *f, uint64_t *ret)
{
	struct asking a = {.fd = f->fd};
	int r = co_detached(stat_blocking, &a, NULL, 0);
	if (r >= 0)
		*ret = a.size;
	return r;
}

static int seek_blocking(void *arg)
{
	struct asking *a = arg;
	off_t data = glfs_lseek(a->file->seek_fd, (off_t)a->offset, SEEK_DATA);
	if (data < 0 && errno == ENXIO) {
		a->extent = (struct gluster_extent){.is_data = false, .end = UINT64_MAX};
		return 0;
	}
	if (data < 0)
		return -errno;
	/* Some versions have answered with less than was asked about. */
	if ((uint64_t)data < a->offset)
		return -EIO;
	if ((uint64_t)data > a->offset) {
		a->extent = (struct gluster_extent){.is_data = false, .end = (uint64_t)data};
		return 0;
	}
	off_t hole = glfs_lseek(a->file->seek_fd, (off_t)a->offset, SEEK_HOLE);
	if (hole < 0 && errno != ENXIO)
		return -errno;
	/* The file may have been cut between the two calls. */
	a->extent = (struct gluster_extent){
		.is_data = true,
		.end = hole > data ? (uint64_t)hole : UINT64_MAX,
	};
	return 0;
}

int co_fn gluster_file_seek(struct gluster_file *f, uint64_t offset, struct gluster_extent *ret)
{
	struct asking a = {.file = f, .offset = offset};
	if (!f->seek_fd)
		return -ENOTSUP;
	co_mutex_lock(&f->seek_lock);
	int r = co_detached(seek_blocking, &a, NULL, 0);
	co_mutex_unlock(&f->seek_lock);
	if (r >= 0)
		*ret = a.extent;
	return r;
}

static int allocate_blocking(void *arg)
{
	struct asking *a = arg;
	int r = glfs_fallocate(a->file->fd, 0, (off_t)a->offset, a->bytes);
	return r < 0 ? -errno : 0;
}

int co_fn gluster_file_allocate(struct gluster_file *f, uint64_t offset, uint64_t bytes)
{
	struct asking a = {.file = f, .offset = offset, .bytes = bytes};
	return co_detached(allocate_blocking, &a, NULL, 0);
}
