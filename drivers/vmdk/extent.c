/* SPDX-License-Identifier: MIT */
/*
 * Sparse extents: opening one, and judging whether it may be written to. Node's loop.
 */
#include <errno.h>
#include <inttypes.h>

#include "drivers/vmdk/state.h"

/* A footer: a marker, the header once more, and the marker of the stream's end. */
#define FOOTER_SECTORS 3

void vmdk_extent_init(struct vmdk_extent *x, struct node *n)
{
	*x = (struct vmdk_extent){.node = n};
	co_mutex_init(&x->lock);
	co_mutex_init(&x->decode_lock);
	co_queue_init(&x->allocated);
	list_init(&x->allocations);
}

void vmdk_extent_finish(struct vmdk_extent *x)
{
	for (unsigned i = 0; i < ARRAY_SIZE(x->tables); i++)
		free(x->tables[i]);
	free(x->directory);
	free(x->redundant);
	free(x->decoded);
}

static bool is_marker(const uint8_t *sector, uint64_t number, uint32_t type)
{
	return load_le64(sector + VMDK_MARKER_SECTOR) == number &&
	       load_le32(sector + VMDK_MARKER_BYTES) == 0 &&
	       load_le32(sector + VMDK_MARKER_TYPE) == type;
}

/* What a stream says at its end counts more than what it could say at its beginning. */
static int co_fn load_footer(struct vmdk_extent *x, struct error **errp)
{
	uint8_t data[FOOTER_SECTORS * VMDK_HEADER_BYTES];
	uint64_t size = vmdk_file_size(x);

	if (size < sizeof(data) + VMDK_SECTOR_BYTES)
		return error_set(errp, -EINVAL, "Invalid footer");
	int r = edge_read(x->file, size - sizeof(data), sizeof(data), data, 0);

	if (r < 0)
		return error_set_errno(errp, r, "Could not read the footer");
	const uint8_t *header = data + VMDK_HEADER_BYTES, *end = header + VMDK_HEADER_BYTES;

	if (!is_marker(data, 1, VMDK_MARKER_FOOTER) ||
	    !is_marker(end, 0, VMDK_MARKER_END_OF_STREAM) ||
	    load_le32(header) != VMDK_MAGIC)
		return error_set(errp, -EINVAL, "Invalid footer");
	x->has_footer = true;
	return vmdk_header_decode(header, &x->header, errp);
}

static int co_fn load_header(struct vmdk_extent *x, struct error **errp)
{
	uint8_t data[VMDK_HEADER_BYTES] = {0};
	uint64_t size = vmdk_file_size(x);
	int r = size == 0 ? error_set(errp, -EINVAL, "File is too small, not a valid image")
			  : edge_read(x->file, 0, MIN(size, sizeof(data)), data, 0);

	if (r < 0)
		return size == 0 ? r : error_set_errno(errp, r, "Could not read header from file '%s'",
						       x->file->child->filename);
	r = vmdk_header_decode(data, &x->header, errp);
	if (r == 0 && x->header.is_cowd != (x->type == VMDK_VMFSSPARSE))
		r = error_set(errp, -EINVAL, "Image not in VMDK format");
	if (r == 0 && !x->header.is_cowd && x->header.directory == VMDK_DIRECTORY_AT_END)
		r = load_footer(x, errp);
	return r < 0 ? r : vmdk_header_check(&x->header, size, errp);
}

static int co_fn load_directory(struct vmdk_extent *x, uint64_t sector, uint32_t **ret,
				struct error **errp)
{
	uint64_t count = x->header.directory_entries, bytes = count * VMDK_ENTRY_BYTES;
	_cleanup_free_ uint32_t *entries = malloc(MAX(bytes, 1));
	uint64_t offset, end;

	if (!entries)
		return error_set_errno(errp, -ENOMEM, "Could not load the grain directory");
	int r = mul_overflows(sector, VMDK_SECTOR_BYTES, &offset) ||
				add_overflows(offset, bytes, &end) || end > vmdk_file_size(x)
			? -EINVAL
			: 0;

	for (uint64_t done = 0; done < bytes && r == 0;) {
		uint64_t part = MIN(bytes - done, 1 * MiB);

		r = edge_read(x->file, offset + done, part, (uint8_t *)entries + done, 0);
		done += part;
	}
	if (r < 0)
		return error_set_errno(errp, r, "Could not read the grain directory of '%s'",
				       x->file->child->filename);
	for (uint64_t i = 0; i < count; i++)
		entries[i] = le32toh(entries[i]);
	*ret = TAKE(entries);
	return 0;
}

