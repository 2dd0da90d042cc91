/* SPDX-License-Identifier: MIT */
/* block/node.c: names, references, and how nodes go away. */
#include "tests/unit/block_fixture.h"

FIXTURE_TEST(names_are_checked)
{
	struct disk *d = disk_new(f, "d", 4096);
	static const struct {
		const char *name, *message;
	} cases[] = {
		{"", "Invalid node-name: ''"},
		{"1a", "Invalid node-name: '1a'"},
		{"#block000", "Invalid node-name: '#block000'"},
		{"a b", "Invalid node-name: 'a b'"},
		{"taken", "Duplicate nodes with node-name='taken'"},
		{"abcdefghijklmnopqrstuvwxyzabcdef", "Node name too long"},
	};
	struct node *taken = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, "taken", false, d, &taken, NULL),
			 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error *error = NULL;
		struct node *n = NULL;
		int r = node_open_internal(f->graph, &disk_driver, cases[i].name, false, d, &n,
					   &error);
		ck_assert_int_lt(r, 0);
		ck_assert_ptr_null(n);
		error_expect(&error, cases[i].message);
	}
	struct node *longest = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver,
					    "abcdefghijklmnopqrstuvwxyz-._01", false, d, &longest,
					    NULL),
			 0);
	node_unref(longest);
	node_unref(taken);
}

FIXTURE_TEST(nodes_are_found_by_name)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, "x", false, d, &n, NULL), 0);
	ck_assert_ptr_eq(node_find(f->graph, "x"), n);
	ck_assert_ptr_null(node_find(f->graph, "y"));
	struct error *error = NULL;
	ck_assert_ptr_null(node_find_error(f->graph, "y", &error));
	error_expect(&error, "Cannot find device='y' nor node-name='y'");
	node_unref(n);
	ck_assert_ptr_null(node_find(f->graph, "x"));
}

FIXTURE_TEST(automatic_names_differ)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *a = disk_open(f, d, &disk_driver), *b = disk_open(f, d, &disk_driver);
	ck_assert(string_starts_with(a->name, "#block"));
	ck_assert_str_ne(a->name, b->name);
	node_unref(a);
	node_unref(b);
}

FIXTURE_TEST(last_reference_closes)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	node_ref(n);
	node_unref(n);
	ck_assert_uint_eq(d->closes, 0);
	node_unref(n);
	ck_assert_uint_eq(d->closes, 1);
	node_unref(NULL);
}

FIXTURE_TEST(closing_flushes)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	node_unref(n);
	ck_assert_int_eq(user_fill(&u, 0, 512, 7), 0);
	ck_assert(!all_bytes(d->durable, 512, 7));
	user_finish(&u);
	ck_assert(all_bytes(d->durable, 512, 7));
	ck_assert_uint_eq(d->closes, 1);
}

FIXTURE_TEST(failed_open_leaves_nothing)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_int_eq(open_text(f, "driver=qcow2,node-name=q,file.driver=file,file.filename=d", &n,
				   &error),
			 -EINVAL);
	error_expect(&error, "Image is not in qcow2 format");
	ck_assert_ptr_null(node_find(f->graph, "q"));
	ck_assert_uint_eq(d->closes, 1);
	ck_assert(list_is_empty(&f->graph->nodes));
}

/* Each node holds the next; the stack would not bear one frame for each. */
FIXTURE_TEST(long_chain_closes)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	for (unsigned i = 0; i < 1000; i++) {
		struct node *above = disk_open(f, d, &disk_driver);
		struct graph_tx tx;
		graph_tx_begin(&tx, f->graph);
		ck_assert_int_eq(graph_tx_attach_node(&tx, above, "backing", n, EDGE_COW, NULL,
						      NULL),
				 0);
		ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
		graph_tx_commit(&tx);
		node_unref(n);
		n = above;
	}
	node_unref(n);
	ck_assert_uint_eq(d->closes, 1001);
}

FIXTURE_TEST(size_is_told_upwards)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	ck_assert_uint_eq(filter->size, 4096);
	struct user below, above;
	user_init_ok(&below, n);
	user_init_ok(&above, filter);
	node_set_size(n, 8192);
	ck_assert_uint_eq(filter->size, 8192);
	ck_assert_uint_eq(below.resizes, 1);
	ck_assert_uint_eq(above.resizes, 1);
	node_set_size(n, 8192);
	ck_assert_uint_eq(below.resizes, 1);
	user_finish(&below);
	user_finish(&above);
	node_unref(filter);
	node_unref(n);
}

FIXTURE_TEST(limits_follow_the_child)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->limits = (struct node_limits){.request_alignment = 512, .max_transfer = 70000};
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_uint_eq(n->limits.max_transfer, 69632);
	ck_assert_uint_eq(n->limits.memory_alignment, 1);
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	ck_assert_uint_eq(filter->limits.max_transfer, 69632);
	ck_assert_uint_eq(filter->limits.request_alignment, 1);
	d->limits.max_transfer = 4096;
	node_refresh_limits(n);
	ck_assert_uint_eq(filter->limits.max_transfer, 4096);
	node_unref(filter);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(names_are_checked),
	FIXTURE_ROW(nodes_are_found_by_name),
	FIXTURE_ROW(automatic_names_differ),
	FIXTURE_ROW(last_reference_closes),
	FIXTURE_ROW(closing_flushes),
	FIXTURE_ROW(failed_open_leaves_nothing),
	FIXTURE_ROW(long_chain_closes),
	FIXTURE_ROW(size_is_told_upwards),
	FIXTURE_ROW(limits_follow_the_child),
};

UNIT_MAIN("node", tests)
