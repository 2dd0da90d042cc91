/* SPDX-License-Identifier: MIT */
/* block/backing.c: chains as the images say, as the options say, and those that cannot be. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

#define TOP "driver=qcow2,file.driver=file,file.filename="

static void co_fn expect_refusal(struct fixture *f, const char *text, const char *message)
{
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_int_lt(open_text(f, text, &n, &error), 0);
	error_expect(&error, message);
	ck_assert(list_is_empty(&f->graph->nodes));
}

FIXTURE_TEST(names_are_relative_to_the_overlay)
{
	disk_format_cow(disk_new(f, "/images/top", 0), 4096, "mid", "qcow2");
	disk_format_cow(disk_new(f, "/images/mid", 0), 4096, "/elsewhere/low", "qcow2");
	disk_format_cow(disk_new(f, "/elsewhere/low", 0), 4096, "sub/base", "raw");
	disk_new(f, "/elsewhere/sub/base", 4096);
	struct node *n = open_ok(f, TOP "/images/top");
	static const char *const names[] = {"/images/top", "/images/mid", "/elsewhere/low",
					    "/elsewhere/sub/base"};
	struct node *layer = n;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++, layer = node_backing(layer)) {
		ck_assert_ptr_nonnull(layer);
		ck_assert_str_eq(layer->filename, names[i]);
	}
	ck_assert_ptr_null(layer);
	node_unref(n);
}

FIXTURE_TEST(missing_files_are_named)
{
	disk_format_cow(disk_new(f, "/i/top", 0), 4096, "gone", "qcow2");
	expect_refusal(f, TOP "/i/top",
		       "Could not open backing file: Could not open '/i/gone': No such file or "
		       "directory");
	disk_format_cow(disk_new(f, "p", 0), 4096, "nbd9:host", "qcow2");
	expect_refusal(f, TOP "p", "Could not open backing file: Unknown protocol 'nbd9'");
	disk_format_cow(disk_new(f, "q", 0), 4096, "p", "qcow9");
	expect_refusal(f, TOP "q", "Could not open backing file: Unknown driver 'qcow9'");
	expect_refusal(f, TOP "q,backing=nosuch",
		       "Could not open backing file: Cannot find device='nosuch' nor "
		       "node-name='nosuch'");
	disk_format_cow(disk_new(f, "j", 0), 4096, "json:{\"driver\":\"qcow2\",", "qcow2");
	struct node *n = NULL;
	struct error *error = NULL;
	ck_assert_int_lt(open_text(f, TOP "j", &n, &error), 0);
	error_expect_part(&error, "Could not open backing file: Could not parse the JSON options: ");
}

FIXTURE_TEST(loops_are_refused)
{
	disk_format_cow(disk_new(f, "/i/a", 0), 4096, "b", "qcow2");
	disk_format_cow(disk_new(f, "/i/b", 0), 4096, "a", "qcow2");
	expect_refusal(f, TOP "/i/a",
		       "Could not open backing file: Could not open backing file: '/i/a' is in "
		       "its own backing chain, which "
		       "begins at '/i/a'");
	disk_format_cow(disk_new(f, "/i/self", 0), 4096, "self", "qcow2");
	expect_refusal(f, TOP "/i/self",
		       "Could not open backing file: '/i/self' is in its own backing chain, which "
		       "begins at '/i/self'");
	/* By another name of the same file; by a definition. */
	disk_format_cow(disk_new(f, "c", 0), 4096, "file:c", "qcow2");
	expect_refusal(f, TOP "c,read-only=on",
		       "Could not open backing file: 'c' is in its own backing chain, which begins "
		       "at 'c'");
	expect_refusal(f, TOP "c,read-only=on,backing.driver=raw,backing.file.driver=file,"
			  "backing.file.filename=c",
		       "Could not open backing file: 'c' is in its own backing chain, which begins "
		       "at 'c'");
}

