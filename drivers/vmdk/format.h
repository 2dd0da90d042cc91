/* SPDX-License-Identifier: MIT */
/*
 * What is in the files, by the specification "Virtual Disk Format 5.0". Numbers are
 * little-endian, and places count in sectors.
 */
#ifndef DRIVERS_VMDK_FORMAT_H
#define DRIVERS_VMDK_FORMAT_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define VMDK_SECTOR_BYTES UINT64_C(512)

/* Magic numbers: "KDMV" of hosted sparse extents and "COWD" of those of ESX servers. */
#define VMDK_MAGIC UINT32_C(0x564d444b)
#define VMDK_COWD_MAGIC UINT32_C(0x44574f43)

/* Offsets in the header of a hosted sparse extent, which fills a sector. */
enum {
	VMDK_HEADER_MAGIC = 0,
	VMDK_HEADER_VERSION = 4,
	VMDK_HEADER_FLAGS = 8,
	VMDK_HEADER_CAPACITY = 12,
	VMDK_HEADER_GRAIN = 20,
	VMDK_HEADER_DESCRIPTOR = 28,
	VMDK_HEADER_DESCRIPTOR_SIZE = 36,
	VMDK_HEADER_TABLE_ENTRIES = 44,
	VMDK_HEADER_REDUNDANT = 48,
	VMDK_HEADER_DIRECTORY = 56,
	VMDK_HEADER_OVERHEAD = 64,
	VMDK_HEADER_UNCLEAN = 72,
	VMDK_HEADER_NEWLINES = 73,
	VMDK_HEADER_COMPRESSION = 77,
};

#define VMDK_VERSION_MAX 3
#define VMDK_NEWLINES "\n \r\n" /* what a transfer as text would have damaged */

enum {
	VMDK_FLAG_NEWLINES = 1 << 0,
	VMDK_FLAG_REDUNDANT = 1 << 1,   /* there is a second directory with tables of its own */
	VMDK_FLAG_ZERO_GRAIN = 1 << 2,  /* a table entry of 1 reads as zeroes */
	VMDK_FLAG_COMPRESSED = 1 << 16,
	VMDK_FLAG_MARKERS = 1 << 17,    /* what is not a table has a marker in front */
};

#define VMDK_COMPRESSION_DEFLATE 1
/* The directory's place is in a copy of the header at the end of the file. */
#define VMDK_DIRECTORY_AT_END UINT64_MAX
#define VMDK_ENTRY_ZERO 1 /* of a grain table */
#define VMDK_ENTRY_BYTES 4
#define VMDK_TABLE_ENTRIES_MAX 512
#define VMDK_GRAIN_SECTORS_MAX (UINT64_C(1) << 21)

/* A marker: a sector number, the bytes of data behind it, and for none of them a type. */
enum { VMDK_MARKER_SECTOR = 0, VMDK_MARKER_BYTES = 8, VMDK_MARKER_DATA = 12, VMDK_MARKER_TYPE = 12 };
enum { VMDK_MARKER_END_OF_STREAM = 0, VMDK_MARKER_FOOTER = 3 };

/* Offsets in the header of an extent of an ESX server. */
enum {
	VMDK_COWD_VERSION = 4,
	VMDK_COWD_FLAGS = 8,
	VMDK_COWD_CAPACITY = 12,
	VMDK_COWD_GRAIN = 16,
	VMDK_COWD_DIRECTORY = 20,
	VMDK_COWD_DIRECTORY_ENTRIES = 24,
	VMDK_COWD_FREE = 28,
};
#define VMDK_COWD_TABLE_ENTRIES 4096

static inline uint16_t load_le16(const void *p)
{
	uint16_t n;

	memcpy(&n, p, sizeof(n));
	return le16toh(n);
}

static inline uint32_t load_le32(const void *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return le32toh(n);
}

static inline uint64_t load_le64(const void *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return le64toh(n);
}

static inline void store_le16(void *p, uint16_t n)
{
	n = htole16(n);
	memcpy(p, &n, sizeof(n));
}

static inline void store_le32(void *p, uint32_t n)
{
	n = htole32(n);
	memcpy(p, &n, sizeof(n));
}

static inline void store_le64(void *p, uint64_t n)
{
	n = htole64(n);
	memcpy(p, &n, sizeof(n));
}

#endif
