/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing an image, for which the header, the L1 table and the
 * snapshot table are needed; what writing needs beside them is writing.c's.
 * Node's loop.
 */
#include "block/bitmap.h"
#include "block/graph.h"
#include "block/open.h"
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/compress.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/overlap.h"
#include "drivers/qcow2/snapshot.h"

/* Enough for the fixed part of any header that fits its first sectors. */
#define HEADER_READ_BYTES 4096

static int co_fn attach_file(struct node *n, const struct blockdev_options *options, void *arg,
			     struct error **errp)
{
	struct blockdev_ref ref = {.kind = BLOCKDEV_REF_REFERENCE};
	struct edge *edge;

	if (!options)
		ref.u.reference = ((struct node *)arg)->name;
	return node_open_child(n, options ? options->u.qcow2.file : &ref, "file",
			       EDGE_DATA | EDGE_METADATA | EDGE_PRIMARY, &edge, errp);
}

/* Read the fixed part of the header. */
static int co_fn load_header(struct qcow2 *q, struct error **errp)
{
	uint64_t bytes = MIN(qcow2_file_size(q), HEADER_READ_BYTES);
	_cleanup_free_ uint8_t *data = xalloc(1, HEADER_READ_BYTES);
	int r = edge_read(q->node->file, 0, bytes, data, 0);

	if (r < 0)
		return error_set_errno(errp, r, "Could not read qcow2 header");
	return qcow2_header_decode(data, bytes, &q->header, errp);
}

/* A copy of @bytes of a name from the header's cluster. Free with free(). */
static int co_fn load_backing_name(struct qcow2 *q, char **ret, struct error **errp)
{
	struct qcow2_header *h = &q->header;
	uint64_t room = q->cluster_bytes - h->backing_offset;

	if (h->backing_offset == 0) {
		h->backing_bytes = 0;
		return 0;
	}
	if (h->backing_bytes > MIN(BACKING_NAME_MAX, room))
		return error_set(errp, -EINVAL, "Backing file name too long");
	_cleanup_free_ char *name = xalloc(1, h->backing_bytes + 1);
	int r = edge_read(q->node->file, h->backing_offset, h->backing_bytes, name, 0);

	if (r < 0)
		return error_set_errno(errp, r, "Could not read backing file name");
	if (name[0] != '\0')
		*ret = TAKE(name);
	return 0;
}

/* The extensions, from the header's end to the backing name or the end of the cluster. */
static int co_fn load_extensions(struct qcow2 *q, char **ret_format, struct error **errp)
{
	uint64_t from = q->header.length, to = q->cluster_bytes;

	if (q->header.backing_offset != 0)
		to = q->header.backing_offset;
	to = MIN(to, qcow2_file_size(q));
	if (to <= from)
		return 0;
	uint8_t *data = buffer_get(q->loop, to - from);
	int r = data ? edge_read(q->node->file, from, to - from, data, 0) : -ENOMEM;

	if (r < 0)
		error_set_errno(errp, r, "Could not read the header extensions");
	else
		r = qcow2_extensions_decode(data, to - from, &q->extensions, ret_format, errp);
	if (data)
		buffer_put(q->loop, data, to - from);
	return r;
}

static int check_features(struct qcow2 *q, struct error **errp)
{
	uint64_t unknown = q->header.incompatible & ~(uint64_t)INCOMPATIBLE_KNOWN;

	if (unknown & ~(uint64_t)INCOMPATIBLE_DATA_FILE) {
		_cleanup_free_ char *names =
			qcow2_feature_names(&q->extensions, unknown & ~(uint64_t)INCOMPATIBLE_DATA_FILE);

		return error_set(errp, -ENOTSUP, "Unsupported qcow2 feature(s): %s", names);
	}
	if (unknown)
		return error_set(errp, -ENOTSUP,
				 "Images with an external data file ('data-file') are not supported");
	switch (q->header.crypt_method) {
	case CRYPT_NONE:
		return 0;
	case CRYPT_AES:
	case CRYPT_LUKS:
		return error_set(errp, -ENOTSUP, "Encrypted images (%s) are not supported",
				 q->header.crypt_method == CRYPT_AES ? "AES" : "LUKS");
	default:
		return error_set(errp, -EINVAL, "Unsupported encryption method %" PRIu32,
				 q->header.crypt_method);
	}
}

void qcow2_set_refcount_order(struct qcow2 *q, unsigned order)
{
	q->header.refcount_order = q->refcount_order = order;
	q->block_bits = q->cluster_bits + 3 - order;
	q->refcount_max = UINT64_MAX >> (64 - (1u << order));
}

