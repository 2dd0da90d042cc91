/* SPDX-License-Identifier: MIT */
/* block/open.c: options become nodes, and children take over from their parents. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

static void co_fn expect_refusal(struct fixture *f, const char *text, const char *message)
{
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_int_lt(open_text(f, text, &n, &error), 0);
	ck_assert_ptr_null(n);
	error_expect(&error, message);
	ck_assert(list_is_empty(&f->graph->nodes));
}

FIXTURE_TEST(refusals_say_why)
{
	disk_new(f, "d", 4096);
	expect_refusal(f, "driver=file,filename=nosuch",
		       "Could not open 'nosuch': No such file or directory");
	expect_refusal(f, "driver=raw,file.driver=file,file.filename=nosuch",
		       "Could not open 'nosuch': No such file or directory");
	expect_refusal(f, "driver=raw,file=nosuch",
		       "Cannot find device='nosuch' nor node-name='nosuch'");
	expect_refusal(f, "driver=host_device,filename=d", "Unknown driver 'host_device'");
	expect_refusal(f, "driver=file,filename=d,force-share=on",
		       "force-share=on can only be used with read-only images");
	expect_refusal(f, "driver=file,filename=d,detect-zeroes=unmap",
		       "setting detect-zeroes to unmap is not allowed without setting discard "
		       "operation to unmap");
	expect_refusal(f, "driver=raw,node-name=x,file.driver=file,file.filename=d,file.node-name=x",
		       "Duplicate nodes with node-name='x'");
	node_unref(open_ok(f, "driver=file,filename=d,detect-zeroes=unmap,discard=unmap"));
}

FIXTURE_TEST(children_take_over)
{
	disk_new(f, "d", 4096);
	struct node *n = open_ok(f, "driver=raw,file.driver=file,file.filename=d");
	struct node *file = n->file->child;
	ck_assert(!n->read_only && !n->discard_unmap && !n->cache_direct && !n->cache_no_flush);
	/* The format sees to it that only what its user gives up is discarded. */
	ck_assert(!file->read_only && file->discard_unmap);
	ck_assert_ptr_eq(file->inherits_from, n);
	node_unref(n);

	n = open_ok(f, "driver=raw,read-only=on,auto-read-only=on,cache.direct=on,"
		       "cache.no-flush=on,force-share=on,discard=unmap,detect-zeroes=on,"
		       "file.driver=file,file.filename=d");
	file = n->file->child;
	ck_assert(file->read_only && file->auto_read_only && file->force_share);
	ck_assert(file->cache_direct && file->cache_no_flush);
	ck_assert_int_eq(n->detect_zeroes, BLOCKDEV_DETECT_ZEROES_OPTIONS_ON);
	ck_assert_int_eq(file->detect_zeroes, BLOCKDEV_DETECT_ZEROES_OPTIONS_OFF);
	node_unref(n);

	n = open_ok(f, "driver=raw,read-only=on,cache.direct=on,file.driver=file,file.filename=d,"
		       "file.read-only=off,file.cache.direct=off,file.discard=ignore");
	file = n->file->child;
	ck_assert(!file->read_only && !file->cache_direct && !file->discard_unmap);
	node_unref(n);
}

FIXTURE_TEST(backing_files_are_read_only)
{
	disk_format_cow(disk_new(f, "top", 0), 4096, "base", "raw");
	disk_new(f, "base", 4096);
	struct node *n = open_ok(f, "driver=qcow2,auto-read-only=on,cache.direct=on,discard=unmap,"
				    "file.driver=file,file.filename=top");
	struct node *base = node_backing(n);
	ck_assert(base->read_only && base->file->child->read_only);
	ck_assert(!base->auto_read_only && !base->discard_unmap);
	ck_assert(base->cache_direct);
	ck_assert_ptr_eq(base->inherits_from, n);
	node_unref(n);
}

FIXTURE_TEST(references_keep_their_modes)
{
	disk_new(f, "d", 4096);
	struct node *file = open_ok(f, "driver=file,node-name=f,filename=d");
	struct node *n = open_ok(f, "driver=raw,read-only=on,file=f");
	ck_assert(!file->read_only);
	ck_assert_ptr_null(file->inherits_from);
	ck_assert_uint_eq(file->references, 2);
	node_unref(n);
	ck_assert_uint_eq(file->references, 1);
	node_unref(file);
}

/* A child that outlives the parent that made it inherits from nobody. */
FIXTURE_TEST(heirs_forget_the_dead)
{
	disk_new(f, "d", 4096);
	struct node *n = open_ok(f, "driver=raw,file.driver=file,file.filename=d");
	struct node *file = node_ref(n->file->child);
	node_unref(n);
	ck_assert_ptr_null(file->inherits_from);
	node_unref(file);
}

FIXTURE_TEST(deep_definitions_are_refused)
{
	disk_new(f, "d", 4096);
	char *text = xstrdup("driver=raw"), *prefix = xstrdup("");
	for (unsigned i = 0; i < 60; i++) {
		char *longer = xasprintf("%sfile.", prefix);
		free(prefix);
		prefix = longer;
		longer = xasprintf("%s,%sdriver=raw", text, prefix);
		free(text);
		text = longer;
	}
	char *whole _cleanup_free_ = xasprintf("%s,%sfile=nosuch", text, prefix);
	free(text);
	free(prefix);
	expect_refusal(f, whole, "More than 16 nodes stand upon each other");
}

FIXTURE_TEST(auto_read_only_is_a_choice)
{
	disk_new(f, "d", 4096);
	struct error *error = NULL;
	struct node *n = open_ok(f, "driver=file,filename=d");
	ck_assert_int_eq(node_apply_auto_read_only(n, "It is carved in stone", &error), -EACCES);
	error_expect(&error, "It is carved in stone");
	node_unref(n);
	n = open_ok(f, "driver=file,filename=d,auto-read-only=on");
	ck_assert_int_eq(node_apply_auto_read_only(n, "", NULL), 0);
	ck_assert(n->read_only);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(refusals_say_why),
	FIXTURE_ROW(children_take_over),
	FIXTURE_ROW(backing_files_are_read_only),
	FIXTURE_ROW(references_keep_their_modes),
	FIXTURE_ROW(heirs_forget_the_dead),
	FIXTURE_ROW(deep_definitions_are_refused),
	FIXTURE_ROW(auto_read_only_is_a_choice),
};

UNIT_MAIN("open", tests)
