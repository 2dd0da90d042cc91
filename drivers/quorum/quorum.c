/* SPDX-License-Identifier: MIT */
/*
 * The driver quorum: opening, writing, and its children. Node's loop.
 */
#include "drivers/quorum/quorum.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/graph.h"

/* What is read or written at once: each child has a buffer of its own for a read. */
#define TRANSFER_MAX MiB
#define CHILDREN_MAX 64

/* --- Opening ---------------------------------------------------------------------- */

static int check_options(const struct blockdev_options_quorum *o, struct error **errp)
{
	if (o->children.count == 0)
		return error_set(errp, -EINVAL, "Number of provided children must be 1 or more");
	if (o->children.count > CHILDREN_MAX)
		return error_set(errp, -EINVAL, "Number of provided children must be %d or fewer",
				 CHILDREN_MAX);
	if (o->vote_threshold < 1)
		return error_set(errp, -EINVAL, "Parameter 'vote-threshold' expects a value >= 1");
	if ((uint64_t)o->vote_threshold > o->children.count)
		return error_set(errp, -EINVAL, "threshold may not exceed children count");
	bool is_fifo = o->read_pattern == QUORUM_READ_PATTERN_FIFO;
	if (is_fifo)
		return 0;
	if (o->blkverify && (o->children.count != 2 || o->vote_threshold != 2))
		return error_set(errp, -EINVAL, "blkverify=on can only be set if there are exactly "
				 "two files and vote-threshold is 2");
	if (o->blkverify && o->rewrite_corrupted)
		return error_set(errp, -EINVAL,
				 "rewrite-corrupted=on cannot be used with blkverify=on");
	return 0;
}

static void append(struct quorum *q, struct edge *e)
{
	q->children = xrealloc(q->children, q->count + 1, sizeof(q->children[0]));
	q->children[q->count++] = e;
}

static char *next_name(const struct quorum *q)
{
	return xasprintf("children.%u", q->next_number);
}

static int co_fn open_children(struct node *n, const struct blockdev_ref_list *children,
			       struct error **errp)
{
	struct quorum *q = n->state;
	for (size_t i = 0; i < children->count; i++) {
		char *name _cleanup_free_ = next_name(q);
		struct edge *e;
		int r = node_open_child(n, children->items[i], name, EDGE_DATA, &e, errp);
		if (r < 0)
			return r;
		append(q, e);
		q->next_number++;
		if (e->child->size != q->children[0]->child->size)
			return error_set(errp, -EIO, "Child '%s' has %llu bytes, and '%s' %llu",
					 e->child->name, (unsigned long long)e->child->size,
					 q->children[0]->child->name,
					 (unsigned long long)q->children[0]->child->size);
	}
	n->size = q->children[0]->child->size;
	return 0;
}

static int co_fn quorum_open(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	const struct blockdev_options_quorum *o = &options->u.quorum;
	struct quorum *q = n->state;
	int r = check_options(o, errp);
	if (r < 0)
		return r;
	q->threshold = (unsigned)o->vote_threshold;
	q->is_fifo = o->read_pattern == QUORUM_READ_PATTERN_FIFO;
	q->is_verify = o->blkverify && !q->is_fifo;
	q->rewrites = o->rewrite_corrupted && !q->is_fifo;
	list_init(&q->turns);
	co_queue_init(&q->waiters);
	r = open_children(n, &o->children, errp);
	if (r < 0)
		free(q->children);
	return r;
}

static void co_fn quorum_close(struct node *n)
{
	struct quorum *q = n->state;
	free(q->children);
}

/* --- Writing ---------------------------------------------------------------------- */

struct write {
	uint64_t offset, bytes;
	struct vec v;
	unsigned flags;
	bool is_zero;
};

static int co_fn write_part(struct quorum_part *part, void *arg)
{
	const struct write *w = arg;
	return w->is_zero ? edge_zero(part->child, w->offset, w->bytes, w->flags)
			  : edge_writev(part->child, w->offset, w->bytes, w->v, w->flags);
}

static int co_fn write_all(struct node *n, struct write w)
{
	struct quorum *q = n->state;
	struct quorum_part *parts _cleanup_free_ = quorum_parts_new(q);
	unsigned count = q->count;
	struct quorum_turn turn;
	quorum_turn_begin(q, &turn, w.offset, w.bytes, true);
	quorum_run(n, parts, count, write_part, &w);
	quorum_turn_end(q, &turn);
	return quorum_judge(n, parts, count, QUORUM_OP_TYPE_WRITE, w.offset, w.bytes);
}

static int co_fn quorum_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			      unsigned flags)
{
	return write_all(n, (struct write){offset, bytes, v, flags, false});
}

static int co_fn quorum_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	/* Some children might know how to and others not: all shall do the same. */
	return flags & REQUEST_NO_FALLBACK
		       ? -ENOTSUP
		       : write_all(n, (struct write){offset, bytes, {0}, flags, true});
}

static int co_fn flush_part(struct quorum_part *part, void *arg)
{
	return edge_flush(part->child);
}

static int co_fn quorum_flush(struct node *n)
{
	struct quorum *q = n->state;
	struct quorum_part *parts _cleanup_free_ = quorum_parts_new(q);
	unsigned count = q->count;
	quorum_run(n, parts, count, flush_part, NULL);
	return quorum_judge(n, parts, count, QUORUM_OP_TYPE_FLUSH, 0, 0);
}

