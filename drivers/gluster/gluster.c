/* SPDX-License-Identifier: MIT */
/*
 * The driver gluster: images in files of GlusterFS volumes, by way of libgfapi.
 * Node's loop.
 *
 * Invariant: after a flush has failed, no later one succeeds, however often the
 * file is reopened. What the library could not write it may have dropped.
 *
 * There are no locks: neither does the rival take any, nor could it see ours.
 */
#include "drivers/gluster/gluster.h"

#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "block/merge.h"
#include "drivers/gluster/name.h"
#include "drivers/gluster/request.h"
#include "drivers/module.h"

#define SECTOR_BYTES 512
/* What direct I/O is aligned to: the bricks' disks may have sectors of this size. */
#define DIRECT_BYTES 4096

/* Longer requests are divided, so that others come in between. */
#define TRANSFER_MAX (4 * MiB)
/*
 * Short reads, and writes, that follow each other become requests of so many bytes. For longer
 * ones the bytes are what costs, and two that overlap are quicker than one.
 */
#define MERGE_MAX (128 * KiB)
/* The same for zeroes, which bricks may have to write. */
#define ZERO_MAX (64 * MiB)
#define DISCARD_MAX (1 * GiB)

struct gluster {
	struct node *node;
	struct list link; /* in open_nodes */
	struct gluster_file *file;
	struct gluster_queue queue;
	struct merge_queue merge; /* reads and writes, before @queue */
	int flush_error; /* of the first flush that failed: all that follow fail */
	bool can_zero, can_punch_hole; /* until refused */
	bool writes_behind; /* a write that was acknowledged may fail later, and any request tell of it */
	uint64_t writes, flushed_writes; /* begun and ended, and the same when the last good flush began */

	/* The last answer about data: it reaches from begin to end. */
	struct {
		uint64_t begin, end; /* equal: no answer */
	} data;
	uint64_t changes; /* that may have made a hole */
};

static struct list open_nodes = LIST_INIT(open_nodes);

bool gluster_is_open(const char *volume, uint64_t inode)
{
	const struct gluster *g;
	list_for_each (g, &open_nodes, link) {
		if (g->file->inode == inode &&
		    strcmp(g->node->options->u.gluster.volume, volume) == 0)
			return true;
	}
	return false;
}

static unsigned file_flags(const struct node *n, bool read_only)
{
	return (read_only ? 0 : GLUSTER_FILE_WRITE) | (n->cache_direct ? GLUSTER_FILE_DIRECT : 0);
}

/* Open, for reading only where auto-read-only permits that. */
static int co_fn open_file(struct node *n, const struct blockdev_options_gluster *o,
			   struct gluster_file **ret, struct error **errp)
{
	struct error *error = NULL;
	int r = gluster_file_open(o, file_flags(n, n->read_only), ret, &error);
	if ((r == -EACCES || r == -EROFS || r == -EPERM) && !n->read_only && n->auto_read_only) {
		error_free(TAKE(error));
		n->read_only = true;
		r = gluster_file_open(o, file_flags(n, true), ret, &error);
	}
	return r < 0 ? error_move(errp, error) : 0;
}

/* @r is the result of a request. */
static int note_result(struct gluster *g, int r)
{
	if (r < 0 && g->writes_behind && g->flush_error == 0)
		g->flush_error = r;
	return r;
}

/* Of reads that went together each one is tried again by itself, and the library tells of a loss once. */
static int64_t co_fn transfer(void *arg, const struct transfer *t)
{
	struct gluster *g = arg;
	if (t->is_write)
		return note_result(g, gluster_write(&g->queue, g->file, t->offset, t->bytes, t->v));
	int r = gluster_read(&g->queue, g->file, t->offset, t->bytes, t->v);
	note_result(g, r);
	return r < 0 ? r : (int64_t)t->bytes;
}

static int co_fn image_open(struct node *n, const struct blockdev_options *options, void *arg,
			      struct error **errp)
{
	struct gluster *g = n->state;
	const struct blockdev_options_gluster *o = &options->u.gluster;
	int r = open_file(n, o, &g->file, errp);
	if (r < 0)
		return r;
	g->node = n;
	g->can_zero = g->can_punch_hole = true;
	g->writes_behind = n->holds_writes = o->write_behind;
	gluster_queue_init(&g->queue, n->loop);
	g->merge = (struct merge_queue){
		.run = transfer,
		.arg = g,
		.max_bytes = MERGE_MAX,
		.max_iovecs = GLUSTER_IOVECS_MAX,
		.read_part = 2,
		.write_part = 2,
	};
	merge_queue_init(&g->merge, n->loop);
	list_add_tail(&open_nodes, &g->link);
	/* Guests count in sectors; what the last one lacks reads as zeroes. */
	n->size = align_up(g->file->size, SECTOR_BYTES);
	n->filename = gluster_name_print(o);
	return 0;
}

