/* SPDX-License-Identifier: MIT */
/*
 * Making an image. Control thread, in a coroutine.
 *
 * A new image has, in this order: the header, the refcount table, refcount
 * blocks, the L1 table. The header comes to the file last, so that what is cut
 * short is no image.
 */
#include "block/consumer.h"
#include "block/graph.h"
#include "block/open.h"
#include "drivers/qcow2/data.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/image.h"
#include "drivers/qcow2/refcount.h"

/* Where everything lies, in clusters. */
struct layout {
	uint64_t reftable, reftable_clusters;
	uint64_t blocks, block_count;
	uint64_t l1, l1_clusters, l1_entries;
	uint64_t end;
};

struct creation {
	const struct blockdev_create_options_qcow2 *options;
	struct qcow2_header header;
	struct layout layout;
	const char *backing_format;
	struct consumer consumer;
	struct edge *file;
};

static char *describe(const struct consumer *c)
{
	return xstrdup("image creation");
}

static const struct consumer_ops creation_ops = {.describe = describe};

static int version_3_only(struct error **errp, const char *what)
{
	return error_set(errp, -EINVAL,
			 "%s compatibility level 1.1 and above (use version=v3 or greater)", what);
}

static int check_backing(const struct blockdev_create_options_qcow2 *o, struct error **errp)
{
	if (!o->backing_file) {
		if (o->has_backing_fmt)
			return error_set(errp, -EINVAL,
					 "Backing format cannot be used without backing file");
		return 0;
	}
	if (strlen(o->backing_file) > BACKING_NAME_MAX)
		return error_set(errp, -EINVAL, "Backing file name too long");
	if (o->preallocation != PREALLOC_MODE_OFF && !o->extended_l2)
		return error_set(errp, -EINVAL,
				 "Backing file and preallocation can only be used at the same "
				 "time if extended_l2 is on");
	return 0;
}

int qcow2_check_refcount_bits(int64_t bits, struct error **errp)
{
	if (bits > 0 && bits <= 64 && is_power_of_2(bits))
		return 0;
	return error_set(errp, -EINVAL,
			 "Refcount width must be a power of two and may not exceed 64 bits");
}

static int check_cluster_size(const struct blockdev_create_options_qcow2 *o, struct error **errp)
{
	if (is_power_of_2(o->cluster_size) && o->cluster_size >= 1u << CLUSTER_BITS_MIN &&
	    o->cluster_size <= 1u << CLUSTER_BITS_MAX)
		return 0;
	return error_set(errp, -EINVAL, "Cluster size must be a power of two between %u and %uk",
			 1u << CLUSTER_BITS_MIN, 1u << (CLUSTER_BITS_MAX - 10));
}

int qcow2_check_geometry(const struct blockdev_create_options_qcow2 *o, struct error **errp)
{
	int r = check_cluster_size(o, errp);
	return r < 0 ? r : qcow2_check_refcount_bits(o->refcount_bits, errp);
}

static int check_clusters(const struct blockdev_create_options_qcow2 *o, struct error **errp)
{
	if (o->extended_l2 && o->version == BLOCKDEV_QCOW2_VERSION_V2)
		return version_3_only(errp, "Extended L2 entries are only supported with");
	int r = check_cluster_size(o, errp);
	if (r < 0)
		return r;
	if (o->extended_l2 && o->cluster_size < 1u << EXTENDED_L2_CLUSTER_BITS_MIN)
		return error_set(errp, -EINVAL,
				 "Extended L2 entries are only supported with cluster sizes of at "
				 "least %u bytes", 1u << EXTENDED_L2_CLUSTER_BITS_MIN);
	return 0;
}

static int check_features(const struct blockdev_create_options_qcow2 *o, struct error **errp)
{
	bool is_v2 = o->version == BLOCKDEV_QCOW2_VERSION_V2;
	if (is_v2 && o->lazy_refcounts)
		return version_3_only(errp, "Lazy refcounts only supported with");
	int r = qcow2_check_refcount_bits(o->refcount_bits, errp);
	if (r < 0)
		return r;
	if (is_v2 && o->refcount_bits != 16)
		return error_set(errp, -EINVAL,
				 "Different refcount widths than 16 bits require compatibility "
				 "level 1.1 or above (use version=v3 or greater)");
	if (is_v2 && o->compression_type != QCOW2_COMPRESSION_TYPE_ZLIB)
		return version_3_only(errp, "Non-zlib compression type is only supported with");
	return 0;
}

/* Of several faults the one is told that is told by others. */
static int check_options(const struct blockdev_create_options_qcow2 *o, struct error **errp)
{
	if (o->size % 512 != 0)
		return error_set(errp, -EINVAL, "Image size must be a multiple of 512 bytes");
	int r = check_clusters(o, errp);
	if (r == 0)
		r = check_backing(o, errp);
	return r < 0 ? r : check_features(o, errp);
}

