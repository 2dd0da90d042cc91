/* SPDX-License-Identifier: MIT */
/*
 * Commands on bitmaps, each also an action of a transaction. Control thread.
 *
 * A command is its action alone, without the drain: a write in flight falls before or
 * after it.
 */
#include <stdlib.h>

#include "base/cleanup.h"
#include "block/bitmap.h"
#include "block/driver.h"
#include "block/graph.h"
#include "daemon/daemon.h"
#include "daemon/transaction.h"
#include "schema/commands.h"

/* What an action has changed. */
struct change {
	struct node *node;       /* one reference: the bitmap's */
	struct bitmap *bitmap;
	struct dirty_bitmap *old; /* the bits before, where they may have to come back */
	bool was_enabled;
};

static struct change *note_change(struct action *a, struct bitmap *b)
{
	struct change *c = NEW(struct change);
	c->node = node_ref(b->node);
	c->bitmap = b;
	c->was_enabled = b->enabled;
	a->state = c;
	return c;
}

static void co_fn clean(struct transaction *t, struct action *a)
{
	struct change *c = a->state;
	if (!c)
		return;
	dirty_bitmap_destroy(c->old);
	node_unref(c->node);
	free(c);
}

/* The bitmap that @args name, or NULL when it is not there or one of @obstacles is. */
static struct bitmap *find_usable(const struct block_dirty_bitmap *args, unsigned obstacles,
				  struct error **errp)
{
	struct bitmap *b = bitmap_find_error(the_daemon.graph, args->node, args->name, errp);
	return b && bitmap_check(b, obstacles, errp) >= 0 ? b : NULL;
}

/* --- Adding --------------------------------------------------------------------- */

static int co_fn check_persistent(struct node *n, const char *name, uint32_t granularity,
				  struct error **errp)
{
	if (!n->driver->can_store_bitmap)
		return error_set(errp, -ENOTSUP,
				 "Can't store persistent bitmaps to %s: Operation not supported",
				 n->name);
	int r = n->driver->can_store_bitmap(n, name, granularity, errp);
	if (r < 0)
		error_prefix(errp, "Can't make bitmap '%s' persistent in '%s': ", name, n->name);
	return r;
}

static int co_fn prepare_add(struct transaction *t, struct action *a, struct error **errp)
{
	const struct block_dirty_bitmap_add *args = a->args->u.block_dirty_bitmap_add.data;
	if (args->name[0] == '\0')
		return error_set(errp, -EINVAL, "Bitmap name cannot be empty");
	struct node *n = node_find_error(the_daemon.graph, args->node, errp);
	if (!n)
		return -ENODEV;
	uint32_t granularity =
		args->has_granularity ? args->granularity : bitmap_default_granularity(n);
	struct bitmap *b;
	int r = bitmap_check_granularity(granularity, errp);
	if (r >= 0 && args->persistent)
		r = check_persistent(n, args->name, granularity, errp);
	if (r >= 0)
		r = bitmap_create(n, args->name, granularity, &b, errp);
	if (r < 0)
		return r;
	b->persistent = args->persistent;
	b->enabled = !args->disabled;
	note_change(a, b);
	return 0;
}

static struct sound_target target_of_add(const struct transaction_action *args)
{
	const struct block_dirty_bitmap_add *add = args->u.block_dirty_bitmap_add.data;
	return (struct sound_target){
		.name = add->node,
		.flags = add->persistent ? SOUND_STORAGE : 0,
	};
}

static void list_node_of_add(struct transaction *t, struct action *a)
{
	transaction_drain_later(
		t, node_find(t->graph, a->args->u.block_dirty_bitmap_add.data->node));
}

static void co_fn abort_add(struct transaction *t, struct action *a)
{
	struct change *c = a->state;
	bitmap_destroy(c->bitmap);
}

const struct action_kind bitmap_add_action = {
	.target = target_of_add,
	.list_nodes = list_node_of_add,
	.prepare = prepare_add,
	.abort = abort_add,
	.clean = clean,
};

