/* SPDX-License-Identifier: MIT */
/*
 * The block driver of the simulation. As with the real file driver, no flush
 * succeeds after one has failed.
 */
#include "tests/sim/sim_driver.h"

#include <linux/falloc.h>

#include "base/aio.h"
#include "block/graph.h"

static struct sim_store *current;

struct sim_file {
	struct sim_disk *disk;
	int fd;
	int flush_error;
};

void sim_driver_use(struct sim_store *store)
{
	current = store;
}

static int co_fn sim_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	struct sim_file *f = n->state;
	f->disk = sim_store_find(current, options->u.file.filename);
	if (!f->disk)
		return error_set_errno(errp, -ENOENT, "Could not open '%s'",
				       options->u.file.filename);
	f->fd = aio_sim_open(n->loop, f->disk);
	n->size = sim_disk_size(f->disk);
	n->filename = xstrdup(options->u.file.filename);
	return 0;
}

static void co_fn sim_close(struct node *n)
{
	struct sim_file *f = n->state;
	aio_sim_close(n->loop, f->fd);
}

static int co_fn sim_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags)
{
	struct sim_file *f = n->state;
	int64_t done = aio_read(n->loop, f->fd, offset, bytes, v);
	if (done < 0)
		return (int)done;
	if ((uint64_t)done < bytes)
		vec_fill(vec_advance(v, (size_t)done), 0, bytes - (uint64_t)done);
	return 0;
}

static int latch(struct sim_file *f, int r)
{
	if (r < 0 && f->flush_error == 0)
		f->flush_error = r;
	return r;
}

static int co_fn sim_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	struct sim_file *f = n->state;
	bool is_durable = flags & REQUEST_FUA;
	if (is_durable && f->flush_error < 0)
		return f->flush_error;
	return aio_write(n->loop, f->fd, offset, bytes, v, is_durable ? AIO_WRITE_FUA : 0);
}

static int co_fn sim_flush(struct node *n)
{
	struct sim_file *f = n->state;
	if (f->flush_error < 0)
		return f->flush_error;
	return latch(f, aio_flush(n->loop, f->fd));
}

static int co_fn sim_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct sim_file *f = n->state;
	int mode = flags & REQUEST_MAY_UNMAP ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	int r = aio_fallocate(n->loop, f->fd, mode | FALLOC_FL_KEEP_SIZE, offset, bytes);
	return r >= 0 && (flags & REQUEST_FUA) ? sim_flush(n) : r;
}

static int co_fn sim_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	return sim_zero(n, offset, bytes, REQUEST_MAY_UNMAP);
}

static int co_fn sim_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp)
{
	struct sim_file *f = n->state;
	int r = aio_truncate(n->loop, f->fd, align_up(size, SIM_SECTOR));
	if (r < 0)
		return error_set_errno(errp, r, "Failed to resize '%s'", n->filename);
	return 0;
}

static int64_t co_fn sim_allocated_bytes(struct node *n)
{
	struct sim_file *f = n->state;
	return (int64_t)sim_disk_size(f->disk);
}

static void sim_limits(struct node *n)
{
	n->limits.request_alignment = SIM_SECTOR;
}

static int co_fn sim_create(struct graph *g, const struct blockdev_create_options *options,
			    struct error **errp)
{
	const struct blockdev_create_options_file *o = &options->u.file;
	struct sim_disk *disk = sim_store_find(current, o->filename);
	if (!disk)
		disk = sim_store_add(current, o->filename);
	int fd = aio_sim_open(g->loop, disk);
	int r = aio_truncate(g->loop, fd, 0);
	if (r >= 0)
		r = aio_truncate(g->loop, fd, align_up(o->size, SIM_SECTOR));
	aio_sim_close(g->loop, fd);
	if (r < 0)
		return error_set_errno(errp, r, "Could not create '%s'", o->filename);
	return 0;
}

const struct driver sim_driver = {
	.name = "file",
	.protocol = "file",
	.state_size = sizeof(struct sim_file),
	.grows_on_write = true,
	.supports_fua = true,
	.open = sim_open,
	.close = sim_close,
	.read = sim_read,
	.write = sim_write,
	.zero = sim_zero,
	.discard = sim_discard,
	.flush = sim_flush,
	.truncate = sim_truncate,
	.allocated_bytes = sim_allocated_bytes,
	.limits = sim_limits,
	.create = sim_create,
};
