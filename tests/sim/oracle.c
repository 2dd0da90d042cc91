/* SPDX-License-Identifier: MIT */
/*
 * What each sector may hold. Two clocks run: ticks, one for each call, order the
 * guest's requests among themselves; positions of the record place them against
 * a crash.
 */
#include "tests/sim/oracle.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NEVER UINT64_MAX

/* Numbers begin here, so that they are not taken for counts or offsets. */
#define FIRST_NUMBER UINT64_C(0x5157000000000001)

struct op {
	uint64_t number;
	enum oracle_kind kind;
	uint64_t sector, count; /* for a resize: those that are cut off */
	uint64_t new_size;      /* sectors */
	bool durable, failed;
	uint64_t begin_tick, end_tick;
	uint64_t begin_position;
	uint64_t durable_position; /* from here on it is certainly on the disk */
};

struct history {
	uint64_t initial; /* a number */
	uint32_t *ops;    /* indices, in the order of their beginnings */
	uint32_t count, capacity;
};

struct oracle {
	struct sim_store *store;
	struct history *sectors;
	uint64_t sector_count;
	struct op *ops;
	size_t count, capacity;
	uint64_t first_number;
	uint64_t tick;
};

static uint64_t next_number = FIRST_NUMBER;

struct oracle *oracle_create(struct sim_store *store, uint64_t sectors)
{
	struct oracle *o = NEW(struct oracle);
	o->store = store;
	o->sector_count = sectors;
	o->sectors = xalloc(sectors, sizeof(*o->sectors));
	o->first_number = next_number;
	return o;
}

void oracle_destroy(struct oracle *o)
{
	if (!o)
		return;
	for (uint64_t i = 0; i < o->sector_count; i++)
		free(o->sectors[i].ops);
	free(o->sectors);
	free(o->ops);
	free(o);
}

uint64_t oracle_sectors(const struct oracle *o)
{
	return o->sector_count;
}

void oracle_set_initial(struct oracle *o, uint64_t sector, uint64_t number)
{
	o->sectors[sector].initial = number;
}

static void add_to_history(struct history *h, uint32_t index)
{
	if (h->count == h->capacity) {
		h->capacity = MAX(h->capacity * 2, 4);
		h->ops = xrealloc(h->ops, h->capacity, sizeof(*h->ops));
	}
	h->ops[h->count++] = index;
}

uint64_t oracle_begin(struct oracle *o, enum oracle_kind kind, uint64_t sector, uint64_t count,
		      bool durable)
{
	/* Numbers follow each other, so that one leads to its operation. */
	if (o->count == 0)
		o->first_number = next_number;
	if (o->count == o->capacity) {
		o->capacity = MAX(o->capacity * 2, (size_t)256);
		o->ops = xrealloc(o->ops, o->capacity, sizeof(*o->ops));
	}
	for (uint64_t s = sector; s < sector + count; s++)
		add_to_history(&o->sectors[s], (uint32_t)o->count);
	o->ops[o->count++] = (struct op){
		.number = next_number,
		.kind = kind,
		.sector = sector,
		.count = count,
		.durable = durable,
		.begin_tick = ++o->tick,
		.end_tick = NEVER,
		.begin_position = sim_store_position(o->store),
		.durable_position = NEVER,
	};
	return next_number++;
}

uint64_t oracle_resize_begin(struct oracle *o, uint64_t old_sectors, uint64_t new_sectors)
{
	uint64_t cut = old_sectors > new_sectors ? old_sectors - new_sectors : 0;
	uint64_t number = oracle_begin(o, ORACLE_RESIZE, new_sectors, cut, false);
	o->ops[number - o->first_number].new_size = new_sectors;
	return number;
}

void oracle_end(struct oracle *o, uint64_t number, int result)
{
	struct op *op = &o->ops[number - o->first_number];
	assert(op->number == number);
	op->end_tick = ++o->tick;
	op->failed = result < 0;
	if (op->durable && !op->failed)
		op->durable_position = sim_store_position(o->store);
}

uint64_t oracle_flush_begin(struct oracle *o)
{
	return ++o->tick;
}

void oracle_flush_end(struct oracle *o, uint64_t token, int result)
{
	uint64_t position = sim_store_position(o->store);
	if (result < 0)
		return;
	for (size_t i = 0; i < o->count; i++) {
		struct op *op = &o->ops[i];
		if (!op->failed && op->end_tick < token)
			op->durable_position = MIN(op->durable_position, position);
	}
}

uint64_t oracle_read_begin(const struct oracle *o)
{
	return o->tick;
}

static uint64_t word_of(uint64_t number, uint64_t sector, unsigned i)
{
	uint64_t state = number * 31 + sector * 1000003 + i;
	return sim_random(&state);
}

void oracle_fill(uint64_t number, uint64_t sector, void *p)
{
	uint64_t words[SIM_SECTOR / 8] = {0};
	if (number != ORACLE_ZERO) {
		words[0] = number;
		words[1] = sector;
		for (unsigned i = 2; i < ARRAY_SIZE(words); i++)
			words[i] = word_of(number, sector, i);
	}
	memcpy(p, words, sizeof(words));
}

