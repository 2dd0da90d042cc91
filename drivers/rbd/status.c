/* SPDX-License-Identifier: MIT */
/*
 * What is allocated in an image. Node's loop.
 *
 * librbd compares the image with nothing, and tells what differs: from its object
 * map where that is there and valid, which is fast and tells whole objects; else
 * by asking for each object. One question tells of many extents, which answer
 * the next calls.
 *
 * With the object map, offsets inside an object and images with parents or
 * striping get wrong answers from some versions of librbd: objects are asked for
 * whole, and those images the slow way.
 *
 * An encrypted image is all data: librbd decrypts holes inside an object as if
 * zeroes were stored there, which shows noise. What no one has written is
 * undefined, as on an encrypted disk.
 */
#include <stdlib.h>

#include "base/detached.h"
#include "drivers/rbd/rbd.h"

#define NS_PER_MS UINT64_C(1000000)

/* How far one question goes, in objects: the object map has two bits for each; else each is asked. */
#define OBJECTS_BY_MAP 65536
#define OBJECTS_ONE_BY_ONE 64
/* How long the answer is believed: other clients may write, too. */
#define FRESH_NS (100 * NS_PER_MS)

struct question {
	const struct image *image;
	uint64_t offset, limit;
	struct rbd_map *map;
};

/* On the question's thread. */
static int add_extent(uint64_t offset, size_t bytes, int exists, void *arg)
{
	struct rbd_map *map = arg;
	if (!exists || bytes == 0)
		return 0;
	if (map->count > 0 && map->data[map->count - 1].end == offset) {
		map->data[map->count - 1].end += bytes;
		return 0;
	}
	if (map->count == RBD_EXTENTS_MAX) {
		/* The caller breaks off; up to here all is known. */
		map->end = offset;
		return -EOVERFLOW;
	}
	map->data[map->count].start = offset;
	map->data[map->count++].end = offset + bytes;
	return 0;
}

static bool has_object_map(const struct image *image)
{
	uint64_t features, flags;
	return image->has_simple_layout && rbd_get_features(image->handle, &features) >= 0 &&
	       rbd_get_flags(image->handle, &flags) >= 0 && (features & RBD_FEATURE_FAST_DIFF) &&
	       !(flags & RBD_FLAG_FAST_DIFF_INVALID);
}

static int ask(void *arg)
{
	struct question *q = arg;
	struct rbd_map *map = q->map;
	bool whole = has_object_map(q->image);
	uint64_t reach = q->image->object_size * (whole ? OBJECTS_BY_MAP : OBJECTS_ONE_BY_ONE);
	map->start = align_down(q->offset, q->image->object_size);
	map->end = MIN(q->limit, map->start + reach);
	map->count = 0;
	int r = rbd_diff_iterate2(q->image->handle, NULL, map->start, map->end - map->start, 1,
				  whole, add_extent, map);
	return r == -EOVERFLOW && map->count == RBD_EXTENTS_MAX ? 0 : r;
}

/* Have the map tell of @offset. */
static int co_fn refresh(struct node *n, uint64_t offset)
{
	struct rbd *rbd = n->state;
	struct rbd_map *map = rbd->map;
	if (map && offset >= map->start && offset < map->end &&
	    map->generation == rbd->generation && loop_now_ns(n->loop) < map->until_ns)
		return 0;

	early_wait(&rbd->image->early);
	/* Others may ask at the same time: each has its own until it is complete. */
	map = NEW(struct rbd_map);
	map->generation = rbd->generation;
	struct question q = {
		.image = rbd->image,
		.offset = offset,
		.limit = image_size(rbd->image),
		.map = map,
	};
	int r = offset < q.limit ? co_detached(ask, &q, NULL, 0) : 0;
	if (r < 0) {
		free(map);
		return r;
	}
	map->until_ns = loop_now_ns(n->loop) + FRESH_NS;
	free(rbd->map);
	rbd->map = map;
	return 0;
}

/* The first data that ends behind @offset; map->count when there is none. */
static unsigned find(const struct rbd_map *map, uint64_t offset)
{
	unsigned low = 0, high = map->count;
	while (low < high) {
		unsigned middle = (low + high) / 2;
		if (map->data[middle].end <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int co_fn rbd_node_status(struct node *n, uint64_t offset, struct extent *ret)
{
	struct rbd *rbd = n->state;
	uint64_t wanted = ret->bytes;
	int r = rbd->image->is_encrypted ? 0 : refresh(n, offset);
	if (r < 0)
		return r;
	const struct rbd_map *map = rbd->map;
	*ret = (struct extent){
		.flags = EXTENT_ALLOCATED | EXTENT_OFFSET_VALID | EXTENT_DATA,
		.bytes = wanted,
		.node = n,
		.offset = offset,
	};
	if (rbd->image->is_encrypted)
		return 0;
	if (offset < map->start || offset >= map->end)
		return 0; /* another client has made the image shorter */
	unsigned i = find(map, offset);
	bool is_data = i < map->count && map->data[i].start <= offset;
	uint64_t end = is_data ? map->data[i].end : i < map->count ? map->data[i].start : map->end;
	if (!is_data)
		ret->flags = (ret->flags & ~EXTENT_DATA) | EXTENT_ZERO;
	ret->bytes = MIN(wanted, end - offset);
	return 0;
}
