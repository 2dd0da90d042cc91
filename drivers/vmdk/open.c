/* SPDX-License-Identifier: MIT */
/*
 * Opening and closing an image. Node's loop.
 *
 * A file that begins with a header is an image of one extent, with the descriptor inside; a text
 * names the files of its extents, which become children of the node. Files are looked for in the
 * folder of the descriptor, unless their names begin with a slash; a name is never taken for one
 * of another protocol.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "block/open.h"
#include "block/text.h"
#include "drivers/vmdk/state.h"
#include "schema/schema.h"

/* Reads, without holding up others who change the graph. */

static int co_fn read_file(struct node *n, uint64_t offset, uint64_t bytes, void *ret)
{
	struct graph_apart *apart = node_opening_leave(n);
	int r = edge_read(n->file, offset, bytes, ret, 0);

	node_opening_return(n, apart);
	return r;
}

static int co_fn load_extent(struct node *n, struct vmdk_extent *x, struct error **errp)
{
	struct graph_apart *apart = node_opening_leave(n);
	int r = vmdk_extent_load(x, errp);

	node_opening_return(n, apart);
	return r;
}

static void state_finish(struct vmdk *v)
{
	for (unsigned i = 0; i < v->count; i++)
		vmdk_extent_finish(&v->extents[i]);
	free(v->extents);
	free(v->create_type);
}

/* --- Extents ---------------------------------------------------------------------- */

/* What @name in the descriptor means. Free with free(). */
static int extent_filename(struct node *n, const char *name, char **ret, struct error **errp)
{
	const char *own = n->file->child->filename;

	if (name[0] == '/') {
		*ret = xstrdup(name);
		return 0;
	}
	if (string_starts_with(own, "json:"))
		return error_set(errp, -EINVAL,
				 "Cannot use relative extent paths with VMDK descriptor file '%s'", own);
	const char *slash = strrchr(own, '/'), *colon = strchr(own, ':');
	int folder = slash ? (int)(slash + 1 - own) : colon ? (int)(colon + 1 - own) : 0;

	*ret = xasprintf("%.*s%s%s", folder, own, folder == 0 && strchr(name, ':') ? "./" : "", name);
	return 0;
}

static int co_fn open_extent_file(struct node *n, struct vmdk_extent *x, const char *name,
				  unsigned number, struct error **errp)
{
	_cleanup_free_ char *filename = NULL, *text = NULL;
	bool is_flat = x->type == VMDK_FLAT || x->type == VMDK_VMFS;
	char edge_name[32];
	void *options = NULL;
	int r = extent_filename(n, name, &filename, errp);

	if (r == 0)
		r = text_from_filename(n->graph, filename, &text, errp);
	if (r == 0)
		r = schema_decode_keyval(&blockdev_options_type, text, NULL, &options, errp);
	if (r < 0)
		return r;
	struct blockdev_ref ref = {.kind = BLOCKDEV_REF_DEFINITION, .u.definition = options};

	snprintf(edge_name, sizeof(edge_name), "extents.%u", number);
	r = node_open_child(n, &ref, edge_name, is_flat ? EDGE_DATA : EDGE_DATA | EDGE_METADATA,
			    &x->file, errp);
	schema_free(&blockdev_options_type, options);
	return r;
}

static int co_fn open_line(struct node *n, struct vmdk_extent *x, const struct vmdk_line *line,
			   unsigned number, struct error **errp)
{
	x->type = line->type;
	x->read_only = line->read_only;
	x->bytes = line->bytes;
	x->offset = line->offset;
	if (x->type == VMDK_ZERO)
		return 0;
	if (x->type == VMDK_SESPARSE)
		return error_set(errp, -ENOTSUP, "Extents of type SESPARSE are not supported");
	int r = open_extent_file(n, x, line->name, number, errp);

	if (r < 0 || x->type == VMDK_FLAT || x->type == VMDK_VMFS)
		return r;
	r = load_extent(n, x, errp);
	if (r == 0 && x->header.capacity * VMDK_SECTOR_BYTES < x->bytes)
		r = error_set(errp, -EINVAL, "Extent '%s' is shorter than its descriptor says",
			      x->file->child->filename);
	return r;
}

