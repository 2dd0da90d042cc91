/* SPDX-License-Identifier: MIT */
/*
 * The qcow2 format on disk: numbers and positions, and nothing else.
 *
 * All numbers are big-endian. Positions are bytes from the start of the
 * structure that their names mention.
 */
#ifndef DRIVERS_QCOW2_FORMAT_H
#define DRIVERS_QCOW2_FORMAT_H

#include <endian.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"

#define QCOW2_MAGIC UINT32_C(0x514649fb)

enum qcow2_header_position {
	HEADER_MAGIC = 0,
	HEADER_VERSION = 4,
	HEADER_BACKING_OFFSET = 8,
	HEADER_BACKING_BYTES = 16,
	HEADER_CLUSTER_BITS = 20,
	HEADER_SIZE = 24,
	HEADER_CRYPT_METHOD = 32,
	HEADER_L1_ENTRIES = 36,
	HEADER_L1_OFFSET = 40,
	HEADER_REFTABLE_OFFSET = 48,
	HEADER_REFTABLE_CLUSTERS = 56,
	HEADER_SNAPSHOT_COUNT = 60,
	HEADER_SNAPSHOTS_OFFSET = 64,
	HEADER_BYTES_V2 = 72,
	HEADER_INCOMPATIBLE = 72,
	HEADER_COMPATIBLE = 80,
	HEADER_AUTOCLEAR = 88,
	HEADER_REFCOUNT_ORDER = 96,
	HEADER_LENGTH = 100,
	HEADER_BYTES_V3_MIN = 104,
	HEADER_COMPRESSION_TYPE = 104,
	HEADER_BYTES_V3 = 112, /* what we write */
};

enum qcow2_incompatible {
	INCOMPATIBLE_DIRTY = 1 << 0,       /* refcounts may be wrong */
	INCOMPATIBLE_CORRUPT = 1 << 1,     /* anything may be wrong: do not write */
	INCOMPATIBLE_DATA_FILE = 1 << 2,   /* guest data lies in another file */
	INCOMPATIBLE_COMPRESSION = 1 << 3, /* compression_type is not zlib */
	INCOMPATIBLE_EXTENDED_L2 = 1 << 4, /* 16-byte L2 entries with subclusters */
	/* What this driver can open. */
	INCOMPATIBLE_KNOWN = INCOMPATIBLE_DIRTY | INCOMPATIBLE_CORRUPT | INCOMPATIBLE_COMPRESSION |
			     INCOMPATIBLE_EXTENDED_L2,
};

enum qcow2_compatible {
	COMPATIBLE_LAZY_REFCOUNTS = 1 << 0,
};

enum qcow2_autoclear {
	AUTOCLEAR_BITMAPS = 1 << 0, /* the bitmaps extension is up to date */
	AUTOCLEAR_RAW_DATA = 1 << 1,
	/* What this driver keeps true while it writes. */
	AUTOCLEAR_KEPT = AUTOCLEAR_BITMAPS,
};

enum qcow2_crypt { CRYPT_NONE, CRYPT_AES, CRYPT_LUKS };
enum qcow2_compression { COMPRESSION_ZLIB, COMPRESSION_ZSTD };

enum qcow2_extension_type {
	EXTENSION_END = 0,
	EXTENSION_BACKING_FORMAT = 0xe2792aca,
	EXTENSION_FEATURE_NAMES = 0x6803f857,
	EXTENSION_BITMAPS = 0x23852875,
	EXTENSION_CRYPTO = 0x0537be77,
	EXTENSION_DATA_FILE = 0x44415441,
};

/* One entry of the feature name table: type, bit, name padded with zeroes. */
#define FEATURE_ENTRY_BYTES 48
#define FEATURE_NAME_BYTES 46

#define CLUSTER_BITS_MIN 9
#define CLUSTER_BITS_MAX 21
#define EXTENDED_L2_CLUSTER_BITS_MIN 14
#define SUBCLUSTERS 32
#define REFCOUNT_ORDER_MAX 6
#define REFCOUNT_ORDER_V2 4

