/* SPDX-License-Identifier: MIT */
/* block/reopen.c: new options take effect all together, or not at all. */
#include "tests/unit/block_fixture.h"

#include <limits.h>

#include "base/cleanup.h"

static struct disk *disk_of(const struct node *n)
{
	return *(struct disk **)n->state;
}

/* Reopen with @count texts, or JSON where they begin with '{'. */
static int co_fn reopen(struct fixture *f, const char *const *texts, unsigned count,
			struct error **errp)
{
	struct blockdev_options **o _cleanup_free_ = xalloc(count, sizeof(o[0]));
	for (unsigned i = 0; i < count; i++)
		o[i] = options_text(texts[i]);
	int r = nodes_reopen(f->graph, (const struct blockdev_options *const *)o, count, errp);
	for (unsigned i = 0; i < count; i++)
		blockdev_options_free(o[i]);
	return r;
}

static void co_fn reopen_ok(struct fixture *f, const char *text)
{
	struct error *error _cleanup_error_ = NULL;
	int r = reopen(f, &text, 1, &error);
	ck_assert_msg(r >= 0, "%s: %s", text, error ? error->message : "no error");
}

static void co_fn expect_refusal(struct fixture *f, const char *text, const char *message)
{
	struct error *error = NULL;
	ck_assert_int_lt(reopen(f, &text, 1, &error), 0);
	error_expect(&error, message);
}

#define FILE_A "driver=file,node-name=a,filename=a"
#define RAW_R "driver=raw,node-name=r,file=a"

FIXTURE_TEST(modes_change)
{
	disk_new(f, "a", 4096);
	struct node *a = open_ok(f, FILE_A);
	reopen_ok(f, FILE_A ",read-only=on,discard=unmap,detect-zeroes=unmap,cache.direct=on,"
			    "cache.no-flush=on,auto-read-only=on");
	ck_assert(a->read_only && a->discard_unmap && a->cache_direct && a->cache_no_flush);
	ck_assert(a->auto_read_only);
	ck_assert_int_eq(a->detect_zeroes, BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP);
	ck_assert_uint_eq(disk_of(a)->commits, 1);
	/* What is left out gets its default. */
	reopen_ok(f, FILE_A);
	ck_assert(!a->read_only && !a->discard_unmap && !a->cache_direct && !a->cache_no_flush);
	ck_assert(!a->options->has_read_only);
	node_unref(a);
}

FIXTURE_TEST(refusals_say_why)
{
	disk_new(f, "a", 4096);
	disk_new(f, "b", 4096);
	struct node *a = open_ok(f, FILE_A), *r = open_ok(f, RAW_R);
	expect_refusal(f, "driver=file,filename=a", "node-name not specified");
	expect_refusal(f, "driver=file,node-name=x,filename=a",
		       "Failed to find node with node-name='x'");
	expect_refusal(f, "driver=null-co,node-name=a", "Cannot change the option 'driver'");
	expect_refusal(f, "driver=file,node-name=a,filename=b",
		       "Cannot change the option 'filename'");
	expect_refusal(f, FILE_A ",locking=off", "Cannot change the option 'locking'");
	expect_refusal(f, FILE_A ",force-share=on",
		       "Cannot change the option 'force-share'");
	expect_refusal(f, FILE_A ",detect-zeroes=unmap",
		       "setting detect-zeroes to unmap is not allowed without setting discard "
		       "operation to unmap");
	expect_refusal(f, "driver=raw,node-name=r,file=nosuch",
		       "Cannot find device='' nor node-name='nosuch'");
	expect_refusal(f, "driver=raw,node-name=r,file=r",
		       "Making 'r' a file child of 'r' would create a cycle");
	expect_refusal(f, "driver=raw,node-name=r,file.driver=file,file.filename=a",
		       "Cannot change the option 'file'");
	expect_refusal(f, "driver=raw,node-name=r,file.driver=null-co",
		       "Cannot change the option 'file.driver'");
	const char *twice[] = {FILE_A, FILE_A};
	struct error *error = NULL;
	ck_assert_int_lt(reopen(f, twice, 2, &error), 0);
	error_expect(&error, "Node 'a' is named more than once");

	struct node *native = open_ok(f, "driver=file,node-name=n,filename=b,locking=off");
	expect_refusal(f, "driver=file,node-name=n,filename=b",
		       "Option 'locking' cannot be reset to its default value");
	reopen_ok(f, "driver=file,node-name=n,filename=b,locking=off");
	/* A default that is said is the same as one that is not. */
	reopen_ok(f, FILE_A ",locking=auto");
	node_unref(native);
	node_unref(r);
	node_unref(a);
}

