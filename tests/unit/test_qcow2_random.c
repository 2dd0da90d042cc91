/* SPDX-License-Identifier: MIT */
/*
 * drivers/qcow2 under many requests at once, with caches of two slices: whatever
 * the schedule, the image shows what was written, and its refcounts are right.
 *
 * Every sector carries the number of its last write. Requests that are under way
 * together never touch the same sector, but often the same cluster.
 */
#include "tests/unit/qcow2_fixture.h"

#define SECTOR 512
#define WORKERS 12

struct model {
	struct image *image;
	uint64_t sectors;
	uint32_t *numbers; /* of the last write; 0 for zeroes */
	bool *busy, *unknown;
	uint32_t next;
	unsigned requests_left;
	struct co_group workers;
	struct co_queue freed;
	unsigned cluster_sectors;
};

struct request {
	uint64_t first, count;
};

static uint64_t choose(struct model *m, uint64_t n)
{
	return loop_random(m->image->loop) % n;
}

/* A range of which no sector is busy; then it is. */
static struct request co_fn take_range(struct model *m)
{
	for (;;) {
		uint64_t most = choose(m, 4) == 0 ? 6 * m->cluster_sectors : m->cluster_sectors;
		struct request r = {choose(m, m->sectors), 1 + choose(m, most)};
		bool free = true;

		if (choose(m, 3) == 0) { /* whole clusters */
			r.first -= r.first % m->cluster_sectors;
			r.count += m->cluster_sectors - 1;
			r.count -= r.count % m->cluster_sectors;
		}
		r.count = MIN(r.count, m->sectors - r.first);
		for (uint64_t s = r.first; s < r.first + r.count; s++)
			free &= !m->busy[s];
		if (!free) {
			co_queue_wait(&m->freed);
			continue;
		}
		memset(m->busy + r.first, true, r.count);
		return r;
	}
}

static void give_back(struct model *m, struct request r)
{
	memset(m->busy + r.first, false, r.count);
	co_queue_wake_all(&m->freed);
}

static void set_numbers(struct model *m, struct request r, uint32_t number, bool unknown)
{
	for (uint64_t s = r.first; s < r.first + r.count; s++) {
		m->numbers[s] = number;
		m->unknown[s] = unknown;
	}
}

static void fill(uint8_t *p, uint64_t bytes, uint32_t number)
{
	for (uint64_t at = 0; at < bytes; at += sizeof(number))
		memcpy(p + at, &number, sizeof(number));
}

static void co_fn verify(struct model *m, struct request r)
{
	uint8_t *p = buffer_get(m->image->loop, r.count * SECTOR);

	ck_assert_int_eq(edge_read(m->image->edge, r.first * SECTOR, r.count * SECTOR, p, 0), 0);
	for (uint64_t at = 0; at < r.count * SECTOR; at += sizeof(uint32_t)) {
		uint64_t sector = r.first + at / SECTOR;
		uint32_t number;

		memcpy(&number, p + at, sizeof(number));
		if (!m->unknown[sector] && number != m->numbers[sector])
			ck_abort_msg("sector %" PRIu64 " has %u and not %u", sector, number,
				     m->numbers[sector]);
	}
	buffer_put(m->image->loop, p, r.count * SECTOR);
}

static void co_fn write_range(struct model *m, struct request r, unsigned flags)
{
	uint32_t number = m->next++;
	uint8_t *p = buffer_get(m->image->loop, r.count * SECTOR);

	fill(p, r.count * SECTOR, number);
	ck_assert_int_eq(edge_write(m->image->edge, r.first * SECTOR, r.count * SECTOR, p, flags),
			 0);
	buffer_put(m->image->loop, p, r.count * SECTOR);
	set_numbers(m, r, number, false);
}

static void co_fn request(struct model *m)
{
	struct request r = take_range(m);
	uint64_t kind = choose(m, 20);

	if (kind < 9) {
		write_range(m, r, 0);
	} else if (kind < 10) {
		write_range(m, r, REQUEST_COMPRESSED);
	} else if (kind < 12) {
		ck_assert_int_eq(edge_zero(m->image->edge, r.first * SECTOR, r.count * SECTOR,
					   kind == 11 ? REQUEST_MAY_UNMAP : 0), 0);
		set_numbers(m, r, 0, false);
	} else if (kind < 14) {
		set_numbers(m, r, 0, true);
		ck_assert_int_eq(edge_discard(m->image->edge, r.first * SECTOR, r.count * SECTOR),
				 0);
	} else if (kind < 15) {
		ck_assert_int_eq(edge_flush(m->image->edge), 0);
	} else {
		verify(m, r);
	}
	give_back(m, r);
}

