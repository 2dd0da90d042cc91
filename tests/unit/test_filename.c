/* SPDX-License-Identifier: MIT */
/* block/filename.c, open_name.c and text.c: from names to options and back. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"
#include "block/text.h"

static void co_fn expect_name(struct fixture *f, const char *text, const char *filename)
{
	struct node *n = open_ok(f, text);
	ck_assert_str_eq(n->filename, filename);
	node_unref(n);
}

FIXTURE_TEST(names_are_plain_where_that_is_all)
{
	disk_new(f, "/d", 4096);
	disk_format_cow(disk_new(f, "/q", 0), 4096, "d", "raw");
	expect_name(f, "driver=file,filename=/d", "/d");
	expect_name(f, "driver=raw,file.driver=file,file.filename=/d", "/d");
	expect_name(f, "driver=qcow2,file.driver=file,file.filename=/q", "/q");
	/* Unless a format lies in another. */
	expect_name(f, "driver=raw,file.driver=raw,file.file.driver=file,file.file.filename=/d",
		    "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"raw\", \"file\": "
		    "{\"driver\": \"file\", \"filename\": \"/d\"}}}");
	expect_name(f, "driver=null-co", "null-co://");
	expect_name(f, "driver=null-co,latency-ns=5", "null-co://");
	/* The same backing file as by its name. */
	struct node *b = open_ok(f, "driver=raw,node-name=b,read-only=on,file.driver=file,"
				    "file.filename=/d");
	expect_name(f, "driver=qcow2,file.driver=file,file.filename=/q,backing=b", "/q");
	node_unref(b);
}

FIXTURE_TEST(options_that_matter_are_repeated)
{
	disk_new(f, "/d", 4096);
	disk_format_cow(disk_new(f, "/q", 0), 4096, NULL, NULL);
	expect_name(f, "driver=null-co,size=4096,latency-ns=3",
		    "json:{\"driver\": \"null-co\", \"size\": 4096}");
	expect_name(f, "driver=raw,offset=512,file.driver=file,file.filename=/d,file.locking=off",
		    "json:{\"offset\": 512, \"driver\": \"raw\", \"file\": {\"driver\": "
		    "\"file\", \"filename\": \"/d\"}}");
	expect_name(f, "driver=raw,file.driver=null-co,file.size=512",
		    "json:{\"driver\": \"raw\", \"file\": {\"driver\": \"null-co\", \"size\": 512}}");
	expect_name(f, "driver=qcow2,file.driver=file,file.filename=/q,backing.driver=null-co",
		    "json:{\"backing\": {\"driver\": \"null-co\"}, \"driver\": \"qcow2\", "
		    "\"file\": {\"driver\": \"file\", \"filename\": \"/q\"}}");
}

FIXTURE_TEST(names_follow_the_graph)
{
	disk_format_cow(disk_new(f, "/q", 0), 4096, "d", "raw");
	disk_new(f, "/d", 4096);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=/q"), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	ck_assert_str_eq(filter->filename, "/q");
	struct graph_tx tx;
	graph_tx_begin(&tx, f->graph);
	graph_tx_detach(&tx, n->backing);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	static const char json[] = "json:{\"backing\": null, \"driver\": \"qcow2\", "
				   "\"file\": {\"driver\": \"file\", \"filename\": \"/q\"}}";
	ck_assert_str_eq(n->filename, json);
	ck_assert_str_eq(filter->filename, json);
	node_unref(filter);
	node_unref(n);
}

FIXTURE_TEST(what_is_printed_opens_again)
{
	disk_new(f, "/a, \"b\"\\c", 4096);
	disk_format_cow(disk_new(f, "/q", 0), 4096, NULL, NULL);
	struct node *b = open_ok(f, "driver=raw,node-name=b,offset=512,file.driver=file,"
				    "file.filename=/a,, \"b\"\\c");
	struct node *n = open_ok(f, "driver=qcow2,read-only=on,file.driver=file,file.filename=/q,"
				    "backing=b");
	struct node *again = NULL;
	ck_assert_int_eq(open_filename(f, n->filename, NULL, true, &again, NULL), 0);
	ck_assert_str_eq(again->filename, n->filename);
	ck_assert_ptr_ne(node_backing(again), b);
	node_unref(again);
	node_unref(n);
	node_unref(b);
}

