/* SPDX-License-Identifier: MIT */
/*
 * Whether a loop that has nothing to do should look for the next event for a
 * while rather than sleep. Waking a processor that has gone idle costs several
 * times what a small request costs to serve, so a client that sends its next
 * request within microseconds of our reply is better waited for awake.
 *
 * Looking is worth it only where the last waits were short, and it is given up
 * for longer each time it was in vain: then client and loop share a processor,
 * and the loop keeps the client from sending what it looks for.
 *
 * All times are the loop's, in nanoseconds. Never fails; the loop's thread only.
 */
#ifndef BASE_LOOKOUT_H
#define BASE_LOOKOUT_H

#include <stdbool.h>
#include <stdint.h>

/* A wait that ends within this time is short; looking takes no longer. */
#define LOOKOUT_NS UINT64_C(64000)

/* A zeroed one is ready for use. */
struct lookout {
	uint64_t wait_began_ns; /* 0: not waiting */
	bool looking;           /* through this wait */
	uint64_t most_ns;       /* how long to look, as who came last allows */
	unsigned sleeps_left;   /* short waits to sleep through before looking again */
	unsigned sleeps_next;   /* what sleeps_left becomes after looking in vain */
};

/*
 * Nothing to do at @now_ns. True: look again at once; false: sleep. Called
 * again for every look, until lookout_ends_wait().
 */
bool lookout_waits(struct lookout *l, uint64_t now_ns);

/*
 * Another thread has handed something over, whether that ended a wait or not. Threads
 * that work for the loop need the processor more than looking does: for a while there
 * is none.
 */
void lookout_calls_off(struct lookout *l);

/*
 * What was looked for has come, and is worth looking for as long as @most_ns, and LOOKOUT_NS
 * at most. Without a wait that it ends, does nothing.
 */
void lookout_ends_wait(struct lookout *l, uint64_t now_ns, uint64_t most_ns);

#endif
