/* SPDX-License-Identifier: MIT */
/*
 * Making an image. Control thread, in a coroutine.
 *
 * A sparse extent has, in this order: the header, the descriptor, the redundant directory and its
 * tables, the directory and its tables, and then grains. The header comes to the file last, and a
 * descriptor of its own file after all extents, so that what is cut short is no image.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "block/consumer.h"
#include "block/graph.h"
#include "block/open.h"
#include "drivers/vmdk/state.h"

#define GRAIN_SECTORS 128
#define DESCRIPTOR_SECTOR 1
#define DESCRIPTOR_SECTORS 20
#define SPLIT_BYTES (2 * GiB)
#define TABLE_SECTORS (VMDK_TABLE_ENTRIES_MAX * VMDK_ENTRY_BYTES / VMDK_SECTOR_BYTES)
#define DIRECTORY_CHUNK 1024 /* entries */

static const char *const adapter_names[] = {
	[BLOCKDEV_VMDK_ADAPTER_TYPE_IDE] = "ide",
	[BLOCKDEV_VMDK_ADAPTER_TYPE_BUSLOGIC] = "buslogic",
	[BLOCKDEV_VMDK_ADAPTER_TYPE_LSILOGIC] = "lsilogic",
	[BLOCKDEV_VMDK_ADAPTER_TYPE_LEGACY_ESX] = "legacyESX",
};

static const char *const subformat_names[] = {
	[BLOCKDEV_VMDK_SUBFORMAT_MONOLITHIC_SPARSE] = "monolithicSparse",
	[BLOCKDEV_VMDK_SUBFORMAT_MONOLITHIC_FLAT] = "monolithicFlat",
	[BLOCKDEV_VMDK_SUBFORMAT_TWO_GB_MAX_EXTENT_SPARSE] = "twoGbMaxExtentSparse",
	[BLOCKDEV_VMDK_SUBFORMAT_TWO_GB_MAX_EXTENT_FLAT] = "twoGbMaxExtentFlat",
	[BLOCKDEV_VMDK_SUBFORMAT_STREAM_OPTIMIZED] = "streamOptimized",
};

struct creation {
	const struct blockdev_create_options_vmdk *options;
	enum blockdev_vmdk_subformat subformat;
	bool is_flat, is_split, is_compressed, has_zero_grain;
	unsigned count;        /* extents in files of their own */
	uint32_t cid, parent_cid;
	struct consumer consumer;
	struct edge *file, **extents;
};

static char *describe(const struct consumer *c)
{
	return xstrdup("image creation");
}

static const struct consumer_ops creation_ops = {.describe = describe};

/* --- Options ---------------------------------------------------------------------- */

static enum blockdev_vmdk_subformat subformat_of(const struct blockdev_create_options_vmdk *o)
{
	return o->has_subformat ? o->subformat : BLOCKDEV_VMDK_SUBFORMAT_MONOLITHIC_SPARSE;
}

static bool subformat_is_flat(enum blockdev_vmdk_subformat s)
{
	return s == BLOCKDEV_VMDK_SUBFORMAT_MONOLITHIC_FLAT ||
	       s == BLOCKDEV_VMDK_SUBFORMAT_TWO_GB_MAX_EXTENT_FLAT;
}

static bool subformat_is_split(enum blockdev_vmdk_subformat s)
{
	return s == BLOCKDEV_VMDK_SUBFORMAT_TWO_GB_MAX_EXTENT_SPARSE ||
	       s == BLOCKDEV_VMDK_SUBFORMAT_TWO_GB_MAX_EXTENT_FLAT;
}

/* Extents in files of their own; more than can be opened again for sizes that are too large. */
static unsigned extent_count(enum blockdev_vmdk_subformat s, uint64_t size)
{
	if (subformat_is_split(s))
		return (unsigned)MIN(div_round_up(size, SPLIT_BYTES), VMDK_EXTENTS_MAX + 1);
	return s == BLOCKDEV_VMDK_SUBFORMAT_MONOLITHIC_FLAT ? 1 : 0;
}

