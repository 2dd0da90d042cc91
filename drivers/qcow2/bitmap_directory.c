/* SPDX-License-Identifier: MIT */
/*
 * The directory of bitmaps: a run of entries of varying length, each padded to 8
 * bytes, at the place that the bitmaps extension names. See bitmap.h.
 */
#include "block/bitmap.h"
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/cluster.h"
#include "drivers/qcow2/flush.h"
#include "drivers/qcow2/header.h"
#include "drivers/qcow2/overlap.h"

#define GRANULARITY_BITS_MIN 9
#define GRANULARITY_BITS_MAX 31

void qcow2_bitmap_free(struct qcow2_bitmap *b)
{
	if (!b)
		return;
	free(b->extra);
	free(b->name);
	free(b);
}

void qcow2_bitmaps_free(struct list *bitmaps)
{
	struct qcow2_bitmap *b, *following;

	list_for_each_safe(b, following, bitmaps, link) {
		list_del_init(&b->link);
		qcow2_bitmap_free(b);
	}
}

struct qcow2_bitmap *qcow2_bitmap_clone(const struct qcow2_bitmap *b)
{
	struct qcow2_bitmap *clone = xmemdup(b, sizeof(*b));

	list_init(&clone->link);
	clone->extra = b->extra_bytes > 0 ? xmemdup(b->extra, b->extra_bytes) : NULL;
	clone->name = xstrdup(b->name);
	return clone;
}

struct qcow2_bitmap *qcow2_bitmap_find(const struct list *bitmaps, const char *name)
{
	struct qcow2_bitmap *b;

	list_for_each(b, bitmaps, link) {
		if (strcmp(b->name, name) == 0)
			return b;
	}
	return NULL;
}

bool qcow2_bitmap_is_known(const struct qcow2_bitmap *b)
{
	return b->type == BITMAP_DIRTY_TRACKING && !(b->flags & ~(uint32_t)BITMAP_FLAGS_KNOWN) &&
	       b->granularity_bits >= GRANULARITY_BITS_MIN &&
	       b->granularity_bits <= GRANULARITY_BITS_MAX &&
	       (b->extra_bytes == 0 || (b->flags & BITMAP_EXTRA_DATA_COMPATIBLE));
}

uint64_t qcow2_directory_entry_bytes(uint64_t name_bytes, uint64_t extra_bytes)
{
	return align_up(BITMAP_FIXED_BYTES + name_bytes + extra_bytes, 8);
}

uint64_t qcow2_directory_bytes(const struct list *bitmaps)
{
	uint64_t bytes = 0;
	struct qcow2_bitmap *b;

	list_for_each(b, bitmaps, link)
		bytes += qcow2_directory_entry_bytes(strlen(b->name), b->extra_bytes);
	return bytes;
}

/* Decode one entry. Returns its padded length, or -EINVAL. */
static int64_t decode_entry(const uint8_t *data, uint64_t room, struct qcow2_bitmap **ret)
{
	if (room < BITMAP_FIXED_BYTES)
		return -EINVAL;
	uint32_t name_bytes = load_be16(data + BITMAP_NAME_BYTES);
	uint32_t extra_bytes = load_be32(data + BITMAP_EXTRA_BYTES);
	uint64_t bytes = qcow2_directory_entry_bytes(name_bytes, extra_bytes);
	const uint8_t *name = data + BITMAP_FIXED_BYTES + extra_bytes;

	if (bytes > room || name_bytes == 0 || name_bytes > BITMAP_NAME_MAX ||
	    memchr(name, '\0', name_bytes))
		return -EINVAL;
	struct qcow2_bitmap *b = NEW(struct qcow2_bitmap);

	list_init(&b->link);
	b->table_offset = load_be64(data + BITMAP_TABLE_OFFSET);
	b->table_entries = load_be32(data + BITMAP_TABLE_ENTRIES);
	b->flags = load_be32(data + BITMAP_FLAGS);
	b->type = data[BITMAP_TYPE];
	b->granularity_bits = data[BITMAP_GRANULARITY_BITS];
	b->extra_bytes = extra_bytes;
	if (extra_bytes > 0)
		b->extra = xmemdup(data + BITMAP_FIXED_BYTES, extra_bytes);
	b->name = xasprintf("%.*s", (int)name_bytes, (const char *)name);
	*ret = b;
	return bytes;
}

/*
 * Decode @count entries from @bytes of @data, appending to @bitmaps. -EINVAL with the
 * sentence when they are not well-formed or a name comes twice.
 */