/* Find room for refcount blocks that cover the metadata. */
static int make_layout(struct creation *c, struct error **errp)
{
	const struct qcow2_header *h = &c->header;
	uint64_t cluster_bytes = UINT64_C(1) << h->cluster_bits;
	bool extended = h->incompatible & INCOMPATIBLE_EXTENDED_L2;
	uint64_t span = cluster_bytes * (cluster_bytes / (extended ? 16 : 8));
	uint64_t block_entries = UINT64_C(1) << (h->cluster_bits + 3 - h->refcount_order);
	struct layout l = {.reftable = 1, .reftable_clusters = 1, .block_count = 1};

	l.l1_entries = div_round_up(h->size, span);
	if (l.l1_entries > L1_BYTES_MAX / sizeof(uint64_t) || h->size > INT64_MAX)
		return error_set(errp, -EFBIG,
				 "The image size is too large (try using a larger cluster size)");
	l.l1_clusters = div_round_up(l.l1_entries * sizeof(uint64_t), cluster_bytes);
	for (;;) {
		l.blocks = l.reftable + l.reftable_clusters;
		l.l1 = l.blocks + l.block_count;
		l.end = l.l1 + l.l1_clusters;
		uint64_t blocks = div_round_up(l.end, block_entries);
		uint64_t table = div_round_up(blocks * sizeof(uint64_t), cluster_bytes);

		if (blocks <= l.block_count && table <= l.reftable_clusters)
			break;
		l.block_count = MAX(blocks, l.block_count);
		l.reftable_clusters = MAX(table, l.reftable_clusters);
	}
	c->layout = l;
	c->header.l1_entries = l.l1_entries;
	c->header.l1_offset = l.l1_entries > 0 ? l.l1 << h->cluster_bits : 0;
	c->header.reftable_offset = l.reftable << h->cluster_bits;
	c->header.reftable_clusters = l.reftable_clusters;
	return 0;
}

static void make_header(struct creation *c)
{
	const struct blockdev_create_options_qcow2 *o = c->options;
	bool is_v2 = o->version == BLOCKDEV_QCOW2_VERSION_V2;

	c->header = (struct qcow2_header){
		.version = is_v2 ? 2 : 3,
		.cluster_bits = __builtin_ctzll(o->cluster_size),
		.size = o->size,
		.refcount_order = __builtin_ctzll(o->refcount_bits),
		.length = is_v2 ? HEADER_BYTES_V2 : HEADER_BYTES_V3,
	};
	if (o->lazy_refcounts)
		c->header.compatible |= COMPATIBLE_LAZY_REFCOUNTS;
	if (o->compression_type == QCOW2_COMPRESSION_TYPE_ZSTD) {
		c->header.compression_type = COMPRESSION_ZSTD;
		c->header.incompatible |= INCOMPATIBLE_COMPRESSION;
	}
	if (o->extended_l2)
		c->header.incompatible |= INCOMPATIBLE_EXTENDED_L2;
	if (o->has_backing_fmt)
		c->backing_format = blockdev_driver_name(o->backing_fmt);
}

static int co_fn write_clusters(struct creation *c, uint64_t cluster, const uint8_t *data,
				uint64_t count)
{
	unsigned bits = c->header.cluster_bits;

	return edge_write(c->file, cluster << bits, count << bits, data, 0);
}

static int co_fn write_reftable(struct creation *c)
{
	const struct layout *l = &c->layout;
	unsigned bits = c->header.cluster_bits;
	_cleanup_free_ uint8_t *table = calloc(l->reftable_clusters, (size_t)1 << bits);

	if (!table)
		return -ENOMEM;
	for (uint64_t i = 0; i < l->block_count; i++)
		store_be64(table + i * sizeof(uint64_t), (l->blocks + i) << bits);
	return write_clusters(c, l->reftable, table, l->reftable_clusters);
}

static int co_fn write_blocks(struct creation *c)
{
	const struct layout *l = &c->layout;
	unsigned order = c->header.refcount_order;
	size_t bytes = (size_t)1 << c->header.cluster_bits;
	uint64_t entries = (bytes * 8) >> order;
	_cleanup_free_ uint8_t *block = malloc(bytes);
	int r = block ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < l->block_count && r == 0; i++) {
		uint64_t first = i * entries, n = l->end > first ? MIN(l->end - first, entries) : 0;

		memset(block, 0, bytes);
		for (uint64_t j = 0; j < n; j++)
			qcow2_refcount_store(block, order, j, 1);
		r = write_clusters(c, l->blocks + i, block, 1);
	}
	return r;
}

/* Bytes of the L1 table in the file; behind them its last cluster is a hole, or beyond the end. */
static uint64_t l1_bytes(const struct creation *c)
{
	return align_up(c->layout.l1_entries * sizeof(uint64_t), 512);
}

static int co_fn write_l1(struct creation *c)
{
	uint64_t start = c->layout.l1 << c->header.cluster_bits, bytes = l1_bytes(c);
	int r = 0;

	for (uint64_t at = 0; at < bytes && r == 0; at += ZEROES_BYTES)
		r = edge_write(c->file, start + at, MIN(bytes - at, ZEROES_BYTES), qcow2_zeroes(), 0);
	return r;
}