FIXTURE_TEST(driver_may_allow_a_change)
{
	disk_new(f, "a", 4096);
	struct node *r = open_ok(f, "driver=raw,node-name=r,file.driver=file,file.filename=a");
	reopen_ok(f, "driver=raw,node-name=r,offset=512,file.driver=file,file.filename=a");
	ck_assert(r->options->u.raw.has_offset);
	reopen_ok(f, "driver=raw,node-name=r,file.driver=file,file.filename=a");
	ck_assert(!r->options->u.raw.has_offset);
	expect_refusal(f, "driver=raw,node-name=r,file.driver=null-co",
		       "Cannot change the option 'file.driver'");
	expect_refusal(f, "driver=raw,node-name=r,file.driver=file,file.filename=a,file.locking=off",
		       "Cannot change the option 'file.locking'");
	expect_refusal(f, "driver=raw,node-name=r,file.driver=file,file.filename=a,"
			  "file.node-name=other",
		       "Cannot change the option 'file.node-name'");
	node_unref(r);
}

FIXTURE_TEST(writers_keep_a_node_writable)
{
	disk_new(f, "a", 4096);
	struct node *a = open_ok(f, FILE_A), *r = open_ok(f, RAW_R);
	struct user u;
	user_init_ok(&u, r);
	expect_refusal(f, RAW_R ",read-only=on",
		       "Read-only block node 'r' cannot support read-write users");
	expect_refusal(f, FILE_A ",read-only=on",
		       "Read-only block node 'a' cannot support read-write users");
	ck_assert(!a->read_only && !r->read_only);
	ck_assert_uint_eq(disk_of(a)->prepares, 1);
	ck_assert_uint_eq(disk_of(a)->reopen_aborts, 1);
	ck_assert_uint_eq(disk_of(a)->commits, 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 3), 0);
	user_finish(&u);
	node_unref(r);
	node_unref(a);
}

FIXTURE_TEST(heirs_follow)
{
	disk_new(f, "a", 4096);
	struct node *r = open_ok(f, "driver=raw,node-name=r,file.driver=file,file.filename=a");
	struct node *file = r->file->child;
	reopen_ok(f, "driver=raw,node-name=r,read-only=on,cache.direct=on,file.driver=file,"
		     "file.filename=a");
	ck_assert(file->read_only && file->cache_direct);
	ck_assert_uint_eq(disk_of(file)->commits, 1);
	/* The child's own wish prevails. */
	reopen_ok(f, "driver=raw,node-name=r,read-only=on,file.driver=file,file.filename=a,"
		     "file.read-only=off");
	ck_assert(r->read_only && !file->read_only);
	/* A reference to the child that is there changes nothing of it. */
	char *text _cleanup_free_ = xasprintf("driver=raw,node-name=r,file=%s", file->name);
	reopen_ok(f, text);
	ck_assert(!r->read_only && !file->read_only);
	node_unref(r);
}

FIXTURE_TEST(children_are_exchanged)
{
	memset(disk_new(f, "a", 4096)->data, 0xaa, 4096);
	memset(disk_new(f, "b", 8192)->data, 0xbb, 8192);
	struct node *a = open_ok(f, FILE_A), *b = open_ok(f, "driver=file,node-name=b,filename=b");
	struct node *r = open_ok(f, RAW_R);
	struct user u;
	user_init_ok(&u, r);
	reopen_ok(f, "driver=raw,node-name=r,file=b");
	ck_assert(user_sees(&u, 0, 8192, 0xbb));
	ck_assert_uint_eq(u.resizes, 1);
	ck_assert_uint_eq(u.quiesces, 1);
	ck_assert_uint_eq(a->references, 1);
	ck_assert_uint_eq(disk_of(a)->set_permissions, 0);
	ck_assert_uint_eq(disk_of(b)->set_permissions, PERM_CONSISTENT_READ | PERM_WRITE);
	r->file->frozen = 1;
	expect_refusal(f, RAW_R, "Cannot change frozen 'file' link from 'r' to 'b'");
	r->file->frozen = 0;
	user_finish(&u);
	node_unref(r);
	node_unref(b);
	node_unref(a);
}

