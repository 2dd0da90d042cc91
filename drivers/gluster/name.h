/* SPDX-License-Identifier: MIT */
/*
 * File names of images on GlusterFS volumes:
 *
 *   gluster://[HOST[:PORT]]/VOLUME/PATH       gluster+tcp:// is the same
 *   gluster+unix:///VOLUME/PATH?socket=SOCKET
 *   gluster+rdma://[HOST[:PORT]]/VOLUME/PATH  served over TCP, with a warning
 *
 * Without a host it is localhost, without a port, or with 0, the management
 * daemon's own. %XX stands for a byte. A user before the host and a fragment at
 * the end say nothing. Free of state; any thread.
 */
#ifndef DRIVERS_GLUSTER_NAME_H
#define DRIVERS_GLUSTER_NAME_H

#include "base/error.h"
#include "schema/types.h"

#define GLUSTER_DEFAULT_PORT 24007

/*
 * The options that @name, which begins with "gluster:" or "gluster+", stands for,
 * as key=value text. Free with free(). Returns 0, -EINVAL, or -ENOENT for an
 * unknown transport.
 */
int gluster_name_parse(const char *name, char **ret, struct error **errp);

/* The name that opens the same image; a json: name where no other can. Free with free(). */
char *gluster_name_print(const struct blockdev_options_gluster *o);

#endif
