/* SPDX-License-Identifier: MIT */
/*
 * The server, its disk and its clients; see nbd_fixture.h. One loop's thread.
 */
#include "tests/unit/nbd_fixture.h"

#include <stdio.h>
#include <unistd.h>

struct export_registry *registry;
struct nbd_server *server;
struct disk *disk;
struct node *node;
unsigned deletions;
char last_deleted[64];

static struct fixture *fixture;
static char path[64];

static void on_deleted(void *arg, const char *id)
{
	deletions++;
	snprintf(last_deleted, sizeof(last_deleted), "%s", id);
}

static const struct export_observer observer = {.deleted = on_deleted};

struct nbd_server_config config(void)
{
	return (struct nbd_server_config){
		.address = {.family = SOCKET_UNIX, .path = path},
		.handshake_max_s = 10,
		.max_connections = 100,
	};
}

int co_fn add_export(const char *id, const char *name, bool writable, struct error **errp)
{
	return export_add(registry, &(struct block_export_options){
		.type = BLOCK_EXPORT_TYPE_NBD,
		.id = (char *)id,
		.node_name = node->name,
		.writable = writable,
		.u.nbd = {.name = (char *)name, .description = "for the test"},
	}, errp);
}

uint8_t disk_byte(uint64_t offset)
{
	return (offset >> 9) * 7 + offset;
}

void co_fn set_up_with(struct fixture *f, struct nbd_server_config c)
{
	fixture = f;
	snprintf(path, sizeof(path), "/tmp/cairn-test-nbd-%d.sock", getpid());
	registry = export_registry_create(f->graph);
	export_registry_set_observer(registry, &observer, NULL);
	server = nbd_server_create(f->loop, f->graph, registry);
	disk = disk_new(f, "disk", DISK_BYTES);
	for (uint64_t i = 0; i < DISK_BYTES; i++)
		disk->data[i] = disk_byte(i);
	node = disk_open(f, disk, &disk_driver);
	ck_assert_int_eq(nbd_server_start(server, &c, NULL), 0);
	ck_assert_int_eq(add_export("e", "disk", true, NULL), 0);
}

void co_fn set_up(struct fixture *f)
{
	set_up_with(f, config());
}

void co_fn tear_down(void)
{
	if (nbd_server_is_running(server))
		ck_assert_int_eq(nbd_server_stop(server, NULL), 0);
	nbd_server_free(server);
	export_registry_free(registry);
	node_unref(node);
	ck_assert_int_ne(access(path, F_OK), 0);
}

client *co_fn client_connect(void)
{
	struct socket_endpoint address = {.family = SOCKET_UNIX, .path = path};
	int fd;
	ck_assert_int_eq(socket_connect(fixture->loop, &address, &fd, NULL), 0);
	return socket_stream_new(fixture->loop, fd);
}

void co_fn say(client *c, const void *p, size_t bytes)
{
	struct iovec iov = {(void *)p, bytes};
	ck_assert_int_eq(socket_writev(c, &iov, 1), 0);
}

void co_fn hear(client *c, void *p, size_t bytes)
{
	while (bytes > 0) {
		int64_t n = socket_read(c, p, bytes);
		ck_assert_int_gt(n, 0);
		p = (char *)p + n;
		bytes -= n;
	}
}

void co_fn hear_end(client *c)
{
	char byte;
	int64_t n = socket_read(c, &byte, 1);
	ck_assert_msg(n == 0 || n == -ECONNRESET, "%d", (int)n);
}

void co_fn client_choose(client *c, const char *name, bool structured)
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

client *co_fn client_open(bool structured)
{
	client *c = client_connect();
	client_choose(c, "disk", structured);
	return c;
}

uint8_t *put_request(uint8_t *p, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
		     uint16_t flags)
{
	return nbd_put_request(p, &(struct nbd_request){flags, type, cookie, offset, length});
}

void co_fn ask(client *c, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
		      uint16_t flags)
{
	uint8_t header[NBD_REQUEST_BYTES];
	put_request(header, type, cookie, offset, length, flags);
	say(c, header, sizeof(header));
}

void co_fn ask_write(client *c, uint64_t cookie, uint64_t offset, uint32_t length, int byte)
{
	uint8_t *message = xalloc(1, NBD_REQUEST_BYTES + length);
	memset(put_request(message, NBD_CMD_WRITE, cookie, offset, length, 0), byte, length);
	say(c, message, NBD_REQUEST_BYTES + length);
	free(message);
}

void co_fn expect_simple(client *c, uint64_t cookie, uint32_t error)
{
	uint8_t header[NBD_SIMPLE_REPLY_BYTES];
	struct nbd_simple_reply reply;
	hear(c, header, sizeof(header));
	ck_assert_int_eq(nbd_get_simple_reply(header, &reply), 0);
	ck_assert_uint_eq(reply.cookie, cookie);
	ck_assert_uint_eq(reply.error, error);
}

struct nbd_chunk co_fn expect_chunk(client *c, uint64_t cookie, uint16_t type)
{
	uint8_t header[NBD_CHUNK_BYTES];
	struct nbd_chunk chunk;
	hear(c, header, sizeof(header));
	ck_assert_int_eq(nbd_get_chunk(header, &chunk), 0);
	ck_assert_uint_eq(chunk.cookie, cookie);
	ck_assert_uint_eq(chunk.type, type);
	return chunk;
}

void co_fn expect_error_chunk(client *c, uint64_t cookie, uint32_t error,
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

void co_fn expect_disk_bytes(client *c, uint64_t offset, uint32_t length)
{
	uint8_t *data = xalloc(1, length);
	hear(c, data, length);
	uint32_t same = 0; /* an assertion for each byte would take minutes */
	while (same < length && data[same] == disk_byte(offset + same))
		same++;
	ck_assert_uint_eq(same, length);
	free(data);
}

void co_fn expect_alive(client *c)
{
	ask(c, NBD_CMD_FLUSH, 4711, 0, 0, 0);
	expect_simple(c, 4711, 0);
}

void co_fn let_arrive(void)
{
	for (unsigned i = 0; i < 10; i++)
		co_sleep_ns(MS);
}
