/* SPDX-License-Identifier: MIT */
/*
 * The drivers file and host_device: the life of a node on a file or a device.
 *
 * With auto-read-only a file is open for reading only until somebody needs to
 * write, and again afterwards; whether it can be opened for writing shows then.
 * Node's loop, apart from what file_open.c and co_blocking() run elsewhere.
 */
#include "drivers/file.h"

#include <assert.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"

/* What a node must have the file open for writing for. */
#define WRITE_PERMISSIONS (PERM_WRITE | PERM_WRITE_UNCHANGED | PERM_RESIZE)

static bool wants_writable(const struct node *n, unsigned permissions)
{
	if (n->read_only)
		return false;
	return !n->auto_read_only || (permissions & WRITE_PERMISSIONS);
}

static const struct blockdev_options_file *own_options(const struct blockdev_options *o)
{
	return o->driver == BLOCKDEV_DRIVER_HOST_DEVICE ? &o->u.host_device : &o->u.file;
}

static int check_options(struct node *n, const struct blockdev_options_file *o,
			 struct error **errp)
{
	if (o->filename[0] == '\0')
		return error_set(errp, -EINVAL, "The '%s' block driver requires a file name",
				 n->driver->name);
	if (o->has_aio && o->aio == BLOCKDEV_AIO_OPTIONS_NATIVE && !n->cache_direct)
		return error_set(errp, -EINVAL,
				 "aio=native was specified, but it requires cache.direct=on, "
				 "which was not specified.");
	if (o->aio_max_batch < 0)
		return error_set(errp, -EINVAL, "aio-max-batch must not be negative");
	return 0;
}

static void store_opened(struct node *n, const struct file_open_request *r)
{
	struct file *f = n->state;
	f->is_block = S_ISBLK(r->st.st_mode);
	f->device = r->st.st_dev;
	f->inode = r->st.st_ino;
	f->request_alignment = r->request_alignment;
	f->memory_alignment = r->memory_alignment;
	n->size = r->size;
}

static int choose_locking(struct file *f, const struct blockdev_options_file *o,
			  struct error **errp)
{
	enum on_off_auto wish = o->has_locking ? o->locking : ON_OFF_AUTO_AUTO;
	bool supported = file_lock_is_supported(f->current->fd);
	f->uses_locks = supported && wish != ON_OFF_AUTO_OFF;
	if (wish == ON_OFF_AUTO_ON && !supported)
		return error_set(errp, -ENOTSUP,
				 "locking=on was specified, but the file system of '%s' has no "
				 "open file description locks", o->filename);
	return 0;
}

static int co_fn file_open(struct node *n, const struct blockdev_options *options, void *arg,
			   struct error **errp)
{
	struct file *f = n->state;
	const struct blockdev_options_file *o = own_options(options);
	f->node = n;
	f->is_device = options->driver == BLOCKDEV_DRIVER_HOST_DEVICE;
	f->shared = PERM_ALL;
	f->can_zero_range = f->can_punch_hole = f->can_allocate = f->can_discard = true;
	int e = check_options(n, o, errp);
	if (e < 0)
		return e;

	bool is_writable = wants_writable(n, 0);
	struct file_open_request r = {
		.path = o->filename,
		.flags = file_open_flags(is_writable, n->cache_direct),
		.wants_device = f->is_device,
	};
	e = file_open_path(&r);
	if (e < 0)
		return error_move(errp, r.error);
	f->current = descriptor_new(r.fd, is_writable, n->cache_direct);
	store_opened(n, &r);
	e = choose_locking(f, o, errp);
	if (e < 0) {
		descriptor_retire(f->current);
		return e;
	}
	n->filename = xstrdup(o->filename);
	return 0;
}

static void co_fn file_close(struct node *n)
{
	struct file *f = n->state;
	assert(!f->next);
	descriptor_retire(f->current);
}