FIXTURE_TEST(backing_files_come_and_go)
{
	disk_format_cow(disk_new(f, "q", 0), 4096, NULL, NULL);
	memset(disk_new(f, "a", 4096)->data, 0xaa, 4096);
	struct node *a = open_ok(f, FILE_A), *r = open_ok(f, RAW_R);
	struct node *q = open_ok(f, "driver=qcow2,node-name=q,file.driver=file,file.filename=q,"
				    "file.node-name=qf");
	struct user u;
	user_init_ok(&u, q);
	reopen_ok(f, "driver=qcow2,node-name=q,file=qf,backing=r");
	ck_assert(user_sees(&u, 0, 4096, 0xaa));
	expect_refusal(f, "driver=qcow2,node-name=q,file=qf", "backing is missing for 'q'");
	expect_refusal(f, "driver=qcow2,node-name=q,file=qf,backing=q",
		       "Making 'q' a backing child of 'q' would create a cycle");
	struct blockdev_options *o = NULL;
	ck_assert_int_eq(options_from_filename(f->graph,
					       "json:{\"driver\":\"qcow2\",\"node-name\":\"q\","
					       "\"file\":\"qf\",\"backing\":null}",
					       NULL, &o, NULL, NULL),
			 0);
	const struct blockdev_options *list[] = {o};
	q->backing->frozen = 1;
	struct error *error = NULL;
	ck_assert_int_eq(nodes_reopen(f->graph, list, 1, &error), -EPERM);
	error_expect(&error, "Cannot change frozen 'backing' link from 'q' to 'r'");
	q->backing->frozen = 0;
	ck_assert_int_eq(nodes_reopen(f->graph, list, 1, NULL), 0);
	blockdev_options_free(o);
	ck_assert(user_sees(&u, 0, 4096, 0));
	ck_assert_uint_eq(r->references, 1);
	user_finish(&u);
	node_unref(q);
	node_unref(r);
	node_unref(a);
}

/* The last of three fails: the first two are as they were. */
FIXTURE_TEST(all_or_none)
{
	disk_new(f, "a", 4096);
	disk_new(f, "b", 4096);
	disk_new(f, "c", 4096);
	struct node *a = open_ok(f, FILE_A), *b = open_ok(f, "driver=file,node-name=b,filename=b");
	struct node *c = open_ok(f, "driver=file,node-name=c,filename=c"), *r = open_ok(f, RAW_R);
	const char *texts[] = {"driver=raw,node-name=r,file=b,read-only=on",
			       "driver=file,node-name=b,filename=b,read-only=on",
			       "driver=file,node-name=c,filename=c,cache.direct=on"};
	struct error *error = NULL;
	disk_of(c)->prepare_error = -EMFILE;
	ck_assert_int_eq(reopen(f, texts, 3, &error), -EMFILE);
	error_expect(&error, "Could not reopen 'c': Too many open files");
	ck_assert(!r->read_only && !b->read_only && !c->cache_direct);
	ck_assert_ptr_eq(r->file->child, a);
	ck_assert(!r->options->has_read_only);
	ck_assert_uint_eq(disk_of(b)->reopen_aborts, 1);

	/* Permissions are looked at last of all. */
	disk_of(c)->prepare_error = 0;
	disk_of(c)->check_error = -EAGAIN;
	ck_assert_int_eq(reopen(f, texts, 3, &error), -EAGAIN);
	error_expect(&error, "Failed to get the lock of 'c'");
	ck_assert_ptr_eq(r->file->child, a);
	ck_assert_uint_eq(disk_of(c)->reopen_aborts, 1);
	ck_assert_uint_eq(disk_of(b)->commits, 0);

	disk_of(c)->check_error = 0;
	ck_assert_int_eq(reopen(f, texts, 3, NULL), 0);
	ck_assert(r->read_only && b->read_only && c->cache_direct);
	ck_assert_ptr_eq(r->file->child, b);
	node_unref(r);
	node_unref(c);
	node_unref(b);
	node_unref(a);
}

