/* SPDX-License-Identifier: MIT */
/*
 * One open image. Control thread, unless a function says otherwise.
 *
 * Completions come on librbd's threads and only post. When librbd says that the
 * header has changed, an asker, which is a thread of its own because it may have to
 * wait for the cluster, gets the size, and posts. It may be there still when the
 * image is being closed: under the guard it finds out whether there is anybody to
 * post to.
 */
#include "drivers/rbd/image.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/detached.h"
#include "block/graph.h"
#include "drivers/rbd/config.h"
#include "drivers/rbd/encryption.h"
#include "drivers/rbd/guard.h"
#include "drivers/rbd/name.h"

#define NS_PER_S UINT64_C(1000000000)

/* How long closing may take, which has nothing left to write. */
#define CLOSE_NS (3 * NS_PER_S)

/* How long the owner of the exclusive lock may take to answer when an image is opened. */
#define LOCK_WAIT_MS 3000

static void on_size_posted(struct loop_post *post)
{
	struct image *image = container_of(post, struct image, post);
	guard_lock(&image->guard);
	bool is_watching = image->is_watching;
	image->is_posted = false;
	guard_unlock(&image->guard);
	if (image->closer)
		co_wake(TAKE(image->closer));
	/* What was read before a resize of our own says nothing any more. */
	else if (is_watching && image->noticed_resizes == atomic_load(&image->resizes))
		image->on_size(image);
}

/* The guard is held. */
static void take_size(struct image *image, uint64_t size, unsigned resizes)
{
	if (!image->is_watching)
		return;
	atomic_store(&image->size, size);
	image->noticed_resizes = resizes;
	if (image->is_posted)
		return;
	image->is_posted = true;
	loop_post(image->loop, &image->post);
}

/*
 * On a thread of its own, one at a time: ask for the size that the image has now, and tell
 * the loop. An answer that a change may have overtaken says nothing.
 */
static void ask_size(void *arg)
{
	struct image *image = arg;
	bool is_done = false;
	while (!is_done) {
		guard_lock(&image->guard);
		unsigned updates = image->updates;
		guard_unlock(&image->guard);
		unsigned resizes = atomic_load(&image->resizes);
		uint64_t size;
		int r = rbd_get_size(image->handle, &size);
		guard_lock(&image->guard);
		is_done = updates == image->updates && resizes == atomic_load(&image->resizes);
		if (is_done && r >= 0)
			take_size(image, size, resizes);
		image->is_asking = !is_done;
		guard_unlock(&image->guard); /* the image may be gone from here on, if that is all */
	}
}

/* On a thread of librbd, which must not wait: the image's header has changed. */
static void on_update(void *arg)
{
	struct image *image = arg;
	guard_lock(&image->guard);
	image->updates++;
	bool is_asked = image->is_asking;
	image->is_asking = true;
	guard_unlock(&image->guard);
	if (is_asked || detached_start(ask_size, image) >= 0)
		return;
	guard_lock(&image->guard);
	image->is_asking = false;
	guard_unlock(&image->guard);
}

static bool is_asking(struct image *image)
{
	guard_lock(&image->guard);
	bool ret = image->is_asking;
	guard_unlock(&image->guard);
	return ret;
}

/* On a thread of its own. The image's memory is left. */
static int close_blocking(void *arg)
{
	struct image *image = arg;
	header_watch_end(&image->header_watch);
	if (image->has_watch)
		rbd_update_unwatch(image->handle, image->watch);
	while (is_asking(image) || early_is_busy(&image->early) ||
	       atomic_load(&image->listers) > 0)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	if (image->handle)
		rbd_close(image->handle);
	if (image->pool)
		rados_ioctx_destroy(image->pool);
	return 0;
}

static void image_free(struct image *image)
{
	free(image->snapshot);
	free(image);
}

/* What opening on a thread of its own needs. */
struct opening {
	struct image *image;
	char *pool, *namespace, *name;
	struct encryption *encryption; /* NULL when the image has none */
	struct error *error;
};

static void opening_free(struct opening *o)
{
	free(o->pool);
	free(o->namespace);
	free(o->name);
	encryption_free(o->encryption);
	error_free(o->error);
	free(o);
}

static uint64_t setting(rados_t rados, const char *name)
{
	char text[64];
	return rados_conf_get(rados, name, text, sizeof(text)) < 0 ? 0 : strtoull(text, NULL, 10);
}

