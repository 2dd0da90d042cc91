/* SPDX-License-Identifier: MIT */
/*
 * Opening files and devices: what they are, how large, how aligned; and the
 * descriptors that a node goes through.
 *
 * open_blocking() and what it calls run on a worker thread; the rest on the
 * node's loop.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "drivers/file.h"

#define SECTOR_BYTES 512

/* The largest alignment that a disk may ask of direct I/O. */
#define ALIGNMENT_MAX 65536

int file_open_flags(bool is_writable, bool is_direct)
{
	return (is_writable ? O_RDWR : O_RDONLY) | (is_direct ? O_DIRECT : 0);
}

/* Size in bytes; regular files are counted in whole sectors, as guests see them. */
static int find_size(struct file_open_request *r)
{
	if (S_ISREG(r->st.st_mode)) {
		r->size = align_up((uint64_t)r->st.st_size, SECTOR_BYTES);
		return 0;
	}
	if (S_ISBLK(r->st.st_mode)) {
		uint64_t size;
		if (ioctl(r->fd, BLKGETSIZE64, &size) < 0)
			return -errno;
		r->size = size;
		return 0;
	}
	off_t end = lseek(r->fd, 0, SEEK_END);
	r->size = end > 0 ? (uint64_t)end : 0;
	return 0;
}

#ifdef STATX_DIOALIGN
static bool ask_alignment(struct file_open_request *r)
{
	struct statx stx;
	if (statx(r->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) < 0)
		return false;
	if (!(stx.stx_mask & STATX_DIOALIGN) || stx.stx_dio_offset_align == 0)
		return false;
	r->request_alignment = stx.stx_dio_offset_align;
	r->memory_alignment = stx.stx_dio_mem_align;
	return true;
}
#else
static bool ask_alignment(struct file_open_request *r)
{
	return false;
}
#endif

/* The smallest power of two with which a direct read succeeds; where all fail, a page. */
static uint32_t try_alignment(int fd, char *p)
{
	for (uint32_t align = SECTOR_BYTES; align <= ALIGNMENT_MAX; align *= 2) {
		if (pread(fd, p, align, 0) >= 0)
			return align;
	}
	return 4096;
}

static int find_alignment(struct file_open_request *r)
{
	r->request_alignment = r->memory_alignment = 1;
	if (!(r->flags & O_DIRECT))
		return 0;
	if (ask_alignment(r))
		return is_power_of_2(r->request_alignment) && is_power_of_2(r->memory_alignment)
			       ? 0
			       : -EINVAL;
	_cleanup_free_ char *p = aligned_alloc(ALIGNMENT_MAX, ALIGNMENT_MAX);
	if (!p)
		return -ENOMEM;
	r->request_alignment = r->memory_alignment = try_alignment(r->fd, p);
	int sector;
	if (S_ISBLK(r->st.st_mode) && ioctl(r->fd, BLKSSZGET, &sector) == 0)
		r->request_alignment = MAX(r->request_alignment, (uint32_t)sector);
	return 0;
}

/* Refuse what this driver does not serve. */
static int check_kind(struct file_open_request *r)
{
	if (S_ISDIR(r->st.st_mode))
		return error_set_errno(&r->error, -EISDIR, "Could not open '%s'", r->path);
	if (!r->wants_device && !S_ISREG(r->st.st_mode))
		return error_set(&r->error, -EINVAL,
				 "'file' driver requires '%s' to be a regular file", r->path);
	if (r->wants_device && !S_ISBLK(r->st.st_mode) && !S_ISCHR(r->st.st_mode))
		return error_set(&r->error, -EINVAL,
				 "'host_device' driver requires '%s' to be either a character or "
				 "block device", r->path);
	return 0;
}

/* The kernel lets a device that is read-only be opened for writing, and fails the writes. */
static int check_writable(int fd, mode_t mode, int flags, struct error **errp)
{
	int is_read_only;

	if ((flags & O_ACCMODE) == O_RDONLY || !S_ISBLK(mode) ||
	    ioctl(fd, BLKROGET, &is_read_only) < 0 || !is_read_only)
		return 0;
	return error_set_errno(errp, -EACCES, "The device is not writable");
}

