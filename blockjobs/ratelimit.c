/* SPDX-License-Identifier: MIT */
/*
 * Rate limits: arithmetic on the time at which all that was taken is paid for.
 */
#include "blockjobs/ratelimit.h"

#include "base/util.h"

#define NS_PER_S UINT64_C(1000000000)
#define CREDIT_NS (NS_PER_S / 10)
/* A debt is never longer than this: a year. */
#define DEBT_MAX_NS (UINT64_C(31536000) * NS_PER_S)

void ratelimit_set(struct ratelimit *l, uint64_t bytes_per_s, uint64_t now_ns)
{
	l->bytes_per_s = bytes_per_s;
	l->next_ns = now_ns;
}

uint64_t ratelimit_delay_ns(const struct ratelimit *l, uint64_t now_ns)
{
	if (l->bytes_per_s == 0 || l->next_ns <= now_ns)
		return 0;
	return l->next_ns - now_ns;
}

void ratelimit_take(struct ratelimit *l, uint64_t bytes, uint64_t now_ns)
{
	if (l->bytes_per_s == 0)
		return;
	uint64_t oldest = now_ns > CREDIT_NS ? now_ns - CREDIT_NS : 0;
	unsigned __int128 cost = (unsigned __int128)bytes * NS_PER_S / l->bytes_per_s;
	l->next_ns = MAX(l->next_ns, oldest) + (uint64_t)MIN(cost, DEBT_MAX_NS);
	l->next_ns = MIN(l->next_ns, now_ns + DEBT_MAX_NS);
}
