/* SPDX-License-Identifier: MIT */
/* block/io_write.c and request.c: writes of any shape, beside each other. */
#include "tests/unit/block_fixture.h"

#include "base/cleanup.h"

#define IMAGE_BYTES 65536

/* Random writes one after another, against a copy in memory. */
FIXTURE_TEST(any_range_writes_right)
{
	struct disk *d = disk_new(f, "d", IMAGE_BYTES);
	d->limits = (struct node_limits){
		.request_alignment = 4096, .memory_alignment = 512, .max_transfer = 8192};
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	unsigned char *model _cleanup_free_ = xalloc(1, IMAGE_BYTES);
	unsigned char *buffer _cleanup_free_ = xalloc(1, IMAGE_BYTES + 512);
	for (unsigned i = 0; i < 600; i++) {
		uint64_t offset = loop_random(f->loop) % IMAGE_BYTES;
		uint64_t bytes = 1 + loop_random(f->loop) % (IMAGE_BYTES - offset);
		if (i % 3 == 0) {
			offset = align_down(offset, 4096);
			bytes = align_up(bytes, 4096);
			bytes = MIN(bytes, IMAGE_BYTES - offset);
		}
		unsigned char *p = buffer + loop_random(f->loop) % 3 * 256;
		memset(p, (int)i + 1, bytes);
		memset(model + offset, (int)i + 1, bytes);
		ck_assert_int_eq(user_write(&u, offset, bytes, p, 0), 0);
		ck_assert(memcmp(d->data, model, IMAGE_BYTES) == 0);
	}
	ck_assert_uint_eq(d->size, IMAGE_BYTES);
	user_finish(&u);
	node_unref(n);
}

/* Writers of bytes of their own, next to one another in the same blocks. */
struct neighbours {
	struct user *user;
	unsigned left;
};

struct neighbour {
	struct neighbours *all;
	uint64_t offset, bytes;
	unsigned char byte;
};

static void co_fn write_own_bytes(void *arg)
{
	struct neighbour *w = arg;
	unsigned char buffer[300];
	for (unsigned i = 0; i < 20; i++) {
		memset(buffer, w->byte + (int)i, w->bytes);
		ck_assert_int_eq(user_write(w->all->user, w->offset, w->bytes, buffer, 0), 0);
		ck_assert(user_sees(w->all->user, w->offset, w->bytes, w->byte + (int)i));
		co_sleep_ns(loop_random(loop_current()) % 3000);
	}
	w->all->left--;
}

/* Whole blocks between the partial ones, written without reading first. */
static void co_fn write_whole_block(void *arg)
{
	struct neighbour *w = arg;
	unsigned char buffer[512];
	for (unsigned i = 0; i < 20; i++) {
		memset(buffer, w->byte + (int)i, sizeof(buffer));
		ck_assert_int_eq(user_write(w->all->user, w->offset, sizeof(buffer), buffer, 0), 0);
		co_sleep_ns(loop_random(loop_current()) % 3000);
	}
	w->all->left--;
}

static void co_fn neighbours_keep_their_bytes(struct fixture *f)
{
	struct disk *d = disk_new(f, "d", 4096);
	d->limits.request_alignment = 512;
	d->delay_ns = 2000;
	d->varies = true;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	struct neighbours all = {.user = &u};
	struct neighbour w[16];
	for (unsigned i = 0; i < 14; i++) {
		/* 192 bytes each: some span two blocks. */
		w[i] = (struct neighbour){&all, 192 * i, 192, (unsigned char)(10 * i)};
		all.left++;
		co_start(f->loop, write_own_bytes, &w[i]);
	}
	for (unsigned i = 14; i < 16; i++) {
		w[i] = (struct neighbour){&all, 512 * (i - 8), 512, (unsigned char)(10 * i)};
		all.left++;
		co_start(f->loop, write_whole_block, &w[i]);
	}
	while (all.left > 0)
		co_sleep_ns(1000);
	for (unsigned i = 0; i < 16; i++)
		ck_assert(user_sees(&u, w[i].offset, w[i].bytes, w[i].byte + 19));
	ck_assert_uint_eq(n->serialising, 0);
	user_finish(&u);
	node_unref(n);
}

START_TEST(test_neighbours_keep_their_bytes)
{
	for (uint64_t seed = 1; seed <= 30; seed++)
		fixture_run_seed(seed, neighbours_keep_their_bytes);
}
END_TEST

/* Plain requests that do not serialise run side by side, even where they overlap. */
struct burst {
	struct user *user;
	uint64_t offset;
	unsigned flags;
	int result;
	unsigned *left;
};

