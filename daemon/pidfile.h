/* SPDX-License-Identifier: MIT */
/*
 * The file that names the running daemon's process.
 *
 * It is locked as long as the daemon runs, so that a second daemon with the
 * same file does not start. It appears when clients may connect and is removed
 * at the end. Any thread; blocks for as long as a small local file takes.
 */
#ifndef DAEMON_PIDFILE_H
#define DAEMON_PIDFILE_H

#include "base/error.h"

struct pidfile;

/* Fail with -EAGAIN when a running process holds the file @path; creates nothing. */
int pidfile_check(const char *path, struct error **errp);

/*
 * Create @path, or take over what a dead process left there, lock it and write
 * this process's number to it. *ret is freed with pidfile_remove().
 */
int pidfile_create(const char *path, struct pidfile **ret, struct error **errp);

/* Remove the file and let go of its lock. NULL is allowed. */
void pidfile_remove(struct pidfile *p);

#endif
