/* SPDX-License-Identifier: MIT */
/*
 * The header: decoding, checking, encoding. Writing it is header_write.c's.
 *
 * 1. Nothing from the file is used before the checks here have passed.
 * 2. The header proper ends before byte 512, so that a change of its fields is
 *    one sector.
 * 3. Fields that we do not know keep their values.
 */
#include "drivers/qcow2/header.h"

static int decode_v3(const uint8_t *data, size_t bytes, struct qcow2_header *h,
		     struct error **errp)
{
	if (bytes < HEADER_BYTES_V3_MIN)
		return error_set(errp, -EINVAL, "qcow2 header too short");
	h->incompatible = load_be64(data + HEADER_INCOMPATIBLE);
	h->compatible = load_be64(data + HEADER_COMPATIBLE);
	h->autoclear = load_be64(data + HEADER_AUTOCLEAR);
	h->refcount_order = load_be32(data + HEADER_REFCOUNT_ORDER);
	h->length = load_be32(data + HEADER_LENGTH);
	if (h->length < HEADER_BYTES_V3_MIN)
		return error_set(errp, -EINVAL, "qcow2 header too short");
	if (h->length > UINT64_C(1) << h->cluster_bits)
		return error_set(errp, -EINVAL, "qcow2 header exceeds cluster size");
	if (h->length > bytes)
		return error_set(errp, -EINVAL, "qcow2 header too short");
	if (h->length > HEADER_COMPRESSION_TYPE)
		h->compression_type = data[HEADER_COMPRESSION_TYPE];
	if (h->length > HEADER_BYTES_V3) {
		h->unknown_bytes = h->length - HEADER_BYTES_V3;
		h->unknown_fields = xmemdup(data + HEADER_BYTES_V3, h->unknown_bytes);
	}
	return 0;
}

int qcow2_header_decode(const uint8_t *data, size_t bytes, struct qcow2_header *ret,
			struct error **errp)
{
	if (bytes < 4 || load_be32(data + HEADER_MAGIC) != QCOW2_MAGIC)
		return error_set(errp, -EINVAL, "Image is not in qcow2 format");
	if (bytes < HEADER_BYTES_V2)
		return error_set(errp, -EINVAL, "qcow2 header too short");

	struct qcow2_header h = {
		.version = load_be32(data + HEADER_VERSION),
		.backing_offset = load_be64(data + HEADER_BACKING_OFFSET),
		.backing_bytes = load_be32(data + HEADER_BACKING_BYTES),
		.cluster_bits = load_be32(data + HEADER_CLUSTER_BITS),
		.size = load_be64(data + HEADER_SIZE),
		.crypt_method = load_be32(data + HEADER_CRYPT_METHOD),
		.l1_entries = load_be32(data + HEADER_L1_ENTRIES),
		.l1_offset = load_be64(data + HEADER_L1_OFFSET),
		.reftable_offset = load_be64(data + HEADER_REFTABLE_OFFSET),
		.reftable_clusters = load_be32(data + HEADER_REFTABLE_CLUSTERS),
		.snapshot_count = load_be32(data + HEADER_SNAPSHOT_COUNT),
		.snapshots_offset = load_be64(data + HEADER_SNAPSHOTS_OFFSET),
		.refcount_order = REFCOUNT_ORDER_V2,
		.length = HEADER_BYTES_V2,
	};
	if (h.version < 2 || h.version > 3)
		return error_set(errp, -ENOTSUP, "Unsupported qcow2 version %" PRIu32, h.version);
	if (h.cluster_bits < CLUSTER_BITS_MIN || h.cluster_bits > CLUSTER_BITS_MAX)
		return error_set(errp, -EINVAL, "Unsupported cluster size: 2^%" PRIu32,
				 h.cluster_bits);
	if (h.version == 3) {
		int r = decode_v3(data, bytes, &h, errp);

		if (r < 0)
			return r;
	}
	if (h.backing_offset > UINT64_C(1) << h.cluster_bits) {
		free(h.unknown_fields);
		return error_set(errp, -EINVAL, "Invalid backing file offset");
	}
	*ret = h;
	return 0;
}

static int check_compression(const struct qcow2_header *h, struct error **errp)
{
	bool flagged = h->incompatible & INCOMPATIBLE_COMPRESSION;

	if (h->compression_type == COMPRESSION_ZLIB && flagged)
		return error_set(errp, -EINVAL,
				 "qcow2: Compression type incompatible feature bit must not be set");
	if (h->compression_type != COMPRESSION_ZLIB && !flagged)
		return error_set(errp, -EINVAL,
				 "qcow2: Compression type incompatible feature bit must be set");
	if (h->compression_type > COMPRESSION_ZSTD)
		return error_set(errp, -ENOTSUP, "qcow2: unknown compression type: %u",
				 h->compression_type);
	return 0;
}

/* A table of @count entries of @entry_bytes at @offset: within 2^63 and cluster-aligned. */
static bool place_is_valid(const struct qcow2_header *h, uint64_t offset, uint64_t count,
			   uint64_t entry_bytes)
{
	uint64_t end;

	return offset <= INT64_MAX && !add_overflows(offset, count * entry_bytes, &end) &&
	       end <= INT64_MAX && is_aligned(offset, UINT64_C(1) << h->cluster_bits);
}

