/* SPDX-License-Identifier: MIT */
/* block/permission.c: who may do what beside whom. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

FIXTURE_TEST(names_are_listed)
{
	static const struct {
		unsigned permissions;
		const char *names;
	} cases[] = {
		{0, ""},
		{PERM_WRITE, "write"},
		{PERM_WRITE | PERM_RESIZE, "write, resize"},
		{PERM_ALL, "consistent read, write, write unchanged, resize"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char *names _cleanup_free_ = permission_names(cases[i].permissions);
		ck_assert_str_eq(names, cases[i].names);
	}
}

FIXTURE_TEST(parents_must_agree)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, "n", false, d, &n, NULL), 0);
	struct user a, b, c;
	struct error *error = NULL;
	ck_assert_int_eq(user_init(&a, "a", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_init(&b, "b", n, PERM_CONSISTENT_READ,
				   PERM_ALL & ~(PERM_WRITE | PERM_RESIZE), &error),
			 -EPERM);
	error_expect(&error, "Permission conflict on node 'n': permissions 'write, resize' are both "
			     "required by user 'a' (uses node 'n' as 'root' child) and unshared by "
			     "user 'b' (uses node 'n' as 'root' child).");
	/* One that withholds from others what it needs itself is no conflict with itself. */
	ck_assert_int_eq(edge_set_permissions(a.edge, PERM_WRITE, PERM_ALL & ~PERM_WRITE, &error), 0);
	ck_assert_int_eq(user_init(&c, "c", n, PERM_CONSISTENT_READ, PERM_ALL, &error), 0);
	ck_assert_int_eq(edge_set_permissions(c.edge, PERM_WRITE, PERM_ALL, &error), -EPERM);
	error_expect_part(&error, "'write' are both required by user 'c'");
	ck_assert_uint_eq(c.edge->permissions, PERM_CONSISTENT_READ);
	ck_assert_uint_eq(d->set_permissions, PERM_WRITE | PERM_CONSISTENT_READ);
	ck_assert_uint_eq(d->set_shared, PERM_ALL & ~PERM_WRITE);
	user_finish(&c);
	ck_assert_uint_eq(d->set_permissions, PERM_WRITE);
	user_finish(&a);
	ck_assert_uint_eq(d->set_permissions, 0);
	ck_assert_uint_eq(d->set_shared, PERM_ALL);
	node_unref(n);
}

FIXTURE_TEST(formats_own_their_storage)
{
	struct disk *d = disk_new(f, "d", 0);
	disk_format_cow(d, 4096, NULL, NULL);
	struct node *file = open_ok(f, "driver=file,node-name=f,filename=d");
	struct node *a = open_ok(f, "driver=qcow2,node-name=a,file=f"), *b = NULL;
	ck_assert_uint_eq(a->file->permissions, PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE);
	ck_assert_uint_eq(a->file->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
	struct error *error = NULL;
	ck_assert_int_eq(open_text(f, "driver=qcow2,node-name=b,file=f", &b, &error), -EPERM);
	error_expect(&error,
		     "Permission conflict on node 'f': permissions 'write, resize' are both required "
		     "by node 'a' (uses node 'f' as 'file' child) and unshared by node 'b' (uses "
		     "node 'f' as 'file' child).");
	node_unref(a);

	/* Two that only read get on with each other. */
	a = open_ok(f, "driver=qcow2,node-name=a,file=f,read-only=on");
	b = open_ok(f, "driver=qcow2,node-name=b,file=f,read-only=on");
	ck_assert_uint_eq(a->file->permissions, PERM_CONSISTENT_READ);
	node_unref(a);
	node_unref(b);
	node_unref(file);
}

FIXTURE_TEST(backing_files_are_only_read)
{
	disk_format_cow(disk_new(f, "top", 0), 4096, "base", "raw");
	disk_new(f, "base", 4096);
	struct node *n = open_ok(f, "driver=qcow2,node-name=n,file.driver=file,file.filename=top");
	ck_assert_uint_eq(n->backing->permissions, 0);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ | PERM_WRITE,
				   PERM_ALL & ~PERM_WRITE, NULL),
			 0);
	ck_assert_uint_eq(n->backing->permissions, PERM_CONSISTENT_READ);
	ck_assert_uint_eq(n->backing->shared, PERM_CONSISTENT_READ | PERM_WRITE_UNCHANGED);
	ck_assert_int_eq(edge_set_permissions(u.edge, PERM_WRITE, PERM_ALL, NULL), 0);
	ck_assert_uint_eq(n->backing->shared, PERM_ALL);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(read_only_nodes_have_no_writers)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, "n", true, d, &n, NULL), 0);
	struct user u;
	struct error *error = NULL;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE, PERM_ALL, &error), -EPERM);
	error_expect(&error, "Block node is read-only");
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE_UNCHANGED, PERM_ALL, &error), -EPERM);
	error_expect(&error, "Block node is read-only");
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(force_share_bears_everything)
{
	struct disk *d = disk_new(f, "d", 0);
	disk_format_cow(d, 4096, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=d,read-only=on,"
				    "force-share=on");
	ck_assert(n->file->child->force_share);
	ck_assert_uint_eq(n->file->shared, PERM_ALL);
	ck_assert_uint_eq(d->set_shared, PERM_ALL);
	node_unref(n);
}

