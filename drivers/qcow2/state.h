/* SPDX-License-Identifier: MIT */
/*
 * The state of an open image, and its geometry. Everything in this driver runs on the
 * node's loop, in coroutines unless said otherwise.
 *
 * Order of locks: layout_lock, l1_lock, reclaim_lock, lock, flush_lock, header_lock. Data I/O
 * holds none of them; it holds a task (task.h) and an epoch.
 */
#ifndef DRIVERS_QCOW2_STATE_H
#define DRIVERS_QCOW2_STATE_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "block/driver.h"
#include "drivers/qcow2/cache.h"
#include "drivers/qcow2/format.h"
#include "drivers/qcow2/qcow2.h"
#include "drivers/qcow2/table.h"

/* The header in host order. */
struct qcow2_header {
	uint32_t version;
	uint64_t backing_offset;
	uint32_t backing_bytes;
	uint32_t cluster_bits;
	uint64_t size;
	uint32_t crypt_method;
	uint32_t l1_entries;
	uint64_t l1_offset;
	uint64_t reftable_offset;
	uint32_t reftable_clusters;
	uint32_t snapshot_count;
	uint64_t snapshots_offset;
	uint64_t incompatible, compatible, autoclear;
	uint32_t refcount_order;
	uint32_t length; /* bytes, before the extensions */
	uint8_t compression_type;
	uint8_t *unknown_fields; /* what lies beyond HEADER_BYTES_V3 in a longer header */
	uint32_t unknown_bytes;
};

struct qcow2_extension {
	struct list link;
	uint32_t type;
	uint32_t bytes;
	uint8_t *data;
};

/* Which metadata something is; bits of a set. */
enum metadata_kind {
	METADATA_HEADER = 1 << 0,
	METADATA_ACTIVE_L1 = 1 << 1,
	METADATA_ACTIVE_L2 = 1 << 2,
	METADATA_REFCOUNT_BLOCK = 1 << 3,
	METADATA_REFCOUNT_TABLE = 1 << 4,
	METADATA_SNAPSHOT_TABLE = 1 << 5,
	METADATA_INACTIVE_L1 = 1 << 6,
	METADATA_INACTIVE_L2 = 1 << 7,
	METADATA_BITMAP_DIRECTORY = 1 << 8,
	METADATA_CONSTANT = METADATA_HEADER | METADATA_ACTIVE_L1 | METADATA_REFCOUNT_TABLE |
			    METADATA_SNAPSHOT_TABLE | METADATA_BITMAP_DIRECTORY,
	METADATA_CACHED = METADATA_CONSTANT | METADATA_ACTIVE_L2 | METADATA_REFCOUNT_BLOCK |
			  METADATA_INACTIVE_L1,
	METADATA_ALL = METADATA_CACHED | METADATA_INACTIVE_L2,
};

/* Why clusters become free; which of these are discarded in the file is a setting. */
enum free_reason { FREE_REQUEST, FREE_SNAPSHOT, FREE_OTHER, FREE_REASONS };

/* What the options come to. */
struct qcow2_settings {
	bool lazy_refcounts;
	bool discards[FREE_REASONS];
	bool discard_no_unref;
	unsigned overlap_checks; /* set of enum metadata_kind */
	uint64_t l2_cache_bytes, refcount_cache_bytes;
	uint32_t l2_slice_bytes;
	uint64_t clean_interval_ns; /* 0 for never */
};

/* References to host clusters that no table holds any more, but a table on disk may. */
struct freed_range {
	uint64_t cluster;
	uint32_t count;
	uint8_t reason; /* enum free_reason */
};

struct freed_list {
	struct freed_range *ranges;
	unsigned count, capacity;
	uint64_t clusters;
};

/* Host clusters that hold metadata, each with its kinds: open addressing. */
struct cluster_set {
	uint64_t *slots; /* cluster number << 16 | kinds; 0 for none, 1 for removed */
	unsigned bits;   /* log2 of the slots; 0 when there are none */
	unsigned used;   /* slots that are not 0 */
};

/* An internal snapshot. */
struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_entries;
	char *id, *name;
	uint32_t date_s, date_ns;
	uint64_t clock_ns;    /* of the machine */
	uint64_t state_bytes; /* of the machine, stored behind the disk */
	uint64_t disk_bytes;  /* size of the content; the header's where the entry has none */
	uint64_t icount;      /* UINT64_MAX for none */
	uint32_t extra_bytes; /* as found, and preserved with what we do not know in it */
	uint8_t *extra;
};

