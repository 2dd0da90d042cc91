/* SPDX-License-Identifier: MIT */
/*
 * The driver rbd: requests to an image of a Ceph cluster. Node's loop.
 *
 * With a cache, a write is acknowledged before it is stored (early.h), and one that then fails is
 * lost. So a failed flush is final for the node.
 */
#include "drivers/rbd/rbd.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "drivers/module.h"
#include "drivers/rbd/name.h"

/* Requests longer than this are cut. */
#define TRANSFER_MAX (16 * MiB)
#define RANGE_MAX (1 * GiB)
/* The same where librbd encrypts zeroes: it holds all that it writes in memory. */
#define ENCRYPTED_RANGE_MAX (16 * MiB)

static void on_size(struct image *image)
{
	image_forget(image);
	node_set_size(image->owner, align_up(image_size(image), RBD_SECTOR_BYTES));
}

static int co_fn open_image(struct node *n, bool read_only, struct image **ret, struct error **errp)
{
	return image_open(n->graph, &n->options->u.rbd, read_only, !n->cache_direct, on_size, n, ret,
			  errp);
}

static int co_fn rbd_node_open(struct node *n, const struct blockdev_options *options, void *arg,
				 struct error **errp)
{
	struct rbd *rbd = n->state;
	const struct blockdev_options_rbd *o = &options->u.rbd;
	co_group_init(&rbd->closing);
	int r = 0;
	if (o->snapshot)
		r = node_apply_auto_read_only(n, "rbd snapshots are read-only", errp);
	if (r >= 0)
		r = open_image(n, n->read_only, &rbd->image, errp);
	if (r < 0)
		return r;
	n->size = align_up(image_size(rbd->image), RBD_SECTOR_BYTES);
	n->holds_writes = true; /* here or in librbd's cache, which others may have turned on, too */
	n->filename = rbd_name_print(o);
	return 0;
}

static void co_fn rbd_node_close(struct node *n)
{
	struct rbd *rbd = n->state;
	co_group_wait(&rbd->closing);
	image_close(rbd->image);
	free(rbd->map);
}

static int co_fn rbd_node_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			  unsigned flags)
{
	struct rbd *rbd = n->state;
	int64_t done = image_run(rbd->image, &(struct image_request){
		.op = IMAGE_READ,
		.offset = offset,
		.bytes = bytes,
		.v = v,
	});
	/* Somebody else has made the image shorter: what is not there reads as zeroes. */
	if (done == -EINVAL && offset >= image_size(rbd->image))
		done = 0;
	if (done < 0)
		return (int)done;
	/* The objects are missing, and not empty. */
	if (header_watch_is_gone(&rbd->image->header_watch))
		return -ENOENT;
	if ((uint64_t)done < bytes)
		vec_fill(vec_advance(v, (size_t)done), 0, bytes - (uint64_t)done);
	return 0;
}

/*
 * Cut off what of @q lies between the end of an image and the end of its last sector: it is zero,
 * and has no room for anything else. -ENOSPC for more than that.
 */
static int clip(struct image_request *q, uint64_t size)
{
	uint64_t end = q->offset + q->bytes;
	if (end > align_up(size, RBD_SECTOR_BYTES))
		return -ENOSPC;
	if (end <= size)
		return 0;
	uint64_t part = size - MIN(size, q->offset);
	if (q->op == IMAGE_WRITE && !vec_is_zero(vec_advance(q->v, part), q->bytes - part))
		return -ENOSPC;
	q->bytes = part;
	return 0;
}

/*
 * Run a request that changes what the image holds. librbd cuts off what lies beyond the
 * end and reports success; the end may have moved before the request or
 * during it.
 */
static int co_fn run_change(struct node *n, const struct image_request *request)
{
	struct rbd *rbd = n->state;
	struct image_request q = *request;
	int r = clip(&q, image_size(rbd->image));
	if (r < 0 || q.bytes == 0)
		return r;
	rbd->generation++;
	r = (int)image_run(rbd->image, &q);
	rbd->generation++;
	return q.offset + q.bytes > image_size(rbd->image) ? -ENOSPC : r;
}