/* What does not change while the image is open. */
static int get_facts(struct opening *o)
{
	struct image *image = o->image;
	rbd_image_info_t info;
	uint64_t overlap, unit, count;
	int r = rbd_stat(image->handle, &info, sizeof(info));
	if (r >= 0)
		r = rbd_get_overlap(image->handle, &overlap);
	if (r >= 0)
		r = rbd_get_stripe_unit(image->handle, &unit);
	if (r >= 0)
		r = rbd_get_stripe_count(image->handle, &count);
	if (r < 0)
		return error_set_errno(&o->error, r, "error getting the facts of image %s", o->name);
	atomic_store(&image->size, info.size);
	image->shows_encrypted = !o->encryption &&
				 encryption_detect(image->handle, &image->shown_format);
	image->object_size = info.obj_size;
	image->has_simple_layout = overlap == 0 && unit == info.obj_size && count == 1;
	image->discard_granularity =
		setting(image->cluster->rados, "rbd_discard_granularity_bytes");
	return 0;
}

/* From here on the image shows its content, which lies behind a header. */
static int decrypt(struct opening *o)
{
	uint64_t stored, shown;
	int r = rbd_get_size(o->image->handle, &stored);
	if (r < 0)
		return error_set_errno(&o->error, r, "error getting the size of image %s", o->name);
	r = encryption_load(o->encryption, o->image->handle, o->name, &o->error);
	if (r < 0)
		return r;
	r = rbd_get_size(o->image->handle, &shown);
	if (r < 0)
		return error_set_errno(&o->error, r, "error getting the size of image %s", o->name);
	o->image->header_bytes = stored - MIN(shown, stored);
	return 0;
}

static int enter_namespace(struct opening *o)
{
	bool exists;
	int r = rbd_namespace_exists(o->image->pool, o->namespace, &exists);
	if (r < 0)
		return error_set_errno(&o->error, r, "error looking for namespace '%s'",
				       o->namespace);
	if (!exists)
		return error_set(&o->error, -ENOENT, "namespace '%s' does not exist", o->namespace);
	rados_ioctx_set_namespace(o->image->pool, o->namespace);
	return 0;
}

/* Free with free(); NULL when nobody holds the exclusive lock, or we do. */
static char *lock_owner(rbd_image_t handle)
{
	rbd_lock_mode_t mode;
	char *owner;
	size_t count = 1;
	int is_ours = 0;
	if (rbd_lock_get_owners(handle, &mode, &owner, &count) < 0 || count == 0)
		return NULL;
	char *name = rbd_is_exclusive_lock_owner(handle, &is_ours) >= 0 && !is_ours
			     ? xstrdup(owner) : NULL;
	rbd_lock_get_owners_cleanup(&owner, count);
	return name;
}

static void on_probed(rbd_completion_t completion, void *arg)
{
}

/*
 * Whether another client keeps the lock to itself: then a flush, which asks for it,
 * is refused. One that does not answer is left to the first write.
 */
static int check_lock(struct opening *o)
{
	char *owner _cleanup_free_ = lock_owner(o->image->handle);
	rbd_completion_t probe;
	if (!owner || rbd_aio_create_completion(NULL, on_probed, &probe) < 0)
		return 0;
	int r = rbd_aio_flush(o->image->handle, probe);
	for (int i = 0; r >= 0 && i < LOCK_WAIT_MS && !rbd_aio_is_complete(probe); i++)
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	if (r >= 0 && rbd_aio_is_complete(probe))
		r = (int)rbd_aio_get_return_value(probe);
	rbd_aio_release(probe);
	if (r == -EROFS)
		return error_set(&o->error, r, "image %s is locked by another client, %s, which "
				 "does not share it", o->name, owner);
	return 0;
}

/* Where nothing may be cached, nothing is read ahead; nor where librbd is told not to. */
static bool may_read_ahead(const struct image_config *c)
{
	return string_equal(image_config_find(c, "rbd_cache", "true"), "true") &&
	       !string_equal(image_config_find(c, "rbd_readahead_max_bytes", ""), "0");
}

/*
 * Changes are answered early where librbd's cache is on and would do that itself, had the
 * connection not been told otherwise. Metadata of the image or its pool may overrule the connection.
 */
static void configure_early(struct image *image, const struct image_config *c)
{
	bool is_off = !string_equal(image_config_find(c, "rbd_cache", "false"), "true") ||
		      string_equal(image_config_find(c, "rbd_cache_policy", ""), "writethrough");
	uint64_t librbds = strtoull(image_config_find(c, "rbd_cache_max_dirty", "1"), NULL, 10);
	if (is_off || librbds > 0)
		return;
	early_configure(&image->early, image->cluster->max_early_bytes,
			string_equal(image_config_find(c, "rbd_cache_writethrough_until_flush",
						       "true"), "false"));
}