static uint64_t extent_size(enum blockdev_vmdk_subformat s, uint64_t size, unsigned index)
{
	return subformat_is_split(s) ? MIN(size - index * SPLIT_BYTES, SPLIT_BYTES) : size;
}

/* Values come into the descriptor as they are: they must not end their line or their quotes. */
static int check_text(const char *what, const char *text, bool has_quotes, struct error **errp)
{
	for (const char *p = text ? text : ""; *p; p++)
		if ((unsigned char)*p < ' ' || (*p == '"' && !has_quotes))
			return error_set(errp, -EINVAL,
					 "%s '%s' has a character that a VMDK descriptor cannot hold",
					 what, text);
	return 0;
}

static int check_options(const struct creation *c, struct error **errp)
{
	const struct blockdev_create_options_vmdk *o = c->options;
	unsigned given = o->has_extents ? o->extents.count : 0;

	if (o->size % VMDK_SECTOR_BYTES != 0)
		return error_set(errp, -EINVAL, "Image size must be a multiple of 512 bytes");
	if (o->size > INT64_MAX || c->count > VMDK_EXTENTS_MAX)
		return error_set(errp, -EFBIG, "The image size is too large");
	if (o->backing_file && c->is_flat)
		return error_set(errp, -ENOTSUP, "Flat image can't have backing file");
	if (c->has_zero_grain && c->is_flat)
		return error_set(errp, -ENOTSUP, "Flat image can't enable zeroed grain");
	if (o->backing_file && strlen(o->backing_file) > VMDK_NAME_MAX)
		return error_set(errp, -EINVAL, "Backing file name too long");
	if (given < c->count)
		return error_set(errp, -EINVAL, "Extent [%u] not specified", given);
	if (given > c->count)
		return error_set(errp, -EINVAL, "List of extents contains unused extents");
	int r = check_text("Backing file name", o->backing_file, false, errp);

	if (r == 0)
		r = check_text("Hardware version", o->hwversion, false, errp);
	return r < 0 ? r : check_text("Tools version", o->toolsversion, false, errp);
}

/* --- Backing file ----------------------------------------------------------------- */

/* Look at the image that shall be below, for its content ID, whoever uses it. */
static int co_fn read_parent_cid(struct creation *c, struct node *file, struct error **errp)
{
	const char *name = c->options->backing_file;
	_cleanup_free_ char *filename = NULL;
	struct blockdev_options *options;
	struct node *n;

	if (!name)
		return 0;
	int r = backing_filename(file->filename, name, &filename, errp);

	if (r == 0)
		r = options_from_filename(file->graph, filename, NULL, &options, &(bool){false}, errp);
	if (r < 0)
		return r;
	if (options->driver != BLOCKDEV_DRIVER_VMDK) {
		r = error_set(errp, -EINVAL, "Invalid backing file format: %s. Must be vmdk",
			      blockdev_driver_name(options->driver));
		blockdev_options_free(options);
		return r;
	}
	options->has_read_only = options->read_only = true;
	options->has_force_share = options->force_share = true;
	r = node_open_with_flags(file->graph, options, NODE_OPEN_ALONE, &n, errp);
	blockdev_options_free(options);
	if (r < 0)
		return r;
	c->parent_cid = ((struct vmdk *)n->state)->cid;
	node_unref(n);
	return 0;
}

/* --- Descriptor ------------------------------------------------------------------- */

static const char *base_name(const char *filename)
{
	const char *slash = strrchr(filename, '/'), *colon = strchr(filename, ':');

	return slash ? slash + 1 : colon ? colon + 1 : filename;
}

/* The line about the extent in the file of @e. */
static int add_line(struct creation *c, const struct edge *e, uint64_t bytes, char **lines,
		    struct error **errp)
{
	const char *name = base_name(e->child->filename);
	int r = check_text("File name", name, e == c->file, errp);

	if (r == 0 && e != c->file &&
	    (string_starts_with(e->child->filename, "json:") || strlen(name) > VMDK_NAME_MAX))
		r = error_set(errp, -EINVAL, "A VMDK descriptor cannot name '%s'",
			      e->child->filename);
	if (r < 0)
		return r;
	char *longer = xasprintf("%sRW %" PRIu64 " %s \"%s\"%s\n", *lines, bytes / VMDK_SECTOR_BYTES,
				 c->is_flat ? "FLAT" : "SPARSE", name, c->is_flat ? " 0" : "");