/* From the header to shifts and masks. */
static void set_geometry(struct qcow2 *q)
{
	const struct qcow2_header *h = &q->header;

	q->cluster_bits = h->cluster_bits;
	q->cluster_bytes = UINT64_C(1) << h->cluster_bits;
	q->extended_l2 = h->incompatible & INCOMPATIBLE_EXTENDED_L2;
	q->entry_shift = q->extended_l2 ? 4 : 3;
	q->l2_bits = q->cluster_bits - q->entry_shift;
	q->granule_bits = q->cluster_bits - (q->extended_l2 ? 5 : 0); /* SUBCLUSTERS */
	qcow2_set_refcount_order(q, h->refcount_order);
}

static unsigned log2_of(uint64_t power)
{
	return __builtin_ctzll(power);
}

void qcow2_caches_init(struct qcow2 *q)
{
	q->slice_bits = log2_of(q->settings.l2_slice_bytes) - q->entry_shift;
	qcow2_cache_init(&q->l2_cache, q, METADATA_ACTIVE_L2, q->settings.l2_slice_bytes,
			 q->settings.l2_cache_bytes, qcow2_make_l2_clean);
	qcow2_refcount_cache_init(q);
}

void qcow2_refcount_cache_init(struct qcow2 *q)
{
	uint64_t refcount_slice = MIN(q->cluster_bytes, 4096);

	q->refcount_slice_bits = log2_of(refcount_slice) + 3 - q->refcount_order;
	qcow2_cache_init(&q->refcount_cache, q, METADATA_REFCOUNT_BLOCK, refcount_slice,
			 q->settings.refcount_cache_bytes, qcow2_make_refcounts_clean);
}

static void on_clean_timer(struct loop_timer *t)
{
	struct qcow2 *q = container_of(t, struct qcow2, clean_timer);

	qcow2_cache_clean(&q->l2_cache);
	qcow2_cache_clean(&q->refcount_cache);
	if (q->decompressed && !q->decompressed_used)
		qcow2_compressed_forget(q);
	q->decompressed_used = false;
	if (q->l2_cache.count > 0 || q->refcount_cache.count > 0 || q->decompressed)
		qcow2_arm_clean_timer(q);
}

void qcow2_arm_clean_timer(struct qcow2 *q)
{
	uint64_t interval = q->settings.clean_interval_ns;

	if (interval > 0 && !loop_timer_is_set(&q->clean_timer))
		loop_timer_set(&q->clean_timer, loop_now_ns(q->loop) + interval);
}

static void state_init(struct qcow2 *q, struct node *n)
{
	q->node = n;
	q->loop = n->loop;
	list_init(&q->extensions);
	list_init(&q->bitmaps);
	list_init(&q->exclusive);
	list_init(&q->in_place);
	co_mutex_init(&q->lock);
	co_mutex_init(&q->l1_lock);
	co_mutex_init(&q->flush_lock);
	co_mutex_init(&q->header_lock);
	co_mutex_init(&q->reclaim_lock);
	co_mutex_init(&q->begin_lock);
	co_mutex_init(&q->layout_lock);
	co_queue_init(&q->epoch_waiters);
	co_queue_init(&q->decompress_waiters);
	loop_timer_init(q->loop, &q->clean_timer, on_clean_timer);
}

/* Free everything that the state holds. */
static void state_finish(struct qcow2 *q)
{
	loop_timer_cancel(&q->clean_timer);
	if (q->l2_cache.buckets)
		qcow2_cache_finish(&q->l2_cache);
	if (q->refcount_cache.buckets)
		qcow2_cache_finish(&q->refcount_cache);
	qcow2_compressed_forget(q);
	qcow2_table_finish(&q->l1);
	qcow2_table_finish(&q->reftable);
	qcow2_metadata_finish(q);
	qcow2_freed_list_finish(&q->freed);
	qcow2_extensions_free(&q->extensions);
	qcow2_snapshots_free(q->snapshots, q->snapshots ? q->header.snapshot_count : 0);
	qcow2_bitmaps_free(&q->bitmaps);
	free(q->header.unknown_fields);
	free(q->corruption_message);
}

int qcow2_table_error(const struct qcow2 *q, const char *table, uint64_t offset, uint64_t bytes,
		      int r, struct error **errp)
{
	uint64_t end;

	if (add_overflows(offset, bytes, &end) || end > qcow2_file_size(q))
		return error_set(errp, r, "Could not read %s: It lies beyond the end of the file",
				 table);
	return error_set_errno(errp, r, "Could not read %s", table);
}

