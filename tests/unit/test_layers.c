/* SPDX-License-Identifier: MIT */
/*
 * block/layers.c on chains of real qcow2 images: reads begin where the data is, and
 * nothing that was written is ever skipped.
 */
#include "block/layers.h"

#include "base/cleanup.h"
#include "block/driver.h"
#include "tests/unit/chain_fixture.h"

static const char *const names[] = {"base", "o1", "o2", "o3", "o4", "o5"};
#define COUNT 6

static void co_fn write_bytes(struct chain_user *u, uint64_t offset, uint64_t bytes, int value)
{
	memset(u->chain->model + offset, value, bytes);
	consumer_enter(&u->consumer);
	ck_assert_int_eq(edge_write(u->edge, offset, bytes, u->chain->model + offset, 0), 0);
	consumer_leave(&u->consumer);
}

/* Data in all of the base, and nothing above; a map of the chain. */
static void co_fn set_up(struct chain *c, uint64_t middle_size)
{
	chain_make(c, "base", CHAIN_SIZE, NULL);
	struct node *n = chain_open(c, "base");
	struct chain_user u;
	chain_user_init(&u, c, n);
	write_bytes(&u, 0, CHAIN_SIZE, 7);
	chain_user_finish(&u);
	node_unref(n);
	for (unsigned i = 1; i < COUNT; i++)
		chain_make(c, names[i], i == 2 ? middle_size : CHAIN_SIZE, names[i - 1]);
	memset(c->model + middle_size, 0, CHAIN_SIZE - middle_size);
	chain_open_all(c, names, COUNT);
	chain_expect(c, chain_find(c, "o5"));
	ck_assert_ptr_nonnull(chain_find(c, "o5")->layers);
}

/* Where a read of [@offset, @offset + @bytes) begins; *ret_bytes: as long as that holds. */
static const char *co_fn begins_at(struct chain *c, uint64_t offset, uint64_t *ret_bytes)
{
	uint64_t bytes = CHAIN_SIZE - offset;
	struct node *n = layers_find(chain_find(c, "o5"), offset, &bytes);
	if (ret_bytes)
		*ret_bytes = bytes;
	return n->name;
}

CHAIN_TEST(reads_begin_where_the_data_is)
{
	set_up(c, CHAIN_SIZE);
	uint64_t bytes;
	ck_assert_str_eq(begins_at(c, 0, &bytes), "base");
	ck_assert_uint_ge(bytes, CHAIN_CLUSTER);
	ck_assert_str_eq(begins_at(c, 12345, NULL), "base");
	ck_assert_str_eq(begins_at(c, CHAIN_SIZE - 1, &bytes), "base");
	ck_assert_uint_eq(bytes, 1);
	/* No layer in between is asked again. */
	chain_expect(c, chain_find(c, "o5"));
	uint64_t before = c->events;
	chain_expect(c, chain_find(c, "o5"));
	ck_assert_uint_le(c->events - before, CHAIN_SIZE / CHAIN_CLUSTER);
	chain_close_all(c);
}

CHAIN_TEST(what_is_written_is_never_skipped)
{
	set_up(c, CHAIN_SIZE);
	struct chain_user u;
	chain_user_init(&u, c, chain_find(c, "o5"));
	ck_assert_str_eq(begins_at(c, 8 * CHAIN_CLUSTER, NULL), "base");
	write_bytes(&u, 8 * CHAIN_CLUSTER + 512, 512, 9);
	uint64_t bytes;
	ck_assert_str_eq(begins_at(c, 8 * CHAIN_CLUSTER, &bytes), "o5");
	ck_assert_uint_eq(bytes, CHAIN_CLUSTER);
	ck_assert_str_eq(begins_at(c, 9 * CHAIN_CLUSTER, NULL), "base");
	/* Zeroes, over many granules, and nothing behind them. */
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_zero(u.edge, 64 * CHAIN_CLUSTER, 100 * CHAIN_CLUSTER, 0), 0);
	consumer_leave(&u.consumer);
	memset(c->model + 64 * CHAIN_CLUSTER, 0, 100 * CHAIN_CLUSTER);
	ck_assert_str_eq(begins_at(c, 64 * CHAIN_CLUSTER, NULL), "o5");
	ck_assert_str_eq(begins_at(c, 164 * CHAIN_CLUSTER, NULL), "base");
	chain_user_finish(&u);
	chain_expect(c, chain_find(c, "o5"));
	chain_close_all(c);
}