static int decode(const uint8_t *data, uint64_t bytes, uint32_t count, struct list *bitmaps,
		  struct error **errp)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < count; i++) {
		struct qcow2_bitmap *b;
		int64_t length = decode_entry(data + at, bytes - at, &b);

		if (length < 0)
			return error_set(errp, -EINVAL,
					 "Entry %" PRIu32 " of the bitmap directory is damaged", i);
		if (qcow2_bitmap_find(bitmaps, b->name)) {
			qcow2_bitmap_free(b);
			return error_set(errp, -EINVAL,
					 "Entry %" PRIu32 " of the bitmap directory has the name of "
					 "another", i);
		}
		list_add_tail(bitmaps, &b->link);
		at += length;
	}
	if (at != bytes)
		return error_set(errp, -EINVAL, "The bitmap directory has %" PRIu64 " bytes, and "
				 "its entries %" PRIu64, bytes, at);
	return 0;
}

/* To @ret, zeroed, of qcow2_directory_bytes(). */
static void encode(const struct list *bitmaps, uint8_t *ret)
{
	struct qcow2_bitmap *b;

	list_for_each(b, bitmaps, link) {
		size_t name_bytes = strlen(b->name);

		store_be64(ret + BITMAP_TABLE_OFFSET, b->table_offset);
		store_be32(ret + BITMAP_TABLE_ENTRIES, b->table_entries);
		store_be32(ret + BITMAP_FLAGS, b->flags);
		ret[BITMAP_TYPE] = b->type;
		ret[BITMAP_GRANULARITY_BITS] = b->granularity_bits;
		store_be16(ret + BITMAP_NAME_BYTES, name_bytes);
		store_be32(ret + BITMAP_EXTRA_BYTES, b->extra_bytes);
		if (b->extra_bytes > 0)
			memcpy(ret + BITMAP_FIXED_BYTES, b->extra, b->extra_bytes);
		memcpy(ret + BITMAP_FIXED_BYTES + b->extra_bytes, b->name, name_bytes);
		ret += qcow2_directory_entry_bytes(name_bytes, b->extra_bytes);
	}
}

static void drop_extension(struct qcow2 *q)
{
	struct qcow2_extension *e = qcow2_extension_find(&q->extensions, EXTENSION_BITMAPS);

	if (!e)
		return;
	list_del_init(&e->link);
	free(e->data);
	free(e);
}

static int check_extension(const struct qcow2 *q, const struct qcow2_extension *e,
			   struct error **errp)
{
	uint64_t end;

	if (e->bytes != BITMAPS_EXTENSION_BYTES)
		return error_set(errp, -EINVAL, "The bitmaps extension has %" PRIu32 " bytes, not %u",
				 e->bytes, BITMAPS_EXTENSION_BYTES);
	uint32_t count = load_be32(e->data + BITMAPS_COUNT);
	uint64_t bytes = load_be64(e->data + BITMAPS_DIRECTORY_BYTES);
	uint64_t offset = load_be64(e->data + BITMAPS_DIRECTORY_OFFSET);

	if (load_be32(e->data + BITMAPS_RESERVED) != 0)
		return error_set(errp, -EINVAL, "The reserved field of the bitmaps extension is not 0");
	if (count == 0 || count > BITMAPS_MAX)
		return error_set(errp, -EINVAL, "The image has %" PRIu32 " bitmaps, not 1 to %u",
				 count, BITMAPS_MAX);
	if (bytes > BITMAP_DIRECTORY_BYTES_MAX)
		return error_set(errp, -EFBIG, "The bitmap directory is too large: %" PRIu64
				 " bytes", bytes);
	if (offset == 0 || qcow2_in_cluster(q, offset) != 0 || add_overflows(offset, bytes, &end) ||
	    end > qcow2_file_size(q))
		return error_set(errp, -EINVAL, "The bitmap directory lies at %#" PRIx64
				 ", which cannot be", offset);
	return 0;
}

int co_fn qcow2_directory_load(struct qcow2 *q, struct error **errp)
{
	if (q->header.version < 3 || !(q->header.autoclear & AUTOCLEAR_BITMAPS))
		drop_extension(q);
	const struct qcow2_extension *e = qcow2_extension_find(&q->extensions, EXTENSION_BITMAPS);

	if (!e)
		return 0;
	int r = check_extension(q, e, errp);

	if (r < 0)
		return r;
	uint64_t bytes = load_be64(e->data + BITMAPS_DIRECTORY_BYTES);
	_cleanup_free_ uint8_t *data = malloc(MAX(bytes, 1));

	r = data ? edge_read(q->node->file, load_be64(e->data + BITMAPS_DIRECTORY_OFFSET), bytes,
			     data, 0)
		 : -ENOMEM;
	if (r < 0)
		return error_set_errno(errp, r, "Could not read the bitmap directory");
	return decode(data, bytes, load_be32(e->data + BITMAPS_COUNT), &q->bitmaps, errp);
}

