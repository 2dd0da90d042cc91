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

/* A disk behind a network: opening and closing wait for an answer. */
static struct driver far_driver;
static struct co_queue opens, closes;
static bool answers_at_once;

static int co_fn far_open(struct node *n, const struct blockdev_options *options, void *arg,
			  struct error **errp)
{
	if (!answers_at_once)
		co_queue_wait(&opens);
	return disk_driver.open(n, options, arg, errp);
}

static void co_fn far_close(struct node *n)
{
	if (!answers_at_once)
		co_queue_wait(&closes);
	disk_driver.close(n);
}

static void start_server(void)
{
	co_queue_init(&opens);
	co_queue_init(&closes);
	answers_at_once = false;
	far_driver = disk_driver;
	far_driver.is_remote = true;
	far_driver.open = far_open;
	far_driver.close = far_close;
}

/* Somebody who opens a node of a name, or closes it, apart. */
struct errand {
	struct fixture *f;
	struct disk *disk;
	const char *name; /* NULL: close */
	struct node *node;
	int result;
	bool is_over;
};

static void co_fn run_errand(void *arg)
{
	struct errand *e = arg;
	struct graph_apart apart;
	graph_change_begin_apart(e->f->graph, &apart);
	if (e->name)
		e->result = node_open_internal(e->f->graph, &far_driver, e->name, false, e->disk,
					       &e->node, NULL);
	else
		node_unref(e->node);
	graph_change_end_apart(e->f->graph, &apart);
	e->is_over = true;
}

static void co_fn start_errand(struct errand *e)
{
	e->is_over = false;
	co_start(e->f->loop, run_errand, e);
	co_sleep_ns(1000);
}

static void co_fn close_quickly(struct errand *e)
{
	answers_at_once = true;
	e->name = NULL;
	start_errand(e);
	ck_assert(e->is_over);
}

FIXTURE_TEST(what_is_opened_apart_is_nobody_elses_business)
{
	struct errand e = {.f = f, .disk = disk_new(f, "d", 4096), .name = "n"};
	start_server();
	start_errand(&e);
	ck_assert(!e.is_over);
	graph_change_begin(f->graph);
	ck_assert_ptr_null(node_find(f->graph, "n"));
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, "n", false, e.disk, &n, &error),
			 -EEXIST);
	error_expect(&error, "Duplicate nodes with node-name='n'");
	graph_change_end(f->graph);
	co_queue_wake_all(&opens);
	co_sleep_ns(1000);
	ck_assert(e.is_over && e.result == 0);
	ck_assert_ptr_eq(node_find(f->graph, "n"), e.node);
	ck_assert(node_is_listed(e.node));
	close_quickly(&e);
}

FIXTURE_TEST(far_storage_is_opened_after_it_has_been_closed)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct errand old = {.f = f, .disk = d, .name = "n"}, new = old;
	start_server();
	answers_at_once = true;
	start_errand(&old);
	answers_at_once = false;
	old.name = NULL;
	start_errand(&old);
	ck_assert(!old.is_over);

	/* The name is free, and the graph may change; who does not let it change cannot wait. */
	answers_at_once = true;
	graph_change_begin(f->graph);
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_ptr_null(node_find(f->graph, "n"));
	ck_assert_int_eq(node_open_internal(f->graph, &far_driver, "n", false, d, &n, &error),
			 -EBUSY);
	error_expect(&error, "'d' is still being closed");
	graph_change_end(f->graph);
	unsigned before = d->closes;
	start_errand(&new);
	ck_assert(!new.is_over);
	co_queue_wake_all(&closes);
	co_sleep_ns(1000);
	ck_assert(old.is_over && new.is_over && new.result == 0);
	ck_assert_uint_eq(d->closes, before + 1);
	close_quickly(&new);
}

/* A filter that must be left alone when it has closed. */
static struct driver touchy_driver;
static bool has_closed;

static void co_fn touchy_close(struct node *n)
{
	co_queue_wait(&closes);
	has_closed = true;
}

static void touchy_set_permissions(struct node *n, unsigned permissions, unsigned shared)
{
	ck_assert(!has_closed);
}

FIXTURE_TEST(who_has_closed_is_not_told_of_changes_below)
{
	struct node *a = disk_open(f, disk_new(f, "a", 4096), &disk_driver);
	struct node *b = disk_open(f, disk_new(f, "b", 4096), &disk_driver);
	struct errand e = {.f = f};
	start_server();
	touchy_driver = filter_driver;
	touchy_driver.is_remote = true;
	touchy_driver.close = touchy_close;
	touchy_driver.set_permissions = touchy_set_permissions;
	has_closed = false;
	ck_assert_int_eq(node_open_internal(f->graph, &touchy_driver, NULL, false, a, &e.node, NULL),
			 0);
	start_errand(&e);

	/* It has left the graph, and has its child still, while somebody else changes that. */
	graph_change_begin(f->graph);
	co_queue_wake_all(&closes);
	co_sleep_ns(1000);
	ck_assert(has_closed && !e.is_over);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_replace_node(&tx, a, b, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	graph_change_end(f->graph);
	co_sleep_ns(1000);
	ck_assert(e.is_over);
	node_unref(a);
	node_unref(b);
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
	FIXTURE_ROW(what_is_opened_apart_is_nobody_elses_business),
	FIXTURE_ROW(far_storage_is_opened_after_it_has_been_closed),
	FIXTURE_ROW(who_has_closed_is_not_told_of_changes_below),
};

UNIT_MAIN("node", tests)