static int check_l1(const struct qcow2_header *h, struct error **errp)
{
	unsigned entry_shift = h->incompatible & INCOMPATIBLE_EXTENDED_L2 ? 4 : 3;
	unsigned span_bits = 2 * h->cluster_bits - entry_shift; /* bytes below one L2 table */

	if (h->l1_entries > L1_BYTES_MAX / sizeof(uint64_t))
		return error_set(errp, -EFBIG, "Active L1 table too large");
	if (!place_is_valid(h, h->l1_offset, h->l1_entries, sizeof(uint64_t)) ||
	    (h->l1_entries > 0 && h->l1_offset == 0))
		return error_set(errp, -EINVAL, "Active L1 table offset invalid");
	if (h->size > INT64_MAX || (h->size >> span_bits) >= INT32_MAX / sizeof(uint64_t))
		return error_set(errp, -EFBIG, "Image is too big");
	if (h->l1_entries < div_round_up(h->size, UINT64_C(1) << span_bits))
		return error_set(errp, -EINVAL, "L1 table is too small");
	return 0;
}

int qcow2_header_check_tables(const struct qcow2_header *h, struct error **errp)
{
	uint64_t cluster_bytes = UINT64_C(1) << h->cluster_bits;

	if (h->refcount_order > REFCOUNT_ORDER_MAX)
		return error_set(errp, -EINVAL,
				 "Reference count entry width too large; may not exceed 64 bits");
	if ((h->incompatible & INCOMPATIBLE_EXTENDED_L2) &&
	    h->cluster_bits < EXTENDED_L2_CLUSTER_BITS_MIN)
		return error_set(errp, -EINVAL,
				 "Extended L2 entries are only supported with cluster sizes of at "
				 "least %u bytes", 1u << EXTENDED_L2_CLUSTER_BITS_MIN);
	int r = check_compression(h, errp);

	if (r < 0)
		return r;
	if (h->reftable_clusters == 0)
		return error_set(errp, -EINVAL,
				 "Image does not contain a reference count table");
	if (h->reftable_clusters > REFTABLE_BYTES_MAX / cluster_bytes)
		return error_set(errp, -EFBIG, "Reference count table too large");
	if (!place_is_valid(h, h->reftable_offset, h->reftable_clusters, cluster_bytes) ||
	    h->reftable_offset == 0)
		return error_set(errp, -EINVAL, "Reference count table offset invalid");
	if (h->snapshot_count > SNAPSHOTS_MAX)
		return error_set(errp, -EFBIG, "Snapshot table too large");
	if (h->snapshot_count > 0 &&
	    (!place_is_valid(h, h->snapshots_offset, h->snapshot_count, SNAPSHOT_FIXED_BYTES) ||
	     h->snapshots_offset == 0))
		return error_set(errp, -EINVAL, "Snapshot table offset invalid");
	return check_l1(h, errp);
}

void qcow2_header_encode(const struct qcow2_header *h, uint8_t *ret)
{
	memset(ret, 0, h->length);
	store_be32(ret + HEADER_MAGIC, QCOW2_MAGIC);
	store_be32(ret + HEADER_VERSION, h->version);
	store_be64(ret + HEADER_BACKING_OFFSET, h->backing_offset);
	store_be32(ret + HEADER_BACKING_BYTES, h->backing_bytes);
	store_be32(ret + HEADER_CLUSTER_BITS, h->cluster_bits);
	store_be64(ret + HEADER_SIZE, h->size);
	store_be32(ret + HEADER_CRYPT_METHOD, h->crypt_method);
	store_be32(ret + HEADER_L1_ENTRIES, h->l1_entries);
	store_be64(ret + HEADER_L1_OFFSET, h->l1_offset);
	store_be64(ret + HEADER_REFTABLE_OFFSET, h->reftable_offset);
	store_be32(ret + HEADER_REFTABLE_CLUSTERS, h->reftable_clusters);
	store_be32(ret + HEADER_SNAPSHOT_COUNT, h->snapshot_count);
	store_be64(ret + HEADER_SNAPSHOTS_OFFSET, h->snapshots_offset);
	if (h->version < 3)
		return;
	store_be64(ret + HEADER_INCOMPATIBLE, h->incompatible);
	store_be64(ret + HEADER_COMPATIBLE, h->compatible);
	store_be64(ret + HEADER_AUTOCLEAR, h->autoclear);
	store_be32(ret + HEADER_REFCOUNT_ORDER, h->refcount_order);
	store_be32(ret + HEADER_LENGTH, h->length);
	if (h->length > HEADER_COMPRESSION_TYPE)
		ret[HEADER_COMPRESSION_TYPE] = h->compression_type;
	if (h->unknown_bytes > 0)
		memcpy(ret + HEADER_BYTES_V3, h->unknown_fields, h->unknown_bytes);
}

int64_t qcow2_header_compose(struct qcow2_header *h, const struct list *extensions,
			     const char *backing_name, const char *backing_format,
			     uint64_t name_at, uint8_t *ret, struct error **errp)
{
	size_t cluster_bytes = (size_t)1 << h->cluster_bits;
	size_t name_bytes = backing_name ? strlen(backing_name) : 0;
	size_t room = cluster_bytes - h->length;
	bool feature_names = h->version >= 3;
	int64_t area;

	if (name_bytes > BACKING_NAME_MAX)
		return error_set(errp, -EINVAL, "Backing file name too long");
	for (;; feature_names = false) {
		area = qcow2_extensions_encode(extensions, backing_format, feature_names,
					       ret + h->length, room);
		if (area >= 0 && (uint64_t)area + name_bytes <= room)
			break;
		if (!feature_names)
			return error_set(errp, -ENOSPC,
					 "The backing file name and the header extensions do not "
					 "fit into the first cluster of %zu bytes", cluster_bytes);
		memset(ret + h->length, 0, room);
	}
	name_at = MAX(name_at, h->length + (uint64_t)area);
	if (name_at + name_bytes > cluster_bytes)
		name_at = h->length + area;
	h->backing_offset = backing_name ? name_at : 0;
	h->backing_bytes = name_bytes;
	memcpy(ret + name_at, backing_name ? backing_name : "", name_bytes);
	qcow2_header_encode(h, ret);
	return h->length + area;
}
