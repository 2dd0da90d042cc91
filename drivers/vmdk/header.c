/* SPDX-License-Identifier: MIT */
/*
 * Headers of sparse extents: decoding, checking, encoding.
 *
 * After vmdk_header_check(), sums and products of what is in a header fit into 63 bits, and the
 * directory lies inside the file.
 */
#include "drivers/vmdk/header.h"

#include <errno.h>
#include <inttypes.h>

#include "drivers/vmdk/format.h"

/* Entries of a grain directory: 128 MiB of it, enough for the largest disks with small grains. */
#define DIRECTORY_ENTRIES_MAX (UINT64_C(1) << 25)
/* A compressed grain is in memory as a whole: 16 MiB. */
#define PACKED_GRAIN_SECTORS_MAX (UINT64_C(1) << 15)

static void decode_hosted(const uint8_t *data, struct vmdk_header *h)
{
	*h = (struct vmdk_header){
		.version = load_le32(data + VMDK_HEADER_VERSION),
		.flags = load_le32(data + VMDK_HEADER_FLAGS),
		.capacity = load_le64(data + VMDK_HEADER_CAPACITY),
		.grain = load_le64(data + VMDK_HEADER_GRAIN),
		.descriptor = load_le64(data + VMDK_HEADER_DESCRIPTOR),
		.descriptor_size = load_le64(data + VMDK_HEADER_DESCRIPTOR_SIZE),
		.table_entries = load_le32(data + VMDK_HEADER_TABLE_ENTRIES),
		.redundant = load_le64(data + VMDK_HEADER_REDUNDANT),
		.directory = load_le64(data + VMDK_HEADER_DIRECTORY),
		.overhead = load_le64(data + VMDK_HEADER_OVERHEAD),
		.compression = load_le16(data + VMDK_HEADER_COMPRESSION),
	};
	if (!(h->flags & VMDK_FLAG_REDUNDANT))
		h->redundant = 0;
}

static void decode_cowd(const uint8_t *data, struct vmdk_header *h)
{
	*h = (struct vmdk_header){
		.is_cowd = true,
		.version = load_le32(data + VMDK_COWD_VERSION),
		.flags = 0,
		.capacity = load_le32(data + VMDK_COWD_CAPACITY),
		.grain = load_le32(data + VMDK_COWD_GRAIN),
		.table_entries = VMDK_COWD_TABLE_ENTRIES,
		.directory = load_le32(data + VMDK_COWD_DIRECTORY),
		.directory_entries = load_le32(data + VMDK_COWD_DIRECTORY_ENTRIES),
	};
}

int vmdk_header_decode(const uint8_t *data, struct vmdk_header *ret, struct error **errp)
{
	uint32_t magic = load_le32(data + VMDK_HEADER_MAGIC);

	if (magic == VMDK_MAGIC)
		decode_hosted(data, ret);
	else if (magic == VMDK_COWD_MAGIC)
		decode_cowd(data, ret);
	else
		return error_set(errp, -EINVAL, "Image not in VMDK format");
	return 0;
}

static int check_version(const struct vmdk_header *h, struct error **errp)
{
	if (h->version > VMDK_VERSION_MAX)
		return error_set(errp, -ENOTSUP, "Unsupported VMDK version %" PRIu32, h->version);
	if (h->compression > VMDK_COMPRESSION_DEFLATE)
		return error_set(errp, -ENOTSUP, "Unsupported compression method %u",
				 (unsigned)h->compression);
	return 0;
}

static int check_grains(const struct vmdk_header *h, struct error **errp)
{
	uint32_t entries_max = h->is_cowd ? VMDK_COWD_TABLE_ENTRIES : VMDK_TABLE_ENTRIES_MAX;

	if (h->table_entries > entries_max)
		return error_set(errp, -EINVAL, "L2 table size too big");
	if (h->table_entries == 0 || h->grain == 0)
		return error_set(errp, -EINVAL, "L1 entry size is invalid");
	bool is_compressed = h->flags & VMDK_FLAG_COMPRESSED;
	uint64_t grain_max = is_compressed ? PACKED_GRAIN_SECTORS_MAX : VMDK_GRAIN_SECTORS_MAX;

	if (h->grain > grain_max || !is_power_of_2(h->grain))
		return error_set(errp, -EINVAL, "Invalid granularity, image may be corrupt");
	if (h->capacity > INT64_MAX / VMDK_SECTOR_BYTES)
		return error_set(errp, -EFBIG, "The image size is too large");
	return 0;
}

static int check_directory(struct vmdk_header *h, uint64_t file_bytes, struct error **errp)
{
	uint64_t span = h->table_entries * h->grain;
	uint64_t needed = div_round_up(h->capacity, span);

	if (!h->is_cowd)
		h->directory_entries = needed;
	else if (h->directory_entries < needed)
		return error_set(errp, -EINVAL, "L1 size too small");
	if (h->directory_entries > DIRECTORY_ENTRIES_MAX)
		return error_set(errp, -EFBIG, "L1 size too big");
	uint64_t bytes = h->directory_entries * VMDK_ENTRY_BYTES;
	uint64_t offset, end;

	if (mul_overflows(h->directory, VMDK_SECTOR_BYTES, &offset) ||
	    add_overflows(offset, bytes, &end) || end > file_bytes)
		return error_set(errp, -EINVAL,
				 "The grain directory lies beyond the end of the file");
	return 0;
}

int vmdk_header_check(struct vmdk_header *h, uint64_t file_bytes, struct error **errp)
{
	int r = check_version(h, errp);

	if (r == 0)
		r = check_grains(h, errp);
	if (r < 0)
		return r;
	if (h->overhead > INT64_MAX / VMDK_SECTOR_BYTES ||
	    file_bytes < h->overhead * VMDK_SECTOR_BYTES)
		return error_set(errp, -EINVAL,
				 "File truncated, expecting at least %" PRIu64 " bytes",
				 h->overhead * VMDK_SECTOR_BYTES);
	return check_directory(h, file_bytes, errp);
}

void vmdk_header_encode(const struct vmdk_header *h, uint8_t *ret)
{
	memset(ret, 0, VMDK_HEADER_BYTES);
	store_le32(ret + VMDK_HEADER_MAGIC, VMDK_MAGIC);
	store_le32(ret + VMDK_HEADER_VERSION, h->version);
	store_le32(ret + VMDK_HEADER_FLAGS, h->flags);
	store_le64(ret + VMDK_HEADER_CAPACITY, h->capacity);
	store_le64(ret + VMDK_HEADER_GRAIN, h->grain);
	store_le64(ret + VMDK_HEADER_DESCRIPTOR, h->descriptor);
	store_le64(ret + VMDK_HEADER_DESCRIPTOR_SIZE, h->descriptor_size);
	store_le32(ret + VMDK_HEADER_TABLE_ENTRIES, h->table_entries);
	store_le64(ret + VMDK_HEADER_REDUNDANT, h->redundant);
	store_le64(ret + VMDK_HEADER_DIRECTORY, h->directory);
	store_le64(ret + VMDK_HEADER_OVERHEAD, h->overhead);
	memcpy(ret + VMDK_HEADER_NEWLINES, VMDK_NEWLINES, strlen(VMDK_NEWLINES));
	store_le16(ret + VMDK_HEADER_COMPRESSION, h->compression);
}
