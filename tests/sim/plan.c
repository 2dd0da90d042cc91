/* SPDX-License-Identifier: MIT */
/*
 * What a seed decides. Small clusters and few cache entries come often: they make
 * tables grow and caches overflow within a few hundred requests.
 */
#include "tests/sim/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

uint64_t choose(uint64_t *random, uint64_t n)
{
	return sim_random(random) % n;
}

uint64_t choose_between(uint64_t *random, uint64_t min, uint64_t max)
{
	return min + choose(random, max - min + 1);
}

static void choose_image(struct plan *p, uint64_t *random)
{
	static const unsigned cluster_bits[] = {9, 9, 9, 10, 11, 12, 12, 14, 16};
	p->cluster_bits = cluster_bits[choose(random, ARRAY_SIZE(cluster_bits))];
	p->version = choose(random, 4) == 0 ? 2 : 3;
	p->refcount_bits = p->version == 2 ? 16 : 1u << choose(random, 7);
	p->lazy_refcounts = p->version == 3 && choose(random, 5) == 0;
	p->size = choose_between(random, 64, p->cluster_bits < 11 ? 2048 : 8192) * SIM_SECTOR;
	p->size_max = 2 * p->size;
	if (choose(random, 3) == 0)
		p->backing_size = choose_between(random, 1, 3 * p->size / 2 / SIM_SECTOR) *
				  SIM_SECTOR;
	p->discards_pass = choose(random, 2);

	uint64_t cluster = UINT64_C(1) << p->cluster_bits;
	uint64_t entry = cluster >> choose(random, 4);
	p->l2_entry_bytes = MAX(entry, UINT64_C(512));
	p->l2_cache_bytes = p->l2_entry_bytes * choose_between(random, 2, 12);
	p->refcount_cache_bytes = cluster * choose_between(random, 4, 8);
}

static void choose_guest(struct plan *p, uint64_t *random)
{
	p->lives = (unsigned)choose_between(random, 1, 3);
	p->workers = choose(random, 4) == 0 ? 1 : (unsigned)choose_between(random, 2, 16);
	p->requests = (unsigned)choose_between(random, 10, 200);
	p->request_sectors_max = (unsigned)choose_between(random, 1, 128);
	p->weights.write = 10;
	p->weights.durable_write = (unsigned)choose(random, 3);
	p->weights.zero = (unsigned)choose(random, 4);
	p->weights.unmap = (unsigned)choose(random, 4);
	p->weights.discard = (unsigned)choose(random, 5);
	p->weights.read = 3;
	p->weights.flush = (unsigned)choose_between(random, 0, 4);
	p->weights.resize = choose(random, 4) == 0;
}

static void choose_fault(struct plan *p, uint64_t *random)
{
	static const unsigned kinds[] = {
		1 << AIO_READ, 1 << AIO_WRITE, 1 << AIO_FLUSH, 1 << AIO_FALLOCATE,
		1 << AIO_TRUNCATE, 1 << AIO_WRITE | 1 << AIO_FLUSH, ~0u,
	};
	p->has_fault = true;
	p->fault = (struct sim_fault){
		.operations = kinds[choose(random, ARRAY_SIZE(kinds))],
		.pass = choose(random, p->requests * 2),
		.strikes = choose(random, 2) ? 1 : UINT64_MAX,
		.error = choose(random, 5) == 0 ? -ENOSPC : -EIO,
	};
	if (choose(random, 4) == 0) {
		p->fault.error = 0;
		p->fault.delay_ns = UINT64_C(5000000000);
		p->fault.strikes = 3;
	}
}

struct plan plan_make(uint64_t seed, bool faults_allowed)
{
	uint64_t random = seed * 0x9e3779b9 + 17;
	struct plan p = {.seed = seed, .limit = SIM_DISK_MAX};
	choose_image(&p, &random);
	choose_guest(&p, &random);
	p.is_managed = choose(&random, 3) == 0;
	if (p.is_managed) {
		/* A job stands in the way of a resize, and long lives let jobs end. */
		p.weights.resize = 0;
		p.requests *= 2;
	}
	p.latency_min_ns = 1000;
	p.latency_max_ns = choose(&random, 2) ? 100000 : 10000000;
	if (faults_allowed && choose(&random, 3) == 0)
		choose_fault(&p, &random);
	if (faults_allowed && choose(&random, 10) == 0)
		p.limit = p.size / 4 + choose(&random, p.size);
	p.has_bitmap = p.version == 3 && choose(&random, 3) == 0;
	p.is_kept = !p.is_managed && choose(&random, 2) == 0;
	return p;
}

bool plan_has_mishaps(const struct plan *p)
{
	return p->has_fault || p->limit != SIM_DISK_MAX;
}

void plan_print(const struct plan *p)
{
	printf("seed %" PRIu64 ": version %u, clusters of %u, refcounts of %u bits%s, size %" PRIu64
	       ", backing %" PRIu64 "%s\n",
	       p->seed, p->version, 1u << p->cluster_bits, p->refcount_bits,
	       p->lazy_refcounts ? ", lazy" : "", p->size, p->backing_size,
	       p->discards_pass ? ", discards pass" : "");
	printf("  l2 cache %" PRIu64 " in entries of %" PRIu64 ", refcount cache %" PRIu64 "\n",
	       p->l2_cache_bytes, p->l2_entry_bytes, p->refcount_cache_bytes);
	printf("  %u lives, %u workers, %u requests of at most %u sectors, latency to %" PRIu64
	       " us\n",
	       p->lives, p->workers, p->requests, p->request_sectors_max,
	       p->latency_max_ns / 1000);
	printf("  weights: write %u, durable %u, zero %u, unmap %u, discard %u, read %u, flush %u, "
	       "resize %u\n",
	       p->weights.write, p->weights.durable_write, p->weights.zero, p->weights.unmap,
	       p->weights.discard, p->weights.read, p->weights.flush,
	       p->weights.resize);
	if (p->is_managed)
		printf("  snapshots, commits, streams, mirrors and backups\n");
	if (p->is_kept)
		printf("  internal snapshots, and other options\n");
	if (p->has_bitmap)
		printf("  a persistent bitmap\n");
	if (p->has_fault)
		printf("  fault: operations %#x, after %" PRIu64 ", %" PRIu64 " times, %s, late %"
		       PRIu64 " ns\n",
		       p->fault.operations, p->fault.pass, p->fault.strikes,
		       p->fault.error ? strerrorname_np(-p->fault.error) : "no error",
		       p->fault.delay_ns);
	if (p->limit != SIM_DISK_MAX)
		printf("  the disk is full at %" PRIu64 "\n", p->limit);
}