static void co_fn image_close(struct node *n)
{
	struct gluster *g = n->state;
	list_del_init(&g->link);
	gluster_queue_finish(&g->queue);
	gluster_file_close(g->file);
}

static void image_limits(struct node *n)
{
	if (n->cache_direct)
		n->limits.request_alignment = DIRECT_BYTES;
	n->limits.max_iovecs = GLUSTER_IOVECS_MAX;
	n->limits.max_transfer = TRANSFER_MAX;
	n->limits.max_zero = ZERO_MAX;
	n->limits.max_discard = DISCARD_MAX;
}

/* Requests. */

static int co_fn image_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	struct gluster *g = n->state;
	int64_t done = merge_transfer(&g->merge, &(struct transfer){
		.offset = offset, .bytes = bytes, .v = v,
	});
	return (int)MIN(done, 0);
}

static int co_fn image_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			    unsigned flags)
{
	struct gluster *g = n->state;
	g->writes++;
	int64_t r = merge_transfer(&g->merge, &(struct transfer){
		.is_write = true, .offset = offset, .bytes = bytes, .v = v,
	});
	g->writes++;
	return (int)r;
}

static int co_fn image_flush(struct node *n)
{
	struct gluster *g = n->state;
	if (g->flush_error < 0)
		return g->flush_error;
	uint64_t writes = g->writes;
	int r = gluster_datasync(&g->queue, g->file);
	g->flushed_writes = r == 0 ? MAX(g->flushed_writes, writes) : g->flushed_writes;
	/* Another one may have failed meanwhile. */
	if (g->flush_error == 0)
		g->flush_error = r;
	return g->flush_error;
}

/* A request that may make a hole begins or ends. */
static void note_change(struct gluster *g)
{
	g->changes++;
	g->data.begin = g->data.end = 0;
}

static bool is_unsupported(int r)
{
	return r == -EOPNOTSUPP || r == -ENOTSUP || r == -ENOSYS;
}

static int co_fn punch_hole(struct gluster *g, uint64_t offset, uint64_t bytes)
{
	if (!g->can_punch_hole)
		return -ENOTSUP;
	note_change(g);
	int r = gluster_punch_hole(&g->queue, g->file, offset, bytes);
	note_change(g);
	if (!is_unsupported(r))
		return note_result(g, r);
	g->can_punch_hole = false;
	return -ENOTSUP;
}

static int co_fn image_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	struct gluster *g = n->state;
	/* A hole is cheap wherever it can be made. Beyond the end it would not make the file longer. */
	if ((flags & REQUEST_MAY_UNMAP) && offset + bytes <= n->size) {
		int r = punch_hole(g, offset, bytes);
		if (r != -ENOTSUP)
			return r;
	}
	/* Bricks may have to write the zeroes one by one: that is not what a fast way means. */
	if (!g->can_zero || (flags & REQUEST_NO_FALLBACK))
		return -ENOTSUP;
	note_change(g);
	int r = gluster_zero_fill(&g->queue, g->file, offset, bytes);
	note_change(g);
	if (!is_unsupported(r))
		return note_result(g, r);
	g->can_zero = false;
	return -ENOTSUP;
}

static int co_fn image_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	return punch_hole(n->state, offset, bytes);
}

static int co_fn image_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct gluster *g = n->state;
	*ret = (struct extent){
		.flags = EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID,
		.bytes = ret->bytes,
		.node = n,
		.offset = offset,
	};
	if (g->data.begin <= offset && offset < g->data.end) {
		ret->bytes = MIN(ret->bytes, g->data.end - offset);
		return 0;
	}
	/* The bricks do not know yet what the library holds back. */
	if (g->writes_behind && g->flushed_writes < g->writes)
		return 0;
	uint64_t changes = g->changes;
	struct gluster_extent e;
	/* Without an answer everything is taken for data. */
	if (gluster_file_seek(g->file, offset, &e) < 0)
		return 0;
	/* The bricks' blocks may be smaller than ours: a block with any data is data. */
	uint64_t align = n->limits.request_alignment;
	uint64_t hole_end = align_down(e.end, align);
	if (!e.is_data && hole_end > offset) {
		ret->flags = EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_OFFSET_VALID;
		ret->bytes = MIN(ret->bytes, hole_end - offset);
	} else if (!e.is_data) {
		ret->bytes = MIN(ret->bytes, align);
	} else {
		uint64_t end = e.end > UINT64_MAX - align ? e.end : align_up(e.end, align);
		ret->bytes = MIN(ret->bytes, end - offset);
		if (changes == g->changes) {
			g->data.begin = offset;
			g->data.end = end;
		}
	}
	return 0;
}

/* Sizes. */