int co_fn qcow2_load_reftable(struct qcow2 *q, struct error **errp)
{
	uint64_t bytes = (uint64_t)q->header.reftable_clusters << q->cluster_bits;

	if (q->reftable.entries)
		return 0;
	qcow2_event(q, BLKDEBUG_EVENT_REFTABLE_LOAD);
	int r = qcow2_table_load(&q->reftable, q, q->header.reftable_offset,
				 bytes / sizeof(uint64_t));

	/* A check finds everything uncounted then, and can count it anew. */
	if (r < 0 && (q->node->open_flags & NODE_OPEN_FOR_CHECK))
		r = qcow2_table_load(&q->reftable, q, 0, 0);
	if (r < 0)
		return qcow2_table_error(q, "the refcount table", q->header.reftable_offset, bytes,
					 r, errp);
	return 0;
}

static int co_fn load_tables(struct qcow2 *q, struct error **errp)
{
	int r = qcow2_table_load(&q->l1, q, q->header.l1_offset, q->header.l1_entries);

	if (r < 0)
		return qcow2_table_error(q, "L1 table", q->header.l1_offset,
					 q->header.l1_entries * sizeof(uint64_t), r, errp);
	r = qcow2_snapshots_load(q, errp);
	/* Those of an inactive node are another's. */
	if (r == 0 && q->node->active)
		r = qcow2_bitmaps_open(q, errp);
	if (r == 0 && q->writable)
		r = qcow2_begin_writing(q, errp);
	return r;
}

static int co_fn open_image(struct qcow2 *q, const struct blockdev_options *options,
			    struct error **errp)
{
	_cleanup_free_ char *name = NULL, *format = NULL;
	struct node *n = q->node;
	int r = load_header(q, errp);

	if (r < 0)
		return r;
	q->cluster_bytes = UINT64_C(1) << q->header.cluster_bits;
	r = load_extensions(q, &format, errp);
	if (r == 0)
		r = check_features(q, errp);
	if (r == 0)
		r = qcow2_header_check_tables(&q->header, errp);
	if (r < 0)
		return r;
	set_geometry(q);
	r = load_backing_name(q, &name, errp);
	if (r == 0)
		r = qcow2_settings_init(&q->settings, q, options, errp);
	if (r < 0)
		return r;
	qcow2_caches_init(q);
	n->size = q->header.size;
	r = load_tables(q, errp);
	if (r < 0)
		return r;
	free(n->backing_name);
	free(n->backing_format);
	n->backing_name = TAKE(name);
	n->backing_format = TAKE(format);
	return 0;
}

int co_fn qcow2_open(struct node *n, const struct blockdev_options *options, void *arg,
		     struct error **errp)
{
	struct qcow2 *q = n->state;

	state_init(q, n);
	int r = attach_file(n, options, arg, errp);

	if (r < 0)
		return r;
	q->writable = !n->read_only && n->active;
	struct graph_apart *apart = node_opening_leave(n);

	r = open_image(q, options, errp);
	node_opening_return(n, apart);
	if (r < 0)
		state_finish(q);
	return r;
}

/* Open the image once more, beside what is known of it until that has succeeded. */
int co_fn qcow2_activate(struct node *n, struct error **errp)
{
	struct qcow2 *old = n->state, *q = NEW(struct qcow2);
	uint64_t old_size = n->size;

	n->state = q;
	state_init(q, n);
	q->writable = !n->read_only;
	int r = open_image(q, n->options, errp);
	uint64_t size = n->size;

	n->size = old_size;
	if (r < 0) {
		bitmaps_destroy_persistent(n); /* those that were loaded before it failed */
		n->state = old;
		state_finish(q);
		free(q);
		return r;
	}
	state_finish(old);
	free(old);
	node_set_size(n, size);
	return 0;
}

void co_fn qcow2_close(struct node *n)
{
	struct error *error = NULL;
	struct qcow2 *q = n->state;

	/* The image is whole whatever comes of this, but may have leaks. */
	if (q->writable) {
		if (qcow2_bitmaps_store(q, &error) < 0) {
			error_prefix(&error, "Lost persistent bitmaps of node '%s': ", n->name);
			node_close_failed(n, TAKE(error));
		}
		int r = qcow2_end_writing(q);
		if (r < 0) {
			error_set_errno(&error, r, "Could not complete the tables of node '%s' as it "
					"was closed", n->name);
			node_close_failed(n, error);
		}
	} else if (qcow2_bitmaps_are_missing(q)) {
		error_set(&error, -EACCES, "Lost persistent bitmaps of node '%s': No write access",
			  n->name);
		node_close_failed(n, error);
	}
	state_finish(q);
}

int qcow2_probe(const uint8_t *data, size_t bytes, const char *filename)
{
	if (bytes < HEADER_BYTES_V2 || load_be32(data + HEADER_MAGIC) != QCOW2_MAGIC)
		return 0;
	uint32_t version = load_be32(data + HEADER_VERSION);

	return version >= 2 ? 100 : 0;
}
