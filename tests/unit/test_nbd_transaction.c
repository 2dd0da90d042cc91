/* SPDX-License-Identifier: MIT */
/*
 * protocol/nbd/transaction.c, read.c, reply.c, status.c: what each command does
 * and answers.
 */
#include "tests/unit/nbd_fixture.h"

#include "block/drain.h"

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
	memset(put_request(message, NBD_CMD_WRITE, 1, 0, 512, NBD_CMD_FLAG_FUA), 9, 512);
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

SERVER_TEST(a_drain_holds_requests_and_loses_none)
{
	set_up(f);
	client *c = client_open(false);
	struct drain drain;
	drain_begin(f->graph, &node, 1, &drain);
	for (unsigned i = 0; i < 20; i++)
		ask_write(c, i, i * 4096, 4096, i + 1);
	let_arrive();
	ck_assert_uint_eq(disk->writes, 0);
	drain_end(&drain);
	for (unsigned i = 0; i < 20; i++) {
		expect_simple(c, i, 0);
		ck_assert(all_bytes(disk->data + i * 4096, 4096, i + 1));
	}
	socket_stream_free(c);
	tear_down();
}

/* As when another client of the cluster resizes an image: what is beyond has no status. */
SERVER_TEST(a_node_that_becomes_shorter_ends_requests)
{
	set_up(f);
	disk->holes = true;
	client *c = client_open(true);
	struct drain drain;
	drain_begin(f->graph, &node, 1, &drain);
	ask(c, NBD_CMD_BLOCK_STATUS, 1, 0, DISK_BYTES, 0);
	let_arrive();
	node_set_size(node, DISK_BYTES / 2);
	drain_end(&drain);
	expect_error_chunk(c, 1, NBD_EIO, "block status failed: Input/output error");
	node_set_size(node, DISK_BYTES);
	drain_begin(f->graph, &node, 1, &drain);
	ask(c, NBD_CMD_READ, 2, 0, DISK_BYTES, 0);
	let_arrive();
	node_set_size(node, DISK_BYTES / 2);
	drain_end(&drain);
	expect_error_chunk(c, 2, NBD_EIO, "read failed: Input/output error");
	node_set_size(node, DISK_BYTES);
	expect_alive(c);
	socket_stream_free(c);
	tear_down();
}

static const struct unit_test tests[] = {
	SERVER_ROW(reads_and_writes_of_many_lengths),
	SERVER_ROW(each_command_does_what_it_says),
	SERVER_ROW(fua_and_writethrough_are_durable),
	SERVER_ROW(failures_below_reach_the_client),
	SERVER_ROW(read_only_exports_are_not_written),
	SERVER_ROW(block_status_tells_holes),
	SERVER_ROW(block_status_of_many_pieces_is_cut),
	SERVER_ROW(long_reads_leave_out_holes),
	SERVER_ROW(a_drain_holds_requests_and_loses_none),
	SERVER_ROW(a_node_that_becomes_shorter_ends_requests),
};

UNIT_MAIN("nbd_transaction", tests)