static void co_fn write_once(void *arg)
{
	struct burst *b = arg;
	static const unsigned char block[512] = {1};
	b->result = user_write(b->user, b->offset, sizeof(block), block, b->flags);
	--*b->left;
}

static unsigned co_fn run_burst(struct fixture *f, struct disk *d, struct user *u,
				struct burst *bursts, unsigned count)
{
	unsigned left = count;
	d->most_in_flight = 0;
	for (unsigned i = 0; i < count; i++) {
		bursts[i].user = u;
		bursts[i].left = &left;
		co_start(f->loop, write_once, &bursts[i]);
		co_sleep_ns(10);
	}
	while (left > 0)
		co_sleep_ns(1000);
	return d->most_in_flight;
}

FIXTURE_TEST(only_serialising_requests_exclude)
{
	struct disk *d = disk_new(f, "d", 8192);
	d->limits.request_alignment = 512;
	d->delay_ns = 10000;
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	struct burst plain[3] = {{.offset = 0}, {.offset = 0}, {.offset = 512}};
	ck_assert_uint_eq(run_burst(f, d, &u, plain, 3), 3);

	struct burst same[3] = {{.offset = 0, .flags = REQUEST_SERIALISING}, {.offset = 0}, {.offset = 0}};
	/* The first alone, then the two others together. */
	ck_assert_uint_eq(run_burst(f, d, &u, same, 3), 2);

	struct burst apart[3] = {{.offset = 0, .flags = REQUEST_SERIALISING},
				 {.offset = 512, .flags = REQUEST_SERIALISING},
				 {.offset = 1024}};
	ck_assert_uint_eq(run_burst(f, d, &u, apart, 3), 3);

	struct burst last[3] = {{.offset = 0}, {.offset = 0},
				{.offset = 0, .flags = REQUEST_SERIALISING}};
	ck_assert_uint_eq(run_burst(f, d, &u, last, 3), 2);

	struct burst busy[2] = {{.offset = 0},
				{.offset = 0, .flags = REQUEST_SERIALISING | REQUEST_NO_WAIT}};
	run_burst(f, d, &u, busy, 2);
	ck_assert_int_eq(busy[0].result, 0);
	ck_assert_int_eq(busy[1].result, -EBUSY);
	ck_assert_uint_eq(n->serialising, 0);

	/* Without a conflict it does not fail. */
	struct burst free_[1] = {{.offset = 0, .flags = REQUEST_SERIALISING | REQUEST_NO_WAIT}};
	run_burst(f, d, &u, free_, 1);
	ck_assert_int_eq(free_[0].result, 0);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(permission_is_required)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_CONSISTENT_READ, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), -EPERM);
	ck_assert_int_eq(edge_set_permissions(u.edge, PERM_WRITE_UNCHANGED, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), -EPERM);
	unsigned char block[512] = {0};
	ck_assert_int_eq(user_write(&u, 0, 512, block, REQUEST_UNCHANGED), 0);
	ck_assert_int_eq(edge_set_permissions(u.edge, PERM_WRITE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), 0);
	n->corrupt = true;
	ck_assert_int_eq(user_fill(&u, 0, 512, 1), -EIO);
	n->corrupt = false;
	ck_assert_uint_eq(n->stats.invalid[STATS_WRITE], 3);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(consumers_stay_inside)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert_int_eq(user_write(&u, 4096, 0, "", 0), 0);
	ck_assert_int_eq(user_write(&u, 4096, 1, "", 0), -EIO);
	ck_assert_int_eq(user_write(&u, 4095, 2, "ab", 0), -EIO);
	ck_assert_int_eq(user_write(&u, UINT64_MAX - 1, 2, "ab", 0), -EIO);
	ck_assert_int_eq(user_write(&u, 0, UINT64_MAX, "ab", 0), -EINVAL);
	ck_assert_uint_eq(d->size, 4096);
	user_finish(&u);
	node_unref(n);
}

static struct edge *co_fn attach_as_file(struct fixture *f, struct node *parent, struct node *n)
{
	struct graph_tx tx;
	struct edge *e = NULL;
	graph_tx_begin(&tx, f->graph);
	ck_assert_int_eq(graph_tx_attach_node(&tx, parent, "file", n, EDGE_METADATA | EDGE_PRIMARY,
					      &e, NULL),
			 0);
	ck_assert_int_eq(graph_tx_prepare(&tx, NULL), 0);
	graph_tx_commit(&tx);
	return e;
}

