/* SPDX-License-Identifier: MIT */
/*
 * Compressed grains. Node's loop; the codec runs on a worker thread.
 *
 * A grain is a marker, which says which part of the disk it is, and deflate data in zlib's
 * envelope. It is written once, and never changes.
 */
#include <errno.h>
#include <zlib.h>

#include "drivers/vmdk/state.h"

struct codec {
	const uint8_t *in;
	size_t bytes_in;
	uint8_t *out;
	size_t bytes_out; /* room, and then how much of it is used */
};

static int inflate_grain(void *arg)
{
	struct codec *c = arg;
	z_stream s = {
		.next_in = (Bytef *)c->in,
		.avail_in = (uInt)c->bytes_in,
		.next_out = c->out,
		.avail_out = (uInt)c->bytes_out,
	};

	if (inflateInit(&s) != Z_OK)
		return -ENOMEM;
	int r = inflate(&s, Z_FINISH);

	c->bytes_out -= s.avail_out;
	inflateEnd(&s);
	return r == Z_STREAM_END ? 0 : -EIO;
}

static int deflate_grain(void *arg)
{
	struct codec *c = arg;
	uLongf bytes = c->bytes_out;

	if (compress2(c->out, &bytes, c->in, c->bytes_in, Z_DEFAULT_COMPRESSION) != Z_OK)
		return -EIO;
	c->bytes_out = bytes;
	return 0;
}

/* More than a grain takes when it is compressed, with its marker. */
static size_t room_for_grain(const struct vmdk_extent *x)
{
	return align_up(VMDK_MARKER_DATA + compressBound(x->grain_bytes), VMDK_SECTOR_BYTES);
}

/* --- Reading ---------------------------------------------------------------------- */

/* Read the grain as it is in the file. Sets where its data is in @buffer. */
static int co_fn read_packed(struct vmdk_extent *x, uint64_t host, uint64_t grain, uint8_t *buffer,
			     struct codec *c)
{
	uint64_t size = vmdk_file_size(x), room = room_for_grain(x);

	if (host < VMDK_SECTOR_BYTES || host + VMDK_MARKER_DATA >= size)
		return -EIO;
	uint64_t bytes = MIN(room, size - host);

	if (x->has_markers) {
		int r = edge_read(x->file, host, VMDK_MARKER_DATA, buffer, 0);

		if (r < 0)
			return r;
		uint64_t packed = load_le32(buffer + VMDK_MARKER_BYTES);
		uint64_t sector = load_le64(buffer + VMDK_MARKER_SECTOR);
		uint64_t wanted = grain * x->header.grain;

		/* Sectors of the disk, or of the extent. */
		if (packed == 0 || packed > bytes - VMDK_MARKER_DATA ||
		    (sector != wanted && sector != wanted + x->start / VMDK_SECTOR_BYTES))
			return -EIO;
		host += VMDK_MARKER_DATA;
		bytes = packed;
	}
	c->in = buffer;
	c->bytes_in = bytes;
	return edge_read(x->file, host, bytes, buffer, 0);
}

/* With decode_lock held: have the grain in x->decoded. */
static int co_fn decode(struct vmdk_extent *x, uint64_t host, uint64_t grain)
{
	size_t room = room_for_grain(x);

	if (x->decoded_host == host)
		return 0;
	x->decoded_host = 0;
	if (!x->decoded)
		x->decoded = malloc(x->grain_bytes);
	uint8_t *buffer = buffer_get(x->node->loop, room);
	struct codec c = {.out = x->decoded, .bytes_out = x->grain_bytes};
	int r = x->decoded && buffer ? read_packed(x, host, grain, buffer, &c) : -ENOMEM;

	if (r == 0)
		r = co_blocking(inflate_grain, &c);
	/* The last one may have been packed without what lies beyond the disk. */
	uint64_t needed = MIN(x->grain_bytes, x->bytes - grain * x->grain_bytes);

	if (r == 0 && c.bytes_out < needed)
		r = -EIO;
	if (r == 0)
		x->decoded_host = host;
	if (buffer)
		buffer_put(x->node->loop, buffer, room);
	return r;
}

int co_fn vmdk_read_compressed(struct vmdk_extent *x, uint64_t offset, const struct vmdk_run *run,
			       struct vec v)
{
	uint64_t within = offset & (x->grain_bytes - 1);

	co_mutex_lock(&x->decode_lock);
	int r = decode(x, run->host, offset / x->grain_bytes);

	if (r == 0)
		vec_from_buffer(v, x->decoded + within, run->bytes);
	co_mutex_unlock(&x->decode_lock);
	return r;
}

/* --- Writing ---------------------------------------------------------------------- */

/* With x->lock held: give the packed grain a place, and write it there. */
static int co_fn write_packed(struct vmdk_extent *x, uint64_t grain, const uint8_t *packed,
			      uint64_t bytes)
{
	uint64_t number = grain / x->header.table_entries, host;
	uint32_t index = grain % x->header.table_entries;
	struct vmdk_table *t;
	int r = x->directory[number] == 0 ? -EIO : vmdk_table_get_locked(x, number, &t);

	/* It could only be written elsewhere, and a stream has each grain once. */
	if (r == 0 && t->entries[index] != 0)
		r = -EIO;
	if (r == 0)
		r = vmdk_allocate(x, bytes, VMDK_SECTOR_BYTES, &host);
	if (r == 0)
		r = edge_write(x->file, host, bytes, packed, 0);
	if (r == 0)
		r = vmdk_table_get_locked(x, number, &t);
	if (r == 0)
		vmdk_table_set(x, t, index, host / VMDK_SECTOR_BYTES);
	return r;
}

int co_fn vmdk_write_compressed(struct vmdk_extent *x, uint64_t offset, uint64_t bytes,
				struct vec v)
{
	size_t room = room_for_grain(x);
	uint8_t *plain = buffer_get(x->node->loop, x->grain_bytes);
	uint8_t *packed = buffer_get(x->node->loop, room);
	uint64_t grain = offset / x->grain_bytes;
	int r = plain && packed ? 0 : -ENOMEM;

	if (r == 0) {
		struct codec c = {plain, x->grain_bytes, packed + VMDK_MARKER_DATA,
				  room - VMDK_MARKER_DATA};

		vec_to_buffer(v, plain, bytes);
		memset(plain + bytes, 0, x->grain_bytes - bytes);
		r = co_blocking(deflate_grain, &c);
		if (r == 0) {
			uint64_t used = VMDK_MARKER_DATA + c.bytes_out;
			uint64_t whole = align_up(used, VMDK_SECTOR_BYTES);

			store_le64(packed + VMDK_MARKER_SECTOR, grain * x->header.grain);
			store_le32(packed + VMDK_MARKER_BYTES, (uint32_t)c.bytes_out);
			memset(packed + used, 0, whole - used);
			co_mutex_lock(&x->lock);
			r = write_packed(x, grain, packed, whole);
			co_mutex_unlock(&x->lock);
		}
	}
	if (plain)
		buffer_put(x->node->loop, plain, x->grain_bytes);
	if (packed)
		buffer_put(x->node->loop, packed, room);
	return r;
}
