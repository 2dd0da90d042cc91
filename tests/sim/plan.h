/* SPDX-License-Identifier: MIT */
/*
 * What a seed decides about one run: the image, the guest, the disk's mishaps.
 */
#ifndef TESTS_SIM_PLAN_H
#define TESTS_SIM_PLAN_H

#include "base/aio_sim_disk.h"

struct plan {
	uint64_t seed;

	/* The image. */
	unsigned version, cluster_bits, refcount_bits;
	bool lazy_refcounts;
	uint64_t size;         /* bytes, at first */
	uint64_t size_max;     /* that it may grow to */
	uint64_t backing_size; /* bytes; 0: no backing file */
	bool discards_pass;    /* discards reach the disk */
	uint64_t l2_cache_bytes, l2_entry_bytes, refcount_cache_bytes;

	/* The guest. */
	unsigned lives;   /* crashes that follow each other */
	unsigned workers; /* requests at a time */
	unsigned requests;/* in one life */
	unsigned request_sectors_max;
	struct {
		unsigned write, durable_write, zero, unmap, discard, read, flush, resize;
	} weights;

	/* Whoever manages it takes snapshots, merges and copies them while the guest works. */
	bool is_managed;
	/* Or somebody takes internal snapshots and changes options. */
	bool is_kept;
	bool has_bitmap; /* records what the guest writes, and is stored */

	/* The disk. */
	uint64_t latency_min_ns, latency_max_ns;
	bool has_fault;
	struct sim_fault fault;
	uint64_t limit; /* bytes that the image may grow to */
};

struct plan plan_make(uint64_t seed, bool faults_allowed);
void plan_print(const struct plan *p);
/* Whether requests to the disks may fail. */
bool plan_has_mishaps(const struct plan *p);

/* A number from 0 to @n - 1, and one from @min to @max. */
uint64_t choose(uint64_t *random, uint64_t n);
uint64_t choose_between(uint64_t *random, uint64_t min, uint64_t max);

#endif