FIXTURE_TEST(options_override_the_image)
{
	disk_format_cow(disk_new(f, "top", 0), 4096, "gone", "qcow2");
	memset(disk_new(f, "base", 4096)->data, 0x44, 4096);
	struct node *n = open_ok(f, TOP "top,backing.driver=raw,backing.file.driver=file,"
				    "backing.file.filename=base");
	struct user u;
	user_init_ok(&u, n);
	ck_assert(user_sees(&u, 0, 4096, 0x44));
	user_finish(&u);
	node_unref(n);

	struct node *base = open_ok(f, "driver=raw,node-name=b,file.driver=file,file.filename=base");
	n = open_ok(f, TOP "top,backing=b");
	ck_assert_ptr_eq(node_backing(n), base);
	ck_assert(!base->read_only);
	node_unref(n);
	node_unref(base);

	/* Only JSON has a null. */
	struct blockdev_options *o = NULL;
	ck_assert_int_eq(options_from_filename(f->graph,
					       "json:{\"driver\":\"qcow2\",\"backing\":null,"
					       "\"file.driver\":\"file\",\"file.filename\":\"top\"}",
					       NULL, &o, NULL, NULL),
			 0);
	ck_assert_int_eq(node_open(f->graph, o, &n, NULL), 0);
	blockdev_options_free(o);
	ck_assert_ptr_null(node_backing(n));
	ck_assert_str_eq(n->backing_name, "gone");
	node_unref(n);
}

FIXTURE_TEST(json_names_open)
{
	disk_format_cow(disk_new(f, "top", 0), 4096,
			"json:{\"driver\":\"raw\",\"file.driver\":\"file\",\"file.filename\":\"base\"}",
			NULL);
	disk_new(f, "base", 4096);
	struct node *n = open_ok(f, TOP "top");
	ck_assert_str_eq(node_backing(n)->filename, "base");
	node_unref(n);
}

FIXTURE_TEST(formats_are_probed_where_not_named)
{
	disk_format_cow(disk_new(f, "top", 0), 4096, "mid", NULL);
	disk_format_cow(disk_new(f, "mid", 0), 4096, "base", NULL);
	disk_new(f, "base", 4096);
	struct node *n = open_ok(f, TOP "top"), *mid = node_backing(n), *base = node_backing(mid);
	ck_assert_str_eq(mid->driver->name, "qcow2");
	ck_assert_str_eq(base->driver->name, "raw");
	ck_assert(!mid->probed && base->probed);
	node_unref(n);
}

FIXTURE_TEST(long_chains_open)
{
	enum { LENGTH = 600 };
	for (unsigned i = 0; i < LENGTH; i++) {
		char *name _cleanup_free_ = xasprintf("i%u", i), *next _cleanup_free_ = NULL;
		if (i > 0)
			next = xasprintf("i%u", i - 1);
		disk_format_cow(disk_new(f, name, 0), 512, next, next ? "qcow2" : NULL);
	}
	struct node *n = open_ok(f, TOP "i599");
	unsigned length = 0;
	for (struct node *layer = n; layer; layer = node_backing(layer))
		length++;
	ck_assert_uint_eq(length, LENGTH);
	struct user u;
	user_init_ok(&u, n);
	ck_assert(user_sees(&u, 0, 512, 0));
	user_finish(&u);
	node_unref(n);
}

/* A failure far down takes all that was opened above it down again. */
FIXTURE_TEST(failure_below_undoes_all)
{
	disk_format_cow(disk_new(f, "a", 0), 4096, "b", "qcow2");
	disk_format_cow(disk_new(f, "b", 0), 4096, "c", "qcow2");
	disk_new(f, "c", 4096);
	expect_refusal(f, TOP "a", "Could not open backing file: Could not open backing file: "
		       "Image is not in qcow2 format");
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(names_are_relative_to_the_overlay),
	FIXTURE_ROW(missing_files_are_named),
	FIXTURE_ROW(loops_are_refused),
	FIXTURE_ROW(options_override_the_image),
	FIXTURE_ROW(json_names_open),
	FIXTURE_ROW(formats_are_probed_where_not_named),
	FIXTURE_ROW(long_chains_open),
	FIXTURE_ROW(failure_below_undoes_all),
};

UNIT_MAIN("backing", tests)
