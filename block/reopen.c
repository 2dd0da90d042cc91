/* SPDX-License-Identifier: MIT */
/*
 * Changing the options of open nodes. Control thread, in a coroutine, with the
 * change lock held.
 *
 * The nodes that are named, and the children that took their modes over from
 * them, form a queue, parents first, whatever order they were named in. Each gets
 * its new modes and has its driver prepare; then children are exchanged and
 * permissions computed; and only when all of that has succeeded does anything
 * take effect. A parent prepares before its children do, so that it can still
 * write to them what it has to.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/change.h"
#include "block/driver.h"
#include "block/node_internal.h"
#include "block/open.h"
#include "block/open_internal.h"
#include "block/options.h"
#include "block/walk.h"

struct item {
	struct node *node;
	struct blockdev_options *options; /* new and complete; NULL: they stay */
	char *path;                       /* "backing." of a definition inside another, or "" */
	struct node_modes modes, old_modes;
	bool keeps_read_only; /* read-only becomes part of the node's options */
	struct reopen reopen;
	size_t rank; /* for the order */
};

struct queue {
	struct item **items; /* each is handed to the transaction once it has begun */
	size_t count, capacity, begun;
};

static void item_free(struct item *it)
{
	blockdev_options_free(it->options);
	free(it->path);
	free(it);
}

static void queue_finish(struct queue *q)
{
	for (size_t i = q->begun; i < q->count; i++)
		item_free(q->items[i]);
	free(q->items);
}

static struct item *queue_find(const struct queue *q, const struct node *n)
{
	for (size_t i = 0; i < q->count; i++) {
		if (q->items[i]->node == n)
			return q->items[i];
	}
	return NULL;
}

/* @options are copied. */
static struct item *queue_add(struct queue *q, struct node *n, const struct blockdev_options *options,
			      const char *path)
{
	if (q->count == q->capacity) {
		q->capacity = q->capacity == 0 ? 8 : 2 * q->capacity;
		q->items = xrealloc(q->items, q->capacity, sizeof(q->items[0]));
	}
	struct item *it = NEW(struct item);
	it->node = n;
	it->options = blockdev_options_clone(options);
	it->path = xstrdup(path);
	q->items[q->count++] = it;
	return it;
}

static struct edge *find_child(struct node *n, const char *name)
{
	struct edge *e;
	list_for_each (e, &n->children, parent_link) {
		if (strcmp(e->name, name) == 0)
			return e;
	}
	return NULL;
}

static int refuse_change(const struct item *it, const char *option, struct error **errp)
{
	return error_set(errp, -EINVAL, "Cannot change the option '%s%s'", it->path, option);
}

/* A definition in place of a child describes the child that is there, with its new options. */
static int queue_definition(struct queue *q, struct item *parent, const char *name,
			    const struct blockdev_options *definition, struct error **errp)
{
	struct edge *e = find_child(parent->node, name);
	if (e && e->child->options && e->child->options->driver != definition->driver)
		return error_set(errp, -EINVAL, "Cannot change the option '%s%s.driver'",
				 parent->path, name);
	if (!e || e->child->inherits_from != parent->node || queue_find(q, e->child))
		return refuse_change(parent, name, errp);
	if (definition->node_name && strcmp(definition->node_name, e->child->name) != 0)
		return error_set(errp, -EINVAL, "Cannot change the option '%s%s.node-name'",
				 parent->path, name);
	char *path _cleanup_free_ = xasprintf("%s%s.", parent->path, name);
	struct item *it = queue_add(q, e->child, definition, path);
	it->modes = modes_resolve(definition, &parent->modes, parent->node->driver, e->role);
	return 0;
}

static int queue_definitions(struct queue *q, struct item *it, struct error **errp)
{
	const struct schema_type *branch = options_branch(it->options);
	for (unsigned i = 0; branch && i < branch->count; i++) {
		struct child_ref ref;
		const struct schema_member *m = &branch->members[i];
		if (!options_child(it->options, m, &ref) || !ref.definition)
			continue;
		int r = queue_definition(q, it, m->name, ref.definition, errp);
		if (r < 0)
			return r;
	}
	return 0;
}

static bool modes_equal(struct node_modes a, struct node_modes b)
{
	return a.read_only == b.read_only && a.auto_read_only == b.auto_read_only &&
	       a.force_share == b.force_share && a.discard_unmap == b.discard_unmap &&
	       a.cache_direct == b.cache_direct && a.cache_no_flush == b.cache_no_flush &&
	       a.detect_zeroes == b.detect_zeroes;
}

