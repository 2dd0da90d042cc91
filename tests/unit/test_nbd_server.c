/* SPDX-License-Identifier: MIT */
/*
 * protocol/nbd: a server with disks in memory and clients in the same loop:
 * what clients ask, how they misbehave, and how exports and the server end.
 */
#include "protocol/nbd/server.h"

#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "block/drain.h"
#include "protocol/nbd/wire.h"
#include "tests/unit/block_fixture.h"

#define DISK_BYTES (1u << 20)
#define MS UINT64_C(1000000)

static struct fixture *fixture;
static struct export_registry *registry;
static struct nbd_server *server;
static struct disk *disk;
static struct node *node;
static char path[64];
static unsigned deletions;
static char last_deleted[64];

static void on_deleted(void *arg, const char *id)
{
	deletions++;
	snprintf(last_deleted, sizeof(last_deleted), "%s", id);
}

static const struct export_observer observer = {.deleted = on_deleted};

static struct nbd_server_config config(void)
{
	return (struct nbd_server_config){
		.address = {.family = SOCKET_UNIX, .path = path},
		.handshake_max_s = 10,
		.max_connections = 100,
	};
}

static int co_fn add_export(const char *id, const char *name, bool writable, struct error **errp)
{
	return export_add(registry, &(struct block_export_options){
		.type = BLOCK_EXPORT_TYPE_NBD,
		.id = (char *)id,
		.node_name = node->name,
		.writable = writable,
		.u.nbd = {.name = (char *)name, .description = "for the test"},
	}, errp);
}

/* A running server with a disk exported as "disk", whose bytes are their offset's hash. */
static uint8_t disk_byte(uint64_t offset)
{
	return (offset >> 9) * 7 + offset;
}

static void co_fn set_up_with(struct fixture *f, struct nbd_server_config c,
			      const struct driver *driver)
{
	fixture = f;
	snprintf(path, sizeof(path), "/tmp/cairn-test-nbd-%d.sock", getpid());
	registry = export_registry_create(f->graph);
	export_registry_set_observer(registry, &observer, NULL);
	server = nbd_server_create(f->loop, registry);
	disk = disk_new(f, "disk", DISK_BYTES);
	for (uint64_t i = 0; i < DISK_BYTES; i++)
		disk->data[i] = disk_byte(i);
	node = disk_open(f, disk, driver);
	ck_assert_int_eq(nbd_server_start(server, &c, NULL), 0);
	ck_assert_int_eq(add_export("e", "disk", true, NULL), 0);
}

static void co_fn set_up(struct fixture *f)
{
	set_up_with(f, config(), &disk_driver);
}

static void co_fn tear_down(void)
{
	if (nbd_server_is_running(server))
		ck_assert_int_eq(nbd_server_stop(server, NULL), 0);
	nbd_server_free(server);
	export_registry_free(registry);
	node_unref(node);
	ck_assert_int_ne(access(path, F_OK), 0);
}

/* A client is a stream; all its calls insist on success. */
typedef struct socket_stream client;

static client *co_fn client_connect(void)
{
	struct socket_endpoint address = {.family = SOCKET_UNIX, .path = path};
	int fd;
	ck_assert_int_eq(socket_connect(fixture->loop, &address, &fd, NULL), 0);
	return socket_stream_new(fixture->loop, fd);
}

static void co_fn say(client *c, const void *p, size_t bytes)
{
	struct iovec iov = {(void *)p, bytes};
	ck_assert_int_eq(socket_writev(c, &iov, 1), 0);
}

static void co_fn hear(client *c, void *p, size_t bytes)
{
	while (bytes > 0) {
		int64_t n = socket_read(c, p, bytes);
		ck_assert_int_gt(n, 0);
		p = (char *)p + n;
		bytes -= n;
	}
}

/* The server closes the connection and says nothing more. */
static void co_fn hear_end(client *c)
{
	char byte;
	int64_t n = socket_read(c, &byte, 1);
	ck_assert_msg(n == 0 || n == -ECONNRESET, "%d", (int)n);
}

