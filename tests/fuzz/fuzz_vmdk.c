/* SPDX-License-Identifier: MIT */
/*
 * Damaged vmdk images of one file, opened from memory, used a bit and checked. Nothing may
 * crash, hang, or take memory without bound.
 *
 * An input is a good image's number, how it is opened and used, and changes to its bytes:
 * CHANGE_BYTES each, of where, how and what. Places are the fields of the header, bytes of the
 * descriptor, and entries of the directories and tables.
 */
#include "drivers/vmdk/state.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/qcow2_fixture.h"

#define HEAD_BYTES 4
#define CHANGE_BYTES 8
#define CHANGES_MAX 64
#define TABLES_AT (21 * 512)
#define TABLES_WORDS 1280

static const char *const creations[] = {
	"size=3M",
	"size=3M,zeroed-grain=on",
	"size=40M,adapter-type=lsilogic",
	"size=3M,subformat=streamOptimized",
};

static struct good_image {
	uint8_t *data;
	size_t bytes;
} good_images[ARRAY_SIZE(creations)];

static const uint8_t *input;
static size_t input_bytes;

static void co_fn make_good_image(struct image *i)
{
	unsigned kind = input[0] % ARRAY_SIZE(creations);
	uint8_t *p = buffer_get(i->loop, 4 * 64 * KiB);

	i->format = "vmdk";
	memset(p, 1, 4 * 64 * KiB);
	FUZZ_CHECK(!image_create_error(i, creations[kind]));
	FUZZ_CHECK(!image_open_error(i, ""));
	FUZZ_CHECK(edge_write(i->edge, 0, 4 * 64 * KiB, p, 0) == 0);
	FUZZ_CHECK(edge_write(i->edge, MiB, 64 * KiB, p, 0) == 0);
	FUZZ_CHECK(kind == 3 || edge_zero(i->edge, 64 * KiB, 64 * KiB, 0) == 0);
	buffer_put(i->loop, p, 4 * 64 * KiB);
	image_close(i);
	good_images[kind].bytes = i->disk.size;
	good_images[kind].data = xmemdup(i->disk.data, i->disk.size);
}

static void change(uint8_t *data, const uint8_t *c)
{
	unsigned where = load_le16(c + 1);

	switch (c[0] % 4) {
	case 0: /* a field of the header, or a part of one */
		store_le32(data + where % 76, load_le32(c + 4) >> c[3] % 32);
		break;
	case 1: /* a character of the descriptor */
		data[512 + where % 512] = c[4];
		break;
	case 2: /* an entry for something in the image, or near it */
		store_le32(data + TABLES_AT + where % TABLES_WORDS * 4, load_le32(c + 4) % 1024);
		break;
	default: /* any bytes, among grains as well */
		store_le32(data + where * 4 % (128 * KiB), load_le32(c + 4));
		break;
	}
}

/* Put the damaged image on the disk. */
static void damage(struct image *i)
{
	const struct good_image *good = &good_images[input[0] % ARRAY_SIZE(creations)];
	const uint8_t *c = input + HEAD_BYTES;
	size_t bytes = good->bytes;

	memcpy(i->disk.data, good->data, bytes);
	for (unsigned n = 0; n < CHANGES_MAX && c + CHANGE_BYTES <= input + input_bytes; n++) {
		change(i->disk.data, c);
		c += CHANGE_BYTES;
	}
	if (input[3] & 0x80) { /* cut short */
		bytes = bytes / 128 * (input[3] & 0x7f);
		memset(i->disk.data + bytes, 0, MAX(good->bytes, 128 * KiB) - bytes);
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
	(void)edge_write(i->edge, align_down(offset, 64 * KiB), MIN(bytes, 64 * KiB), p,
			 REQUEST_COMPRESSED);
	(void)edge_zero(i->edge, offset, MIN(bytes, 300000), REQUEST_MAY_UNMAP);
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
}

static void co_fn open_and_use(struct image *i)
{
	struct image_check result = {0};

	i->format = "vmdk";
	damage(i);
	free(image_open_error(i, input[1] & 1 ? "read-only=on" : "auto-read-only=on"));
	if (i->edge) {
		use(i);
		image_info_specific_free(vmdk_specific_info(i->node));
		(void)vmdk_check(i->node, 0, &result, NULL);
	}
	image_close(i);
	/* Whatever was done to it, it can be looked at. */
	free(image_open_error(i, "read-only=on"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes < HEAD_BYTES)
		return 0;
	input = data;
	input_bytes = bytes;
	if (!good_images[data[0] % ARRAY_SIZE(creations)].data)
		image_run(1, make_good_image);
	image_run(1, open_and_use);
	return 0;
}
