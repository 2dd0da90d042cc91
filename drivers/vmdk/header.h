/* SPDX-License-Identifier: MIT */
/*
 * The headers of sparse extents. Pure functions of memory.
 */
#ifndef DRIVERS_VMDK_HEADER_H
#define DRIVERS_VMDK_HEADER_H

#include "base/error.h"
#include "base/util.h"

#define VMDK_HEADER_BYTES 512

/* In host order; places and lengths in sectors. */
struct vmdk_header {
	uint32_t version, flags;
	uint64_t capacity, grain;
	uint64_t descriptor, descriptor_size;
	uint32_t table_entries;
	uint64_t redundant, directory; /* 0 for no redundant one */
	uint64_t directory_entries;
	uint64_t overhead;
	uint16_t compression;
	bool is_cowd;
};

/* What begins with @data (VMDK_HEADER_BYTES of it). -EINVAL when it is neither kind of header. */
int vmdk_header_decode(const uint8_t *data, struct vmdk_header *ret, struct error **errp);
/*
 * Whether the header can be: -EINVAL, -ENOTSUP or -EFBIG with the reason. @file_bytes is the
 * size of the extent's file. Sets h->directory_entries of a hosted extent.
 */
int vmdk_header_check(struct vmdk_header *h, uint64_t file_bytes, struct error **errp);
/* The contrary of decoding, for a hosted extent. */
void vmdk_header_encode(const struct vmdk_header *h, uint8_t *ret);

#endif