static void co_fn client_choose(client *c, const char *name, bool structured)
{
	uint8_t buffer[512], *p = nbd_put32(buffer, 3);
	hear(c, buffer + 100, NBD_GREETING_BYTES);
	if (structured)
		p = nbd_put_option(p, &(struct nbd_option_header){NBD_OPT_STRUCTURED_REPLY, 0});
	if (structured) {
		/* The one context that there is. */
		size_t length = strlen(name);
		p = nbd_put_option(p, &(struct nbd_option_header){NBD_OPT_SET_META_CONTEXT,
								  4 + length + 4 + 4 + 15});
		p = nbd_put32(p, length);
		memcpy(p, name, length);
		p = nbd_put32(p + length, 1);
		p = nbd_put32(p, 15);
		memcpy(p, "base:allocation", 15);
		p += 15;
	}
	p = nbd_put_option(p, &(struct nbd_option_header){NBD_OPT_EXPORT_NAME, strlen(name)});
	memcpy(p, name, strlen(name));
	p += strlen(name);
	say(c, buffer, p - buffer);
	if (structured)
		hear(c, buffer, NBD_OPTION_REPLY_BYTES * 3 + 19);
	hear(c, buffer, 10);
	ck_assert_uint_eq(nbd_get64(buffer), node->size);
}

static client *co_fn client_open(bool structured)
{
	client *c = client_connect();
	client_choose(c, "disk", structured);
	return c;
}

/* Write a request's header to @p; returns its end. */
static uint8_t *put(uint8_t *p, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
		    uint16_t flags)
{
	return nbd_put_request(p, &(struct nbd_request){flags, type, cookie, offset, length});
}

static void co_fn ask(client *c, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
		      uint16_t flags)
{
	uint8_t header[NBD_REQUEST_BYTES];
	put(header, type, cookie, offset, length, flags);
	say(c, header, sizeof(header));
}

static void co_fn ask_write(client *c, uint64_t cookie, uint64_t offset, uint32_t length, int byte)
{
	uint8_t *message = xalloc(1, NBD_REQUEST_BYTES + length);
	memset(put(message, NBD_CMD_WRITE, cookie, offset, length, 0), byte, length);
	say(c, message, NBD_REQUEST_BYTES + length);
	free(message);
}

static void co_fn expect_simple(client *c, uint64_t cookie, uint32_t error)
{
	uint8_t header[NBD_SIMPLE_REPLY_BYTES];
	struct nbd_simple_reply reply;
	hear(c, header, sizeof(header));
	ck_assert_int_eq(nbd_get_simple_reply(header, &reply), 0);
	ck_assert_uint_eq(reply.cookie, cookie);
	ck_assert_uint_eq(reply.error, error);
}

static struct nbd_chunk co_fn expect_chunk(client *c, uint64_t cookie, uint16_t type)
{
	uint8_t header[NBD_CHUNK_BYTES];
	struct nbd_chunk chunk;
	hear(c, header, sizeof(header));
	ck_assert_int_eq(nbd_get_chunk(header, &chunk), 0);
	ck_assert_uint_eq(chunk.cookie, cookie);
	ck_assert_uint_eq(chunk.type, type);
	return chunk;
}

static void co_fn expect_error_chunk(client *c, uint64_t cookie, uint32_t error,
				     const char *message)
{
	struct nbd_chunk chunk = expect_chunk(c, cookie, NBD_REPLY_TYPE_ERROR);
	uint8_t payload[300];
	ck_assert_uint_lt(chunk.length, sizeof(payload));
	ck_assert_uint_eq(chunk.flags, NBD_REPLY_FLAG_DONE);
	hear(c, payload, chunk.length);
	ck_assert_uint_eq(nbd_get32(payload), error);
	ck_assert_uint_eq(nbd_get16(payload + 4), chunk.length - 6);
	payload[chunk.length] = '\0';
	ck_assert_str_eq((char *)payload + 6, message);
}

