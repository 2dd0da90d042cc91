/* SPDX-License-Identifier: MIT */
/*
 * protocol/export.c and protocol/nbd/server.c, export.c: how exports and the
 * server come and go, with clients that use them.
 */
#include "tests/unit/nbd_fixture.h"

#include <stdio.h>

#include "block/iothread.h"
#include "block/objects.h"

SERVER_TEST(exports_in_use_are_removed_by_force_only)
{
	struct error *error = NULL;
	set_up(f);
	disk->held = true;
	client *c = client_open(false);
	struct export *e = export_find(registry, "e", NULL);
	ck_assert_int_eq(export_del(registry, e, BLOCK_EXPORT_REMOVE_MODE_SAFE, &error), -EBUSY);
	error_expect(&error, "export 'e' still in use");

	ask(c, NBD_CMD_READ, 1, 0, 512, 0);
	while (disk->in_flight == 0)
		co_sleep_ns(MS);
	ck_assert_int_eq(export_del(registry, e, BLOCK_EXPORT_REMOVE_MODE_HARD, NULL), 0);
	/* The read keeps it until it has ended. */
	ck_assert_uint_eq(deletions, 0);
	struct block_export_info_list list;
	export_query(registry, &list);
	ck_assert_uint_eq(list.count, 1);
	ck_assert(list.items[0]->shutting_down);
	schema_free(&block_export_info_type, list.items[0]);
	free(list.items);
	ck_assert_int_eq(export_del(registry, e, BLOCK_EXPORT_REMOVE_MODE_HARD, &error), -EBUSY);
	error_expect(&error, "Export 'e' is already shutting down");
	/* Its name is free at once, its ID is not. */
	ck_assert_int_eq(add_export("e", "disk", true, &error), -EEXIST);
	error_expect(&error, "Block export id 'e' is already in use");
	ck_assert_int_eq(add_export("e2", "disk", true, NULL), 0);
	disk->held = false;

	hear_end(c);
	socket_stream_free(c);
	for (unsigned i = 0; deletions == 0 && i < 500; i++)
		co_sleep_ns(MS);
	ck_assert_uint_eq(deletions, 1);
	ck_assert_str_eq(last_deleted, "e");
	ck_assert_uint_eq(disk->in_flight, 0);
	tear_down();
	ck_assert_uint_eq(deletions, 2);
}

SERVER_TEST(unused_exports_go_at_once)
{
	struct error *error = NULL;
	set_up(f);
	struct export *e = export_find(registry, "e", NULL);
	ck_assert_int_eq(export_del(registry, e, BLOCK_EXPORT_REMOVE_MODE_SAFE, NULL), 0);
	ck_assert_uint_eq(deletions, 1);
	ck_assert_ptr_null(export_find(registry, "e", &error));
	error_expect(&error, "Export 'e' is not found");
	ck_assert(list_is_empty(&node->parents));
	tear_down();
}

SERVER_TEST(bad_exports_are_refused)
{
	static const char *ids[] = {"", "1a", "-a", "a b", "a/b", "\xc3\xa4"};
	struct error *error = NULL;
	char long_name[4098];
	set_up(f);
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		ck_assert_int_eq(add_export(ids[i], "x", true, &error), -EINVAL);
		error_expect(&error, "Invalid block export id");
	}
	ck_assert_int_eq(add_export("f", "disk", true, &error), -EEXIST);
	error_expect(&error, "NBD server already has export named 'disk'");
	memset(long_name, 'n', 4097);
	long_name[4097] = '\0';
	ck_assert_int_eq(add_export("f", long_name, true, &error), -EINVAL);
	error_expect_part(&error, "' too long");
	long_name[4096] = '\0';
	ck_assert_int_eq(add_export("f", long_name, true, NULL), 0);
	ck_assert_int_eq(export_add(registry, &(struct block_export_options){
		.type = BLOCK_EXPORT_TYPE_NBD, .id = "g", .node_name = "nope"}, &error), -ENOENT);
	ck_assert_ptr_nonnull(error);
	error_free(error);
	error = NULL;
	node->read_only = true;
	ck_assert_int_eq(add_export("g", "g", true, &error), -EACCES);
	error_expect(&error, "Cannot export read-only node as writable");
	node->read_only = false;

	ck_assert_int_eq(nbd_server_stop(server, NULL), 0);
	ck_assert_uint_eq(deletions, 2);
	ck_assert_int_eq(add_export("h", "h", true, &error), -ENOTCONN);
	error_expect(&error, "NBD server not running");
	ck_assert_int_eq(nbd_server_stop(server, &error), -ENOTCONN);
	error_expect(&error, "NBD server not running");
	tear_down();
}

static void co_fn let_go_later(void *arg)
{
	co_sleep_ns(20 * MS);
	disk->held = false;
}

