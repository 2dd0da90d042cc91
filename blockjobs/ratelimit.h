/* SPDX-License-Identifier: MIT */
/*
 * A rate limit in bytes per second: says how long to wait before more work.
 *
 * Work is paid for after it was let through: whoever takes a large piece makes
 * the next one wait longer, so that the average holds whatever the sizes are.
 * Time not used earns credit for a tenth of a second at most. No clock and no
 * waiting of its own; one thread.
 */
#ifndef BLOCKJOBS_RATELIMIT_H
#define BLOCKJOBS_RATELIMIT_H

#include <stdint.h>

struct ratelimit {
	uint64_t bytes_per_s; /* 0: no limit */
	uint64_t next_ns;     /* when all that was taken is paid for */
};

/* Change the limit; what was taken under the old one is forgiven. */
void ratelimit_set(struct ratelimit *l, uint64_t bytes_per_s, uint64_t now_ns);
/* Nanoseconds to wait before the next piece may be taken; 0 when it may be now. */
uint64_t ratelimit_delay_ns(const struct ratelimit *l, uint64_t now_ns);
/* Take @bytes at @now_ns. */
void ratelimit_take(struct ratelimit *l, uint64_t bytes, uint64_t now_ns);

#endif
