/* SPDX-License-Identifier: MIT */
/*
 * File names of NBD exports:
 *
 *   nbd://HOST[:PORT][/EXPORT]            nbd+tcp:// is the same
 *   nbd+unix:///EXPORT?socket=PATH
 *   nbd:HOST:PORT[:exportname=EXPORT]
 *   nbd:unix:PATH[:exportname=EXPORT]
 *
 * In the first two, %XX stands for a byte. Free of state; any thread.
 */
#ifndef DRIVERS_NBD_NAME_H
#define DRIVERS_NBD_NAME_H

#include "base/error.h"
#include "schema/types.h"

/*
 * The options that @name, which begins with "nbd:", "nbd+tcp:" or "nbd+unix:",
 * stands for, as key=value text. Free with free(). Returns 0, -EINVAL, or -ENOENT
 * for an unknown transport.
 */
int nbd_name_parse(const char *name, char **ret, struct error **errp);

/* The name that opens the same export; a json: name where no other can. Free with free(). */
char *nbd_name_print(const struct blockdev_options_nbd *o);

#endif
