/* SPDX-License-Identifier: MIT */
/*
 * What --help and --version print.
 */
#ifndef DAEMON_HELP_H
#define DAEMON_HELP_H

/* Both print to standard output. */
void help_print(void);
void version_print(void);

#endif
