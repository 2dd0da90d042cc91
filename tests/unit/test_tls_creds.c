/* SPDX-License-Identifier: MIT */
/* block/tls_creds.c: credentials are found by name and end, and stay while held. */
#include "block/tls_creds.h"

#include "base/loop.h"
#include "block/graph.h"
#include "tests/unit/unit.h"

static const struct driver *const no_drivers[] = {NULL};

static struct loop *loop;
static struct graph *graph;

static void setup(void)
{
	loop = loop_new_sim(1);
	graph = graph_new(loop, no_drivers);
}

static void teardown(void)
{
	graph_free(graph);
	loop_free(loop);
}

static void check_refusal(const char *id, bool is_server, const char *part)
{
	_cleanup_error_ struct error *error = NULL;
	ck_assert_ptr_null(tls_creds_hold(graph, id, is_server, &error));
	ck_assert_msg(strstr(error->message, part), "%s", error->message);
}

START_TEST(held_credentials_stay)
{
	setup();
	char id[] = "tls", dir[] = "/keys", username[] = "alice";
	struct tls_creds *c = tls_creds_create(graph, &(struct tls_creds){
		.id = id, .kind = TLS_CREDS_PSK, .verify_peer = true, .dir = dir,
		.username = username});
	memset(id, 'x', 3);
	memset(dir, 'x', 5);
	ck_assert_str_eq(c->dir, "/keys");
	ck_assert_str_eq(c->username, "alice");

	ck_assert_ptr_eq(tls_creds_hold(graph, "tls", false, NULL), c);
	ck_assert_ptr_eq(tls_creds_hold(graph, "tls", false, NULL), c);
	ck_assert_int_eq(tls_creds_destroy(c), -EBUSY);
	tls_creds_release(c);
	ck_assert_int_eq(tls_creds_destroy(c), -EBUSY);
	tls_creds_release(c);
	ck_assert_int_eq(tls_creds_destroy(c), 0);
	check_refusal("tls", false, "No TLS credentials with id 'tls'");
	tls_creds_release(NULL);
	teardown();
}
END_TEST

START_TEST(each_end_has_its_own)
{
	setup();
	struct tls_creds *server = tls_creds_create(graph, &(struct tls_creds){
		.id = (char *)"s", .is_server = true, .dir = (char *)"/pki"});
	struct tls_creds *client = tls_creds_create(graph, &(struct tls_creds){
		.id = (char *)"c", .dir = (char *)"/pki"});
	check_refusal("s", false, "client endpoint");
	check_refusal("c", true, "server endpoint");
	ck_assert_ptr_eq(tls_creds_hold(graph, "s", true, NULL), server);
	tls_creds_release(server);
	ck_assert_int_eq(tls_creds_destroy(server), 0);
	ck_assert_int_eq(tls_creds_destroy(client), 0);
	teardown();
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(held_credentials_stay),
	UNIT_TEST(each_end_has_its_own),
};

UNIT_MAIN("tls_creds", tests)