static void co_fn worker(void *arg)
{
	struct model *m = arg;

	while (m->requests_left > 0) {
		m->requests_left--;
		request(m);
	}
	co_group_done(&m->workers);
}

static void co_fn work(struct model *m, unsigned requests)
{
	m->requests_left = requests;
	for (unsigned i = 0; i < WORKERS; i++) {
		co_group_add(&m->workers);
		co_start(m->image->loop, worker, m);
	}
	co_group_wait(&m->workers);
	verify(m, (struct request){0, m->sectors});
}

struct geometry {
	const char *create;
	uint64_t cluster;
	bool has_backing;
	const char *open;
};

static const struct geometry *geometry;

static void co_fn run_geometry(struct image *i)
{
	const struct geometry *g = geometry;
	uint64_t size = align_down(MIN(40 * g->cluster + 3 * SECTOR, 4 * MiB), SECTOR);
	_cleanup_free_ char *create = xasprintf("size=%" PRIu64 ",cluster-size=%" PRIu64 ",%s", size,
						g->cluster, g->create);
	_cleanup_free_ char *open = xasprintf("discard=unmap,l2-cache-size=0,l2-cache-entry-size=512"
					      "%s", g->open);
	struct model m = {.image = i, .sectors = size / SECTOR, .next = 1};

	m.cluster_sectors = g->cluster / SECTOR;
	m.numbers = xalloc(m.sectors, sizeof(uint32_t));
	m.busy = xalloc(m.sectors, sizeof(bool));
	m.unknown = xalloc(m.sectors, sizeof(bool));
	co_group_init(&m.workers);
	co_queue_init(&m.freed);
	image_create_ok(i, create);
	if (g->has_backing) {
		uint64_t shown = size / 2 / SECTOR;

		image_set_backing(i, shown * SECTOR, 0);
		fill(i->backing_disk.data, shown * SECTOR, UINT32_C(0xbac0));
		set_numbers(&m, (struct request){0, shown}, 0xbac0, false);
	}
	image_open_ok(i, open);
	i->disk.delay_ns = 100000;
	for (unsigned life = 0; life < 3; life++) {
		work(&m, 250);
		image_flush(i);
		image_expect_check(i, 0, 0);
		image_reopen(i, open);
		verify(&m, (struct request){0, m.sectors});
		image_expect_check(i, 0, 0);
	}
	ck_assert_uint_gt(i->disk.most_in_flight, 2);
	free(m.numbers);
	free(m.busy);
	free(m.unknown);
}

static const struct geometry geometries[] = {
	{"version=v3", 65536, false, ""},
	{"version=v3", 65536, true, ""},
	{"version=v2", 4096, true, ""},
	{"version=v2", 512, false, ""},
	{"version=v3,refcount-bits=1", 512, true, ""},
	{"version=v3,refcount-bits=64", 512, true, ""},
	{"version=v3,refcount-bits=2", 1024, false, ",overlap-check=all"},
	{"version=v3,lazy-refcounts=on", 4096, true, ""},
	{"version=v3,compression-type=zstd", 4096, true, ",discard-no-unref=on"},
	{"version=v3,extended-l2=on", 16384, false, ""},
	{"version=v3,extended-l2=on", 16384, true, ""},
	{"version=v3,refcount-bits=4,extended-l2=on", 32768, true, ",discard-no-unref=on"},
};

START_TEST(every_schedule_gives_what_was_written)
{
	const char *seeds = getenv("SEEDS");

	for (unsigned seed = 1; seed <= (seeds ? strtoul(seeds, NULL, 0) : 10); seed++) {
		for (size_t g = 0; g < ARRAY_SIZE(geometries); g++) {
			geometry = &geometries[g];
			image_run(seed * 100 + g, run_geometry);
		}
	}
}
END_TEST

static const struct unit_test tests[] = {
	UNIT_TEST(every_schedule_gives_what_was_written),
};

UNIT_MAIN("qcow2_random", tests)