FIXTURE_TEST(partial_blocks_need_resize)
{
	struct disk *d = disk_new(f, "d", 1000);
	d->limits.request_alignment = 512;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	struct error *error = NULL;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE, PERM_ALL, &error), -EPERM);
	error_expect(&error, "Cannot get 'write' permission without 'resize': Image size is not a "
			     "multiple of request alignment");
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	user_finish(&u);
	node_unref(n);
}

/* The second driver refuses: the first must be told, and every edge be as before. */
FIXTURE_TEST(refusing_driver_undoes_all)
{
	struct disk *d1 = disk_new(f, "d1", 4096), *d2 = disk_new(f, "d2", 4096);
	struct node *a = disk_open(f, d1, &disk_driver), *b = disk_open(f, d2, &disk_driver);
	struct user u;
	user_init_ok(&u, a);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_attach_node(&tx, a, "file", b, EDGE_FILTERED, NULL, NULL), 0);
	d1->checks = d1->aborts = d2->checks = d2->sets = 0;
	d2->check_error = -EAGAIN;
	struct error *error = NULL;
	ck_assert_int_eq(graph_tx_prepare(&tx, &error), -EAGAIN);
	error_expect(&error, "Failed to get the lock of 'd2'");
	ck_assert_uint_eq(d1->checks, 1);
	ck_assert_uint_eq(d1->aborts, 1);
	ck_assert_uint_eq(d2->aborts, 0);
	ck_assert_uint_eq(d2->sets, 0);

	/* After the cause is gone the same transaction may go on. */
	d2->check_error = 0;
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	ck_assert_uint_eq(d2->sets, 0);
	graph_tx_commit(&tx);
	ck_assert_uint_eq(d2->set_permissions, PERM_CONSISTENT_READ | PERM_WRITE);
	user_finish(&u);
	ck_assert_uint_eq(d2->set_permissions, 0);
	node_unref(a);
	node_unref(b);
}

/* A node below two ways gets both ways' needs, whatever the order of discovery. */
FIXTURE_TEST(needs_meet_below)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver), *a = NULL, *b = NULL, *top = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, "a", false, n, &a, NULL), 0);
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, "top", false, n, &top, NULL),
			 0);
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, "b", false, a, &b, NULL), 0);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_attach_node(&tx, top, "second", b, EDGE_FILTERED, NULL, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	d->checks = 0;
	struct user u;
	user_init_ok(&u, top);
	ck_assert_uint_eq(d->set_permissions, PERM_CONSISTENT_READ | PERM_WRITE);
	/* Asked once, with everything taken together. */
	ck_assert_uint_eq(d->checks, 1);
	user_finish(&u);
	node_unref(top);
	node_unref(b);
	node_unref(a);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(names_are_listed),
	FIXTURE_ROW(parents_must_agree),
	FIXTURE_ROW(formats_own_their_storage),
	FIXTURE_ROW(backing_files_are_only_read),
	FIXTURE_ROW(read_only_nodes_have_no_writers),
	FIXTURE_ROW(force_share_bears_everything),
	FIXTURE_ROW(partial_blocks_need_resize),
	FIXTURE_ROW(refusing_driver_undoes_all),
	FIXTURE_ROW(needs_meet_below),
};

UNIT_MAIN("permission", tests)
