/* SPDX-License-Identifier: MIT */
/* block/graph_tx.c and edge.c: steps take effect at once, and an abort undoes every one. */
#include "tests/unit/block_fixture.h"

/* The links of the whole graph as text, in their order, with permissions. */
static char *picture(struct graph *g)
{
	char *text = xstrdup("");
	struct node *n;
	list_for_each (n, &g->nodes, link) {
		struct edge *e;
		list_for_each (e, &n->parents, child_link) {
			char *longer = xasprintf("%s%s<-%s.%s(%x,%x) ", text, n->name,
						 e->parent ? e->parent->name : "user", e->name,
						 e->permissions, e->shared);
			free(text);
			text = longer;
		}
		list_for_each (e, &n->children, parent_link) {
			char *longer = xasprintf("%s%s->%s.%u%s%s ", text, n->name, e->child->name,
						 e->child->references, n->file == e ? "!" : "",
						 n->backing == e ? "?" : "");
			free(text);
			text = longer;
		}
	}
	return text;
}

static struct node *co_fn open_named(struct fixture *f, const char *name)
{
	struct disk *d = disk_new(f, name, 4096);
	struct node *n = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, name, false, d, &n, NULL), 0);
	return n;
}

static struct edge *attach(struct graph_tx *tx, struct node *parent, struct node *child,
			   unsigned role)
{
	struct edge *e = NULL;
	const char *name = role & EDGE_COW ? "backing" : "file";
	ck_assert_int_eq(graph_tx_attach_node(tx, parent, name, child, role, &e, NULL), 0);
	return e;
}

FIXTURE_TEST(commit_keeps_and_abort_undoes)
{
	struct node *a = open_named(f, "a"), *b = open_named(f, "b"), *c = open_named(f, "c");
	struct user u1, u2;
	user_init_ok(&u1, a);
	user_init_ok(&u2, a);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	attach(&tx, a, b, EDGE_COW);
	attach(&tx, a, c, EDGE_PRIMARY | EDGE_DATA);
	ck_assert_ptr_eq(a->backing->child, b);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	char *before = picture(f->graph);

	graph_tx_begin(&tx, f->graph);
	struct edge *backing = a->backing;
	graph_tx_detach(&tx, backing);
	ck_assert_ptr_null(a->backing);
	ck_assert_int_eq(graph_tx_retarget(&tx, u1.edge, c, NULL), 0);
	ck_assert_ptr_eq(u1.edge->child, c);
	attach(&tx, b, c, EDGE_COW);
	ck_assert_int_eq(graph_tx_retarget(&tx, u1.edge, b, NULL), 0);
	ck_assert_int_eq(graph_tx_replace_node(&tx, a, b, NULL), 0);
	ck_assert_ptr_eq(u2.edge->child, b);
	graph_tx_set_permissions(&tx, u2.edge, 0, PERM_ALL);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_abort(&tx);

	char *after = picture(f->graph);
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
	user_finish(&u1);
	user_finish(&u2);
	node_unref(a);
	node_unref(b);
	node_unref(c);
}

FIXTURE_TEST(abort_without_prepare_undoes)
{
	struct node *a = open_named(f, "a"), *b = open_named(f, "b");
	char *before = picture(f->graph);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	graph_tx_detach(&tx, attach(&tx, a, b, EDGE_COW));
	graph_tx_abort(&tx);
	char *after = picture(f->graph);
	ck_assert_str_eq(before, after);
	free(before);
	free(after);
	ck_assert_uint_eq(b->references, 1);
	node_unref(a);
	node_unref(b);
}

FIXTURE_TEST(detached_child_closes_at_commit)
{
	struct node *a = open_named(f, "a"), *b = open_named(f, "b");
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	struct edge *e = attach(&tx, a, b, EDGE_COW);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	node_unref(b);
	ck_assert_ptr_eq(node_find(f->graph, "b"), b);

	graph_tx_begin(&tx, f->graph);
	graph_tx_detach(&tx, e);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	ck_assert_ptr_eq(node_find(f->graph, "b"), b);
	graph_tx_commit(&tx);
	ck_assert_ptr_null(node_find(f->graph, "b"));
	node_unref(a);
}

FIXTURE_TEST(cycles_are_refused)
{
	struct node *a = open_named(f, "a"), *b = open_named(f, "b"), *c = open_named(f, "c");
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	attach(&tx, a, b, EDGE_COW);
	struct edge *bc = attach(&tx, b, c, EDGE_PRIMARY);
	struct error *error = NULL;
	ck_assert_int_eq(graph_tx_attach_node(&tx, c, "file", a, EDGE_DATA, NULL, &error), -EINVAL);
	error_expect(&error, "Making 'a' a file child of 'c' would create a cycle");
	ck_assert_int_eq(graph_tx_attach_node(&tx, a, "backing", a, EDGE_COW, NULL, &error),
			 -EINVAL);
	error_expect(&error, "Making 'a' a backing child of 'a' would create a cycle");
	ck_assert_int_eq(graph_tx_retarget(&tx, bc, a, &error), -EINVAL);
	error_expect(&error, "Making 'a' a file child of 'b' would create a cycle");
	graph_tx_abort(&tx);
	node_unref(a);
	node_unref(b);
	node_unref(c);
}

