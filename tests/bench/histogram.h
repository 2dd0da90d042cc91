/* SPDX-License-Identifier: MIT */
/*
 * Counts of durations with about 1.5 % resolution, for percentiles. One thread
 * each; merged at the end.
 */
#ifndef TESTS_BENCH_HISTOGRAM_H
#define TESTS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 6
#define HISTOGRAM_BUCKETS (64 << HISTOGRAM_SUB_BITS)

struct histogram {
	uint64_t counts[HISTOGRAM_BUCKETS];
	uint64_t total, max_ns;
};

static inline void histogram_add(struct histogram *h, uint64_t ns)
{
	unsigned bucket = ns;
	if (ns >> (HISTOGRAM_SUB_BITS + 1)) {
		unsigned shift = 63 - HISTOGRAM_SUB_BITS - __builtin_clzll(ns);
		bucket = (shift << HISTOGRAM_SUB_BITS) + (unsigned)(ns >> shift);
	}
	h->counts[bucket]++;
	h->total++;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

static inline void histogram_merge(struct histogram *to, const struct histogram *from)
{
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->counts[i] += from->counts[i];
	to->total += from->total;
	if (from->max_ns > to->max_ns)
		to->max_ns = from->max_ns;
}

/* The duration in ns that the share @p (0 to 1) does not exceed. */
static inline uint64_t histogram_percentile(const struct histogram *h, double p)
{
	uint64_t wanted = (uint64_t)((double)h->total * p), seen = 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->counts[i];
		if (seen <= wanted)
			continue;
		if (!(i >> (HISTOGRAM_SUB_BITS + 1)))
			return i;
		unsigned shift = (i >> HISTOGRAM_SUB_BITS) - 1;
		return (uint64_t)(i - (shift << HISTOGRAM_SUB_BITS)) << shift;
	}
	return h->max_ns;
}

#endif
