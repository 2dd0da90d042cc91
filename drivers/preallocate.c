/* SPDX-License-Identifier: MIT */
/*
 * The driver preallocate: a filter between a format and its file, which makes the
 * file longer than asked for whenever it has to grow, so that it grows seldom and
 * in one piece. Control thread and node's loop, which are one.
 *
 * 1. What the node shows ends where the data ends; the file may end later.
 * 2. As long as the file is longer, the filter keeps the permission to cut it, even
 *    when nobody above may write any more.
 * 3. It is cut when the writers have gone, or else when the node is closed.
 */
#include "drivers/filters.h"

#include "block/driver.h"
#include "block/graph.h"

#define SECTOR_BYTES 512

struct preallocate {
	uint64_t align, size; /* bytes */
	bool is_longer;       /* the file may be longer than the data */
	bool is_hopeless;     /* the file cannot be extended in advance */
	bool is_soiled;       /* a failed write may have left something behind the data */
	struct co_mutex extend_lock;
};

static int check_options(const struct blockdev_options_preallocate *o, struct error **errp)
{
	if (o->prealloc_align < 0 || o->prealloc_size < 0)
		return error_set(errp, -EINVAL,
				 "Parameter '%s' expects a non-negative number below 2^64",
				 o->prealloc_align < 0 ? "prealloc-align" : "prealloc-size");
	if (!is_aligned((uint64_t)o->prealloc_align, SECTOR_BYTES))
		return error_set(errp, -EINVAL,
				 "prealloc-align parameter of preallocate filter is not aligned to %d",
				 SECTOR_BYTES);
	return 0;
}

static void set_options(struct preallocate *p, const struct blockdev_options_preallocate *o)
{
	p->align = MAX((uint64_t)o->prealloc_align, UINT64_C(1));
	p->size = (uint64_t)o->prealloc_size;
}

static int co_fn open_filter(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	struct preallocate *p = n->state;
	const struct blockdev_options_preallocate *o = &options->u.preallocate;
	int r = check_options(o, errp);
	if (r >= 0)
		r = node_open_child(n, o->file, "file", EDGE_FILTERED | EDGE_PRIMARY, NULL, errp);
	if (r < 0)
		return r;
	set_options(p, o);
	co_mutex_init(&p->extend_lock);
	n->size = n->file->child->size;
	return 0;
}

static bool may_resize(unsigned permissions)
{
	return (permissions & PERM_WRITE) && (permissions & PERM_RESIZE);
}

/* Cut the file to what is shown. That it stays longer does no harm. */
static void co_fn cut(struct node *n)
{
	struct preallocate *p = n->state;
	if (p->is_longer && edge_truncate(n->file, n->size, PREALLOCATION_OFF, NULL) >= 0)
		p->is_longer = p->is_soiled = false;
}

/* Let permissions follow from what is longer now. They only get fewer. */
static void co_fn update_permissions(struct node *n)
{
	struct graph_tx tx;
	graph_tx_begin(&tx, n->graph);
	graph_tx_touch(&tx, n);
	if (graph_tx_prepare(&tx, NULL) < 0)
		graph_tx_abort(&tx);
	else
		graph_tx_commit(&tx);
}

static void set_permissions(struct node *n, unsigned permissions, unsigned shared)
{
	const struct preallocate *p = n->state;
	if (!may_resize(permissions) && p->is_longer)
		node_unsettle(n);
}

static void co_fn settle(struct node *n)
{
	struct preallocate *p = n->state;
	if (may_resize(n->permissions) || !p->is_longer)
		return;
	cut(n);
	/* Not being able to is no reason to hold on to the permission. */
	p->is_longer = false;
	update_permissions(n);
}

static void child_permissions(struct node *n, const char *name, unsigned role,
			      unsigned permissions, unsigned shared, unsigned *ret_permissions,
			      unsigned *ret_shared)
{
	const struct preallocate *p = n->state;
	permission_for_child(n, role, permissions, shared, ret_permissions, ret_shared);
	if (p->is_longer)
		*ret_permissions |= PERM_WRITE | PERM_RESIZE;
	/* What others write or cut behind the data would not be noticed. */
	if (may_resize(*ret_permissions))
		*ret_shared &= ~(unsigned)(PERM_WRITE | PERM_RESIZE);
}