/* The file may have another size by now. */
static int co_fn file_activate(struct node *n, struct error **errp)
{
	struct file *f = n->state;
	struct file_open_request r = {.fd = f->current->fd};
	int e = file_measure_size(&r);
	if (e < 0)
		return error_set_errno(errp, e, "Could not get the size of '%s'", n->filename);
	node_set_size(n, r.size);
	return 0;
}

static void file_limits(struct node *n)
{
	struct file *f = n->state;
	if (n->cache_direct) {
		n->limits.request_alignment = f->request_alignment;
		n->limits.memory_alignment = f->memory_alignment;
	}
	n->limits.max_iovecs = AIO_IOV_MAX;
}

/* Permissions. */

/* Leave in f->next a descriptor such as the node needs, or none when it has that. */
static int prepare_descriptor(struct file *f, unsigned permissions, struct error **errp)
{
	struct node *n = f->node;
	bool is_writable = wants_writable(n, permissions);
	struct descriptor *h = f->next ? f->next : f->current;
	if (h->is_writable == is_writable && h->is_direct == n->cache_direct)
		return 0;
	descriptor_retire(f->next);
	f->next = NULL;
	if (f->current->is_writable == is_writable && f->current->is_direct == n->cache_direct)
		return 0;
	if (f->current->is_writable && f->current->is_direct == n->cache_direct) {
		/* Nobody needs it writable any more: giving that up may fail, and is no failure. */
		descriptor_reopen(f, is_writable, n->cache_direct, &f->next, NULL);
		return 0;
	}
	return descriptor_reopen(f, is_writable, n->cache_direct, &f->next, errp);
}

static void adopt_next(struct file *f)
{
	if (!f->next)
		return;
	descriptor_retire(f->current);
	f->current = f->next;
	f->next = NULL;
}

static int widen_locks(struct file *f, unsigned permissions, unsigned shared,
		       struct error **errp)
{
	const char *path = f->node->filename;
	/*
	 * The old descriptor is the one that asks: to it even our own new one is a
	 * stranger, which therefore lets go meanwhile and joins it afterwards.
	 */
	if (f->next)
		file_lock_narrow(f->next, 0, PERM_ALL);
	int r = file_lock_widen(f->current, permissions, shared, path, errp);
	if (r >= 0 && f->next)
		r = file_lock_copy(f->next, permissions, shared, path, errp);
	return r;
}

static void file_abort_permissions(struct node *n)
{
	struct file *f = n->state;
	descriptor_retire(f->next);
	f->next = NULL;
	file_lock_narrow(f->current, f->permissions, f->shared);
}

static int file_check_permissions(struct node *n, unsigned permissions, unsigned shared,
				  struct error **errp)
{
	struct file *f = n->state;
	int r = prepare_descriptor(f, permissions, errp);
	if (r >= 0 && f->uses_locks)
		r = widen_locks(f, permissions, shared, errp);
	/* A check that fails is not followed by abort. */
	if (r < 0)
		file_abort_permissions(n);
	return r;
}

static void file_set_permissions(struct node *n, unsigned permissions, unsigned shared)
{
	struct file *f = n->state;
	adopt_next(f);
	f->permissions = permissions;
	f->shared = shared;
	file_lock_narrow(f->current, permissions, shared);
}

/* Reopening. */

static int co_fn file_reopen_prepare(struct reopen *r, struct error **errp)
{
	struct node *n = r->node;
	struct file *f = n->state;
	int e = check_options(n, own_options(r->options), errp);
	if (e < 0)
		return e;
	if (n->cache_direct && !f->current->is_direct) {
		/* Learn what direct I/O asks for here. */
		struct file_open_request probe = {
			.path = n->filename,
			.flags = file_open_flags(false, true),
			.wants_device = f->is_device,
		};
		e = file_open_path(&probe);
		if (e < 0)
			return error_move(errp, probe.error);
		close(probe.fd);
		f->request_alignment = probe.request_alignment;
		f->memory_alignment = probe.memory_alignment;
	}
	e = prepare_descriptor(f, f->permissions, errp);
	if (e >= 0 && f->next && f->uses_locks)
		e = file_lock_copy(f->next, f->permissions, f->shared, n->filename, errp);
	if (e < 0) {
		descriptor_retire(f->next);
		f->next = NULL;
	}
	return e;
}