/* Limits on what we load into memory, or believe. */
#define BACKING_NAME_MAX 1023
#define BACKING_FORMAT_MAX 15
#define L1_BYTES_MAX (32 * MiB)
#define REFTABLE_BYTES_MAX (8 * MiB)
#define SNAPSHOTS_MAX 65536
#define SNAPSHOT_EXTRA_MAX 1024
#define SNAPSHOT_TABLE_BYTES_MAX (64 * MiB)
#define BITMAPS_MAX 65535
#define BITMAP_DIRECTORY_BYTES_MAX (64 * MiB)
#define BITMAP_TABLE_ENTRIES_MAX (L1_BYTES_MAX / sizeof(uint64_t))
#define BITMAP_BYTES_MAX (512 * MiB)

/* L1 and L2 entries. */
#define ENTRY_COPIED (UINT64_C(1) << 63)     /* the refcount is exactly one */
#define ENTRY_COMPRESSED (UINT64_C(1) << 62) /* L2 only */
#define ENTRY_ZERO UINT64_C(1)               /* L2 only; not with extended L2 */
#define ENTRY_OFFSET UINT64_C(0x00fffffffffffe00)
/* First host offset that an entry cannot express. */
#define ENTRY_OFFSET_LIMIT (UINT64_C(1) << 56)

/* Refcount table entries. */
#define REFTABLE_OFFSET UINT64_C(0xfffffffffffffe00)
#define REFTABLE_RESERVED UINT64_C(0x1ff)

/* Snapshot table entries. */
enum qcow2_snapshot_position {
	SNAPSHOT_L1_OFFSET = 0,
	SNAPSHOT_L1_ENTRIES = 8,
	SNAPSHOT_ID_BYTES = 12,
	SNAPSHOT_NAME_BYTES = 14,
	SNAPSHOT_DATE_S = 16,
	SNAPSHOT_DATE_NS = 20,
	SNAPSHOT_CLOCK_NS = 24,
	SNAPSHOT_STATE_BYTES_32 = 32,
	SNAPSHOT_EXTRA_BYTES = 36,
	SNAPSHOT_FIXED_BYTES = 40,
	/* The extra data, which begins there. */
	SNAPSHOT_STATE_BYTES = 0,
	SNAPSHOT_DISK_BYTES = 8,
	SNAPSHOT_ICOUNT = 16,
	SNAPSHOT_EXTRA_KNOWN = 24,
};

/* The bitmaps extension. */
enum qcow2_bitmaps_extension_position {
	BITMAPS_COUNT = 0,
	BITMAPS_RESERVED = 4, /* 0 */
	BITMAPS_DIRECTORY_BYTES = 8,
	BITMAPS_DIRECTORY_OFFSET = 16,
	BITMAPS_EXTENSION_BYTES = 24,
};

/* Entries of the bitmap directory: extra data and the name follow the fixed part. */
enum qcow2_bitmap_position {
	BITMAP_TABLE_OFFSET = 0,
	BITMAP_TABLE_ENTRIES = 8,
	BITMAP_FLAGS = 12,
	BITMAP_TYPE = 16,
	BITMAP_GRANULARITY_BITS = 17,
	BITMAP_NAME_BYTES = 18,
	BITMAP_EXTRA_BYTES = 20,
	BITMAP_FIXED_BYTES = 24,
};

enum qcow2_bitmap_flags {
	BITMAP_IN_USE = 1 << 0, /* not stored as it should be: may be wrong */
	BITMAP_AUTO = 1 << 1,   /* to be kept up to date by whoever writes to the image */
	BITMAP_EXTRA_DATA_COMPATIBLE = 1 << 2, /* usable without understanding the extra data */
	BITMAP_FLAGS_KNOWN = BITMAP_IN_USE | BITMAP_AUTO | BITMAP_EXTRA_DATA_COMPATIBLE,
};

#define BITMAP_DIRTY_TRACKING 1 /* the only type */
/* A table entry without a cluster: all bits are 1. 0: all are 0. */
#define BITMAP_TABLE_ONES UINT64_C(1)

static inline uint16_t load_be16(const void *p)
{
	uint16_t n;

	memcpy(&n, p, sizeof(n));
	return be16toh(n);
}

static inline uint32_t load_be32(const void *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return be32toh(n);
}

static inline uint64_t load_be64(const void *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return be64toh(n);
}

static inline void store_be16(void *p, uint16_t n)
{
	n = htobe16(n);
	memcpy(p, &n, sizeof(n));
}

static inline void store_be32(void *p, uint32_t n)
{
	n = htobe32(n);
	memcpy(p, &n, sizeof(n));
}

static inline void store_be64(void *p, uint64_t n)
{
	n = htobe64(n);
	memcpy(p, &n, sizeof(n));
}

#endif
