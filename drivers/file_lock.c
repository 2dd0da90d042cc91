/* SPDX-License-Identifier: MIT */
/*
 * Locks by which processes that open the same image respect each other.
 *
 * For each permission that somebody holds, byte 100 + its bit of the file is
 * locked, and for each that somebody does not share byte 200 + its bit; always
 * shared (read) locks of the open file description. Then each looks whether the
 * opposite byte is locked by another: with a test for a write lock, which one's
 * own locks do not hinder. Two that come at once may both be refused, never both
 * admitted.
 *
 * These calls do not wait: they run on the node's loop, also when permissions
 * are recomputed. A refusal takes the time to look through /proc for its cause.
 */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "drivers/file.h"

#define HELD_BASE 100
#define UNSHARED_BASE 200

/* Descriptors of other processes that are looked at to find who holds a lock. */
#define SEARCH_MAX 20000

/* 0 or a negative errno. */
static int set_lock(int fd, short type, unsigned byte)
{
	struct flock l = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int r;
	do {
		r = fcntl(fd, F_OFD_SETLK, &l);
	} while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : 0;
}

/* 0 when nobody else has locked @byte, -EAGAIN when somebody has, or another errno. */
static int test_lock(int fd, unsigned byte)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};
	int r;
	do {
		r = fcntl(fd, F_OFD_GETLK, &l);
	} while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return l.l_type == F_UNLCK ? 0 : -EAGAIN;
}

bool file_lock_is_supported(int fd)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	return fcntl(fd, F_OFD_GETLK, &l) == 0;
}

/* Whether @line of an fdinfo file tells of a lock on @byte of @inode. */
static bool line_names_lock(const char *line, ino_t inode, unsigned byte)
{
	/* lock:	1: OFDLCK  ADVISORY  READ -1 fe:00:10953023 100 101 */
	uintmax_t lock_inode, first, last;
	char end[24];
	int n = sscanf(line, "lock: %*u: %*s %*s %*s %*d %*x:%*x:%ju %ju %23s", &lock_inode, &first,
		       end);
	if (n != 3 || lock_inode != inode)
		return false;
	last = strcmp(end, "EOF") == 0 ? UINTMAX_MAX : strtoumax(end, NULL, 10);
	return first <= byte && byte <= last;
}

static bool fdinfo_names_lock(int directory, const char *name, ino_t inode, unsigned byte)
{
	int fd = openat(directory, name, O_RDONLY | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	if (!file) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	char line[256];
	bool found = false;
	while (!found && fgets(line, sizeof(line), file))
		found = line_names_lock(line, inode, byte);
	fclose(file);
	return found;
}

/* The program that process @pid runs, without directories; NULL when it is not told. */
static char *program_name(const char *pid)
{
	char path[64], line[256];
	snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	FILE *file = fopen(path, "re");
	if (!file)
		return NULL;
	size_t n = fread(line, 1, sizeof(line) - 1, file);
	fclose(file);
	line[n] = '\0'; /* arguments are separated by NUL */
	const char *slash = strrchr(line, '/');
	const char *name = slash ? slash + 1 : line;
	return *name ? xstrdup(name) : NULL;
}

static bool process_holds(const char *pid, int own_fd, ino_t inode, unsigned byte, unsigned *budget)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%.20s/fdinfo", pid);
	DIR *dir = opendir(path);
	if (!dir)
		return false;
	bool is_self = strtol(pid, NULL, 10) == getpid(), found = false;
	struct dirent *d;
	while (!found && *budget > 0 && (d = readdir(dir))) {
		if (d->d_name[0] == '.' || (is_self && atoi(d->d_name) == own_fd))
			continue;
		--*budget;
		found = fdinfo_names_lock(dirfd(dir), d->d_name, inode, byte);
	}
	closedir(dir);
	return found;
}

/* "It is locked by process 123 (qemu-img)"; NULL when the kernel does not tell. Free with free(). */
static char *describe_holder(int fd, unsigned byte)
{
	struct stat st;
	DIR *proc = fstat(fd, &st) == 0 ? opendir("/proc") : NULL;
	if (!proc)
		return NULL;
	unsigned budget = SEARCH_MAX;
	char *text = NULL;
	struct dirent *d;
	while (!text && budget > 0 && (d = readdir(proc))) {
		if (d->d_name[0] < '0' || d->d_name[0] > '9' ||
		    !process_holds(d->d_name, fd, st.st_ino, byte, &budget))
			continue;
		_cleanup_free_ char *program = program_name(d->d_name);
		text = xasprintf("It is locked by process %s (%s)", d->d_name,
				 program ? program : "unknown");
	}
	closedir(proc);
	return text;
}

