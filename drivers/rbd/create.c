/* SPDX-License-Identifier: MIT */
/*
 * Making images, and removing those that were made in vain. Control thread.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "drivers/rbd/rbd.h"

#define OBJECT_SIZE_MIN 4096
#define OBJECT_SIZE_MAX (32 * MiB)

/* What the thread needs, and keeps when nobody waits for it any more. */
struct making {
	struct cluster *cluster;
	char *pool, *namespace, *name;
	uint64_t size, object_size; /* 0: as configured */
	bool removes;               /* instead */
	struct error *error;
};

static void making_free(void *arg)
{
	struct making *m = arg;
	free(m->pool);
	free(m->namespace);
	free(m->name);
	error_free(m->error);
	free(m);
}

static int make(struct making *m, rados_ioctx_t pool)
{
	rbd_image_options_t options;
	rbd_image_options_create(&options);
	int r = 0;
	if (m->object_size != 0)
		r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER,
						 (uint64_t)__builtin_ctzll(m->object_size));
	if (r >= 0)
		r = rbd_create4(pool, m->name, m->size, options);
	rbd_image_options_destroy(options);
	return r;
}

static int make_blocking(void *arg)
{
	struct making *m = arg;
	rados_ioctx_t pool;
	int r = rados_ioctx_create(m->cluster->rados, m->pool, &pool);
	if (r < 0)
		return error_set_errno(&m->error, r, "error opening pool %s", m->pool);
	if (m->namespace)
		rados_ioctx_set_namespace(pool, m->namespace);
	r = m->removes ? rbd_remove(pool, m->name) : make(m, pool);
	rados_ioctx_destroy(pool);
	if (r < 0)
		return error_set_errno(&m->error, r, "error rbd %s", m->removes ? "remove" : "create");
	return 0;
}

/* Make, or remove, what @o describes. */
static int co_fn run(struct graph *g, const struct blockdev_create_options_rbd *o, bool removes,
		     struct error **errp)
{
	const struct blockdev_options_rbd *location = o->location;
	struct cluster *cluster;
	int r = cluster_get(g, location, true, &cluster, errp);
	if (r < 0)
		return r;
	struct making *m = NEW(struct making);
	*m = (struct making){
		.cluster = cluster,
		.pool = xstrdup(location->pool),
		.namespace = location->namespace ? xstrdup(location->namespace) : NULL,
		.name = xstrdup(location->image),
		.size = o->size,
		.object_size = o->has_cluster_size ? o->cluster_size : 0,
		.removes = removes,
	};
	r = co_detached(make_blocking, m, making_free, cluster->patience_ns);
	if (r == DETACHED_ABANDONED)
		/* The thread may use the connection for as long as it likes: it stays. */
		return error_set(errp, -ETIMEDOUT, "error rbd create: the Ceph cluster does not "
						   "answer");
	if (r < 0)
		error_move(errp, TAKE(m->error));
	making_free(m);
	cluster_put(cluster);
	return r;
}

int co_fn rbd_node_create(struct graph *g, const struct blockdev_create_options *options,
			    struct error **errp)
{
	const struct blockdev_create_options_rbd *o = &options->u.rbd;
	if (o->location->snapshot)
		return error_set(errp, -EINVAL, "Can't use snapshot name for image creation");
	if (o->has_cluster_size && (!is_power_of_2(o->cluster_size) ||
				    o->cluster_size < OBJECT_SIZE_MIN ||
				    o->cluster_size > OBJECT_SIZE_MAX))
		return error_set(errp, -EINVAL, "'cluster-size' must be a power of 2 from %d to "
				 "%" PRIu64, OBJECT_SIZE_MIN, (uint64_t)OBJECT_SIZE_MAX);
	return run(g, o, false, errp);
}

void co_fn rbd_node_uncreate(struct graph *g, const struct blockdev_create_options *options)
{
	run(g, &options->u.rbd, true, NULL);
}
