/* SPDX-License-Identifier: MIT */
/*
 * The table of internal snapshots, read as far as keeping them intact requires:
 * where their L1 tables lie. Node's loop.
 *
 * 1. The table occupies header.snapshot_count entries of varying length from
 *    header.snapshots_offset on, each padded to 8 bytes.
 * 2. What a snapshot refers to has its reference in the refcounts, so that
 *    writing copies shared clusters; nothing else protects it.
 */
#include "drivers/qcow2/image.h"

/* Decode the entry at @offset of the file. *ret_bytes is its padded length. */
static int co_fn load_entry(struct qcow2 *q, uint64_t offset, struct qcow2_snapshot *ret,
			    uint64_t *ret_bytes)
{
	uint8_t fixed[SNAPSHOT_FIXED_BYTES];

	if (offset + sizeof(fixed) > qcow2_file_size(q))
		return -EIO;
	int r = edge_read(q->node->file, offset, sizeof(fixed), fixed, 0);

	if (r < 0)
		return r;
	uint32_t extra = load_be32(fixed + SNAPSHOT_EXTRA_BYTES);
	uint64_t bytes = SNAPSHOT_FIXED_BYTES + (uint64_t)extra +
			 load_be16(fixed + SNAPSHOT_ID_BYTES) +
			 load_be16(fixed + SNAPSHOT_NAME_BYTES);

	if (extra > SNAPSHOT_EXTRA_MAX)
		return -EFBIG;
	*ret_bytes = align_up(bytes, 8);
	*ret = (struct qcow2_snapshot){
		.l1_offset = load_be64(fixed + SNAPSHOT_L1_OFFSET),
		.l1_entries = load_be32(fixed + SNAPSHOT_L1_ENTRIES),
	};
	return 0;
}

static int check_entry(const struct qcow2 *q, const struct qcow2_snapshot *s, uint32_t number,
		       struct error **errp)
{
	if (s->l1_entries > L1_BYTES_MAX / sizeof(uint64_t))
		return error_set(errp, -EFBIG, "L1 table of snapshot %" PRIu32 " is too large",
				 number);
	if (qcow2_in_cluster(q, s->l1_offset) != 0 || s->l1_offset > INT64_MAX)
		return error_set(errp, -EINVAL,
				 "L1 table offset of snapshot %" PRIu32 " is invalid", number);
	return 0;
}

int co_fn qcow2_snapshots_load(struct qcow2 *q, struct error **errp)
{
	uint64_t offset = q->header.snapshots_offset, begin = offset;
	uint32_t count = q->header.snapshot_count;

	if (count == 0)
		return 0;
	q->snapshots = xalloc(count, sizeof(struct qcow2_snapshot));
	for (uint32_t i = 0; i < count; i++) {
		uint64_t bytes;
		int r = load_entry(q, offset, &q->snapshots[i], &bytes);

		if (r < 0)
			return qcow2_table_error(q, "snapshots", offset, SNAPSHOT_FIXED_BYTES, r,
						 errp);
		r = check_entry(q, &q->snapshots[i], i, errp);
		if (r < 0)
			return r;
		offset += bytes;
		if (offset - begin > SNAPSHOT_TABLE_BYTES_MAX)
			return error_set(errp, -EFBIG, "Snapshot table too large");
	}
	q->snapshot_table_bytes = offset - begin;
	return 0;
}