static void co_fn expect_disk_bytes(client *c, uint64_t offset, uint32_t length)
{
	uint8_t *data = xalloc(1, length);
	hear(c, data, length);
	uint32_t same = 0; /* an assertion for each byte would take minutes */
	while (same < length && data[same] == disk_byte(offset + same))
		same++;
	ck_assert_uint_eq(same, length);
	free(data);
}

/* The connection still works. */
static void co_fn expect_alive(client *c)
{
	ask(c, NBD_CMD_FLUSH, 4711, 0, 0, 0);
	expect_simple(c, 4711, 0);
}

#define SERVER_TEST(fn)                                                                            \
	static void co_fn fn(struct fixture *f);                                                   \
	START_TEST(test_##fn)                                                                      \
	{                                                                                          \
		fixture_run_real(fn);                                                              \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn fn(struct fixture *f)

SERVER_TEST(reads_and_writes_of_many_lengths)
{
	static const uint32_t lengths[] = {1, 2, 511, 512, 513, 4096, 4097, 65536, 100001, 262144,
					   300000, 1000000};
	set_up(f);
	for (unsigned structured = 0; structured < 2; structured++) {
		client *c = client_open(structured);
		for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
			uint64_t offset = 3 * i;
			ask(c, NBD_CMD_READ, i, offset, lengths[i], 0);
			if (structured) {
				uint8_t at[8];
				struct nbd_chunk chunk =
					expect_chunk(c, i, NBD_REPLY_TYPE_OFFSET_DATA);
				ck_assert_uint_eq(chunk.flags, NBD_REPLY_FLAG_DONE);
				ck_assert_uint_eq(chunk.length, 8 + lengths[i]);
				hear(c, at, 8);
				ck_assert_uint_eq(nbd_get64(at), offset);
			} else {
				expect_simple(c, i, 0);
			}
			expect_disk_bytes(c, offset, lengths[i]);
		}
		socket_stream_free(c);
	}
	client *c = client_open(true);
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		ask_write(c, i, 5, lengths[i], i + 1);
		expect_simple(c, i, 0);
		ck_assert(all_bytes(disk->data + 5, lengths[i], i + 1));
		ck_assert_uint_eq(disk->data[4], disk_byte(4));
		ck_assert_uint_eq(disk->data[5 + lengths[i]], disk_byte(5 + lengths[i]));
	}
	socket_stream_free(c);
	tear_down();
}

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
	p = put(p, NBD_CMD_WRITE, 1, 100, 600, 0);
	memset(p, 0x77, 600);
	p = put(p + 600, NBD_CMD_FLUSH, 2, 0, 0, 0);
	p = put(p, NBD_CMD_READ, 3, 90, 620, 0);
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

