/* SPDX-License-Identifier: MIT */
/*
 * The driver throttle: a filter whose requests wait for the limits of its group.
 * Zeroing and discarding count as writing. Node's loop.
 */
#include "block/driver.h"
#include "block/throttle_group.h"

static int find_group(struct node *n, const char *name, struct throttle_group **ret,
		      struct error **errp)
{
	*ret = throttle_group_find(n->graph, name);
	return *ret ? 0 : error_set(errp, -EINVAL, "Throttle group '%s' does not exist", name);
}

static int co_fn throttle_open(struct node *n, const struct blockdev_options *options, void *arg,
			       struct error **errp)
{
	const struct blockdev_options_throttle *o = &options->u.throttle;
	struct throttle_group *group;
	int r = node_open_child(n, o->file, "file", EDGE_FILTERED | EDGE_PRIMARY, NULL, errp);
	/* Opening the child may have waited: only now is the group there to stay. */
	if (r >= 0)
		r = find_group(n, o->throttle_group, &group, errp);
	if (r < 0)
		return r;
	throttle_member_init(n->state, group);
	n->size = n->file->child->size;
	return 0;
}

static void co_fn throttle_close(struct node *n)
{
	throttle_member_finish(n->state);
}

static int co_fn throttle_read(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
			       unsigned flags)
{
	throttle_member_wait(n->state, THROTTLE_READ, bytes);
	return edge_readv(n->file, offset, bytes, v, flags);
}

static int co_fn throttle_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
				unsigned flags)
{
	throttle_member_wait(n->state, THROTTLE_WRITE, bytes);
	return edge_writev(n->file, offset, bytes, v, flags);
}

static int co_fn throttle_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags)
{
	throttle_member_wait(n->state, THROTTLE_WRITE, bytes);
	return edge_zero(n->file, offset, bytes, flags);
}

static int co_fn throttle_discard(struct node *n, uint64_t offset, uint64_t bytes)
{
	throttle_member_wait(n->state, THROTTLE_WRITE, bytes);
	return edge_discard(n->file, offset, MIN(bytes, n->size - offset));
}

static void throttle_hurry_begin(struct node *n)
{
	throttle_member_open(n->state);
}

static void throttle_hurry_end(struct node *n)
{
	throttle_member_close(n->state);
}

static void throttle_limits(struct node *n)
{
	n->limits.memory_alignment = n->file->child->limits.memory_alignment;
	n->limits.max_iovecs = n->file->child->limits.max_iovecs;
}

static int co_fn throttle_reopen_prepare(struct reopen *r, struct error **errp)
{
	struct throttle_group *group;
	int result = find_group(r->node, r->options->u.throttle.throttle_group, &group, errp);
	r->state = group;
	return result;
}

static void throttle_reopen_commit(struct reopen *r)
{
	throttle_member_move(r->node->state, r->state);
}

static const char *const strong_options[] = {"throttle-group", NULL};

const struct driver throttle_driver = {
	.name = "throttle",
	.state_size = sizeof(struct throttle_member),
	.is_filter = true,
	.can_be_inactive = true,
	.supports_fua = true,
	.strong_options = strong_options,
	.open = throttle_open,
	.close = throttle_close,
	.hurry_begin = throttle_hurry_begin,
	.hurry_end = throttle_hurry_end,
	.read = throttle_read,
	.write = throttle_write,
	.zero = throttle_zero,
	.discard = throttle_discard,
	.limits = throttle_limits,
	.reopen_options = strong_options,
	.reopen_prepare = throttle_reopen_prepare,
	.reopen_commit = throttle_reopen_commit,
};