/* --- What concerns one bitmap ------------------------------------------------------ */

/* The arguments of remove, clear, enable and disable, which lie at one place. */
static const struct block_dirty_bitmap *args_of(const struct action *a)
{
	return a->args->u.block_dirty_bitmap_remove.data;
}

/* What the image says of a persistent bitmap may have to change. */
static struct sound_target target_of(const char *node, const char *bitmap)
{
	const struct bitmap *b = bitmap_find_error(the_daemon.graph, node, bitmap, NULL);
	return (struct sound_target){
		.name = node,
		.flags = b && b->persistent ? SOUND_STORAGE : 0,
	};
}

static struct sound_target target_of_one(const struct transaction_action *args)
{
	const struct block_dirty_bitmap *one = args->u.block_dirty_bitmap_remove.data;
	return target_of(one->node, one->name);
}

static void list_node(struct transaction *t, struct action *a)
{
	transaction_drain_later(t, node_find(t->graph, args_of(a)->node));
}

static int co_fn remove_stored(struct bitmap *b, struct error **errp)
{
	const struct driver *d = b->node->driver;
	return b->persistent && d->remove_bitmap ? d->remove_bitmap(b->node, b->name, errp) : 0;
}

/* Until the commit of a transaction, a bitmap that goes is in nobody's use, and its name is taken. */
static int co_fn prepare_remove(struct transaction *t, struct action *a, struct error **errp)
{
	struct bitmap *b = find_usable(args_of(a), BITMAP_BUSY | BITMAP_READ_ONLY, errp);
	if (!b)
		return -EINVAL;
	note_change(a, b);
	/* A command tells that the image could not be written; a transaction goes on below. */
	if (!t)
		return remove_stored(b, errp);
	b->busy = true;
	return 0;
}

static void co_fn commit_remove(struct transaction *t, struct action *a)
{
	struct change *c = a->state;
	/* On failure, the stored copy is marked as in use, and goes when the others are stored. */
	(void)remove_stored(c->bitmap, NULL);
	bitmap_destroy(c->bitmap);
}

static void co_fn abort_remove(struct transaction *t, struct action *a)
{
	struct change *c = a->state;
	c->bitmap->busy = false;
}

const struct action_kind bitmap_remove_action = {
	.target = target_of_one,
	.list_nodes = list_node,
	.prepare = prepare_remove,
	.commit = commit_remove,
	.abort = abort_remove,
	.clean = clean,
};

/* Give the bitmap its old bits back. */
static void co_fn abort_bits(struct transaction *t, struct action *a)
{
	struct change *c = a->state;
	struct dirty_bitmap *bits = c->bitmap->bits;
	c->bitmap->bits = TAKE(c->old);
	dirty_bitmap_destroy(bits);
}

static int co_fn prepare_clear(struct transaction *t, struct action *a, struct error **errp)
{
	struct bitmap *b = find_usable(args_of(a), BITMAP_UNWRITABLE, errp);
	if (!b)
		return -EINVAL;
	struct dirty_bitmap *clean_bits =
		dirty_bitmap_create(b->node->size, dirty_bitmap_granularity(b->bits));
	if (!clean_bits)
		return error_set(errp, -ENOMEM, "No memory to clear bitmap '%s'", b->name);
	note_change(a, b)->old = b->bits;
	b->bits = clean_bits;
	return 0;
}

const struct action_kind bitmap_clear_action = {
	.target = target_of_one,
	.list_nodes = list_node,
	.prepare = prepare_clear,
	.abort = abort_bits,
	.clean = clean,
};

static int set_enabled(struct action *a, bool enabled, struct error **errp)
{
	struct bitmap *b = find_usable(args_of(a), BITMAP_UNREADABLE, errp);
	if (!b)
		return -EINVAL;
	note_change(a, b);
	b->enabled = enabled;
	return 0;
}