static int co_fn open_lines(struct node *n, const struct vmdk_descriptor *d, struct error **errp)
{
	struct vmdk *v = n->state;
	uint64_t end = 0;

	if (d->count == 0)
		return error_set(errp, -EINVAL, "invalid VMDK image descriptor: no extents");
	v->extents = xalloc(d->count, sizeof(v->extents[0]));
	for (unsigned i = 0; i < d->count; i++) {
		struct vmdk_extent *x = &v->extents[i];

		vmdk_extent_init(x, n);
		v->count++;
		int r = open_line(n, x, &d->lines[i], i, errp);

		if (r < 0)
			return r;
		x->start = end;
		if (add_overflows(end, x->bytes, &end) || end > INT64_MAX)
			return error_set(errp, -EFBIG, "The image size is too large");
	}
	n->size = end;
	return 0;
}

/* The file is the image's one extent. */
static int co_fn open_lone(struct node *n, bool is_cowd, struct error **errp)
{
	struct vmdk *v = n->state;

	v->extents = xalloc(1, sizeof(v->extents[0]));
	v->count = 1;
	struct vmdk_extent *x = &v->extents[0];

	vmdk_extent_init(x, n);
	x->file = n->file;
	x->is_embedded = true;
	x->type = is_cowd ? VMDK_VMFSSPARSE : VMDK_SPARSE;
	int r = load_extent(n, x, errp);

	x->bytes = n->size = x->header.capacity * VMDK_SECTOR_BYTES;
	return r;
}

/* --- Descriptor ------------------------------------------------------------------- */

/* Read and parse the text at v->descriptor_offset. */
static int co_fn load_descriptor(struct node *n, bool has_lines, struct vmdk_descriptor *ret,
				 struct error **errp)
{
	struct vmdk *v = n->state;
	_cleanup_free_ char *text = calloc(1, v->descriptor_bytes + 1);
	int r = text ? read_file(n, v->descriptor_offset, v->descriptor_bytes, text) : -ENOMEM;
	size_t offset, length;

	if (r < 0)
		return error_set_errno(errp, r, "Could not read the VMDK descriptor");
	r = vmdk_descriptor_parse(text, v->descriptor_bytes, has_lines, ret, errp);
	if (r < 0)
		return r;
	v->has_cid = vmdk_descriptor_find_cid(text, v->descriptor_bytes, &offset, &length);
	v->cid = ret->cid;
	v->parent_cid = ret->parent_cid;
	free(v->create_type);
	v->create_type = xstrdup(ret->create_type);
	return 0;
}

static void take_parent(struct node *n, struct vmdk_descriptor *d)
{
	if (!d->parent_name)
		return;
	free(n->backing_name);
	free(n->backing_format);
	n->backing_name = TAKE(d->parent_name);
	n->backing_format = xstrdup("vmdk");
}

/* Types of images whose extents are files of their own. */
static int check_type(const char *type, struct error **errp)
{
	static const char *const types[] = {
		"monolithicFlat", "vmfs", "vmfsSparse", "seSparse",
		"twoGbMaxExtentSparse", "twoGbMaxExtentFlat",
	};

	if (!type)
		return error_set(errp, -EINVAL, "invalid VMDK image descriptor");
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++)
		if (strcmp(type, types[i]) == 0)
			return 0;
	return error_set(errp, -ENOTSUP, "Unsupported image type '%s'", type);
}

/* The text says it all. */
static int co_fn open_by_text(struct node *n, struct error **errp)
{
	struct vmdk *v = n->state;
	struct vmdk_descriptor d = {0};
	int r = 0;

	if (v->descriptor_bytes > VMDK_DESCRIPTOR_BYTES_MAX)
		r = error_set(errp, -EFBIG, "VMDK descriptor of %" PRIu64 " bytes is too large",
			      v->descriptor_bytes);
	/* First what it is: lines of an unknown type of image may be anything. */
	if (r == 0)
		r = load_descriptor(n, false, &d, errp);
	if (r == 0)
		r = check_type(d.create_type, errp);
	vmdk_descriptor_finish(&d);
	if (r == 0)
		r = load_descriptor(n, true, &d, errp);
	if (r == 0)
		r = open_lines(n, &d, errp);
	if (r == 0)
		take_parent(n, &d);
	vmdk_descriptor_finish(&d);
	return r;
}