static int open_blocking(void *arg)
{
	struct opening *o = arg;
	struct image *image = o->image;
	int r = rados_ioctx_create(image->cluster->rados, o->pool, &image->pool);
	if (r < 0) {
		image->pool = NULL;
		return error_set_errno(&o->error, r, "error opening pool %s", o->pool);
	}
	r = o->namespace ? enter_namespace(o) : 0;
	if (r < 0)
		return r;
	if (image->read_only)
		r = rbd_open_read_only(image->pool, o->name, &image->handle, image->snapshot);
	else
		r = rbd_open(image->pool, o->name, &image->handle, image->snapshot);
	if (r < 0) {
		image->handle = NULL;
		return error_set_errno(&o->error, r, "error reading header from %s%s%s", o->name,
				       image->snapshot ? "@" : "",
				       image->snapshot ? image->snapshot : "");
	}
	r = o->encryption ? decrypt(o) : 0;
	if (r < 0)
		return r;
	/* A reader has no watch on the header, and librbd makes none for this. */
	if (!image->read_only)
		image->has_watch = rbd_update_watch(image->handle, &image->watch, on_update,
						    image) >= 0;
	else
		header_watch_begin(&image->header_watch, image->cluster->rados, image->pool,
				   image->handle, o->name);
	struct image_config config;
	image_config_get(&config, image->handle);
	image->reads_ahead = may_read_ahead(&config);
	if (!image->read_only && !image->snapshot) {
		configure_early(image, &config);
		r = check_lock(o);
	}
	image_config_put(&config);
	return r < 0 ? r : get_facts(o);
}

static void opening_release(void *arg)
{
	struct opening *o = arg;
	close_blocking(o->image);
	image_free(o->image);
	opening_free(o);
}

/* The image has been closed later than anybody waits. The connection stays. */
static void closed_release(void *arg)
{
	image_free(arg);
}

static int find_encryption(struct graph *g, const struct blockdev_options_rbd *o,
			   struct encryption **ret, struct error **errp)
{
	if (!o->encrypt)
		return 0;
	const struct rbd_encryption_options_luks *luks =
		o->encrypt->format == RBD_IMAGE_ENCRYPTION_FORMAT_LUKS ? &o->encrypt->u.luks
								      : &o->encrypt->u.luks2;
	*ret = encryption_new(g, o->encrypt->format, luks->key_secret, errp);
	return *ret ? 0 : -ENOENT;
}

static int co_fn open_once(struct graph *g, const struct blockdev_options_rbd *o, bool read_only,
			   bool is_cached, void (*on_size)(struct image *image), struct node *owner,
			   struct image **ret, struct error **errp)
{
	struct cluster *cluster;
	struct encryption *encryption = NULL;
	int r = find_encryption(g, o, &encryption, errp);
	if (r >= 0)
		r = cluster_get(g, o, is_cached, &cluster, errp);
	if (r < 0) {
		encryption_free(encryption);
		return r;
	}
	struct image *image = NEW(struct image);
	*image = (struct image){
		.loop = g->loop,
		.cluster = cluster,
		.snapshot = o->snapshot ? xstrdup(o->snapshot) : NULL,
		.read_only = read_only,
		.is_cached = is_cached,
		.is_encrypted = encryption != NULL,
		.guard = ATOMIC_FLAG_INIT,
		.header_watch.guard = ATOMIC_FLAG_INIT,
		.post = {.fn = on_size_posted},
		.on_size = on_size,
		.owner = owner,
	};
	early_init(&image->early, image->loop);
	struct opening *opening = NEW(struct opening);
	*opening = (struct opening){
		.image = image,
		.pool = xstrdup(o->pool),
		.namespace = rbd_namespace(o) ? xstrdup(o->namespace) : NULL,
		.name = xstrdup(o->image),
		.encryption = encryption,
	};
	uint64_t limit_ns = cluster->patience_ns;
	if (limit_ns != 0 && encryption)
		limit_ns += ENCRYPTION_PATIENCE_NS;
	r = co_detached(open_blocking, opening, opening_release, limit_ns);
	if (r == DETACHED_ABANDONED)
		/* The thread may use the connection for as long as it likes: it stays. */
		return error_set(errp, -ETIMEDOUT, "error opening image %s/%s: the Ceph cluster does "
						   "not answer", o->pool, o->image);
	if (r < 0) {
		/* Without a thread nothing has run that could have told why. */
		if (opening->error)
			error_move(errp, TAKE(opening->error));
		else
			error_set_errno(errp, r, "error opening image %s/%s", o->pool, o->image);
		opening_free(opening);
		image_note_result(image, r);
		image_close(image);
		return r;
	}
	opening_free(opening);
	image_requests_init(image);
	guard_lock(&image->guard);
	image->is_watching = on_size != NULL;
	bool was_updated = image->updates > 0;
	guard_unlock(&image->guard);
	/* What it said then was dropped. */
	if (was_updated)
		on_update(image);
	*ret = image;
	return 0;
}