static int co_fn prepare_enable(struct transaction *t, struct action *a, struct error **errp)
{
	return set_enabled(a, true, errp);
}

static int co_fn prepare_disable(struct transaction *t, struct action *a, struct error **errp)
{
	return set_enabled(a, false, errp);
}

static void co_fn abort_set_enabled(struct transaction *t, struct action *a)
{
	struct change *c = a->state;
	c->bitmap->enabled = c->was_enabled;
}

const struct action_kind bitmap_enable_action = {
	.target = target_of_one,
	.list_nodes = list_node,
	.prepare = prepare_enable,
	.abort = abort_set_enabled,
	.clean = clean,
};

const struct action_kind bitmap_disable_action = {
	.target = target_of_one,
	.list_nodes = list_node,
	.prepare = prepare_disable,
	.abort = abort_set_enabled,
	.clean = clean,
};

/* --- Merging ----------------------------------------------------------------------- */

static struct sound_target target_of_merge(const struct transaction_action *args)
{
	const struct block_dirty_bitmap_merge *merge = args->u.block_dirty_bitmap_merge.data;
	return target_of(merge->node, merge->target);
}

static void list_target(struct transaction *t, struct action *a)
{
	const struct block_dirty_bitmap_merge *args = a->args->u.block_dirty_bitmap_merge.data;
	transaction_drain_later(t, node_find(t->graph, args->node));
	for (size_t i = 0; i < args->bitmaps.count; i++) {
		const struct block_dirty_bitmap_or_str *item = args->bitmaps.items[i];
		if (item->kind == BLOCK_DIRTY_BITMAP_OR_STR_EXTERNAL)
			transaction_drain_later(t, node_find(t->graph, item->u.external->node));
	}
}

/* The bitmap that @item of block-dirty-bitmap-merge for @target means, or NULL. */
static struct bitmap *find_source(const struct bitmap *target,
				  const struct block_dirty_bitmap_or_str *item,
				  struct error **errp)
{
	if (item->kind == BLOCK_DIRTY_BITMAP_OR_STR_LOCAL)
		return bitmap_find_error(the_daemon.graph, target->node->name, item->u.local, errp);
	return bitmap_find_error(the_daemon.graph, item->u.external->node, item->u.external->name,
				 errp);
}

static int check_item(const struct bitmap *target, const struct block_dirty_bitmap_or_str *item,
		      struct error **errp)
{
	const struct bitmap *source = find_source(target, item, errp);
	if (!source)
		return -ENOENT;
	int r = bitmap_check(target, BITMAP_UNWRITABLE, errp);
	if (r >= 0)
		r = bitmap_check(source, BITMAP_UNREADABLE, errp);
	return r < 0 ? r : bitmap_check_merge(target, source, errp);
}

/*
 * What the image says of @target is about to be too little. On a read-only node, only a
 * bitmap can change that has been made there, and of which the image says nothing yet.
 */
static int co_fn announce_merge(struct bitmap *target, struct error **errp)
{
	const struct driver *d = target->node->driver;
	if (!target->persistent || !d->change_bitmaps || target->node->read_only ||
	    bitmap_check(target, BITMAP_UNWRITABLE, NULL) < 0)
		return 0;
	return d->change_bitmaps(target->node, errp);
}

static int co_fn prepare_merge(struct transaction *t, struct action *a, struct error **errp)
{
	const struct block_dirty_bitmap_merge *args = a->args->u.block_dirty_bitmap_merge.data;
	struct bitmap *target =
		bitmap_find_error(the_daemon.graph, args->node, args->target, errp);
	if (!target)
		return -ENOENT;
	int r = announce_merge(target, errp);
	if (r < 0)
		return r;
	for (size_t i = 0; i < args->bitmaps.count && r >= 0; i++)
		r = check_item(target, args->bitmaps.items[i], errp);
	if (r < 0)
		return r;
	/* Only a transaction may have to undo it. */
	struct dirty_bitmap *old = t ? dirty_bitmap_clone(target->bits) : NULL;
	if (t && !old)
		return error_set(errp, -ENOMEM, "No memory to merge into bitmap '%s'", target->name);
	for (size_t i = 0; i < args->bitmaps.count; i++)
		dirty_bitmap_merge(target->bits,
				   find_source(target, args->bitmaps.items[i], NULL)->bits);
	note_change(a, target)->old = old;
	return 0;
}