static int refuse(int fd, int r, unsigned byte, const char *path, struct error **errp)
{
	bool is_unshared = byte < UNSHARED_BASE; /* somebody has what we do not share */
	unsigned bit = byte - (is_unshared ? HELD_BASE : UNSHARED_BASE);
	_cleanup_free_ char *name = permission_names(1u << bit);
	const char *shared = is_unshared ? "shared " : "";
	if (r != -EAGAIN && r != -EACCES)
		return error_set_errno(errp, r, "Failed to get %s\"%s\" lock on '%s'", shared, name,
				       path);
	_cleanup_free_ char *holder = describe_holder(fd, byte);
	error_set(errp, -EAGAIN, "Failed to get %s\"%s\" lock", shared, name);
	error_hint(errp, "Is another process using the image [%s]?", path);
	if (holder)
		error_detail(errp, "%s", holder);
	return -EAGAIN;
}

/* Lock those bytes from @base on that @bits has and *@have lacks. */
static int add_locks(int fd, unsigned base, unsigned bits, unsigned *have, unsigned *ret_byte)
{
	for (unsigned bit = 0; PERM_ALL >> bit; bit++) {
		unsigned mask = 1u << bit;
		if (!(bits & mask) || (*have & mask))
			continue;
		*ret_byte = base + bit;
		int r = set_lock(fd, F_RDLCK, base + bit);
		if (r < 0)
			return r;
		*have |= mask;
	}
	return 0;
}

/* Unlock those bytes that *@have has and @bits lacks. Nothing can be done about a failure. */
static void drop_locks(int fd, unsigned base, unsigned bits, unsigned *have)
{
	for (unsigned bit = 0; PERM_ALL >> bit; bit++) {
		unsigned mask = 1u << bit;
		if ((*have & mask) && !(bits & mask))
			set_lock(fd, F_UNLCK, base + bit);
	}
	*have &= bits;
}

static int test_locks(int fd, unsigned base, unsigned bits, unsigned *ret_byte)
{
	for (unsigned bit = 0; PERM_ALL >> bit; bit++) {
		if (!(bits & 1u << bit))
			continue;
		*ret_byte = base + bit;
		int r = test_lock(fd, base + bit);
		if (r < 0)
			return r;
	}
	return 0;
}

static unsigned unshared_bits(unsigned shared)
{
	return ~shared & PERM_ALL;
}

int file_lock_copy(struct descriptor *h, unsigned permissions, unsigned shared, const char *path,
		   struct error **errp)
{
	unsigned byte;
	unsigned held = h->held, unshared = h->unshared;
	int r = add_locks(h->fd, HELD_BASE, permissions, &h->held, &byte);
	if (r >= 0)
		r = add_locks(h->fd, UNSHARED_BASE, unshared_bits(shared), &h->unshared, &byte);
	if (r >= 0)
		return 0;
	file_lock_narrow(h, held, ~unshared);
	return refuse(h->fd, r, byte, path, errp);
}

int file_lock_widen(struct descriptor *h, unsigned permissions, unsigned shared,
		    const char *path, struct error **errp)
{
	unsigned held = h->held, unshared = h->unshared, byte;
	int r = file_lock_copy(h, permissions, shared, path, errp);
	if (r < 0)
		return r;
	/*
	 * What was ours before needs no test: whoever locks the opposite now is about
	 * to be refused, and must not make us fail to give up the rest.
	 */
	r = test_locks(h->fd, UNSHARED_BASE, permissions & ~held, &byte);
	if (r >= 0)
		r = test_locks(h->fd, HELD_BASE, unshared_bits(shared) & ~unshared, &byte);
	if (r >= 0)
		return 0;
	file_lock_narrow(h, held, ~unshared);
	return refuse(h->fd, r, byte, path, errp);
}

void file_lock_narrow(struct descriptor *h, unsigned permissions, unsigned shared)
{
	drop_locks(h->fd, HELD_BASE, permissions, &h->held);
	drop_locks(h->fd, UNSHARED_BASE, unshared_bits(shared), &h->unshared);
}