	free(*lines);
	*lines = longer;
	return 0;
}

static int compose(struct creation *c, char **ret, struct error **errp)
{
	const struct blockdev_create_options_vmdk *o = c->options;
	_cleanup_free_ char *lines = xstrdup("");
	int r = c->count == 0 ? add_line(c, c->file, o->size, &lines, errp) : 0;

	for (unsigned i = 0; i < c->count && r == 0; i++)
		r = add_line(c, c->extents[i], extent_size(c->subformat, o->size, i), &lines, errp);
	if (r < 0)
		return r;
	struct vmdk_description d = {
		.create_type = subformat_names[c->subformat],
		.cid = c->cid,
		.parent_cid = c->parent_cid,
		.parent_name = o->backing_file,
		.extent_lines = lines,
		.hardware_version = o->hwversion ? o->hwversion : "4",
		.adapter_type = adapter_names[o->has_adapter_type ? o->adapter_type
								  : BLOCKDEV_VMDK_ADAPTER_TYPE_IDE],
		.tools_version = o->toolsversion ? o->toolsversion : "2147483647",
		.size = o->size,
	};
	char *text = vmdk_descriptor_compose(&d);
	size_t room = c->count == 0 ? DESCRIPTOR_SECTORS * VMDK_SECTOR_BYTES : VMDK_DESCRIPTOR_BYTES_MAX;

	if (strlen(text) > room) {
		free(text);
		return error_set(errp, -EFBIG, "The VMDK descriptor would be too large");
	}
	*ret = text;
	return 0;
}

/* --- Files ------------------------------------------------------------------------ */

/* Drop old content and have @bytes of zeroes. A device has its size, which may do. */
static int co_fn make_room(struct edge *e, uint64_t bytes, struct error **errp)
{
	(void)edge_truncate(e, 0, PREALLOCATION_OFF, NULL);
	uint64_t old = MIN(e->child->size, bytes);
	int r = old > 0 ? edge_zero(e, 0, old, 0) : 0;

	if (r < 0)
		return error_set_errno(errp, r, "Could not write the image");
	return e->child->size >= bytes ? 0 : edge_truncate(e, bytes, PREALLOCATION_OFF, errp);
}

static int make_header(const struct creation *c, uint64_t size, struct vmdk_header *h,
		       struct error **errp)
{
	*h = (struct vmdk_header){
		.version = c->is_compressed ? 3 : c->has_zero_grain ? 2 : 1,
		.flags = VMDK_FLAG_NEWLINES | VMDK_FLAG_REDUNDANT,
		.capacity = size / VMDK_SECTOR_BYTES,
		.grain = GRAIN_SECTORS,
		.descriptor = DESCRIPTOR_SECTOR,
		.descriptor_size = DESCRIPTOR_SECTORS,
		.table_entries = VMDK_TABLE_ENTRIES_MAX,
		.redundant = DESCRIPTOR_SECTOR + DESCRIPTOR_SECTORS,
		.compression = c->is_compressed ? VMDK_COMPRESSION_DEFLATE : 0,
	};
	if (c->has_zero_grain)
		h->flags |= VMDK_FLAG_ZERO_GRAIN;
	if (c->is_compressed)
		h->flags |= VMDK_FLAG_COMPRESSED | VMDK_FLAG_MARKERS;
	h->directory_entries = div_round_up(h->capacity, GRAIN_SECTORS * VMDK_TABLE_ENTRIES_MAX);
	uint64_t part = div_round_up(h->directory_entries * VMDK_ENTRY_BYTES, VMDK_SECTOR_BYTES) +
			h->directory_entries * TABLE_SECTORS;

	h->directory = h->redundant + part;
	h->overhead = align_up(h->directory + part, GRAIN_SECTORS);
	/* Places are numbers of 32 bits, and other readers have limits as well. */
	if (h->overhead > UINT32_MAX)
		return error_set(errp, -EFBIG, "The image size is too large");
	return vmdk_header_check(h, UINT64_MAX, errp);
}

