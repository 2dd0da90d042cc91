/* SPDX-License-Identifier: MIT */
/*
 * Damaged qcow2 images, opened from memory, used a bit, checked and mended.
 * Nothing may crash, hang, or take memory without bound.
 *
 * An input is a good image's number, how it is opened and used, and changes to
 * its bytes: CHANGE_BYTES each, of where, how and what. Places count in the words
 * of the header, and of the beginnings of the clusters, where the tables are.
 */
#include "block/bitmap.h"
#include "drivers/qcow2/bitmap.h"
#include "drivers/qcow2/snapshot.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/qcow2_fixture.h"

#define HEAD_BYTES 4
#define CHANGE_BYTES 12
#define CHANGES_MAX 64
/* Words of the header, and of each cluster, that are within reach. */
#define HEADER_WORDS 32
#define CLUSTER_WORDS 16

static const char *const creations[] = {
	"size=3M",
	"size=3M,version=v2",
	"size=1M,cluster-size=512",
	"size=1M,cluster-size=512,refcount-bits=1",
	"size=3M,cluster-size=4096,refcount-bits=64,compression-type=zstd",
	"size=3M,lazy-refcounts=on,backing-file=base,backing-fmt=raw",
	"size=3M,extended-l2=on",
};

static const char *const openings[] = {
	"read-only=on",
	"discard=unmap",
	"discard=unmap,overlap-check=all",
	"discard=unmap,overlap-check=none,l2-cache-size=0,l2-cache-entry-size=512",
};

static struct good_image {
	uint8_t *data;
	size_t bytes;
} good_images[2][ARRAY_SIZE(creations)];

static const uint8_t *input;
static size_t input_bytes;

static void co_fn write_byte(struct image *i, uint64_t offset, uint64_t bytes, int byte,
			     unsigned flags)
{
	void *p = buffer_get(i->loop, bytes);

	memset(p, byte, bytes);
	FUZZ_CHECK(edge_write(i->edge, offset, bytes, p, flags) == 0);
	buffer_put(i->loop, p, bytes);
}

/* What is made of the image, and used. */
static struct good_image *chosen_image(void)
{
	return &good_images[input[1] >> 4 & 1][input[0] % ARRAY_SIZE(creations)];
}

/* Internal snapshots, and a bitmap where there can be one. */
static void co_fn enrich(struct image *i)
{
	struct bitmap *b;

	/* Narrow refcounts count no second reference. */
	(void)qcow2_snapshot_create(i->node, "one", NULL);
	write_byte(i, 300000, 1000, 4, 0);
	(void)qcow2_snapshot_create(i->node, "two", NULL);
	if (i->q->header.version < 3)
		return;
	FUZZ_CHECK(bitmap_create(i->node, "bits", 512, &b, NULL) == 0);
	b->persistent = true;
	write_byte(i, 700000, 1000, 5, 0);
}

static void co_fn make_good_image(struct image *i)
{
	unsigned kind = input[0] % ARRAY_SIZE(creations);
	struct good_image *good = chosen_image();

	FUZZ_CHECK(!image_create_error(i, creations[kind]));
	FUZZ_CHECK(!image_open_error(i, ""));
	write_byte(i, 0, 200000, 1, 0);
	write_byte(i, 500000, 1000, 2, 0);
	write_byte(i, 262144, 131072, 3, kind % 2 == 0 ? REQUEST_COMPRESSED : 0);
	FUZZ_CHECK(edge_zero(i->edge, 65536, 65536, 0) == 0);
	if (good >= good_images[1])
		enrich(i);
	image_close(i);
	good->bytes = i->disk.size;
	good->data = xmemdup(i->disk.data, i->disk.size);
}

static void change(uint8_t *data, size_t bytes, const uint8_t *c)
{
	size_t cluster = (size_t)1 << load_be32(data + HEADER_CLUSTER_BITS) % 32;
	size_t word = load_be32(c) % (HEADER_WORDS + bytes / cluster * CLUSTER_WORDS);
	size_t place = word * 8;

	if (word >= HEADER_WORDS) {
		word -= HEADER_WORDS;
		place = word / CLUSTER_WORDS * cluster + word % CLUSTER_WORDS * 8;
	}
	if (place + 8 > bytes)
		return;
	switch (c[4] % 4) {
	case 0:
		data[place + c[5] % 8] ^= 1u << c[6] % 8;
		break;
	case 1:
		memcpy(data + place + c[5] % 2 * 4, c + 8, 4);
		break;
	case 2: /* an entry for something in the image, or near it */
		store_be64(data + place, (uint64_t)(c[5] & 3) << 62 | (c[6] & 1) |
						 load_be32(c + 8) % (2 * bytes / 512) * 512);
		break;
	default:
		memcpy(data + place, c + 4, 8);
		break;
	}
}

