/* SPDX-License-Identifier: MIT */
/*
 * The simulated guest: workers that send requests of random kind, place and
 * length at the same time, tell the oracle, and check what they read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "tests/sim/world.h"

struct range {
	uint64_t sector, count;
};

static struct range choose_range(struct world *w)
{
	uint64_t sectors = w->sectors;
	struct range r = {.sector = choose(&w->random, sectors)};
	/* Half of the requests fall into a small part, so that they meet. */
	if (choose(&w->random, 2))
		r.sector %= MIN(sectors, 64);
	r.count = choose_between(&w->random, 1, w->plan->request_sectors_max);
	if (choose(&w->random, 4) == 0) { /* whole clusters */
		uint64_t cluster = (UINT64_C(1) << w->plan->cluster_bits) / SIM_SECTOR;
		r.sector = align_down(r.sector, cluster);
		r.count = align_up(r.count, cluster);
	}
	r.count = MIN(r.count, sectors - r.sector);
	return r;
}

static void tell(struct world *w, const char *what, struct range range, uint64_t number, int result)
{
	if (w->tells)
		printf("%8" PRIu64 " %s %" PRIu64 "+%" PRIu64 " number %#" PRIx64 ": %d\n",
		       sim_store_position(w->store), what, range.sector, range.count, number,
		       result);
}

static void co_fn write_some(struct world *w, bool durable)
{
	struct range range = choose_range(w);
	size_t bytes = range.count * SIM_SECTOR;
	uint8_t *p = buffer_get(w->loop, bytes);
	uint64_t number =
		oracle_begin(w->oracle, ORACLE_WRITE, range.sector, range.count, durable);
	for (uint64_t i = 0; i < range.count; i++)
		oracle_fill(number, range.sector + i, p + i * SIM_SECTOR);
	tell(w, durable ? "durable write begins" : "write begins", range, number, 0);
	int r = edge_write(w->edge, range.sector * SIM_SECTOR, bytes, p,
			   durable ? REQUEST_FUA : 0);
	oracle_end(w->oracle, number, r);
	tell(w, "write ends", range, number, r);
	buffer_put(w->loop, p, bytes);
}

static void co_fn zero_some(struct world *w, unsigned flags)
{
	struct range range = choose_range(w);
	uint64_t number = oracle_begin(w->oracle, ORACLE_ZEROES, range.sector, range.count, false);
	tell(w, flags ? "unmap begins" : "zero begins", range, number, 0);
	int r = edge_zero(w->edge, range.sector * SIM_SECTOR, range.count * SIM_SECTOR, flags);
	oracle_end(w->oracle, number, r);
	tell(w, "zero ends", range, number, r);
}

static void co_fn discard_some(struct world *w)
{
	struct range range = choose_range(w);
	uint64_t number = oracle_begin(w->oracle, ORACLE_DISCARD, range.sector, range.count, false);
	tell(w, "discard begins", range, number, 0);
	int r = edge_discard(w->edge, range.sector * SIM_SECTOR, range.count * SIM_SECTOR);
	oracle_end(w->oracle, number, r);
	tell(w, "discard ends", range, number, r);
}

static void check_sector(struct world *w, uint64_t token, uint64_t sector, const uint8_t *p)
{
	uint64_t number;
	char *reason;
	if (!oracle_decode(sector, p, &number))
		world_fault(w, xasprintf("a read of sector %" PRIu64 " shows no write's data: %#"
					 PRIx64, sector, number));
	else if (!oracle_check_read(w->oracle, token, sector, number, &reason))
		world_fault(w, reason);
}

static void co_fn read_some(struct world *w)
{
	struct range range = choose_range(w);
	size_t bytes = range.count * SIM_SECTOR;
	uint8_t *p = buffer_get(w->loop, bytes);
	uint64_t token = oracle_read_begin(w->oracle);
	int r = edge_read(w->edge, range.sector * SIM_SECTOR, bytes, p, 0);
	for (uint64_t i = 0; r >= 0 && i < range.count; i++)
		check_sector(w, token, range.sector + i, p + i * SIM_SECTOR);
	buffer_put(w->loop, p, bytes);
}

static void co_fn flush(struct world *w)
{
	uint64_t token = oracle_flush_begin(w->oracle);
	int r = edge_flush(w->edge);
	oracle_flush_end(w->oracle, token, r);
	tell(w, "flush ends", (struct range){0}, token, r);
}

/* One at a time. Nobody uses what is about to be cut off, nor what is not there yet. */
static void co_fn resize(struct world *w)
{
	if (w->is_resizing)
		return;
	w->is_resizing = true;
	uint64_t old = w->sectors, new = choose_between(&w->random, MAX(old / 2, 1), old * 2);
	new = MIN(new, w->plan->size_max / SIM_SECTOR);
	w->sectors = MIN(old, new);
	uint64_t number = oracle_resize_begin(w->oracle, old, new);
	tell(w, "resize begins", (struct range){old, new}, number, 0);
	int r = edge_truncate(w->edge, new * SIM_SECTOR, PREALLOCATION_OFF, NULL);
	oracle_end(w->oracle, number, r);
	tell(w, "resize ends", (struct range){old, new}, number, r);
	w->sectors = w->node->size / SIM_SECTOR;
	w->is_resizing = false;
}

static void co_fn send_request(struct world *w)
{
	const struct plan *p = w->plan;
	unsigned total = p->weights.write + p->weights.durable_write + p->weights.zero +
			 p->weights.unmap + p->weights.discard + p->weights.read + p->weights.flush +
			 p->weights.resize;
	unsigned at = (unsigned)choose(&w->random, total);
	if (at < p->weights.write)
		return write_some(w, false);
	at -= p->weights.write;
	if (at < p->weights.durable_write)
		return write_some(w, true);
	at -= p->weights.durable_write;
	if (at < p->weights.zero)
		return zero_some(w, 0);
	at -= p->weights.zero;
	if (at < p->weights.unmap)
		return zero_some(w, REQUEST_MAY_UNMAP);
	at -= p->weights.unmap;
	if (at < p->weights.discard)
		return discard_some(w);
	at -= p->weights.discard;
	if (at < p->weights.read)
		return read_some(w);
	at -= p->weights.read;
	if (at < p->weights.flush)
		return flush(w);
	resize(w);
}

static void co_fn work(void *arg)
{
	struct world *w = arg;
	while (w->requests_left > 0 && !w->fault) {
		w->requests_left--;
		consumer_enter(&w->consumer);
		world_note_top(w);
		send_request(w);
		consumer_leave(&w->consumer);
	}
	co_group_done(&w->workers);
}

void co_fn guest_live(struct world *w)
{
	co_group_init(&w->workers);
	for (unsigned i = 0; i < w->plan->workers; i++) {
		co_group_add(&w->workers);
		co_start(w->loop, work, w);
	}
	co_group_wait(&w->workers);
	w->guest_is_done = true;
}
