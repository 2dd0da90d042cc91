/* SPDX-License-Identifier: MIT */
/*
 * Making images, and removing those that were made in vain. Control thread.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "drivers/rbd/encryption.h"
#include "drivers/rbd/name.h"
#include "drivers/rbd/rbd.h"

#define OBJECT_SIZE_MIN 4096
#define OBJECT_SIZE_MAX (32 * MiB)
/* More than the header of an encrypted image takes, which is cut to objects. */
#define HEADER_MAX (64 * MiB)

/* What the thread needs, and keeps when nobody waits for it any more. */
struct making {
	struct cluster *cluster;
	char *pool, *namespace, *name;
	uint64_t size, object_size; /* 0: as configured */
	struct encryption *encryption; /* NULL for none */
	bool removes;               /* instead */
	struct error *error;
};

static void making_free(void *arg)
{
	struct making *m = arg;
	free(m->pool);
	free(m->namespace);
	free(m->name);
	encryption_free(m->encryption);
	error_free(m->error);
	free(m);
}

static int fail(struct making *m, int r, const char *what)
{
	return error_set_errno(&m->error, r, "error rbd %s", what);
}

/* Make the new image, which is HEADER_MAX longer than its content shall be, an encrypted one. */
static int encrypt_open(struct making *m, rbd_image_t image)
{
	uint64_t shown;
	int r = encryption_format(m->encryption, image, &m->error);
	if (r < 0)
		return r;
	r = rbd_get_size(image, &shown);
	if (r >= 0)
		r = rbd_resize(image, m->size + HEADER_MAX - (shown - m->size));
	return r < 0 ? fail(m, r, "resize") : 0;
}

static int encrypt(struct making *m, rados_ioctx_t pool)
{
	rbd_image_t image;
	int r = rbd_open(pool, m->name, &image, NULL);
	if (r >= 0) {
		r = encrypt_open(m, image);
		int closed = rbd_close(image);
		if (r >= 0 && closed < 0)
			r = fail(m, closed, "close");
	} else {
		fail(m, r, "open");
	}
	if (r < 0)
		rbd_remove(pool, m->name);
	return r;
}

static int make(struct making *m, rados_ioctx_t pool)
{
	uint64_t size = m->size + (m->encryption ? HEADER_MAX : 0);
	rbd_image_options_t options;
	rbd_image_options_create(&options);
	int r = 0;
	if (m->object_size != 0)
		r = rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_ORDER,
						 (uint64_t)__builtin_ctzll(m->object_size));
	if (r >= 0)
		r = rbd_create4(pool, m->name, size, options);
	rbd_image_options_destroy(options);
	if (r < 0)
		return fail(m, r, "create");
	return m->encryption ? encrypt(m, pool) : 0;
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
	if (!m->removes) {
		r = make(m, pool);
	} else {
		r = rbd_remove(pool, m->name);
		if (r < 0)
			fail(m, r, "remove");
	}
	rados_ioctx_destroy(pool);
	return r;
}

static int find_encryption(struct graph *g, const struct blockdev_create_options_rbd *o,
			   struct encryption **ret, struct error **errp)
{
	*ret = NULL;
	if (!o->encrypt)
		return 0;
	const struct rbd_encryption_create_options_luks *luks =
		o->encrypt->format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS ? &o->encrypt->u.luks
								      : &o->encrypt->u.luks2;
	*ret = encryption_new(g, o->encrypt->format, luks->key_secret, errp);
	if (!*ret)
		return -ENOENT;
	(*ret)->cipher = luks->cipher_alg;
	return 0;
}

/* Make, or remove, what @o describes. */
static int co_fn run(struct graph *g, const struct blockdev_create_options_rbd *o, bool removes,
		     struct error **errp)
{
	const struct blockdev_options_rbd *location = o->location;
	struct cluster *cluster;
	struct encryption *encryption = NULL;
	int r = removes ? 0 : find_encryption(g, o, &encryption, errp);
	if (r >= 0)
		r = cluster_get(g, location, true, &cluster, errp);
	if (r < 0) {
		encryption_free(encryption);
		return r;
	}
	struct making *m = NEW(struct making);
	*m = (struct making){
		.cluster = cluster,
		.pool = xstrdup(location->pool),
		.namespace = rbd_namespace(location) ? xstrdup(location->namespace) : NULL,
		.name = xstrdup(location->image),
		.size = o->size,
		.object_size = o->has_cluster_size ? o->cluster_size : 0,
		.encryption = encryption,
		.removes = removes,
	};
	uint64_t limit_ns = cluster->patience_ns;
	if (limit_ns != 0 && encryption)
		limit_ns += ENCRYPTION_PATIENCE_NS;
	r = co_detached(make_blocking, m, making_free, limit_ns);
	if (r == DETACHED_ABANDONED)
		/* The thread may use the connection for as long as it likes: it stays. */
		return error_set(errp, -ETIMEDOUT, "error rbd create: the Ceph cluster does not "
						   "answer");
	if (r < 0 && m->error)
		error_move(errp, TAKE(m->error));
	else if (r < 0)
		error_set_errno(errp, r, "error rbd create");
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
	if (o->encrypt && o->size > INT64_MAX - HEADER_MAX)
		return error_set(errp, -EFBIG, "The image is too large");
	return run(g, o, false, errp);
}

void co_fn rbd_node_uncreate(struct graph *g, const struct blockdev_create_options *options)
{
	run(g, &options->u.rbd, true, NULL);
}
