/* SPDX-License-Identifier: MIT */
/*
 * File names of Ceph's images:
 *
 *   rbd:POOL/[NAMESPACE/]IMAGE[@SNAPSHOT][:SETTING=VALUE]...
 *
 * A backslash takes the next character as it is. The setting `id` is the user,
 * `conf` the configuration file; the others are Ceph's. Free of state; any thread.
 */
#ifndef DRIVERS_RBD_NAME_H
#define DRIVERS_RBD_NAME_H

#include "base/error.h"
#include "schema/types.h"

/*
 * The options that @name, which begins with "rbd:" or "rbd+", stands for, as
 * key=value text. Free with free(). Returns 0, -EINVAL, or -ENOENT for an unknown
 * transport.
 */
int rbd_name_parse(const char *name, char **ret, struct error **errp);

/* The name that opens the same image; NULL where no such name can. Free with free(). */
char *rbd_name_print(const struct blockdev_options_rbd *o);

/* What a name can say of @options, which are of an image. Free with free(). */
char *rbd_name_print_part(const struct blockdev_options *options);

/* The namespace of the image; NULL for the pool's own, which some call "". */
const char *rbd_namespace(const struct blockdev_options_rbd *o);

#endif