/* Each image repeats the one below it: names do not grow without end. */
FIXTURE_TEST(long_names_are_cut)
{
	struct disk *d = disk_new(f, "d", 0);
	disk_format_cow(d, 512, NULL, NULL);
	struct node *n = open_ok(f, "driver=null-co,node-name=n0");
	for (unsigned i = 1; i <= 100; i++) {
		char *name _cleanup_free_ = xasprintf("d%u", i);
		disk_format_cow(disk_new(f, name, 0), 512, NULL, NULL);
		char *text _cleanup_free_ = xasprintf(
			"driver=qcow2,read-only=on,node-name=n%u,backing=n%u,file.driver=file,"
			"file.filename=%s", i, i - 1, name);
		struct node *above = open_ok(f, text);
		node_unref(n);
		n = above;
	}
	ck_assert_uint_eq(strlen(n->filename), 4095);
	ck_assert_str_eq(n->filename + 4092, "...");
	node_unref(n);
}

FIXTURE_TEST(backing_names_are_combined)
{
	static const struct {
		const char *overlay, *backing, *full;
	} cases[] = {
		{"/a/b", "c", "/a/c"},
		{"/a/b", "../c", "/a/../c"},
		{"/a/b", "/c", "/c"},
		{"/a/b", "nbd://x/y", "nbd://x/y"},
		{"/a/b", "json:{}", "json:{}"},
		{"/a/b", "./x:y", "/a/./x:y"},
		{"b", "c", "c"},
		{"a/b", "c", "a/c"},
		{"file:b", "c", "file:c"},
		{"file:a/b", "c", "file:a/c"},
		{"nbd+unix:///b?socket=/run/s", "c", "nbd+unix:///c?socket=/run/s"},
		{"gluster+unix:///v/a/b?socket=/run/s", "c", "gluster+unix:///v/a/c?socket=/run/s"},
		{"gluster+unix:///v/b?socket=/run/s", "nbd://x/y", "nbd://x/y"},
		{"a/b?socket=/run/s", "c", "a/b?socket=/run/c"},
		{"json:{\"driver\": \"null-co\"}", "/c", "/c"},
		{"json:{\"driver\": \"null-co\"}", "c", NULL},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char *full _cleanup_free_ = NULL;
		struct error *error = NULL;
		int r = backing_filename(cases[i].overlay, cases[i].backing, &full, &error);
		ck_assert_int_eq(r, cases[i].full ? 0 : -EINVAL);
		if (cases[i].full)
			ck_assert_str_eq(full, cases[i].full);
		else
			error_expect_part(&error, "has no directory");
	}
}

FIXTURE_TEST(texts_are_put_together)
{
	char *escaped _cleanup_free_ = text_escape("a,b,,c");
	ck_assert_str_eq(escaped, "a,,b,,,,c");
	char *prefixed _cleanup_free_ = text_prefix_keys("driver=file,filename=a,,b=,,,x=1", "file.");
	ck_assert_str_eq(prefixed, "file.driver=file,file.filename=a,,b=,,,file.x=1");
	char *value _cleanup_free_ = text_value("driver=file,filename=a", "filename");
	ck_assert_str_eq(value, "a");
	ck_assert_ptr_null(text_value("driver=file,filename=a", "file"));
}

static void co_fn expect_options(struct fixture *f, const char *filename, const char *format,
				 const char *text)
{
	struct blockdev_options *o = NULL, *expected = options_text(text);
	struct error *error _cleanup_error_ = NULL;
	bool probed;
	int r = options_from_filename(f->graph, filename, format, &o, &probed, &error);
	ck_assert_msg(r >= 0, "%s: %s", filename, error ? error->message : "no error");
	ck_assert_msg(schema_equal(&blockdev_options_type, o, expected), "%s", filename);
	blockdev_options_free(o);
	blockdev_options_free(expected);
}