static int examine(struct file_open_request *r)
{
	if (fstat(r->fd, &r->st) < 0)
		return error_set_errno(&r->error, -errno, "Could not stat '%s'", r->path);
	int e = check_kind(r);
	if (e == 0)
		e = check_writable(r->fd, r->st.st_mode, r->flags, &r->error);
	if (e < 0)
		return e;
	/* io_uring and threads shall wait for the disk. */
	if (fcntl(r->fd, F_SETFL, r->flags & ~(O_CREAT | O_NONBLOCK)) < 0)
		return error_set_errno(&r->error, -errno, "Could not set the mode of '%s'",
				       r->path);
	e = find_size(r);
	if (e < 0)
		return error_set_errno(&r->error, e, "Could not get the size of '%s'", r->path);
	e = find_alignment(r);
	if (e < 0)
		return error_set_errno(&r->error, e, "Could not find the alignment of '%s'",
				       r->path);
	/* Where the page cache has a page, io_uring hands a direct write to a thread. */
	if (r->flags & O_DIRECT)
		(void)posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED);
	return 0;
}

/* Neither pipes nor all file systems know O_DIRECT. */
static int refuse_direct(struct file_open_request *r)
{
	if (stat(r->path, &r->st) == 0 && check_kind(r) < 0)
		return -EINVAL;
	return error_set(&r->error, -EINVAL,
			 "Could not open '%s': The file system does not support O_DIRECT", r->path);
}

static int open_blocking(void *arg)
{
	struct file_open_request *r = arg;
	/* A FIFO without a writer, or a device without a medium, must not hold us up. */
	int flags = r->flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	do {
		r->fd = open(r->path, flags, r->mode);
	} while (r->fd < 0 && errno == EINTR);
	if (r->fd < 0 && errno == EINVAL && (flags & O_DIRECT))
		return refuse_direct(r);
	if (r->fd < 0)
		return error_set_errno(&r->error, -errno, "Could not %s '%s'",
				       flags & O_CREAT ? "create" : "open", r->path);
	int e = examine(r);
	if (e < 0) {
		close(r->fd);
		r->fd = -1;
	}
	return e;
}

int co_fn file_open_path(struct file_open_request *r)
{
	return co_blocking(open_blocking, r);
}

static int measure_blocking(void *arg)
{
	struct file_open_request *r = arg;
	return fstat(r->fd, &r->st) < 0 ? -errno : find_size(r);
}

int co_fn file_measure_size(struct file_open_request *r)
{
	return co_blocking(measure_blocking, r);
}

struct descriptor *descriptor_new(int fd, bool is_writable, bool is_direct)
{
	struct descriptor *h = NEW(struct descriptor);
	*h = (struct descriptor){.fd = fd, .is_writable = is_writable, .is_direct = is_direct};
	return h;
}

void descriptor_retire(struct descriptor *h)
{
	if (!h)
		return;
	if (h->users > 0) {
		file_lock_narrow(h, 0, PERM_ALL);
		h->is_retired = true;
		return;
	}
	close(h->fd);
	free(h);
}

struct descriptor *descriptor_use(struct file *f)
{
	f->current->users++;
	return f->current;
}

void descriptor_done(struct descriptor *h)
{
	if (--h->users == 0 && h->is_retired)
		descriptor_retire(h);
}

int descriptor_reopen(struct file *f, bool is_writable, bool is_direct,
		       struct descriptor **ret, struct error **errp)
{
	/* The same file, even when its name means another one by now, or is relative to elsewhere. */
	char name[64];
	snprintf(name, sizeof(name), "/proc/self/fd/%d", f->current->fd);
	int flags = file_open_flags(is_writable, is_direct) | O_CLOEXEC | O_NOCTTY;
	int fd = open(name, flags);
	if (fd < 0 && errno == ENOENT)
		fd = open(f->node->filename, flags);
	if (fd < 0)
		return error_set_errno(errp, -errno, "Could not open '%s'", f->node->filename);
	int e = check_writable(fd, f->is_block ? S_IFBLK : 0, flags, errp);
	if (e < 0) {
		close(fd);
		return e;
	}
	*ret = descriptor_new(fd, is_writable, is_direct);
	return 0;
}