/* Children that took over what now changes. */
static void queue_heirs(struct queue *q, struct item *it)
{
	struct edge *e;
	list_for_each (e, &it->node->children, parent_link) {
		struct node *child = e->child;
		if (child->inherits_from != it->node || !child->options || queue_find(q, child))
			continue;
		struct node_modes modes =
			modes_resolve(child->options, &it->modes, it->node->driver, e->role);
		if (!modes_equal(modes, modes_of(child)))
			queue_add(q, child, NULL, "")->modes = modes;
	}
}

/* Find everything that follows from what is queued already. */
static int queue_complete(struct queue *q, struct error **errp)
{
	for (size_t i = 0; i < q->count; i++) {
		struct item *it = q->items[i];
		int r = it->options ? queue_definitions(q, it, errp) : 0;
		if (r < 0)
			return r;
		queue_heirs(q, it);
	}
	return 0;
}

static bool is_named(const char *const *names, const char *name)
{
	for (; names && *names; names++) {
		if (strcmp(*names, name) == 0)
			return true;
	}
	return false;
}

/* The driver's own options: what it does not judge itself stays as it is. */
static int check_driver_options(const struct item *it, struct error **errp)
{
	const struct blockdev_options *old = it->node->options, *new = it->options;
	const struct schema_type *branch = options_branch(old);
	for (unsigned i = 0; branch && i < branch->count; i++) {
		const struct schema_member *m = &branch->members[i];
		if (options_is_child(m) || is_named(it->node->driver->reopen_options, m->name) ||
		    options_member_equal(old, new, m))
			continue;
		if (!options_has(new, m))
			return error_set(errp, -EINVAL,
					 "Option '%s%s' cannot be reset to its default value",
					 it->path, m->name);
		return refuse_change(it, m->name, errp);
	}
	return 0;
}

static int check_options(const struct item *it, struct error **errp)
{
	const struct blockdev_options *old = it->node->options;
	if (old && it->options->driver != old->driver)
		return refuse_change(it, "driver", errp);
	/* A filter of a job has no options. */
	if (!old || it->node->driver->is_fixed)
		return error_set(errp, -ENOTSUP,
				 "Block format '%s' used by node '%s' does not support reopening files",
				 it->node->driver->name, it->node->name);
	if (it->modes.force_share != it->node->force_share)
		return refuse_change(it, "force-share", errp);
	if (!it->modes.active)
		return refuse_change(it, "active", errp);
	return check_driver_options(it, errp);
}

static void reopen_commit(void *arg)
{
	struct item *it = arg;
	struct node *n = it->node;
	if (n->driver->reopen_commit)
		n->driver->reopen_commit(&it->reopen);
	if (it->options) {
		struct blockdev_options *old = n->options;
		n->options = it->options;
		it->options = old;
	}
	if (it->keeps_read_only && n->options) {
		n->options->has_read_only = true;
		n->options->read_only = it->modes.read_only;
	}
}

static void reopen_abort(void *arg)
{
	struct item *it = arg;
	const struct driver *d = it->node->driver;
	if (d->reopen_abort)
		d->reopen_abort(&it->reopen);
	modes_apply(it->node, &it->old_modes);
}

static void co_fn reopen_clean(void *arg)
{
	item_free(arg);
}

static const struct graph_tx_action_ops reopen_ops = {
	.commit = reopen_commit,
	.abort = reopen_abort,
	.clean = reopen_clean,
};

/* Give one node its new modes and let its driver prepare. @it is the transaction's afterwards. */
static int co_fn begin_item(struct graph_tx *tx, struct item *it, struct error **errp)
{
	struct node *n = it->node;
	it->old_modes = modes_of(n);
	modes_apply(n, &it->modes);
	it->reopen = (struct reopen){
		.node = n,
		.options = it->options ? it->options : n->options,
		.read_only = it->modes.read_only,
	};
	int r = n->driver->reopen_prepare ? n->driver->reopen_prepare(&it->reopen, errp) : 0;
	if (r < 0) {
		modes_apply(n, &it->old_modes);
		item_free(it);
		return r;
	}
	graph_tx_add(tx, &reopen_ops, it);
	graph_tx_touch(tx, n);
	return 0;
}

/*
 * Refuse to take @n away from above a filter that a job has put below it where the job counts
 * on that to know who is to be moved at its end. @child: what the link shall lead to.
 */