FIXTURE_TEST(names_become_options)
{
	disk_new(f, "d", 4096);
	disk_new(f, "a,b", 4096);
	disk_format_cow(disk_new(f, "q", 0), 4096, NULL, NULL);
	expect_options(f, "d", "raw", "driver=raw,file.driver=file,file.filename=d");
	expect_options(f, "d", "qcow2", "driver=qcow2,file.driver=file,file.filename=d");
	expect_options(f, "d", "file", "driver=file,filename=d");
	expect_options(f, "d", NULL, "driver=raw,file.driver=file,file.filename=d");
	expect_options(f, "q", NULL, "driver=qcow2,file.driver=file,file.filename=q");
	expect_options(f, "file:d", "raw", "driver=raw,file.driver=file,file.filename=d");
	expect_options(f, "a,b", "raw", "driver=raw,file.driver=file,file.filename=a,,b");
	expect_options(f, "./x:y", "raw", "driver=raw,file.driver=file,file.filename=./x:y");
	expect_options(f, "null-co://", "raw", "driver=raw,file.driver=null-co");
	expect_options(f, "json:{\"driver\":\"null-co\",\"size\":512}", NULL,
		       "driver=null-co,size=512");
	expect_options(f, "/dev/null", "raw", "driver=raw,file.driver=host_device,"
					      "file.filename=/dev/null");
	/* A driver with paths takes for one what would be another's name. */
	expect_options(f, "null-co://", "file", "driver=file,filename=null-co://");
	expect_options(f, "x:y", "file", "driver=file,filename=x:y");
	expect_options(f, "null-co://", "null-co", "driver=null-co");
}

/* As for the reference program: a format that is given counts, not the name's. */
FIXTURE_TEST(a_format_wins_over_a_json_name)
{
	static const char raw[] = "json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\","
				  "\"filename\":\"d\"}}";
	disk_format_cow(disk_new(f, "d", 0), 4096, NULL, NULL);
	expect_options(f, raw, "raw", "driver=raw,file.driver=file,file.filename=d");
	expect_options(f, raw, "qcow2", "driver=qcow2,file.driver=file,file.filename=d");
	expect_options(f, "json:{\"file\":{\"filename\":\"d\"}}", "qcow2",
		       "driver=qcow2,file.driver=file,file.filename=d");
	/* And is what the protocol holds. */
	expect_options(f, "json:{\"driver\":\"file\",\"filename\":\"d\"}", "qcow2",
		       "driver=qcow2,file.driver=file,file.filename=d");
	expect_options(f, "json:{\"filename\":\"d\"}", "raw",
		       "driver=raw,file.driver=file,file.filename=d");
	expect_options(f, "json:{\"filename\":\"d\"}", "file", "driver=file,filename=d");
}

FIXTURE_TEST(bad_names_are_refused)
{
	static const struct {
		const char *filename, *format, *message;
	} cases[] = {
		{"foo:bar", "raw", "Unknown protocol 'foo'"},
		{"null-co://x", "raw", "The only allowed filename for this driver is 'null-co://'"},
		{"d", "vmdk", "Unknown driver 'vmdk'"},
		{"json:{\"driver\":\"raw\",\"file\":\"d\"}", "vmdk", "Unknown driver 'vmdk'"},
		{"json:{\"driver\":\"raw\",\"size\":512,\"file\":\"d\"}", "qcow2",
		 "Parameter 'size' is unexpected"},
		{"d", "null-co", "The only allowed filename for this driver is 'null-co://'"},
		{"gone", NULL, "Could not open 'gone': No such file or directory"},
	};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct blockdev_options *o = NULL;
		struct error *error = NULL;
		bool probed;
		ck_assert_int_lt(options_from_filename(f->graph, cases[i].filename, cases[i].format,
						       &o, &probed, &error),
				 0);
		error_expect(&error, cases[i].message);
		ck_assert_ptr_null(o);
	}
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(names_are_plain_where_that_is_all),
	FIXTURE_ROW(options_that_matter_are_repeated),
	FIXTURE_ROW(names_follow_the_graph),
	FIXTURE_ROW(what_is_printed_opens_again),
	FIXTURE_ROW(long_names_are_cut),
	FIXTURE_ROW(backing_names_are_combined),
	FIXTURE_ROW(texts_are_put_together),
	FIXTURE_ROW(names_become_options),
	FIXTURE_ROW(a_format_wins_over_a_json_name),
	FIXTURE_ROW(bad_names_are_refused),
};

UNIT_MAIN("filename", tests)
