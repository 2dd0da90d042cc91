/* SPDX-License-Identifier: MIT */
/*
 * When to look for the next event rather than sleep. The loop's thread.
 */
#include "base/lookout.h"

#include "base/util.h"

/*
 * What one look in vain costs, in waits that looking makes shorter: so many short
 * waits are slept through after the first one, and so many must succeed to make up
 * for it. Each further one doubles that.
 */
#define SLEEPS_FIRST 64u
#define SLEEPS_MAX 4096u

bool lookout_waits(struct lookout *l, uint64_t now_ns)
{
	if (!l->wait_began_ns)
		l->wait_began_ns = now_ns;
	if (l->looking && now_ns - l->wait_began_ns > l->most_ns) {
		l->looking = false;
		l->sleeps_next = MIN(2 * l->sleeps_next + SLEEPS_FIRST, SLEEPS_MAX);
		l->sleeps_left = l->sleeps_next;
	}
	return l->looking;
}

void lookout_ends_wait(struct lookout *l, uint64_t now_ns, uint64_t most_ns)
{
	if (!l->wait_began_ns)
		return;
	l->most_ns = MIN(most_ns, LOOKOUT_NS);
	bool was_short = now_ns - l->wait_began_ns <= l->most_ns;
	l->wait_began_ns = 0;

	if (!was_short) {
		l->looking = false;
	} else if (l->looking) {
		if (l->sleeps_next > 0)
			l->sleeps_next--;
	} else if (l->sleeps_left > 0) {
		l->sleeps_left--;
	} else {
		l->looking = true;
	}
}

void lookout_calls_off(struct lookout *l)
{
	l->wait_began_ns = 0;
	l->looking = false;
	l->sleeps_left = MAX(l->sleeps_left, SLEEPS_FIRST);
}