SERVER_TEST(each_command_does_what_it_says)
{
	set_up(f);
	client *c = client_open(true);

	ask(c, NBD_CMD_WRITE_ZEROES, 1, 4096, 8192, 0);
	expect_simple(c, 1, 0);
	ck_assert(all_bytes(disk->data + 4096, 8192, 0));
	ck_assert_uint_eq(disk->unmaps, 1);
	ask(c, NBD_CMD_WRITE_ZEROES, 2, 0, 4096, NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO);
	expect_simple(c, 2, 0);
	ck_assert_uint_eq(disk->unmaps, 1);
	disk->zero_error = -ENOTSUP;
	ask(c, NBD_CMD_WRITE_ZEROES, 3, 0, 4096, NBD_CMD_FLAG_FAST_ZERO);
	expect_error_chunk(c, 3, NBD_ENOTSUP, "write zeroes failed: Operation not supported");

	ask(c, NBD_CMD_TRIM, 4, 65536, 65536, NBD_CMD_FLAG_FUA);
	unsigned flushes = disk->flushes;
	expect_simple(c, 4, 0);
	ck_assert_uint_eq(disk->discards, 1);
	ask(c, NBD_CMD_CACHE, 5, 0, DISK_BYTES, 0);
	expect_simple(c, 5, 0);
	ask_write(c, 6, 0, 512, 1);
	expect_simple(c, 6, 0);
	ask(c, NBD_CMD_FLUSH, 7, 0, 0, 0);
	expect_simple(c, 7, 0);
	ck_assert_uint_gt(disk->flushes, flushes);
	ck_assert_uint_eq(disk->durable[0], 1);
	ask(c, NBD_CMD_READ, 8, 0, 0, 0);
	ck_assert_uint_eq(expect_chunk(c, 8, NBD_REPLY_TYPE_NONE).length, 0);

	ask(c, NBD_CMD_DISC, 9, 0, 0, 0);
	hear_end(c);
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(fua_and_writethrough_are_durable)
{
	set_up(f);
	client *c = client_open(false);
	uint8_t message[NBD_REQUEST_BYTES + 512];
	memset(put(message, NBD_CMD_WRITE, 1, 0, 512, NBD_CMD_FLAG_FUA), 9, 512);
	say(c, message, sizeof(message));
	expect_simple(c, 1, 0);
	ck_assert(all_bytes(disk->durable, 512, 9));
	ask_write(c, 2, 512, 512, 8);
	expect_simple(c, 2, 0);
	ck_assert(!all_bytes(disk->durable + 512, 512, 8));
	socket_stream_free(c);

	ck_assert_int_eq(export_add(registry, &(struct block_export_options){
		.type = BLOCK_EXPORT_TYPE_NBD, .id = "wt", .node_name = node->name,
		.writable = true, .writethrough = true, .u.nbd = {.name = "wt"},
	}, NULL), 0);
	c = client_connect();
	client_choose(c, "wt", false);
	ask_write(c, 3, 512, 512, 8);
	expect_simple(c, 3, 0);
	ck_assert(all_bytes(disk->durable + 512, 512, 8));
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(failures_below_reach_the_client)
{
	set_up(f);
	client *c = client_open(true), *plain = client_open(false);
	disk->read_error = -EIO;
	disk->write_error = -ENOSPC;
	disk->flush_error = -EIO;
	ask(c, NBD_CMD_READ, 1, 0, 512, 0);
	expect_error_chunk(c, 1, NBD_EIO, "read failed: Input/output error");
	ask(plain, NBD_CMD_READ, 2, 0, 512, 0);
	expect_simple(plain, 2, NBD_EIO); /* and no data */
	ask_write(plain, 3, 0, 512, 1);
	expect_simple(plain, 3, NBD_ENOSPC);
	ask_write(c, 4, 0, 100000, 1);
	expect_error_chunk(c, 4, NBD_ENOSPC, "write failed: No space left on device");
	disk->read_error = disk->write_error = 0;
	ask_write(c, 5, 0, 512, 1);
	expect_simple(c, 5, 0);
	ask(c, NBD_CMD_FLUSH, 6, 0, 0, 0);
	expect_error_chunk(c, 6, NBD_EIO, "flush failed: Input/output error");
	socket_stream_free(c);
	socket_stream_free(plain);
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

SERVER_TEST(read_only_exports_are_not_written)
{
	set_up(f);
	ck_assert_int_eq(add_export("ro", "ro", false, NULL), 0);
	client *c = client_connect();
	client_choose(c, "ro", true);
	ask_write(c, 1, 0, 512, 1);
	expect_error_chunk(c, 1, NBD_EPERM, "Export is read-only");
	ask(c, NBD_CMD_TRIM, 2, 0, 512, 0);
	expect_error_chunk(c, 2, NBD_EPERM, "Export is read-only");
	expect_alive(c);
	ck_assert_uint_eq(disk->writes + disk->discards, 0);
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(block_status_tells_holes)
{
	set_up(f);
	disk->holes = true;
	memset(disk->data + 65536, 0, 65536);
	client *c = client_open(true);
	ask(c, NBD_CMD_BLOCK_STATUS, 1, 1024, 200000, 0);
	struct nbd_chunk chunk = expect_chunk(c, 1, NBD_REPLY_TYPE_BLOCK_STATUS);
	uint8_t payload[28];
	ck_assert_uint_eq(chunk.flags, NBD_REPLY_FLAG_DONE);
	ck_assert_uint_eq(chunk.length, sizeof(payload));
	hear(c, payload, sizeof(payload));
	ck_assert_uint_eq(nbd_get32(payload), 0);
	ck_assert_uint_eq(nbd_get32(payload + 4), 65536 - 1024);
	ck_assert_uint_eq(nbd_get32(payload + 8), 0);
	ck_assert_uint_eq(nbd_get32(payload + 12), 65536);
	ck_assert_uint_eq(nbd_get32(payload + 16), NBD_STATE_ZERO);
	ck_assert_uint_eq(nbd_get32(payload + 20), 200000 + 1024 - 131072);
	ck_assert_uint_eq(nbd_get32(payload + 24), 0);

	ask(c, NBD_CMD_BLOCK_STATUS, 2, 0, DISK_BYTES, NBD_CMD_FLAG_REQ_ONE);
	chunk = expect_chunk(c, 2, NBD_REPLY_TYPE_BLOCK_STATUS);
	ck_assert_uint_eq(chunk.length, 12);
	hear(c, payload, 12);
	ck_assert_uint_eq(nbd_get32(payload + 4), 65536);
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(block_status_of_many_pieces_is_cut)
{
	set_up(f);
	disk->holes = true;
	for (uint64_t i = 0; i < DISK_BYTES; i += 1024)
		memset(disk->data + i, 0, 512);
	client *c = client_open(true);
	uint64_t offset = 0;
	unsigned answers = 0;
	while (offset < DISK_BYTES) {
		ask(c, NBD_CMD_BLOCK_STATUS, 1, offset, DISK_BYTES - offset, 0);
		struct nbd_chunk chunk = expect_chunk(c, 1, NBD_REPLY_TYPE_BLOCK_STATUS);
		uint8_t *payload = xalloc(1, chunk.length);
		hear(c, payload, chunk.length);
		for (uint32_t at = 4; at < chunk.length; at += 8) {
			ck_assert_uint_eq(nbd_get32(payload + at), 512);
			ck_assert_uint_eq(nbd_get32(payload + at + 4), offset % 1024 ? 0 : NBD_STATE_ZERO);
			offset += 512;
		}
		free(payload);
		answers++;
	}
	ck_assert_uint_gt(answers, 1);
	ck_assert_uint_lt(answers, 4);
	socket_stream_free(c);
	tear_down();
}

/* Hear the chunks of a read of the disk's bytes; returns how many bytes were holes. */
static uint32_t co_fn hear_pieces(client *c, uint64_t cookie, uint64_t offset, uint32_t length,
				  unsigned *ret_chunks)
{
	uint8_t header[NBD_CHUNK_BYTES], at[12];
	uint32_t holes = 0, seen = 0;
	struct nbd_chunk chunk = {0};
	*ret_chunks = 0;
	while (!(chunk.flags & NBD_REPLY_FLAG_DONE)) {
		hear(c, header, sizeof(header));
		ck_assert_int_eq(nbd_get_chunk(header, &chunk), 0);
		ck_assert_uint_eq(chunk.cookie, cookie);
		hear(c, at, 8);
		ck_assert_uint_eq(nbd_get64(at), offset + seen);
		uint32_t bytes = chunk.length - 8;
		if (chunk.type == NBD_REPLY_TYPE_OFFSET_HOLE) {
			hear(c, at, 4);
			bytes = nbd_get32(at);
			ck_assert(all_bytes(disk->data + offset + seen, bytes, 0));
			holes += bytes;
		} else {
			ck_assert_uint_eq(chunk.type, NBD_REPLY_TYPE_OFFSET_DATA);
			uint8_t *data = xalloc(1, bytes);
			hear(c, data, bytes);
			ck_assert_mem_eq(data, disk->data + offset + seen, bytes);
			free(data);
		}
		seen += bytes;
		++*ret_chunks;
	}
	ck_assert_uint_eq(seen, length);
	return holes;
}

SERVER_TEST(long_reads_leave_out_holes)
{
	unsigned chunks;
	set_up(f);
	disk->holes = true;
	memset(disk->data + 65536, 0, 131072);
	memset(disk->data + 400000, 0, 1000); /* too small to be told */
	client *c = client_open(true), *plain = client_open(false);

	ask(c, NBD_CMD_READ, 1, 512, 500000, 0);
	ck_assert_uint_eq(hear_pieces(c, 1, 512, 500000, &chunks), 131072);
	ck_assert_uint_eq(chunks, 3);
	ask(c, NBD_CMD_READ, 2, 65536, 131072, 0);
	ck_assert_uint_eq(hear_pieces(c, 2, 65536, 131072, &chunks), 131072);
	ck_assert_uint_eq(chunks, 1);
	/* Who wants one piece gets it, and so does who knows no pieces. */
	ask(c, NBD_CMD_READ, 3, 0, 300000, NBD_CMD_FLAG_DF);
	ck_assert_uint_eq(hear_pieces(c, 3, 0, 300000, &chunks), 0);
	ck_assert_uint_eq(chunks, 1);
	ask(plain, NBD_CMD_READ, 4, 65536, 131072, 0);
	expect_simple(plain, 4, 0);
	char *zeroes = xalloc(1, 131072);
	hear(plain, zeroes, 131072);
	ck_assert(all_bytes(zeroes, 131072, 0));
	free(zeroes);

	/* More pieces than are told apart, and an error between them. */
	memset(disk->data, 1, DISK_BYTES);
	for (uint64_t i = 0; i < DISK_BYTES; i += 8192)
		memset(disk->data + i, 0, 4096);
	ask(c, NBD_CMD_READ, 5, 0, DISK_BYTES, 0);
	ck_assert_uint_eq(hear_pieces(c, 5, 0, DISK_BYTES, &chunks), 32 * 4096);
	ck_assert_uint_eq(chunks, 64);
	disk->read_error = -EIO;
	ask(c, NBD_CMD_READ, 6, 0, DISK_BYTES, 0);
	expect_error_chunk(c, 6, NBD_EIO, "read failed: Input/output error");
	expect_alive(c);
	socket_stream_free(c);
	socket_stream_free(plain);
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
			put(message, NBD_CMD_READ, 1, 0, 512, 0);
			say(c, message, 20);
			break;
		case 1: /* in a payload, with requests under way */
			ask(c, NBD_CMD_READ, 1, 0, 512, 0);
			put(message, NBD_CMD_WRITE, 2, 0, 4096, 0);
			say(c, message, 3000);
			break;
		case 2: /* in a long payload */
			put(message, NBD_CMD_WRITE, 2, 0, 900000, 0);
			say(c, message, 5000);
			break;
		case 3: /* with many replies on their way */
			for (unsigned i = 0; i < 200; i++)
				ask(c, NBD_CMD_READ, i, 0, 65536, 0);
			break;
		case 4: /* in the payload of a refused write */
			put(message, NBD_CMD_WRITE, 2, DISK_BYTES, 4096, 0);
			say(c, message, 3000);
			break;
		}
		co_sleep_ns(5 * MS);
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
	disk->delay_ns = 30 * MS;
	client *c = client_open(false);
	for (unsigned i = 0; i < 300; i++)
		p = put(p, NBD_CMD_READ, i, i * 512, 512, 0);
	say(c, batch, sizeof(batch));
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
		put(request, NBD_CMD_READ, i, 0, 1 << 20, 0);
		say(lazy, request, sizeof(request));
	}
	co_sleep_ns(50 * MS);
	/* No more is read ahead than the limit of buffered data allows. */
	ck_assert_uint_le(disk->reads, 70);
	ck_assert_uint_ge(disk->reads, 60);
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

SERVER_TEST(a_drain_holds_requests_and_loses_none)
{
	set_up(f);
	client *c = client_open(false);
	struct drain drain;
	drain_begin(f->graph, &node, 1, &drain);
	for (unsigned i = 0; i < 20; i++)
		ask_write(c, i, i * 4096, 4096, i + 1);
	co_sleep_ns(10 * MS);
	ck_assert_uint_eq(disk->writes, 0);
	drain_end(&drain);
	for (unsigned i = 0; i < 20; i++) {
		expect_simple(c, i, 0);
		ck_assert(all_bytes(disk->data + i * 4096, 4096, i + 1));
	}
	socket_stream_free(c);
	tear_down();
}

SERVER_TEST(exports_in_use_are_removed_by_force_only)
{
	struct error *error = NULL;
	set_up(f);
	disk->delay_ns = 50 * MS;
	client *c = client_open(false);
	struct export *e = export_find(registry, "e", NULL);
	ck_assert_int_eq(export_del(registry, e, BLOCK_EXPORT_REMOVE_MODE_SAFE, &error), -EBUSY);
	error_expect(&error, "export 'e' still in use");

	ask(c, NBD_CMD_READ, 1, 0, 512, 0);
	co_sleep_ns(10 * MS);
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

SERVER_TEST(the_server_starts_and_stops_again)
{
	struct error *error = NULL;
	struct nbd_server_config c = config();
	set_up(f);
	ck_assert_int_eq(nbd_server_start(server, &c, &error), -EBUSY);
	error_expect(&error, "NBD server already running");
	disk->delay_ns = 20 * MS;
	client *busy = client_open(false), *new = client_connect();
	ask(busy, NBD_CMD_READ, 1, 0, 512, 0);
	co_sleep_ns(5 * MS);
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

SERVER_TEST(handshakes_have_a_time_limit)
{
	struct nbd_server_config c = config();
	c.handshake_max_s = 1;
	set_up_with(f, c, &disk_driver);
	client *slow = client_connect(), *fast = client_open(false);
	uint64_t begin = loop_now_ns(f->loop);
	char greeting[NBD_GREETING_BYTES];
	hear(slow, greeting, sizeof(greeting));
	say(slow, "\0\0\0\3IHAVE", 9);
	hear_end(slow);
	uint64_t took_ns = loop_now_ns(f->loop) - begin;
	ck_assert_uint_ge(took_ns, 990 * MS);
	ck_assert_uint_lt(took_ns, 3000 * MS);
	expect_alive(fast);
	socket_stream_free(slow);
	socket_stream_free(fast);
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
	set_up_with(f, c, &disk_driver);
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

#define ROW(fn) {#fn, &test_##fn, 0}

static const struct unit_test tests[] = {
	ROW(reads_and_writes_of_many_lengths),
	ROW(payloads_are_aligned_for_nodes_that_need_it),
	ROW(a_session_byte_by_byte),
	ROW(each_command_does_what_it_says),
	ROW(fua_and_writethrough_are_durable),
	ROW(failures_below_reach_the_client),
	ROW(refused_requests_leave_the_connection_whole),
	ROW(read_only_exports_are_not_written),
	ROW(block_status_tells_holes),
	ROW(block_status_of_many_pieces_is_cut),
	ROW(long_reads_leave_out_holes),
	ROW(garbage_ends_the_connection),
	ROW(vanished_clients_leave_nothing_behind),
	ROW(a_client_that_says_no_more_gets_its_answers),
	ROW(requests_in_flight_are_limited),
	ROW(a_client_that_does_not_read_harms_nobody),
	ROW(a_drain_holds_requests_and_loses_none),
	ROW(exports_in_use_are_removed_by_force_only),
	ROW(unused_exports_go_at_once),
	ROW(bad_exports_are_refused),
	ROW(the_server_starts_and_stops_again),
	ROW(handshakes_have_a_time_limit),
	ROW(too_many_connections_wait),
	ROW(new_connections_see_the_new_size),
	ROW(exports_are_listed_newest_first),
};

UNIT_MAIN("nbd_server", tests)