static void file_reopen_commit(struct reopen *r)
{
	adopt_next(r->node->state);
}

static void file_reopen_abort(struct reopen *r)
{
	struct file *f = r->node->state;
	descriptor_retire(f->next);
	f->next = NULL;
}

/* Sizes. */

struct stat_request {
	int fd;
	struct stat st;
};

static int stat_blocking(void *arg)
{
	struct stat_request *s = arg;
	return fstat(s->fd, &s->st) < 0 ? -errno : 0;
}

static int64_t co_fn file_allocated_bytes(struct node *n)
{
	struct file *f = n->state;
	struct descriptor *h = descriptor_use(f);
	struct stat_request s = {.fd = h->fd};
	int r = co_blocking(stat_blocking, &s);
	descriptor_done(h);
	return r < 0 ? r : (int64_t)s.st.st_blocks * 512;
}

/* Write zeroes to the new part: nothing is left for the file system to allocate later. */
static int co_fn fill(struct file *f, uint64_t offset, uint64_t end)
{
	const size_t chunk = 1 * MiB;
	void *zeroes = buffer_get(f->node->loop, chunk);
	if (!zeroes)
		return -ENOMEM;
	memset(zeroes, 0, chunk);
	struct iovec storage;
	struct vec v = vec_flat(&storage, zeroes, chunk);
	int r = 0;
	while (r >= 0 && offset < end) {
		uint64_t bytes = MIN(chunk, end - offset);
		r = file_write(f->node, offset, bytes, v, 0);
		offset += bytes;
	}
	buffer_put(f->node->loop, zeroes, chunk);
	return r;
}

static int co_fn grow(struct file *f, struct descriptor *h, uint64_t old_size, uint64_t size,
		      enum preallocation preallocation)
{
	struct loop *loop = f->node->loop;
	int r = aio_truncate(loop, h->fd, size);
	if (r >= 0 && preallocation == PREALLOCATION_FALLOC)
		r = aio_fallocate(loop, h->fd, 0, old_size, size - old_size);
	else if (r >= 0 && preallocation == PREALLOCATION_FULL)
		r = fill(f, old_size, size);
	if (r < 0)
		aio_truncate(loop, h->fd, old_size);
	return r;
}

static int co_fn file_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			       struct error **errp)
{
	struct file *f = n->state;
	if (preallocation == PREALLOCATION_METADATA)
		return error_set(errp, -ENOTSUP, "Unsupported preallocation mode: metadata");
	if (size < n->size && preallocation != PREALLOCATION_OFF)
		return error_set(errp, -ENOTSUP,
				 "Preallocation can't be used for shrinking files");
	struct descriptor *h = descriptor_use(f);
	file_note_change(f);
	int r;
	if (size > n->size)
		r = grow(f, h, n->size, size, preallocation);
	else
		r = aio_truncate(n->loop, h->fd, size);
	file_note_change(f);
	descriptor_done(h);
	if (r < 0)
		return error_set_errno(errp, r, "Failed to resize '%s'", n->filename);
	return 0;
}

/*
 * A device has the size that it has. Whoever made it longer, or another program
 * did, finds that here: a format that fills it asks for more when it needs it.
 */
static int co_fn device_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
				 struct error **errp)
{
	struct file *f = n->state;
	struct file_open_request r = {.fd = f->current->fd};

	if (preallocation != PREALLOCATION_OFF)
		return error_set(errp, -ENOTSUP,
				 "Preallocation is not supported for '%s' devices",
				 n->driver->name);
	int e = file_measure_size(&r);
	if (e < 0)
		return error_set_errno(errp, e, "Could not get the size of '%s'", n->filename);
	node_set_size(n, r.size);
	if (size > r.size)
		return error_set(errp, -ENOSPC, "Cannot grow device files");
	return 0;
}