/* Zeroes are what all children call so; about the rest nothing is said. */
static int co_fn quorum_status(struct node *n, uint64_t offset, struct extent *ret)
{
	const struct quorum *q = n->state;
	uint64_t bytes = ret->bytes;
	bool is_zero = true;
	for (unsigned i = 0; i < q->count; i++) {
		struct extent x;
		/* The last block may reach beyond the end. */
		int r = node_status(q->children[i]->child, offset, bytes, &x);
		if (r < 0 || x.bytes == 0) {
			is_zero = false;
			break;
		}
		bytes = MIN(bytes, x.bytes);
		is_zero &= (x.flags & EXTENT_ZERO) != 0;
	}
	ret->flags = EXTENT_ALLOCATED | (is_zero ? EXTENT_ZERO : EXTENT_DATA);
	ret->bytes = bytes;
	return 0;
}

/* --- Children ---------------------------------------------------------------------- */

/* Only the quorum may write to its children, or they would disagree. */
static void quorum_permissions(struct node *n, const char *name, unsigned role,
			       unsigned permissions, unsigned shared, unsigned *ret_permissions,
			       unsigned *ret_shared)
{
	const struct quorum *q = n->state;
	*ret_permissions = permissions & ~(unsigned)PERM_RESIZE;
	if (q->rewrites && !n->read_only)
		*ret_permissions |= PERM_WRITE;
	*ret_shared = PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED;
}

static void quorum_limits(struct node *n)
{
	const struct quorum *q = n->state;
	n->limits.max_transfer = TRANSFER_MAX;
	for (unsigned i = 0; i < q->count; i++) {
		const struct node_limits *below = &q->children[i]->child->limits;
		n->limits.request_alignment =
			MAX(n->limits.request_alignment, below->request_alignment);
		n->limits.memory_alignment =
			MAX(n->limits.memory_alignment, below->memory_alignment);
	}
}

/* The options follow the children, for names and for reopening. */
static void add_to_options(struct node *n, const struct node *child)
{
	struct blockdev_ref *ref = NEW(struct blockdev_ref);
	ref->kind = BLOCKDEV_REF_REFERENCE;
	ref->u.reference = xstrdup(child->name);
	blockdev_ref_list_append(&n->options->u.quorum.children, ref);
}

static void remove_from_options(struct node *n, unsigned index)
{
	struct blockdev_ref_list *children = &n->options->u.quorum.children;
	blockdev_ref_free(children->items[index]);
	children->count--;
	memmove(&children->items[index], &children->items[index + 1],
		(children->count - index) * sizeof(children->items[0]));
}

static int co_fn quorum_add_child(struct node *n, struct node *child, struct error **errp)
{
	struct quorum *q = n->state;
	if (q->is_verify)
		return error_set(errp, -EINVAL, "Cannot add a child to a quorum in blkverify mode");
	if (q->count == CHILDREN_MAX)
		return error_set(errp, -EINVAL, "Too many children");
	/* What a longer one has beyond the end plays no part, as in the reference. */
	if (child->size < n->size)
		return error_set(errp, -EINVAL, "Child '%s' has %llu bytes, and '%s' %llu",
				 child->name, (unsigned long long)child->size, n->name,
				 (unsigned long long)n->size);
	char *name _cleanup_free_ = next_name(q);
	struct edge *e;
	struct graph_tx tx;
	graph_tx_begin(&tx, n->graph);
	int r = graph_tx_attach_node(&tx, n, name, child, EDGE_DATA, &e, errp);
	if (r >= 0)
		r = graph_tx_prepare(&tx, errp);
	if (r < 0) {
		graph_tx_abort(&tx);
		return r;
	}
	append(q, e);
	q->next_number++;
	add_to_options(n, child);
	graph_tx_commit(&tx);
	return 0;
}

static unsigned index_of(const struct quorum *q, const struct edge *e)
{
	unsigned i = 0;
	while (q->children[i] != e)
		i++;
	return i;
}

static int co_fn quorum_remove_child(struct node *n, struct edge *e, struct error **errp)
{
	struct quorum *q = n->state;
	if (q->count <= q->threshold)
		return error_set(errp, -EINVAL, "The number of children cannot be lower than the "
				 "vote threshold %u", q->threshold);
	struct graph_tx tx;
	graph_tx_begin(&tx, n->graph);
	graph_tx_detach(&tx, e);
	graph_tx_touch(&tx, n); /* for its name and limits */
	int r = graph_tx_prepare(&tx, errp);
	if (r < 0) {
		graph_tx_abort(&tx);
		return r;
	}
	unsigned index = index_of(q, e);
	/* The last name may be given again. */
	char *last _cleanup_free_ = xasprintf("children.%u", q->next_number - 1);
	if (strcmp(e->name, last) == 0)
		q->next_number--;
	q->count--;
	memmove(&q->children[index], &q->children[index + 1],
		(q->count - index) * sizeof(q->children[0]));
	remove_from_options(n, index);
	graph_tx_commit(&tx);
	return 0;
}

static const char *const strong_options[] = {"children", "blkverify", "rewrite-corrupted",
					     "read-pattern", NULL};

const struct driver quorum_driver = {
	.name = "quorum",
	.state_size = sizeof(struct quorum),
	.votes = true,
	.is_fixed = true,
	.supports_fua = true,
	.strong_options = strong_options,
	.open = quorum_open,
	.close = quorum_close,
	.read = quorum_read,
	.write = quorum_write,
	.zero = quorum_zero,
	.flush = quorum_flush,
	.flushes_children = true,
	.status = quorum_status,
	.add_child = quorum_add_child,
	.remove_child = quorum_remove_child,
	.child_permissions = quorum_permissions,
	.limits = quorum_limits,
};