static int co_fn write_header(struct creation *c, struct error **errp)
{
	struct list none = LIST_INIT(none);
	_cleanup_free_ uint8_t *data = calloc(1, (size_t)1 << c->header.cluster_bits);

	if (!data)
		return error_set_errno(errp, -ENOMEM, "Could not write the image");
	int64_t r = qcow2_header_compose(&c->header, &none, c->options->backing_file,
					 c->backing_format, 0, data, errp);

	if (r < 0)
		return r;
	r = edge_flush(c->file);
	if (r == 0)
		r = write_clusters(c, 0, data, 1);
	if (r == 0)
		r = edge_flush(c->file);
	if (r < 0)
		return error_set_errno(errp, r, "Could not write the image");
	return 0;
}

/* Drop old content and have room for the new. A device has its size, which may do. */
static int co_fn make_room(struct creation *c, struct error **errp)
{
	uint64_t size = (c->layout.l1 << c->header.cluster_bits) + l1_bytes(c);

	(void)edge_truncate(c->file, 0, PREALLOCATION_OFF, NULL);
	if (c->file->child->size >= size)
		return 0;
	return edge_truncate(c->file, size, PREALLOCATION_OFF, errp);
}

static int co_fn write_image(struct creation *c, struct error **errp)
{
	int r = make_room(c, errp);

	if (r < 0)
		return r;
	r = write_reftable(c);
	if (r == 0)
		r = write_blocks(c);
	if (r == 0)
		r = write_l1(c);
	if (r < 0)
		return error_set_errno(errp, r, "Could not write the image");
	return write_header(c, errp);
}

/* Write the image to @file. */
static int co_fn write_to_node(struct creation *c, struct node *file, struct error **errp)
{
	consumer_init(&c->consumer, file->graph, &creation_ops);
	int r = edge_attach_consumer(&c->consumer, "file", file,
				     PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE,
				     PERM_CONSISTENT_READ, &c->file, errp);

	if (r == 0) {
		/* Nobody else can write to it, or take it away: commands need not wait for storage. */
		struct graph_suspension suspension;
		graph_change_suspend(file->graph, &suspension);
		consumer_enter(&c->consumer);
		r = write_image(c, errp);
		consumer_leave(&c->consumer);
		graph_change_resume(file->graph, &suspension);
		edge_detach(c->file);
	}
	consumer_finish(&c->consumer);
	return r;
}

/* Let others change the graph meanwhile, but keep them off the image, which has a name by now. */
static int co_fn preallocate_alone(struct creation *c, struct node *n, enum preallocation mode,
				   struct error **errp)
{
	struct edge *edge;
	struct graph_suspension suspension;

	consumer_init(&c->consumer, n->graph, &creation_ops);
	int r = edge_attach_consumer(&c->consumer, "root", n, PERM_WRITE | PERM_RESIZE, 0, &edge,
				     errp);

	if (r == 0) {
		graph_change_suspend(n->graph, &suspension);
		consumer_enter(&c->consumer);
		r = qcow2_preallocate(n->state, 0, c->options->size, mode, errp);
		if (r == 0) {
			r = qcow2_end_writing(n->state);
			if (r < 0)
				error_set_errno(errp, r, "Could not preallocate metadata");
		}
		/* Who has the lock now may be waiting for us. */
		consumer_leave(&c->consumer);
		graph_change_resume(n->graph, &suspension);
		edge_detach(edge);
	}
	consumer_finish(&c->consumer);
	return r;
}

/* Open the new image and set aside what was asked for. */
static int co_fn preallocate(struct creation *c, struct node *file, struct error **errp)
{
	static const enum preallocation modes[] = {
		[PREALLOC_MODE_OFF] = PREALLOCATION_OFF,
		[PREALLOC_MODE_METADATA] = PREALLOCATION_METADATA,
		[PREALLOC_MODE_FALLOC] = PREALLOCATION_FALLOC,
		[PREALLOC_MODE_FULL] = PREALLOCATION_FULL,
	};
	const struct blockdev_create_options_qcow2 *o = c->options;
	struct node *n;

	if (o->preallocation == PREALLOC_MODE_OFF || o->size == 0)
		return 0;
	int r = node_open_internal(file->graph, &qcow2_driver, NULL, false, file, &n, errp);

	if (r < 0)
		return r;
	r = preallocate_alone(c, n, modes[o->preallocation], errp);
	node_unref(n);
	return r;
}

static int co_fn create_in(struct node *file, const struct blockdev_create_options_qcow2 *o,
			   struct error **errp)
{
	struct creation c = {.options = o};
	int r = check_options(o, errp);

	if (r < 0)
		return r;
	make_header(&c);
	r = make_layout(&c, errp);
	if (r == 0)
		r = write_to_node(&c, file, errp);
	return r == 0 ? preallocate(&c, file, errp) : r;
}

int co_fn qcow2_create(struct graph *g, const struct blockdev_create_options *options,
		       struct error **errp)
{
	const struct blockdev_create_options_qcow2 *o = &options->u.qcow2;
	struct node *file;
	int r = node_open_ref(g, o->file, &file, errp);

	if (r < 0)
		return r;
	r = create_in(file, o, errp);
	node_unref(file);
	return r;
}