int co_fn image_open(struct graph *g, const struct blockdev_options_rbd *o, bool read_only,
		     bool is_cached, void (*on_size)(struct image *image), struct node *owner,
		     struct image **ret, struct error **errp)
{
	struct error *error = NULL;
	int r = open_once(g, o, read_only, is_cached, on_size, owner, ret, &error);
	if (r == -ESHUTDOWN) {
		/* By a connection of its own, which nobody has been shut out of yet. */
		error_free(TAKE(error));
		r = open_once(g, o, read_only, is_cached, on_size, owner, ret, &error);
	}
	return r < 0 ? error_move(errp, error) : 0;
}

void co_fn image_close(struct image *image)
{
	if (!image)
		return;
	struct cluster *cluster = image->cluster;
	image_requests_finish(image);
	guard_lock(&image->guard);
	image->is_watching = false;
	bool is_posted = image->is_posted;
	guard_unlock(&image->guard);
	if (is_posted) {
		image->closer = co_self();
		co_yield();
	}
	int r = co_detached(close_blocking, image, closed_release, CLOSE_NS);
	/* The thread that still closes frees the image. Without one, librbd goes on using it: it stays. */
	if (r == DETACHED_ABANDONED || (r < 0 && image->handle))
		return;
	image_free(image);
	cluster_put(cluster);
}

struct resizing {
	struct image *image;
	uint64_t size;
};

int image_explain(struct image *image, int r)
{
	rbd_lock_mode_t mode;
	char *owner;
	size_t count = 1;
	if (r != -EROFS || image->read_only)
		return r;
	int e = rbd_lock_get_owners(image->handle, &mode, &owner, &count);
	if (e >= 0 && count > 0)
		rbd_lock_get_owners_cleanup(&owner, count);
	return e == -ETIMEDOUT ? e : r;
}

static int resize_blocking(void *arg)
{
	const struct resizing *z = arg;
	/* librbd wants to hear what is stored. */
	return image_explain(z->image, rbd_resize(z->image->handle,
						  z->image->header_bytes + z->size));
}

int co_fn image_resize(struct image *image, uint64_t size, struct error **errp)
{
	struct resizing z = {.image = image, .size = size};
	if (size > INT64_MAX - image->header_bytes)
		return error_set_errno(errp, -EFBIG, "Failed to resize the image");
	atomic_fetch_add(&image->resizes, 1);
	image_forget(image);
	early_wait(&image->early);
	/* It ends with the request timeout of each of its steps. */
	int r = co_detached(resize_blocking, &z, NULL, 0);
	image_forget(image);
	guard_lock(&image->guard);
	atomic_fetch_add(&image->resizes, 1);
	if (r >= 0)
		atomic_store(&image->size, size);
	guard_unlock(&image->guard);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to resize the image");
	return 0;
}

static int ask_blocking(void *arg)
{
	struct resizing *z = arg;
	return rbd_get_size(z->image->handle, &z->size);
}

static int invalidate_blocking(void *arg)
{
	return rbd_invalidate_cache(((struct image *)arg)->handle);
}

int co_fn image_invalidate(struct image *image)
{
	early_wait(&image->early);
	int r = co_detached(invalidate_blocking, image, NULL, 0);
	image_forget(image);
	return r;
}

int co_fn image_ask_size(struct image *image, uint64_t *ret)
{
	struct resizing z = {.image = image};
	atomic_fetch_add(&image->resizes, 1);
	int r = co_detached(ask_blocking, &z, NULL, 0);
	guard_lock(&image->guard);
	atomic_fetch_add(&image->resizes, 1);
	if (r >= 0)
		atomic_store(&image->size, *ret = z.size);
	guard_unlock(&image->guard);
	return r;
}