/* Put the damaged image on the disk. */
static void damage(struct image *i)
{
	const struct good_image *good = chosen_image();
	const uint8_t *c = input + HEAD_BYTES;
	size_t bytes = good->bytes;

	memcpy(i->disk.data, good->data, bytes);
	for (unsigned n = 0; n < CHANGES_MAX && c + CHANGE_BYTES <= input + input_bytes; n++) {
		change(i->disk.data, bytes, c);
		c += CHANGE_BYTES;
	}
	if (input[3] & 0x80) { /* cut short */
		bytes = bytes / 128 * (input[3] & 0x7f);
		memset(i->disk.data + bytes, 0, good->bytes - bytes);
	}
	i->disk.size = bytes;
	node_set_size(i->disk_node, bytes);
}

/* Requests that may fail. */
static void co_fn use_at(struct image *i, uint64_t offset, uint8_t *p)
{
	uint64_t size = i->node->size;
	uint64_t bytes = MIN(offset < size ? size - offset : 0, MiB);
	struct extent x;

	if (bytes == 0)
		return;
	(void)edge_read(i->edge, offset, bytes, p, 0);
	(void)node_status(i->node, offset, bytes, &x);
	if (i->node->read_only)
		return;
	memset(p, 1, bytes);
	(void)edge_write(i->edge, offset, MIN(bytes, 5000), p, 0);
	(void)edge_write(i->edge, offset, MIN(bytes, 200000), p, REQUEST_COMPRESSED);
	(void)edge_zero(i->edge, offset, MIN(bytes, 300000), REQUEST_MAY_UNMAP);
	(void)edge_discard(i->edge, offset, bytes);
	(void)edge_flush(i->edge);
}

static void co_fn use(struct image *i)
{
	uint64_t size = i->node->size;
	uint8_t *p = buffer_get(i->loop, MiB);

	use_at(i, 0, p);
	use_at(i, size > MiB ? size - MiB : 0, p);
	use_at(i, size / 256 * input[2], p);
	buffer_put(i->loop, p, MiB);
	if (!i->node->read_only && input[1] & 0x40)
		(void)edge_truncate(i->edge, size / 1024 * 512, PREALLOCATION_OFF, NULL);
	else if (!i->node->read_only && input[1] & 0x80)
		(void)edge_truncate(i->edge, align_down(size, 512) + MiB, PREALLOCATION_OFF, NULL);
}

static void co_fn amend(struct image *i, const char *text)
{
	_cleanup_free_ char *whole = xasprintf("driver=qcow2,file=some,size=0,%s", text);
	void *options;

	FUZZ_CHECK(schema_decode_keyval(&blockdev_create_options_type, whole, NULL, &options,
					NULL) == 0);
	(void)qcow2_amend(i->node, options, NULL);
	schema_free(&blockdev_create_options_type, options);
}

/* What concerns the image as a whole, two of it. */
static void co_fn change_whole(struct image *i, unsigned what)
{
	struct snapshot_info_list list = {0};

	(void)qcow2_snapshot_list(i->node, &list, NULL);
	const char *id = list.count > 0 ? list.items[what / 8 % list.count]->id : "1";

	switch (what % 8) {
	case 0:
		(void)qcow2_snapshot_create(i->node, "three", NULL);
		break;
	case 1:
		(void)qcow2_snapshot_apply(i->node, id, NULL);
		break;
	case 2:
		(void)qcow2_snapshot_delete(i->node, id, NULL);
		break;
	case 3:
		(void)qcow2_snapshot_show(i->node, id, NULL);
		break;
	case 4:
		amend(i, "refcount-bits=32,lazy-refcounts=on");
		break;
	case 5:
		amend(i, i->q->header.version < 3 ? "version=v3" : "version=v2");
		break;
	case 6:
		(void)qcow2_make_empty(i->node, NULL);
		break;
	default:
		(void)qcow2_remove_bitmap(i->node, "bits", NULL);
		bitmap_destroy(bitmap_find(i->node, "bits"));
	}
	schema_finish(&snapshot_info_list_type, &list);
}

static void co_fn check(struct image *i)
{
	unsigned fix = i->node->read_only ? 0 : input[1] >> 2 & 3;
	struct image_check result = {0};

	image_info_specific_free(qcow2_specific_info(i->node));
	(void)qcow2_check(i->node, fix, &result, NULL);
}

static void co_fn open_and_use(struct image *i)
{
	damage(i);
	free(image_open_error(i, openings[input[1] & 3]));
	if (i->edge && input[1] & 0x20) {
		change_whole(i, input[2]);
		change_whole(i, input[2] / 16);
	}
	if (i->edge) {
		use(i);
		check(i);
	}
	image_close(i);
	/* Whatever was done to it, it can be looked at. */
	free(image_open_error(i, "read-only=on"));
	if (i->edge)
		check(i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < HEAD_BYTES)
		return 0;
	input = data;
	input_bytes = bytes;
	if (!chosen_image()->data)
		image_run(1, make_good_image);
	image_run(1, open_and_use);
	return 0;
}