CHAIN_TEST(a_short_layer_is_not_skipped_beyond_its_end)
{
	set_up(c, CHAIN_SIZE / 2 + 512);
	ck_assert_str_eq(begins_at(c, 0, NULL), "base");
	ck_assert_str_eq(begins_at(c, CHAIN_SIZE / 2 + CHAIN_CLUSTER, NULL), "o2");
	ck_assert_str_eq(begins_at(c, CHAIN_SIZE / 2, NULL), "o2");
	chain_expect(c, chain_find(c, "o5"));
	chain_close_all(c);
}

CHAIN_TEST(changes_of_the_chain_are_noticed)
{
	set_up(c, CHAIN_SIZE);
	ck_assert_str_eq(begins_at(c, 0, NULL), "base");
	chain_commit_ok(c, "device=o5,top-node=o2");
	chain_wait_for(c, "null");
	ck_assert_str_eq(begins_at(c, 0, NULL), "base");
	c->log[0] = '\0';
	chain_stream_ok(c, "device=o4");
	chain_wait_for(c, "null");
	ck_assert_str_eq(begins_at(c, 0, NULL), "o4");
	c->log[0] = '\0';
	chain_stream_ok(c, "device=o5");
	chain_wait_for(c, "null");
	ck_assert_str_eq(begins_at(c, 0, NULL), "o5");
	chain_expect(c, chain_find(c, "o5"));
	chain_close_all(c);
}

CHAIN_TEST(users_come_and_go_without_a_loss)
{
	set_up(c, CHAIN_SIZE);
	ck_assert_str_eq(begins_at(c, 0, NULL), "base");
	size_t pages = c->graph->layer_page_count;
	ck_assert_uint_gt(pages, 0);
	struct chain_user top, middle;
	chain_user_init(&top, c, chain_find(c, "o5"));
	ck_assert_uint_eq(c->graph->layer_page_count, pages);
	chain_user_finish(&top);
	/* Whose permissions have nothing to do with the chain. */
	consumer_init(&middle.consumer, c->graph, &(const struct consumer_ops){0});
	ck_assert_int_eq(edge_attach_consumer(&middle.consumer, "root", chain_find(c, "o2"), 0,
					      PERM_ALL, &middle.edge, NULL), 0);
	edge_detach(middle.edge);
	consumer_finish(&middle.consumer);
	ck_assert_uint_eq(c->graph->layer_page_count, pages);
	chain_close_all(c);
}

CHAIN_TEST(memory_is_given_back)
{
	set_up(c, CHAIN_SIZE);
	ck_assert_str_eq(begins_at(c, 0, NULL), "base");
	ck_assert_uint_gt(c->graph->layer_page_count, 0);
	graph_drop_caches(c->graph);
	ck_assert_uint_eq(c->graph->layer_page_count, 0);
	ck_assert_str_eq(begins_at(c, 0, NULL), "base");
	ck_assert_uint_gt(c->graph->layer_page_count, 0);
	chain_close_all(c);
	ck_assert_uint_eq(c->graph->layer_page_count, 0);
}

/* --- While it is learned ------------------------------------------------------------- */

/* Whoever reads here has to load a table of each layer first. */
#define FAR (UINT64_C(2) << 20)

struct reading {
	struct chain_user user;
	uint8_t data[512];
	bool has_ended;
};

static void co_fn read_far(void *arg)
{
	struct reading *r = arg;
	consumer_enter(&r->user.consumer);
	ck_assert_int_eq(edge_read(r->user.edge, FAR, sizeof(r->data), r->data, 0), 0);
	consumer_leave(&r->user.consumer);
	r->has_ended = true;
}

static void co_fn write_during_a_lesson(struct chain *c)
{
	struct chain_user u;
	for (unsigned i = 0; i < COUNT; i++) {
		chain_make(c, names[i], 2 * FAR, i > 0 ? names[i - 1] : NULL);
		struct node *n = chain_open(c, names[i]);
		chain_user_init(&u, c, n);
		write_bytes(&u, FAR + i * CHAIN_CLUSTER, CHAIN_CLUSTER, (int)i + 1);
		chain_user_finish(&u);
		node_unref(n);
	}
	chain_open_all(c, names, COUNT);
	struct reading first = {0};
	chain_user_init(&first.user, c, chain_find(c, "o5"));
	chain_user_init(&u, c, chain_find(c, "o5"));
	uint8_t data[512];
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_read(u.edge, 0, sizeof(data), data, 0), 0);
	consumer_leave(&u.consumer);
	ck_assert_ptr_nonnull(chain_find(c, "o5")->layers);

	c->delay_ns = 50000;
	co_start(c->loop, read_far, &first);
	co_sleep_ns(loop_random(c->loop) % 100000);
	write_bytes(&u, FAR, CHAIN_CLUSTER, 99);
	while (!first.has_ended)
		co_sleep_ns(10000);
	consumer_enter(&u.consumer);
	ck_assert_int_eq(edge_read(u.edge, FAR, sizeof(data), data, 0), 0);
	consumer_leave(&u.consumer);
	ck_assert_mem_eq(data, c->model + FAR, sizeof(data));
	ck_assert(first.data[0] == 1 || first.data[0] == 99);
	chain_user_finish(&first.user);
	chain_user_finish(&u);
	chain_close_all(c);
}