/* A format writes beyond the end of its storage, which grows by itself or is made longer. */
static void co_fn check_growth(struct fixture *f, const struct driver *driver)
{
	struct disk *d = disk_new(f, "d", 1024);
	memset(d->data, 0xff, DISK_BYTES_MAX);
	struct node *n = disk_open(f, d, driver), *parent = disk_open(f, d, &disk_driver);
	struct edge *e = attach_as_file(f, parent, n);
	static const unsigned char block[512] = {1, 2, 3};
	ck_assert_int_eq(edge_write(e, 4096, 512, block, 0), 0);
	ck_assert_uint_eq(n->size, 4608);
	ck_assert_uint_eq(d->size, 4608);
	ck_assert_uint_eq(d->truncates, driver->grows_on_write ? 0 : 1);
	ck_assert(memcmp(d->data + 4096, block, 512) == 0);
	/* Zeroes beyond the end are there once the storage is longer. */
	ck_assert_int_eq(edge_zero(e, 4096, 4096, 0), 0);
	ck_assert_uint_eq(n->size, 8192);
	ck_assert(all_bytes(d->data + 4096, 4096, 0));
	/* Without the permission nobody grows it. */
	e->permissions &= ~(unsigned)PERM_RESIZE;
	ck_assert_int_eq(edge_write(e, 8192, 512, block, 0), -EIO);
	e->permissions |= PERM_RESIZE;
	node_unref(parent);
	node_unref(n);
}

FIXTURE_TEST(storage_grows_by_writing)
{
	check_growth(f, &disk_driver);
}

FIXTURE_TEST(storage_is_grown_before_writing)
{
	check_growth(f, &plain_disk_driver);
}

struct growing_write {
	struct edge *edge;
	uint64_t offset;
	int result;
};

static void co_fn write_beyond(void *arg)
{
	struct growing_write *w = arg;
	static const unsigned char block[512] = {1};
	w->result = edge_write(w->edge, w->offset, sizeof(block), block, 0);
}

/* Many wait for storage to grow, which does not answer: they fail together, not each in turn. */
static void co_fn grow_in_vain(struct fixture *f, int error, unsigned truncates)
{
	struct disk *d = disk_new(f, "d", 1024);
	struct node *n = disk_open(f, d, &plain_disk_driver), *parent = disk_open(f, d, &disk_driver);
	struct edge *e = attach_as_file(f, parent, n);
	struct growing_write w[8];
	d->truncate_error = error;
	d->delay_ns = 1000000;
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct growing_write){.edge = e, .offset = 1024 + 512 * i, .result = 1};
		co_start(f->loop, write_beyond, &w[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(w); i++) {
		while (w[i].result == 1)
			co_sleep_ns(1000);
		ck_assert_int_eq(w[i].result, error);
	}
	ck_assert_uint_eq(d->truncates, truncates);
	/* Who comes later asks again. */
	d->truncate_error = 0;
	write_beyond(&w[7]);
	ck_assert_int_eq(w[7].result, 0);
	node_unref(parent);
	node_unref(n);
}

FIXTURE_TEST(who_waits_for_growth_in_vain_fails_together)
{
	grow_in_vain(f, -ETIMEDOUT, 1);
}

/* Less may find room. */
FIXTURE_TEST(other_errors_of_growth_are_ones_own)
{
	grow_in_vain(f, -ENOSPC, 8);
}

FIXTURE_TEST(fua_is_passed_or_emulated)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	unsigned char block[512];
	memset(block, 9, sizeof(block));
	ck_assert_int_eq(user_write(&u, 0, 512, block, REQUEST_FUA), 0);
	ck_assert(all_bytes(d->durable, 512, 9));
	ck_assert_uint_eq(d->flushes, 1);
	d->flush_error = -EIO;
	ck_assert_int_eq(user_write(&u, 0, 512, block, REQUEST_FUA), -EIO);
	d->flush_error = 0;
	n->cache_no_flush = true;
	ck_assert_int_eq(user_write(&u, 0, 512, block, REQUEST_FUA), 0);
	ck_assert_uint_eq(d->flushes, 2);
	/* Only the consumer's own flushes count as such. */
	ck_assert_uint_eq(n->stats.operations[STATS_FLUSH], 0);
	n->cache_no_flush = false;
	user_finish(&u);
	node_unref(n);

	d = disk_new(f, "native", 4096);
	n = disk_open(f, d, &plain_disk_driver);
	user_init_ok(&u, n);
	ck_assert_int_eq(user_write(&u, 0, 512, block, REQUEST_FUA), 0);
	ck_assert(all_bytes(d->durable, 512, 9));
	ck_assert_uint_eq(d->fua_writes, 1);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(zeroes_are_detected)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_fill(&u, 0, 4096, 0), 0);
	ck_assert_uint_eq(d->writes, 1);
	n->detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_ON;
	ck_assert_int_eq(user_fill(&u, 0, 4096, 0), 0);
	ck_assert_uint_eq(d->writes, 1);
	ck_assert_uint_eq(d->zeroes, 1);
	ck_assert_uint_eq(d->unmaps, 0);
	n->detect_zeroes = BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP;
	ck_assert_int_eq(user_fill(&u, 0, 4096, 0), 0);
	ck_assert_uint_eq(d->unmaps, 1);
	ck_assert_int_eq(user_fill(&u, 0, 4096, 1), 0);
	ck_assert_uint_eq(d->writes, 2);
	/* One request of the consumer is one, whatever becomes of it. */
	ck_assert_uint_eq(n->stats.operations[STATS_WRITE], 4);
	user_finish(&u);
	node_unref(n);
}