static int co_fn rbd_node_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			   unsigned flags)
{
	return run_change(n, &(struct image_request){
		.op = IMAGE_WRITE,
		.offset = offset,
		.bytes = bytes,
		.v = v,
	});
}

static int co_fn rbd_node_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	bool keeps_blocks = !(flags & REQUEST_MAY_UNMAP);
	/* Blocks are kept by writing zeroes to them. */
	if (keeps_blocks && (flags & REQUEST_NO_FALLBACK))
		return -ENOTSUP;
	return run_change(n, &(struct image_request){
		.op = IMAGE_ZERO,
		.offset = offset,
		.bytes = bytes,
		.keeps_blocks = keeps_blocks,
	});
}

static int co_fn rbd_node_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	return run_change(n, &(struct image_request){
		.op = IMAGE_DISCARD,
		.offset = offset,
		.bytes = bytes,
	});
}

static int co_fn rbd_node_flush(struct node *n)
{
	struct rbd *rbd = n->state;
	if (rbd->flush_error < 0)
		return rbd->flush_error;
	int r = (int)image_run(rbd->image, &(struct image_request){.op = IMAGE_FLUSH});
	if (r < 0)
		rbd->flush_error = r;
	return r;
}

/* Write zeroes to what is new in an encrypted image: librbd decrypts holes as if they were data. */
static int co_fn zero_new(struct node *n, uint64_t from, uint64_t to, struct error **errp)
{
	while (from < to) {
		uint64_t bytes = MIN(to - from, ENCRYPTED_RANGE_MAX);
		int r = run_change(n, &(struct image_request){
			.op = IMAGE_ZERO,
			.offset = from,
			.bytes = bytes,
			.keeps_blocks = true,
		});
		if (r < 0)
			return error_set_errno(errp, r, "Failed to write zeroes to the new part of "
					       "the image");
		from += bytes;
	}
	return 0;
}

static int co_fn rbd_node_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			      struct error **errp)
{
	struct rbd *rbd = n->state;
	if (preallocation != PREALLOCATION_OFF)
		return error_set(errp, -ENOTSUP, "Unsupported preallocation mode");
	uint64_t old_size = image_size(rbd->image);
	rbd->generation++;
	int r = image_resize(rbd->image, size, errp);
	rbd->generation++;
	if (r >= 0 && rbd->image->is_encrypted) {
		r = zero_new(n, old_size, size, errp);
		/* What has not become zero must not stay for the next attempt to take for old. */
		if (r < 0)
			(void)image_resize(rbd->image, old_size, NULL);
	}
	return r;
}

static void rbd_node_limits(struct node *n)
{
	const struct rbd *rbd = n->state;
	n->limits.max_transfer = TRANSFER_MAX;
	n->limits.max_zero = n->limits.max_discard =
		rbd->image->is_encrypted ? ENCRYPTED_RANGE_MAX : RANGE_MAX;
	n->limits.optimal_transfer = rbd->image->object_size;
	/* Less than this librbd ignores. */
	n->limits.discard_alignment = rbd->image->discard_granularity;
}

static int co_fn rbd_node_info(struct node *n, struct driver_info *ret)
{
	const struct rbd *rbd = n->state;
	ret->cluster_size = rbd->image->object_size;
	return 0;
}

static struct image_info_specific *rbd_node_specific_info(struct node *n)
{
	const struct rbd *rbd = n->state;
	struct image_info_specific_rbd *info = NEW(struct image_info_specific_rbd);
	info->has_encryption_format = rbd->image->shows_encrypted;
	info->encryption_format = rbd->image->shown_format;
	struct image_info_specific *ret = NEW(struct image_info_specific);
	ret->type = IMAGE_INFO_SPECIFIC_KIND_RBD;
	ret->u.rbd.data = info;
	return ret;
}

static bool rbd_node_same_medium(const struct node *a, const struct node *b)
{
	return string_equal(a->filename, b->filename);
}