/* A directory at sector @at, whose tables follow it. */
static int co_fn write_directory(struct edge *e, const struct vmdk_header *h, uint64_t at)
{
	uint64_t count = h->directory_entries, first;
	uint8_t *chunk _cleanup_free_ = xalloc(DIRECTORY_CHUNK, VMDK_ENTRY_BYTES);
	int r = 0;

	first = at + div_round_up(count * VMDK_ENTRY_BYTES, VMDK_SECTOR_BYTES);
	for (uint64_t i = 0; i < count && r == 0; i += DIRECTORY_CHUNK) {
		uint64_t n = MIN(count - i, DIRECTORY_CHUNK);

		for (uint64_t k = 0; k < n; k++)
			store_le32(chunk + k * VMDK_ENTRY_BYTES, first + (i + k) * TABLE_SECTORS);
		r = edge_write(e, at * VMDK_SECTOR_BYTES + i * VMDK_ENTRY_BYTES, n * VMDK_ENTRY_BYTES,
			       chunk, 0);
	}
	return r;
}

/* A sparse extent for @size bytes, with @text inside unless NULL. */
static int co_fn write_sparse(const struct creation *c, struct edge *e, uint64_t size,
			      const char *text, struct error **errp)
{
	uint8_t data[VMDK_HEADER_BYTES];
	struct vmdk_header h;
	int r = make_header(c, size, &h, errp);

	if (r == 0)
		r = make_room(e, h.overhead * VMDK_SECTOR_BYTES, errp);
	if (r < 0)
		return r;
	r = write_directory(e, &h, h.redundant);
	if (r == 0)
		r = write_directory(e, &h, h.directory);
	if (r == 0 && text)
		r = edge_write(e, DESCRIPTOR_SECTOR * VMDK_SECTOR_BYTES, strlen(text), text, 0);
	if (r == 0)
		r = edge_flush(e);
	vmdk_header_encode(&h, data);
	if (r == 0)
		r = edge_write(e, 0, sizeof(data), data, 0);
	if (r == 0)
		r = edge_flush(e);
	return r < 0 ? error_set_errno(errp, r, "Could not write the image") : 0;
}

/* A flat extent of @size bytes. One of that size stays: room may have been set aside in it. */
static int co_fn write_flat(struct edge *e, uint64_t size, struct error **errp)
{
	if (e->child->size == size)
		return 0;
	return make_room(e, size, errp);
}

static int co_fn write_text(struct edge *e, const char *text, struct error **errp)
{
	(void)edge_truncate(e, 0, PREALLOCATION_OFF, NULL);
	int r = e->child->size >= strlen(text)
			? 0
			: edge_truncate(e, strlen(text), PREALLOCATION_OFF, errp);

	if (r < 0)
		return r;
	/* Behind it on a device: the text ends at a NUL. */
	r = edge_write(e, 0, MIN(strlen(text) + 1, e->child->size), text, 0);
	if (r == 0)
		r = edge_flush(e);
	return r < 0 ? error_set_errno(errp, r, "Could not write the VMDK descriptor") : 0;
}

static int co_fn write_files(struct creation *c, struct error **errp)
{
	_cleanup_free_ char *text = NULL;
	uint64_t size = c->options->size;
	int r = compose(c, &text, errp);

	for (unsigned i = 0; i < c->count && r == 0; i++) {
		uint64_t part = extent_size(c->subformat, size, i);

		r = c->is_flat ? write_flat(c->extents[i], part, errp)
			       : write_sparse(c, c->extents[i], part, NULL, errp);
	}
	if (r < 0)
		return r;
	return c->count == 0 ? write_sparse(c, c->file, size, text, errp)
			     : write_text(c->file, text, errp);
}

/* Attach the nodes, all of them, and write to them. */
static int co_fn write_to_nodes(struct creation *c, struct node *file, struct node **nodes,
				struct error **errp)
{
	unsigned attached = 0, shared = PERM_CONSISTENT_READ;
	unsigned wanted = PERM_CONSISTENT_READ | PERM_WRITE | PERM_RESIZE;