SERVER_TEST(the_server_starts_and_stops_again)
{
	struct error *error = NULL;
	struct nbd_server_config c = config();
	set_up(f);
	ck_assert_int_eq(nbd_server_start(server, &c, &error), -EBUSY);
	error_expect(&error, "NBD server already running");
	disk->held = true;
	client *busy = client_open(false), *new = client_connect();
	ask(busy, NBD_CMD_READ, 1, 0, 512, 0);
	while (disk->in_flight == 0)
		co_sleep_ns(MS);
	co_start(f->loop, let_go_later, NULL);
	ck_assert_int_eq(nbd_server_stop(server, NULL), 0);
	ck_assert_uint_eq(disk->in_flight, 0);
	ck_assert_uint_eq(deletions, 1);
	char greeting[NBD_GREETING_BYTES];
	hear_end(busy);
	hear(new, greeting, sizeof(greeting));
	hear_end(new);
	socket_stream_free(busy);
	socket_stream_free(new);

	ck_assert_int_eq(nbd_server_start(server, &c, NULL), 0);
	ck_assert_int_eq(add_export("e", "disk", true, NULL), 0);
	client *again = client_open(false);
	expect_alive(again);
	socket_stream_free(again);
	tear_down();
}

static void co_fn close_later(void *arg)
{
	co_sleep_ns(30 * MS);
	socket_stream_free(arg);
}

SERVER_TEST(too_many_connections_wait)
{
	struct nbd_server_config c = config();
	c.max_connections = 2;
	set_up_with(f, c);
	client *one = client_open(false), *two = client_open(false), *three = client_connect();
	char greeting;
	co_sleep_ns(10 * MS);
	ck_assert_int_eq(socket_try_read(three, &greeting, 1), -EAGAIN);
	co_start(f->loop, close_later, one);
	client_choose(three, "disk", false);
	expect_alive(three);
	expect_alive(two);
	socket_stream_free(two);
	socket_stream_free(three);
	tear_down();
}

SERVER_TEST(new_connections_see_the_new_size)
{
	set_up(f);
	client *old = client_open(false);
	node_set_size(node, 2 * DISK_BYTES);
	client *new = client_open(false); /* which compares the size */
	ask(new, NBD_CMD_READ, 1, 2 * DISK_BYTES - 1, 1, 0);
	expect_simple(new, 1, 0);
	char byte;
	hear(new, &byte, 1);
	node_set_size(node, DISK_BYTES / 2);
	ask(old, NBD_CMD_READ, 2, DISK_BYTES / 2, 1, 0);
	expect_simple(old, 2, NBD_EINVAL);
	node_set_size(node, DISK_BYTES);
	socket_stream_free(old);
	socket_stream_free(new);
	tear_down();
}

SERVER_TEST(exports_are_listed_newest_first)
{
	struct block_export_info_list list;
	set_up(f);
	ck_assert_int_eq(add_export("e2", "second", false, NULL), 0);
	export_query(registry, &list);
	ck_assert_uint_eq(list.count, 2);
	ck_assert_str_eq(list.items[0]->id, "e2");
	ck_assert_str_eq(list.items[1]->id, "e");
	ck_assert_str_eq(list.items[1]->node_name, node->name);
	ck_assert(!list.items[1]->shutting_down);
	for (size_t i = 0; i < list.count; i++)
		schema_free(&block_export_info_type, list.items[i]);
	free(list.items);
	tear_down();
}

SERVER_TEST(an_iothread_says_how_long_requests_are_looked_for)
{
	struct iothread_properties p = {.thread_pool_max = 1, .poll_max_ns = 5};
	struct iothread *t;
	set_up(f);
	ck_assert_int_eq(iothread_make(f->graph, "i", &p, &t, NULL), 0);
	ck_assert_int_eq(export_add(registry, &(struct block_export_options){
		.type = BLOCK_EXPORT_TYPE_NBD,
		.id = "e2",
		.node_name = node->name,
		.iothread = &(struct block_export_iothreads){.u.single = "i"},
	}, NULL), 0);
	struct export *e = export_find(registry, "e2", NULL);
	ck_assert_uint_eq(export_look_ns(e), 5);
	t->poll_max_ns = 0;
	ck_assert_uint_eq(export_look_ns(e), 0);
	ck_assert_uint_eq(export_look_ns(export_find(registry, "e", NULL)), UINT64_MAX);
	ck_assert_int_eq(iothread_destroy(t), -EBUSY);
	tear_down();
	ck_assert_int_eq(iothread_destroy(t), 0);
}

static const struct unit_test tests[] = {
	SERVER_ROW(exports_in_use_are_removed_by_force_only),
	SERVER_ROW(unused_exports_go_at_once),
	SERVER_ROW(bad_exports_are_refused),
	SERVER_ROW(the_server_starts_and_stops_again),
	SERVER_ROW(too_many_connections_wait),
	SERVER_ROW(new_connections_see_the_new_size),
	SERVER_ROW(exports_are_listed_newest_first),
	SERVER_ROW(an_iothread_says_how_long_requests_are_looked_for),
};

UNIT_MAIN("nbd_server", tests)