struct qcow2 {
	struct node *node;
	struct loop *loop;
	struct qcow2_header header; /* as on disk, or about to be */
	struct list extensions;     /* struct qcow2_extension; all but the backing format */
	struct list bitmaps;        /* struct qcow2_bitmap: the directory in the file */
	struct qcow2_settings settings;
	bool writable;              /* by the options */
	bool writing;               /* and fit for it: qcow2_begin_writing() */
	struct co_mutex begin_lock;
	struct co_mutex layout_lock; /* moving all tables, or changing the bitmaps in the file beside users */

	/* Geometry. */
	unsigned cluster_bits;
	uint64_t cluster_bytes;
	unsigned entry_shift;       /* log2 of an L2 entry's bytes: 3, or 4 with subclusters */
	unsigned l2_bits;           /* log2 of an L2 table's entries */
	unsigned slice_bits;        /* log2 of an L2 slice's entries */
	unsigned granule_bits;      /* log2 of a subcluster's bytes; cluster_bits without */
	bool extended_l2;
	unsigned refcount_order;
	unsigned block_bits;        /* log2 of a refcount block's entries */
	unsigned refcount_slice_bits;
	uint64_t refcount_max;

	/* Tables. */
	struct qcow2_table l1, reftable;
	struct qcow2_cache l2_cache, refcount_cache;
	struct qcow2_snapshot *snapshots; /* header.snapshot_count of them */
	uint64_t snapshot_table_bytes;
	struct cluster_set metadata; /* L2 tables and refcount blocks */

	/* Allocation; under lock. */
	struct co_mutex lock;
	uint64_t free_hint;         /* no cluster below this number is known to be free */
	uint64_t fresh_from;        /* cluster number from which the file was never written */
	uint64_t grown_from;        /* as it was when writing began */
	uint64_t compressed_next;   /* where in a begun cluster compressed data continues; 0 */

	struct co_mutex l1_lock;    /* making or moving L2 tables and the L1 table */
	struct co_mutex flush_lock; /* the order of flush.c */
	struct co_mutex header_lock;/* one writer of the header */

	/* Freed clusters; reclaim_lock is for one reclaimer at a time. */
	struct co_mutex reclaim_lock;
	struct freed_list freed;
	unsigned epoch;
	unsigned in_flight[2];      /* data I/O by the parity of its epoch */
	struct co_queue epoch_waiters;

	/* Requests under way that others may have to wait for. */
	struct list exclusive, in_place; /* struct task.link */

	/* Compression. */
	unsigned decompressing;
	struct co_queue decompress_waiters;
	uint64_t decompressed_descriptor; /* of what @decompressed holds; 0 for nothing */
	uint64_t decompressed_generation; /* changes when descriptors may get new meanings */
	uint8_t *decompressed;            /* one cluster, or NULL */
	bool decompressed_used;           /* since the last tick of the clean timer */

	struct loop_timer clean_timer;
	bool corruption_signalled;
	char *corruption_message;
};

#define ZEROES_BYTES (64 * KiB)

/* Position of a guest offset in the tables. */
static inline uint64_t qcow2_l1_index(const struct qcow2 *q, uint64_t offset)
{
	return offset >> (q->cluster_bits + q->l2_bits);
}

static inline uint64_t qcow2_in_cluster(const struct qcow2 *q, uint64_t offset)
{
	return offset & (q->cluster_bytes - 1);
}

static inline uint64_t qcow2_clusters(const struct qcow2 *q, uint64_t bytes)
{
	return (bytes >> q->cluster_bits) + (qcow2_in_cluster(q, bytes) != 0);
}

static inline uint64_t qcow2_file_size(const struct qcow2 *q)
{
	return q->node->file->child->size;
}

/* Tell the storage what is about to happen, in case that it injects faults. */
static inline void qcow2_event(const struct qcow2 *q, enum blkdebug_event event)
{
	node_debug_event(q->node->file->child, event);
}

static inline uint64_t qcow2_granule_bytes(const struct qcow2 *q)
{
	return UINT64_C(1) << q->granule_bits;
}

/*
 * Data I/O on host clusters happens inside an epoch, entered without waiting
 * after the look-up. A freed cluster is given out again only when the I/O of
 * earlier epochs has ended.
 */
static inline unsigned qcow2_epoch_enter(struct qcow2 *q)
{
	unsigned parity = q->epoch & 1;

	q->in_flight[parity]++;
	return parity;
}

static inline void qcow2_epoch_leave(struct qcow2 *q, unsigned parity)
{
	if (--q->in_flight[parity] == 0)
		co_queue_wake_all(&q->epoch_waiters);
}

#endif
