/* SPDX-License-Identifier: MIT */
/*
 * The judge of qcow2 images: counts the references that start at the header,
 * then compares with the refcounts. Images of the simulation are small, so
 * everything is held in memory.
 */
#include "tests/sim/image_check.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define COPIED (UINT64_C(1) << 63)
#define COMPRESSED (UINT64_C(1) << 62)
#define READS_AS_ZERO UINT64_C(1)

/* What may not be shared at all; else the last L1 table that has led to a cluster, from 1 on. */
#define ALONE UINT32_MAX

struct judge {
	const struct sim_disk *disk;
	bool has_snapshots;
	uint32_t tree; /* the L1 table that is walked; 1 for the active one */
	uint64_t size; /* of the file */
	unsigned cluster_bits;
	uint64_t cluster;
	uint32_t version;
	unsigned refcount_bits;
	bool is_dirty;
	uint64_t clusters; /* in the file, a last partial one included */
	uint8_t *references;  /* by cluster, at most 255 */
	uint32_t *owners;     /* by cluster; 0: nobody has been seen yet */
	uint64_t *refcounts;
	bool *is_claimed_alone; /* an entry with COPIED leads there */
	bool *is_claimed_shared; /* one without */
	char *fault;
};

static uint64_t big_endian(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | p[i];
	return v;
}

static uint64_t read_be(const struct judge *j, uint64_t offset, unsigned bytes)
{
	uint8_t p[8];
	sim_disk_peek(j->disk, offset, p, bytes);
	return big_endian(p, bytes);
}

__attribute__((format(printf, 2, 3)))
static void find_fault(struct judge *j, const char *format, ...)
{
	if (j->fault)
		return;
	va_list args;
	va_start(args, format);
	j->fault = xvasprintf(format, args);
	va_end(args);
}

/* Something called @what, which belongs to @owner, takes the cluster at @offset. */
static void refer_as(struct judge *j, uint64_t offset, uint32_t owner, const char *what)
{
	uint64_t i = offset >> j->cluster_bits;
	if (offset & (j->cluster - 1))
		find_fault(j, "%s at %#" PRIx64 " is not aligned", what, offset);
	else if (i >= j->clusters)
		find_fault(j, "%s at %#" PRIx64 " lies beyond the end of the file (%#" PRIx64 ")",
			   what, offset, j->size);
	else if (j->owners[i] == owner || j->owners[i] == ALONE || (owner == ALONE && j->owners[i]))
		find_fault(j, "%s at %#" PRIx64 " shares its cluster", what, offset);
	else {
		j->references[i]++;
		j->owners[i] = owner;
	}
}

/* The same for what nothing else may have. */
static void refer(struct judge *j, uint64_t offset, const char *what)
{
	refer_as(j, offset, ALONE, what);
}

/* The same for a table entry with a COPIED flag. */
static void refer_by_entry(struct judge *j, uint64_t entry, const char *what)
{
	uint64_t offset = entry & OFFSET_MASK;
	refer_as(j, offset, j->tree, what);
	/* Only the active table's flags count. */
	if (offset >> j->cluster_bits >= j->clusters || j->tree > 1)
		return;
	if (entry & COPIED)
		j->is_claimed_alone[offset >> j->cluster_bits] = true;
	else
		j->is_claimed_shared[offset >> j->cluster_bits] = true;
}

static void walk_l2(struct judge *j, uint64_t l2)
{
	for (uint64_t i = 0; i < j->cluster / 8 && !j->fault; i++) {
		uint64_t entry = read_be(j, l2 + i * 8, 8);
		if (entry & COMPRESSED) {
			find_fault(j, "a compressed cluster, which nobody wrote, in L2 at %#" PRIx64,
				   l2);
			return;
		}
		uint64_t reserved = UINT64_C(0x3f00000000000000) | 0x1fe;
		if (j->version < 3)
			reserved |= READS_AS_ZERO;
		if (entry & reserved)
			find_fault(j, "reserved bits in L2 entry %#" PRIx64, entry);
		else if (entry & OFFSET_MASK)
			refer_by_entry(j, entry, "data");
		else if (entry & COPIED)
			find_fault(j, "COPIED without a cluster in L2 entry %#" PRIx64, entry);
	}
}

static void walk_l1(struct judge *j, uint64_t l1, uint64_t entries)
{
	j->tree++;
	for (uint64_t at = 0; at < entries * 8; at += j->cluster)
		refer(j, l1 + at, "L1 table");
	for (uint64_t i = 0; i < entries && !j->fault; i++) {
		uint64_t entry = read_be(j, l1 + i * 8, 8);
		if (entry == 0)
			continue;
		if (entry & ~(OFFSET_MASK | COPIED)) {
			find_fault(j, "reserved bits in L1 entry %#" PRIx64, entry);
			return;
		}
		refer_by_entry(j, entry, "L2 table");
		if (!j->fault)
			walk_l2(j, entry & OFFSET_MASK);
	}
}

/* The table of internal snapshots, and what they refer to. */
static void walk_snapshots(struct judge *j, uint64_t table, uint64_t count)
{
	uint64_t at = table;
	for (uint64_t i = 0; i < count && !j->fault; i++) {
		walk_l1(j, read_be(j, at, 8), read_be(j, at + 8, 4));
		at += 40 + read_be(j, at + 36, 4) + read_be(j, at + 12, 2) + read_be(j, at + 14, 2);
		at = align_up(at, 8);
	}
	for (uint64_t cluster = table; cluster < at && !j->fault; cluster += j->cluster)
		refer(j, cluster, "snapshot table");
}