FIXTURE_TEST(compressed_needs_a_format)
{
	struct disk *d = disk_new(f, "d", 4096);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	ck_assert_int_eq(user_write(&u, 0, 3, "abc", REQUEST_COMPRESSED), -ENOTSUP);
	user_finish(&u);
	node_unref(n);
}

/* Image and alignment do not match: the last block is written whole and the disk grows to it. */
FIXTURE_TEST(last_block_may_be_short)
{
	struct disk *d = disk_new(f, "d", 1000);
	d->limits.request_alignment = 512;
	memset(d->data, 0x66, 1000);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	ck_assert_int_eq(user_init(&u, "u", n, PERM_WRITE | PERM_RESIZE, PERM_ALL, NULL), 0);
	ck_assert(user_sees(&u, 0, 1000, 0x66));
	ck_assert_int_eq(user_fill(&u, 990, 10, 0x77), 0);
	ck_assert(all_bytes(d->data, 990, 0x66));
	ck_assert(all_bytes(d->data + 990, 10, 0x77));
	ck_assert(all_bytes(d->data + 1000, 24, 0));
	ck_assert_uint_eq(n->size, 1024);
	ck_assert_uint_eq(u.resizes, 1);
	user_finish(&u);
	node_unref(n);
}

static uint64_t excess_told, threshold_told;
static unsigned times_told;

static void on_threshold(const struct node *n, uint64_t excess, uint64_t threshold)
{
	excess_told = excess;
	threshold_told = threshold;
	times_told++;
}

FIXTURE_TEST(a_threshold_is_told_once)
{
	static const struct graph_observer observer = {.threshold_exceeded = on_threshold};
	f->graph->observer = &observer;
	struct disk *d = disk_new(f, "disk", 1 << 20);
	struct node *n = disk_open(f, d, &disk_driver);
	struct user u;
	user_init_ok(&u, n);
	n->write_threshold = 5000;
	ck_assert_int_eq(user_fill(&u, 4096, 904, 'x'), 0);
	ck_assert_uint_eq(times_told, 0);
	ck_assert_int_eq(user_fill(&u, 4096, 905, 'x'), 0);
	ck_assert_int_eq(user_fill(&u, 8192, 905, 'x'), 0);
	ck_assert_uint_eq(times_told, 1);
	ck_assert_uint_eq(excess_told, 1);
	ck_assert_uint_eq(threshold_told, 5000);
	ck_assert_uint_eq(n->write_threshold, 0);
	/* Writes that fail, and zeroes, count as well; what is not permitted does not. */
	n->write_threshold = 1;
	d->write_error = -EIO;
	ck_assert_int_eq(user_fill(&u, 2 << 20, 512, 'x'), -EIO);
	ck_assert_uint_eq(times_told, 1);
	ck_assert_int_eq(user_fill(&u, 0, 512, 'x'), -EIO);
	ck_assert_uint_eq(times_told, 2);
	n->write_threshold = 1;
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_zero(u.edge, 0, 4096, 0), 0);
	consumer_leave(&u.consumer);
	ck_assert_uint_eq(excess_told, 4095);
	user_finish(&u);
	node_unref(n);
}

static const struct unit_test tests[] = {
	FIXTURE_ROW(any_range_writes_right),
	FIXTURE_ROW(neighbours_keep_their_bytes),
	FIXTURE_ROW(only_serialising_requests_exclude),
	FIXTURE_ROW(permission_is_required),
	FIXTURE_ROW(consumers_stay_inside),
	FIXTURE_ROW(storage_grows_by_writing),
	FIXTURE_ROW(storage_is_grown_before_writing),
	FIXTURE_ROW(who_waits_for_growth_in_vain_fails_together),
	FIXTURE_ROW(other_errors_of_growth_are_ones_own),
	FIXTURE_ROW(fua_is_passed_or_emulated),
	FIXTURE_ROW(zeroes_are_detected),
	FIXTURE_ROW(compressed_needs_a_format),
	FIXTURE_ROW(last_block_may_be_short),
	FIXTURE_ROW(a_threshold_is_told_once),
};

UNIT_MAIN("io_write", tests)
