/* SPDX-License-Identifier: MIT */
/*
 * What the files of the qcow2 driver share: the state of an open image and the
 * contracts between them. Everything runs on the node's loop, in coroutines
 * unless said otherwise.
 *
 * Order of locks: l1_lock, reclaim_lock, lock, flush_lock, header_lock. Data I/O
 * holds none of them; it holds a task (task.c) and an epoch (free.c).
 */
#ifndef DRIVERS_QCOW2_INTERNAL_H
#define DRIVERS_QCOW2_INTERNAL_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/loop.h"
#include "block/driver.h"
#include "drivers/qcow2/cache.h"
#include "drivers/qcow2/format.h"
#include "drivers/qcow2/qcow2.h"
#include "drivers/qcow2/table.h"

/* ---- header.c, extension.c ---- */

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

/* ---- settings.c ---- */

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

/* ---- free.c ---- */

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

/* ---- overlap.c ---- */

/* Host clusters that hold metadata, each with its kinds: open addressing. */
struct cluster_set {
	uint64_t *slots; /* cluster number << 16 | kinds; 0 for none, 1 for removed */
	unsigned bits;   /* log2 of the slots; 0 when there are none */
	unsigned used;   /* slots that are not 0 */
};

/* ---- snapshot.c ---- */

/* What one needs to know of an internal snapshot that is merely kept. */
struct qcow2_snapshot {
	uint64_t l1_offset;
	uint32_t l1_entries;
};