	consumer_init(&c->consumer, file->graph, &creation_ops);
	int r = edge_attach_consumer(&c->consumer, "file", file, wanted, shared, &c->file, errp);
	bool has_file = r == 0;

	while (r == 0 && attached < c->count) {
		r = edge_attach_consumer(&c->consumer, "extent", nodes[attached], wanted, shared,
					 &c->extents[attached], errp);
		if (r == 0)
			attached++;
	}
	if (r == 0) {
		/* Nobody else can write to them, or take them away: commands need not wait. */
		struct graph_suspension suspension;
		graph_change_suspend(file->graph, &suspension);
		consumer_enter(&c->consumer);
		r = write_files(c, errp);
		consumer_leave(&c->consumer);
		graph_change_resume(file->graph, &suspension);
	}
	while (attached > 0)
		edge_detach(c->extents[--attached]);
	if (has_file)
		edge_detach(c->file);
	consumer_finish(&c->consumer);
	return r;
}

static int co_fn open_and_write(struct creation *c, struct node *file, struct error **errp)
{
	struct node **nodes = xalloc(MAX(c->count, 1), sizeof(nodes[0]));
	unsigned opened = 0;
	int r = read_parent_cid(c, file, errp);

	while (r == 0 && opened < c->count) {
		r = node_open_ref(file->graph, c->options->extents.items[opened], &nodes[opened], errp);
		if (r == 0)
			opened++;
	}
	c->extents = xalloc(MAX(c->count, 1), sizeof(c->extents[0]));
	if (r == 0)
		r = write_to_nodes(c, file, nodes, errp);
	free(c->extents);
	while (opened > 0)
		node_unref(nodes[--opened]);
	free(nodes);
	return r;
}

int co_fn vmdk_create(struct graph *g, const struct blockdev_create_options *options,
		      struct error **errp)
{
	const struct blockdev_create_options_vmdk *o = &options->u.vmdk;
	enum blockdev_vmdk_subformat s = subformat_of(o);
	struct creation c = {
		.options = o,
		.subformat = s,
		.is_flat = subformat_is_flat(s),
		.is_split = subformat_is_split(s),
		.is_compressed = s == BLOCKDEV_VMDK_SUBFORMAT_STREAM_OPTIMIZED,
		.has_zero_grain = o->has_zeroed_grain && o->zeroed_grain,
		.count = extent_count(s, o->size),
		.parent_cid = VMDK_NO_CID,
	};
	struct node *file;
	int r = node_open_ref(g, o->file, &file, errp);

	if (r < 0)
		return r;
	c.cid = (uint32_t)loop_random(file->loop) & ~UINT32_C(1); /* never VMDK_NO_CID */
	r = check_options(&c, errp);
	if (r == 0)
		r = open_and_write(&c, file, errp);
	node_unref(file);
	return r;
}

bool vmdk_further_file(const struct blockdev_create_options *options, const char *filename,
		       unsigned index, char **ret_name, uint64_t *ret_size)
{
	const struct blockdev_create_options_vmdk *o = &options->u.vmdk;
	enum blockdev_vmdk_subformat s = subformat_of(o);
	bool is_flat = subformat_is_flat(s);

	/* What is wrong is told by creating it; no files shall be made for that. */
	if (index >= extent_count(s, o->size) || extent_count(s, o->size) > VMDK_EXTENTS_MAX ||
	    (is_flat && (o->backing_file || (o->has_zeroed_grain && o->zeroed_grain))))
		return false;
	const char *dot = strrchr(base_name(filename), '.');
	int stem = (int)(dot ? dot - filename : (ptrdiff_t)strlen(filename));
	char *suffix _cleanup_free_ =
		subformat_is_split(s) ? xasprintf("-%c%03u", is_flat ? 'f' : 's', index + 1)
				      : xstrdup("-flat");

	*ret_name = xasprintf("%.*s%s%s", stem, filename, suffix, dot ? dot : "");
	*ret_size = is_flat ? extent_size(s, o->size, index) : 0;
	return true;
}