bool oracle_decode(uint64_t sector, const void *p, uint64_t *ret_number)
{
	uint64_t number;
	memcpy(&number, p, sizeof(number));
	uint8_t expected[SIM_SECTOR];
	oracle_fill(number, sector, expected);
	*ret_number = number;
	return memcmp(p, expected, SIM_SECTOR) == 0;
}

/* The operation that writes @number into @sector; NULL for what was there before all. */
static const struct op *find_op(const struct oracle *o, uint64_t number, uint64_t sector)
{
	if (number < o->first_number || number - o->first_number >= o->count)
		return NULL;
	const struct op *op = &o->ops[number - o->first_number];
	bool covers = sector >= op->sector && sector - op->sector < op->count;
	return covers && op->kind == ORACLE_WRITE ? op : NULL;
}

/* What decides whether an operation has begun, and whether one hides all older ones. */
struct view {
	bool is_crash;
	uint64_t token;    /* of a read, or the earlier one of a moment */
	uint64_t until;    /* the later one; of a read that ends now: NEVER */
	uint64_t position; /* of a crash */
};

static bool has_begun(const struct view *v, const struct op *op)
{
	return v->is_crash ? op->begin_position <= v->position : op->begin_tick <= v->until;
}

static bool is_certain(const struct view *v, const struct op *op)
{
	if (op->failed || op->kind == ORACLE_DISCARD)
		return false;
	return v->is_crash ? op->durable_position <= v->position : op->end_tick <= v->token;
}

/* Whether something certain came after @end_tick; that one is *ret. */
static bool is_hidden(const struct oracle *o, const struct view *v, uint64_t sector,
		      uint64_t end_tick, const struct op **ret)
{
	const struct history *h = &o->sectors[sector];
	for (uint32_t i = 0; i < h->count; i++) {
		const struct op *later = &o->ops[h->ops[i]];
		if (later->begin_tick > end_tick && is_certain(v, later)) {
			*ret = later;
			return true;
		}
	}
	return false;
}

/* Whether what @op writes may show. */
static bool may_show(const struct oracle *o, const struct view *v, uint64_t sector,
		     const struct op *op, const struct op **ret_hidden_by)
{
	return has_begun(v, op) && !is_hidden(o, v, sector, op->end_tick, ret_hidden_by);
}

static bool zeroes_may_show(const struct oracle *o, const struct view *v, uint64_t sector,
			    const struct op **ret_hidden_by)
{
	const struct history *h = &o->sectors[sector];
	for (uint32_t i = 0; i < h->count; i++) {
		const struct op *op = &o->ops[h->ops[i]];
		if (op->kind != ORACLE_WRITE && may_show(o, v, sector, op, ret_hidden_by))
			return true;
	}
	return false;
}

static bool check(const struct oracle *o, const struct view *v, uint64_t sector, uint64_t number,
		  char **ret_reason)
{
	const struct history *h = &o->sectors[sector];
	const struct op *hidden_by = NULL;
	if (number == h->initial && !is_hidden(o, v, sector, 0, &hidden_by))
		return true;
	if (number == ORACLE_ZERO && zeroes_may_show(o, v, sector, &hidden_by))
		return true;
	const struct op *op = find_op(o, number, sector);
	if (op && may_show(o, v, sector, op, &hidden_by))
		return true;

	if (hidden_by)
		*ret_reason = xasprintf("sector %" PRIu64 " shows %#" PRIx64
					", but %#" PRIx64 " came later and is certain",
					sector, number, hidden_by->number);
	else
		*ret_reason = xasprintf("sector %" PRIu64 " shows %#" PRIx64
					", which nobody has written there", sector, number);
	return false;
}

bool oracle_check_read(const struct oracle *o, uint64_t token, uint64_t sector, uint64_t number,
		       char **ret_reason)
{
	return oracle_check_moment(o, token, NEVER, sector, number, ret_reason);
}

bool oracle_check_moment(const struct oracle *o, uint64_t from, uint64_t until, uint64_t sector,
			 uint64_t number, char **ret_reason)
{
	struct view v = {.token = from, .until = until};
	return check(o, &v, sector, number, ret_reason);
}

bool oracle_check_crash(const struct oracle *o, uint64_t position, uint64_t sector,
			uint64_t number, char **ret_reason)
{
	struct view v = {.is_crash = true, .position = position};
	return check(o, &v, sector, number, ret_reason);
}

bool oracle_check_size(const struct oracle *o, uint64_t position, uint64_t initial_sectors,
		       uint64_t sectors, char **ret_reason)
{
	struct view v = {.is_crash = true, .position = position};
	bool legal = sectors == initial_sectors;
	for (size_t i = 0; i < o->count; i++) {
		const struct op *op = &o->ops[i];
		if (op->kind != ORACLE_RESIZE || !has_begun(&v, op))
			continue;
		if (is_certain(&v, op))
			legal = false;
		legal |= op->new_size == sectors;
	}
	if (!legal)
		*ret_reason = xasprintf("the image has %" PRIu64 " sectors", sectors);
	return legal;
}