/* Queries. */

/* Nothing of its own: no clusters, and never dirty. */
static int co_fn file_info(struct node *n, struct driver_info *ret)
{
	*ret = (struct driver_info){0};
	return 0;
}

static struct image_info_specific *file_specific_info(struct node *n)
{
	struct file *f = n->state;
	struct fsxattr attributes;
	struct image_info_specific_file *info = NEW(struct image_info_specific_file);
	if (ioctl(f->current->fd, FS_IOC_FSGETXATTR, &attributes) == 0 &&
	    attributes.fsx_extsize != 0) {
		info->has_extent_size_hint = true;
		info->extent_size_hint = attributes.fsx_extsize;
	}
	struct image_info_specific *ret = NEW(struct image_info_specific);
	ret->type = IMAGE_INFO_SPECIFIC_KIND_FILE;
	ret->u.file.data = info;
	return ret;
}

static struct block_stats_specific *file_specific_stats(struct node *n)
{
	struct file *f = n->state;
	struct block_stats_specific_file stats = {
		.discard_nb_ok = f->discards_done,
		.discard_nb_failed = f->discards_failed,
		.discard_bytes_ok = f->discarded_bytes,
	};
	struct block_stats_specific *ret = NEW(struct block_stats_specific);
	if (f->is_device) {
		ret->driver = BLOCKDEV_DRIVER_HOST_DEVICE;
		ret->u.host_device = stats;
	} else {
		ret->driver = BLOCKDEV_DRIVER_FILE;
		ret->u.file = stats;
	}
	return ret;
}

static bool file_same_medium(const struct node *a, const struct node *b)
{
	const struct file *f = a->state, *g = b->state;
	return f->device == g->device && f->inode == g->inode;
}

static const char *const reopen_options[] = {"aio", "aio-max-batch", "drop-cache", NULL};

const struct driver file_driver = {
	.name = "file",
	.protocol = "file",
	.state_size = sizeof(struct file),
	.grows_on_write = true,
	.supports_fua = true,
	.open = file_open,
	.close = file_close,
	.can_be_inactive = true,
	.activate = file_activate,
	.read = file_read,
	.write = file_write,
	.zero = file_zero,
	.discard = file_discard,
	.copy = file_copy,
	.flush = file_flush,
	.status = file_status,
	.truncate = file_truncate,
	.allocated_bytes = file_allocated_bytes,
	.check_permissions = file_check_permissions,
	.set_permissions = file_set_permissions,
	.abort_permissions = file_abort_permissions,
	.same_medium = file_same_medium,
	.reopen_options = reopen_options,
	.reopen_prepare = file_reopen_prepare,
	.reopen_commit = file_reopen_commit,
	.reopen_abort = file_reopen_abort,
	.limits = file_limits,
	.info = file_info,
	.specific_info = file_specific_info,
	.specific_stats = file_specific_stats,
	.create = file_create,
	.exists = file_exists,
	.uncreate = file_uncreate,
};

const struct driver host_device_driver = {
	.name = "host_device",
	.protocol = "host_device",
	.is_preexisting = true,
	.state_size = sizeof(struct file),
	.supports_fua = true,
	.open = file_open,
	.close = file_close,
	.can_be_inactive = true,
	.activate = file_activate,
	.read = file_read,
	.write = file_write,
	.zero = file_zero,
	.discard = file_discard,
	.flush = file_flush,
	.truncate = device_truncate,
	.sizes_itself = true,
	.allocated_bytes = file_allocated_bytes,
	.check_permissions = file_check_permissions,
	.set_permissions = file_set_permissions,
	.abort_permissions = file_abort_permissions,
	.same_medium = file_same_medium,
	.reopen_options = reopen_options,
	.reopen_prepare = file_reopen_prepare,
	.reopen_commit = file_reopen_commit,
	.reopen_abort = file_reopen_abort,
	.limits = file_limits,
	.info = file_info,
	.specific_stats = file_specific_stats,
};
