/* SPDX-License-Identifier: MIT */
/*
 * A running NBD server with a disk in memory, and clients on the same loop that
 * say what they are told and insist on the answers. For the tests of
 * protocol/nbd.
 */
#ifndef TESTS_UNIT_NBD_FIXTURE_H
#define TESTS_UNIT_NBD_FIXTURE_H

#include "protocol/nbd/server.h"
#include "protocol/nbd/wire.h"
#include "tests/unit/block_fixture.h"

#define DISK_BYTES (1u << 20)
#define MS UINT64_C(1000000)

/* A test that is the body of a coroutine on a fresh fixture in real time, and its row. */
#define SERVER_TEST(fn)                                                                            \
	static void co_fn fn(struct fixture *f);                                                   \
	START_TEST(test_##fn)                                                                      \
	{                                                                                          \
		fixture_run_real(fn);                                                              \
	}                                                                                          \
	END_TEST                                                                                   \
	static void co_fn fn(struct fixture *f)
#define SERVER_ROW(fn) {#fn, &test_##fn, 0}

/* What set_up() makes. */
extern struct export_registry *registry;
extern struct nbd_server *server;
extern struct disk *disk;
extern struct node *node;
/* What the registry has told of removed exports. */
extern unsigned deletions;
extern char last_deleted[64];

/* The configuration that set_up() uses. */
struct nbd_server_config config(void);
/* A server that exports the disk, writable, by the ID "e" and the name "disk". */
void co_fn set_up(struct fixture *f);
void co_fn set_up_with(struct fixture *f, struct nbd_server_config c);
/* Stop the server, if it runs, and free everything; its socket must be gone. */
void co_fn tear_down(void);
/* Export the disk once more. */
int co_fn add_export(const char *id, const char *name, bool writable, struct error **errp);
/* What the disk holds at first. */
uint8_t disk_byte(uint64_t offset);

/* A client is a stream; free it with socket_stream_free(). All calls insist on success. */
typedef struct socket_stream client;

client *co_fn client_connect(void);
/* Negotiate; structured replies come with base:allocation. */
void co_fn client_choose(client *c, const char *name, bool structured);
/* Both, for "disk". */
client *co_fn client_open(bool structured);

void co_fn say(client *c, const void *p, size_t bytes);
void co_fn hear(client *c, void *p, size_t bytes);
/* The server closes the connection and says nothing more. */
void co_fn hear_end(client *c);

/* Write a request's header to @p; returns its end. */
uint8_t *put_request(uint8_t *p, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
		     uint16_t flags);
void co_fn ask(client *c, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length,
	       uint16_t flags);
/* A write of @length times @byte. */
void co_fn ask_write(client *c, uint64_t cookie, uint64_t offset, uint32_t length, int byte);

void co_fn expect_simple(client *c, uint64_t cookie, uint32_t error);
/* The header of a chunk of this type. */
struct nbd_chunk co_fn expect_chunk(client *c, uint64_t cookie, uint16_t type);
void co_fn expect_error_chunk(client *c, uint64_t cookie, uint32_t error, const char *message);
/* Data that set_up() has put there. */
void co_fn expect_disk_bytes(client *c, uint64_t offset, uint32_t length);
/* The connection still works. */
void co_fn expect_alive(client *c);
/* Turns of the loop, however long they take: what has been sent arrives, and gets as far as it can. */
void co_fn let_arrive(void);

#endif