START_TEST(test_write_during_a_lesson)
{
	for (uint64_t seed = 0; seed < 40; seed++)
		chain_run(seed, write_during_a_lesson);
}
END_TEST

/* --- At random ---------------------------------------------------------------------- */

#define STRIPES 4
#define SECTORS (CHAIN_SIZE / 512)
#define RANGE_MAX 64

/* One of several users of one image: sectors with the same remainder are its own. */
struct striper {
	struct chain_user user;
	unsigned number;
	unsigned reads;
};

static void co_fn write_own(struct striper *s)
{
	struct chain *c = s->user.chain;
	uint64_t sector = loop_random(c->loop) % (SECTORS / STRIPES) * STRIPES + s->number;
	write_bytes(&s->user, sector * 512, 512, (int)(1 + loop_random(c->loop) % 255));
}

static void co_fn read_own(struct striper *s)
{
	struct chain *c = s->user.chain;
	uint64_t count = 1 + loop_random(c->loop) % RANGE_MAX;
	uint64_t first = loop_random(c->loop) % (SECTORS - count);
	uint8_t *data _cleanup_free_ = xalloc(count, 512);
	consumer_enter(&s->user.consumer);
	ck_assert_int_eq(edge_read(s->user.edge, first * 512, count * 512, data, 0), 0);
	consumer_leave(&s->user.consumer);
	for (uint64_t i = 0; i < count; i++) {
		if ((first + i) % STRIPES == s->number)
			ck_assert_mem_eq(data + i * 512, c->model + (first + i) * 512, 512);
	}
	s->reads++;
}

static void co_fn stripe_main(void *arg)
{
	struct striper *s = arg;
	struct chain *c = s->user.chain;
	while (!s->user.stop) {
		if (loop_random(c->loop) % 3 == 0)
			write_own(s);
		else
			read_own(s);
		co_sleep_ns(loop_random(c->loop) % 20000);
	}
	s->user.ended = true;
}

static void co_fn everybody_sees_what_he_wrote(struct chain *c)
{
	chain_make_all(c, names, COUNT);
	chain_open_all(c, names, COUNT);
	c->delay_ns = 50000;
	struct striper stripers[STRIPES] = {0};
	for (unsigned i = 0; i < STRIPES; i++) {
		chain_user_init(&stripers[i].user, c, chain_find(c, "o5"));
		stripers[i].number = i;
		stripers[i].user.ended = false;
		co_start(c->loop, stripe_main, &stripers[i]);
	}
	co_sleep_ns(2000000);
	if (loop_random(c->loop) % 2)
		graph_drop_caches(c->graph);
	chain_stream_ok(c, "job-id=a,device=o3,base-node=o1");
	chain_commit_ok(c, "job-id=b,device=o5,top-node=o1");
	chain_wait_for(c, "a:null");
	chain_wait_for(c, "b:null");
	chain_stream_ok(c, "job-id=c,device=o5");
	chain_wait_for(c, "c:null");
	for (unsigned i = 0; i < STRIPES; i++) {
		chain_user_finish(&stripers[i].user);
		ck_assert_uint_gt(stripers[i].reads, 10);
	}
	chain_expect(c, chain_find(c, "o5"));
	chain_close_all(c);
}

START_TEST(test_everybody_sees_what_he_wrote)
{
	for (uint64_t seed = 0; seed < 40; seed++)
		chain_run(seed, everybody_sees_what_he_wrote);
}
END_TEST

static const struct unit_test tests[] = {
	CHAIN_ROW(reads_begin_where_the_data_is),
	CHAIN_ROW(what_is_written_is_never_skipped),
	CHAIN_ROW(a_short_layer_is_not_skipped_beyond_its_end),
	CHAIN_ROW(changes_of_the_chain_are_noticed),
	CHAIN_ROW(users_come_and_go_without_a_loss),
	CHAIN_ROW(memory_is_given_back),
	CHAIN_ROW(write_during_a_lesson),
	CHAIN_ROW(everybody_sees_what_he_wrote),
};

UNIT_MAIN("layers", tests)
