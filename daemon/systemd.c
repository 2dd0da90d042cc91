/* SPDX-License-Identifier: MIT */
/*
 * What a service manager and the daemon tell each other; see sd_notify(3) and
 * sd_listen_fds(3) for the two small protocols. Control thread.
 */
#include "daemon/systemd.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/util.h"

/* The first inherited descriptor, by the protocol. */
#define LISTEN_FDS_START 3
/* More than any service has, and few enough to be checked one by one. */
#define LISTEN_FDS_MAX 1024

static unsigned inherited;    /* LISTEN_FDS_START and so many from there */
static char *inherited_names; /* LISTEN_FDNAMES: joined by ':' */

void systemd_notify(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	size_t length = path ? strlen(path) : 0;

	if (length < 2 || length >= sizeof(to.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(to.sun_path, path, length);
	if (path[0] == '@')
		to.sun_path[0] = '\0'; /* an abstract name */

	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	(void)!sendto(fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT,
		      (struct sockaddr *)&to, size);
}

static bool parse_number(const char *text, long max, long *ret)
{
	char *end;
	if (!text || !isdigit((unsigned char)text[0]))
		return false;
	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno || *end || n > max)
		return false;
	*ret = n;
	return true;
}

void systemd_take_sockets(void)
{
	long pid, count;

	if (parse_number(getenv("LISTEN_PID"), INT32_MAX, &pid) && pid == (long)getpid() &&
	    parse_number(getenv("LISTEN_FDS"), LISTEN_FDS_MAX, &count)) {
		inherited = (unsigned)count;
		inherited_names = xstrdup(getenv("LISTEN_FDNAMES"));
		for (unsigned i = 0; i < inherited; i++)
			fcntl(LISTEN_FDS_START + (int)i, F_SETFD, FD_CLOEXEC);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
}

/* The descriptor of that name, or -1. */
static int find_name(const char *name)
{
	size_t length = strlen(name);
	const char *p = inherited_names;

	for (unsigned i = 0; p && i < inherited; i++) {
		const char *end = strchrnul(p, ':');
		if ((size_t)(end - p) == length && memcmp(p, name, length) == 0)
			return LISTEN_FDS_START + (int)i;
		p = *end ? end + 1 : NULL;
	}
	return -1;
}

int systemd_find_fd(const char *text, struct error **errp)
{
	int fd = find_name(text);
	long number;

	if (fd < 0) {
		if (!parse_number(text, INT32_MAX, &number))
			return error_set(errp, -EINVAL, "File descriptor named '%s' has not been found",
					 text);
		fd = (int)number;
	}
	struct stat st;
	if (fstat(fd, &st) < 0)
		return error_set_errno(errp, -errno, "File descriptor '%s'", text);
	if (!S_ISSOCK(st.st_mode))
		return error_set(errp, -ENOTSOCK, "File descriptor '%s' is not a socket", text);
	return fd;
}
