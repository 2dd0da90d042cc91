/* SPDX-License-Identifier: MIT */
/*
 * Connections to GlusterFS volumes. Nodes that ask for the same volume at the same
 * servers with the same settings share one; it is closed a moment after its
 * last user is gone. Threads: see each call.
 */
#ifndef DRIVERS_GLUSTER_VOLUME_H
#define DRIVERS_GLUSTER_VOLUME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/coroutine.h"
#include "base/error.h"
#include "schema/types.h"

struct glfs;
struct gluster_volume;

/*
 * Connect to the volume that @o names, or join who has. *ret is held until
 * gluster_volume_put(). -EINVAL for options that make no sense, -ETIMEDOUT when no
 * server answers within o->connect_timeout, or what the library says. Control
 * thread.
 */
int co_fn gluster_volume_get(const struct blockdev_options_gluster *o,
			     struct gluster_volume **ret, struct error **errp);

/* The library's handle, as long as @v is held. Any thread. */
struct glfs *gluster_volume_fs(struct gluster_volume *v);

/*
 * Note that bricks of @v have not answered a question in time: until @until_ns of the loops'
 * clock nobody has to wait for one whose answer can be done without. Any thread.
 */
void gluster_volume_note_silence(struct gluster_volume *v, uint64_t until_ns);
bool gluster_volume_is_silent(struct gluster_volume *v, uint64_t now_ns);

/* Hold @v, which the caller holds, once more. Any thread. */
struct gluster_volume *gluster_volume_hold(struct gluster_volume *v);
/* Let go of it. Never waits for the servers. Any thread. NULL is allowed. */
void gluster_volume_put(struct gluster_volume *v);

#endif
