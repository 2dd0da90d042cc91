/* SPDX-License-Identifier: MIT */
/*
 * protocol/nbd/connection.c, receive.c, send.c: clients that send in odd pieces,
 * vanish, lag or talk nonsense, and the limits that hold for each.
 */
#include "tests/unit/nbd_fixture.h"

#include <sys/socket.h>

SERVER_TEST(payloads_are_aligned_for_nodes_that_need_it)
{
	set_up(f);
	disk->limits = (struct node_limits){.request_alignment = 512, .memory_alignment = 512};
	node_refresh_limits(node);
	client *c = client_open(true);
	/* Many at once, so that their payloads lie at odd places; the driver checks. */
	for (unsigned i = 0; i < 50; i++)
		ask_write(c, i, 4096 * i, 4096, i);
	ask_write(c, 50, 300000, 200000, 50);
	for (unsigned i = 0; i < 51; i++) {
		uint8_t header[NBD_SIMPLE_REPLY_BYTES];
		hear(c, header, sizeof(header));
	}
	for (unsigned i = 0; i < 50; i++)
		ck_assert(all_bytes(disk->data + 4096 * i, 4096, i));
	ck_assert(all_bytes(disk->data + 300000, 200000, 50));
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(a_session_byte_by_byte)
{
	uint8_t message[3 * NBD_REQUEST_BYTES + 600], *p = message;
	set_up(f);
	client *c = client_open(false);
	p = put_request(p, NBD_CMD_WRITE, 1, 100, 600, 0);
	memset(p, 0x77, 600);
	p = put_request(p + 600, NBD_CMD_FLUSH, 2, 0, 0, 0);
	p = put_request(p, NBD_CMD_READ, 3, 90, 620, 0);
	for (size_t i = 0; i < sizeof(message); i++) {
		say(c, message + i, 1);
		co_reschedule();
		co_reschedule();
	}
	expect_simple(c, 1, 0);
	expect_simple(c, 2, 0);
	expect_simple(c, 3, 0);
	uint8_t data[620];
	hear(c, data, sizeof(data));
	ck_assert_uint_eq(data[9], disk_byte(99));
	ck_assert(all_bytes(data + 10, 600, 0x77));
	ck_assert_uint_eq(data[610], disk_byte(700));
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(refused_requests_leave_the_connection_whole)
{
	set_up(f);
	client *c = client_open(false);
	ask_write(c, 1, DISK_BYTES - 511, 512, 1);
	expect_simple(c, 1, NBD_ENOSPC);
	ask_write(c, 2, DISK_BYTES, 700000, 1); /* longer than what is received at a time */
	expect_simple(c, 2, NBD_ENOSPC);
	ask_write(c, 3, 0, NBD_DATA_MAX + 1, 1);
	expect_simple(c, 3, NBD_EINVAL);
	ask(c, NBD_CMD_READ, 4, 0, NBD_DATA_MAX + 1, 0);
	expect_simple(c, 4, NBD_EINVAL);
	ask(c, 99, 5, 0, 77, 0);
	expect_simple(c, 5, NBD_EINVAL);
	ask(c, NBD_CMD_BLOCK_STATUS, 6, 0, 512, 0);
	expect_simple(c, 6, NBD_EINVAL);
	ask_write(c, 7, 0, 512, 0x55);
	expect_simple(c, 7, 0);
	ck_assert(all_bytes(disk->data, 512, 0x55));
	ck_assert_uint_eq(disk->writes, 1);
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(garbage_ends_the_connection)
{
	uint8_t garbage[64];
	set_up(f);
	memset(garbage, 'x', sizeof(garbage));
	client *c = client_open(true), *other = client_open(true);
	ask(c, NBD_CMD_FLUSH, 1, 0, 0, 0);
	say(c, garbage, sizeof(garbage));
	expect_simple(c, 1, 0); /* what came before is answered */
	hear_end(c);
	expect_alive(other);
	socket_stream_free(c);
	socket_stream_free(other);
	tear_down();
}

SERVER_TEST(vanished_clients_leave_nothing_behind)
{
	set_up(f);
	disk->delay_ns = 20 * MS;
	client *other = client_open(false);
	for (unsigned how = 0; how < 5; how++) {
		client *c = client_open(how & 1);
		uint8_t message[5000];
		switch (how) {
		case 0: /* in a header */
			put_request(message, NBD_CMD_READ, 1, 0, 512, 0);
			say(c, message, 20);
			break;
		case 1: /* in a payload, with requests under way */
			ask(c, NBD_CMD_READ, 1, 0, 512, 0);
			put_request(message, NBD_CMD_WRITE, 2, 0, 4096, 0);
			say(c, message, 3000);
			break;
		case 2: /* in a long payload */
			put_request(message, NBD_CMD_WRITE, 2, 0, 900000, 0);
			say(c, message, 5000);
			break;
		case 3: /* with many replies on their way */
			for (unsigned i = 0; i < 200; i++)
				ask(c, NBD_CMD_READ, i, 0, 65536, 0);
			break;
		case 4: /* in the payload of a refused write */
			put_request(message, NBD_CMD_WRITE, 2, DISK_BYTES, 4096, 0);
			say(c, message, 3000);
			break;
		}
		let_arrive();
		socket_stream_free(c);
		expect_alive(other);
	}
	/* Only "other" is left, so that the export is removed as soon as it has gone. */
	socket_stream_free(other);
	struct export *e = export_find(registry, "e", NULL);
	for (unsigned i = 0; e->users > 0 && i < 500; i++)
		co_sleep_ns(MS);
	ck_assert_int_eq(export_del(registry, e, BLOCK_EXPORT_REMOVE_MODE_SAFE, NULL), 0);
	ck_assert_uint_eq(disk->in_flight, 0);
	ck_assert_uint_eq(disk->writes, 0);
	tear_down();
}

SERVER_TEST(a_client_that_says_no_more_gets_its_answers)
{
	set_up(f);
	disk->delay_ns = 20 * MS;
	client *c = client_open(false);
	for (unsigned i = 0; i < 3; i++)
		ask(c, NBD_CMD_READ, i, 0, 1000, 0);
	shutdown(socket_stream_fd(c), SHUT_WR);
	for (unsigned i = 0; i < 3; i++) {
		expect_simple(c, i, 0);
		expect_disk_bytes(c, 0, 1000);
	}
	hear_end(c);
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(requests_in_flight_are_limited)
{
	uint8_t batch[300 * NBD_REQUEST_BYTES], *p = batch;
	set_up(f);
	disk->held = true;
	client *c = client_open(false);
	for (unsigned i = 0; i < 300; i++)
		p = put_request(p, NBD_CMD_READ, i, i * 512, 512, 0);
	say(c, batch, sizeof(batch));
	while (disk->in_flight < 256)
		co_sleep_ns(MS);
	let_arrive(); /* whatever else there may be */
	disk->held = false;
	bool seen[300] = {false};
	for (unsigned i = 0; i < 300; i++) {
		uint8_t header[NBD_SIMPLE_REPLY_BYTES];
		struct nbd_simple_reply reply;
		hear(c, header, sizeof(header));
		ck_assert_int_eq(nbd_get_simple_reply(header, &reply), 0);
		ck_assert(!seen[reply.cookie]);
		seen[reply.cookie] = true;
		expect_disk_bytes(c, reply.cookie * 512, 512);
	}
	ck_assert_uint_eq(disk->most_in_flight, 256);
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(a_client_that_does_not_read_harms_nobody)
{
	set_up(f);
	client *lazy = client_open(false), *other = client_open(false);
	/* 200 MB of answers are wanted and not taken. */
	uint8_t request[NBD_REQUEST_BYTES];
	for (unsigned i = 0; i < 200; i++) {
		put_request(request, NBD_CMD_READ, i, 0, 1 << 20, 0);
		say(lazy, request, sizeof(request));
	}
	while (disk->reads < 60)
		co_sleep_ns(MS);
	/* No more is read ahead than the limit of buffered data allows. */
	co_sleep_ns(50 * MS);
	ck_assert_uint_le(disk->reads, 70);
	for (unsigned i = 0; i < 100; i++)
		expect_alive(other);
	/* It gets everything once it wants to. */
	for (unsigned i = 0; i < 200; i++) {
		expect_simple(lazy, i, 0);
		expect_disk_bytes(lazy, 0, 1 << 20);
	}
	ck_assert_uint_eq(disk->reads, 200);
	socket_stream_free(lazy);
	socket_stream_free(other);
	tear_down();
}

static bool co_fn has_heard(client *c, void *p, size_t bytes)
{
	for (int64_t n; bytes > 0; bytes -= n, p = (char *)p + n) {
		n = socket_read(c, p, bytes);
		if (n <= 0)
			return false;
	}
	return true;
}

/* A client whose handshake was over in time, as it is in the end. */
static client *co_fn open_in_time(void)
{
	for (;;) {
		uint8_t message[64], *p = nbd_put32(message, 3);
		p = nbd_put_option(p, &(struct nbd_option_header){NBD_OPT_EXPORT_NAME, 4});
		memcpy(p, "disk", 4);
		struct iovec iov = {message, p + 4 - message};
		uint8_t greeting[NBD_GREETING_BYTES], answer[10];
		client *c = client_connect();
		if (has_heard(c, greeting, sizeof(greeting)) && socket_writev(c, &iov, 1) == 0 &&
		    has_heard(c, answer, sizeof(answer)))
			return c;
		socket_stream_free(c);
	}
}

SERVER_TEST(handshakes_have_a_time_limit)
{
	struct nbd_server_config c = config();
	c.handshake_max_s = 1;
	set_up_with(f, c);
	uint64_t begin = loop_now_ns(f->loop);
	client *slow = client_connect(), *fast = open_in_time();
	char greeting[NBD_GREETING_BYTES], part[] = "\0\0\0\3IHAVE";
	hear(slow, greeting, sizeof(greeting));
	(void)socket_writev(slow, &(struct iovec){part, 9}, 1); /* too late on a busy machine */
	hear_end(slow);
	/* Timers count in milliseconds. */
	ck_assert_uint_ge(loop_now_ns(f->loop) - begin, 999 * MS);
	expect_alive(fast);
	socket_stream_free(slow);
	socket_stream_free(fast);
	tear_down();
}

static const struct unit_test tests[] = {
	SERVER_ROW(payloads_are_aligned_for_nodes_that_need_it),
	SERVER_ROW(a_session_byte_by_byte),
	SERVER_ROW(refused_requests_leave_the_connection_whole),
	SERVER_ROW(garbage_ends_the_connection),
	SERVER_ROW(vanished_clients_leave_nothing_behind),
	SERVER_ROW(a_client_that_says_no_more_gets_its_answers),
	SERVER_ROW(requests_in_flight_are_limited),
	SERVER_ROW(a_client_that_does_not_read_harms_nobody),
	SERVER_ROW(handshakes_have_a_time_limit),
};

UNIT_MAIN("nbd_connection", tests)
