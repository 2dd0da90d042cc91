/* SPDX-License-Identifier: MIT */
/*
 * Changing a node's size. Node's loop, in a coroutine.
 *
 * The resize lock orders changes of one node's size; it is taken last, inside
 * the request that needs the new size.
 */
#include <assert.h>

#include "block/consumer.h"
#include "block/driver.h"
#include "block/io_internal.h"
#include "block/node_internal.h"
#include "block/request.h"

static int co_fn truncate_by_driver(struct node *n, uint64_t size,
				    enum preallocation preallocation, struct error **errp)
{
	bool is_stored = n->driver->sizes_itself;
	int r;
	if (n->driver->truncate) {
		r = n->driver->truncate(n, size, preallocation, errp);
	} else if (n->driver->is_filter && n->file) {
		r = edge_truncate(n->file, size, preallocation, errp);
		is_stored = true; /* by child_resized() */
	} else {
		return error_set(errp, -ENOTSUP, "Image format driver does not support resize");
	}
	if (r < 0)
		return r;
	n->write_generation++;
	if (!is_stored)
		node_set_size(n, size);
	return 0;
}

int co_fn io_grow(struct node *n, uint64_t end)
{
	unsigned unanswered = n->unanswered_grows;
	co_mutex_lock(&n->resize_lock);
	int r = 0;
	/* Who has waited while storage did not answer has waited long enough: not one after the other. */
	if (end > n->size)
		r = n->unanswered_grows != unanswered
			    ? -ETIMEDOUT
			    : truncate_by_driver(n, end, PREALLOCATION_OFF, NULL);
	if (r == -ETIMEDOUT && n->unanswered_grows == unanswered)
		n->unanswered_grows++;
	co_mutex_unlock(&n->resize_lock);
	return r;
}

/* Where a backing file is longer than the image was, it must not show in what is new. */
static int co_fn hide_backing(struct node *n, uint64_t old_size, struct error **errp)
{
	struct node *backing = node_backing(n);
	if (!backing || backing->size <= old_size || n->size <= old_size)
		return 0;
	uint64_t end = MIN(n->size, backing->size);
	int r = io_zero(n, old_size, end - old_size, 0);
	io_note_write(n, old_size, end - old_size);
	if (r < 0)
		return error_set_errno(errp, r, "Could not zero the new area of '%s'", n->name);
	return 0;
}

static int check_truncate(const struct edge *e, uint64_t size, struct error **errp)
{
	const struct node *n = e->child;
	if (!(e->permissions & PERM_RESIZE))
		return error_set(errp, -EPERM, "The user of node '%s' may not resize it", n->name);
	if (n->read_only)
		return error_set(errp, -EACCES, "Image is read-only");
	if (size > IO_END_MAX)
		return error_set(errp, -EFBIG,
				 "Required too big image size, it must be not greater than %llu",
				 (unsigned long long)IO_END_MAX);
	return 0;
}

/*
 * Enter a request for all behind the smaller of both sizes, and take the resize lock. Others
 * may have made the node shorter than that while we waited: then once more.
 */
static void co_fn begin_truncate(struct request *rq, struct node *n, uint64_t size)
{
	for (;;) {
		uint64_t from = MIN(n->size, size);
		request_begin_serialising(rq, n, from, IO_END_MAX - from,
					  n->limits.request_alignment, 0);
		co_mutex_lock(&n->resize_lock);
		if (n->size >= from)
			return;
		co_mutex_unlock(&n->resize_lock);
		request_end(rq);
	}
}

static int co_fn change_size(struct edge *e, uint64_t size, bool only_grows,
			     enum preallocation preallocation, struct error **errp)
{
	struct node *n = e->child;
	assert(!e->consumer || e->consumer->operations > 0);
	int r = check_truncate(e, size, errp);
	if (r < 0)
		return r;

	/* Nobody reads or writes beyond the smaller size meanwhile. */
	struct request rq;
	begin_truncate(&rq, n, size);
	uint64_t old_size = n->size;
	/* A write that was waited for may have made it long enough. */
	if (!only_grows || old_size < size) {
		r = truncate_by_driver(n, size, preallocation, errp);
		if (r >= 0)
			r = hide_backing(n, old_size, errp);
	}
	co_mutex_unlock(&n->resize_lock);
	request_end(&rq);
	return r;
}

int co_fn edge_truncate(struct edge *e, uint64_t size, enum preallocation preallocation,
			struct error **errp)
{
	return change_size(e, size, false, preallocation, errp);
}

int co_fn edge_grow(struct edge *e, uint64_t size, enum preallocation preallocation,
		    struct error **errp)
{
	return change_size(e, size, true, preallocation, errp);
}