struct qcow2 {
	struct node *node;
	struct loop *loop;
	struct qcow2_header header; /* as on disk, or about to be */
	struct list extensions;     /* struct qcow2_extension; all but the backing format */
	struct qcow2_settings settings;
	bool writable;              /* by the options */
	bool writing;               /* and fit for it: qcow2_begin_writing() */
	struct co_mutex begin_lock;

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

static inline uint64_t qcow2_l2_index(const struct qcow2 *q, uint64_t offset)
{
	return (offset >> q->cluster_bits) & ((UINT64_C(1) << q->l2_bits) - 1);
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

static inline uint64_t qcow2_granule_bytes(const struct qcow2 *q)
{
	return UINT64_C(1) << q->granule_bits;
}

/* ---- header.c ---- */

/*
 * Decode and check a header of @bytes read from the start of the file, up to
 * where it ends. Nothing about its extensions. unknown_fields is the caller's.
 */
int qcow2_header_decode(const uint8_t *data, size_t bytes, struct qcow2_header *ret,
			struct error **errp);
/* The fixed part, without extensions, to @ret of header.length bytes. */
void qcow2_header_encode(const struct qcow2_header *h, uint8_t *ret);
/* Check the places and sizes of the tables that @h names against the limits and the format. */
int qcow2_header_check_tables(const struct qcow2_header *h, struct error **errp);
/* Write the fixed part of q->header (one sector) and make it durable. */
int co_fn qcow2_header_update(struct qcow2 *q);
/* Set and clear incompatible feature bits, durably; no write when nothing changes. */
int co_fn qcow2_header_set_incompatible(struct qcow2 *q, uint64_t set, uint64_t clear);
/*
 * The header could not be written to name another table: which one it names is
 * unknown, so that nothing more may be written. Returns @r.
 */
int qcow2_header_lost(struct qcow2 *q, int r);
/*
 * Write header, extensions and backing name anew, durably, so that a crash
 * leaves the old or the new. Takes the names as new values; NULL for none.
 */
int co_fn qcow2_header_rewrite(struct qcow2 *q, const char *backing_name,
			       const char *backing_format, struct error **errp);
/*
 * Lay out a whole header cluster in @ret (a cluster, zeroed). The backing name
 * goes to @name_at or behind the extensions, whichever is further. Sets
 * h->backing_offset and h->backing_bytes. Returns where the extensions end, or
 * -ENOSPC when it does not fit.
 */
int64_t qcow2_header_compose(struct qcow2_header *h, const struct list *extensions,
			     const char *backing_name, const char *backing_format,
			     uint64_t name_at, uint8_t *ret, struct error **errp);

/* ---- extension.c ---- */

/*
 * Decode the area of extensions, @bytes of @data. *ret_backing_format is NULL
 * or the caller's; the others go to @extensions, whole.
 */
int qcow2_extensions_decode(const uint8_t *data, size_t bytes, struct list *extensions,
			    char **ret_backing_format, struct error **errp);
void qcow2_extensions_free(struct list *extensions);
struct qcow2_extension *qcow2_extension_find(const struct list *extensions, uint32_t type);
/*
 * Encode the area, ending included, to at most @limit bytes at @ret. Our table
 * of feature names, if wanted, replaces any other. Returns the bytes used, or
 * -ENOSPC.
 */
int64_t qcow2_extensions_encode(const struct list *extensions, const char *backing_format,
				bool feature_names, uint8_t *ret, size_t limit);
/* The names of the incompatible @features, by the image's own table. Free with free(). */
char *qcow2_feature_names(const struct list *extensions, uint64_t features);

/* ---- settings.c ---- */

/* @options NULL stands for defaults. The geometry in @q is known. */
int qcow2_settings_init(struct qcow2_settings *s, struct qcow2 *q,
			const struct blockdev_options *options, struct error **errp);

/* ---- open.c ---- */

int co_fn qcow2_open(struct node *n, const struct blockdev_options *options, void *arg,
		     struct error **errp);
void co_fn qcow2_close(struct node *n);
int qcow2_probe(const uint8_t *data, size_t bytes, const char *filename);
/*
 * Make the image fit for writing, once: load the refcount table, repair a dirty
 * image, clear autoclear bits. Everything that changes the image calls it first.
 */
int co_fn qcow2_begin_writing(struct qcow2 *q, struct error **errp);
/* Bring everything to the file, durably. */
int co_fn qcow2_settle(struct qcow2 *q);
/* The same, and mark the image clean. */
int co_fn qcow2_end_writing(struct qcow2 *q);
/* Tell that @bytes at @offset, a table's, could not be read because of @r; returns @r. */
int qcow2_table_error(const struct qcow2 *q, const char *table, uint64_t offset, uint64_t bytes,
		      int r, struct error **errp);
/* Load the refcount table if that has not been done. */
int co_fn qcow2_load_reftable(struct qcow2 *q, struct error **errp);
/* Empty caches according to the settings. */
void qcow2_caches_init(struct qcow2 *q);
/* Something is cached: have it cleaned after cache-clean-interval. */
void qcow2_arm_clean_timer(struct qcow2 *q);

/* ---- reopen.c ---- */

extern const char *const qcow2_reopen_options[];
int co_fn qcow2_reopen_prepare(struct reopen *r, struct error **errp);
void qcow2_reopen_commit(struct reopen *r);
void qcow2_reopen_abort(struct reopen *r);

/* ---- corruption.c ---- */

/*
 * The one place for damaged tables found at run time: keep the first sentence,
 * mark the image corrupt when it is writable, and stop writing. Returns -EIO.
 */
int co_fn qcow2_signal_corruption(struct qcow2 *q, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The same for damage that is no danger to other data: writing goes on. */
int qcow2_signal_damage(struct qcow2 *q, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- overlap.c ---- */

/* Remember and forget that a host cluster holds metadata of @kind. */
void qcow2_metadata_add(struct qcow2 *q, uint64_t offset, unsigned kind);
void qcow2_metadata_remove(struct qcow2 *q, uint64_t offset, unsigned kind);
void qcow2_metadata_finish(struct qcow2 *q);
/* Collect what q->l1, q->reftable and the snapshots point at. */
int co_fn qcow2_metadata_collect(struct qcow2 *q, struct error **errp);
/* The kinds of metadata of the image that the range touches, among @kinds. */
unsigned qcow2_metadata_overlap(const struct qcow2 *q, uint64_t offset, uint64_t bytes,
				unsigned kinds);
/*
 * Before each write to the file: 0, or -EIO after signalling corruption when
 * the range touches metadata other than @ignore that the settings protect.
 */
int co_fn qcow2_overlap_check(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned ignore);

/* ---- refcount.c ---- */

/* Under lock. *ret is 0 for clusters that no refcount block covers. */
int co_fn qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *ret);
/* Add one to each of @count clusters, whose refcount blocks exist. Under lock. All or none. */
int co_fn qcow2_refcount_increment(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Take one from each; those that become free may be given out at once. Under lock. */
int co_fn qcow2_refcount_decrement(struct qcow2 *q, uint64_t cluster, uint64_t count);
/* Entry @index of a slice or block in memory, of 1 << @order bits. */
uint64_t qcow2_refcount_load(const uint8_t *data, unsigned order, uint64_t index);
void qcow2_refcount_store(uint8_t *data, unsigned order, uint64_t index, uint64_t value);
/*
 * The slice that holds @cluster's entry, pinned; *ret is NULL when there is no
 * refcount block for it. Under lock.
 */
int co_fn qcow2_refcount_slice(struct qcow2 *q, uint64_t cluster, struct slice **ret);

/* ---- refcount_grow.c ---- */

/* Make refcount block @index in @cluster, which is free and covered by it or another. Under lock. */
int co_fn qcow2_refcount_block_create(struct qcow2 *q, uint64_t index, uint64_t cluster);
/* Move the refcount table to a larger place so that it covers @cluster. Under lock. */
int co_fn qcow2_reftable_grow(struct qcow2 *q, uint64_t cluster);

/* ---- refcount_shrink.c ---- */

/* Give up refcount blocks that count nothing but themselves. Everything has been settled. */
int co_fn qcow2_refcount_shrink(struct qcow2 *q);

/* ---- allocate.c ---- */

/* Clusters just taken. */
struct allocation {
	uint64_t offset; /* in the file */
	uint64_t count;
	bool fresh;      /* reads as zeroes, all of it */
};

/* Take 1 to @count clusters that lie in a row. -ENOSPC, -EFBIG, -EIO. */
int co_fn qcow2_allocate(struct qcow2 *q, uint64_t count, struct allocation *ret);
/* Take exactly @count in a row. */
int co_fn qcow2_allocate_exactly(struct qcow2 *q, uint64_t count, struct allocation *ret);
/* As qcow2_allocate(), beyond everything that the file has held so far. */
int co_fn qcow2_allocate_fresh(struct qcow2 *q, uint64_t count, struct allocation *ret);
/* Take @bytes (at most one cluster) for compressed data; *ret is a byte offset. */
int co_fn qcow2_allocate_bytes(struct qcow2 *q, uint64_t bytes, uint64_t *ret);
/* Give back clusters that no table ever pointed at. */
void co_fn qcow2_unallocate(struct qcow2 *q, uint64_t offset, uint64_t count);

/* ---- free.c ---- */

/*
 * A table in memory has dropped its reference to the clusters that @bytes at
 * @offset touch. Their refcounts go down when that is durable. Does not wait.
 */
void qcow2_free_later(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum free_reason reason);
/* Flush and reclaim when much has been freed: in pieces or, @for_space, in bytes. */
int co_fn qcow2_reclaim_some(struct qcow2 *q, bool for_space);
/* Lower the refcounts of @list, to which no durable table points any more. Empties the list. */
int co_fn qcow2_reclaim(struct qcow2 *q, struct freed_list *list);
void qcow2_freed_list_append(struct freed_list *to, struct freed_list *from);
void qcow2_freed_list_finish(struct freed_list *list);

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

/* ---- flush.c ---- */

enum flush_metadata_flags {
	FLUSH_RECLAIM = 1 << 0, /* also lower the refcounts of what was freed */
	FLUSH_REFCOUNTS = 1 << 1, /* write refcounts even if they are lazy */
};

/*
 * Write all changed tables in the order that survives a crash. Durable after
 * the file's next flush; with FLUSH_RECLAIM what has been freed is durably so.
 */
int co_fn qcow2_flush_metadata(struct qcow2 *q, unsigned flags);
int co_fn qcow2_flush(struct node *n);
/* For the caches: make their slices clean. */
int co_fn qcow2_make_l2_clean(struct qcow2 *q);
int co_fn qcow2_make_refcounts_clean(struct qcow2 *q);

/* ---- l2.c ---- */

enum cluster_type {
	CLUSTER_UNALLOCATED, /* the backing file shows */
	CLUSTER_ZERO,        /* zeroes, without a host cluster */
	CLUSTER_ZERO_KEPT,   /* zeroes, with a host cluster kept for later */
	CLUSTER_NORMAL,
	CLUSTER_COMPRESSED,
};

/* An L2 entry in host order. */
struct l2_entry {
	uint64_t descriptor;
	uint64_t bitmap; /* subclusters; 0 without extended L2 */
};

/* A part of the guest's disk that is the same all along. */
struct run {
	enum cluster_type type;
	uint64_t host;       /* of the first byte; NORMAL and ZERO_KEPT */
	uint64_t descriptor; /* COMPRESSED: the L2 entry */
	uint64_t bytes;
};

/* Where in the file the slice for guest @offset lies, in the L2 table at @table. */
uint64_t qcow2_l2_slice_offset(const struct qcow2 *q, uint64_t table, uint64_t offset);
/* The slice for the cluster at @offset, pinned; NULL where there is no L2 table. */
int co_fn qcow2_l2_slice(struct qcow2 *q, uint64_t offset, struct slice **ret);
/* The same, to be changed: with an L2 table of our own, made or copied as needed. */
int co_fn qcow2_l2_slice_for_write(struct qcow2 *q, uint64_t offset, struct slice **ret);
/* The entry for the cluster at @offset in its @slice. */
struct l2_entry qcow2_l2_load(const struct qcow2 *q, const struct slice *slice, uint64_t offset);
/* The same, of any slice or table in memory, by number. */
struct l2_entry qcow2_l2_load_at(const struct qcow2 *q, const uint8_t *data, uint64_t index);
void qcow2_l2_store(struct qcow2 *q, struct slice *slice, uint64_t offset, struct l2_entry entry);
void qcow2_l2_store_at(const struct qcow2 *q, uint8_t *data, uint64_t index,
		       struct l2_entry entry);
/* The type of the subcluster at @offset (of the cluster, without extended L2). */
enum cluster_type qcow2_l2_type(const struct qcow2 *q, struct l2_entry entry, uint64_t offset);
/* Whether the format allows such an entry. */
bool qcow2_l2_is_possible(const struct qcow2 *q, struct l2_entry entry);
/* Signal the impossible entry for guest @offset. Returns -EIO. */
int co_fn qcow2_l2_corrupt(struct qcow2 *q, struct l2_entry entry, uint64_t offset);
/* Host bytes of a compressed cluster. */
void qcow2_compressed_range(const struct qcow2 *q, uint64_t descriptor, uint64_t *ret_offset,
			    uint64_t *ret_bytes);
/* The bytes of guest disk that one slice describes. */
static inline uint64_t qcow2_slice_span(const struct qcow2 *q)
{
	return UINT64_C(1) << (q->slice_bits + q->cluster_bits);
}
/* Drop the references that @entry holds, later. */
void qcow2_l2_free(struct qcow2 *q, struct l2_entry entry, enum free_reason reason);

/* ---- map.c ---- */

/*
 * What lies at @offset, at most @bytes of it (more than 0), merged as far as it
 * is equal and contiguous. A compressed run is (the rest of) one cluster. -EIO
 * after signalling corruption when an entry is impossible.
 */
int co_fn qcow2_map(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct run *ret);

/* ---- l1.c ---- */

/* The L2 table for L1 entry @index in our own possession. Takes l1_lock. */
int co_fn qcow2_l2_table_own(struct qcow2 *q, uint32_t index, uint64_t *ret_offset);
/* The offset of L1 entry @index, 0 without a table; -EIO after signalling corruption. */
int co_fn qcow2_l1_entry(struct qcow2 *q, uint64_t index, uint64_t *ret_offset);
/* Move the L1 table so that it has @count entries, durably. Takes l1_lock. */
int co_fn qcow2_l1_grow(struct qcow2 *q, uint64_t count, struct error **errp);

/* ---- task.c ---- */

/* A write under way on guest clusters @first to @last. On its coroutine's stack or heap. */
struct task {
	struct list link;
	uint64_t first, last;
	struct co_queue waiters;
};

/*
 * Begin on the clusters; 0, or -EAGAIN after waiting for somebody in the way,
 * when everything must be looked up again. An exclusive task changes table
 * entries and suffers nobody beside it; in-place tasks suffer each other.
 * qcow2_task_exclusive() may shorten the range to end before somebody's.
 */
int co_fn qcow2_task_in_place(struct qcow2 *q, struct task *t, uint64_t first, uint64_t last);
int co_fn qcow2_task_exclusive(struct qcow2 *q, struct task *t, uint64_t first, uint64_t last);
/* Give up the clusters behind @last. */
void qcow2_task_shorten(struct task *t, uint64_t last);
void qcow2_task_end(struct task *t);

/* ---- read.c ---- */

int co_fn qcow2_read_some(struct node *n, uint64_t offset, uint64_t *bytes, struct vec v,
			  unsigned flags);
/* Read bytes of the guest's disk, backing file included, and say whether all are zero by the tables
 * alone, in which case @p is not touched. For copy-on-write. */
int co_fn qcow2_read_guest(struct qcow2 *q, uint64_t offset, uint64_t bytes, void *p,
			   bool *ret_zero);
/* Read data clusters; what lies behind the end of the file in its last cluster is zero. */
int co_fn qcow2_read_host(struct qcow2 *q, uint64_t host, uint64_t bytes, struct vec v);

/* ---- write.c ---- */

int co_fn qcow2_write(struct node *n, uint64_t offset, uint64_t bytes, struct vec v,
		      unsigned flags);
/* Write zeroes as data. */
int co_fn qcow2_write_zeroes(struct qcow2 *q, uint64_t offset, uint64_t bytes);
/* ZEROES_BYTES of zeroes. */
const uint8_t *qcow2_zeroes(void);
/* Write zeroes to the file, beyond its end, too. */
int co_fn qcow2_zero_host(struct qcow2 *q, uint64_t offset, uint64_t bytes);

/* ---- cow.c ---- */

/* A write into clusters that no table points at yet, with the old data around it. */
struct cow {
	uint64_t guest, bytes;      /* the data */
	uint64_t host;              /* where it goes */
	uint64_t head, tail;        /* bytes to copy before and behind it */
	bool fresh;                 /* the clusters read as zeroes already */
};

/* Copy and write. The tables still show the old clusters, and will until this returns. */
int co_fn qcow2_cow_write(struct qcow2 *q, const struct cow *c, struct vec v);

/* ---- zero.c, drop.c ---- */

int co_fn qcow2_zero(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags);
/* Zero a part of one cluster: by subclusters where that can be, else as data. */
int co_fn qcow2_zero_part(struct qcow2 *q, uint64_t offset, uint64_t bytes, unsigned flags);
int co_fn qcow2_discard(struct node *n, uint64_t offset, uint64_t bytes);

/* How zero and discard change entries. */
enum drop_mode {
	DROP_ZERO,       /* to zero, keeping host clusters */
	DROP_ZERO_UNMAP, /* to zero, giving host clusters back */
	DROP_DISCARD,    /* what a discard makes of it */
	DROP_ALL,        /* to unallocated, beyond the end of a shrunk image */
};

/*
 * Change whole clusters, the last of which may be given in part where the image
 * ends in it: -ESTALE when it has grown meanwhile. -ENOTSUP where version 2 cannot
 * express it.
 */
int co_fn qcow2_drop(struct qcow2 *q, uint64_t offset, uint64_t bytes, enum drop_mode mode);

/* ---- compress.c: the codecs ---- */

/* Decompress to exactly @bytes_out; 0 or -EIO. Thread-safe. */
int qcow2_decompress(enum qcow2_compression type, const void *in, size_t bytes_in, void *out,
		     size_t bytes_out);
/* The compressed size, or -ENOMEM, or -ENOSPC when it would not be below @limit. Thread-safe. */
int64_t qcow2_compress(enum qcow2_compression type, const void *in, size_t bytes_in, void *out,
		       size_t limit);

/* ---- compressed.c: compressed clusters ---- */

/* Copy @bytes from @skip bytes into the cluster. */
int co_fn qcow2_read_compressed(struct qcow2 *q, uint64_t descriptor, uint64_t skip,
				uint64_t bytes, struct vec v);
int co_fn qcow2_write_compressed(struct qcow2 *q, uint64_t offset, uint64_t bytes, struct vec v);
/* Forget the decompressed cluster. */
void qcow2_compressed_forget(struct qcow2 *q);

/* ---- status.c ---- */

int co_fn qcow2_status(struct node *n, uint64_t offset, struct extent *ret);
int co_fn qcow2_info(struct node *n, struct driver_info *ret);
struct image_info_specific *qcow2_specific_info(struct node *n);
void qcow2_limits(struct node *n);

/* ---- resize.c, preallocate.c, create.c ---- */

int co_fn qcow2_truncate(struct node *n, uint64_t size, enum preallocation preallocation,
			 struct error **errp);
/* Give every cluster of the range a host cluster that reads as zeroes. */
int co_fn qcow2_preallocate(struct qcow2 *q, uint64_t offset, uint64_t bytes,
			    enum preallocation preallocation, struct error **errp);
int co_fn qcow2_create(struct graph *g, const struct blockdev_create_options *options,
		       struct error **errp);
int co_fn qcow2_change_backing(struct node *n, const char *name, const char *format,
			       struct error **errp);

/* ---- snapshot.c ---- */

/* Read the table of internal snapshots as far as needed to keep it intact. */
int co_fn qcow2_snapshots_load(struct qcow2 *q, struct error **errp);

/* ---- check.c, check_count.c, check_copied.c, rebuild.c ---- */

/* A check under way. */
struct check {
	struct qcow2 *q;
	struct image_check *result;
	unsigned fix;
	uint64_t clusters;  /* that the file has */
	uint32_t *counts;   /* references found to each */
	uint64_t next_host; /* where the next cluster would continue the last one, for statistics */
	bool needs_rebuild; /* the refcount structures cannot be mended in place */
};

int co_fn qcow2_check(struct node *n, unsigned fix, struct image_check *ret, struct error **errp);
/* The same on an image that is not fit for writing yet, or has been settled. */
int co_fn qcow2_check_image(struct qcow2 *q, unsigned fix, struct image_check *ret,
			    struct error **errp);
/* Tell the caller of the check. */
void qcow2_check_report(struct check *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Count a reference to each cluster that the range touches; @what is for the report. */
void qcow2_check_count(struct check *c, uint64_t offset, uint64_t bytes, const char *what);
/* Count everything that is referred to, but the refcount structures. */
int co_fn qcow2_check_count_all(struct check *c);
/* Count the refcount table and blocks, and judge whether they can be mended. */
void qcow2_check_count_refcounts(struct check *c);
/* Compare bit 63 of L1 and L2 entries with the refcounts, and mend it. */
int co_fn qcow2_check_copied(struct check *c);
/* Write new refcount structures from what was counted without the old ones. */
int co_fn qcow2_rebuild_refcounts(struct check *c, struct error **errp);

#endif
