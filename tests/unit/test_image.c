/* SPDX-License-Identifier: MIT */
/* block/create.c, probe.c and blocker.c: new images, guessed images, busy images. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"
#include "block/blocker.h"
#include "block/probe.h"

FIXTURE_TEST(images_are_created)
{
	struct image_spec spec = {.filename = "new", .format = "qcow2", .size = 8192,
				  .backing_name = "a,b", .backing_format = "raw"};
	memset(disk_new(f, "a,b", 8192)->data, 0x55, 8192);
	ck_assert_int_eq(image_create(f->graph, &spec, NULL, NULL), 0);
	struct node *n = NULL;
	ck_assert_int_eq(open_filename(f, "new", "qcow2", false, &n, NULL), 0);
	ck_assert_uint_eq(n->size, 8192);
	ck_assert_str_eq(n->backing_name, "a,b");
	ck_assert_str_eq(n->backing_format, "raw");
	struct user u;
	user_init_ok(&u, n);
	ck_assert(user_sees(&u, 0, 8192, 0x55));
	user_finish(&u);
	node_unref(n);

	struct image_spec raw = {.filename = "file:raw,new", .format = "raw", .size = 12345};
	ck_assert_int_eq(image_create(f->graph, &raw, NULL, NULL), 0);
	ck_assert_int_eq(open_filename(f, "raw,new", "raw", true, &n, NULL), 0);
	ck_assert_uint_eq(n->size, 12800); /* whole sectors */
	ck_assert(n->read_only);
	node_unref(n);
}

FIXTURE_TEST(impossible_images_are_refused)
{
	static const struct {
		struct image_spec spec;
		const char *message;
	} cases[] = {
		{{.filename = "x", .format = "vmdk"}, "Unknown file format 'vmdk'"},
		{{.filename = "x", .format = "null-co"},
		 "Format driver 'null-co' does not support image creation"},
		{{.filename = "x", .format = "raw", .backing_name = "y"},
		 "Backing file not supported for file format 'raw'"},
		{{.filename = "foo:x", .format = "qcow2"}, "Unknown protocol 'foo'"},
		{{.filename = "null-co://", .format = "qcow2"},
		 "Driver 'null-co' does not support image creation"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error *error = NULL;
		ck_assert_int_lt(image_create(f->graph, &cases[i].spec, NULL, &error), 0);
		error_expect(&error, cases[i].message);
	}
}

FIXTURE_TEST(guessed_images_stay_raw)
{
	struct disk *d = disk_new(f, "d", 65536), *image = disk_new(f, "i", 0);
	disk_format_cow(image, 512, NULL, NULL);
	struct node *n = NULL;
	ck_assert_int_eq(open_filename(f, "d", NULL, false, &n, NULL), 0);
	ck_assert(n->probed);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_write(&u, 0, 512, image->data, 0), -EPERM);
	ck_assert_int_eq(user_write(&u, 0, 4096, image->data, 0), -EPERM);
	/* Byte by byte: the one that would complete the header is refused. */
	for (unsigned i = 0; i < 6; i++)
		ck_assert_int_eq(user_write(&u, i, 1, image->data + i, 0), 0);
	ck_assert_int_eq(user_write(&u, 6, 1, image->data + 6, 0), -EPERM);
	ck_assert_int_eq(d->data[6], 0);
	ck_assert_int_eq(user_write(&u, 4096, 512, image->data, 0), 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 0), 0);
	user_finish(&u);
	node_unref(n);

	/* Who says raw gets raw. */
	ck_assert_int_eq(open_filename(f, "d", "raw", false, &n, NULL), 0);
	user_init_ok(&u, n);
	ck_assert_int_eq(user_write(&u, 0, 512, image->data, 0), 0);
	user_finish(&u);
	node_unref(n);
	ck_assert_int_eq(open_filename(f, "d", NULL, false, &n, NULL), 0);
	ck_assert_str_eq(n->driver->name, "qcow2");
	ck_assert(!n->probed);
	node_unref(n);
}

FIXTURE_TEST(tiny_and_unreadable_images_are_probed)
{
	struct disk *d = disk_new(f, "d", 0);
	struct node *n = NULL;
	ck_assert_int_eq(open_filename(f, "d", NULL, false, &n, NULL), 0);
	ck_assert_str_eq(n->driver->name, "raw");
	node_unref(n);
	d->size = 4096;
	d->read_error = -EIO;
	struct error *error = NULL;
	ck_assert_int_eq(open_filename(f, "d", NULL, false, &n, &error), -EIO);
	error_expect(&error,
		     "Could not read 'd' for determining its format: Input/output error");
}

FIXTURE_TEST(blockers_say_why)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &disk_driver, "n", false, d, &n, NULL), 0);
	struct blocker a, b;
	blocker_add(&a, n, BLOCK_OP_ALL & ~BLOCK_OP_RESIZE, "it is in use by job 'j'");
	blocker_add(&b, n, BLOCK_OP_RESIZE, "it is too large already");
	struct error *error = NULL;
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_STREAM, &error), -EBUSY);
	error_expect(&error, "Node 'n' is busy: it is in use by job 'j'");
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_RESIZE, &error), -EBUSY);
	error_expect(&error, "Node 'n' is busy: it is too large already");
	blocker_remove(&a);
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_STREAM, &error), 0);
	blocker_remove(&b);
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_RESIZE, &error), 0);
	node_unref(n);
}

FIXTURE_TEST(overlays_block_by_themselves)
{
	disk_format_cow(disk_new(f, "top", 0), 4096, "base", "qcow2");
	disk_format_cow(disk_new(f, "base", 0), 4096, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,node-name=n,file.driver=file,file.filename=top");
	struct node *base = node_backing(n), *filter = NULL;
	struct error *error = NULL;
	char *message _cleanup_free_ =
		xasprintf("Node '%s' is busy: node is used as backing hd of 'n'", base->name);
	ck_assert_int_eq(blocker_check(base, BLOCK_OP_RESIZE, &error), -EBUSY);
	error_expect(&error, message);
	ck_assert_int_eq(blocker_check(base, BLOCK_OP_COMMIT_TARGET, NULL), 0);
	ck_assert_int_eq(blocker_check(base->file->child, BLOCK_OP_RESIZE, NULL), 0);
	ck_assert_int_eq(blocker_check(n, BLOCK_OP_RESIZE, NULL), 0);
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, true, base, &filter,
					    NULL),
			 0);
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_replace_node(&tx, base, filter, NULL), 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	ck_assert_int_eq(blocker_check(base, BLOCK_OP_DRIVE_DEL, &error), -EBUSY);
	error_expect(&error, message);
	node_unref(filter);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(images_are_created),
	FIXTURE_ROW(impossible_images_are_refused),
	FIXTURE_ROW(guessed_images_stay_raw),
	FIXTURE_ROW(tiny_and_unreadable_images_are_probed),
	FIXTURE_ROW(blockers_say_why),
	FIXTURE_ROW(overlays_block_by_themselves),
};

UNIT_MAIN("image", tests)
