/* SPDX-License-Identifier: MIT */
/*
 * The file that names the running daemon's process.
 *
 * The lock is one of fcntl(2) on the whole file, which the kernel gives back
 * when the process dies, however it dies; a file that nobody has locked is
 * therefore stale. The lock belongs to the process, so it must be taken after
 * the daemon has forked.
 */
#include "daemon/pidfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

struct pidfile {
	char *path; /* absolute: the daemon may change its directory */
	int fd;
};

static int lock_file(int fd, const char *path, struct error **errp)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_SETLK, &whole) == 0)
		return 0;
	if (errno != EAGAIN && errno != EACCES)
		return error_set_errno(errp, -errno, "cannot lock PID file '%s'", path);

	struct flock holder = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	if (fcntl(fd, F_GETLK, &holder) == 0 && holder.l_type != F_UNLCK && holder.l_pid > 0)
		return error_set(errp, -EAGAIN, "PID file '%s' is locked by process %ld", path,
				 (long)holder.l_pid);
	return error_set(errp, -EAGAIN, "PID file '%s' is locked by another process", path);
}

int pidfile_check(const char *path, struct error **errp)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return 0; /* not there, or pidfile_create() will say what is wrong */
	return lock_file(fd, path, errp);
}

/* True when @path still leads to the file behind @fd. */
static bool is_same_file(int fd, const char *path)
{
	struct stat opened, named;
	return fstat(fd, &opened) == 0 && stat(path, &named) == 0 &&
	       opened.st_dev == named.st_dev && opened.st_ino == named.st_ino;
}

static int open_locked(const char *path, int *ret_fd, struct error **errp)
{
	for (;;) {
		_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY |
					      O_NONBLOCK, 0600);
		if (fd < 0)
			return error_set_errno(errp, -errno, "cannot create PID file '%s'", path);
		int r = lock_file(fd, path, errp);
		if (r < 0)
			return r;
		/* Its previous owner may have removed it between the two calls. */
		if (is_same_file(fd, path)) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
	}
}

int pidfile_create(const char *path, struct pidfile **ret, struct error **errp)
{
	_cleanup_close_ int fd = -1;
	int r = open_locked(path, &fd, errp);
	if (r < 0)
		return r;

	char text[32];
	int length = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) != length) {
		r = errno ? -errno : -EIO;
		unlink(path);
		return error_set_errno(errp, r, "cannot write PID file '%s'", path);
	}
	char *absolute = realpath(path, NULL);
	struct pidfile *p = NEW(struct pidfile);
	p->path = absolute ? absolute : xstrdup(path);
	p->fd = TAKE_FD(fd);
	*ret = p;
	return 0;
}

void pidfile_remove(struct pidfile *p)
{
	if (!p)
		return;
	if (is_same_file(p->fd, p->path))
		unlink(p->path);
	close(p->fd);
	free(p->path);
	free(p);
}
