/* SPDX-License-Identifier: MIT */
/*
 * Going to the background, in the customary steps: fork, a session of its own,
 * fork again so that no terminal can be acquired, and at last the root
 * directory and /dev/null.
 */
#include "daemon/background.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Files of a daemon are nobody else's to write, and a stranger's to read neither. */
#define BACKGROUND_UMASK 027

static int ready_pipe = -1;

/* In the parent: wait for the one byte that background_ready() sends. */
static void __attribute__((noreturn)) wait_for_daemon(int fd)
{
	char byte;
	ssize_t n;
	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	_exit(n == 1 ? EXIT_SUCCESS : EXIT_FAILURE);
}

int background_start(struct error **errp)
{
	int pipe_fds[2];
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return error_set_errno(errp, -errno, "cannot create a pipe");

	pid_t pid = fork();
	if (pid < 0)
		return error_set_errno(errp, -errno, "cannot start a background process");
	if (pid > 0) {
		close(pipe_fds[1]);
		wait_for_daemon(pipe_fds[0]);
	}
	close(pipe_fds[0]);
	ready_pipe = pipe_fds[1];
	setsid();

	pid = fork();
	if (pid < 0)
		return error_set_errno(errp, -errno, "cannot start a background process");
	if (pid > 0)
		_exit(EXIT_SUCCESS);
	umask(BACKGROUND_UMASK);
	return 0;
}

bool background_is_starting(void)
{
	return ready_pipe >= 0;
}

void background_ready(void)
{
	if (ready_pipe < 0)
		return;

	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		for (int fd = 0; fd <= 2; fd++)
			dup2(null, fd);
		if (null > 2)
			close(null);
	}
	if (chdir("/") < 0) {
		/* Without a right to enter the root directory, the present one stays busy. */
	}
	/* A parent that is gone does not mind. */
	while (write(ready_pipe, "", 1) < 0 && errno == EINTR)
		;
	close(ready_pipe);
	ready_pipe = -1;
}