static int check_filter(struct node *n, const struct edge *e, const struct node *child,
			bool *ret_is_equal, struct error **errp)
{
	struct node *below = e->child;
	while (below->implicit && below->file)
		below = below->file->child;
	/* Who does not know of the filter names what is below it. */
	*ret_is_equal = below == child;
	if (*ret_is_equal)
		return 0;
	if (e->child->implicit)
		return error_set(errp, -EINVAL, "Cannot replace implicit %s child of %s", e->name,
				 n->name);
	return e->child->driver->is_filter ? blocker_check(e->child, BLOCK_OP_LEAVE, errp) : 0;
}

static int exchange_child(struct graph_tx *tx, struct node *n, const struct schema_member *m,
			  const char *reference, struct error **errp)
{
	struct node *child = node_find_named(tx->graph, reference, errp);
	if (!child)
		return -ENODEV;
	struct edge *e = find_child(n, m->name);
	if (!e)
		return graph_tx_attach_node(tx, n, m->name, child, EDGE_COW, NULL, errp);
	if (edge_shown_child(e) == child)
		return 0;
	bool is_equal;
	int r = check_filter(n, e, child, &is_equal, errp);
	if (r < 0 || is_equal)
		return r;
	r = graph_tx_check_child(n, m->name, child, e->role, errp);
	if (r >= 0 && e->frozen > 0)
		r = edge_refuse_frozen(e, errp);
	return r < 0 ? r : graph_tx_retarget(tx, e, child, errp);
}

static int remove_child(struct graph_tx *tx, struct node *n, const struct schema_member *m,
			struct error **errp)
{
	struct edge *e = find_child(n, m->name);
	if (!e)
		return 0;
	bool is_equal;
	int r = check_filter(n, e, NULL, &is_equal, errp);
	if (r < 0)
		return r;
	if (e->frozen > 0)
		return edge_refuse_frozen(e, errp);
	graph_tx_detach(tx, e);
	return 0;
}

/* Whether @n has the child, or the image names one, that options without @m would open. */
static bool has_own_child(struct node *n, const struct schema_member *m)
{
	return find_child(n, m->name) || (string_equal(m->name, "backing") && n->backing_name);
}