static uint64_t read_refcount(const struct judge *j, uint64_t block, uint64_t index)
{
	if (j->refcount_bits >= 8)
		return read_be(j, block + index * (j->refcount_bits / 8), j->refcount_bits / 8);
	uint64_t bit = index * j->refcount_bits;
	unsigned byte = (unsigned)read_be(j, block + bit / 8, 1);
	return byte >> bit % 8 & ((1u << j->refcount_bits) - 1);
}

static void walk_refcounts(struct judge *j, uint64_t table, uint64_t table_clusters)
{
	for (uint64_t i = 0; i < table_clusters; i++)
		refer(j, table + i * j->cluster, "refcount table");
	uint64_t per_block = j->cluster * 8 / j->refcount_bits;
	for (uint64_t i = 0; i < table_clusters * j->cluster / 8 && !j->fault; i++) {
		uint64_t block = read_be(j, table + i * 8, 8);
		if (block == 0)
			continue;
		refer(j, block, "refcount block");
		if (j->fault)
			return;
		for (uint64_t k = 0; k < per_block && i * per_block + k < j->clusters; k++)
			j->refcounts[i * per_block + k] = read_refcount(j, block, k);
	}
}

static void compare(struct judge *j, uint64_t *ret_leaks)
{
	*ret_leaks = 0;
	for (uint64_t i = 0; i < j->clusters && !j->is_dirty; i++) {
		uint64_t offset = i << j->cluster_bits;
		if (j->refcounts[i] < j->references[i])
			find_fault(j, "cluster %#" PRIx64 " is in use and counted %" PRIu64 " times",
				   offset, j->refcounts[i]);
		*ret_leaks += j->refcounts[i] > j->references[i];
		if (j->has_snapshots) {
			if (j->is_claimed_alone[i] && j->references[i] != 1)
				find_fault(j, "cluster %#" PRIx64 " has COPIED and %u references",
					   offset, j->references[i]);
			continue;
		}
		if (j->is_claimed_alone[i] && j->refcounts[i] != 1)
			find_fault(j, "cluster %#" PRIx64 " has COPIED and is counted %" PRIu64
				   " times", offset, j->refcounts[i]);
		if (j->is_claimed_shared[i] && j->refcounts[i] == 1)
			find_fault(j, "cluster %#" PRIx64 " lacks COPIED and is counted once",
				   offset);
	}
}

static void judge_header(struct judge *j)
{
	uint8_t h[104];
	sim_disk_peek(j->disk, 0, h, sizeof(h));
	if (memcmp(h, "QFI\xfb", 4) != 0) {
		find_fault(j, "no qcow2 header");
		return;
	}
	j->version = (uint32_t)big_endian(h + 4, 4);
	j->cluster_bits = (unsigned)big_endian(h + 20, 4);
	j->refcount_bits = 16;
	if (j->version == 3) {
		uint64_t incompatible = big_endian(h + 72, 8);
		j->is_dirty = incompatible & 1;
		if (incompatible & ~UINT64_C(1))
			find_fault(j, "incompatible features %#" PRIx64, incompatible);
		j->refcount_bits = 1u << big_endian(h + 96, 4);
	} else if (j->version != 2) {
		find_fault(j, "version %u", j->version);
	}
	if (j->cluster_bits < 9 || j->cluster_bits > 21)
		find_fault(j, "clusters of %u bits", j->cluster_bits);
	if (big_endian(h + 60, 4) != 0 && !j->has_snapshots)
		find_fault(j, "internal snapshots, which nobody took");
}

char *image_check(const struct sim_disk *disk, bool has_snapshots, uint64_t *ret_leaks)
{
	struct judge j = {
		.disk = disk, .has_snapshots = has_snapshots, .size = sim_disk_size(disk)};
	*ret_leaks = 0;
	judge_header(&j);
	if (j.fault)
		return j.fault;
	j.cluster = UINT64_C(1) << j.cluster_bits;
	j.clusters = div_round_up(j.size, j.cluster);
	j.references = xalloc(j.clusters, sizeof(*j.references));
	j.owners = xalloc(j.clusters, sizeof(*j.owners));
	j.refcounts = xalloc(j.clusters, sizeof(*j.refcounts));
	j.is_claimed_alone = xalloc(j.clusters, sizeof(bool));
	j.is_claimed_shared = xalloc(j.clusters, sizeof(bool));

	refer(&j, 0, "header");
	walk_l1(&j, read_be(&j, 40, 8), read_be(&j, 36, 4));
	walk_snapshots(&j, read_be(&j, 64, 8), read_be(&j, 60, 4));
	walk_refcounts(&j, read_be(&j, 48, 8), read_be(&j, 56, 4));
	if (!j.fault)
		compare(&j, ret_leaks);

	free(j.references);
	free(j.owners);
	free(j.refcounts);
	free(j.is_claimed_alone);
	free(j.is_claimed_shared);
	return j.fault;
}

char *image_backing_name(const struct sim_disk *disk)
{
	uint8_t h[20];
	sim_disk_peek(disk, 0, h, sizeof(h));
	uint64_t offset = big_endian(h + 8, 8), bytes = big_endian(h + 16, 4);
	if (offset == 0 || bytes == 0 || bytes > 1023)
		return NULL;
	char *name = xalloc(1, bytes + 1);
	sim_disk_peek(disk, offset, name, bytes);
	return name;
}

bool image_is_dirty(const struct sim_disk *disk)
{
	uint8_t h[80];
	sim_disk_peek(disk, 0, h, sizeof(h));
	return h[7] >= 3 && (h[79] & 1);
}

bool image_is_qcow2(const struct sim_disk *disk)
{
	char magic[4];
	sim_disk_peek(disk, 0, magic, sizeof(magic));
	return memcmp(magic, "QFI\xfb", sizeof(magic)) == 0;
}