/* A reader's image is another one than a writer's: librbd has no watch for it, and takes no lock. */
static int co_fn rbd_node_reopen_prepare(struct reopen *r, struct error **errp)
{
	struct node *n = r->node;
	struct rbd *rbd = n->state;
	if (rbd->image->snapshot && !r->read_only)
		return error_set(errp, -EINVAL,
				 "Cannot change node '%s' to r/w when using RBD snapshot", n->name);
	if (r->read_only == rbd->image->read_only && n->cache_direct != rbd->image->is_cached)
		return 0;
	/* The new one reads what the old one has stored. */
	int e = rbd_node_flush(n);
	if (e < 0)
		return error_set_errno(errp, e, "Could not flush node '%s'", n->name);
	struct image *image;
	e = open_image(n, r->read_only, &image, errp);
	if (e >= 0)
		r->state = image;
	return e;
}

static void co_fn close_replaced(void *arg)
{
	struct image *image = arg;
	struct node *n = image->owner;
	struct rbd *rbd = n->state;
	image_close(image);
	co_group_done(&rbd->closing);
}

static void close_in_background(struct node *n, struct image *image)
{
	struct rbd *rbd = n->state;
	co_group_add(&rbd->closing);
	co_start(n->loop, close_replaced, image);
}

static void rbd_node_reopen_commit(struct reopen *r)
{
	struct rbd *rbd = r->node->state;
	if (!r->state)
		return;
	close_in_background(r->node, rbd->image);
	rbd->image = r->state;
	rbd->generation++;
	/* Who read only has not seen others change it. */
	node_set_size(r->node, align_up(image_size(rbd->image), RBD_SECTOR_BYTES));
}

static void rbd_node_reopen_abort(struct reopen *r)
{
	if (r->state)
		close_in_background(r->node, r->state);
}

/*
 * Another client may have written, and changed the size. librbd has no watch for readers, by
 * which it would notice: they open the image anew.
 */
static int co_fn rbd_node_activate(struct node *n, struct error **errp)
{
	struct rbd *rbd = n->state;
	struct image *image = rbd->image;
	uint64_t size = image_size(image);
	int r;
	if (image->read_only) {
		r = open_image(n, true, &image, errp);
		if (r < 0)
			return r;
		close_in_background(n, rbd->image);
		rbd->image = image;
		size = image_size(image);
	} else {
		r = image_invalidate(image);
		if (r >= 0)
			r = image_ask_size(image, &size);
		if (r < 0)
			return error_set_errno(errp, r, "failed to get the size of the image");
	}
	rbd->generation++;
	node_set_size(n, align_up(size, RBD_SECTOR_BYTES));
	return 0;
}

static const char *const strong_options[] = {
	"namespace", "conf", "snapshot", "encrypt", "user", "key-secret", "server",
	"auth-client-required", "settings",
	NULL,
};

static const struct driver rbd_driver = {
	.name = "rbd",
	.protocol = "rbd",
	.can_be_inactive = true,
	.is_remote = true,
	.activate = rbd_node_activate,
	.parse_name = rbd_name_parse,
	.filename_in_json = true,
	.print_name = rbd_name_print_part,
	.strong_options = strong_options,
	.state_size = sizeof(struct rbd),
	.open = rbd_node_open,
	.close = rbd_node_close,
	.read = rbd_node_read,
	.write = rbd_node_write,
	.zero = rbd_node_zero,
	.discard = rbd_node_discard,
	.flush = rbd_node_flush,
	.status = rbd_node_status,
	.status_is_costly = true,
	.truncate = rbd_node_truncate,
	.limits = rbd_node_limits,
	.info = rbd_node_info,
	.specific_info = rbd_node_specific_info,
	.same_medium = rbd_node_same_medium,
	.reopen_prepare = rbd_node_reopen_prepare,
	.reopen_commit = rbd_node_reopen_commit,
	.reopen_abort = rbd_node_reopen_abort,
	.snapshot_list = rbd_node_snapshot_list,
	.snapshot_create = rbd_node_snapshot_create,
	.snapshot_apply = rbd_node_snapshot_apply,
	.snapshot_delete = rbd_node_snapshot_delete,
	.snapshot_show = rbd_node_snapshot_show,
	.create = rbd_node_create,
	.uncreate = rbd_node_uncreate,
};

MODULE_DEFINE(rbd_driver);