static void co_fn close_filter(struct node *n)
{
	cut(n);
}

/* The file has changed its size: by our hands, if it is longer than the data. */
static void child_resized(struct node *n, struct edge *e)
{
	const struct preallocate *p = n->state;
	if (!p->is_longer)
		node_set_size(n, e->child->size);
}

/* Make room for data up to @end and more, if that is possible. */
static void co_fn extend(struct node *n, uint64_t end)
{
	struct preallocate *p = n->state;
	co_mutex_lock(&p->extend_lock);
	uint64_t size = end + p->size;
	size = size + (p->align - size % p->align) % p->align;
	if (n->file->child->size < end && !p->is_hopeless && may_resize(n->file->permissions)) {
		bool was_longer = p->is_longer;
		p->is_longer = true;
		if (edge_grow(n->file, size, PREALLOCATION_FALLOC, NULL) < 0) {
			p->is_hopeless = true;
			p->is_longer = was_longer;
		}
	}
	co_mutex_unlock(&p->extend_lock);
}

/* What a failed request may have left behind the data must not show when that grows. */
static int note_result(struct node *n, uint64_t end, int r)
{
	struct preallocate *p = n->state;
	if (r < 0 && end > n->size)
		p->is_soiled = true;
	return r;
}

static int co_fn write_filter(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			      unsigned flags)
{
	if (offset + bytes > n->file->child->size)
		extend(n, offset + bytes);
	return note_result(n, offset + bytes, edge_writev(n->file, offset, bytes, v, flags));
}

static int co_fn zero_filter(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	return note_result(n, offset + bytes, edge_zero(n->file, offset, bytes, flags));
}

static int co_fn discard_filter(struct node *n, uint64_t offset, uint64_t bytes)
{
	return edge_discard(n->file, offset, bytes);
}

/* What is behind the data has never been written to, and reads as zeroes, unless it is soiled. */
static int co_fn truncate_filter(struct node *n, uint64_t size, enum preallocation preallocation,
				 struct error **errp)
{
	struct preallocate *p = n->state;
	int r = 0;
	if (p->is_longer && !p->is_soiled && size > n->size && size <= n->file->child->size)
		return 0;
	if (p->is_soiled && size > n->size)
		r = edge_truncate(n->file, n->size, PREALLOCATION_OFF, errp);
	if (r >= 0)
		r = edge_truncate(n->file, size, preallocation, errp);
	if (r >= 0)
		p->is_longer = p->is_soiled = false;
	return r;
}

/* What was given once must be given again. */
static int co_fn reopen_prepare(struct reopen *r, struct error **errp)
{
	const struct blockdev_options_preallocate *old = &r->node->options->u.preallocate;
	const struct blockdev_options_preallocate *new = &r->options->u.preallocate;
	bool lacks_align = old->has_prealloc_align && !new->has_prealloc_align;

	if (!lacks_align && !(old->has_prealloc_size && !new->has_prealloc_size))
		return check_options(new, errp);
	return error_set(errp, -EINVAL, "Option '%s' cannot be reset to its default value",
			 lacks_align ? "prealloc-align" : "prealloc-size");
}

static void reopen_commit(struct reopen *r)
{
	set_options(r->node->state, &r->options->u.preallocate);
}

static const char *const reopen_options[] = {"prealloc-align", "prealloc-size", NULL};

const struct driver preallocate_driver = {
	.name = "preallocate",
	.state_size = sizeof(struct preallocate),
	.is_filter = true,
	.grows_on_write = true,
	.supports_fua = true,
	.can_compress = true,
	.open = open_filter,
	.close = close_filter,
	.write = write_filter,
	.zero = zero_filter,
	.discard = discard_filter,
	.truncate = truncate_filter,
	.child_resized = child_resized,
	.child_permissions = child_permissions,
	.set_permissions = set_permissions,
	.settle = settle,
	.reopen_options = reopen_options,
	.reopen_prepare = reopen_prepare,
	.reopen_commit = reopen_commit,
};
