/* SPDX-License-Identifier: MIT */
/* block/io_status.c: what is known of a range, through layers, filters and formats. */
#include "tests/unit/block_fixture.h"

static void co_fn expect(struct node *n, uint64_t offset, uint64_t bytes, unsigned flags,
			 uint64_t length)
{
	struct extent x;
	ck_assert_int_eq(node_status(n, offset, bytes, &x), 0);
	const unsigned shown = EXTENT_DATA | EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_EOF;
	ck_assert_msg((x.flags & shown) == flags && x.bytes == length, "at %llu: %#x for %llu",
		      (unsigned long long)offset, x.flags & shown, (unsigned long long)x.bytes);
}

FIXTURE_TEST(protocols_know_holes)
{
	struct disk *d = disk_new(f, "d", 4000);
	d->holes = true;
	d->limits.request_alignment = 512;
	memset(d->data + 1024, 1, 1024);
	struct node *n = disk_open(f, d, &disk_driver), *filter = NULL;
	ck_assert_int_eq(node_open_internal(f->graph, &filter_driver, NULL, false, n, &filter, NULL),
			 0);
	struct node *both[] = {n, filter};
	const unsigned zero = EXTENT_DATA | EXTENT_ZERO | EXTENT_ALLOCATED;
	const unsigned data = EXTENT_DATA | EXTENT_ALLOCATED;
	for (unsigned i = 0; i < 2; i++) {
		expect(both[i], 0, 4000, zero, 1024);
		expect(both[i], 100, 4000, zero, 924);
		expect(both[i], 100, 10, zero, 10);
		expect(both[i], 1024, 4000, data, 1024);
		expect(both[i], 2047, 4000, data, 1);
		expect(both[i], 2048, 4000, zero | EXTENT_EOF, 1952);
		expect(both[i], 4000, 1, EXTENT_EOF, 0);
	}
	struct extent x;
	ck_assert_int_eq(node_status(n, 1030, 10, &x), 0);
	ck_assert(x.flags & EXTENT_OFFSET_VALID);
	ck_assert_ptr_eq(x.node, n);
	ck_assert_uint_eq(x.offset, 1030);
	node_unref(filter);
	node_unref(n);
}

FIXTURE_TEST(unknown_is_data)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &plain_disk_driver);
	expect(n, 0, 100, EXTENT_DATA | EXTENT_ALLOCATED, 100);
	expect(n, 0, 8192, EXTENT_DATA | EXTENT_ALLOCATED | EXTENT_EOF, 4096);
	node_unref(n);
}

/* top: D U Z U U U U U, middle (six clusters): U D U U D U, base: data, then a hole. */
FIXTURE_TEST(layers_are_looked_through)
{
	enum { C = COW_CLUSTER };
	struct disk *td = disk_new(f, "top", 0), *md = disk_new(f, "middle", 0);
	disk_format_cow(td, 8 * C, "middle", "qcow2");
	disk_format_cow(md, 6 * C, "base", "raw");
	td->data[C] = 1;
	td->data[C + 2] = 2;
	md->data[C + 1] = md->data[C + 4] = 1;
	/* The format's fourth cluster lies in a hole of its file. */
	md->holes = td->holes = true;
	memset(td->data + 2 * C, 1, C);
	memset(md->data + 2 * C + C, 1, C);
	td->size = md->size = 2 * C + 8 * C;
	disk_new(f, "base", 8 * C)->holes = true;
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=top");
	struct node *middle = node_backing(n), *base = node_backing(middle);

	const unsigned data = EXTENT_DATA | EXTENT_ALLOCATED;
	expect(n, 0, 8 * C, data, C);
	expect(n, C, 8 * C, data, C);
	expect(n, 2 * C, 8 * C, EXTENT_ZERO | EXTENT_ALLOCATED, C);
	/* The base is raw on a file with holes. */
	expect(n, 3 * C, 8 * C, data, C);
	expect(n, 4 * C, 8 * C, data | EXTENT_ZERO, C);
	expect(n, 5 * C, 8 * C, data, C);
	/* Beyond the end of the middle nothing of the base shows. */
	expect(n, 6 * C, 8 * C, EXTENT_ZERO | EXTENT_ALLOCATED | EXTENT_EOF, 2 * C);

	static const struct {
		unsigned cluster, above_middle, above_base;
	} cases[] = {{0, 1, 1}, {1, 0, 2}, {2, 1, 1}, {3, 0, 0}, {4, 0, 2}, {5, 0, 0}, {6, 0, 2}};
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct extent x;
		unsigned depth;
		uint64_t offset = cases[i].cluster * C;
		ck_assert_int_eq(node_status_above(n, middle, offset, C, &x, &depth), 0);
		ck_assert_uint_eq(depth, cases[i].above_middle);
		ck_assert_int_eq(!!(x.flags & EXTENT_ALLOCATED), cases[i].above_middle > 0);
		ck_assert_int_eq(node_status_above(n, base, offset, C, &x, &depth), 0);
		ck_assert_uint_eq(depth, cases[i].above_base);
		ck_assert_int_eq(node_status_above(n, NULL, offset, C, &x, &depth), 0);
		ck_assert_uint_eq(depth, cases[i].above_base ? cases[i].above_base : 3);
		ck_assert_uint_eq(x.bytes, C);
	}
	node_unref(n);
}

FIXTURE_TEST(nothing_below_is_zero)
{
	struct disk *d = disk_new(f, "d", 0);
	disk_format_cow(d, 3000, NULL, NULL);
	struct node *n = open_ok(f, "driver=qcow2,file.driver=file,file.filename=d");
	expect(n, 10, 100, EXTENT_ZERO, 100);
	expect(n, 0, 3000, EXTENT_ZERO | EXTENT_EOF, 3000);
	struct extent x;
	ck_assert_int_eq(node_status_above(n, NULL, 0, 3000, &x, NULL), 0);
	ck_assert_uint_eq(x.flags, EXTENT_EOF);
	ck_assert_uint_eq(x.bytes, 3000);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(protocols_know_holes),
	FIXTURE_ROW(unknown_is_data),
	FIXTURE_ROW(layers_are_looked_through),
	FIXTURE_ROW(nothing_below_is_zero),
};

UNIT_MAIN("io_status", tests)