const struct action_kind bitmap_merge_action = {
	.target = target_of_merge,
	.list_nodes = list_target,
	.prepare = prepare_merge,
	.abort = abort_bits,
	.clean = clean,
};

/* --- Commands ------------------------------------------------------------------------ */

/* Only where an image may have to be written: else nothing here waits for storage. */
static int co_fn sound(const struct action_kind *kind, const struct transaction_action *args,
		       struct error **errp)
{
	const struct sound_target target = kind->target(args);
	bool writes = kind == &bitmap_add_action || kind == &bitmap_remove_action ||
		      kind == &bitmap_merge_action;
	return writes && target.flags ? nodes_sound(the_daemon.graph, &target, 1, errp) : 0;
}

static int co_fn run_alone(const struct action_kind *kind, const struct transaction_action *args,
			   struct error **errp)
{
	struct action a = {.kind = kind, .args = args};
	int r = sound(kind, args, errp);
	if (r < 0)
		return r;
	graph_change_begin(the_daemon.graph);
	r = kind->prepare(NULL, &a, errp);
	if (r >= 0 && kind->commit)
		kind->commit(NULL, &a);
	kind->clean(NULL, &a);
	graph_change_end(the_daemon.graph);
	return r;
}

int co_fn qmp_block_dirty_bitmap_add(const struct block_dirty_bitmap_add *args,
				     struct error **errp)
{
	struct transaction_action action = {
		.u.block_dirty_bitmap_add.data = (struct block_dirty_bitmap_add *)args,
	};
	return run_alone(&bitmap_add_action, &action, errp);
}

static int co_fn run_on_one(const struct action_kind *kind, const struct block_dirty_bitmap *args,
			    struct error **errp)
{
	struct transaction_action action = {
		.u.block_dirty_bitmap_remove.data = (struct block_dirty_bitmap *)args,
	};
	return run_alone(kind, &action, errp);
}

int co_fn qmp_block_dirty_bitmap_remove(const struct block_dirty_bitmap *args,
					struct error **errp)
{
	return run_on_one(&bitmap_remove_action, args, errp);
}

int co_fn qmp_block_dirty_bitmap_clear(const struct block_dirty_bitmap *args, struct error **errp)
{
	return run_on_one(&bitmap_clear_action, args, errp);
}

int co_fn qmp_block_dirty_bitmap_enable(const struct block_dirty_bitmap *args,
					struct error **errp)
{
	return run_on_one(&bitmap_enable_action, args, errp);
}

int co_fn qmp_block_dirty_bitmap_disable(const struct block_dirty_bitmap *args,
					 struct error **errp)
{
	return run_on_one(&bitmap_disable_action, args, errp);
}

int co_fn qmp_block_dirty_bitmap_merge(const struct block_dirty_bitmap_merge *args,
				       struct error **errp)
{
	struct transaction_action action = {
		.u.block_dirty_bitmap_merge.data = (struct block_dirty_bitmap_merge *)args,
	};
	return run_alone(&bitmap_merge_action, &action, errp);
}

int co_fn qmp_x_debug_block_dirty_bitmap_sha256(const struct block_dirty_bitmap *args,
						struct block_dirty_bitmap_sha256 **ret,
						struct error **errp)
{
	struct bitmap *b = find_usable(args, 0, errp);
	if (!b)
		return -ENOENT;
	*ret = NEW(struct block_dirty_bitmap_sha256);
	(*ret)->sha256 = xalloc(1, 65);
	bitmap_sha256(b, (*ret)->sha256);
	return 0;
}