int co_fn vmdk_extent_load(struct vmdk_extent *x, struct error **errp)
{
	int r = load_header(x, errp);

	if (r < 0)
		return r;
	const struct vmdk_header *h = &x->header;

	x->is_sparse = true;
	x->is_compressed = h->flags & VMDK_FLAG_COMPRESSED;
	x->has_markers = h->flags & VMDK_FLAG_MARKERS;
	x->has_zero_grain = h->flags & VMDK_FLAG_ZERO_GRAIN;
	x->grain_bytes = h->grain * VMDK_SECTOR_BYTES;
	x->table_span = x->grain_bytes * h->table_entries;
	r = load_directory(x, h->directory, &x->directory, errp);
	/* Only who writes needs the other tables; what is wrong with them is told then. */
	if (r == 0 && h->redundant != 0 && load_directory(x, h->redundant, &x->redundant, NULL) < 0)
		x->redundant = NULL;
	return r;
}

/* --- Writing ---------------------------------------------------------------------- */

struct range {
	uint64_t start, end;
};

static int by_start(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static void add_tables(const struct vmdk_extent *x, const uint32_t *directory, struct range *ranges,
		       uint64_t *count)
{
	uint64_t bytes = (uint64_t)x->header.table_entries * VMDK_ENTRY_BYTES;

	for (uint64_t i = 0; directory && i < x->header.directory_entries; i++) {
		uint64_t start = directory[i] * VMDK_SECTOR_BYTES;

		ranges[(*count)++] = (struct range){start, start + bytes};
	}
}

static void add_part(struct range *ranges, uint64_t *count, uint64_t sector, uint64_t bytes)
{
	uint64_t start = sector * VMDK_SECTOR_BYTES;

	ranges[(*count)++] = (struct range){start, start + bytes};
}

/*
 * Whether header, descriptor, directories and tables lie beside each other, all of them before the
 * grains: then no write of one of them, and none of a grain, can change another one.
 */
static bool has_sound_layout(const struct vmdk_extent *x)
{
	const struct vmdk_header *h = &x->header;
	uint64_t directory_bytes = h->directory_entries * VMDK_ENTRY_BYTES, count = 0;
	struct range *ranges = malloc((2 * h->directory_entries + 4) * sizeof(*ranges));

	if (!ranges || h->descriptor > h->overhead || h->descriptor_size > h->overhead) {
		free(ranges);
		return false;
	}
	add_part(ranges, &count, 0, VMDK_HEADER_BYTES);
	if (h->descriptor > 0)
		add_part(ranges, &count, h->descriptor, h->descriptor_size * VMDK_SECTOR_BYTES);
	add_part(ranges, &count, h->directory, directory_bytes);
	if (x->redundant)
		add_part(ranges, &count, h->redundant, directory_bytes);
	add_tables(x, x->directory, ranges, &count);
	add_tables(x, x->redundant, ranges, &count);
	qsort(ranges, count, sizeof(*ranges), by_start);

	bool is_sound = ranges[count - 1].end <= h->overhead * VMDK_SECTOR_BYTES;

	for (uint64_t i = 1; i < count; i++)
		is_sound &= ranges[i - 1].end <= ranges[i].start;
	free(ranges);
	return is_sound;
}

char *vmdk_extent_obstacle(const struct vmdk_extent *x)
{
	const struct vmdk_header *h = &x->header;

	if (x->read_only || x->type == VMDK_ZERO)
		return xasprintf("The extent at offset %" PRIu64 " is read-only", x->start);
	if (!x->is_sparse)
		return NULL;
	const char *name = x->file->child->filename;

	if (h->is_cowd)
		return xasprintf("Extent '%s' of type VMFSSPARSE must be read only", name);
	if (h->version >= 3 && !x->is_compressed)
		return xasprintf("VMDK version 3 must be read only");
	if (x->has_footer)
		return xasprintf("Extent '%s' with a footer must be read only", name);
	if (x->is_compressed && !x->has_markers)
		return xasprintf("Compressed extent '%s' without markers must be read only", name);
	if (h->redundant != 0 && !x->redundant)
		return xasprintf("The redundant grain directory of '%s' is damaged: it must be read only",
				 name);
	if (!has_sound_layout(x))
		return xasprintf("The metadata of '%s' is damaged: it must be read only", name);
	return NULL;
}
