/* SPDX-License-Identifier: MIT */
/*
 * The command line: read once as a whole, then applied from left to right.
 */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include "base/coroutine.h"
#include "base/error.h"

struct option_row;

/* One option that is to be applied, as it was written. */
struct option_use {
	const struct option_row *row; /* NULL: an argument that belongs to no option */
	const char *text;             /* of argv */
};

struct options {
	struct option_use *uses; /* in their order */
	unsigned count;
	const char *pidfile; /* of argv; NULL for none */
	bool daemonize;
	bool wants_help;
	bool wants_version;
};

/*
 * Read @argv, and see to what must be known first: help, background, log. Says
 * on the log what is wrong with an option that does not exist or lacks its
 * value, and returns -EINVAL then. Finish with options_finish() in any case.
 */
int options_read(int argc, char **argv, struct options *ret);

/*
 * Apply all options in their order. Returns 0 or the error of the first that
 * failed, which has been logged as one line; -ECANCELED when the daemon was
 * asked to stop, which it is, too, after help on an option.
 */
int co_fn options_apply(const struct options *o);

void options_finish(struct options *o);

#endif