FIXTURE_TEST(unflushed_data_stop_it)
{
	disk_new(f, "a", 4096);
	struct node *a = open_ok(f, FILE_A);
	struct user u;
	user_init_ok(&u, a);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	user_finish(&u);
	disk_of(a)->flush_error = -EIO;
	expect_refusal(f, FILE_A ",read-only=on", "Error flushing drive: Input/output error");
	ck_assert(!a->read_only);
	disk_of(a)->flush_error = 0;
	reopen_ok(f, FILE_A ",read-only=on");
	ck_assert_int_eq(disk_of(a)->durable[0], 1);
	node_unref(a);
}

FIXTURE_TEST(what_was_not_to_be_flushed_is_flushed_later)
{
	disk_new(f, "a", 4096);
	struct node *a = open_ok(f, FILE_A ",cache.no-flush=on"), *r = open_ok(f, RAW_R);
	struct user u;
	user_init_ok(&u, r);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_uint_eq(disk_of(a)->flushes, 0);
	reopen_ok(f, FILE_A);
	ck_assert_int_eq(user_flush(&u), 0);
	ck_assert_int_eq(disk_of(a)->durable[0], 1);
	user_finish(&u);
	node_unref(r);
	node_unref(a);
}

/* A parent may still have something to write below when it prepares. */
FIXTURE_TEST(parents_prepare_first)
{
	disk_new(f, "a", 4096);
	struct node *a = open_ok(f, FILE_A), *r = open_ok(f, RAW_R);
	const char *texts[] = {FILE_A ",read-only=on", RAW_R ",read-only=on"};
	raw_found_prepared = UINT_MAX;
	ck_assert_int_eq(reopen(f, texts, 2, NULL), 0);
	ck_assert_uint_eq(raw_found_prepared, 0);
	ck_assert(a->read_only && r->read_only);
	ck_assert_uint_eq(disk_of(a)->commits, 1);
	node_unref(r);
	node_unref(a);
}

/* As a job does with the base of a chain: the file below becomes writable as well. */
FIXTURE_TEST(jobs_make_nodes_writable)
{
	disk_format_cow(disk_new(f, "top", 0), 4096, "base", "qcow2");
	disk_format_cow(disk_new(f, "base", 0), 4096, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,node-name=n,file.driver=file,file.filename=top,"
				    "file.node-name=nf");
	struct node *base = node_backing(n);
	struct user u;
	struct error *error = NULL;
	ck_assert_int_eq(user_init(&u, "u", base, PERM_WRITE, PERM_ALL, &error), -EPERM);
	error_expect(&error, "Block node is read-only");
	ck_assert_int_eq(node_set_read_only(base, false, NULL), 0);
	ck_assert(!base->read_only && !base->file->child->read_only);
	user_init_ok(&u, base);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	/* Another reopening above leaves it as the job needs it. */
	char *text _cleanup_free_ =
		xasprintf("driver=qcow2,node-name=n,cache.direct=on,file=nf,backing=%s", base->name);
	reopen_ok(f, text);
	ck_assert(!base->read_only && base->cache_direct);
	ck_assert_int_eq(node_set_read_only(base, true, &error), -EINVAL);
	error_free(TAKE(error));
	user_finish(&u);
	ck_assert_int_eq(node_set_read_only(base, true, NULL), 0);
	ck_assert(base->read_only && base->file->child->read_only);
	ck_assert_int_eq(node_set_read_only(base, true, NULL), 0);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(modes_change),
	FIXTURE_ROW(refusals_say_why),
	FIXTURE_ROW(driver_may_allow_a_change),
	FIXTURE_ROW(writers_keep_a_node_writable),
	FIXTURE_ROW(heirs_follow),
	FIXTURE_ROW(children_are_exchanged),
	FIXTURE_ROW(backing_files_come_and_go),
	FIXTURE_ROW(all_or_none),
	FIXTURE_ROW(unflushed_data_stop_it),
	FIXTURE_ROW(what_was_not_to_be_flushed_is_flushed_later),
	FIXTURE_ROW(parents_prepare_first),
	FIXTURE_ROW(jobs_make_nodes_writable),
};

UNIT_MAIN("reopen", tests)