static int co_fn fill(struct gluster *g, uint64_t offset, uint64_t end)
{
	int r = 0;
	for (uint64_t bytes; r >= 0 && offset < end; offset += bytes) {
		bytes = MIN(end - offset, ZERO_MAX);
		r = gluster_zero_fill(&g->queue, g->file, offset, bytes);
	}
	return r;
}

static int co_fn grow(struct gluster *g, uint64_t old_size, uint64_t size,
		      enum preallocation preallocation)
{
	int r = gluster_set_size(&g->queue, g->file, size);
	if (r >= 0 && preallocation == PREALLOCATION_FALLOC)
		r = gluster_file_allocate(g->file, old_size, size - old_size);
	else if (r >= 0 && preallocation == PREALLOCATION_FULL)
		r = fill(g, old_size, size);
	if (r < 0)
		gluster_set_size(&g->queue, g->file, old_size);
	return r;
}

static int co_fn image_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			       struct error **errp)
{
	struct gluster *g = n->state;
	if (preallocation == PREALLOCATION_METADATA)
		return error_set(errp, -ENOTSUP, "Unsupported preallocation mode 'metadata'");
	if (size < n->size && preallocation != PREALLOCATION_OFF)
		return error_set(errp, -ENOTSUP,
				 "Preallocation can't be used for shrinking files");
	note_change(g);
	int r;
	if (size > n->size)
		r = grow(g, n->size, size, preallocation);
	else
		r = gluster_set_size(&g->queue, g->file, size);
	note_change(g);
	if (note_result(g, r) < 0)
		return error_set_errno(errp, r, "Failed to resize '%s'", n->filename);
	return 0;
}

static int64_t co_fn image_allocated_bytes(struct node *n)
{
	struct gluster *g = n->state;
	return gluster_file_allocated(g->file);
}

static bool image_same_medium(const struct node *a, const struct node *b)
{
	const struct gluster *g = a->state, *h = b->state;
	return g->file->inode == h->file->inode &&
	       strcmp(a->options->u.gluster.volume, b->options->u.gluster.volume) == 0;
}

/* Another client may have written, and changed the size. */
static int co_fn image_activate(struct node *n, struct error **errp)
{
	struct gluster *g = n->state;
	uint64_t size;
	int r = gluster_file_size(g->file, &size);
	if (r < 0)
		return error_set_errno(errp, r, "Could not get the size of '%s'", n->filename);
	note_change(g);
	node_set_size(n, align_up(size, SECTOR_BYTES));
	return 0;
}

/* Reopening: another file handle, perhaps by another connection. */

static int co_fn image_reopen_prepare(struct reopen *r, struct error **errp)
{
	struct gluster *g = r->node->state;
	struct gluster_file *f;
	/* The new handle may belong to another connection, which does not know of our writes yet. */
	int e = image_flush(r->node);
	if (e < 0)
		return error_set_errno(errp, e, "Could not flush '%s'", r->node->filename);
	e = gluster_file_open(&r->options->u.gluster, file_flags(r->node, r->read_only), &f, errp);
	if (e < 0)
		return e;
	/* The same name may mean another file by now. */
	if (f->inode != g->file->inode) {
		gluster_file_release(f);
		return error_set(errp, -ESTALE, "'%s' is another file now", r->node->filename);
	}
	r->state = f;
	return 0;
}

static void image_reopen_commit(struct reopen *r)
{
	struct gluster *g = r->node->state;
	gluster_file_release(g->file);
	g->file = TAKE(r->state);
	g->writes_behind = r->node->holds_writes = r->options->u.gluster.write_behind;
}

static void image_reopen_abort(struct reopen *r)
{
	gluster_file_release(TAKE(r->state));
}

static const char *const reopen_options[] = {"server", "debug", "logfile", "connect-timeout",
					     "ping-timeout", "write-behind", NULL};

static const struct driver gluster_driver = {
	.name = "gluster",
	.protocol = "gluster",
	.can_be_inactive = true,
	.is_remote = true,
	.activate = image_activate,
	.parse_name = gluster_name_parse,
	.filename_in_json = true,
	.state_size = sizeof(struct gluster),
	.grows_on_write = true,
	.open = image_open,
	.close = image_close,
	.read = image_read,
	.write = image_write,
	.zero = image_zero,
	.discard = image_discard,
	.flush = image_flush,
	.status = image_status,
	.truncate = image_truncate,
	.allocated_bytes = image_allocated_bytes,
	.same_medium = image_same_medium,
	.reopen_options = reopen_options,
	.reopen_prepare = image_reopen_prepare,
	.reopen_commit = image_reopen_commit,
	.reopen_abort = image_reopen_abort,
	.limits = image_limits,
	.create = gluster_create,
	.uncreate = gluster_uncreate,
};

MODULE_DEFINE(gluster_driver);