/* An extent with its descriptor inside, of which only some keys count. */
static int co_fn open_by_header(struct node *n, struct error **errp)
{
	struct vmdk *v = n->state;
	struct vmdk_descriptor d = {0};
	int r = open_lone(n, false, errp);

	if (r == 0 && v->descriptor_bytes > 0)
		r = load_descriptor(n, false, &d, errp);
	if (r == 0)
		take_parent(n, &d);
	vmdk_descriptor_finish(&d);
	return r;
}

/* Where the descriptor is in a file with a header, as far as the file goes. */
static void place_descriptor(struct node *n, const struct vmdk_header *h)
{
	struct vmdk *v = n->state;
	uint64_t size = n->file->child->size, offset, bytes;

	if (h->descriptor == 0 || mul_overflows(h->descriptor, VMDK_SECTOR_BYTES, &offset) ||
	    mul_overflows(h->descriptor_size, VMDK_SECTOR_BYTES, &bytes) || offset >= size)
		return;
	v->descriptor_offset = offset;
	v->descriptor_bytes = MIN(MIN(bytes, size - offset), VMDK_DESCRIPTOR_BYTES_MAX);
}

static int co_fn open_image(struct node *n, struct error **errp)
{
	struct vmdk *v = n->state;
	uint8_t data[VMDK_HEADER_BYTES] = {0};
	uint64_t size = n->file->child->size;
	struct vmdk_header h;

	if (size == 0)
		return error_set(errp, -EINVAL, "File is too small, not a valid image");
	int r = read_file(n, 0, MIN(size, sizeof(data)), data);

	if (r < 0)
		return error_set_errno(errp, r, "Could not read the image's header");
	if (vmdk_header_decode(data, &h, NULL) < 0) {
		v->descriptor_bytes = size;
		v->is_text = true;
		return open_by_text(n, errp);
	}
	if (h.is_cowd)
		return open_lone(n, true, errp);
	place_descriptor(n, &h);
	/* A header that stands for no data has just the descriptor of other files behind it. */
	return h.capacity == 0 && v->descriptor_bytes > 0 ? open_by_text(n, errp)
							  : open_by_header(n, errp);
}

/* --- The driver's calls ----------------------------------------------------------- */

/* Why the image cannot be written to, or NULL. Free with free(). */
static char *obstacle(const struct vmdk *v)
{
	char *reason = NULL;

	for (unsigned i = 0; i < v->count && !reason; i++)
		reason = vmdk_extent_obstacle(&v->extents[i]);
	return reason;
}

static int apply_obstacle(struct node *n, struct error **errp)
{
	_cleanup_free_ char *reason = n->read_only ? NULL : obstacle(n->state);

	return reason ? node_apply_auto_read_only(n, reason, errp) : 0;
}

int co_fn vmdk_open(struct node *n, const struct blockdev_options *options, void *arg,
		    struct error **errp)
{
	struct vmdk *v = n->state;

	co_mutex_init(&v->cid_lock);
	v->cid = v->parent_cid = VMDK_NO_CID;
	int r = node_open_child(n, options->u.vmdk.file, "file",
				EDGE_DATA | EDGE_METADATA | EDGE_PRIMARY, NULL, errp);

	if (r == 0)
		r = open_image(n, errp);
	if (r == 0)
		r = apply_obstacle(n, errp);
	if (r < 0)
		state_finish(v);
	return r;
}

void co_fn vmdk_close(struct node *n)
{
	/* Nobody is left to be told of a failure; what is lost then was never flushed. */
	if (!n->read_only)
		(void)vmdk_flush(n);
	state_finish(n->state);
}

int co_fn vmdk_reopen_prepare(struct reopen *reopen, struct error **errp)
{
	struct node *n = reopen->node;
	_cleanup_free_ char *reason = reopen->read_only ? NULL : obstacle(n->state);

	if (reason)
		return error_set(errp, -EACCES, "%s", reason);
	int r = reopen->read_only ? vmdk_flush(n) : 0;

	return r < 0 ? error_set_errno(errp, r, "Could not write the tables of node '%s'", n->name) : 0;
}

int vmdk_probe(const uint8_t *data, size_t bytes, const char *filename)
{
	if (bytes < sizeof(uint32_t))
		return 0;
	uint32_t magic = load_le32(data);

	if (magic == VMDK_MAGIC || magic == VMDK_COWD_MAGIC)
		return 100;
	return vmdk_descriptor_probe((const char *)data, bytes) ? 100 : 0;
}