/* Write the directory @bitmaps at @offset. */
static int co_fn write_directory(struct qcow2 *q, const struct list *bitmaps, uint64_t offset)
{
	uint64_t bytes = qcow2_directory_bytes(bitmaps);
	_cleanup_free_ uint8_t *data = calloc(1, bytes);

	if (!data)
		return -ENOMEM;
	encode(bitmaps, data);
	int r = qcow2_overlap_check(q, offset, bytes, METADATA_BITMAP_DIRECTORY);

	return r < 0 ? r : edge_write(q->node->file, offset, bytes, data, 0);
}

int co_fn qcow2_directory_update(struct qcow2 *q, const struct list *bitmaps)
{
	const struct qcow2_extension *e = qcow2_extension_find(&q->extensions, EXTENSION_BITMAPS);
	int r = write_directory(q, bitmaps, load_be64(e->data + BITMAPS_DIRECTORY_OFFSET));

	return r < 0 ? r : edge_flush(q->node->file);
}

/* What the extension says; offset 0 for none. */
struct place {
	uint32_t count;
	uint64_t bytes, offset;
};

static struct place extension_place(const struct qcow2 *q)
{
	const struct qcow2_extension *e = qcow2_extension_find(&q->extensions, EXTENSION_BITMAPS);

	if (!e)
		return (struct place){0};
	return (struct place){load_be32(e->data + BITMAPS_COUNT),
			      load_be64(e->data + BITMAPS_DIRECTORY_BYTES),
			      load_be64(e->data + BITMAPS_DIRECTORY_OFFSET)};
}

/* In memory: extension and autoclear bit, which belong together. */
static void set_place(struct qcow2 *q, const struct place *p)
{
	struct qcow2_extension *e;

	drop_extension(q);
	q->header.autoclear &= ~(uint64_t)AUTOCLEAR_BITMAPS;
	if (p->offset == 0)
		return;
	e = NEW(struct qcow2_extension);
	e->type = EXTENSION_BITMAPS;
	e->bytes = BITMAPS_EXTENSION_BYTES;
	e->data = xalloc(1, BITMAPS_EXTENSION_BYTES);
	store_be32(e->data + BITMAPS_COUNT, p->count);
	store_be64(e->data + BITMAPS_DIRECTORY_BYTES, p->bytes);
	store_be64(e->data + BITMAPS_DIRECTORY_OFFSET, p->offset);
	list_add_head(&q->extensions, &e->link);
	q->header.autoclear |= AUTOCLEAR_BITMAPS;
}

static int co_fn switch_place(struct qcow2 *q, const struct place *new)
{
	struct place old = extension_place(q);

	set_place(q, new);
	int r = qcow2_header_rewrite(q, NULL);

	if (r == 0)
		return 0;
	/* It may have arrived nevertheless: go on only with what certainly is there. */
	set_place(q, &old);
	if (qcow2_header_rewrite(q, NULL) < 0)
		qcow2_header_lost(q, r);
	return r;
}

int co_fn qcow2_directory_replace(struct qcow2 *q, const struct list *bitmaps)
{
	struct place old = extension_place(q), new = {.bytes = qcow2_directory_bytes(bitmaps)};
	struct allocation a = {0};
	struct qcow2_bitmap *b;
	int r = 0;

	list_for_each(b, bitmaps, link)
		new.count++;
	if (old.count == 0 && new.count == 0)
		return 0;
	if (new.count > 0)
		r = qcow2_allocate_exactly(q, qcow2_clusters(q, new.bytes), &a);
	if (r < 0)
		return r;
	new.offset = a.offset;
	if (new.count > 0)
		r = write_directory(q, bitmaps, a.offset);
	if (r == 0)
		r = qcow2_flush_metadata(q, FLUSH_REFCOUNTS);
	if (r == 0)
		r = switch_place(q, &new);
	if (r < 0) {
		if (a.count > 0 && !q->node->corrupt)
			qcow2_unallocate(q, a.offset, a.count);
		return r;
	}
	if (old.offset != 0)
		qcow2_free_later(q, old.offset, MAX(old.bytes, 1), FREE_OTHER);
	return 0;
}