static int exchange_children(struct graph_tx *tx, struct node *n, const struct blockdev_options *o,
			     struct error **errp)
{
	const struct schema_type *branch = options_branch(o);
	for (unsigned i = 0; branch && i < branch->count; i++) {
		const struct schema_member *m = &branch->members[i];
		if (!options_is_child(m))
			continue;
		struct child_ref ref;
		int r = 0;
		if (!options_child(o, m, &ref)) {
			/* To leave it out would mean to open the image's own one. */
			if (has_own_child(n, m))
				r = error_set(errp, -EINVAL, "%s is missing for '%s'", m->name,
					      n->name);
		} else if (ref.is_null) {
			r = remove_child(tx, n, m, errp);
		} else if (ref.reference) {
			r = exchange_child(tx, n, m, ref.reference, errp);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Whoever changes a node without naming it, as a job does, leaves its own options in force. */
static int check_sharing(const struct item *it, struct error **errp)
{
	if (it->options || !it->modes.force_share || it->modes.read_only)
		return 0;
	return error_set(errp, -EINVAL, "Cannot change the option 'force-share'");
}

static int co_fn prepare(struct graph_tx *tx, struct queue *q, struct error **errp)
{
	for (size_t i = 0; i < q->count; i++) {
		const struct node *n = q->items[i]->node;
		int r = n->active ? 0 : error_set(errp, -EPERM, "Node '%s' is inactive", n->name);
		if (r >= 0 && q->items[i]->options)
			r = check_options(q->items[i], errp);
		if (r >= 0)
			r = check_sharing(q->items[i], errp);
		if (r >= 0)
			r = modes_check(&q->items[i]->modes, errp);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < q->count; i++) {
		int r = node_flush_patiently(q->items[i]->node);
		if (r < 0)
			return error_set_errno(errp, r, "Error flushing drive");
	}
	while (q->begun < q->count) {
		int r = begin_item(tx, q->items[q->begun++], errp);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < q->count; i++) {
		struct item *it = q->items[i];
		int r = it->options ? exchange_children(tx, it->node, it->options, errp) : 0;
		if (r < 0)
			return r;
	}
	return graph_tx_prepare(tx, errp);
}

/* How many nodes of the queue lead to that of @it, itself included: more than to any of them. */
static size_t count_above(const struct queue *q, struct graph *g, const struct item *it)
{
	struct node_array above _cleanup_node_array_;
	size_t count = 0;
	walk_above(g, &it->node, 1, &above);
	for (size_t i = 0; i < q->count; i++)
		count += walk_has_met(q->items[i]->node);
	return count;
}

/* Parents before what is below them; otherwise in the order in which they were named. */
static void queue_sort(struct queue *q, struct graph *g)
{
	for (size_t i = 0; i < q->count; i++)
		q->items[i]->rank = count_above(q, g, q->items[i]);
	for (size_t i = 1; i < q->count; i++) {
		struct item *it = q->items[i];
		size_t place = i;
		for (; place > 0 && q->items[place - 1]->rank > it->rank; place--)
			q->items[place] = q->items[place - 1];
		q->items[place] = it;
	}
}

/* With a complete queue. */
static int co_fn run(struct graph *g, struct queue *q, struct error **errp)
{
	queue_sort(q, g);
	struct node **nodes _cleanup_free_ = xalloc(q->count, sizeof(nodes[0]));
	for (size_t i = 0; i < q->count; i++)
		nodes[i] = q->items[i]->node;
	struct drain drain;
	int r = drain_begin_patiently(g, nodes, q->count, &drain, errp);
	if (r < 0)
		return r;
	struct graph_tx tx;
	graph_tx_begin(&tx, g);
	r = prepare(&tx, q, errp);
	if (r < 0)
		graph_tx_abort(&tx);
	else
		graph_tx_commit(&tx);
	drain_end(&drain);
	return r;
}

/* The children that may leave the nodes which have new options: they stay open until later. */
static void hold_children(const struct queue *q, struct node_array *ret)
{
	for (size_t i = 0; i < q->count; i++) {
		struct edge *e;
		if (!q->items[i]->options)
			continue;
		list_for_each (e, &q->items[i]->node->children, parent_link)
			node_array_add(ret, node_ref(e->child));
	}
}

/* Closing may take long. What others hold is let go of before. */
static void co_fn let_go(struct node_array *children)
{
	size_t left = 0;
	for (size_t i = 0; i < children->count; i++) {
		struct node *n = children->items[i];
		if (n->references > 1)
			node_unref(n);
		else
			children->items[left++] = n;
	}
	for (size_t i = 0; i < left; i++)
		node_unref_apart(children->items[i]);
}

static int queue_named(struct queue *q, struct graph *g, const struct blockdev_options *o,
		       struct error **errp)
{
	if (!o->node_name)
		return error_set(errp, -EINVAL, "node-name not specified");
	struct node *n = node_find(g, o->node_name);
	if (!n)
		return error_set(errp, -ENODEV, "Failed to find node with node-name='%s'",
				 o->node_name);
	if (queue_find(q, n))
		return error_set(errp, -EINVAL, "Node '%s' is named more than once", n->name);
	queue_add(q, n, o, "")->modes = modes_resolve(o, NULL, NULL, 0);
	return 0;
}

int co_fn nodes_reopen(struct graph *g, const struct blockdev_options *const *options,
		       unsigned count, struct error **errp)
{
	struct node_array children _cleanup_node_array_ = {0};
	struct queue q = {0};
	int r = 0;
	for (unsigned i = 0; i < count && r >= 0; i++)
		r = queue_named(&q, g, options[i], errp);
	if (r >= 0)
		r = queue_complete(&q, errp);
	if (r >= 0) {
		hold_children(&q, &children);
		r = run(g, &q, errp);
	}
	queue_finish(&q);
	let_go(&children);
	return r;
}

int co_fn nodes_set_read_only(struct graph *g, struct node *const *nodes, unsigned count,
			      bool read_only, struct error **errp)
{
	struct queue q = {0};
	for (unsigned i = 0; i < count; i++) {
		if (nodes[i]->read_only == read_only || queue_find(&q, nodes[i]))
			continue;
		struct item *it = queue_add(&q, nodes[i], NULL, "");
		it->modes = modes_of(nodes[i]);
		it->modes.read_only = read_only;
		it->keeps_read_only = true;
	}
	int r = q.count > 0 ? queue_complete(&q, errp) : 0;
	if (r >= 0 && q.count > 0)
		r = run(g, &q, errp);
	queue_finish(&q);
	return r;
}

int co_fn node_set_read_only(struct node *n, bool read_only, struct error **errp)
{
	return nodes_set_read_only(n->graph, &n, 1, read_only, errp);
}