/* u -> a becomes u -> filter -> a; edges that stay and the filter's own do not move. */
FIXTURE_TEST(replace_spares_what_is_below)
{
	struct node *a = open_named(f, "a"), *filter = NULL;
	struct user u, job;
	user_init_ok(&u, a);
	user_init_ok(&job, a);
	job.edge->stays = true;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, "filter", false, a, &filter,
					    NULL),
			 0);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_replace_node(&tx, a, filter, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	ck_assert_ptr_eq(u.edge->child, filter);
	ck_assert_ptr_eq(job.edge->child, a);
	ck_assert_ptr_eq(filter->file->child, a);
	/* The filter hands down what its user needs. */
	ck_assert_uint_eq(filter->file->permissions, PERM_CONSISTENT_READ | PERM_WRITE);

	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_replace_node(&tx, filter, a, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	ck_assert_ptr_eq(u.edge->child, a);
	ck_assert_uint_eq(filter->file->permissions, 0);
	user_finish(&u);
	user_finish(&job);
	node_unref(filter);
	node_unref(a);
}

static void count_commit(void *arg)
{
	((unsigned *)arg)[0]++;
}

static void count_abort(void *arg)
{
	((unsigned *)arg)[1]++;
}

static void co_fn count_clean(void *arg)
{
	((unsigned *)arg)[2]++;
}

static const struct graph_tx_action_ops count_ops = {
	.commit = count_commit, .abort = count_abort, .clean = count_clean};

FIXTURE_TEST(own_actions_are_called)
{
	unsigned counts[3] = {0};
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	graph_tx_add(&tx, &count_ops, counts);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	ck_assert_uint_eq(counts[0], 1);
	ck_assert_uint_eq(counts[1], 0);
	ck_assert_uint_eq(counts[2], 1);
	graph_tx_begin(&tx, f->graph);
	graph_tx_add(&tx, &count_ops, counts);
	graph_tx_abort(&tx);
	ck_assert_uint_eq(counts[0], 1);
	ck_assert_uint_eq(counts[1], 1);
	ck_assert_uint_eq(counts[2], 2);
}

#define RANDOM_NODES 7
#define RANDOM_USERS 3

static struct edge *random_edge(struct graph *g)
{
	struct edge *chosen = NULL;
	unsigned met = 0;
	struct node *n;
	list_for_each (n, &g->nodes, link) {
		struct edge *e;
		list_for_each (e, &n->parents, child_link) {
			if (loop_random(g->loop) % ++met == 0)
				chosen = e;
		}
	}
	return chosen;
}

/* A step that may be refused; a refusal must change nothing. */
static void random_step(struct graph_tx *tx, struct node **nodes)
{
	struct loop *loop = tx->graph->loop;
	struct node *a = nodes[loop_random(loop) % RANDOM_NODES];
	struct node *b = nodes[loop_random(loop) % RANDOM_NODES];
	struct edge *e = random_edge(tx->graph);
	static const unsigned roles[] = {EDGE_COW, EDGE_FILTERED, EDGE_DATA | EDGE_PRIMARY,
					 EDGE_METADATA};
	switch (loop_random(loop) % 6) {
	case 0:
	case 1:
		graph_tx_attach_node(tx, a, "x", b, roles[loop_random(loop) % 4], NULL, NULL);
		break;
	case 2:
		if (e && e->parent)
			graph_tx_detach(tx, e);
		break;
	case 3:
		if (e)
			graph_tx_retarget(tx, e, b, NULL);
		break;
	case 4:
		graph_tx_replace_node(tx, a, b, NULL);
		break;
	default:
		if (e && e->consumer)
			graph_tx_set_permissions(tx, e, loop_random(loop) % 16,
						 PERM_ALL & ~(loop_random(loop) % 16 &
							      loop_random(loop)));
	}
}

/* What must hold of any graph between transactions. */
static void check_graph(struct graph *g, struct node **nodes)
{
	for (unsigned i = 0; i < RANDOM_NODES; i++) {
		unsigned parents = 0, needed = 0, shared = PERM_ALL;
		struct edge *e, *other;
		list_for_each (e, &nodes[i]->parents, child_link) {
			parents++;
			needed |= e->permissions;
			shared &= e->shared;
			ck_assert_ptr_eq(e->child, nodes[i]);
			list_for_each (other, &nodes[i]->parents, child_link)
				ck_assert(other == e || !(other->permissions & ~e->shared));
		}
		ck_assert_uint_eq(nodes[i]->references, parents + 1);
		ck_assert_uint_eq(nodes[i]->permissions, needed);
		ck_assert_uint_eq(nodes[i]->shared, shared);
		const struct disk *d = *(struct disk **)nodes[i]->state;
		ck_assert_uint_eq(d->set_permissions, needed);
		list_for_each (e, &nodes[i]->children, parent_link) {
			unsigned child_needed, child_shared;
			permission_for_child(nodes[i], e->role, needed, shared, &child_needed,
					     &child_shared);
			ck_assert_uint_eq(e->permissions, child_needed);
			ck_assert_uint_eq(e->shared, child_shared);
		}
	}
}

static unsigned random_commits, random_failures;

static void co_fn run_random_transactions(struct fixture *f)
{
	struct node *nodes[RANDOM_NODES];
	struct user users[RANDOM_USERS];
	for (unsigned i = 0; i < RANDOM_NODES; i++) {
		char name[] = {(char)('a' + i), 0};
		nodes[i] = open_named(f, name);
	}
	for (unsigned i = 0; i < RANDOM_USERS; i++)
		user_init_ok(&users[i], nodes[i]);
	for (unsigned i = 0; i < 40; i++) {
		char *before = picture(f->graph);
		struct graph_tx tx;
		graph_tx_begin(&tx, f->graph);
		for (unsigned steps = loop_random(f->loop) % 8; steps > 0; steps--)
			random_step(&tx, nodes);
		int r = graph_tx_prepare(&tx, NULL);
		if (r >= 0 && loop_random(f->loop) % 4 != 0) {
			graph_tx_commit(&tx);
			random_commits++;
		} else {
			graph_tx_abort(&tx);
			random_failures += r < 0;
			char *after = picture(f->graph);
			ck_assert_str_eq(before, after);
			free(after);
		}
		free(before);
		check_graph(f->graph, nodes);
	}
	for (unsigned i = 0; i < RANDOM_USERS; i++)
		user_finish(&users[i]);
	for (unsigned i = 0; i < RANDOM_NODES; i++)
		node_unref(nodes[i]);
}

START_TEST(test_random_transactions)
{
	for (uint64_t seed = 1; seed <= 100; seed++)
		fixture_run_seed(seed, run_random_transactions);
	/* Both ends have been seen often. */
	ck_assert_uint_gt(random_commits, 500);
	ck_assert_uint_gt(random_failures, 100);
}
END_TEST

FIXTURE_TEST(nesting_is_limited)
{
	struct node *n = open_named(f, "disk");
	for (unsigned i = 0; i < GRAPH_NESTING_MAX; i++) {
		struct node *filter = NULL;
		ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n,
						    &filter, NULL),
				 0);
		node_unref(n);
		n = filter;
	}
	struct node *one_more = NULL;
	struct error *error = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, "top", false, n, &one_more,
					    &error),
			 -EINVAL);
	error_expect_part(&error, "would stack more than 16 nodes");
	/* In the middle and at the bottom it is refused just as well. */
	struct node *below = open_named(f, "below"), *disk = node_find(f->graph, "disk");
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_attach_node(&tx, disk, "file", below, EDGE_DATA, NULL, &error),
			 -EINVAL);
	error_expect_part(&error, "Making 'below' a file child of 'disk' would stack more than");
	graph_tx_abort(&tx);
	node_unref(below);

	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_fill(&u, 0, 4096, 5), 0);
	ck_assert(user_sees(&u, 0, 4096, 5));
	ck_assert_int_eq(user_flush(&u), 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(chains_are_limited)
{
	struct disk *d = disk_new(f, "d", 512);
	struct node *n = disk_open(f, d, &disk_driver), *above = NULL;
	struct error *error = NULL;
	int r = 0;
	for (unsigned i = 0; i < GRAPH_CHAIN_MAX; i++) {
		above = disk_open(f, d, &disk_driver);
		struct graph_tx tx;
		graph_tx_begin(&tx, f->graph);
		r = graph_tx_attach_node(&tx, above, "backing", n, EDGE_COW, NULL, &error);
		if (r >= 0)
			r = graph_tx_prepare(&tx, NULL);
		if (r >= 0)
			graph_tx_commit(&tx);
		else
			graph_tx_abort(&tx);
		ck_assert_int_eq(r, i < GRAPH_CHAIN_MAX - 1 ? 0 : -EINVAL);
		if (r >= 0) {
			node_unref(n);
			n = above;
		}
	}
	error_expect_part(&error, "would have more than 1024 images");
	node_unref(above);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(commit_keeps_and_abort_undoes),
	FIXTURE_ROW(abort_without_prepare_undoes),
	FIXTURE_ROW(detached_child_closes_at_commit),
	FIXTURE_ROW(cycles_are_refused),
	FIXTURE_ROW(replace_spares_what_is_below),
	FIXTURE_ROW(own_actions_are_called),
	FIXTURE_ROW(random_transactions),
	FIXTURE_ROW(nesting_is_limited),
	FIXTURE_ROW(chains_are_limited),
};

UNIT_MAIN("graph_tx", tests)
